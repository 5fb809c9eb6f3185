#include "relay/base/ascii.h"
#include "relay/base/base64.h"
#include "relay/base/must.h"
#include "relay/smtp/smtp_server_private.h"

enum {
	AUTH_MECHANISM_BYTES_MAX = 20,  /* RFC 4422 section 3.1 */
	/* its base64 has room, always */
	AUTH_CHALLENGE_BYTES_MAX = SMTP_SERVER_REPLY_BYTES_MAX / 2,
};

static bool
is_offered(const struct smtp_server *s, struct span mechanism)
{
	struct span rest = span_from_cstr(s->mechanisms), name;

	while (span_take_word(&rest, &name))
		if (span_equal(name, mechanism))
			return true;
	return false;
}

static void
put_challenge(struct smtp_server *s, struct span challenge)
{
	(void)buf_append(&s->out, SPAN("334 "));
	(void)base64_encode(challenge, &s->out);
	(void)buf_append(&s->out, SPAN("\r\n"));
	s->stage = STAGE_AUTH;
}

static enum step
ask(struct smtp_server *s, const struct smtp_auth_step *auth_step, struct reply *reply)
{
	struct buf challenge;

	buf_init(&challenge, AUTH_CHALLENGE_BYTES_MAX);
	s->asking = true;

	enum step step = s->ops->auth(s->ctx, auth_step, &challenge, reply);

	s->asking = false;
	if (step == STEP_CHALLENGE)
		put_challenge(s, buf_span(&challenge));
	buf_wipe(&challenge);
	return step;
}

/* Decode and ask; a response that is no base64 ends the exchange (RFC 4954 section 4). */
static enum step
ask_with(struct smtp_server *s, struct span mechanism, bool has_response, struct span text,
	 struct reply *reply)
{
	struct smtp_auth_step auth_step = { .mechanism = mechanism, .has_response = has_response };
	struct buf response;
	enum step step;

	buf_init(&response, AUTH_LINE_BYTES_MAX);
	if (base64_decode(text, &response, NULL) < 0) {
		if (mechanism.len == 0)
			s->ops->auth_cancelled(s->ctx);
		reply_set(reply, 501, "5.5.2", "this is no base64");
		step = STEP_REPLY;
	} else {
		auth_step.response = buf_span(&response);
		step = ask(s, &auth_step, reply);
	}
	buf_wipe(&response);
	return step;
}

enum step
smtp_server_auth(struct smtp_server *s, struct span args, struct reply *reply)
{
	char upper[AUTH_MECHANISM_BYTES_MAX];
	struct span name, response;

	if (!s->extended || !s->mechanisms || s->authenticated) {
		reply_set(reply, 503, "5.5.1", s->authenticated ? "you are authenticated already"
								: "AUTH is not offered here");
		return STEP_REPLY;
	}
	if (!span_take_word(&args, &name)) {
		reply_set(reply, 501, "5.5.4", "expected AUTH mechanism");
		return STEP_REPLY;
	}
	for (size_t i = 0; i < name.len && i < sizeof(upper); i++)
		upper[i] = ascii_upper(name.data[i]);
	if (name.len > sizeof(upper) || !is_offered(s, span_make(upper, name.len))) {
		reply_set(reply, 504, "5.5.4", "the mechanism is not offered");
		return STEP_REPLY;
	}

	bool has_response = span_take_word(&args, &response);

	if (has_response && span_trim(args).len > 0) {
		reply_set(reply, 501, "5.5.4", "expected AUTH mechanism [response]");
		return STEP_REPLY;
	}
	if (!has_response || span_equal(response, SPAN("=")))
		response = span_first(name, 0);
	return ask_with(s, span_make(upper, name.len), has_response, response, reply);
}

void
smtp_server_auth_line(struct smtp_server *s, struct span line)
{
	struct reply reply = { 0 };

	s->stage = STAGE_COMMAND;
	if (span_equal(line, SPAN("*"))) {
		s->ops->auth_cancelled(s->ctx);
		smtp_server_say(s, 501, "5.7.0", "given up");
		return;
	}

	enum step step = ask_with(s, span_first(line, 0), true, line, &reply);

	smtp_server_take_step(s, QUESTION_AUTH, step, &reply);
}

void
smtp_server_auth_answered(struct smtp_server *s, const struct reply *reply)
{
	must(reply->code == 235 || reply_is_transient(reply) || reply_is_permanent(reply));
	smtp_server_put_reply(s, reply);
	if (reply->code == 235)
		s->authenticated = true;
}

void
smtp_server_challenge(struct smtp_server *s, struct span challenge)
{
	if (s->ending != ENDING_NONE)
		return;
	must(s->question == QUESTION_AUTH && challenge.len <= AUTH_CHALLENGE_BYTES_MAX);
	s->question = QUESTION_NONE;
	put_challenge(s, challenge);
}
