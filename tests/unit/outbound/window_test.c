#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "relay/outbound/window.h"

static const struct window_settings settings = { .start = 2, .max = 10 };

static void
test_grows_by_proof(void **state)
{
	struct window window;

	(void)state;
	window_init(&window, &settings);
	assert_int_equal(window.size, 2);
	/* Nothing proven yet: warm connections say nothing about their number. */
	window_success(&window, 0, 2);
	assert_int_equal(window.size, 2);
	/* One connection is proven: two are what it may have. */
	window_success(&window, 1, 2);
	assert_int_equal(window.size, 2);
	window_success(&window, 2, 2);
	assert_int_equal(window.size, 3);
	window_success(&window, 0, 3);
	window_success(&window, 0, 4);
	assert_int_equal(window.size, 4);
	for (int i = 0; i < 100; i++)
		window_success(&window, 0, 10);
	assert_int_equal(window.size, 4);
	window_success(&window, 9, 9);
	for (int i = 0; i < 100; i++)
		window_success(&window, 0, 10);
	assert_int_equal(window.size, 10);
}

static void
test_grows_only_when_full(void **state)
{
	struct window window;

	(void)state;
	window_init(&window, &settings);
	window_success(&window, 2, 1);
	assert_int_equal(window.size, 2);
	window_success(&window, 2, 2);
	assert_int_equal(window.size, 3);
}

static void
test_halves_once_a_round(void **state)
{
	struct window window;

	(void)state;
	window_init(&window, &settings);
	window.size = window.proven = 8;
	window_failure(&window, 100, 200);
	assert_int_equal(window.size, 4);
	assert_int_equal(window.proven, 4);
	/* The other connections of the same round die as well. */
	window_failure(&window, 150, 210);
	window_failure(&window, 199, 220);
	assert_int_equal(window.size, 4);
	window_failure(&window, 230, 300);
	assert_int_equal(window.size, 2);
	for (uint64_t at = 400; at < 5000; at += 100)
		window_failure(&window, at, at + 50);
	assert_int_equal(window.size, 1);
}

static void
test_restart(void **state)
{
	struct window window;

	(void)state;
	window_init(&window, &settings);
	window.size = window.proven = 8;
	window_restart(&window);
	assert_int_equal(window.size, 1);
	window_success(&window, 1, 1);
	assert_int_equal(window.size, 2);
	window_success(&window, 0, 2);
	assert_int_equal(window.size, 2);
}

static void
test_configure(void **state)
{
	struct window window;

	(void)state;
	window_init(&window, &(struct window_settings){ 0 });
	assert_int_equal(window.size, 2);
	assert_int_equal(window.max, 20);
	window.size = 15;
	window_configure(&window, &(struct window_settings){ .start = 9, .max = 3 });
	assert_int_equal(window.size, 3);
	assert_int_equal(window.start, 3);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grows_by_proof),
		cmocka_unit_test(test_grows_only_when_full),
		cmocka_unit_test(test_halves_once_a_round),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_configure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
