#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/mail/address.h"
#include "relay/smtp/smtp_client_private.h"

enum {
	COMMAND_BYTES_MAX = 2048,       /* free in the output before one is composed */
	PARAM_BYTES_MAX = 500,
	PIPELINE_COUNT_DEFAULT = 100,
};

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
	if (c->state == CLIENT_READY && !c->mail && !c->closing)
		smtp_client_ready(c);
}

void
smtp_client_abandon(struct smtp_client *c, enum smtp_client_at at, const struct reply *reply,
		    bool from_peer)
{
	struct reply unknown;

	reply_set(&unknown, 450, "4.4.2", "lost after the end of data: %.400s", reply->text);
	for (size_t i = 0; i < c->mail->rcpt_count; i++) {
		/* Sent and not answered is as good as accepted: an eager body may be complete. */
		bool uncertain = c->end_began && c->fates[i] != RCPT_UNSENT;

		settle(c, i, uncertain ? &unknown : reply, uncertain ? SMTP_CLIENT_AT_END : at,
		    from_peer && !uncertain, uncertain);
	}
	finish(c);
}

/* ---- commands ------------------------------------------------------------- */

/*
 * One line is one command: nothing that could end it early, and nothing that would make it longer
 * than any server takes.  What we accepted ourselves is never of that kind.
 */
static bool
is_sendable(struct span text, size_t bytes_max)
{
	return text.len <= bytes_max && !span_has_control(text);
}

/* A parameter of no consequence for delivery is left out when it cannot be said. */
static void
put_xtext_param(struct smtp_client *c, const char *name, struct span value)
{
	if (value.len && is_sendable(value, PARAM_BYTES_MAX))
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
	if (mail->transid.len && is_sendable(mail->transid, PARAM_BYTES_MAX) &&
	    smtp_peer_offers(peer, SMTP_CHECKPOINT))
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
	struct reply reply;

	if (!is_sendable(rcpt->address, ADDRESS_TEXT_BYTES_MAX)) {
		reply_set(&reply, 553, "5.1.3", "the address cannot be said in SMTP");
		settle(c, index, &reply, SMTP_CLIENT_AT_RCPT, false, false);
		c->answered_count++;
		return;
	}

	(void)buf_appendf(&c->out, "RCPT TO:<%.*s>", SPAN_ARGS(rcpt->address));
	if (smtp_peer_offers(&c->peer, SMTP_DSN)) {
		put_notify(c, rcpt->notify);
		/* RFC 6533 section 3: raw UTF-8 in it only where SMTPUTF8 was said. */
		if (c->mail->needs_utf8 || span_is_ascii(rcpt->orcpt))
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
		smtp_client_begin_chunk(c);
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
	else if (!is_sendable(mail->sender, ADDRESS_TEXT_BYTES_MAX))
		reply_set(reply, 553, "5.1.7", "the sender's address cannot be said in SMTP");
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
	c->waits_for_body = c->chunk_is_last = false;
	c->chunk_left = 0;
	data_writer_init(&c->writer);
	data_reader_init(&c->check, DATA_FRAMED_BY_COUNT, 0);
	if (!is_possible(c, &reply)) {
		for (size_t i = 0; i < mail->rcpt_count; i++)
			settle(c, i, &reply, SMTP_CLIENT_AT_MAIL, false, false);
		finish(c);
		return;
	}
	smtp_client_advance(c);
}

/* ---- replies -------------------------------------------------------------- */

static void
mail_replied(struct smtp_client *c, const struct reply *reply)
{
	if (reply_is_positive(reply))
		return;
	c->mail_refused = true;

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

/*
 * A chunk in the middle was refused.  The one that is leaving has to be completed, for its length
 * was said; no other follows it.
 */
static void
chunk_replied(struct smtp_client *c, const struct reply *reply)
{
	if (!reply_is_positive(reply)) {
		c->needs_rset = true;
		settle_accepted(c, reply, SMTP_CLIENT_AT_BODY);
	}
	if (c->body == BODY_LEFT && c->expected_count == 0)
		finish(c);
}

static void
end_replied(struct smtp_client *c, size_t rcpt, const struct reply *reply)
{
	/* RFC 3030 section 2: after a BDAT that failed the transaction may still be open. */
	if (c->chunking && !reply_is_positive(reply))
		c->needs_rset = true;
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
		return;
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
