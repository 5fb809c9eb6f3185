/*
 * The log on disk.  A checksum cannot be guessed, so the first choice says how much of it is
 * right: raw octets, payloads of each kind, or batches of whole records around the input.
 */
#include "queue/envelope_codec.h"
#include "queue/scan.h"
#include "relay/base/buf.h"
#include "relay/base/crc32c.h"
#include "relay/base/must.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/queue/memory_disk.h"

enum { SEGMENT_BYTES_MAX = 1 << 20 };

static const struct segment_mark mark = { .number = 7, .salt = 0x5a17 };

struct counted {
	size_t batch_count, record_count;
	uint64_t offset;
};

static void
on_batch(void *ctx, uint64_t offset, const struct batch *batch)
{
	struct counted *counted = ctx;

	must(offset % RECORD_BLOCK_BYTES == 0 && offset >= counted->offset);
	must(batch->bytes > 0);
	counted->offset = offset;
	counted->batch_count++;
}

static void
decode(enum record_type type, struct span payload)
{
	struct message_record message;
	struct segment_mark read_mark;
	struct envelope_summary summary;
	struct envelope *envelope;
	struct span bits;
	uint32_t bit_count;

	if (type == RECORD_MESSAGE && message_record_read(&message, payload)) {
		envelope = envelope_decode(message.envelope);
		envelope_free(&envelope);
		if (envelope_summarize(&summary, message.envelope)) {
			struct span domain;
			size_t count = 0;

			while (envelope_summary_next(&summary, &domain))
				must(++count <= payload.len);
		}
	}
	if (type == RECORD_MANIFEST) {
		ptrdiff_t count = manifest_count(payload);
		struct manifest_entry entry;

		for (ptrdiff_t i = 0; i < count; i++)
			manifest_get(payload, (size_t)i, &entry);
	}
	if (type == RECORD_DEAD && dead_read(payload, &read_mark, &bits, &bit_count))
		must(bits.len * 8 >= bit_count);
	if (type == RECORD_FREE)
		(void)mark_read(&read_mark, payload);
	if (type == RECORD_BATCH) {
		struct batch batch;

		(void)batch_read(&batch, payload);
	}
}

static void
on_record(void *ctx, uint64_t offset, const struct record_header *header, struct span payload,
    bool is_vouched)
{
	struct counted *counted = ctx;

	(void)is_vouched;
	must(offset % RECORD_ALIGN == 0);
	must(header->type >= RECORD_BATCH && header->type <= RECORD_TYPE_MAX);
	counted->record_count++;
	decode(header->type, payload);
}

static void
on_damage(void *ctx, uint64_t offset, uint64_t id, const char *what)
{
	(void)ctx;
	(void)offset;
	(void)id;
	must(what && *what);
}

static void
scan_octets(struct span octets, uint64_t vouched_end)
{
	static struct memory_disk memory;
	struct counted counted = { 0 };
	struct scan scan = {
		.mark = mark, .end = octets.len, .vouched_end = vouched_end,
		.check_chunks = true, .batch = on_batch, .record = on_record,
		.damage = on_damage, .ctx = &counted,
	};
	struct iovec vector = { .iov_base = (void *)(uintptr_t)octets.data,
	    .iov_len = octets.len };
	struct err err;
	int file;

	memory_disk_init(&memory);
	must(disk_open(&memory.disk, "00000000.seg", DISK_OPEN_CREATE, &file, &err) == 0);
	if (octets.len > 0)
		must(disk_write(&memory.disk, file, &vector, 1, 0, DISK_WRITE_PLAIN, &err) == 0);
	scan.disk = &memory.disk;
	scan.file = file;
	must(scan_run(&scan, RECORD_BLOCK_BYTES) <= octets.len + RECORD_BLOCK_BYTES);
	scan_fini(&scan);
	disk_close(&memory.disk, &file);
	memory_disk_fini(&memory);
}

static void
put_record(struct buf *out, enum record_type type, uint64_t id, uint32_t sequence,
    struct span payload)
{
	char header[RECORD_HEADER_BYTES];
	const struct record_header it = {
		.type = type, .id = id, .sequence = sequence,
		.payload_bytes = (uint32_t)payload.len,
		.payload_crc = crc32c(0, payload.data, payload.len),
	};

	record_header_write(&it, mark, header);
	(void)buf_append(out, span_make(header, sizeof(header)));
	(void)buf_append(out, payload);
	(void)buf_append_repeat(out, '\0', record_bytes(payload.len) - sizeof(header) -
	    payload.len);
}

/* Records as the input says, TYPE ID SEQUENCE PAYLOAD|, in one batch with its right header. */
static void
scan_batch(struct span input, unsigned int damage)
{
	char payload[BATCH_PAYLOAD_BYTES];
	struct batch batch = { .sequence = 1, .number = mark.number };
	struct buf records;
	struct buf segment;

	buf_init(&records, SEGMENT_BYTES_MAX);
	buf_init(&segment, 2 * SEGMENT_BYTES_MAX);
	while (input.len > 0) {
		enum record_type type = (enum record_type)(fuzz_choice(&input) %
		    RECORD_TYPE_MAX + 1);
		uint64_t id = fuzz_choice(&input);
		uint32_t sequence = fuzz_choice(&input);

		put_record(&records, type, id, sequence, fuzz_field(&input));
		batch.record_count++;
	}
	batch.bytes = (uint32_t)record_block_align(BATCH_RECORD_BYTES + buf_len(&records));
	if (damage & 1)
		batch.record_count += damage >> 1;
	if (damage & 2)
		batch.bytes -= RECORD_BLOCK_BYTES;
	batch_write(&batch, payload);
	(void)buf_append_repeat(&segment, '\0', RECORD_BLOCK_BYTES);
	put_record(&segment, RECORD_BATCH, 0, 0, span_make(payload, sizeof(payload)));
	(void)buf_append(&segment, buf_span(&records));
	(void)buf_append_repeat(&segment, '\0', record_block_align(buf_len(&segment)) -
	    buf_len(&segment));
	if (!buf_overflowed(&records))
		scan_octets(buf_span(&segment), damage & 4 ? buf_len(&segment) : 0);
	buf_fini(&records);
	buf_fini(&segment);
}

void
fuzz_record(struct span input)
{
	unsigned int choice = fuzz_choice(&input);

	if (input.len > SEGMENT_BYTES_MAX / 64)
		return;
	switch (choice & 3) {
	case 0:
		scan_octets(input, choice & 4 ? input.len : 0);
		return;
	case 1:
		decode((enum record_type)(choice >> 2 & 15), input);
		return;
	case 2: {
		struct envelope *envelope = envelope_decode(input);

		envelope_free(&envelope);
		return;
	}
	default:
		scan_batch(input, choice >> 2);
		return;
	}
}
