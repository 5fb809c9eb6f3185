#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/queue/rig.h"

/* How long a commit waits for others: never for nobody. */

enum {
	GATHER_MS = 2,
	CROWD = 8,
};

static int
setup(void **state)
{
	static struct rig rig;

	rig_init(&rig);
	rig.settings.gather_ms = GATHER_MS;
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

static void
commit(struct rig *rig, struct rig_answer *answer)
{
	struct queue_draft_terms terms = { .id = queue_new_id(rig->port) };
	struct queue_draft *draft = queue_begin(rig->port, &terms, NULL, NULL);
	struct envelope *envelope = rig_envelope("a@example.org", "b@example.net");

	*answer = (struct rig_answer){ 0 };
	assert_int_equal(queue_append(draft, SPAN("hello\r\n")), 7);
	(void)queue_commit(&draft, &envelope, NULL, rig_done, answer);
}

static uint64_t
batches(const struct rig *rig)
{
	struct queue_stats stats;

	queue_stats(rig->queue, &stats);
	return stats.batch_count;
}

static void
make_crowd(struct rig *rig)
{
	struct rig_answer answers[CROWD];
	uint64_t before = batches(rig);

	for (int i = 0; i < CROWD; i++)
		commit(rig, &answers[i]);
	rig_run(rig);
	for (int i = 0; i < CROWD; i++)
		assert_int_equal(answers[i].count, 1);
	assert_int_equal(batches(rig) - before, 1);
}

static void
a_lone_one_never_waits(void **state)
{
	struct rig *rig = *state;
	struct rig_answer answer;

	for (int i = 0; i < 20; i++) {
		commit(rig, &answer);
		rig_run(rig);
		assert_int_equal(answer.count, 1);
	}
}

/* A large body goes to the log in pieces; those are no crowd. */
static void
a_lone_large_one_never_waits(void **state)
{
	struct rig *rig = *state;

	for (int i = 0; i < 5; i++)
		(void)rig_send(rig, "a@example.org", "b@example.net", 1000000, NULL);
}

static void
waits_for_a_crowd_but_not_long(void **state)
{
	struct rig *rig = *state;
	struct rig_answer first, second;

	make_crowd(rig);
	uint64_t before = batches(rig);

	commit(rig, &first);
	rig_run(rig);
	assert_int_equal(first.count, 0);
	clock_manual_advance_ms(&rig->clock, 1);
	commit(rig, &second);
	rig_run(rig);
	assert_int_equal(first.count, 0);
	clock_manual_advance_ms(&rig->clock, 1);
	rig_run(rig);
	assert_int_equal(first.count, 1);
	assert_int_equal(second.count, 1);
	assert_int_equal(batches(rig) - before, 1);
}

static void
goes_at_once_when_all_are_there(void **state)
{
	struct rig *rig = *state;

	make_crowd(rig);
	make_crowd(rig);
	make_crowd(rig);
}

static void
forgets_the_crowd(void **state)
{
	struct rig *rig = *state;
	struct rig_answer answer;

	make_crowd(rig);
	for (int i = 0; i < CROWD; i++) {
		commit(rig, &answer);
		rig_run(rig);
		clock_manual_advance_ms(&rig->clock, GATHER_MS);
		rig_run(rig);
		assert_int_equal(answer.count, 1);
	}
	commit(rig, &answer);
	rig_run(rig);
	assert_int_equal(answer.count, 1);
}

static void
the_end_waits_for_nobody(void **state)
{
	struct rig *rig = *state;
	struct rig_answer answer;

	make_crowd(rig);
	commit(rig, &answer);
	rig_run(rig);
	assert_int_equal(answer.count, 0);
	rig_close(rig);
	rig_open(rig);
	assert_int_equal(rig_listed(rig), CROWD + 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_lone_one_never_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(a_lone_large_one_never_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(waits_for_a_crowd_but_not_long, setup, teardown),
		cmocka_unit_test_setup_teardown(goes_at_once_when_all_are_there, setup, teardown),
		cmocka_unit_test_setup_teardown(forgets_the_crowd, setup, teardown),
		cmocka_unit_test_setup_teardown(the_end_waits_for_nobody, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
