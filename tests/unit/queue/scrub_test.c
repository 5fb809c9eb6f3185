#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/queue/rig.h"

enum {
	MESSAGES = 60,
	BODY = 10000,
};

struct fixture {
	struct rig rig;
	queue_id ids[MESSAGES];
};

static int
setup(void **state)
{
	static struct fixture fixture;

	rig_init(&fixture.rig);
	fixture.rig.settings.scrub_bytes_second = 100000;
	rig_open(&fixture.rig);
	for (size_t i = 0; i < MESSAGES; i++)
		fixture.ids[i] = rig_send(&fixture.rig, "a@example.org", "b@example.net", BODY,
		    NULL);
	rig_crash(&fixture.rig);
	*state = &fixture;
	return 0;
}

static int
teardown(void **state)
{
	rig_fini(&((struct fixture *)*state)->rig);
	return 0;
}

static struct queue_stats
after_seconds(struct rig *rig, int seconds)
{
	struct queue_stats stats;

	for (int i = 0; i < seconds; i++) {
		clock_manual_advance_ms(&rig->clock, 1000);
		rig_run(rig);
	}
	queue_stats(rig->queue, &stats);
	return stats;
}

static char *
find_body(struct rig *rig, queue_id id)
{
	char pattern[BODY];

	for (size_t i = 0; i < sizeof(pattern); i++)
		pattern[i] = rig_octet(id, i);
	for (int i = 0; i < rig->disk.file_count; i++) {
		struct memory_file *file = &rig->disk.files[i];
		char *at = file->size ? memmem(file->data, file->size, pattern,
		    sizeof(pattern)) : NULL;

		if (at)
			return at;
	}
	fail_msg("the body is nowhere");
	return NULL;
}

static void
reads_at_its_rate_and_once_a_day(void **state)
{
	struct rig *rig = &((struct fixture *)*state)->rig;
	struct queue_stats stats = after_seconds(rig, 3);

	assert_in_range(stats.scrubbed_bytes, 200000, 420000);
	stats = after_seconds(rig, 10);
	assert_in_range(stats.scrubbed_bytes, MESSAGES * BODY, 2 * MESSAGES * BODY);
	uint64_t once = stats.scrubbed_bytes;

	assert_int_equal(after_seconds(rig, 30).scrubbed_bytes, once);
	clock_manual_advance_ms(&rig->clock, 24 * 3600 * 1000);
	assert_in_range(after_seconds(rig, 15).scrubbed_bytes, 2 * once - 300000,
	    2 * once + 300000);
	assert_int_equal(stats.scrub_damaged_count, 0);
}

static void
sets_aside_what_it_finds(void **state)
{
	struct fixture *fixture = *state;
	struct rig *rig = &fixture->rig;
	struct queue_item item;
	struct queue_damage damage;

	find_body(rig, fixture->ids[7])[0] ^= 1;
	struct queue_stats stats = after_seconds(rig, 15);

	assert_int_equal(stats.scrub_damaged_count, 1);
	assert_int_equal(stats.damaged_count, 1);
	assert_true(queue_find(rig->queue, fixture->ids[7], &item));
	assert_true(item.damaged);
	assert_non_null(rig_find(rig, 'r', fixture->ids[7]));
	assert_true(queue_list_damage(rig->queue, 0, &damage));
	assert_int_equal(damage.id, fixture->ids[7]);
	assert_non_null(strstr(damage.what, "scrub"));
	assert_int_equal(rig_read(rig, fixture->ids[6], BODY), QUEUE_DONE);
	/* The next day it is still one. */
	clock_manual_advance_ms(&rig->clock, 24 * 3600 * 1000);
	assert_int_equal(after_seconds(rig, 15).damaged_count, 1);
	/* Its segment is kept, though all else in it is settled. */
	for (size_t i = 0; i < MESSAGES; i++)
		assert_int_equal(rig_outcome(rig, fixture->ids[i], 0, RCPT_DELIVERED, "ok"),
		    QUEUE_DONE);
	assert_in_range(after_seconds(rig, 2).segment_live_count, 2, 4);
}

static void
passes_over_the_dead(void **state)
{
	struct fixture *fixture = *state;
	struct rig *rig = &fixture->rig;
	char *body = find_body(rig, fixture->ids[7]);

	assert_int_equal(rig_outcome(rig, fixture->ids[7], 0, RCPT_DELIVERED, "ok"), QUEUE_DONE);
	body[0] ^= 1;
	assert_int_equal(after_seconds(rig, 15).scrub_damaged_count, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(reads_at_its_rate_and_once_a_day, setup, teardown),
		cmocka_unit_test_setup_teardown(sets_aside_what_it_finds, setup, teardown),
		cmocka_unit_test_setup_teardown(passes_over_the_dead, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
