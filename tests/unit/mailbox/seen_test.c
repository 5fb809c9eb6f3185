/*
 * What was delivered is known, until its time is over or there is no room; and does it fit?
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "mailbox/quota.h"
#include "mailbox/seen.h"

enum { HOUR_MS = 3600 * 1000 };

/* Keys are digests: spread over all values.  A few bits of NUMBER alone would collide. */
static struct intent_key
key_of(uint64_t number)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	return intent_key_make(span_from_cstr(text), SPAN("user@example.net"));
}

static size_t
known(const struct seen *seen, uint64_t from, uint64_t end)
{
	size_t count = 0;

	for (uint64_t number = from; number < end; number++) {
		struct intent_key key = key_of(number);

		count += seen_has(seen, &key);
	}
	return count;
}

static void
add(struct seen *seen, uint64_t number, int64_t wall_ms)
{
	struct intent_key key = key_of(number);

	seen_add(seen, &key, wall_ms);
}

static void
knows_all_and_nothing_else(void **state)
{
	struct seen seen;

	(void)state;
	seen_init(&seen, 100000);
	assert_int_equal(known(&seen, 0, 10), 0);
	/* Through several sizes of the table. */
	for (uint64_t number = 0; number < 20000; number++)
		add(&seen, number, 1000 * (int64_t)number);
	assert_int_equal(seen.count, 20000);
	assert_int_equal(known(&seen, 0, 20000), 20000);
	assert_int_equal(known(&seen, 20000, 40000), 0);
	assert_int_equal(seen.dropped_count, 0);
	seen_fini(&seen);
}

static void
forgets_what_is_older(void **state)
{
	struct seen seen;

	(void)state;
	seen_init(&seen, 100000);
	seen_forget(&seen, HOUR_MS);
	for (uint64_t hour = 1; hour <= 1000; hour++)
		add(&seen, hour, (int64_t)hour * HOUR_MS);
	/* One that came again is as old as the last time, whatever the order. */
	add(&seen, 1, 900 * (int64_t)HOUR_MS);
	add(&seen, 900, (int64_t)HOUR_MS);
	seen_forget(&seen, 500 * (int64_t)HOUR_MS);
	assert_int_equal(known(&seen, 1, 2), 1);
	assert_int_equal(known(&seen, 2, 500), 0);
	assert_int_equal(known(&seen, 500, 1001), 501);
	assert_int_equal(seen.count, 502);
	seen_fini(&seen);
}

static void
drops_the_older_half_when_full(void **state)
{
	enum { MAX = 4096 };
	struct seen seen;

	(void)state;
	seen_init(&seen, MAX);
	for (uint64_t number = 0; number < 3 * MAX; number++) {
		add(&seen, number, (int64_t)(number + 1) * 1000);
		assert_true(seen.count <= MAX);
	}
	/* What was dropped is counted, and was the oldest. */
	assert_int_equal(seen.dropped_count, 3 * MAX - seen.count);
	assert_int_equal(known(&seen, 3 * MAX - seen.count, 3 * MAX), seen.count);
	assert_true(seen.count >= MAX / 2);
	seen_fini(&seen);
}

/* A clock before 1970 or far ahead is no reason to lose a key. */
static void
bears_any_clock(void **state)
{
	struct seen seen;

	(void)state;
	seen_init(&seen, 100);
	add(&seen, 1, INT64_MIN);
	add(&seen, 2, 0);
	add(&seen, 3, INT64_MAX);
	assert_int_equal(known(&seen, 1, 4), 3);
	seen_fini(&seen);
}

static const struct {
	const char *name;
	struct quota quota;
	struct usage usage;
	uint64_t bytes;
	bool fits;
} quotas[] = {
	{ "no quota", { 0, 0 }, { UINT64_MAX, UINT64_MAX }, UINT64_MAX, true },
	{ "to the last octet", { 100, 0 }, { 90, 1 }, 10, true },
	{ "an octet too many", { 100, 0 }, { 90, 1 }, 11, false },
	{ "larger than the box", { 100, 0 }, { 0, 0 }, 101, false },
	{ "a box that is over already", { 100, 0 }, { 200, 1 }, 0, false },
	{ "no sum that overflows", { UINT64_MAX, 0 }, { UINT64_MAX - 1, 1 }, UINT64_MAX, false },
	{ "the last message", { 0, 5 }, { 0, 4 }, 1 << 20, true },
	{ "a message too many", { 0, 5 }, { 0, 5 }, 1, false },
	{ "octets left and no messages", { 100, 5 }, { 10, 5 }, 1, false },
	{ "messages left and no octets", { 100, 5 }, { 100, 1 }, 1, false },
};

static void
quota_is_exact(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(quotas) / sizeof(quotas[0]); i++)
		if (quota_admits(&quotas[i].quota, &quotas[i].usage, quotas[i].bytes) !=
		    quotas[i].fits)
			fail_msg("%s", quotas[i].name);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(knows_all_and_nothing_else),
		cmocka_unit_test(forgets_what_is_older),
		cmocka_unit_test(drops_the_older_half_when_full),
		cmocka_unit_test(bears_any_clock),
		cmocka_unit_test(quota_is_exact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
