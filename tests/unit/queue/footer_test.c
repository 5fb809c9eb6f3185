#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "queue/footer.h"
#include "tests/unit/queue/rig.h"

static int
setup(void **state)
{
	static struct rig rig;

	rig_init(&rig);
	rig.settings.move_percent = 0;
	rig_open(&rig);
	*state = &rig;
	return 0;
}

static int
teardown(void **state)
{
	rig_fini(*state);
	return 0;
}

enum {
	MESSAGES = 100,
};

static void
fill(struct rig *rig, queue_id ids[MESSAGES])
{
	for (size_t i = 0; i < MESSAGES; i++) {
		ids[i] = rig_send(rig, "a@example.org", "b@x.net,c@y.net", 10000, NULL);
		(void)rig_outcome(rig, ids[i], 0, RCPT_DELIVERED, "ok");
		if (i % 3 == 0)
			(void)rig_outcome(rig, ids[i], 1, RCPT_DELIVERED, "ok");
	}
}

static void
check(struct rig *rig, const queue_id ids[MESSAGES])
{
	for (size_t i = 0; i < MESSAGES; i++) {
		struct queue_rcpt rcpt;

		assert_int_equal(queue_find_rcpt(rig->queue, ids[i], 0, &rcpt), i % 3 != 0);
		if (i % 3 == 0)
			continue;
		assert_int_equal(rcpt.state, RCPT_DELIVERED);
		assert_int_equal(rig_read(rig, ids[i], 10000), QUEUE_DONE);
	}
	rig_forget_events(rig);
}

static void
sealed_segments_are_read_by_their_index(void **state)
{
	struct rig *rig = *state;
	queue_id ids[MESSAGES];

	fill(rig, ids);
	rig_crash(rig);
	assert_true(rig->found.footer_count > 3);
	assert_true(rig->found.footer_count + 2 >= rig->found.segment_count);
	assert_int_equal(rig->found.damaged_count, 0);
	check(rig, ids);
	/* And again: what the start wrote does not hide what was there. */
	rig_crash(rig);
	assert_true(rig->found.footer_count > 3);
	check(rig, ids);
}

/* The last batch of a sealed segment is its footer. */
static void
spoil_footers(struct rig *rig)
{
	for (int i = 0; i < rig->disk.file_count; i++) {
		struct memory_file *file = &rig->disk.files[i];

		if (strstr(file->name, ".seg") && file->size > 3 * RECORD_BLOCK_BYTES)
			file->data[file->size - RECORD_BLOCK_BYTES + 200] ^= 4;
	}
}

static void
a_spoilt_index_is_not_believed(void **state)
{
	struct rig *rig = *state;
	queue_id ids[MESSAGES];

	fill(rig, ids);
	uint64_t footer_count;

	rig_crash(rig);
	footer_count = rig->found.footer_count;
	spoil_footers(rig);
	rig_crash(rig);
	assert_true(rig->found.footer_count < footer_count);
	check(rig, ids);
}

/* ---- the octets ------------------------------------------------------------- */

static size_t
footer_of(struct footer *footer, size_t count)
{
	static const char payload[300] = "what was said";

	footer_init(footer, 1 << 20);
	footer_begin(footer);
	for (size_t i = 0; i < count; i++) {
		struct record_header header = {
			.type = i % 2 ? RECORD_MESSAGE : RECORD_CHUNK,
			.id = 100 + i,
			.sequence = (uint32_t)i,
			.payload_bytes = i % 2 ? sizeof(payload) : 4000,
		};

		footer_add(footer, &header, payload, RECORD_BLOCK_BYTES + 8000 * i);
	}
	return footer_end(footer, RECORD_BLOCK_BYTES + 8000 * count).len;
}

static void
knows_its_size(void **state)
{
	struct footer footer;

	(void)state;
	for (size_t count = 0; count < 200; count += 7) {
		size_t bytes = footer_of(&footer, count);

		assert_int_equal(footer.item_count, count);
		assert_true(footer_bytes_with(&footer, RECORD_FREE, 16) >= bytes);
		assert_true(footer_bytes_with(&footer, RECORD_MESSAGE, 300) >= bytes + 300);
		assert_int_equal(footer_bytes_with(&footer, RECORD_FREE, 16) %
		    RECORD_BLOCK_BYTES, 0);
		footer_fini(&footer);
	}
}

static void
leaves_out_what_is_large(void **state)
{
	struct footer footer;
	struct record_header header = { .type = RECORD_STATE, .payload_bytes = 200000 };

	(void)state;
	footer_init(&footer, 1 << 20);
	footer_begin(&footer);
	assert_false(footer.is_off);
	assert_int_equal(footer_bytes_with(&footer, RECORD_STATE, 200000), 0);
	footer_add(&footer, &header, NULL, RECORD_BLOCK_BYTES);
	assert_true(footer.is_off);
	assert_int_equal(footer_bytes_with(&footer, RECORD_STATE, 10), 0);
	footer_begin(&footer);
	assert_false(footer.is_off);
	footer_fini(&footer);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(sealed_segments_are_read_by_their_index, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(a_spoilt_index_is_not_believed, setup, teardown),
		cmocka_unit_test(knows_its_size),
		cmocka_unit_test(leaves_out_what_is_large),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
