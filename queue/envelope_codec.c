/*
 * An envelope, version 1: a length L below is a varint and as many octets.
 *
 *	u8 version (1); u8 flags; u8 ret; u8 body; u8 protocol;
 *	i64 arrival (wall clock); varint octets of the body;
 *	L sender; L client address; L parent; varint count of recipients;
 *	each recipient: L address, varint octets of its domain, u8 notify, L orcpt;
 *	L client hello; L authenticated user; L listener; L origin; L envid
 *
 * The first part is what the index needs at start.
 */
#include "queue/envelope_codec.h"

enum {
	ENVELOPE_VERSION = 1,
	FLAG_SMTPUTF8 = 1 << 0,
	FLAG_NEEDS_UTF8 = 1 << 1,
	FLAG_REQUIRES_8BIT = 1 << 2,
	RCPT_BYTES_MIN = 4,             /* bounds a count before memory is taken for it */
};

static void
put(struct buf *out, struct span text)
{
	cursor_put_span_varint(out, text);
}

void
envelope_encode(const struct envelope *envelope, struct buf *out)
{
	cursor_put_u8(out, ENVELOPE_VERSION);
	cursor_put_u8(out, (uint8_t)((envelope->smtputf8 ? FLAG_SMTPUTF8 : 0) |
	    (envelope->needs_utf8 ? FLAG_NEEDS_UTF8 : 0) |
	    (envelope->requires_8bit ? FLAG_REQUIRES_8BIT : 0)));
	cursor_put_u8(out, (uint8_t)envelope->ret);
	cursor_put_u8(out, (uint8_t)envelope->body);
	cursor_put_u8(out, (uint8_t)envelope->protocol);
	cursor_put_i64(out, envelope->arrival_ms);
	cursor_put_varint(out, envelope->body_bytes);
	put(out, envelope->sender);
	put(out, envelope->client_address);
	put(out, envelope->parent);
	cursor_put_varint(out, envelope->rcpt_count);
	for (size_t i = 0; i < envelope->rcpt_count; i++) {
		const struct envelope_rcpt *rcpt = &envelope->rcpts[i];

		put(out, rcpt->address);
		cursor_put_varint(out, rcpt->domain.len);
		cursor_put_u8(out, rcpt->notify);
		put(out, rcpt->orcpt);
	}
	put(out, envelope->client_hello);
	put(out, envelope->auth_user);
	put(out, envelope->listener);
	put(out, envelope->origin);
	put(out, envelope->envid);
}

struct head {
	uint8_t flags, ret, body, protocol;
	int64_t arrival_ms;
	uint64_t body_bytes;
	struct envelope_summary summary;
};

static void
read_head(struct cursor *in, struct head *head_out)
{
	if (cursor_u8(in) != ENVELOPE_VERSION)
		cursor_fail(in);
	head_out->flags = cursor_u8(in);
	head_out->ret = cursor_u8(in);
	head_out->body = cursor_u8(in);
	head_out->protocol = cursor_u8(in);
	if (head_out->ret > RET_HEADERS || head_out->body > BODY_8BITMIME ||
	    head_out->protocol > PROTOCOL_LOCAL)
		cursor_fail(in);
	head_out->arrival_ms = cursor_i64(in);
	head_out->body_bytes = cursor_varint(in);
	head_out->summary.sender = cursor_take_varint(in);
	head_out->summary.client_address = cursor_take_varint(in);
	head_out->summary.parent = cursor_take_varint(in);
	uint64_t count = cursor_varint(in);

	if (count == 0 || count > cursor_left(in) / RCPT_BYTES_MIN)
		cursor_fail(in);
	head_out->summary.rcpt_count = (uint32_t)count;
}

struct rcpt {
	struct span address, domain, orcpt;
	uint8_t notify;
};

static void
read_rcpt(struct cursor *in, struct rcpt *rcpt_out)
{
	rcpt_out->address = cursor_take_varint(in);
	uint64_t domain_bytes = cursor_varint(in);

	if (domain_bytes > rcpt_out->address.len) {
		cursor_fail(in);
		domain_bytes = 0;
	}
	rcpt_out->domain = span_skip(rcpt_out->address, rcpt_out->address.len - domain_bytes);
	rcpt_out->notify = cursor_u8(in);
	rcpt_out->orcpt = cursor_take_varint(in);
}

bool
envelope_summarize(struct envelope_summary *summary_out, struct span bytes)
{
	struct cursor in = cursor_init(bytes);
	struct head head;

	read_head(&in, &head);
	*summary_out = head.summary;
	summary_out->rcpts = in;
	return !cursor_failed(&in);
}

bool
envelope_summary_next(struct envelope_summary *summary, struct span *domain_out)
{
	struct rcpt rcpt;

	read_rcpt(&summary->rcpts, &rcpt);
	*domain_out = rcpt.domain;
	return !cursor_failed(&summary->rcpts);
}

static void
read_rcpts(struct cursor *in, uint32_t count, struct envelope *envelope)
{
	for (uint32_t i = 0; i < count && !cursor_failed(in); i++) {
		struct rcpt rcpt;

		read_rcpt(in, &rcpt);
		struct envelope_rcpt *added = envelope_add_rcpt(envelope, rcpt.address);

		added->domain = span_skip(added->address, rcpt.address.len - rcpt.domain.len);
		added->notify = rcpt.notify;
		added->orcpt = envelope_keep(envelope, rcpt.orcpt);
	}
}

struct envelope *
envelope_decode(struct span bytes)
{
	struct cursor in = cursor_init(bytes);
	struct head head;

	read_head(&in, &head);
	if (cursor_failed(&in))
		return NULL;
	struct envelope *envelope = envelope_new();

	envelope->smtputf8 = head.flags & FLAG_SMTPUTF8;
	envelope->needs_utf8 = head.flags & FLAG_NEEDS_UTF8;
	envelope->requires_8bit = head.flags & FLAG_REQUIRES_8BIT;
	envelope->ret = (enum envelope_ret)head.ret;
	envelope->body = (enum envelope_body)head.body;
	envelope->protocol = (enum envelope_protocol)head.protocol;
	envelope->arrival_ms = head.arrival_ms;
	envelope->body_bytes = head.body_bytes;
	envelope->sender = envelope_keep(envelope, head.summary.sender);
	envelope->client_address = envelope_keep(envelope, head.summary.client_address);
	envelope->parent = envelope_keep(envelope, head.summary.parent);
	read_rcpts(&in, head.summary.rcpt_count, envelope);
	envelope->client_hello = envelope_keep(envelope, cursor_take_varint(&in));
	envelope->auth_user = envelope_keep(envelope, cursor_take_varint(&in));
	envelope->listener = envelope_keep(envelope, cursor_take_varint(&in));
	envelope->origin = envelope_keep(envelope, cursor_take_varint(&in));
	envelope->envid = envelope_keep(envelope, cursor_take_varint(&in));
	if (!cursor_ended_well(&in))
		envelope_free(&envelope);
	return envelope;
}
