#include "relay/smtp/smtp_server.h"

#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/smtp/smtp_line.h"
#include "relay/smtp/smtp_server_private.h"

void
smtp_server_settings_init(struct smtp_server_settings *settings)
{
	*settings = (struct smtp_server_settings){
		.offered = SMTP_CAPABILITIES_COMMON,
		.size_max = 100u << 20,
		.rcpt_count_max = 1000,
		.mail_count_max = 0,
		.error_count_max = 20,
		.useless_count_max = 100,
		.text_line_bytes_max = 0,
		.swallow_bytes_max = 128u << 20,
	};
}

struct smtp_server *
smtp_server_new(const struct smtp_server_settings *settings, const struct smtp_server_ops *ops,
		void *ctx)
{
	struct smtp_server *s = mem_alloc(sizeof(*s));

	s->settings = settings;
	s->ops = ops;
	s->ctx = ctx;
	s->phase = PHASE_START;
	buf_init(&s->out, SMTP_SERVER_OUTPUT_BYTES_MAX);
	arena_init(&s->arena, 0);
	return s;
}

void
smtp_server_free(struct smtp_server **server)
{
	struct smtp_server *s = *server;

	if (!s)
		return;
	must(!s->asking);
	smtp_server_end_transaction(s, SMTP_RESET_LOST);
	s->ops->closed(s->ctx);
	buf_fini(&s->out);
	arena_fini(&s->arena);
	mem_free(&s->mechanisms);
	mem_free(&s->refusal);
	mem_free(server);
}

/* ---- the transaction ------------------------------------------------------ */

void
smtp_server_forget_transaction(struct smtp_server *s)
{
	s->open = false;
	s->smtputf8 = false;
	s->rcpt_count = s->rcpt_over_count = 0;
	s->body_octets = 0;
	s->chunk_begun = false;
	s->refused = false;
	if (s->phase & (PHASE_MAIL | PHASE_RCPT | PHASE_CHUNKS))
		s->phase = PHASE_READY;
}

void
smtp_server_end_transaction(struct smtp_server *s, enum smtp_reset reason)
{
	bool was_open = s->open;

	smtp_server_forget_transaction(s);
	if (was_open)
		s->ops->reset(s->ctx, reason);
}

/* ---- answers -------------------------------------------------------------- */

static bool
is_yes(const struct reply *reply)
{
	return reply_is_positive(reply) || reply_is_intermediate(reply);
}

static void
opened(struct smtp_server *s, const struct reply *reply)
{
	if (!reply_is_positive(reply)) {
		smtp_server_put_reply(s, reply);
		/* RFC 5321 section 3.1: who hears 554 says QUIT, and that is waited for. */
		if (reply->code == 554)
			s->phase = PHASE_REFUSED;
		else
			s->ending = ENDING_CLOSE;
		return;
	}
	(void)buf_appendf(&s->out, "220 %.*s %s Chapar\r\n", SPAN_ARGS(s->settings->hostname),
	    s->settings->lmtp ? "LMTP" : "ESMTP");
	s->phase = PHASE_GREETED;
}

static void
greeted(struct smtp_server *s, const struct reply *reply)
{
	if (!reply_is_positive(reply)) {
		smtp_server_put_reply(s, reply);
		return;
	}
	s->phase = PHASE_READY;
	smtp_server_put_hello(s);
}

static void
mail_answered(struct smtp_server *s, const struct reply *reply)
{
	must(reply->code == 250 || reply->code == 355 || !is_yes(reply));
	smtp_server_put_reply(s, reply);
	s->open = is_yes(reply);
	if (s->open) {
		s->phase = PHASE_MAIL;
		s->mail_count++;
	}
}

static void
rcpt_answered(struct smtp_server *s, const struct reply *reply)
{
	must(reply_is_positive(reply) || !is_yes(reply));
	smtp_server_put_reply(s, reply);
	if (!reply_is_positive(reply)) {
		if (s->rcpt_count == 0)
			s->useless_count++;
		return;
	}
	s->phase = PHASE_RCPT;
	s->rcpt_count++;
}

static void
data_answered(struct smtp_server *s, const struct reply *reply)
{
	must(reply->code == 354 || !is_yes(reply));
	smtp_server_put_reply(s, reply);
	if (reply_is_intermediate(reply))
		smtp_server_begin_data(s);
}

static void
act_on(struct smtp_server *s, enum question question, const struct reply *reply)
{
	switch (question) {
	case QUESTION_OPEN:
		opened(s, reply);
		return;
	case QUESTION_HELLO:
		greeted(s, reply);
		return;
	case QUESTION_MAIL:
		mail_answered(s, reply);
		return;
	case QUESTION_RCPT:
		rcpt_answered(s, reply);
		return;
	case QUESTION_DATA:
		data_answered(s, reply);
		return;
	case QUESTION_CHUNK:
		smtp_server_begin_chunk(s, reply);
		return;
	case QUESTION_END:
		smtp_server_finish_body(s, reply);
		return;
	case QUESTION_AUTH:
		smtp_server_auth_answered(s, reply);
		return;
	case QUESTION_NONE:
		break;
	}
	must_not_reach();
}

void
smtp_server_take_step(struct smtp_server *s, enum question question, enum step step,
		      const struct reply *reply)
{
	switch (step) {
	case STEP_REPLY:
		act_on(s, question, reply);
		return;
	case STEP_PARK:
		s->question = question;
		if (question == QUESTION_MAIL)
			s->open = true;
		return;
	case STEP_CHALLENGE:
		return;
	case STEP_CUT:
		s->ending = ENDING_CUT;
		return;
	}
	must_not_reach();
}

void
smtp_server_answer(struct smtp_server *s, const struct reply *reply)
{
	enum question question = s->question;

	if (s->ending != ENDING_NONE)
		return;                 /* the client did something that ended it meanwhile */
	must(question != QUESTION_NONE && !s->asking);
	s->question = QUESTION_NONE;
	act_on(s, question, reply);
}

void
smtp_server_cut(struct smtp_server *s)
{
	s->question = QUESTION_NONE;
	s->ending = ENDING_CUT;
}

void
smtp_server_resume(struct smtp_server *s)
{
	s->wants_room = false;
}

void
smtp_server_hang_up(struct smtp_server *s, const struct reply *reply)
{
	if (s->ending != ENDING_NONE)
		return;
	s->question = QUESTION_NONE;
	smtp_server_put_reply(s, reply);
	s->ending = ENDING_CLOSE;
	smtp_server_end_transaction(s, SMTP_RESET_LOST);
}

void
smtp_server_drain(struct smtp_server *s, const char *status, const char *text)
{
	if (s->ending != ENDING_NONE)
		return;
	s->drain_status = status;
	s->drain_text = text;
	if (!s->open && s->question == QUESTION_NONE && s->stage == STAGE_COMMAND && !s->wants_tls)
		smtp_server_close(s, 421, status, text);
}

void
smtp_server_tls_done(struct smtp_server *s)
{
	s->tls = true;
	s->wants_tls = false;
	s->group_ended = false;
	s->extended = false;
	s->authenticated = false;
	s->offers = 0;
	mem_free(&s->mechanisms);
	if (s->phase != PHASE_START)
		s->phase = PHASE_GREETED;
}

void
smtp_server_set_mechanisms(struct smtp_server *s, struct span mechanisms)
{
	must(mechanisms.len < SMTP_AUTH_MECHANISMS_BYTES_MAX);
	mem_free(&s->mechanisms);
	if (mechanisms.len)
		s->mechanisms = mem_dup_text(mechanisms.data, mechanisms.len);
}

void
smtp_server_offer(struct smtp_server *s, uint32_t capabilities)
{
	s->offers |= capabilities;
}

/* ---- the loop over input -------------------------------------------------- */

void
smtp_server_open(struct smtp_server *s)
{
	struct reply reply = { 0 };

	must(s->phase == PHASE_START);
	s->asking = true;

	enum step step = s->ops->open(s->ctx, &reply);

	s->asking = false;
	smtp_server_take_step(s, QUESTION_OPEN, step, &reply);
}

/* A line that is no line: the connection cannot be trusted to be in step with us any more. */
static size_t
refuse_line(struct smtp_server *s, struct span input, enum smtp_line_fault fault)
{
	smtp_server_end_transaction(s, SMTP_RESET_LOST);
	if (fault == SMTP_LINE_FAULT_NUL)
		smtp_server_close(s, 550, "5.6.11", "an octet 0 in a command");
	else
		smtp_server_close(s, 550, "5.6.11", "a bare CR or LF in a command");
	return input.len;
}

/*
 * RFC 5321 section 4.5.3.1.4 and the extensions that add to it; RFC 4954 section 4 for all that
 * belongs to a SASL exchange.
 */
static size_t
line_bytes_max(const struct smtp_server *s, struct span input)
{
	if (s->stage == STAGE_AUTH || span_starts_with_nocase(input, SPAN("AUTH ")))
		return AUTH_LINE_BYTES_MAX;
	return COMMAND_LINE_BYTES_MAX;
}

static size_t
read_line(struct smtp_server *s, struct span input)
{
	const size_t bytes_max = line_bytes_max(s, input);
	struct span line;
	enum smtp_line_fault fault;
	enum parse parse = smtp_line_find(span_first(input, bytes_max), &line, &fault);

	switch (parse) {
	case PARSE_BAD:
		return refuse_line(s, input, fault);
	case PARSE_MORE:
		if (input.len < bytes_max)
			return 0;
		if (s->stage == STAGE_AUTH)
			s->ops->auth_cancelled(s->ctx);
		s->stage = STAGE_SKIP_LINE;
		s->skips_auth = bytes_max == AUTH_LINE_BYTES_MAX;
		s->skipped_bytes = 0;
		return bytes_max - 1;   /* its last octet may be the CR of the end */
	case PARSE_DONE:
		s->command_count++;
		if (s->stage == STAGE_AUTH)
			smtp_server_auth_line(s, line);
		else
			smtp_server_command(s, line);
		return line.len + 2;
	}
	must_not_reach();
}

/* RFC 4954 section 6 has a status of its own for lines of an exchange. */
static const char *
too_long_status(const struct smtp_server *s)
{
	return s->skips_auth ? "5.5.6" : "5.5.2";
}

/* Nothing of a line that is too long is believed, and it ends as every line does. */
static size_t
skip_line(struct smtp_server *s, struct span input)
{
	struct span line;
	enum smtp_line_fault fault;
	size_t skipped;

	switch (smtp_line_find(input, &line, &fault)) {
	case PARSE_BAD:
		return refuse_line(s, input, fault);
	case PARSE_MORE:
		skipped = line.len;     /* a CR at the end waits for its LF */
		s->skipped_bytes += skipped;
		if (s->skipped_bytes > COMMAND_SKIP_BYTES_MAX) {
			smtp_server_end_transaction(s, SMTP_RESET_LOST);
			smtp_server_close(s, 500, too_long_status(s), "the line is too long");
		}
		return skipped;
	case PARSE_DONE:
		s->stage = STAGE_COMMAND;
		s->command_count++;
		s->useless_count++;
		smtp_server_say(s, 500, too_long_status(s), "the line is too long");
		return line.len + 2;
	}
	must_not_reach();
}

static size_t
read_some(struct smtp_server *s, struct span input)
{
	if (s->stage == STAGE_OUTCOMES) {
		smtp_server_put_outcomes(s);
		return 0;
	}
	if (s->stage == STAGE_CHUNK)
		return smtp_server_read_chunk(s, input);
	if (input.len == 0)
		return 0;
	switch (s->stage) {
	case STAGE_COMMAND:
	case STAGE_AUTH:
		return read_line(s, input);
	case STAGE_SKIP_LINE:
		return skip_line(s, input);
	case STAGE_DATA:
		return smtp_server_read_data(s, input);
	case STAGE_CHUNK:
	case STAGE_OUTCOMES:
		break;
	}
	must_not_reach();
}

/* The limits that hold between two commands, and the wish to end. */
static void
look_at_limits(struct smtp_server *s)
{
	const struct smtp_server_settings *settings = s->settings;

	if (s->ending != ENDING_NONE || s->question != QUESTION_NONE || s->stage != STAGE_COMMAND)
		return;
	if (settings->error_count_max && s->error_count > settings->error_count_max) {
		smtp_server_end_transaction(s, SMTP_RESET_LOST);
		smtp_server_close(s, 421, "4.7.0", "too many errors");
	} else if (settings->useless_count_max && s->useless_count > settings->useless_count_max) {
		smtp_server_end_transaction(s, SMTP_RESET_LOST);
		smtp_server_close(s, 421, "4.7.0", "too many commands without mail");
	} else if (s->drain_text && !s->open && !s->wants_tls) {
		smtp_server_close(s, 421, s->drain_status, s->drain_text);
	}
}

/*
 * RFC 2920 section 3.1: the client had to wait for the reply; who does not is no client.  While
 * the question behind the reply is still open it is enough to remember: the reply comes first.
 */
static bool
spoke_out_of_turn(struct smtp_server *s, struct span input)
{
	if (s->phase == PHASE_START || s->wants_tls)
		return input.len > 0;
	if (!s->group_ended)
		return false;
	if (s->question != QUESTION_NONE) {
		s->spoke_early |= input.len > 0;
		return false;
	}
	if (!s->spoke_early && buf_is_empty(&s->out))
		s->group_ended = false;
	return s->group_ended && (s->spoke_early || input.len > 0);
}

size_t
smtp_server_feed(struct smtp_server *s, struct span input)
{
	size_t consumed = 0;

	must(!s->asking);
	for (;;) {
		struct span rest = span_skip(input, consumed);
		enum stage stage = s->stage;

		if (s->ending != ENDING_NONE)
			return input.len;
		if (spoke_out_of_turn(s, rest)) {
			bool behind_starttls = s->wants_tls;

			s->question = QUESTION_NONE;    /* before the banner */
			smtp_server_end_transaction(s, SMTP_RESET_LOST);
			if (behind_starttls)
				s->ending = ENDING_CUT;
			else
				smtp_server_close(s, 554, "5.5.0",
				    "you did not wait for the reply");
			return input.len;
		}
		if (s->question != QUESTION_NONE || s->wants_tls || s->wants_room ||
		    s->phase == PHASE_START || buf_room(&s->out) < SMTP_SERVER_REPLY_BYTES_MAX)
			return consumed;

		size_t read = read_some(s, rest);

		look_at_limits(s);
		if (read == 0 && s->stage == stage)
			return consumed;
		consumed += read;
	}
}

struct buf *
smtp_server_output(struct smtp_server *s)
{
	return &s->out;
}

enum smtp_server_wants
smtp_server_wants(const struct smtp_server *s)
{
	if (s->ending == ENDING_CUT)
		return SMTP_SERVER_WANTS_CUT;
	if (s->ending == ENDING_CLOSE)
		return SMTP_SERVER_WANTS_CLOSE;
	if (s->question != QUESTION_NONE)
		return SMTP_SERVER_WANTS_ANSWER;
	if (s->wants_tls)
		return SMTP_SERVER_WANTS_TLS;
	if (s->wants_room)
		return SMTP_SERVER_WANTS_ROOM;
	if (s->stage == STAGE_OUTCOMES || buf_room(&s->out) < SMTP_SERVER_REPLY_BYTES_MAX)
		return SMTP_SERVER_WANTS_DRAIN;
	return SMTP_SERVER_WANTS_INPUT;
}

enum smtp_server_stage
smtp_server_stage(const struct smtp_server *s)
{
	switch (s->stage) {
	case STAGE_COMMAND:
	case STAGE_SKIP_LINE:
	case STAGE_OUTCOMES:
		return SMTP_SERVER_STAGE_COMMAND;
	case STAGE_DATA:
	case STAGE_CHUNK:
		return SMTP_SERVER_STAGE_BODY;
	case STAGE_AUTH:
		return SMTP_SERVER_STAGE_AUTH;
	}
	must_not_reach();
}

uint64_t
smtp_server_command_count(const struct smtp_server *s)
{
	return s->command_count;
}

bool
smtp_server_was_refused(const struct smtp_server *s)
{
	return s->phase == PHASE_REFUSED;
}

bool
smtp_server_has_body(const struct smtp_server *s)
{
	return s->chunk_begun || smtp_server_stage(s) == SMTP_SERVER_STAGE_BODY;
}

bool
smtp_server_has_transaction(const struct smtp_server *s)
{
	return s->open;
}

bool
smtp_server_is_tls(const struct smtp_server *s)
{
	return s->tls;
}

bool
smtp_server_is_extended(const struct smtp_server *s)
{
	return s->extended;
}

bool
smtp_server_is_authenticated(const struct smtp_server *s)
{
	return s->authenticated;
}

size_t
smtp_server_rcpt_count(const struct smtp_server *s)
{
	return s->rcpt_count;
}

const char *
smtp_server_last_verb(const struct smtp_server *s)
{
	return s->last_verb;
}
