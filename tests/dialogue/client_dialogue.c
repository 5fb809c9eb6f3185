/*
 * Runs conversations that a person can read against the sending engine: what the peer says is
 * shown whole, octet by octet and in random pieces, and what the engine says is taken likewise;
 * each of these with a body that is there at once and one that is waited for before every piece.
 *
 *   # comment
 *   set WHAT [N]   before anything else; see the table of settings below
 *   mail SENDER [8bit] [utf8] [ret=full|hdrs] [envid=X] [transid=X] [origin=X] [claims=N]
 *                  the next message; claims: it says another length than it has
 *   rcpt ADDRESS [notify=N] [orcpt=X]      one of its recipients
 *   body text      octets of its body;  body-fails: what follows of it cannot be read
 *   send           begin with it
 *   answer text    the application's next response to a SASL challenge; "answer -" for none
 *   S: text        what the peer says, with CRLF;  s: text   the same without
 *   C: text        the next line of the engine; "C: text*" only its beginning
 *   c: text        these octets are next
 *   silent         it has nothing more to say now
 *   forget         what it said does not matter: how much came depends on the pieces
 *   E: event       the next thing that the application was told
 *   stall | flow   the peer takes nothing of what we say | it takes it again
 *   tls            the handshake is done
 *   quit | lose    the session shall end | the connection is gone
 *   end input|mail|body|tls|close|cut      how the engine stands at the end
 *
 * Octets are written as script.h has it.
 */
#include <inttypes.h>
#include <stdio.h>

#include "relay/base/arena.h"
#include "relay/smtp/smtp_client.h"
#include "tests/dialogue/script.h"

enum { RCPTS_MAX = 256, ANSWERS_MAX = 32 };

struct talk {
	struct script script;
	struct smtp_client_settings settings;
	struct smtp_client *client;
	struct buf pending, input, output, events, scratch;
	struct random_seeded random;
	bool stalled, sent, failed, needs_proof;

	struct smtp_client_mail mail;
	struct smtp_client_rcpt rcpts[RCPTS_MAX];
	bool settled[RCPTS_MAX];
	size_t settled_count;
	struct arena words;             /* what the spans above point into */
	struct buf body;
	size_t body_given;
	bool body_fails, waited;
	struct span answers[ANSWERS_MAX];
	size_t answer_first, answer_count;
};

/* ---- the application -------------------------------------------------------- */

static void __attribute__((format(printf, 2, 3)))
tell(struct talk *t, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)buf_vappendf(&t->events, format, args);
	va_end(args);
	(void)buf_append_byte(&t->events, '\n');
}

static void
on_ready(void *ctx)
{
	tell(ctx, "ready");
}

static enum smtp_client_body
on_body(void *ctx, struct span *piece_out)
{
	struct talk *t = ctx;
	size_t left = buf_len(&t->body) - t->body_given;

	if (t->script.parks && !t->waited) {
		t->waited = true;
		return SMTP_CLIENT_BODY_WAIT;
	}
	t->waited = false;
	if (left == 0)
		return t->body_fails ? SMTP_CLIENT_BODY_FAILED : SMTP_CLIENT_BODY_END;
	*piece_out = span_slice(buf_span(&t->body), t->body_given,
	    script_some(&t->random, t->script.mode, left));
	t->body_given += piece_out->len;
	return SMTP_CLIENT_BODY_PIECE;
}

static void
on_outcome(void *ctx, const struct smtp_client_outcome *outcome)
{
	struct talk *t = ctx;

	if (!t->sent || outcome->rcpt >= t->mail.rcpt_count || t->settled[outcome->rcpt])
		script_fail(&t->script, "an outcome for nobody", SPAN(""));
	else
		t->settled_count++;
	t->settled[outcome->rcpt % RCPTS_MAX] = true;
	tell(t, "outcome %zu %s %s%s %u %s %s", outcome->rcpt, smtp_client_at_name(outcome->at),
	    outcome->from_peer ? "peer" : "we", outcome->uncertain ? " uncertain" : "",
	    outcome->reply.code, outcome->reply.status[0] ? outcome->reply.status : "-",
	    outcome->reply.text);
}

static void
on_done(void *ctx)
{
	struct talk *t = ctx;

	if (!t->sent || t->settled_count != t->mail.rcpt_count)
		script_fail(&t->script, "done, but not with everyone", SPAN(""));
	t->sent = false;
	tell(t, "done");
}

static void
on_failed(void *ctx, const struct smtp_client_failure *failure)
{
	struct talk *t = ctx;

	if (t->sent || t->failed)
		script_fail(&t->script, "failed at the wrong time, or twice", SPAN(""));
	t->failed = true;
	tell(t, "failed %s %s%s%s %u %s %s", smtp_client_at_name(failure->at),
	    failure->from_peer ? "peer" : "we", failure->is_protocol_error ? " protocol" : "",
	    failure->is_closing ? " closing" : "", failure->reply.code,
	    failure->reply.status[0] ? failure->reply.status : "-", failure->reply.text);
}

static int
on_auth(void *ctx, bool has_challenge, struct span challenge, struct buf *response)
{
	struct talk *t = ctx;
	struct span answer;

	tell(t, "auth %.*s %s%.*s", SPAN_ARGS(smtp_client_mechanism(t->client)),
	    has_challenge ? "=" : "none", SPAN_ARGS(challenge));
	if (t->answer_first == t->answer_count) {
		script_fail(&t->script, "there is no answer to this challenge", challenge);
		return -1;
	}
	answer = t->answers[t->answer_first++];
	if (span_equal(answer, SPAN("-")))
		return -1;
	(void)buf_append(response, answer);
	return 0;
}

/* Some mechanisms ask a last word of the server, and only then say yes. */
static bool
on_auth_accepted(void *ctx)
{
	struct talk *t = ctx;

	return !t->needs_proof || t->answer_first == t->answer_count;
}

static const struct smtp_client_ops ops = {
	.ready = on_ready, .body = on_body, .outcome = on_outcome, .done = on_done,
	.failed = on_failed, .auth = on_auth, .auth_accepted = on_auth_accepted,
};

/* ---- the session -------------------------------------------------------------- */

/* Take what the engine has to say. */
static void
pump(struct talk *t)
{
	for (unsigned int turns = 0; turns < SCRIPT_TEXT_MAX && !t->stalled; turns++) {
		bool is_body;
		struct span piece = smtp_client_output(t->client, &is_body);

		if (piece.len > 0) {
			piece = span_first(piece,
			    script_some(&t->random, t->script.mode, piece.len));
			(void)buf_append(&t->output, piece);
			smtp_client_wrote(t->client, piece.len);
		} else if (smtp_client_wants(t->client) == SMTP_CLIENT_WANTS_BODY) {
			smtp_client_resume(t->client);
		} else {
			return;
		}
	}
	if (!t->stalled)
		script_fail(&t->script, "the engine does not come to rest", SPAN(""));
}

static void
feed(struct talk *t, struct span input)
{
	size_t consumed;

	(void)buf_append(&t->input, input);
	consumed = smtp_client_feed(t->client, buf_span(&t->input));
	if (consumed > buf_len(&t->input)) {
		script_fail(&t->script, "it consumed more than there was", SPAN(""));
		return;
	}
	buf_consume(&t->input, consumed);
	if (buf_len(&t->input) >= SMTP_CLIENT_INPUT_BYTES_MIN)
		script_fail(&t->script, "the session's buffer would be full", SPAN(""));
	pump(t);
}

static void
begin(struct talk *t)
{
	if (t->client)
		return;
	t->client = smtp_client_new(&t->settings, &ops, t);
	pump(t);
}

static void
flush(struct talk *t)
{
	while (!buf_is_empty(&t->pending)) {
		size_t len = script_some(&t->random, t->script.mode, buf_len(&t->pending));

		feed(t, span_first(buf_span(&t->pending), len));
		buf_consume(&t->pending, len);
	}
}

/* ---- the lines of a file ------------------------------------------------------ */

static void
set(struct talk *t, struct span what)
{
	struct smtp_client_settings *settings = &t->settings;
	struct span word;
	uint64_t number = 0;

	(void)span_take_word(&what, &word);
	what = span_trim(what);
	(void)span_parse_u64(what, UINT64_MAX, &number);
	if (span_equal(word, SPAN("lmtp")))
		settings->lmtp = true;
	else if (span_equal(word, SPAN("tls-if-offered")))
		settings->tls = SMTP_CLIENT_TLS_IF_OFFERED;
	else if (span_equal(word, SPAN("tls-required")))
		settings->tls = SMTP_CLIENT_TLS_REQUIRED;
	else if (span_equal(word, SPAN("mechanism")))
		settings->mechanism = what;
	else if (span_equal(word, SPAN("auth-needs-tls")))
		settings->auth_needs_tls = true;
	else if (span_equal(word, SPAN("peer-proves-itself")))
		t->needs_proof = true;
	else if (span_equal(word, SPAN("chunking")))
		settings->use_chunking = true;
	else if (span_equal(word, SPAN("eager")))
		settings->eager_bytes_max = number;
	else if (span_equal(word, SPAN("chunk")))
		settings->chunk_bytes_max = number;
	else if (span_equal(word, SPAN("pipeline")))
		settings->pipeline_count_max = (size_t)number;
	else
		script_fail(&t->script, "unknown setting", word);
}

/* A copy that lives as long as the talk. */
static struct span
keep(struct talk *t, struct span text)
{
	return arena_dup(&t->words, script_unescape(text, &t->scratch));
}

static void
begin_mail(struct talk *t, struct span rest)
{
	struct smtp_client_mail *mail = &t->mail;
	struct span word, name, value;

	*mail = (struct smtp_client_mail){ .rcpts = t->rcpts };
	buf_clear(&t->body);
	t->body_fails = t->waited = false;
	t->body_given = t->settled_count = 0;
	(void)span_take_word(&rest, &word);
	mail->sender = span_equal(word, SPAN("<>")) ? SPAN("") : keep(t, word);
	while (span_take_word(&rest, &word)) {
		(void)span_split(word, '=', &name, &value);
		if (span_equal(name, SPAN("8bit")))
			mail->needs_8bit = true;
		else if (span_equal(name, SPAN("utf8")))
			mail->needs_utf8 = true;
		else if (span_equal(name, SPAN("ret")))
			mail->ret = span_equal(value, SPAN("full")) ? RET_FULL : RET_HEADERS;
		else if (span_equal(name, SPAN("envid")))
			mail->envid = keep(t, value);
		else if (span_equal(name, SPAN("transid")))
			mail->transid = keep(t, value);
		else if (span_equal(name, SPAN("origin")))
			mail->origin = keep(t, value);
		else if (!span_equal(name, SPAN("claims")) ||
		    !span_parse_u64(value, UINT64_MAX, &mail->body_bytes))
			script_fail(&t->script, "unknown word", word);
	}
}

static void
add_rcpt(struct talk *t, struct span rest)
{
	struct smtp_client_rcpt *rcpt = &t->rcpts[t->mail.rcpt_count++];
	struct span word, name, value;
	uint32_t number = 0;

	*rcpt = (struct smtp_client_rcpt){ 0 };
	(void)span_take_word(&rest, &word);
	rcpt->address = keep(t, word);
	while (span_take_word(&rest, &word)) {
		(void)span_split(word, '=', &name, &value);
		if (span_equal(name, SPAN("orcpt")))
			rcpt->orcpt = keep(t, value);
		else if (span_equal(name, SPAN("notify")) && span_parse_u32(value, 15, &number))
			rcpt->notify = (uint8_t)number;
		else
			script_fail(&t->script, "unknown word", word);
	}
}

static void
send_mail(struct talk *t)
{
	if (t->mail.body_bytes == 0)
		t->mail.body_bytes = buf_len(&t->body);
	for (size_t i = 0; i < t->mail.rcpt_count; i++)
		t->settled[i] = false;
	t->sent = true;
	smtp_client_send(t->client, &t->mail);
	pump(t);
}

/* What the file says of the message; false when the line is about something else. */
static bool
prepare(struct talk *t, struct span word, struct span rest)
{
	if (span_equal(word, SPAN("set")))
		set(t, rest);
	else if (span_equal(word, SPAN("mail")))
		begin_mail(t, rest);
	else if (span_equal(word, SPAN("rcpt")))
		add_rcpt(t, rest);
	else if (span_equal(word, SPAN("body")))
		(void)buf_append(&t->body, script_unescape(rest, &t->scratch));
	else if (span_equal(word, SPAN("body-fails")))
		t->body_fails = true;
	else if (span_equal(word, SPAN("answer")))
		t->answers[t->answer_count++] = keep(t, rest);
	else
		return false;
	return true;
}

/* The next of what has come: a line, or when END_OF_LINE is empty just these octets. */
static void
expect(struct talk *t, struct buf *from, struct span end_of_line, struct span expected,
    const char *what)
{
	struct span all = buf_span(from), wanted = script_unescape(expected, &t->scratch);
	size_t end = wanted.len < all.len ? wanted.len : all.len;
	bool found = end_of_line.len == 0 || span_find(all, end_of_line, &end);
	struct span line = span_first(all, end);

	if (!found || !script_matches(line, wanted))
		script_fail(&t->script, what, line.data ? line : SPAN(""));
	else
		buf_consume(from, end + end_of_line.len);
}

static void
expect_end(struct talk *t, struct span how)
{
	static const char *const names[] = {
		[SMTP_CLIENT_WANTS_INPUT] = "input", [SMTP_CLIENT_WANTS_MAIL] = "mail",
		[SMTP_CLIENT_WANTS_BODY] = "body", [SMTP_CLIENT_WANTS_TLS] = "tls",
		[SMTP_CLIENT_WANTS_CLOSE] = "close", [SMTP_CLIENT_WANTS_CUT] = "cut",
	};
	const char *is = names[smtp_client_wants(t->client)];

	if (!span_equal_cstr(how, is))
		script_fail(&t->script, "the engine stands otherwise", span_from_cstr(is));
}

static bool
check(struct talk *t, struct span word, struct span rest)
{
	if (span_equal(word, SPAN("C:")))
		expect(t, &t->output, SPAN("\r\n"), rest, "another line was expected");
	else if (span_equal(word, SPAN("c:")))
		expect(t, &t->output, SPAN(""), rest, "other octets were expected");
	else if (span_equal(word, SPAN("E:")))
		expect(t, &t->events, SPAN("\n"), rest, "another event was expected");
	else if (span_equal(word, SPAN("end")))
		expect_end(t, rest);
	else if (span_equal(word, SPAN("forget")))
		buf_clear(&t->output);
	else if (!span_equal(word, SPAN("silent")))
		return false;
	else if (!buf_is_empty(&t->output))
		script_fail(&t->script, "it should be silent", buf_span(&t->output));
	return true;
}

/* What is done to the engine from outside. */
static void
act(struct talk *t, struct span word)
{
	struct reply reply;

	if (span_equal(word, SPAN("send"))) {
		send_mail(t);
	} else if (span_equal(word, SPAN("tls"))) {
		smtp_client_tls_done(t->client);
	} else if (span_equal(word, SPAN("quit"))) {
		smtp_client_quit(t->client);
	} else if (span_equal(word, SPAN("lose"))) {
		reply_set(&reply, 450, "4.4.2", "the connection is gone");
		smtp_client_lost(t->client, &reply);
		smtp_client_lost(t->client, &reply);
	} else if (span_equal(word, SPAN("stall"))) {
		t->stalled = true;
	} else if (span_equal(word, SPAN("flow"))) {
		t->stalled = false;
	} else {
		script_fail(&t->script, "unknown line", word);
	}
	pump(t);
}

static void
perform(struct talk *t, struct span line)
{
	struct span word, rest;

	(void)span_split(line, ' ', &word, &rest);
	if (prepare(t, word, rest))
		return;
	begin(t);
	if (span_equal(word, SPAN("S:")) || span_equal(word, SPAN("s:"))) {
		(void)buf_append(&t->pending, script_unescape(rest, &t->scratch));
		if (word.data[0] == 'S')
			(void)buf_append(&t->pending, SPAN("\r\n"));
		return;
	}
	flush(t);
	if (!check(t, word, rest))
		act(t, word);
}

static void
finish(struct talk *t)
{
	if (!buf_is_empty(&t->output))
		script_fail(&t->script, "nobody expected these words", buf_span(&t->output));
	if (!buf_is_empty(&t->events))
		script_fail(&t->script, "nobody expected these events", buf_span(&t->events));
	if (t->answer_first != t->answer_count && !t->needs_proof)
		script_fail(&t->script, "an answer was not asked for", SPAN(""));
	smtp_client_free(&t->client);
}

static bool
run(const char *path, struct span text, int mode, bool parks)
{
	struct talk t = { .script = { .path = path, .mode = mode, .parks = parks } };
	struct buf *const bufs[] = { &t.pending, &t.input, &t.output, &t.events, &t.scratch,
		&t.body };
	struct span line;

	t.settings.hostname = SPAN("mx.example.net");
	for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
		buf_init(bufs[i], SCRIPT_TEXT_MAX);
	arena_init(&t.words, 0);
	random_init_seeded(&t.random, (uint64_t)mode);
	while (!t.script.failed && span_take_part(&text, '\n', &line)) {
		t.script.line++;
		if (line.len > 0 && line.data[0] != '#')
			perform(&t, line);
	}
	finish(&t);
	for (size_t i = 0; i < sizeof(bufs) / sizeof(bufs[0]); i++)
		buf_fini(bufs[i]);
	arena_fini(&t.words);
	return !t.script.failed;
}

int
main(int argc, char **argv)
{
	return script_main(argc, argv, run);
}
