#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "queue/gather.h"
#include "queue/record.h"
#include "queue/scan.h"
#include "relay/base/crc32c.h"
#include "relay/base/cursor.h"
#include "tests/unit/queue/memory_disk.h"

static const struct segment_mark ours = { 7, UINT64_C(0x1122334455667788) };

static void
headers_are_bound_to_one_life(void **state)
{
	const struct record_header header = { RECORD_CHUNK, 3, 99, 5000, 0xabcdef };
	static const struct segment_mark others[] = {
		{ 8, UINT64_C(0x1122334455667788) }, { 7, UINT64_C(0x1122334455667789) }, { 0, 0 },
	};
	char out[RECORD_HEADER_BYTES];
	struct record_header read;

	(void)state;
	record_header_write(&header, ours, out);
	assert_true(record_header_read(&read, ours, out));
	assert_memory_equal(&read, &header, sizeof(read));
	for (size_t i = 0; i < 3; i++)
		assert_false(record_header_read(&read, others[i], out));
	for (size_t bit = 0; bit < 8 * sizeof(out); bit++) {
		out[bit / 8] ^= (char)(1 << bit % 8);
		assert_false(record_header_read(&read, ours, out));
		out[bit / 8] ^= (char)(1 << bit % 8);
	}
	memset(out, 0, sizeof(out));
	assert_false(record_header_read(&read, ours, out));
}

static void
heads_of_segments_are_checked(void **state)
{
	const struct segment_header header = { ours, 5, 1 << 20, 1234567 };
	char out[RECORD_BLOCK_BYTES];
	struct segment_header read;
	struct err err;

	(void)state;
	segment_header_write(&header, out);
	assert_int_equal(segment_header_read(&read, out, &err), 0);
	assert_memory_equal(&read, &header, sizeof(read));
	for (size_t bit = 0; bit < 8 * 64; bit++) {
		out[bit / 8] ^= (char)(1 << bit % 8);
		assert_int_equal(segment_header_read(&read, out, &err), -1);
		assert_int_equal(err.kind, ERR_DAMAGED);
		out[bit / 8] ^= (char)(1 << bit % 8);
	}
	/* A newer version, whole in itself, is not called damaged. */
	cursor_store_u32(out + 8, RECORD_FORMAT_VERSION + 1);
	cursor_store_u32(out + 12, 0);
	cursor_store_u32(out + 12, crc32c(0, out, 64));
	assert_int_equal(segment_header_read(&read, out, &err), -1);
	assert_int_equal(err.kind, ERR_UNSUPPORTED);
}

/* Every payload comes back as it was, and no shorter one is taken for it. */
static void
messages_come_back(void **state)
{
	struct message_record record = {
		.chunk_count = 2,
		.body_bytes = 70000,
		.digest = { 1, 2, 3 },
		.accepted_ms = 42,
		.transid = SPAN("q.1.x@n"),
		.owner = SPAN("relay1.example.net"),
		.reply = SPAN("250 2.0.0 kept"),
		.parent_id = 77,
		.parent_revision = 3,
		.parent_done = true,
		.parent_state = SPAN("state"),
		.envelope = SPAN("envelope"),
	};
	struct message_record read;
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	message_record_put(&out, &record);
	struct span whole = buf_span(&out);

	assert_true(message_record_read(&read, whole));
	assert_int_equal(read.body_bytes, 70000);
	assert_true(span_equal(read.transid, record.transid));
	assert_true(span_equal(read.reply, record.reply));
	assert_true(span_equal(read.parent_state, record.parent_state));
	assert_true(span_equal(read.envelope, record.envelope));
	assert_int_equal(read.parent_id, 77);
	assert_true(read.parent_done);
	for (size_t len = 0; len < whole.len; len++)
		assert_false(message_record_read(&read, span_first(whole, len)));
	buf_fini(&out);
}

static void
manifests_and_marks_come_back(void **state)
{
	const struct manifest_entry entries[] = {
		{ { 1, 11 }, 4, 4096, 0 }, { { 2, 22 }, 0, 1 << 20, 900000 },
	};
	struct manifest_entry entry;
	struct segment_mark mark;
	struct span bits;
	uint32_t bit_count;
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	manifest_put(&out, entries, 2);
	assert_int_equal(manifest_count(buf_span(&out)), 2);
	manifest_get(buf_span(&out), 1, &entry);
	assert_memory_equal(&entry.mark, &entries[1].mark, sizeof(entry.mark));
	assert_int_equal(entry.footer, 900000);
	assert_int_equal(manifest_count(span_first(buf_span(&out), 71)), -1);
	assert_int_equal(manifest_count(SPAN("")), 0);
	buf_clear(&out);
	dead_put(&out, ours, (const uint8_t *)"\x05\x80", 16);
	assert_true(dead_read(buf_span(&out), &mark, &bits, &bit_count));
	assert_int_equal(bit_count, 16);
	assert_int_equal(mark.salt, ours.salt);
	for (size_t len = 0; len < buf_len(&out); len++)
		assert_false(dead_read(span_first(buf_span(&out), len), &mark, &bits, &bit_count));
	buf_fini(&out);
}

/* ---- scans ---------------------------------------------------------------------- */

struct seen {
	uint64_t ids[64];
	size_t count, damage_count;
};

static void
see_record(void *ctx, uint64_t offset, const struct record_header *header, struct span payload,
    bool is_vouched)
{
	struct seen *seen = ctx;

	(void)offset;
	(void)payload;
	(void)is_vouched;
	seen->ids[seen->count++] = header->id;
}

static void
see_damage(void *ctx, uint64_t offset, uint64_t id, const char *what)
{
	(void)offset;
	(void)id;
	(void)what;
	((struct seen *)ctx)->damage_count++;
}

/* A segment of four batches with three records each; returns where each ends. */
static int
write_segment(struct memory_disk *disk, uint64_t ends[4])
{
	static struct gather gather;
	uint64_t at = RECORD_BLOCK_BYTES;
	char payload[600];
	struct err err;
	int file;

	memory_disk_init(disk);
	assert_int_equal(disk_open(&disk->disk, "s", DISK_OPEN_CREATE, &file, &err), 0);
	gather_init(&gather);
	for (uint64_t i = 0; i < 4; i++) {
		struct batch batch = { .sequence = i + 1, .number = ours.number };

		gather_begin(&gather);
		for (uint64_t j = 0; j < 3; j++) {
			memset(payload, (int)('a' + i), sizeof(payload));
			struct record_header header = {
				.type = RECORD_STATE,
				.id = 10 * i + j,
				.payload_bytes = sizeof(payload),
				.payload_crc = crc32c(0, payload, sizeof(payload)),
			};

			(void)gather_add(&gather, &header, ours, payload);
		}
		gather_end(&gather, &batch, ours);
		assert_int_equal(disk_write(&disk->disk, file, gather.vectors, gather.vector_count,
		    at, DISK_WRITE_SYNC, &err), 0);
		ends[i] = at += batch.bytes;
	}
	gather_fini(&gather);
	return file;
}

static const struct {
	const char *name;
	int flip_batch;         /* a bit of this batch; -1 none */
	uint64_t flip_at;       /* offset in it */
	int vouched;            /* so many batches are vouched for */
	size_t records, damage;
	int good_batches;
} scan_cases[] = {
	{ "all is well, nothing vouched for", -1, 0, 0, 12, 0, 4 },
	{ "all is well, all vouched for", -1, 0, 4, 12, 0, 4 },
	{ "an unvouched batch header ends it", 2, 10, 0, 6, 0, 2 },
	{ "an unvouched record header ends it", 2, 104, 2, 6, 0, 2 },
	{ "an unvouched payload ends it behind what is good", 2, 900, 2, 7, 0, 2 },
	{ "a vouched batch header costs nothing", 1, 10, 4, 12, 1, 4 },
	{ "a vouched record header costs the record", 1, 104, 4, 11, 1, 4 },
	{ "a vouched payload costs the record", 1, 200, 4, 11, 1, 4 },
	{ "damage before an unvouched tail", 1, 200, 3, 11, 1, 4 },
};

static void
scans_find_what_is_there(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(scan_cases) / sizeof(scan_cases[0]); i++) {
		struct memory_disk disk;
		struct seen seen = { 0 };
		uint64_t ends[4], good_end;
		int file = write_segment(&disk, ends);
		uint64_t begins[] = { RECORD_BLOCK_BYTES, ends[0], ends[1], ends[2] };

		if (scan_cases[i].flip_batch >= 0)
			disk.files[file].data[begins[scan_cases[i].flip_batch] +
			    scan_cases[i].flip_at] ^= 2;
		struct scan scan = {
			.disk = &disk.disk,
			.file = file,
			.mark = ours,
			.end = ends[3],
			.vouched_end = scan_cases[i].vouched ? ends[scan_cases[i].vouched - 1] : 0,
			.record = see_record,
			.damage = see_damage,
			.ctx = &seen,
		};

		good_end = scan_run(&scan, RECORD_BLOCK_BYTES);
		scan_fini(&scan);
		if (seen.count != scan_cases[i].records ||
		    seen.damage_count != scan_cases[i].damage ||
		    good_end != ends[scan_cases[i].good_batches - 1])
			fail_msg("%s: %zu records, %zu damage, good to %lu", scan_cases[i].name,
			    seen.count, seen.damage_count, (unsigned long)good_end);
		memory_disk_fini(&disk);
	}
}

static void
slices_meet(void **state)
{
	struct memory_disk disk;
	struct seen seen = { 0 };
	uint64_t ends[4], at = RECORD_BLOCK_BYTES;
	int file = write_segment(&disk, ends);

	(void)state;
	for (int i = 0; i < 4; i++) {
		struct scan scan = {
			.disk = &disk.disk, .file = file, .mark = ours, .end = ends[3],
			.vouched_end = ends[3], .stop_at = at + 1, .record = see_record,
			.damage = see_damage, .ctx = &seen,
		};

		(void)scan_run(&scan, at);
		scan_fini(&scan);
		assert_int_equal(scan.stopped_at, ends[i]);
		at = scan.stopped_at;
	}
	assert_int_equal(seen.count, 12);
	assert_int_equal(seen.damage_count, 0);
	memory_disk_fini(&disk);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(headers_are_bound_to_one_life),
		cmocka_unit_test(heads_of_segments_are_checked),
		cmocka_unit_test(messages_come_back),
		cmocka_unit_test(manifests_and_marks_come_back),
		cmocka_unit_test(scans_find_what_is_there),
		cmocka_unit_test(slices_meet),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
