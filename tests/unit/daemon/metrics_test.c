/* The page of numbers: its text, labels of any octets, histograms; and signs of life. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/clock.h"
#include "relay/daemon/metrics_page.h"
#include "relay/daemon/pulse.h"

static const struct {
	const char *name;
	struct span value;
	const char *expected;
} label_cases[] = {
	{ "plain", SPAN("mbox1:2424"), "mbox1:2424" },
	{ "a quote", SPAN("a\"b"), "a\\\"b" },
	{ "a backslash", SPAN("a\\b"), "a\\\\b" },
	{ "a line break", SPAN("a\nchapar_faked 1"), "a\\nchapar_faked 1" },
	{ "UTF-8", SPAN("caf\xc3\xa9"), "caf\xc3\xa9" },
	{ "octets that are no text", SPAN("caf\xe9"), "caf?" },
	{ "nothing", SPAN(""), "" },
};

static void
test_labels(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(label_cases) / sizeof(label_cases[0]); i++) {
		struct metrics_page page;
		struct buf wanted;

		metrics_page_init(&page);
		buf_init(&wanted, 1000);
		metrics_family(&page, "x", METRICS_GAUGE, "A \\ and\na line.");
		metrics_sample(&page, (struct metrics_label){ "k", label_cases[i].value },
			       (struct metrics_label){ "l", SPAN("m") }, -7);
		(void)buf_appendf(&wanted, "# HELP chapar_x A \\\\ and\\na line.\n"
				  "# TYPE chapar_x gauge\nchapar_x{k=\"%s\",l=\"m\"} -7\n",
				  label_cases[i].expected);
		if (!span_equal(buf_span(&page.text), buf_span(&wanted)))
			fail_msg("%s: %s", label_cases[i].name, buf_cstr(&page.text));
		metrics_page_fini(&page);
		buf_fini(&wanted);
	}
}

static void
test_numbers(void **state)
{
	struct metrics_page page;

	(void)state;
	metrics_page_init(&page);
	metrics_number(&page, "a_total", METRICS_COUNTER, "All.", 3);
	metrics_family(&page, "s", METRICS_GAUGE, "Seconds.");
	metrics_sample_millionths(&page, 12000034);
	metrics_sample(&page, (struct metrics_label){ 0 },
		       (struct metrics_label){ "only", SPAN("second") }, 1);
	assert_string_equal(buf_cstr(&page.text),
	    "# HELP chapar_a_total All.\n# TYPE chapar_a_total counter\nchapar_a_total 3\n"
	    "# HELP chapar_s Seconds.\n# TYPE chapar_s gauge\nchapar_s 12.000034\n"
	    "chapar_s{only=\"second\"} 1\n");
	metrics_page_fini(&page);
}

static const uint64_t bounds[] = { 10, 100 };
static const struct stats_def defs[] = {
	{ .name = "r_total", .kind = STATS_COUNTER, .labels = "k=\"a\"", .help = "Of a kind." },
	{ .name = "r_total", .kind = STATS_COUNTER, .labels = "k=\"b\"", .help = "Of a kind." },
	{ .name = "h", .kind = STATS_HISTOGRAM, .help = "Sizes.", .bounds = bounds,
	  .bounds_count = 2 },
};
static const struct stats_table table = { defs, 3 };

static void
test_stats(void **state)
{
	struct stats *stats = stats_new();
	struct stats_cells *cells = stats_attach(stats, &table);
	struct metrics_page page;

	(void)state;
	stats_add(cells, 0, 2);
	stats_add(cells, 1, 3);
	stats_observe(cells, 2, 5);
	stats_observe(cells, 2, 50);
	stats_observe(cells, 2, 5000);
	metrics_page_init(&page);
	metrics_stats(&page, stats);
	assert_string_equal(buf_cstr(&page.text),
	    "# HELP chapar_r_total Of a kind.\n# TYPE chapar_r_total counter\n"
	    "chapar_r_total{k=\"a\"} 2\nchapar_r_total{k=\"b\"} 3\n"
	    "# HELP chapar_h Sizes.\n# TYPE chapar_h histogram\n"
	    "chapar_h_bucket{le=\"10\"} 1\nchapar_h_bucket{le=\"100\"} 2\n"
	    "chapar_h_bucket{le=\"+Inf\"} 3\nchapar_h_count 3\nchapar_h_sum 5055\n");
	metrics_page_fini(&page);
	stats_detach(&cells);
	stats_free(&stats);
}

static void
test_pulse(void **state)
{
	struct err err;
	struct loop *good = loop_new(clock_system(), &err), *hung = loop_new(clock_system(), &err);
	struct pulse *pulse = pulse_new();

	(void)state;
	assert_null(pulse_beat(pulse));         /* nobody is asked */
	pulse_watch(pulse, good, "good");
	pulse_watch(pulse, hung, "hung");
	assert_null(pulse_beat(pulse));
	loop_turn(good, 0);
	loop_turn(hung, 0);
	assert_null(pulse_beat(pulse));
	loop_turn(good, 0);
	/* It has not turned since it was asked, and is missed for as long as it does not. */
	for (int i = 0; i < 3; i++) {
		assert_string_equal(pulse_beat(pulse), "hung");
		assert_string_equal(pulse_missing(pulse), "hung");
		loop_turn(good, 0);
	}
	loop_turn(hung, 0);
	assert_null(pulse_beat(pulse));
	loop_turn(good, 0);
	loop_turn(hung, 0);
	pulse_free(&pulse);
	loop_free(&good);
	loop_free(&hung);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_labels),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_stats),
		cmocka_unit_test(test_pulse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
