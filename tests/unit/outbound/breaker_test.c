#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/outbound/breaker.h"

static const struct breaker_settings settings = {
	.failure_count_max = 3,
	.backoff_first_ms = 1000,
	.backoff_max_ms = 60000,
};

/*
 * f: failure, s: success, b: begin (must be allowed), w: wait for the probe, x: abandon, h:
 * hurry
 */
static const struct {
	const char *name, *events;
	enum breaker_state state;
} cases[] = {
	{ "closed at first", "", BREAKER_CLOSED },
	{ "two failures are nothing", "bfbf", BREAKER_CLOSED },
	{ "three in a row open it", "bfbfbf", BREAKER_OPEN },
	{ "a success between begins anew", "bfbfbsbfbf", BREAKER_CLOSED },
	{ "a probe", "bfbfbfwb", BREAKER_HALF_OPEN },
	{ "a probe that fails", "bfbfbfwbf", BREAKER_OPEN },
	{ "a probe that succeeds", "bfbfbfwbs", BREAKER_CLOSED },
	{ "after that three again", "bfbfbfwbsbfbf", BREAKER_CLOSED },
	{ "late news of old jobs change nothing", "bfbfbff", BREAKER_OPEN },
	{ "a late success closes it", "bfbfbfs", BREAKER_CLOSED },
	{ "a probe that never came to the host", "bfbfbfwbx", BREAKER_OPEN },
	{ "and the next may go at once", "bfbfbfwbxb", BREAKER_HALF_OPEN },
	{ "a hand", "bfbfbfhb", BREAKER_HALF_OPEN },
};

static void
test_states(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct random_seeded random;
		struct breaker breaker;
		uint64_t now_ms = 5000;

		print_message("breaker: %s\n", cases[i].name);
		random_init_seeded(&random, 1);
		breaker_init(&breaker, &settings, now_ms);
		for (const char *event = cases[i].events; *event; event++) {
			switch (*event) {
			case 'f':
				(void)breaker_failure(&breaker, now_ms, &random.random);
				break;
			case 's':
				(void)breaker_success(&breaker, now_ms);
				break;
			case 'b':
				assert_true(breaker_allows(&breaker, now_ms));
				breaker_begin(&breaker, now_ms);
				break;
			case 'w':
				assert_true(breaker.probe_ms > now_ms);
				assert_false(breaker_allows(&breaker, now_ms));
				now_ms = breaker.probe_ms;
				break;
			case 'x':
				breaker_abandon(&breaker, now_ms);
				break;
			case 'h':
				breaker_hurry(&breaker, now_ms);
				break;
			}
		}
		assert_int_equal(breaker.state, cases[i].state);
		if (breaker.state == BREAKER_HALF_OPEN)
			assert_false(breaker_allows(&breaker, now_ms + 1000000));
	}
}

static void
test_says_once(void **state)
{
	struct random_seeded random;
	struct breaker breaker;

	(void)state;
	random_init_seeded(&random, 1);
	breaker_init(&breaker, &settings, 0);
	assert_false(breaker_failure(&breaker, 1, &random.random));
	assert_false(breaker_failure(&breaker, 2, &random.random));
	assert_true(breaker_failure(&breaker, 3, &random.random));
	assert_int_equal(breaker.since_ms, 3);
	breaker_begin(&breaker, breaker.probe_ms);
	assert_false(breaker_failure(&breaker, breaker.probe_ms, &random.random));
	assert_int_equal(breaker.since_ms, 3);
	assert_true(breaker_success(&breaker, 70000));
	assert_false(breaker_success(&breaker, 70001));
}

/* Full jitter below a step that doubles, and never above its maximum. */
static void
test_backoff(void **state)
{
	struct random_seeded random;
	uint64_t longest = 0;

	(void)state;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct breaker breaker;
		uint64_t now_ms = 0, step = settings.backoff_first_ms;

		random_init_seeded(&random, seed);
		breaker_init(&breaker, &settings, 0);
		for (int i = 0; i < 3; i++)
			(void)breaker_failure(&breaker, now_ms, &random.random);
		for (int probe = 0; probe < 12; probe++) {
			uint64_t wait_ms = breaker.probe_ms - now_ms;

			assert_in_range(wait_ms, step / 10, step);
			longest = wait_ms > longest ? wait_ms : longest;
			now_ms = breaker.probe_ms;
			breaker_begin(&breaker, now_ms);
			(void)breaker_failure(&breaker, now_ms, &random.random);
			step = step * 2 < settings.backoff_max_ms ? step * 2 :
			    settings.backoff_max_ms;
		}
	}
	assert_true(longest > settings.backoff_max_ms * 9 / 10);
}

static void
test_configure(void **state)
{
	struct random_seeded random;
	struct breaker breaker;

	(void)state;
	random_init_seeded(&random, 1);
	breaker_init(&breaker, &(struct breaker_settings){ 0 }, 0);
	assert_int_equal(breaker.settings.failure_count_max, 3);
	for (int i = 0; i < 3; i++)
		(void)breaker_failure(&breaker, 0, &random.random);
	breaker.probe_ms = 300000;
	breaker_configure(&breaker, &settings, 1000);
	assert_int_equal(breaker.probe_ms, 61000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_says_once),
		cmocka_unit_test(test_backoff),
		cmocka_unit_test(test_configure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
