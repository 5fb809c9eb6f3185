#include "relay/smtp/smtp_client.h"

#include "relay/base/base64.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/smtp/smtp_client_private.h"

enum { EXPECTED_SPARE = 8, CHALLENGE_COUNT_MAX = 16 };

struct smtp_client *
smtp_client_new(const struct smtp_client_settings *settings, const struct smtp_client_ops *ops,
		void *ctx)
{
	struct smtp_client *c = mem_alloc(sizeof(*c));

	c->settings = settings;
	c->ops = ops;
	c->ctx = ctx;
	buf_init(&c->out, SMTP_CLIENT_OUTPUT_BYTES_MAX);
	reply_reader_init(&c->reader);
	smtp_peer_init(&c->peer);
	c->first_line = true;
	smtp_client_expect(c, EXPECTED_GREETING, 0);
	return c;
}

void
smtp_client_free(struct smtp_client **client)
{
	struct smtp_client *c = *client;

	if (!c)
		return;
	buf_wipe(&c->out);
	mem_free(&c->expected);
	mem_free(&c->fates);
	mem_free(client);
}

/* ---- the replies that are waited for -------------------------------------- */

void
smtp_client_expect(struct smtp_client *c, enum expected_kind kind, size_t rcpt)
{
	if (c->expected_count == c->expected_capacity) {
		size_t capacity = c->expected_capacity ? 2 * c->expected_capacity : EXPECTED_SPARE;
		struct expected *grown = mem_alloc_array(capacity, sizeof(*grown));

		for (size_t i = 0; i < c->expected_count; i++)
			grown[i] = c->expected[(c->expected_first + i) % c->expected_capacity];
		mem_free(&c->expected);
		c->expected = grown;
		c->expected_capacity = capacity;
		c->expected_first = 0;
	}
	c->expected[(c->expected_first + c->expected_count++) % c->expected_capacity] =
	    (struct expected){
		.kind = kind,
		.rcpt = rcpt,
		.said_at = c->commands_wrote + buf_len(&c->out),
	};
}

static struct expected
take_expected(struct smtp_client *c)
{
	struct expected first = c->expected[c->expected_first];

	c->expected_first = (c->expected_first + 1) % c->expected_capacity;
	c->expected_count--;
	return first;
}

static enum smtp_client_at
at_of(enum expected_kind kind)
{
	switch (kind) {
	case EXPECTED_GREETING:		return SMTP_CLIENT_AT_GREETING;
	case EXPECTED_EHLO:
	case EXPECTED_HELO:		return SMTP_CLIENT_AT_HELLO;
	case EXPECTED_STARTTLS:		return SMTP_CLIENT_AT_STARTTLS;
	case EXPECTED_AUTH:		return SMTP_CLIENT_AT_AUTH;
	case EXPECTED_RSET:
	case EXPECTED_MAIL:		return SMTP_CLIENT_AT_MAIL;
	case EXPECTED_RCPT:		return SMTP_CLIENT_AT_RCPT;
	case EXPECTED_DATA:		return SMTP_CLIENT_AT_DATA;
	case EXPECTED_CHUNK:		return SMTP_CLIENT_AT_BODY;
	case EXPECTED_END:
	case EXPECTED_EMPTY_END:	return SMTP_CLIENT_AT_END;
	case EXPECTED_QUIT:		return SMTP_CLIENT_AT_QUIT;
	}
	must_not_reach();
}

enum smtp_client_at
smtp_client_at(const struct smtp_client *c)
{
	if (c->state == CLIENT_WAITS_TLS)
		return SMTP_CLIENT_AT_STARTTLS;
	if (c->state == CLIENT_MAIL && (c->body == BODY_LEAVING ||
	    (c->body == BODY_DUE && c->expected_count == 0)))
		return SMTP_CLIENT_AT_BODY;
	if (c->expected_count > 0)
		return at_of(c->expected[c->expected_first].kind);
	return SMTP_CLIENT_AT_READY;
}

/* ---- the end -------------------------------------------------------------- */

static bool
is_over(const struct smtp_client *c)
{
	return c->state == CLIENT_CLOSED || c->state == CLIENT_CUT;
}

void
smtp_client_fail(struct smtp_client *c, enum smtp_client_at at, const struct reply *reply,
		 bool from_peer, bool is_protocol_error, const char *why)
{
	struct smtp_client_failure failure = {
		.at = at,
		.is_protocol_error = is_protocol_error,
		.is_closing = from_peer && reply->code == 421,
		.from_peer = from_peer,
		.reply = *reply,
	};
	bool quitting = c->state == CLIENT_QUITTING;

	if (is_over(c))
		return;
	/* Who turned us away politely gets a QUIT's silence; who spoke nonsense is cut off. */
	c->state = from_peer && !is_protocol_error ? CLIENT_CLOSED : CLIENT_CUT;
	c->expected_count = 0;
	buf_clear(&c->out);
	(void)err_set(&failure.err, is_protocol_error ? ERR_FORMAT : ERR_REFUSED, "%s", why);
	if (c->mail)
		smtp_client_abandon(c, at, reply, from_peer);
	if (!quitting)
		c->ops->failed(c->ctx, &failure);
}

static void
fail_protocol(struct smtp_client *c, const char *why)
{
	struct reply reply;

	reply_set(&reply, 450, "4.5.0", "the peer does not speak SMTP: %s", why);
	smtp_client_fail(c, smtp_client_at(c), &reply, false, true, why);
}

void
smtp_client_lost(struct smtp_client *c, const struct reply *reply)
{
	if (is_over(c))
		return;
	if (c->state != CLIENT_QUITTING) {
		smtp_client_fail(c, smtp_client_at(c), reply, false, false, reply->text);
	}
	c->state = CLIENT_CUT;
}

/* ---- the way to READY ----------------------------------------------------- */

static void
say_hello(struct smtp_client *c, bool extended)
{
	const char *verb = c->settings->lmtp ? "LHLO" : extended ? "EHLO" : "HELO";

	smtp_peer_init(&c->peer);
	c->extended = extended;
	(void)buf_appendf(&c->out, "%s %.*s\r\n", verb, SPAN_ARGS(c->settings->hostname));
	smtp_client_expect(c, extended ? EXPECTED_EHLO : EXPECTED_HELO, 0);
}

void
smtp_client_ready(struct smtp_client *c)
{
	c->state = CLIENT_READY;
	if (c->quit_wanted)
		smtp_client_quit(c);
	else
		c->ops->ready(c->ctx);
}

static void
fail_auth(struct smtp_client *c, const char *why)
{
	struct reply reply;

	reply_set(&reply, 454, "4.7.0", "%s", why);
	smtp_client_fail(c, SMTP_CLIENT_AT_AUTH, &reply, false, false, why);
}

static bool
choose_mechanism(struct smtp_client *c)
{
	struct span rest = c->settings->mechanism;

	while (span_take_word(&rest, &c->mechanism))
		if (smtp_peer_has_mechanism(&c->peer, c->mechanism))
			return true;
	return false;
}

static void
begin_auth(struct smtp_client *c)
{
	struct buf response;

	if (c->settings->auth_needs_tls && !c->tls) {
		fail_auth(c, "we must authenticate, and not without TLS");
		return;
	}
	if (!choose_mechanism(c)) {
		fail_auth(c, "the peer does not offer the mechanism we must use");
		return;
	}
	buf_init(&response, SMTP_CLIENT_INPUT_BYTES_MIN / 2);
	(void)buf_appendf(&c->out, "AUTH %.*s", SPAN_ARGS(c->mechanism));
	if (c->ops->auth(c->ctx, false, SPAN(""), &response) == 0) {
		(void)buf_append_byte(&c->out, ' ');
		if (buf_is_empty(&response))
			(void)buf_append_byte(&c->out, '=');
		(void)base64_encode(buf_span(&response), &c->out);
	}
	(void)buf_append(&c->out, SPAN("\r\n"));
	buf_wipe(&response);
	smtp_client_expect(c, EXPECTED_AUTH, 0);
}

/* RFC 4954 section 4: a line of base64, or "*" to give up. */
static void
answer_challenge(struct smtp_client *c, struct span text)
{
	struct buf challenge, response;

	buf_init(&challenge, SMTP_CLIENT_INPUT_BYTES_MIN);
	buf_init(&response, SMTP_CLIENT_INPUT_BYTES_MIN / 2);
	if (++c->challenge_count > CHALLENGE_COUNT_MAX ||
	    base64_decode(span_trim(text), &challenge, NULL) < 0 ||
	    c->ops->auth(c->ctx, true, buf_span(&challenge), &response) < 0)
		(void)buf_append_byte(&c->out, '*');
	else
		(void)base64_encode(buf_span(&response), &c->out);
	(void)buf_append(&c->out, SPAN("\r\n"));
	buf_wipe(&challenge);
	buf_wipe(&response);
	smtp_client_expect(c, EXPECTED_AUTH, 0);
}

/* EHLO was answered: what comes next. */
static void
after_hello(struct smtp_client *c)
{
	enum smtp_client_tls tls = c->settings->tls;
	struct reply reply;

	if (!c->tls && tls != SMTP_CLIENT_TLS_NEVER && smtp_peer_offers(&c->peer, SMTP_STARTTLS)) {
		(void)buf_append(&c->out, SPAN("STARTTLS\r\n"));
		smtp_client_expect(c, EXPECTED_STARTTLS, 0);
	} else if (!c->tls && tls == SMTP_CLIENT_TLS_REQUIRED) {
		reply_set(&reply, 454, "4.7.4", "the peer does not offer STARTTLS");
		smtp_client_fail(c, SMTP_CLIENT_AT_STARTTLS, &reply, false, false, reply.text);
	} else if (c->settings->mechanism.len) {
		begin_auth(c);
	} else {
		smtp_client_ready(c);
	}
}

/* A refusal as 4yz or 5yz, whatever odd code the peer chose. */
static struct reply
as_refusal(const struct reply *reply)
{
	struct reply refusal = *reply;

	if (!reply_is_transient(reply) && !reply_is_permanent(reply))
		reply_set(&refusal, 450, "4.5.0", "unexpected reply %u: %.400s", reply->code,
		    reply->text);
	return refusal;
}

static void
starttls_answered(struct smtp_client *c, const struct reply *reply)
{
	struct reply refusal = as_refusal(reply);

	if (reply->code == 220) {
		c->state = CLIENT_WAITS_TLS;
	} else if (c->settings->tls == SMTP_CLIENT_TLS_REQUIRED || c->closing) {
		smtp_client_fail(c, SMTP_CLIENT_AT_STARTTLS, &refusal, true, false,
		    "STARTTLS was refused");
	} else if (c->settings->mechanism.len) {
		begin_auth(c);
	} else {
		smtp_client_ready(c);
	}
}

static void
opening_reply(struct smtp_client *c, struct expected what, const struct reply *reply)
{
	struct reply refusal = as_refusal(reply);

	switch (what.kind) {
	case EXPECTED_GREETING:
		c->greeting = *reply;
		if (reply->code == 220)
			say_hello(c, true);
		else
			smtp_client_fail(c, SMTP_CLIENT_AT_GREETING, &refusal, true, false,
			    "the peer turned us away");
		return;
	case EXPECTED_EHLO:
		if (reply_is_positive(reply))
			after_hello(c);
		else if (reply_is_permanent(reply) && !c->settings->lmtp && !c->tls)
			say_hello(c, false);    /* RFC 5321 section 4.1.1.1: an old server */
		else
			smtp_client_fail(c, SMTP_CLIENT_AT_HELLO, &refusal, true, false,
			    "EHLO was refused");
		return;
	case EXPECTED_HELO:
		if (reply_is_positive(reply))
			after_hello(c);
		else
			smtp_client_fail(c, SMTP_CLIENT_AT_HELLO, &refusal, true, false,
			    "HELO was refused");
		return;
	case EXPECTED_STARTTLS:
		starttls_answered(c, reply);
		return;
	case EXPECTED_AUTH:
		if (reply_is_positive(reply) && c->ops->auth_accepted &&
		    !c->ops->auth_accepted(c->ctx))
			fail_auth(c, "the peer has not proven that it knows us");
		else if (reply_is_positive(reply))
			smtp_client_ready(c);
		else
			smtp_client_fail(c, SMTP_CLIENT_AT_AUTH, &refusal, true, false,
			    "AUTH was refused");
		return;
	case EXPECTED_RSET:
		smtp_client_advance(c);         /* whatever it said: MAIL will tell */
		return;
	case EXPECTED_QUIT:
		c->state = CLIENT_CLOSED;
		return;
	case EXPECTED_MAIL: case EXPECTED_RCPT: case EXPECTED_DATA: case EXPECTED_CHUNK:
	case EXPECTED_END: case EXPECTED_EMPTY_END:
		smtp_client_mail_reply(c, what, reply);
		return;
	}
	must_not_reach();
}

/* ---- input ---------------------------------------------------------------- */

/* A reply though nothing was asked: a refusal of the body that is still leaving, or nonsense. */
static void
unasked_reply(struct smtp_client *c, const struct reply *reply)
{
	bool refuses_body = c->state == CLIENT_MAIL &&
			    (reply_is_transient(reply) || reply_is_permanent(reply));

	if (reply->code == 421)
		smtp_client_fail(c, smtp_client_at(c), reply, true, false, "the peer is closing");
	else if (refuses_body)
		smtp_client_fail(c, SMTP_CLIENT_AT_BODY, reply, true, false,
		    "the peer refused the message before it was complete");
	else
		fail_protocol(c, "a reply that answers nothing");
}

static void
complete_reply(struct smtp_client *c, struct span text)
{
	struct reply reply = c->reader.reply;

	c->reply_count++;
	c->first_line = true;
	if (c->expected_count == 0) {
		unasked_reply(c, &reply);
		return;
	}
	c->closing = reply.code == 421;
	if (c->expected[c->expected_first].said_at > c->commands_wrote && !c->closing) {
		fail_protocol(c, "a reply to what has not been said yet");
		return;
	}

	const enum expected_kind kind = c->expected[c->expected_first].kind;

	if (reply_is_intermediate(&reply) && kind != EXPECTED_DATA &&
	    !(kind == EXPECTED_AUTH && reply.code == 334)) {
		fail_protocol(c, "an intermediate reply where there is none");
		return;
	}

	const struct expected what = take_expected(c);

	if (kind == EXPECTED_AUTH && reply.code == 334) {
		answer_challenge(c, text);
		return;
	}
	opening_reply(c, what, &reply);
	if (c->closing && !is_over(c))
		smtp_client_fail(c, at_of(kind), &reply, true, false, "the peer is closing");
}

size_t
smtp_client_feed(struct smtp_client *c, struct span input)
{
	size_t consumed = 0;

	while (consumed < input.len && !is_over(c)) {
		struct err err;
		struct span text;
		size_t read;

		if (c->state == CLIENT_WAITS_TLS) {
			/*
			 * CVE-2011-0411, the client's half: words said in clear, to be believed
			 * under TLS.
			 */
			fail_protocol(c, "bytes behind the reply to STARTTLS");
			break;
		}

		enum reply_event event = reply_reader_next(&c->reader, span_skip(input, consumed),
		    &read,
		    &text, &err);

		if (event == REPLY_MORE)
			return consumed;
		if (event == REPLY_BAD) {
			fail_protocol(c, err.text);
			break;
		}
		consumed += read;
		if (!c->first_line && c->expected_count > 0 && c->extended &&
		    c->expected[c->expected_first].kind == EXPECTED_EHLO)
			smtp_peer_add(&c->peer, text);
		c->first_line = false;
		if (event == REPLY_LAST)
			complete_reply(c, text);
	}
	return is_over(c) ? input.len : consumed;
}

/* ---- output, and what the session asks ------------------------------------ */

struct span
smtp_client_output(struct smtp_client *c, bool *is_body_out)
{
	*is_body_out = false;
	if (is_over(c))
		return SPAN("");
	if (!buf_is_empty(&c->out))
		return buf_span(&c->out);
	if (c->state == CLIENT_MAIL)
		return smtp_client_body_output(c, is_body_out);
	return SPAN("");
}

void
smtp_client_wrote(struct smtp_client *c, size_t octets)
{
	if (!buf_is_empty(&c->out)) {
		buf_consume(&c->out, octets);
		c->commands_wrote += octets;
	} else if (octets) {
		smtp_client_body_wrote(c, octets);
	}
	if (c->state == CLIENT_MAIL)
		smtp_client_advance(c);
}

enum smtp_client_wants
smtp_client_wants(const struct smtp_client *c)
{
	switch (c->state) {
	case CLIENT_OPENING:
	case CLIENT_QUITTING:
		return SMTP_CLIENT_WANTS_INPUT;
	case CLIENT_WAITS_TLS:
		return buf_is_empty(&c->out) ? SMTP_CLIENT_WANTS_TLS : SMTP_CLIENT_WANTS_INPUT;
	case CLIENT_READY:
		return SMTP_CLIENT_WANTS_MAIL;
	case CLIENT_MAIL:
		return c->waits_for_body ? SMTP_CLIENT_WANTS_BODY : SMTP_CLIENT_WANTS_INPUT;
	case CLIENT_CLOSED:
		return SMTP_CLIENT_WANTS_CLOSE;
	case CLIENT_CUT:
		return SMTP_CLIENT_WANTS_CUT;
	}
	must_not_reach();
}

void
smtp_client_tls_done(struct smtp_client *c)
{
	c->tls = true;
	if (c->state != CLIENT_WAITS_TLS)
		return;
	c->state = CLIENT_OPENING;
	say_hello(c, true);
}

void
smtp_client_quit(struct smtp_client *c)
{
	c->quit_wanted = true;
	if (c->state != CLIENT_READY)
		return;
	c->state = CLIENT_QUITTING;
	(void)buf_append(&c->out, SPAN("QUIT\r\n"));
	smtp_client_expect(c, EXPECTED_QUIT, 0);
}

uint64_t
smtp_client_reply_count(const struct smtp_client *c)
{
	return c->reply_count;
}

bool
smtp_client_uses_chunking(const struct smtp_client *c)
{
	return c->chunking;
}

bool
smtp_client_is_tls(const struct smtp_client *c)
{
	return c->tls;
}

struct span
smtp_client_mechanism(const struct smtp_client *c)
{
	return c->mechanism;
}

const struct smtp_peer *
smtp_client_peer(const struct smtp_client *c)
{
	return &c->peer;
}

const struct reply *
smtp_client_greeting(const struct smtp_client *c)
{
	return &c->greeting;
}

const char *
smtp_client_at_name(enum smtp_client_at at)
{
	static const char *const names[] = {
		[SMTP_CLIENT_AT_GREETING] = "greeting", [SMTP_CLIENT_AT_HELLO] = "hello",
		[SMTP_CLIENT_AT_STARTTLS] = "starttls", [SMTP_CLIENT_AT_AUTH] = "auth",
		[SMTP_CLIENT_AT_READY] = "ready", [SMTP_CLIENT_AT_MAIL] = "mail",
		[SMTP_CLIENT_AT_RCPT] = "rcpt", [SMTP_CLIENT_AT_DATA] = "data",
		[SMTP_CLIENT_AT_BODY] = "body", [SMTP_CLIENT_AT_END] = "end",
		[SMTP_CLIENT_AT_QUIT] = "quit",
	};

	return names[at];
}
