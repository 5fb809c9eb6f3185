#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/smtp/smtp_server_private.h"

static void
set_refusal(struct smtp_server *s, const struct reply *reply)
{
	if (!s->refusal)
		s->refusal = mem_alloc(sizeof(*s->refusal));
	*s->refusal = *reply;
	s->refused = true;
	s->swallowed_bytes = 0;
}

/* The body is refused: what is still to come is swallowed, and REFUSAL said at its end. */
static void
refuse(struct smtp_server *s, const struct reply *reply)
{
	if (s->refused)
		return;
	set_refusal(s, reply);
	if (s->open) {
		s->open = false;
		s->ops->reset(s->ctx, SMTP_RESET_REFUSED);
	}
}

static void
refuse_with(struct smtp_server *s, uint16_t code, const char *status, const char *text)
{
	struct reply reply;

	reply_set(&reply, code, status, "%s", text);
	refuse(s, &reply);
}

void
smtp_server_refuse_body(struct smtp_server *s, const struct reply *reply)
{
	must(reply_is_transient(reply) || reply_is_permanent(reply));
	must(s->stage == STAGE_DATA || s->stage == STAGE_CHUNK || s->chunk_begun);
	s->wants_room = false;
	if (s->asking) {
		/* From inside body(): reset() may not come before it has returned. */
		set_refusal(s, reply);
		return;
	}
	refuse(s, reply);
}

/* Octets that no decent client sends: it is out of step, or out to harm. */
static void
end_of_trust(struct smtp_server *s, const char *text)
{
	refuse_with(s, 550, "5.6.11", text);
	smtp_server_close(s, 550, "5.6.11", text);
}

/* Offer a piece; how many octets of it are dealt with. */
static size_t
offer(struct smtp_server *s, struct span piece)
{
	uint64_t size_max = s->settings->size_max;

	if (!s->refused && size_max && piece.len > size_max - s->body_octets)
		refuse_with(s, 552, "5.3.4", "the message is larger than this system takes");
	if (s->refused)
		return piece.len;

	s->asking = true;

	size_t taken = s->ops->body(s->ctx, piece);

	s->asking = false;
	must(taken <= piece.len);
	if (s->refused && s->open) {
		s->open = false;
		s->ops->reset(s->ctx, SMTP_RESET_REFUSED);
	}
	if (s->refused)
		return piece.len;
	s->body_octets += taken;
	if (taken < piece.len)
		s->wants_room = true;
	return taken;
}

/* Swallowing has an end, too. */
static void
count_swallowed(struct smtp_server *s, size_t bytes)
{
	if (!s->refused)
		return;
	s->swallowed_bytes += bytes;
	if (s->swallowed_bytes > s->settings->swallow_bytes_max) {
		smtp_server_put_reply(s, s->refusal);
		s->ending = ENDING_CLOSE;
	}
}

/*
 * Read up to the next event, and act on it.  END_OUT: the final dot was read.  When the
 * application takes only a part of a piece, the reader is put back and shown just as much.
 */
static size_t
read_event(struct smtp_server *s, struct span input, bool *end_out)
{
	struct data_reader before = s->reader;
	enum data_event event;
	struct span piece;
	size_t read = data_reader_next(&s->reader, input, &event, &piece);

	switch (event) {
	case DATA_OCTETS:
		if (piece.len) {
			size_t taken = offer(s, piece);
			size_t until = (size_t)(piece.data - input.data) + taken;

			if (taken < piece.len) {
				s->reader = before;
				read = until ? data_reader_next(&s->reader, span_first(input,
				    until),
					&event, &piece) : 0;
			}
		}
		count_swallowed(s, read);
		return read;
	case DATA_END:
		*end_out = true;
		return read;
	case DATA_BARE:
		end_of_trust(s, "a bare CR or LF in the message");
		return input.len;
	case DATA_NUL:
		end_of_trust(s, "an octet 0 in the message");
		return input.len;
	case DATA_LINE_TOO_LONG:
		s->reader.line_bytes_max = 0;
		refuse_with(s, 554, "5.6.0", "a line is longer than this system takes");
		return 0;
	}
	must_not_reach();
}

/* All octets are here: ask what becomes of the message, or say the refusal. */
static void
body_is_complete(struct smtp_server *s)
{
	const struct smtp_body_facts facts = {
		.octets = s->body_octets,
		.has_8bit = s->reader.has_8bit,
		.header_has_8bit = s->reader.header_has_8bit,
	};
	struct reply reply = { 0 };

	s->stage = STAGE_COMMAND;
	s->outcome_count = s->settings->lmtp ? s->rcpt_count : 1;
	s->outcome_next = 0;
	if (s->refused) {
		s->outcomes_are_refusals = true;
		s->stage = STAGE_OUTCOMES;
		smtp_server_put_outcomes(s);
		return;
	}
	s->asking = true;

	enum step step = s->ops->end(s->ctx, &facts, &reply);

	s->asking = false;
	smtp_server_take_step(s, QUESTION_END, step, &reply);
}

/* A reply to a body.  A message that was taken makes up for errors before it. */
static void
put_fate(struct smtp_server *s, const struct reply *reply)
{
	must(!reply_is_intermediate(reply));
	if (reply_is_positive(reply))
		s->error_count = 0;
	smtp_server_put_reply(s, reply);
}

void
smtp_server_finish_body(struct smtp_server *s, const struct reply *reply)
{
	s->open = false;
	s->useless_count = 0;
	if (!s->settings->lmtp) {
		put_fate(s, reply);
		smtp_server_forget_transaction(s);
		return;
	}
	s->outcomes_are_refusals = false;
	s->stage = STAGE_OUTCOMES;
	smtp_server_put_outcomes(s);
}

/* RFC 2033 section 4.2: a reply for each recipient that was accepted, as room allows. */
void
smtp_server_put_outcomes(struct smtp_server *s)
{
	while (s->outcome_next < s->outcome_count &&
	    buf_room(&s->out) >= SMTP_SERVER_REPLY_BYTES_MAX) {
		struct reply reply;

		if (s->outcomes_are_refusals) {
			reply = *s->refusal;
		} else {
			s->asking = true;
			s->ops->outcome(s->ctx, s->outcome_next, &reply);
			s->asking = false;
		}
		put_fate(s, &reply);
		s->outcome_next++;
	}
	if (s->outcome_next < s->outcome_count)
		return;
	s->stage = STAGE_COMMAND;
	smtp_server_forget_transaction(s);
}

/* ---- DATA ----------------------------------------------------------------- */

void
smtp_server_begin_data(struct smtp_server *s)
{
	data_reader_init(&s->reader, DATA_FRAMED_BY_DOT, s->settings->text_line_bytes_max);
	s->body_octets = 0;
	s->refused = false;
	s->stage = STAGE_DATA;
}

size_t
smtp_server_read_data(struct smtp_server *s, struct span input)
{
	size_t read = 0;
	bool end = false;

	while (read < input.len && !end && !s->wants_room && s->ending == ENDING_NONE) {
		size_t some = read_event(s, span_skip(input, read), &end);

		if (some == 0 && s->wants_room)
			break;
		read += some;
	}
	if (end)
		body_is_complete(s);
	return read;
}

/* ---- BDAT (RFC 3030) ------------------------------------------------------ */

static bool
parse_bdat(struct span args, uint64_t *size_out, bool *last_out)
{
	struct span size, last, rest;

	if (!span_take_word(&args, &size) || !span_parse_u64(size, INT64_MAX, size_out))
		return false;
	*last_out = span_take_word(&args, &last);
	if (*last_out && !span_equal_nocase(last, SPAN("LAST")))
		return false;
	return !span_take_word(&args, &rest);
}

/* RFC 3030 section 2: whatever the reply, the octets of the chunk come, and have to be read. */
static enum step
discard(struct smtp_server *s, struct reply *reply, uint16_t code, const char *status,
	const char *text)
{
	reply_set(reply, code, status, "%s", text);
	s->discard_chunk = true;
	set_refusal(s, reply);
	s->stage = STAGE_CHUNK;
	return STEP_CHALLENGE;          /* the reply follows the chunk */
}

enum step
smtp_server_bdat(struct smtp_server *s, struct span args, struct reply *reply)
{
	if (!parse_bdat(args, &s->chunk_left, &s->chunk_is_last)) {
		/* Nobody knows how many octets follow. */
		smtp_server_end_transaction(s, SMTP_RESET_LOST);
		smtp_server_close(s, 501, "5.5.4", "expected BDAT size [LAST]");
		return STEP_CHALLENGE;
	}
	if (!(smtp_server_offered(s) & SMTP_CHUNKING))
		return discard(s, reply, 502, "5.5.1", "BDAT is not offered here");
	if (s->chunk_left == 0 && !s->chunk_is_last)
		s->useless_count++;     /* else nothing would ever bound them */
	if (s->chunk_begun) {
		s->stage = STAGE_CHUNK;
		return STEP_CHALLENGE;
	}
	if (s->phase != PHASE_RCPT)
		return discard(s, reply, 503, "5.5.1", "there is no recipient");
	s->asking = true;

	enum step step = s->ops->data(s->ctx, reply);

	s->asking = false;
	smtp_server_take_step(s, QUESTION_CHUNK, step, reply);
	return STEP_CHALLENGE;
}

void
smtp_server_begin_chunk(struct smtp_server *s, const struct reply *reply)
{
	data_reader_init(&s->reader, DATA_FRAMED_BY_COUNT, s->settings->text_line_bytes_max);
	s->body_octets = 0;
	s->refused = false;
	s->chunk_begun = true;
	s->phase = PHASE_CHUNKS;
	s->stage = STAGE_CHUNK;
	if (!reply_is_intermediate(reply))
		refuse(s, reply);
}

static void
chunk_is_over(struct smtp_server *s)
{
	s->stage = STAGE_COMMAND;
	if (s->discard_chunk) {
		s->discard_chunk = false;
		s->refused = s->chunk_begun && s->refused;
		smtp_server_put_reply(s, s->refusal);
		return;
	}
	if (s->refused) {
		/* RFC 3030 section 2: after a failure every further chunk fails, until RSET. */
		if (s->chunk_is_last)
			body_is_complete(s);
		else
			smtp_server_put_reply(s, s->refusal);
		return;
	}
	if (s->chunk_is_last && !data_reader_finish(&s->reader)) {
		end_of_trust(s, "a bare CR at the end of the message");
		return;
	}
	if (s->chunk_is_last) {
		body_is_complete(s);
		return;
	}
	smtp_server_say(s, 250, "2.0.0", "ok");
}

size_t
smtp_server_read_chunk(struct smtp_server *s, struct span input)
{
	size_t read = 0;
	bool end = false;

	input = span_first(input, s->chunk_left < SIZE_MAX ? (size_t)s->chunk_left : SIZE_MAX);
	while (read < input.len && !s->wants_room && s->ending == ENDING_NONE) {
		struct span rest = span_skip(input, read);
		size_t some = rest.len;

		if (s->refused)
			count_swallowed(s, some);
		else
			some = read_event(s, rest, &end);
		if (some == 0 && s->wants_room)
			break;
		read += some;
	}
	s->chunk_left -= read;
	if (s->chunk_left == 0 && s->ending == ENDING_NONE && !s->wants_room)
		chunk_is_over(s);
	return read;
}
