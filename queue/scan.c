#include "queue/scan.h"

#include "queue/mutant.h"
#include "relay/base/mem.h"

enum {
	WINDOW_BYTES = 1 << 20,
};

/* Octets of the segment, or NULL where they cannot be read. */
static const char *
look(struct scan *scan, uint64_t offset, uint64_t size)
{
	struct err err;
	uint64_t wanted = size > WINDOW_BYTES ? size : WINDOW_BYTES;

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
	scan->window_offset = offset;
	scan->window_bytes = 0;
	if (disk_read(scan->disk, scan->file, scan->window, (size_t)wanted, offset,
		&scan->window_bytes, &err) < 0) {
		scan->read_failed = true;
		return NULL;
	}
	return scan->window_bytes >= size ? scan->window : NULL;
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

/* False: its header is not valid, so nobody knows where the next one is. */
static bool
scan_record(struct scan *scan, uint64_t *offset, uint64_t batch_end, bool is_vouched)
{
	const char *at = look(scan, *offset, RECORD_HEADER_BYTES);
	struct record_header header;
	struct span payload = SPAN("");

	if (!at || !record_header_read(&header, scan->mark, at) ||
	    record_bytes(header.payload_bytes) > batch_end - *offset) {
		if (is_vouched)
			damage(scan, *offset, 0, "record header");
		return false;
	}
	bool skip = header.type == RECORD_CHUNK && is_vouched && !scan->check_chunks;

	if (!skip && header.payload_bytes > 0) {
		at = look(scan, *offset + RECORD_HEADER_BYTES, header.payload_bytes);
		payload = span_make(at, header.payload_bytes);
		if (!at || (!record_payload_matches(&header, payload) &&
		    !(mutant(MUTANT_BATCH_IS_WHOLE) && !is_vouched))) {
			if (is_vouched)
				damage(scan, *offset, header.id, record_type_name(header.type));
			*offset += record_bytes(header.payload_bytes);
			return is_vouched;
		}
	}
	if (scan->record)
		scan->record(scan->ctx, *offset, &header, payload, is_vouched);
	*offset += record_bytes(header.payload_bytes);
	return true;
}

/* Whether all of it was valid. */
static bool
scan_batch(struct scan *scan, uint64_t offset, const struct batch *batch)
{
	uint64_t end = offset + batch->bytes;
	bool is_vouched = end <= scan->vouched_end;

	if (scan->batch)
		scan->batch(scan->ctx, offset, batch);
	offset += BATCH_RECORD_BYTES;
	for (uint32_t i = 0; i < batch->record_count; i++) {
		if (!scan_record(scan, &offset, end, is_vouched))
			return false;
	}
	return true;
}

uint64_t
scan_run(struct scan *scan, uint64_t from)
{
	uint64_t offset = from;
	uint64_t good_end = from;
	bool in_damage = false;

	while (offset + RECORD_BLOCK_BYTES <= scan->end) {
		struct batch batch;

		if (!scan_batch_at(scan, offset, &batch) || batch.bytes > scan->end - offset) {
			if (offset >= scan->vouched_end)
				break;
			if (!in_damage)
				damage(scan, offset, 0, "batch header");
			in_damage = true;
			offset += RECORD_BLOCK_BYTES;
			continue;
		}
		in_damage = false;
		bool is_vouched = offset + batch.bytes <= scan->vouched_end;

		if (!scan_batch(scan, offset, &batch) && !is_vouched)
			break;
		offset += batch.bytes;
		good_end = offset;
	}
	return good_end;
}
