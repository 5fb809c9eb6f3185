#include "relay/base/must.h"
#include "relay/smtp/smtp_client_private.h"

/* The header of the next BDAT, of all that is left or as much as may be in one. */
void
smtp_client_begin_chunk(struct smtp_client *c)
{
	uint64_t left = c->mail->body_bytes - c->body_sent;
	uint64_t chunk_max = c->settings->chunk_bytes_max;

	c->chunk_left = chunk_max && left > chunk_max ? chunk_max : left;
	c->chunk_is_last = c->chunk_left == left;
	(void)buf_appendf(&c->out, "BDAT %llu%s\r\n", (unsigned long long)c->chunk_left,
	    c->chunk_is_last ? " LAST" : "");
}

/* Never the final dot behind a body that is not whole: the connection ends before it. */
static void
fail_body(struct smtp_client *c, uint16_t code, const char *status, const char *why)
{
	struct reply reply;

	reply_set(&reply, code, status, "%s", why);
	smtp_client_fail(c, SMTP_CLIENT_AT_BODY, &reply, false, false, why);
}

static void
fail_octets(struct smtp_client *c)
{
	fail_body(c, 554, "5.6.0", "the message holds a bare CR or LF, or an octet 0");
}

/* The application says that this was all. */
static void
end_of_body(struct smtp_client *c)
{
	if (c->body_sent != c->mail->body_bytes) {
		fail_body(c, 451, "4.3.0", "the message is not as long as it should be");
		return;
	}
	c->end = data_writer_end(&c->writer);
	if (c->end.len == 0)
		fail_octets(c);
}

/* More of the body from the application, if it is needed; false when there is none now. */
static bool
fetch_piece(struct smtp_client *c)
{
	struct span piece = SPAN("");

	if (c->piece.len)
		return true;

	const enum smtp_client_body said = c->ops->body(c->ctx, &piece);

	if (c->state != CLIENT_MAIL)
		return false;           /* it ended the session from inside */
	switch (said) {
	case SMTP_CLIENT_BODY_PIECE:
		must(piece.len > 0);
		c->piece = piece;
		return true;
	case SMTP_CLIENT_BODY_WAIT:
		c->waits_for_body = true;
		return false;
	case SMTP_CLIENT_BODY_END:
		end_of_body(c);
		return false;
	case SMTP_CLIENT_BODY_FAILED:
		fail_body(c, 451, "4.3.0", "the message could not be read");
		return false;
	}
	must_not_reach();
}

static void
next_wire_of_data(struct smtp_client *c)
{
	if (!fetch_piece(c))
		return;
	if (!data_writer_next(&c->writer, c->piece, &c->wire, &c->wire_octets)) {
		c->wire = SPAN("");
		fail_octets(c);
	}
}

/* Nothing is stuffed, but no hop after this one shall find what a dot may hide behind. */
static void
next_wire_of_chunk(struct smtp_client *c)
{
	enum data_event event;

	if (c->chunk_left == 0 || !fetch_piece(c))
		return;
	if (c->chunk_is_last && c->piece.len > c->chunk_left) {
		fail_body(c, 451, "4.3.0", "the message is longer than it should be");
		return;
	}

	const struct span part = c->chunk_left < c->piece.len
	    ? span_first(c->piece, (size_t)c->chunk_left) : c->piece;

	c->wire_octets = data_reader_next(&c->check, part, &event, &c->wire);
	if (event != DATA_OCTETS || (c->chunk_is_last && c->wire_octets == c->chunk_left &&
	    !data_reader_finish(&c->check))) {
		c->wire = SPAN("");
		fail_octets(c);
	}
}

/*
 * The replies to a whole body: one, or in LMTP one for each recipient that RCPT accepted, which
 * may have been settled since, when a chunk was refused.
 */
static void
expect_end(struct smtp_client *c)
{
	size_t replies = c->settings->lmtp ? c->accepted_count : 1;

	c->body = BODY_LEFT;
	for (size_t i = 0; c->settings->lmtp && i < c->mail->rcpt_count; i++) {
		if (c->fates[i] != RCPT_ACCEPTED)
			continue;
		smtp_client_expect(c, EXPECTED_END, i);
		replies--;
	}
	while (replies-- > 0)
		smtp_client_expect(c, EXPECTED_END, 0);
}

/*
 * A chunk is put out whole: its reply is waited for, and the next one may follow, unless one
 * before it was refused: then the transaction is over without its end.
 */
static void
end_chunk(struct smtp_client *c)
{
	if (c->chunk_is_last) {
		c->end_began = true;
		expect_end(c);
		return;
	}
	smtp_client_expect(c, EXPECTED_CHUNK, 0);
	if (c->settled_count == c->mail->rcpt_count)
		c->body = BODY_LEFT;
	else
		smtp_client_begin_chunk(c);
}

struct span
smtp_client_body_output(struct smtp_client *c, bool *is_body_out)
{
	if (c->body == BODY_DUE)
		c->body = BODY_LEAVING;
	if (c->body != BODY_LEAVING || c->waits_for_body)
		return SPAN("");
	if (c->end.len)
		return c->end;
	if (c->wire.len == 0) {
		if (c->chunking)
			next_wire_of_chunk(c);
		else
			next_wire_of_data(c);
	}
	if (c->chunking && c->chunk_left == 0 && c->body == BODY_LEAVING &&
	    c->state == CLIENT_MAIL) {
		end_chunk(c);
		return buf_span(&c->out);
	}
	if (c->wire.len == 0)
		return c->end;          /* just made, or empty */
	*is_body_out = c->wire_octets > 0;
	return c->wire;
}

void
smtp_client_body_wrote(struct smtp_client *c, size_t octets)
{
	if (c->end.len) {
		must(octets <= c->end.len);
		c->end_began = true;
		c->end = span_skip(c->end, octets);
		if (c->end.len == 0 && c->accepted_count == 0) {
			c->body = BODY_LEFT;
			smtp_client_expect(c, EXPECTED_EMPTY_END, 0);
		} else if (c->end.len == 0) {
			expect_end(c);
		}
		return;
	}
	must(octets <= c->wire.len);
	c->wire = span_skip(c->wire, octets);
	if (c->wire_octets) {
		c->wire_octets -= octets;
		c->piece = span_skip(c->piece, octets);
		c->body_sent += octets;
	}
	if (c->chunking) {
		c->chunk_left -= octets;
		if (c->chunk_left == 0)
			end_chunk(c);
	}
}

void
smtp_client_resume(struct smtp_client *c)
{
	c->waits_for_body = false;
}
