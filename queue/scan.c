#include "queue/scan.h"

#include "queue/mutant.h"
#include "relay/base/mem.h"

enum {
	WINDOW_BYTES = 1 << 20,
	TORN_BYTES_MAX = 8 << 20,       /* no batch is longer but for one of a single record */
};

static bool
read_window(struct scan *scan, uint64_t offset, uint64_t size)
{
	struct err err;

	scan->window_offset = offset;
	scan->window_bytes = 0;
	return disk_read(scan->disk, scan->file, scan->window, (size_t)size, offset,
	    &scan->window_bytes, &err) == 0;
}

/*
 * Octets of the segment, or NULL where they cannot be read.  A window that cannot
 * be read whole is no reason to give up what is asked for.
 */
static const char *
look(struct scan *scan, uint64_t offset, uint64_t size)
{
	uint64_t wanted = size > WINDOW_BYTES ? size : WINDOW_BYTES;

	scan->look_failed = false;
	if (offset + size > scan->end)
		return NULL;
	if (offset >= scan->window_offset &&
	    offset + size <= scan->window_offset + scan->window_bytes)
		return scan->window + (offset - scan->window_offset);
	if (wanted > scan->end - offset)
		wanted = scan->end - offset;
	if (wanted > scan->window_capacity) {
		scan->window = mem_resize_array(scan->window, wanted, 1);
		scan->window_capacity = (size_t)wanted;
	}
	bool is_read = read_window(scan, offset, wanted);

	if (!is_read && scan->window_bytes < size)
		is_read = read_window(scan, offset, size);
	if (scan->window_bytes >= size)
		return scan->window;
	scan->look_failed = !is_read;
	scan->read_failed |= !is_read;
	return NULL;
}

void
scan_fini(struct scan *scan)
{
	mem_free(&scan->window);
}

static void
damage(struct scan *scan, uint64_t offset, uint64_t id, const char *what)
{
	if (scan->damage)
		scan->damage(scan->ctx, offset, id, what);
}

bool
scan_batch_at(struct scan *scan, uint64_t offset, struct batch *batch_out)
{
	const char *at = look(scan, offset, BATCH_RECORD_BYTES);
	struct record_header header;

	return at && record_header_read(&header, scan->mark, at) &&
	    header.type == RECORD_BATCH && header.payload_bytes == BATCH_PAYLOAD_BYTES &&
	    record_payload_matches(&header,
		span_make(at + RECORD_HEADER_BYTES, BATCH_PAYLOAD_BYTES)) &&
	    batch_read(batch_out, span_make(at + RECORD_HEADER_BYTES, BATCH_PAYLOAD_BYTES));
}

static bool
record_at(struct scan *scan, uint64_t offset, uint64_t end, struct record_header *header_out)
{
	const char *at = end - offset < RECORD_HEADER_BYTES ? NULL :
	    look(scan, offset, RECORD_HEADER_BYTES);

	return at && record_header_read(header_out, scan->mark, at) &&
	    record_bytes(header_out->payload_bytes) <= end - offset;
}

/* The payload too, unless it is not to be looked at.  False: it is not right. */
static bool
payload_at(struct scan *scan, uint64_t offset, const struct record_header *header,
    bool is_vouched, struct span *payload_out)
{
	*payload_out = SPAN("");
	if (header->payload_bytes == 0 ||
	    (header->type == RECORD_CHUNK && is_vouched && !scan->check_chunks))
		return true;
	const char *at = look(scan, offset + RECORD_HEADER_BYTES, header->payload_bytes);

	*payload_out = span_make(at, header->payload_bytes);
	return at && (record_payload_matches(header, *payload_out) ||
	    (mutant(MUTANT_BATCH_IS_WHOLE) && !is_vouched));
}

/* A record whose header is right.  False: its payload is not, and it was not vouched for. */
static bool
scan_record(struct scan *scan, uint64_t offset, const struct record_header *header,
    bool is_vouched)
{
	struct span payload;

	if (payload_at(scan, offset, header, is_vouched, &payload)) {
		if (scan->record)
			scan->record(scan->ctx, offset, header, payload, is_vouched);
		return true;
	}
	if (is_vouched)
		damage(scan, offset, header->id, record_type_name(header->type));
	return is_vouched;
}

/*
 * Most of what is there is bodies, or what an earlier life of the slot has left; a
 * start goes through all of it in the newest segment.
 */
static uint64_t
skip_others(const struct scan *scan, uint64_t offset, uint64_t end)
{
	uint64_t window_end = scan->window_offset + scan->window_bytes;

	while (offset < end && offset >= scan->window_offset &&
	    offset + RECORD_HEADER_BYTES <= window_end &&
	    !record_may_begin(scan->window + (offset - scan->window_offset)))
		offset += RECORD_ALIGN;
	return offset;
}

/*
 * Where the log is vouched for and a header is not right, the records behind it
 * are still found: each is bound to this life of the slot by its checksum, so
 * nothing else can look like one.  Returns the first offset from `offset` on that
 * has one, or the end.  Where the disk gives nothing the rest of the block is not
 * asked for either: a bad disk takes its time for each answer.
 */
static uint64_t
next_record(struct scan *scan, uint64_t offset, uint64_t end)
{
	struct record_header header;

	while (offset < end && !record_at(scan, offset, end, &header))
		offset = scan->look_failed ? record_block_align(offset + 1) :
		    skip_others(scan, offset + RECORD_ALIGN, end);
	return offset < end ? offset : end;
}

/* Whether all of it was valid. */
static bool
scan_batch(struct scan *scan, uint64_t offset, const struct batch *batch)
{
	uint64_t end = offset + batch->bytes;
	bool is_vouched = end <= scan->vouched_end;
	struct record_header header;

	if (scan->batch)
		scan->batch(scan->ctx, offset, batch);
	offset += BATCH_RECORD_BYTES;
	for (uint32_t i = 0; i < batch->record_count && offset < end; i++) {
		if (!record_at(scan, offset, end, &header)) {
			if (!is_vouched)
				return false;
			damage(scan, offset, 0, "record header");
			offset = next_record(scan, offset, end);
			continue;
		}
		if (!scan_record(scan, offset, &header, is_vouched))
			return false;
		offset += record_bytes(header.payload_bytes);
	}
	return true;
}

/* A batch whose own record is lost: up to the next one that is not.  Returns where that is. */
static uint64_t
scan_damaged(struct scan *scan, uint64_t offset)
{
	uint64_t end = scan->vouched_end < scan->end ? scan->vouched_end : scan->end;
	struct record_header header;
	struct batch batch;

	damage(scan, offset, 0, "batch header");
	offset += BATCH_RECORD_BYTES;
	while ((offset = next_record(scan, offset, end)) < end) {
		if (offset % RECORD_BLOCK_BYTES == 0 && scan_batch_at(scan, offset, &batch))
			return offset;
		(void)record_at(scan, offset, end, &header);
		(void)scan_record(scan, offset, &header, true);
		offset += record_bytes(header.payload_bytes);
	}
	return record_block_align(end);
}

uint64_t
scan_torn(struct scan *scan, uint64_t from)
{
	uint64_t end = scan->end - from < TORN_BYTES_MAX ? scan->end : from + TORN_BYTES_MAX;
	uint64_t torn_end = from, offset = from;
	struct record_header header;
	struct batch batch;

	if (scan_batch_at(scan, from, &batch))
		return batch.bytes < scan->end - from ? batch.bytes : scan->end - from;
	while ((offset = next_record(scan, offset, end)) < end) {
		(void)record_at(scan, offset, end, &header);
		offset += record_bytes(header.payload_bytes);
		torn_end = offset;
	}
	return torn_end - from;
}

uint64_t
scan_run(struct scan *scan, uint64_t from)
{
	uint64_t offset = from;
	uint64_t good_end = from;

	while (offset + RECORD_BLOCK_BYTES <= scan->end &&
	    (scan->stop_at == 0 || offset < scan->stop_at)) {
		struct batch batch;

		if (!scan_batch_at(scan, offset, &batch) || batch.bytes > scan->end - offset) {
			if (offset >= scan->vouched_end)
				break;
			offset = scan_damaged(scan, offset);
			continue;
		}
		bool is_vouched = offset + batch.bytes <= scan->vouched_end;

		if (!scan_batch(scan, offset, &batch) && !is_vouched)
			break;
		offset += batch.bytes;
		good_end = offset;
	}
	scan->stopped_at = offset;
	return good_end;
}
