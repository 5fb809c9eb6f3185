#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/smtp/smtp_client_private.h"

enum { COMMAND_BYTES_MAX = 2048, PIPELINE_COUNT_DEFAULT = 100 };

/* ---- outcomes ------------------------------------------------------------- */

static void
settle(struct smtp_client *c, size_t rcpt, const struct reply *reply, enum smtp_client_at at,
       bool from_peer, bool uncertain)
{
	struct smtp_client_outcome outcome = {
		.rcpt = rcpt, .reply = *reply, .at = at, .from_peer = from_peer,
		    .uncertain = uncertain,
	};

	if (c->fates[rcpt] == RCPT_SETTLED)
		return;
	if (reply->code < 200 || reply_is_intermediate(reply))
		reply_set(&outcome.reply, 450, "4.5.0", "unexpected reply %u", reply->code);
	c->fates[rcpt] = RCPT_SETTLED;
	c->settled_count++;
	c->ops->outcome(c->ctx, &outcome);
}

static void
settle_accepted(struct smtp_client *c, const struct reply *reply, enum smtp_client_at at)
{
	for (size_t i = 0; i < c->mail->rcpt_count; i++)
		if (c->fates[i] == RCPT_ACCEPTED)
			settle(c, i, reply, at, true, false);
}

static void
finish(struct smtp_client *c)
{
	c->mail = NULL;
	c->body = BODY_NOT_YET;
	c->piece = c->wire = c->end = SPAN("");
	c->waits_for_body = false;
	if (c->state == CLIENT_MAIL)
		c->state = CLIENT_READY;
	c->ops->done(c->ctx);
	if (c->state == CLIENT_READY && !c->mail)
		smtp_client_ready(c);
}

void
smtp_client_abandon(struct smtp_client *c, const struct reply *reply, bool from_peer)
{
	struct reply unknown;

	reply_set(&unknown, 450, "4.4.2", "lost after the end of data: %.400s", reply->text);
	for (size_t i = 0; i < c->mail->rcpt_count; i++) {
		/* Sent and not answered is as good as accepted: an eager body may be complete. */
		bool uncertain = c->end_began && c->fates[i] != RCPT_UNSENT;

		settle(c, i, uncertain ? &unknown : reply, smtp_client_at(c), from_peer &&
		    !uncertain,
		    uncertain);
	}
	finish(c);
}

/* ---- commands ------------------------------------------------------------- */

static void
put_xtext_param(struct smtp_client *c, const char *name, struct span value)
{
	if (value.len)
		(void)buf_appendf(&c->out, " %s=%.*s", name, SPAN_ARGS(value));
}

static void
put_mail(struct smtp_client *c)
{
	const struct smtp_client_mail *mail = c->mail;
	const struct smtp_peer *peer = &c->peer;

	(void)buf_appendf(&c->out, "MAIL FROM:<%.*s>", SPAN_ARGS(mail->sender));
	if (smtp_peer_offers(peer, SMTP_SIZE))
		(void)buf_appendf(&c->out, " SIZE=%llu", (unsigned long long)mail->body_bytes);
	if (mail->needs_8bit)
		(void)buf_append(&c->out, SPAN(" BODY=8BITMIME"));
	if (mail->needs_utf8)
		(void)buf_append(&c->out, SPAN(" SMTPUTF8"));
	if (smtp_peer_offers(peer, SMTP_DSN)) {
		if (mail->ret != RET_UNSPECIFIED)
			(void)buf_appendf(&c->out, " RET=%s", mail->ret == RET_FULL ? "FULL"
			    : "HDRS");
		put_xtext_param(c, "ENVID", mail->envid);
	}
	if (mail->transid.len && smtp_peer_offers(peer, SMTP_CHECKPOINT))
		(void)buf_appendf(&c->out, " TRANSID=<%.*s>", SPAN_ARGS(mail->transid));
	if (smtp_peer_offers(peer, SMTP_XORIGIN))
		put_xtext_param(c, "XORIGIN", mail->origin);
	(void)buf_append(&c->out, SPAN("\r\n"));
	smtp_client_expect(c, EXPECTED_MAIL, 0);
	c->mail_sent = true;
}

static void
put_notify(struct smtp_client *c, uint8_t notify)
{
	static const struct { enum envelope_notify bit; const char *name; } names[] = {
		{ NOTIFY_NEVER, "NEVER" }, { NOTIFY_SUCCESS, "SUCCESS" },
		{ NOTIFY_FAILURE, "FAILURE" }, { NOTIFY_DELAY, "DELAY" },
	};
	const char *separator = " NOTIFY=";

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (!(notify & names[i].bit))
			continue;
		(void)buf_appendf(&c->out, "%s%s", separator, names[i].name);
		separator = ",";
	}
}

static void
put_rcpt(struct smtp_client *c, size_t index)
{
	const struct smtp_client_rcpt *rcpt = &c->mail->rcpts[index];

	(void)buf_appendf(&c->out, "RCPT TO:<%.*s>", SPAN_ARGS(rcpt->address));
	if (smtp_peer_offers(&c->peer, SMTP_DSN)) {
		put_notify(c, rcpt->notify);
		put_xtext_param(c, "ORCPT", rcpt->orcpt);
	}
	(void)buf_append(&c->out, SPAN("\r\n"));
	smtp_client_expect(c, EXPECTED_RCPT, index);
	c->fates[index] = RCPT_SENT;
}

/* One more command may be put out now. */
static bool
may_send(const struct smtp_client *c)
{
	size_t count_max = c->settings->pipeline_count_max;

	if (buf_room(&c->out) < COMMAND_BYTES_MAX || c->mail_refused)
		return false;
	if (!smtp_peer_offers(&c->peer, SMTP_PIPELINING))
		return c->expected_count == 0;
	return c->expected_count < (count_max ? count_max : PIPELINE_COUNT_DEFAULT);
}

static void
put_bdat(struct smtp_client *c)
{
	uint64_t left = c->mail->body_bytes - c->body_sent;
	uint64_t chunk_max = c->settings->chunk_bytes_max;

	c->chunk_left = chunk_max && left > chunk_max ? chunk_max : left;
	c->chunk_is_last = c->chunk_left == left;
	(void)buf_appendf(&c->out, "BDAT %llu%s\r\n", (unsigned long long)c->chunk_left,
	    c->chunk_is_last ? " LAST" : "");
}

/* DATA goes with the group; a body by BDAT begins when a recipient is sure, or at once if small. */
static void
put_data(struct smtp_client *c)
{
	size_t count = c->mail->rcpt_count;

	if (c->data_sent || c->rcpt_next < count || !may_send(c))
		return;
	if (c->chunking) {
		/*
		 * Not in LMTP, where the count of replies to the body must be known; in one
		 * chunk.
		 */
		bool eager = c->settings->eager_bytes_max && !c->settings->lmtp &&
		    c->mail->body_bytes <= c->settings->eager_bytes_max &&
		    (!c->settings->chunk_bytes_max ||
			c->mail->body_bytes <= c->settings->chunk_bytes_max);

		if (!eager && (c->answered_count < count || c->accepted_count == 0))
			return;
		put_bdat(c);
		c->body = BODY_DUE;
	} else {
		if (c->answered_count == count && c->accepted_count == 0)
			return;
		(void)buf_append(&c->out, SPAN("DATA\r\n"));
		smtp_client_expect(c, EXPECTED_DATA, 0);
	}
	c->data_sent = true;
}

void
smtp_client_advance(struct smtp_client *c)
{
	if (!c->mail)
		return;
	if (c->needs_rset && may_send(c)) {
		(void)buf_append(&c->out, SPAN("RSET\r\n"));
		smtp_client_expect(c, EXPECTED_RSET, 0);
		c->needs_rset = false;
	}
	if (!c->needs_rset && !c->mail_sent && may_send(c))
		put_mail(c);
	while (c->mail_sent && c->rcpt_next < c->mail->rcpt_count && may_send(c))
		put_rcpt(c, c->rcpt_next++);
	if (c->mail_sent)
		put_data(c);
	/* Nothing is under way and nobody is left to hope for: it is over without a body. */
	if (c->expected_count == 0 && c->settled_count == c->mail->rcpt_count &&
	    c->body == BODY_NOT_YET && buf_is_empty(&c->out)) {
		c->needs_rset = !c->mail_refused;
		finish(c);
	}
}

/* ---- the beginning -------------------------------------------------------- */

/* What the peer cannot take is refused by us, before a word is said. */
static bool
is_possible(const struct smtp_client *c, struct reply *reply)
{
	const struct smtp_client_mail *mail = c->mail;

	if (mail->needs_8bit && !smtp_peer_offers(&c->peer, SMTP_8BITMIME))
		reply_set(reply, 554, "5.6.3", "the next hop does not take 8-bit messages");
	else if (mail->needs_utf8 && !smtp_peer_offers(&c->peer, SMTP_SMTPUTF8))
		reply_set(reply, 554, "5.6.7", "the next hop does not take UTF-8 addresses");
	else if (c->peer.size_max && mail->body_bytes > c->peer.size_max)
		reply_set(reply, 552, "5.3.4", "the message is larger than the next hop takes");
	else
		return true;
	return false;
}

void
smtp_client_send(struct smtp_client *c, const struct smtp_client_mail *mail)
{
	struct reply reply;

	must(c->state == CLIENT_READY && mail->rcpt_count > 0);
	if (mail->rcpt_count > c->fates_capacity) {
		c->fates = mem_resize_array(c->fates, mail->rcpt_count, sizeof(*c->fates));
		c->fates_capacity = mail->rcpt_count;
	}
	for (size_t i = 0; i < mail->rcpt_count; i++)
		c->fates[i] = RCPT_UNSENT;
	c->mail = mail;
	c->state = CLIENT_MAIL;
	c->rcpt_next = c->accepted_count = c->answered_count = c->settled_count = 0;
	c->mail_sent = c->data_sent = c->mail_refused = c->end_began = false;
	c->body = BODY_NOT_YET;
	c->body_sent = 0;
	c->piece = c->wire = c->end = SPAN("");
	c->wire_octets = 0;
	c->chunking = c->settings->use_chunking && smtp_peer_offers(&c->peer, SMTP_CHUNKING);
	data_writer_init(&c->writer);
	if (!is_possible(c, &reply)) {
		for (size_t i = 0; i < mail->rcpt_count; i++)
			settle(c, i, &reply, SMTP_CLIENT_AT_MAIL, false, false);
		finish(c);
		return;
	}
	smtp_client_advance(c);
}

/* ---- the body ------------------------------------------------------------- */

/* More of the body from the application, if it is needed; false when there is none now. */
static bool
fetch_piece(struct smtp_client *c)
{
	struct reply reply;

	if (c->piece.len)
		return true;
	switch (c->ops->body(c->ctx, &c->piece)) {
	case SMTP_CLIENT_BODY_PIECE:
		must(c->piece.len > 0);
		return true;
	case SMTP_CLIENT_BODY_WAIT:
		c->waits_for_body = true;
		return false;
	case SMTP_CLIENT_BODY_END:
		c->piece = SPAN("");
		if (!c->chunking) {
			c->end = data_writer_end(&c->writer);
			if (c->end.len)
				return false;
		}
		break;
	case SMTP_CLIENT_BODY_FAILED:
		break;
	}
	/* Never the final dot behind a body that is not whole. */
	reply_set(&reply, 451, "4.3.0", "the message could not be read");
	smtp_client_fail(c, SMTP_CLIENT_AT_BODY, &reply, false, false, reply.text);
	return false;
}

static void
next_wire_of_data(struct smtp_client *c)
{
	struct reply reply;

	if (!fetch_piece(c))
		return;
	if (data_writer_next(&c->writer, c->piece, &c->wire, &c->wire_octets))
		return;
	c->wire = SPAN("");
	reply_set(&reply, 554, "5.6.0", "the message holds a bare CR or LF, or an octet 0");
	smtp_client_fail(c, SMTP_CLIENT_AT_BODY, &reply, false, false, reply.text);
}

static void
next_wire_of_chunk(struct smtp_client *c)
{
	if (c->chunk_left == 0 || !fetch_piece(c))
		return;
	c->wire = c->chunk_left < c->piece.len ? span_first(c->piece, (size_t)c->chunk_left)
	    : c->piece;
	c->wire_octets = c->wire.len;
}

/* A chunk is put out whole: its reply is waited for, and the next one may follow. */
static void
end_chunk(struct smtp_client *c)
{
	if (!c->chunk_is_last) {
		smtp_client_expect(c, EXPECTED_CHUNK, 0);
		put_bdat(c);
		return;
	}
	c->body = BODY_LEFT;
	c->end_began = true;
	if (c->settings->lmtp)
		for (size_t i = 0; i < c->mail->rcpt_count; i++) {
			if (c->fates[i] == RCPT_ACCEPTED)
				smtp_client_expect(c, EXPECTED_END, i);
		}
	else
		smtp_client_expect(c, EXPECTED_END, 0);
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

static void
end_left(struct smtp_client *c)
{
	c->body = BODY_LEFT;
	if (c->accepted_count == 0) {
		smtp_client_expect(c, EXPECTED_EMPTY_END, 0);
		return;
	}
	if (!c->settings->lmtp) {
		smtp_client_expect(c, EXPECTED_END, 0);
		return;
	}
	for (size_t i = 0; i < c->mail->rcpt_count; i++)
		if (c->fates[i] == RCPT_ACCEPTED)
			smtp_client_expect(c, EXPECTED_END, i);
}

void
smtp_client_body_wrote(struct smtp_client *c, size_t octets)
{
	if (c->end.len) {
		must(octets <= c->end.len);
		c->end_began = true;
		c->end = span_skip(c->end, octets);
		if (c->end.len == 0)
			end_left(c);
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

/* ---- replies -------------------------------------------------------------- */

static void
mail_replied(struct smtp_client *c, const struct reply *reply)
{
	if (reply_is_positive(reply))
		return;
	c->mail_refused = true;
	c->mail_reply = *reply;
	for (size_t i = 0; i < c->mail->rcpt_count; i++)
		settle(c, i, reply, SMTP_CLIENT_AT_MAIL, true, false);
	c->rcpt_next = c->mail->rcpt_count;
}

static void
rcpt_replied(struct smtp_client *c, size_t rcpt, const struct reply *reply)
{
	c->answered_count++;
	if (c->fates[rcpt] != RCPT_SENT)
		return;                 /* MAIL was refused: that was its outcome */
	if (reply_is_positive(reply)) {
		c->fates[rcpt] = RCPT_ACCEPTED;
		c->accepted_count++;
	} else {
		settle(c, rcpt, reply, SMTP_CLIENT_AT_RCPT, true, false);
	}
}

/* RFC 2920 section 3.1: a 354 with no recipient left wants a lone dot. */
static void
data_replied(struct smtp_client *c, const struct reply *reply)
{
	struct reply refusal = *reply;

	if (reply->code != 354) {
		if (reply_is_positive(reply) || reply_is_intermediate(reply))
			reply_set(&refusal, 450, "4.5.0", "unexpected reply %u to DATA",
			    reply->code);
		settle_accepted(c, &refusal, SMTP_CLIENT_AT_DATA);
		if (reply_is_positive(reply))
			smtp_client_fail(c, SMTP_CLIENT_AT_DATA, &refusal, false, true,
			    "a positive reply to DATA before the message was sent");
		return;
	}
	c->body = BODY_DUE;
	if (c->accepted_count == 0) {
		c->body = BODY_LEAVING;
		c->end = SPAN(".\r\n");
	}
}

/* A chunk in the middle was refused: what follows could only be refused as well. */
static void
chunk_replied(struct smtp_client *c, const struct reply *reply)
{
	if (reply_is_positive(reply))
		return;
	settle_accepted(c, reply, SMTP_CLIENT_AT_BODY);
	smtp_client_fail(c, SMTP_CLIENT_AT_BODY, reply, true, false, "a chunk was refused");
}

static void
end_replied(struct smtp_client *c, size_t rcpt, const struct reply *reply)
{
	/* RFC 3030 section 2: after a BDAT that failed the transaction may still be open. */
	c->needs_rset = c->chunking && !reply_is_positive(reply);
	if (c->settings->lmtp)
		settle(c, rcpt, reply, SMTP_CLIENT_AT_END, true, false);
	else
		settle_accepted(c, reply, SMTP_CLIENT_AT_END);
	if (c->settled_count == c->mail->rcpt_count && c->expected_count == 0)
		finish(c);
}

void
smtp_client_mail_reply(struct smtp_client *c, struct expected what, const struct reply *reply)
{
	must(c->mail != NULL);
	switch (what.kind) {
	case EXPECTED_MAIL:
		mail_replied(c, reply);
		break;
	case EXPECTED_RCPT:
		rcpt_replied(c, what.rcpt, reply);
		break;
	case EXPECTED_DATA:
		data_replied(c, reply);
		break;
	case EXPECTED_CHUNK:
		chunk_replied(c, reply);
		break;
	case EXPECTED_END:
		end_replied(c, what.rcpt, reply);
		return;
	case EXPECTED_EMPTY_END:
		finish(c);
		return;
	case EXPECTED_GREETING: case EXPECTED_EHLO: case EXPECTED_HELO: case EXPECTED_STARTTLS:
	case EXPECTED_AUTH: case EXPECTED_RSET: case EXPECTED_QUIT:
		must_not_reach();
	}
	if (c->state == CLIENT_MAIL)
		smtp_client_advance(c);
}
