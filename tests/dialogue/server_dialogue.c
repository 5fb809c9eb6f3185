/*
 * Runs conversations that a person can read against the receiving engine: whole, octet by octet,
 * in random pieces, each of these with an application that answers at once and one that parks.
 *
 *   # comment
 *   set WHAT [N]   before anything else; see the table of settings below
 *   answer VERB CODE STATUS TEXT   the application's next answer to open, hello, mail, rcpt,
 *                  data, end, auth; "answer auth 334 - TEXT" is a challenge, "answer VERB cut"
 *                  ends the connection, "answer VERB hold ..." waits for the line "release"
 *   C: text        what the client sends, with CRLF;  c: text   the same without
 *   S: text        the next line of the server; "S: text*" only its beginning
 *   body text      all octets that the application was given since the last "body"
 *   forget         they do not matter: how many came before a refusal depends on the pieces
 *   E: event       with "set events": the next thing that the application was told
 *   tls            the handshake is done
 *   offer KEYWORD  this client is one of ours
 *   auth NAMES     the SASL mechanisms that are offered from here on
 *   refuse CODE STATUS TEXT        the application refuses the body at its next octets, or now
 *   drain | hangup the node goes down | a deadline has passed
 *   release        the answer that was held comes
 *   lose           the connection is over
 *   end open|close|cut|tls         how the engine stands at the end
 *
 * \r \n \0 \t \\ and \xHH are octets.  "*N{x}" repeats the octet x N times.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "relay/smtp/smtp_server.h"
#include "tests/dialogue/script.h"

enum { ANSWER_MAX = 16 };

struct answer {
	char verb[8];
	bool cuts, holds;
	struct reply reply;
};

struct talk {
	struct script script;
	struct smtp_server_settings settings;
	bool wants_events;
	struct smtp_server *server;
	struct buf pending, input, output, body, events, scratch;
	struct answer answers[ANSWER_MAX];
	size_t answer_count;
	bool parked, held, parked_challenge, refuses;
	struct reply parked_reply, refusal;
	struct random_seeded random;
	unsigned int closes;
};

/* ---- the application -------------------------------------------------------- */

static void __attribute__((format(printf, 2, 3)))
tell(struct talk *t, const char *format, ...)
{
	va_list args;

	if (!t->wants_events)
		return;
	va_start(args, format);
	(void)buf_vappendf(&t->events, format, args);
	va_end(args);
	(void)buf_append_byte(&t->events, '\n');
}

/* The answer that the file has for this question; false when it has none. */
static bool
take_answer(struct talk *t, const char *verb, struct answer *answer_out)
{
	for (size_t i = 0; i < t->answer_count; i++) {
		if (strcmp(t->answers[i].verb, verb) != 0)
			continue;
		*answer_out = t->answers[i];
		t->answer_count--;
		memmove(&t->answers[i], &t->answers[i + 1],
		    (t->answer_count - i) * sizeof(t->answers[0]));
		return true;
	}
	return false;
}

static enum step
say(struct talk *t, const char *verb, struct reply *reply, uint16_t code, const char *status)
{
	struct answer answer;

	reply_set(reply, code, status, "ok");
	if (take_answer(t, verb, &answer)) {
		if (answer.cuts)
			return STEP_CUT;
		*reply = answer.reply;
		t->held = answer.holds;
	}
	if (!t->script.parks && !t->held)
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
	tell(ctx, "hello %.*s%s%s", SPAN_ARGS(hello->name), hello->extended ? " extended" : "",
	    hello->is_domain ? " domain" : "");
	return say(ctx, "hello", reply, 250, "");
}

static enum step
on_mail(void *ctx, const struct smtp_mail *mail, struct reply *reply)
{
	static const char *const rets[] = { "", " ret=full", " ret=hdrs" };
	char size[32] = "";

	if (mail->has_size)
		(void)snprintf(size, sizeof(size), " size=%" PRIu64, mail->size);
	tell(ctx, "mail %.*s@%.*s%s%s%s%s envid=%.*s auth=%.*s transid=%.*s origin=%.*s",
	    SPAN_ARGS(mail->from.local), SPAN_ARGS(mail->from.domain), size,
	    mail->body == BODY_8BITMIME ? " 8bit" : "", mail->smtputf8 ? " utf8" : "",
	    rets[mail->ret], SPAN_ARGS(mail->envid), SPAN_ARGS(mail->auth),
	    SPAN_ARGS(mail->transid), SPAN_ARGS(mail->origin));
	return say(ctx, "mail", reply, 250, "2.1.0");
}

static enum step
on_rcpt(void *ctx, const struct smtp_rcpt *rcpt, struct reply *reply)
{
	tell(ctx, "rcpt %zu %.*s@%.*s notify=%u orcpt=%.*s", rcpt->index,
	    SPAN_ARGS(rcpt->to.local), SPAN_ARGS(rcpt->to.domain), rcpt->notify,
	    SPAN_ARGS(rcpt->orcpt));
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
	size_t take = octets.len;

	if (t->refuses) {
		t->refuses = false;
		smtp_server_refuse_body(t->server, &t->refusal);
		return 0;
	}
	if (t->script.mode > 1)
		take = (size_t)random_below(&t->random.random, octets.len + 1);
	(void)buf_append(&t->body, span_first(octets, take));
	return take;
}

static enum step
on_end(void *ctx, const struct smtp_body_facts *facts, struct reply *reply)
{
	tell(ctx, "end %" PRIu64 "%s%s", facts->octets, facts->has_8bit ? " 8bit" : "",
	    facts->header_has_8bit ? " header-8bit" : "");
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
	static const char *const names[] = { "by-client", "refused", "lost" };

	tell(ctx, "reset %s", names[reason]);
}

static enum step
on_auth(void *ctx, const struct smtp_auth_step *auth_step, struct buf *challenge,
    struct reply *reply)
{
	struct talk *t = ctx;

	tell(t, "auth %.*s %s%.*s", SPAN_ARGS(auth_step->mechanism),
	    auth_step->has_response ? "=" : "none", SPAN_ARGS(auth_step->response));

	enum step step = say(t, "auth", reply, 535, "5.7.8");
	bool challenges = step != STEP_CUT && reply->code == 334;

	if (challenges && step == STEP_REPLY) {
		(void)buf_append_cstr(challenge, reply->text);
		return STEP_CHALLENGE;
	}
	t->parked_challenge = challenges;
	return step;
}

static void
on_auth_cancelled(void *ctx)
{
	tell(ctx, "auth-cancelled");
}

static void
on_closed(void *ctx)
{
	((struct talk *)ctx)->closes++;
}

static const struct smtp_server_ops ops = {
	.open = on_open, .hello = on_hello, .mail = on_mail, .rcpt = on_rcpt, .data = on_data,
	.body = on_body, .end = on_end, .outcome = on_outcome, .reset = on_reset,
	.auth = on_auth, .auth_cancelled = on_auth_cancelled, .closed = on_closed,
};

/* ---- the session -------------------------------------------------------------- */

static bool
drain(struct talk *t)
{
	struct buf *out = smtp_server_output(t->server);
	bool any = !buf_is_empty(out);

	(void)buf_append(&t->output, buf_span(out));
	buf_consume(out, buf_len(out));
	return any;
}

static bool
answer_parked(struct talk *t)
{
	if (!t->parked || t->held)
		return false;
	t->parked = false;
	if (t->parked_challenge && t->parked_reply.code == 334)
		smtp_server_challenge(t->server, span_from_cstr(t->parked_reply.text));
	else
		smtp_server_answer(t->server, &t->parked_reply);
	t->parked_challenge = false;
	return true;
}

/* Show the engine INPUT until it can do nothing with it; what is left stays in t->input. */
static void
feed(struct talk *t, struct span input)
{
	(void)buf_append(&t->input, input);
	for (unsigned int turns = 0; turns < SCRIPT_TEXT_MAX; turns++) {
		size_t before = buf_len(&t->input);
		size_t consumed = smtp_server_feed(t->server, buf_span(&t->input));
		bool moved = consumed > 0;

		if (consumed > before) {
			script_fail(&t->script, "it consumed more than there was", SPAN(""));
			return;
		}
		buf_consume(&t->input, consumed);
		if (smtp_server_wants(t->server) == SMTP_SERVER_WANTS_DRAIN)
			moved |= drain(t);
		if (smtp_server_wants(t->server) == SMTP_SERVER_WANTS_ROOM) {
			smtp_server_resume(t->server);
			moved = true;
		}
		moved |= answer_parked(t);
		if (!moved)
			return;
	}
	script_fail(&t->script, "the engine does not come to rest", SPAN(""));
}

static void
flush(struct talk *t)
{
	if (!t->server)
		return;                 /* it is lost */
	while (!buf_is_empty(&t->pending)) {
		size_t len = script_some(&t->random, t->script.mode, buf_len(&t->pending));

		feed(t, span_first(buf_span(&t->pending), len));
		buf_consume(&t->pending, len);
	}
	/* What was sent in one go was sent before any reply to it was seen. */
	(void)drain(t);
}

/* ---- the lines of a file ------------------------------------------------------ */

/* The next line of what has come, without its end. */
static void
expect(struct talk *t, struct buf *from, struct span end_of_line, struct span expected,
    const char *what)
{
	struct span output = buf_span(from);
	size_t end = output.len;
	bool found = span_find(output, end_of_line, &end);
	struct span line = span_first(output, end);

	if (!found || !script_matches(line, script_unescape(expected, &t->scratch)))
		script_fail(&t->script, what, line.data ? line : SPAN(""));
	else
		buf_consume(from, end + end_of_line.len);
}

static void
expect_end(struct talk *t, struct span how)
{
	static const char *const names[] = {
		[SMTP_SERVER_WANTS_INPUT] = "open", [SMTP_SERVER_WANTS_DRAIN] = "drain",
		[SMTP_SERVER_WANTS_ANSWER] = "answer", [SMTP_SERVER_WANTS_ROOM] = "room",
		[SMTP_SERVER_WANTS_TLS] = "tls", [SMTP_SERVER_WANTS_CLOSE] = "close",
		[SMTP_SERVER_WANTS_CUT] = "cut",
	};
	const char *is = names[smtp_server_wants(t->server)];

	if (!span_equal_cstr(how, is))
		script_fail(&t->script, "the engine stands otherwise at the end",
		    span_from_cstr(is));
}

static void
set(struct talk *t, struct span what)
{
	struct smtp_server_settings *settings = &t->settings;
	struct span word;
	uint64_t number = 0;

	(void)span_take_word(&what, &word);
	(void)span_parse_u64(span_trim(what), UINT64_MAX, &number);
	if (span_equal(word, SPAN("lmtp")))
		settings->lmtp = true;
	else if (span_equal(word, SPAN("size")))
		settings->size_max = number;
	else if (span_equal(word, SPAN("rcpts")))
		settings->rcpt_count_max = (size_t)number;
	else if (span_equal(word, SPAN("mails")))
		settings->mail_count_max = (size_t)number;
	else if (span_equal(word, SPAN("errors")))
		settings->error_count_max = (size_t)number;
	else if (span_equal(word, SPAN("useless")))
		settings->useless_count_max = (size_t)number;
	else if (span_equal(word, SPAN("line")))
		settings->text_line_bytes_max = (size_t)number;
	else if (span_equal(word, SPAN("swallow")))
		settings->swallow_bytes_max = number;
	else if (span_equal(word, SPAN("starttls")))
		settings->offered |= SMTP_STARTTLS;
	else if (span_equal(word, SPAN("limits")))
		settings->offered |= SMTP_LIMITS;
	else if (span_equal(word, SPAN("no-chunking")))
		settings->offered &= ~(uint32_t)SMTP_CHUNKING;
	else if (span_equal(word, SPAN("events")))
		t->wants_events = true;
	else
		script_fail(&t->script, "unknown setting", word);
}

static struct reply
parse_reply(struct talk *t, struct span rest)
{
	struct span code, status;
	struct reply reply;
	uint32_t number = 0;

	(void)span_take_word(&rest, &code);
	(void)span_take_word(&rest, &status);
	(void)span_parse_u32(code, 599, &number);
	reply_set(&reply, (uint16_t)number, "", "%.*s",
	    SPAN_ARGS(script_unescape(span_trim(rest), &t->scratch)));
	if (!span_equal(status, SPAN("-")))
		(void)snprintf(reply.status, sizeof(reply.status), "%.*s", SPAN_ARGS(status));
	return reply;
}

static void
add_answer(struct talk *t, struct span rest)
{
	struct answer *answer = &t->answers[t->answer_count++];
	struct span verb;

	(void)span_take_word(&rest, &verb);
	(void)snprintf(answer->verb, sizeof(answer->verb), "%.*s", SPAN_ARGS(verb));
	rest = span_trim(rest);
	answer->cuts = span_equal(rest, SPAN("cut"));
	answer->holds = span_starts_with(rest, SPAN("hold "));
	rest = span_skip(rest, answer->holds ? 5 : 0);
	answer->reply = parse_reply(t, rest);
}

static void
refuse_body(struct talk *t, struct span rest)
{
	t->refusal = parse_reply(t, rest);
	if (span_equal_cstr(rest, ""))
		script_fail(&t->script, "refuse what?", SPAN(""));
	t->refuses = true;
}

static void
begin(struct talk *t)
{
	if (t->server || t->closes)
		return;
	t->server = smtp_server_new(&t->settings, &ops, t);
	smtp_server_open(t->server);
	feed(t, SPAN(""));
	(void)drain(t);
}

static void
lose(struct talk *t)
{
	begin(t);
	smtp_server_free(&t->server);
}

static void
offer(struct talk *t, struct span keyword)
{
	size_t count;
	const struct smtp_capability_name *table = smtp_capability_table(&count);

	for (size_t i = 0; i < count; i++)
		if (span_equal_cstr(keyword, table[i].keyword))
			smtp_server_offer(t->server, (uint32_t)table[i].capability);
}

/* What is done to the engine from outside. */
static bool
act(struct talk *t, struct span word, struct span rest)
{
	struct reply reply;

	if (span_equal(word, SPAN("tls"))) {
		smtp_server_tls_done(t->server);
	} else if (span_equal(word, SPAN("offer"))) {
		offer(t, rest);
	} else if (span_equal(word, SPAN("auth"))) {
		smtp_server_set_mechanisms(t->server, rest);
	} else if (span_equal(word, SPAN("refuse"))) {
		refuse_body(t, rest);
	} else if (span_equal(word, SPAN("drain"))) {
		smtp_server_drain(t->server, "4.3.2", "shutting down");
		feed(t, SPAN(""));
		(void)drain(t);
	} else if (span_equal(word, SPAN("hangup"))) {
		reply_set(&reply, 421, "4.4.2", "you took too long");
		smtp_server_hang_up(t->server, &reply);
		(void)drain(t);
	} else if (span_equal(word, SPAN("release"))) {
		t->held = false;
		feed(t, SPAN(""));
		(void)drain(t);
	} else if (span_equal(word, SPAN("lose"))) {
		lose(t);
	} else {
		return false;
	}
	return true;
}

static void
check(struct talk *t, struct span word, struct span rest)
{
	if (span_equal(word, SPAN("S:"))) {
		expect(t, &t->output, SPAN("\r\n"), rest, "another reply was expected");
	} else if (span_equal(word, SPAN("E:"))) {
		expect(t, &t->events, SPAN("\n"), rest, "another event was expected");
	} else if (span_equal(word, SPAN("body"))) {
		if (!span_equal(buf_span(&t->body), script_unescape(rest, &t->scratch)))
			script_fail(&t->script, "the body differs", buf_span(&t->body));
		buf_clear(&t->body);
	} else if (span_equal(word, SPAN("forget"))) {
		buf_clear(&t->body);
	} else if (span_equal(word, SPAN("end"))) {
		expect_end(t, rest);
	} else if (!act(t, word, rest)) {
		script_fail(&t->script, "unknown line", word);
	}
}

static void
perform(struct talk *t, struct span line)
{
	struct span word, rest;

	(void)span_split(line, ' ', &word, &rest);
	if (span_equal(word, SPAN("set"))) {
		set(t, rest);
	} else if (span_equal(word, SPAN("answer"))) {
		if (t->server)
			flush(t);
		add_answer(t, rest);
	} else if (span_equal(word, SPAN("C:")) || span_equal(word, SPAN("c:"))) {
		begin(t);
		(void)buf_append(&t->pending, script_unescape(rest, &t->scratch));
		if (word.data[0] == 'C')
			(void)buf_append(&t->pending, SPAN("\r\n"));
	} else {
		begin(t);
		flush(t);
		check(t, word, rest);
	}
}

static void
finish(struct talk *t)
{
	if (t->server)
		smtp_server_free(&t->server);
	if (!buf_is_empty(&t->output))
		script_fail(&t->script, "nobody expected these replies", buf_span(&t->output));
	if (t->closes != 1)
		script_fail(&t->script, "closed() did not come once", SPAN(""));
	if (t->answer_count > 0)
		script_fail(&t->script, "an answer was not asked for",
		    span_from_cstr(t->answers[0].verb));
}

static bool
run(const char *path, struct span text, int mode, bool parks)
{
	struct talk t = { .script = { .path = path, .mode = mode, .parks = parks } };
	struct buf *const bufs[] = { &t.pending, &t.input, &t.output, &t.body, &t.events,
		&t.scratch };
	struct span line;

	smtp_server_settings_init(&t.settings);
	t.settings.hostname = SPAN("mx.example.net");
	for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
		buf_init(bufs[i], SCRIPT_TEXT_MAX);
	random_init_seeded(&t.random, (uint64_t)mode);
	while (!t.script.failed && span_take_part(&text, '\n', &line)) {
		t.script.line++;
		if (line.len > 0 && line.data[0] != '#')
			perform(&t, line);
	}
	finish(&t);
	for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
		buf_fini(bufs[i]);
	return !t.script.failed;
}

int
main(int argc, char **argv)
{
	return script_main(argc, argv, run);
}
