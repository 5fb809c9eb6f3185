/*
 * Runs conversations that a person can read against the receiving engine: whole, octet by octet,
 * in random pieces, each of these with an application that answers at once and one that parks.
 *
 *   # comment
 *   set lmtp | set size N | set rcpts N | set errors N | set line N | set starttls | set no-swallow
 *   answer VERB CODE STATUS TEXT   the application's next answer to mail, rcpt, data, end, hello
 *   C: text        what the client sends, with CRLF;  c: text   the same without
 *   S: text        the next line of the server; "S: text*" only its beginning
 *   tls            the handshake is done
 *   body text      all octets that the application was given since the last "body"
 *   end open|close|cut             how the engine stands at the end
 *
 * \r \n \0 \t \\ and \xHH are octets.  "*N{x}" repeats the octet x N times.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/ascii.h"
#include "relay/base/buf.h"
#include "relay/base/random.h"
#include "relay/smtp/smtp_server.h"

enum { TEXT_MAX = 1 << 20, ANSWER_MAX = 16 };

struct answer {
	char verb[8];
	struct reply reply;
};

struct talk {
	const char *path;
	unsigned int line;
	int mode;                       /* 0 whole, 1 octet by octet, above: a seed */
	bool parks;
	bool failed;
	struct smtp_server_settings settings;
	struct smtp_server *server;
	struct buf input, output, body;
	struct answer answers[ANSWER_MAX];
	size_t answer_count;
	bool parked;
	struct reply parked_reply;
	struct random_seeded random;
	unsigned int resets, closes;
};

static void
fail(struct talk *t, const char *what, struct span got)
{
	printf("%s:%u (mode %d%s): %s", t->path, t->line, t->mode, t->parks ? ", parked" : "",
	    what);
	if (got.data)
		printf(": got \"%.*s\"", (int)(got.len < 200 ? got.len : 200), got.data);
	printf("\n");
	t->failed = true;
}

/* ---- the application -------------------------------------------------------- */

static enum step
say(struct talk *t, const char *verb, struct reply *reply, uint16_t code, const char *status)
{
	reply_set(reply, code, status, "ok");
	for (size_t i = 0; i < t->answer_count; i++) {
		if (strcmp(t->answers[i].verb, verb) != 0)
			continue;
		*reply = t->answers[i].reply;
		memmove(&t->answers[i], &t->answers[i + 1],
		    (t->answer_count - i - 1) * sizeof(t->answers[0]));
		t->answer_count--;
		break;
	}
	if (!t->parks)
		return STEP_REPLY;
	t->parked = true;
	t->parked_reply = *reply;
	return STEP_PARK;
}

static enum step
on_open(void *ctx, struct reply *reply)
{
	return say(ctx, "open", reply, 220, "");
}

static enum step
on_hello(void *ctx, const struct smtp_hello *hello, struct reply *reply)
{
	(void)hello;
	return say(ctx, "hello", reply, 250, "");
}

static enum step
on_mail(void *ctx, const struct smtp_mail *mail, struct reply *reply)
{
	(void)mail;
	return say(ctx, "mail", reply, 250, "2.1.0");
}

static enum step
on_rcpt(void *ctx, const struct smtp_rcpt *rcpt, struct reply *reply)
{
	(void)rcpt;
	return say(ctx, "rcpt", reply, 250, "2.1.5");
}

static enum step
on_data(void *ctx, struct reply *reply)
{
	return say(ctx, "data", reply, 354, "");
}

/* In random mode it takes what it likes, to see the engine offer the rest again. */
static size_t
on_body(void *ctx, struct span octets)
{
	struct talk *t = ctx;
	size_t take = t->mode < 2 ? octets.len : (size_t)random_below(&t->random.random,
	    octets.len + 1);

	(void)buf_append(&t->body, span_first(octets, take));
	return take;
}

static enum step
on_end(void *ctx, const struct smtp_body_facts *facts, struct reply *reply)
{
	(void)facts;
	return say(ctx, "end", reply, 250, "2.0.0");
}

static void
on_outcome(void *ctx, size_t index, struct reply *reply)
{
	(void)ctx;
	reply_set(reply, index % 2 ? 452 : 250, index % 2 ? "4.2.2" : "2.0.0", "recipient %zu",
	    index);
}

static void
on_reset(void *ctx, enum smtp_reset reason)
{
	(void)reason;
	((struct talk *)ctx)->resets++;
}

static void
on_closed(void *ctx)
{
	((struct talk *)ctx)->closes++;
}

static const struct smtp_server_ops ops = {
	.open = on_open, .hello = on_hello, .mail = on_mail, .rcpt = on_rcpt, .data = on_data,
	.body = on_body, .end = on_end, .outcome = on_outcome, .reset = on_reset,
	    .closed = on_closed,
};

/* ---- the session -------------------------------------------------------------- */

static void
drain(struct talk *t)
{
	struct buf *out = smtp_server_output(t->server);

	(void)buf_append(&t->output, buf_span(out));
	buf_consume(out, buf_len(out));
}

/* Show the engine INPUT until it can do nothing with it; what is left stays in t->input. */
static void
feed(struct talk *t, struct span input)
{
	(void)buf_append(&t->input, input);
	for (unsigned int turns = 0; turns < TEXT_MAX; turns++) {
		size_t before = buf_len(&t->input);
		size_t consumed = smtp_server_feed(t->server, buf_span(&t->input));
		bool moved = consumed > 0;

		if (consumed > before) {
			fail(t, "the engine consumed more than there was", (struct span){ 0 });
			return;
		}
		buf_consume(&t->input, consumed);
		moved |= !buf_is_empty(smtp_server_output(t->server));
		drain(t);
		if (smtp_server_wants(t->server) == SMTP_SERVER_WANTS_ROOM) {
			smtp_server_resume(t->server);
			moved = true;
		}
		if (t->parked) {
			t->parked = false;
			smtp_server_answer(t->server, &t->parked_reply);
			moved = true;
			drain(t);
		}
		if (!moved)
			return;
	}
	fail(t, "the engine does not come to rest", (struct span){ 0 });
}

static void
flush(struct talk *t, struct buf *pending)
{
	while (!buf_is_empty(pending)) {
		size_t len = buf_len(pending);

		if (t->mode == 1)
			len = 1;
		else if (t->mode > 1)
			len = 1 + (size_t)random_below(&t->random.random, len);
		feed(t, span_first(buf_span(pending), len));
		buf_consume(pending, len);
	}
}

static struct span
unescape(struct span text, struct buf *out)
{
	buf_clear(out);
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];
		unsigned int count;
		char repeated;
		int used;

		if (c == '*' && sscanf(text.data + i, "*%u{%c}%n", &count, &repeated, &used) == 2) {
			(void)buf_append_repeat(out, repeated, count);
			i += (size_t)used - 1;
			continue;
		}
		if (c == '\\' && i + 1 < text.len) {
			char next = text.data[++i];

			c = next == 'r' ? '\r' : next == 'n' ? '\n' : next == 't' ? '\t'
			    : next == '0' ? '\0' : next;
			if (next == 'x' && i + 2 < text.len) {
				c = (char)(ascii_hex_value(text.data[i + 1]) * 16 +
				    ascii_hex_value(text.data[i + 2]));
				i += 2;
			}
		}
		(void)buf_append_byte(out, c);
	}
	return buf_span(out);
}

static void
expect_line(struct talk *t, struct span expected)
{
	struct span output = buf_span(&t->output);
	size_t end = output.len;
	bool found = span_find(output, SPAN("\r\n"), &end);
	struct span line = span_first(output, end);
	bool prefix = expected.len && expected.data[expected.len - 1] == '*';

	if (!found || (prefix ? !span_starts_with(line, span_first(expected, expected.len - 1))
			      : !span_equal(line, expected))) {
		fail(t, "another reply was expected", span_make(line.data ? line.data : "",
		    line.len));
		return;
	}
	buf_consume(&t->output, end + 2);
}

static void
expect_end(struct talk *t, struct span how)
{
	enum smtp_server_wants wants = smtp_server_wants(t->server);
	const char *is = wants == SMTP_SERVER_WANTS_CUT ? "cut"
	    : wants == SMTP_SERVER_WANTS_CLOSE ? "close" : "open";

	if (!span_equal_cstr(how, is))
		fail(t, "the engine stands otherwise at the end", span_from_cstr(is));
}

static void
set(struct talk *t, struct span what)
{
	struct span word;
	uint64_t number = 0;

	(void)span_take_word(&what, &word);
	(void)span_parse_u64(span_trim(what), UINT64_MAX, &number);
	if (span_equal(word, SPAN("lmtp")))
		t->settings.lmtp = true;
	else if (span_equal(word, SPAN("size")))
		t->settings.size_max = number;
	else if (span_equal(word, SPAN("rcpts")))
		t->settings.rcpt_count_max = (size_t)number;
	else if (span_equal(word, SPAN("errors")))
		t->settings.error_count_max = (size_t)number;
	else if (span_equal(word, SPAN("line")))
		t->settings.text_line_bytes_max = (size_t)number;
	else if (span_equal(word, SPAN("starttls")))
		t->settings.offered |= SMTP_STARTTLS;
	else if (span_equal(word, SPAN("no-swallow")))
		t->settings.swallow_bytes_max = 0;
	else
		fail(t, "unknown setting", word);
}

static void
add_answer(struct talk *t, struct span rest)
{
	struct answer *answer = &t->answers[t->answer_count++];
	struct span verb, code, status;
	uint32_t number = 0;

	(void)span_take_word(&rest, &verb);
	(void)span_take_word(&rest, &code);
	(void)span_take_word(&rest, &status);
	(void)span_parse_u32(code, 599, &number);
	(void)snprintf(answer->verb, sizeof(answer->verb), "%.*s", SPAN_ARGS(verb));
	reply_set_foreign(&answer->reply, (uint16_t)number, status, span_trim(rest));
}

static void
begin(struct talk *t)
{
	if (t->server)
		return;
	t->server = smtp_server_new(&t->settings, &ops, t);
	smtp_server_open(t->server);
	feed(t, SPAN(""));
}

static void
perform(struct talk *t, struct span line, struct buf *pending, struct buf *scratch)
{
	struct span rest = span_skip(line, 3);

	if (span_starts_with(line, SPAN("set "))) {
		set(t, span_skip(line, 4));
		return;
	}
	if (span_starts_with(line, SPAN("answer "))) {
		flush(t, pending);
		add_answer(t, span_skip(line, 7));
		return;
	}
	begin(t);
	if (span_starts_with(line, SPAN("C:")) || span_starts_with(line, SPAN("c:"))) {
		(void)buf_append(pending, unescape(rest, scratch));
		if (line.data[0] == 'C')
			(void)buf_append(pending, SPAN("\r\n"));
		return;
	}
	flush(t, pending);
	if (span_starts_with(line, SPAN("S:"))) {
		expect_line(t, rest);
	} else if (span_starts_with(line, SPAN("body"))) {
		if (!span_equal(buf_span(&t->body), unescape(span_skip(line, 5), scratch)))
			fail(t, "the body differs", buf_span(&t->body));
		buf_clear(&t->body);
	} else if (span_starts_with(line, SPAN("end "))) {
		expect_end(t, span_skip(line, 4));
	} else if (span_equal(line, SPAN("tls"))) {
		smtp_server_tls_done(t->server);
	} else {
		fail(t, "unknown line", line);
	}
}

static bool
run(const char *path, struct span text, int mode, bool parks)
{
	struct talk t = { .path = path, .mode = mode, .parks = parks };
	struct buf pending, scratch;
	struct span line;

	smtp_server_settings_init(&t.settings);
	t.settings.hostname = SPAN("mx.example.net");
	buf_init(&pending, TEXT_MAX);
	buf_init(&scratch, TEXT_MAX);
	buf_init(&t.input, TEXT_MAX);
	buf_init(&t.output, TEXT_MAX);
	buf_init(&t.body, TEXT_MAX);
	random_init_seeded(&t.random, (uint64_t)mode);
	while (!t.failed && span_take_part(&text, '\n', &line)) {
		t.line++;
		if (line.len && line.data[0] != '#')
			perform(&t, line, &pending, &scratch);
	}
	if (!t.failed && !buf_is_empty(&t.output))
		fail(&t, "nobody expected these replies", buf_span(&t.output));
	if (t.server)
		smtp_server_free(&t.server);
	if (!t.failed && t.closes != 1)
		fail(&t, "closed() did not come once", (struct span){ 0 });
	buf_fini(&pending);
	buf_fini(&scratch);
	buf_fini(&t.input);
	buf_fini(&t.output);
	buf_fini(&t.body);
	return !t.failed;
}

static bool
run_file(const char *path)
{
	static char text[TEXT_MAX];
	FILE *file = fopen(path, "rb");
	bool good = true;

	if (!file) {
		printf("%s: cannot be read\n", path);
		return false;
	}

	size_t len = fread(text, 1, sizeof(text), file);

	(void)fclose(file);
	for (int mode = 0; mode < 12 && good; mode++)
		for (int parks = 0; parks < 2 && good; parks++)
			good = run(path, span_make(text, len), mode, parks);
	printf("%s %s\n", good ? "ok" : "not ok", path);
	return good;
}

int
main(int argc, char **argv)
{
	bool good = argc > 1;

	for (int i = 1; i < argc; i++)
		good &= run_file(argv[i]);
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
