#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/mem.h"
#include "relay/base/stats.h"

enum { COMMITS, DEPTH, LATENCY, NUMBERS };

static const uint64_t bounds[] = { 1, 10, 100 };

static const struct stats_def defs[NUMBERS] = {
	[COMMITS] = { .name = "commits_total", .kind = STATS_COUNTER, .help = "Commits." },
	[DEPTH] = { .name = "depth", .kind = STATS_GAUGE, .help = "Depth." },
	[LATENCY] = { .name = "latency_ms", .kind = STATS_HISTOGRAM, .bounds = bounds,
	  .bounds_count = 3, .help = "Latency." },
};

static const struct stats_table table = { defs, NUMBERS };

struct seen {
	struct stats_value values[NUMBERS];
	size_t count;
};

static void
see(void *ctx, const struct stats_value *value)
{
	struct seen *seen = ctx;

	assert_true(seen->count < NUMBERS);
	seen->values[seen->count++] = *value;
}

static void
sums_the_cells(void **state)
{
	struct stats *stats = stats_new();
	struct stats_cells *one, *two, *none = NULL;
	struct seen seen = { .count = 0 };

	(void)state;
	assert_int_equal(stats_sum(stats, &table, COMMITS), 0);
	one = stats_attach(stats, &table);
	two = stats_attach(stats, &table);
	stats_add(one, COMMITS, 2);
	stats_add(two, COMMITS, 3);
	stats_gauge_set(one, DEPTH, 10);
	stats_gauge_add(two, DEPTH, -4);
	stats_add(none, COMMITS, 1000);
	stats_gauge_set(none, DEPTH, 1000);
	stats_observe(none, LATENCY, 1);
	stats_observe(one, LATENCY, 1);
	stats_observe(one, LATENCY, 2);
	stats_observe(two, LATENCY, 100);
	stats_observe(two, LATENCY, 101);
	stats_read(stats, see, &seen);
	assert_int_equal(seen.count, NUMBERS);
	assert_int_equal(seen.values[COMMITS].value, 5);
	assert_int_equal(seen.values[DEPTH].value, 6);
	assert_int_equal(seen.values[LATENCY].count, 4);
	assert_int_equal(seen.values[LATENCY].sum, 204);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(seen.values[LATENCY].buckets[i], 1);

	/* A counter never goes back; a gauge goes with its owner. */
	stats_detach(&two);
	assert_null(two);
	stats_detach(&two);
	assert_int_equal(stats_sum(stats, &table, COMMITS), 5);
	assert_int_equal(stats_sum(stats, &table, DEPTH), 10);
	seen.count = 0;
	stats_read(stats, see, &seen);
	assert_int_equal(seen.values[LATENCY].sum, 204);
	stats_detach(&one);
	stats_free(&stats);
	assert_null(stats);
}

enum { THREADS = 4, STEPS = 100000 };

static void *
count_up(void *stats)
{
	struct stats_cells *cells = stats_attach(stats, &table);

	for (int i = 0; i < STEPS; i++)
		stats_add(cells, COMMITS, 1);
	stats_detach(&cells);
	return NULL;
}

static void
never_goes_back_while_threads_count(void **state)
{
	struct stats *stats = stats_new();
	pthread_t threads[THREADS];
	int64_t last = 0;

	(void)state;
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count_up, stats), 0);
	for (int i = 0; i < 2000; i++) {
		int64_t now = stats_sum(stats, &table, COMMITS);

		assert_true(now >= last);
		last = now;
	}
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	assert_int_equal(stats_sum(stats, &table, COMMITS), THREADS * STEPS);
	stats_free(&stats);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sums_the_cells),
		cmocka_unit_test(never_goes_back_while_threads_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
