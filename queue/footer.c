/*
 * A footer is a batch of INDEX records, numbered from 0 by their sequence.  Their
 * payloads, one behind the other, are a head and items:
 *
 *	head: u64 octets of all, head included; u64 end of what it covers, which is
 *	    where the footer begins; u32 items
 *	item: u8 type; u64 id; u32 sequence; u64 offset; u32 octets of the payload;
 *	    for MESSAGE, STATE and DEAD the payload itself
 *
 * FREE and MANIFEST are not in it: they count only in the newest segments, which
 * are scanned.
 */
#include "queue/footer.h"

#include "queue/mutant.h"
#include "queue/scan.h"
#include "relay/base/cursor.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	HEAD_BYTES = 20,
	ITEM_BYTES = 25,
};

void
footer_init(struct footer *footer, uint64_t bytes_max)
{
	*footer = (struct footer){ .is_off = true };
	buf_init(&footer->items, (size_t)bytes_max);
}

void
footer_fini(struct footer *footer)
{
	buf_fini(&footer->items);
}

void
footer_begin(struct footer *footer)
{
	static const char head[HEAD_BYTES];

	buf_clear(&footer->items);
	cursor_put(&footer->items, span_make(head, sizeof(head)));
	footer->item_count = 0;
	footer->is_off = false;
}

static bool
has_payload(enum record_type type)
{
	return type == RECORD_MESSAGE || type == RECORD_STATE || type == RECORD_DEAD;
}

static bool
has_item(enum record_type type)
{
	return has_payload(type) || type == RECORD_CHUNK || type == RECORD_DONE;
}

/* What is large for its segment is not written twice: that segment is scanned. */
static bool
is_too_large(const struct footer *footer, enum record_type type, uint32_t payload_bytes)
{
	return has_payload(type) && payload_bytes > footer->items.bytes_max / 8;
}

uint64_t
footer_bytes_with(const struct footer *footer, enum record_type type, uint32_t payload_bytes)
{
	if (footer->is_off || is_too_large(footer, type, payload_bytes))
		return 0;
	uint64_t bytes = buf_len(&footer->items);

	if (has_item(type))
		bytes += ITEM_BYTES + (has_payload(type) ? payload_bytes : 0);
	uint64_t part_count = bytes / FOOTER_PART_BYTES_MAX + 1;

	return record_block_align(BATCH_RECORD_BYTES + bytes +
	    part_count * (RECORD_HEADER_BYTES + RECORD_ALIGN));
}

void
footer_add(struct footer *footer, const struct record_header *header, const char *payload,
    uint64_t offset)
{
	struct buf *items = &footer->items;

	if (is_too_large(footer, header->type, header->payload_bytes))
		footer->is_off = true;
	if (footer->is_off || !has_item(header->type))
		return;
	cursor_put_u8(items, (uint8_t)header->type);
	cursor_put_u64(items, header->id);
	cursor_put_u32(items, header->sequence);
	cursor_put_u64(items, offset);
	cursor_put_u32(items, header->payload_bytes);
	if (has_payload(header->type))
		cursor_put(items, span_make(payload, header->payload_bytes));
	footer->item_count++;
	if (buf_overflowed(items))
		footer->is_off = true;
}

struct span
footer_end(struct footer *footer, uint64_t end)
{
	must(!footer->is_off);
	char *head = footer->items.data + footer->items.start;

	cursor_store_u64(head, buf_len(&footer->items));
	cursor_store_u64(head + 8, end);
	cursor_store_u32(head + 16, footer->item_count);
	return buf_span(&footer->items);
}

/* ---- reading ---------------------------------------------------------------- */

struct parts {
	struct buf all;
	uint32_t next;
	bool is_wrong;
};

static void
take_part(void *ctx, uint64_t offset, const struct record_header *header, struct span payload,
    bool is_vouched)
{
	struct parts *parts = ctx;

	(void)offset;
	(void)is_vouched;
	if (header->type != RECORD_INDEX || header->sequence != parts->next++)
		parts->is_wrong = true;
	else
		cursor_put(&parts->all, payload);
}

static void
note_damage(void *ctx, uint64_t offset, uint64_t id, const char *what)
{
	struct parts *parts = ctx;

	(void)offset;
	(void)id;
	(void)what;
	parts->is_wrong = true;
}

static bool
next_item(struct cursor *in, struct record_header *header_out, uint64_t *offset_out,
    struct span *payload_out)
{
	uint8_t type = cursor_u8(in);

	header_out->type = (enum record_type)type;
	header_out->id = cursor_u64(in);
	header_out->sequence = cursor_u32(in);
	*offset_out = cursor_u64(in);
	header_out->payload_bytes = cursor_u32(in);
	*payload_out = SPAN("");
	if (type < 1 || type > RECORD_TYPE_MAX || !has_item(header_out->type))
		cursor_fail(in);
	else if (has_payload(header_out->type))
		*payload_out = cursor_take(in, header_out->payload_bytes);
	return !cursor_failed(in);
}

static bool
is_consistent(struct span all, uint64_t footer_at)
{
	struct cursor in = cursor_init(all);
	uint64_t bytes = cursor_u64(&in);
	uint64_t covered = cursor_u64(&in);
	uint32_t count = cursor_u32(&in);

	if (mutant(MUTANT_TRUST_FOOTER))
		return true;
	if (cursor_failed(&in) || bytes != all.len || covered != footer_at)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		struct record_header header;
		struct span payload;
		uint64_t offset;

		if (!next_item(&in, &header, &offset, &payload) || offset % RECORD_ALIGN != 0 ||
		    offset < RECORD_BLOCK_BYTES || offset >= footer_at ||
		    record_bytes(header.payload_bytes) > footer_at - offset)
			return false;
	}
	return cursor_ended_well(&in);
}

static bool
read_all(struct disk *disk, int file, struct segment_mark mark, uint64_t offset, uint64_t end,
    struct parts *parts)
{
	struct scan scan = {
		.disk = disk,
		.file = file,
		.mark = mark,
		.end = end,
		.vouched_end = mutant(MUTANT_TRUST_FOOTER) ? 0 : end,
		.record = take_part,
		.damage = note_damage,
		.ctx = parts,
	};
	bool is_whole = scan_run(&scan, offset) == end;

	scan_fini(&scan);
	return (is_whole && !parts->is_wrong) || mutant(MUTANT_TRUST_FOOTER);
}

bool
footer_read(struct disk *disk, int file, struct segment_mark mark, uint64_t offset, uint64_t end,
    void (*record)(void *ctx, uint64_t offset, const struct record_header *header,
    struct span payload), void *ctx)
{
	struct parts parts = { 0 };
	bool is_good = false;

	if (offset < RECORD_BLOCK_BYTES || offset >= end)
		return false;
	buf_init(&parts.all, (size_t)(end - offset));
	if (read_all(disk, file, mark, offset, end, &parts) &&
	    is_consistent(buf_span(&parts.all), offset)) {
		struct cursor in = cursor_init(span_skip(buf_span(&parts.all), HEAD_BYTES));
		struct record_header header = { 0 };
		struct span payload;
		uint64_t at;

		while (!cursor_failed(&in) && cursor_left(&in) > 0 &&
		    next_item(&in, &header, &at, &payload))
			record(ctx, at, &header, payload);
		is_good = true;
	}
	buf_fini(&parts.all);
	return is_good;
}
