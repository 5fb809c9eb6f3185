/*
 * Whole sessions of the receiving engine: any octets, in any pieces, to an application that
 * answers at once, later, or badly.  What must hold whatever comes: replies are lines, each
 * transaction ends exactly once, and no bare CR, LF or NUL is ever part of a message.
 */
#include "relay/base/buf.h"
#include "relay/base/must.h"
#include "relay/smtp/smtp_server.h"
#include "tests/fuzz/fuzz.h"

enum { OUTPUT_BYTES_MAX = 1 << 20, TURNS_MAX = 1 << 16 };

struct session {
	struct smtp_server *server;
	struct fuzz_pieces pieces;
	struct buf body;
	bool parks, refuses, parked, parked_challenge, refuse_body;
	bool transaction, closed;
	bool cut_under_tls;
	size_t rcpt_count, answered_count;
	struct reply answer;
};

/* Some of the answers are refusals: which ones the input says, by its pieces. */
static enum step
answer(struct session *s, struct reply *reply, uint16_t code)
{
	bool refuse = s->refuses && fuzz_piece(&s->pieces, 100) == 3;

	s->answered_count++;
	if (refuse && s->answered_count % 16 == 15)
		return STEP_CUT;
	reply_set(reply, refuse ? 450 : code, refuse ? "4.0.0" : "", "so be it");
	if (!s->parks)
		return STEP_REPLY;
	s->parked = true;
	s->answer = *reply;
	return STEP_PARK;
}

static enum step
on_open(void *ctx, struct reply *reply)
{
	(void)ctx;
	reply_set(reply, 220, "", "ready");
	return STEP_REPLY;
}

static enum step
on_hello(void *ctx, const struct smtp_hello *hello, struct reply *reply)
{
	must(!span_has_control(hello->name) && hello->name.len <= 255);
	return answer(ctx, reply, 250);
}

static enum step
on_mail(void *ctx, const struct smtp_mail *mail, struct reply *reply)
{
	struct session *s = ctx;
	enum step step = answer(s, reply, 250);

	must(!s->transaction && !span_has_control(mail->envid));
	s->transaction = step == STEP_PARK || (step == STEP_REPLY && reply->code == 250);
	s->rcpt_count = 0;
	buf_clear(&s->body);
	return step;
}

static enum step
on_rcpt(void *ctx, const struct smtp_rcpt *rcpt, struct reply *reply)
{
	struct session *s = ctx;

	must(s->transaction && rcpt->index == s->rcpt_count);

	enum step step = answer(s, reply, 250);

	s->rcpt_count += reply->code == 250 && step != STEP_CUT;
	return step;
}

static enum step
on_data(void *ctx, struct reply *reply)
{
	struct session *s = ctx;

	must(s->transaction && s->rcpt_count > 0);
	return answer(s, reply, 354);
}

static size_t
on_body(void *ctx, struct span octets)
{
	struct session *s = ctx;
	size_t took;

	must(s->transaction && octets.len > 0);
	if (s->refuse_body) {
		struct reply reply;

		s->refuse_body = false;
		reply_set(&reply, 552, "5.3.4", "too big");
		smtp_server_refuse_body(s->server, &reply);
		return 0;
	}
	took = fuzz_piece(&s->pieces, octets.len);
	must(buf_append(&s->body, span_first(octets, took)) == 0);
	return took;
}

static enum step
on_end(void *ctx, const struct smtp_body_facts *facts, struct reply *reply)
{
	struct session *s = ctx;
	struct span body = buf_span(&s->body);

	must(s->transaction && facts->octets == body.len);
	must(facts->has_8bit == !span_is_ascii(body));
	for (size_t i = 0; i < body.len; i++) {
		must(body.data[i] != '\0');
		must(body.data[i] != '\n' || (i > 0 && body.data[i - 1] == '\r'));
		must(body.data[i] != '\r' || (i + 1 < body.len && body.data[i + 1] == '\n'));
	}

	enum step step = answer(s, reply, 250);

	if (step == STEP_REPLY)
		s->transaction = false;
	return step;
}

static void
on_outcome(void *ctx, size_t index, struct reply *reply)
{
	must(index < ((struct session *)ctx)->rcpt_count);
	reply_set(reply, index % 2 ? 452 : 250, index % 2 ? "4.2.2" : "2.0.0", "as you see");
}

static void
on_reset(void *ctx, enum smtp_reset reason)
{
	struct session *s = ctx;

	(void)reason;
	must(s->transaction);
	s->transaction = false;
	if (reason == SMTP_RESET_LOST)
		s->parked = false;
}

static enum step
on_auth(void *ctx, const struct smtp_auth_step *auth_step, struct buf *challenge,
    struct reply *reply)
{
	struct session *s = ctx;

	must(!s->transaction);
	if (auth_step->mechanism.len == 0 && auth_step->response.len > 3) {
		reply_set(reply, 235, "2.7.0", "welcome");
		return STEP_REPLY;
	}
	if (fuzz_piece(&s->pieces, 100) == 4) {
		reply_set(reply, 535, "5.7.8", "no");
		return STEP_REPLY;
	}
	if (!s->parks) {
		(void)buf_append_cstr(challenge, "who?");
		return STEP_CHALLENGE;
	}
	s->parked = s->parked_challenge = true;
	return STEP_PARK;
}

static void
on_auth_cancelled(void *ctx)
{
	must(!((struct session *)ctx)->transaction);
}

static void
on_closed(void *ctx)
{
	struct session *s = ctx;

	must(!s->transaction && !s->closed);
	s->closed = true;
}

static const struct smtp_server_ops ops = {
	.open = on_open, .hello = on_hello, .mail = on_mail, .rcpt = on_rcpt, .data = on_data,
	.body = on_body, .end = on_end, .outcome = on_outcome, .reset = on_reset,
	.auth = on_auth, .auth_cancelled = on_auth_cancelled, .closed = on_closed,
};

static void
answer_parked(struct session *s)
{
	s->parked = false;
	if (s->parked_challenge) {
		s->parked_challenge = false;
		smtp_server_challenge(s->server, SPAN("and?"));
		return;
	}
	/* A parked end() is over with its answer: reset() does not come for it. */
	if (s->answer.code == 250 || s->answer.code == 450)
		s->transaction = smtp_server_has_transaction(s->server);
	smtp_server_answer(s->server, &s->answer);
	s->transaction = smtp_server_has_transaction(s->server);
}

static void
check_output(struct session *s)
{
	struct buf *output = smtp_server_output(s->server);

	must(buf_len(output) <= SMTP_SERVER_OUTPUT_BYTES_MAX);
	fuzz_check_lines(buf_span(output), 12290);
	buf_consume(output, buf_len(output));
}

/* What the engine says of itself is of one piece. */
static void
check_state(struct session *s)
{
	enum smtp_server_stage stage = smtp_server_stage(s->server);
	uint64_t count = smtp_server_command_count(s->server);

	must(stage == SMTP_SERVER_STAGE_COMMAND || count > 0);
	must(smtp_server_last_verb(s->server)[0] == '\0' || count > 0);
	must(stage != SMTP_SERVER_STAGE_AUTH || !smtp_server_is_authenticated(s->server));
	must(smtp_server_rcpt_count(s->server) <= count);
	must(!smtp_server_is_extended(s->server) || count > 0);
	if (s->cut_under_tls && smtp_server_is_tls(s->server))
		smtp_server_cut(s->server);
}

/* Until the engine has nothing more to do; false when the session is over. */
static bool
turn(struct session *s, struct span *input)
{
	size_t show = fuzz_piece(&s->pieces, input->len);
	size_t waited = show;

	for (size_t turns = 0; turns < TURNS_MAX; turns++) {
		size_t consumed = smtp_server_feed(s->server, span_first(*input, waited));

		must(consumed <= waited);
		*input = span_skip(*input, consumed);
		waited -= consumed;
		check_state(s);
		switch (smtp_server_wants(s->server)) {
		case SMTP_SERVER_WANTS_INPUT:
			check_output(s);
			if (consumed > 0)
				continue;
			if (waited == input->len)
				return false;
			waited += fuzz_piece(&s->pieces, input->len - waited);
			continue;
		case SMTP_SERVER_WANTS_DRAIN:
			check_output(s);
			continue;
		case SMTP_SERVER_WANTS_ANSWER:
			must(s->parked);
			answer_parked(s);
			continue;
		case SMTP_SERVER_WANTS_ROOM:
			smtp_server_resume(s->server);
			continue;
		case SMTP_SERVER_WANTS_TLS:
			check_output(s);
			if (waited > 0)
				return false;   /* the session ends it: octets behind STARTTLS */
			smtp_server_tls_done(s->server);
			continue;
		case SMTP_SERVER_WANTS_CLOSE:
		case SMTP_SERVER_WANTS_CUT:
			check_output(s);
			return false;
		}
	}
	must(!"the engine comes to rest");
	return false;
}

static void
run(struct span input, bool with_auth)
{
	unsigned int choice = fuzz_choice(&input);
	struct smtp_server_settings settings;
	struct session s = { .parks = choice & 1, .refuses = choice & 2,
	    .refuse_body = choice & 8, .cut_under_tls = choice & 128 };

	s.pieces = fuzz_pieces_init(fuzz_choice(&input));
	smtp_server_settings_init(&settings);
	settings.hostname = SPAN("relay1.example.net");
	settings.offered = SMTP_CAPABILITIES_COMMON | SMTP_STARTTLS | SMTP_LIMITS;
	settings.lmtp = choice & 4;
	if (choice & 16) {
		settings.size_max = 1000;
		settings.rcpt_count_max = 2;
		settings.mail_count_max = 2;
		settings.error_count_max = 3;
		settings.useless_count_max = 5;
		settings.text_line_bytes_max = 100;
		settings.swallow_bytes_max = 2000;
	}
	buf_init(&s.body, OUTPUT_BYTES_MAX);
	s.server = smtp_server_new(&settings, &ops, &s);
	if (with_auth)
		smtp_server_set_mechanisms(s.server, SPAN("PLAIN LOGIN SCRAM-SHA-256"));
	if (choice & 32)
		smtp_server_offer(s.server, SMTP_XORIGIN | SMTP_CHECKPOINT);
	smtp_server_open(s.server);
	while (turn(&s, &input))
		;
	if (choice & 64)
		smtp_server_drain(s.server, "4.3.2", "going down");
	smtp_server_free(&s.server);
	must(s.closed);
	buf_fini(&s.body);
}

void
fuzz_server(struct span input)
{
	run(input, false);
}

void
fuzz_auth(struct span input)
{
	run(input, true);
}
