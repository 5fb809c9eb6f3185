#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/iofault/workload.h"

/*
 * Every n-th call to the disk fails, with each error, once and for ever, under
 * the real spool code: no crash, no loss, no false acknowledgement.
 *
 *	iofault_test            every seventh call, another one for each kind of failure
 *	iofault_test all        each call
 *	iofault_test KIND CALL [for-ever]       one run again; KIND is its place in the table
 */
enum {
	BROKEN_MAX = 5,                 /* so many are told of one kind of failure */
	STRIDE = 7,
};

static const struct failure {
	const char *name;
	int error;
	bool is_half_done;
} failures[] = {
	{ "EIO", EIO, false },
	{ "EIO though it was done", EIO, true },
	{ "ENOSPC", ENOSPC, false },
	{ "EDQUOT", EDQUOT, false },
	{ "EROFS", EROFS, false },
	{ "EINTR", EINTR, false },
	{ "half of it", FAULT_SHORT, false },
};

enum { FAILURE_COUNT = sizeof(failures) / sizeof(failures[0]) };

/* The calls of a run without a failure, and how many of them are passed over. */
static struct workload_verdict well;
static uint64_t stride = STRIDE;

static bool
run_one(const struct failure *failure, uint64_t first, bool for_ever)
{
	struct fault fault = { failure->error, first, for_ever, failure->is_half_done };
	struct workload_verdict verdict;

	workload_run(&fault, &verdict);
	if (verdict.broken)
		print_message("%s %s at call %lu (%s): %s, %s, letter %lu\n", failure->name,
		    for_ever ? "for ever from" : "once", (unsigned long)first,
		    fault_call_name(verdict.calls[first - 1]), verdict.where, verdict.broken,
		    (unsigned long)verdict.letter);
	return !verdict.broken;
}

static void
run_all(const struct failure *failure, bool for_ever)
{
	uint64_t run_count = 0, broken_count = 0;
	uint64_t begin = 1 + (uint64_t)(2 * (failure - failures) + for_ever) % stride;

	for (uint64_t n = begin; n <= well.call_count && broken_count < BROKEN_MAX; n += stride) {
		if (!fault_can_hit(failure->error, well.calls[n - 1]))
			continue;
		run_count++;
		broken_count += !run_one(failure, n, for_ever);
	}
	print_message("%s iofault/%s %s: %lu places\n", broken_count > 0 ? "not ok" : "ok",
	    failure->name, for_ever ? "for ever" : "once", (unsigned long)run_count);
	assert_true(run_count > 20);
	assert_int_equal(broken_count, 0);
}

static void
nothing_fails(void **state)
{
	struct fault none = { 0 };

	(void)state;
	workload_run(&none, &well);
	if (well.broken)
		fail_msg("%s: %s, letter %lu", well.where, well.broken,
		    (unsigned long)well.letter);
	assert_true(well.call_count > 100);
}

static void
fails_once(void **state)
{
	run_all(*state, false);
}

static void
fails_for_ever(void **state)
{
	run_all(*state, true);
}

int
main(int argc, char **argv)
{
	struct CMUnitTest tests[1 + 2 * FAILURE_COUNT] = { cmocka_unit_test(nothing_fails) };
	char names[2 * FAILURE_COUNT][64];

	if (argc == 2 && strcmp(argv[1], "all") == 0)
		stride = 1;
	if (argc > 2) {
		unsigned long at = strtoul(argv[1], NULL, 10);

		nothing_fails(NULL);
		return at < FAILURE_COUNT &&
		    run_one(&failures[at], strtoul(argv[2], NULL, 10), argc > 3) ? 0 : 1;
	}
	for (size_t i = 0; i < 2 * FAILURE_COUNT; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "%s %s", failures[i / 2].name,
		    i % 2 ? "for ever" : "once");
		tests[1 + i] = (struct CMUnitTest){
			.name = names[i],
			.test_func = i % 2 ? fails_for_ever : fails_once,
			.initial_state = (void *)&failures[i / 2],
		};
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
