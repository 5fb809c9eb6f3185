#include "tests/bench/spool/figures.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/base/mem.h"
#include "tests/bench/spool/feed.h"
#include "tests/bench/spool/raw.h"

enum {
	PAIR_COUNT = 5,
	PAIR_MESSAGES = 20000,
	BODY_BYTES = 10240,
	PRODUCERS = 50,
	SHARING_PRODUCERS = 200,
	LATENCY_COUNT = 400,
};

void
figure_say(struct figures *figures, bool good, const char *name, const char *format, ...)
{
	va_list args;

	printf("%s %s: ", good ? "ok" : "not ok", name);
	va_start(args, format);
	(void)vprintf(format, args);
	va_end(args);
	(void)putchar('\n');
	(void)fflush(stdout);
	figures->miss_count += !good;
}

char *
figure_place(const struct figures *figures, const char *name)
{
	return mem_format("%s/%s", figures->directory, name);
}

static int
compare(const void *a, const void *b)
{
	double left = *(const double *)a, right = *(const double *)b;

	return (left > right) - (left < right);
}

double
figure_median(double *values, unsigned int count)
{
	qsort(values, count, sizeof(values[0]), compare);
	return values[count / 2];
}

static double
rate(uint64_t count, uint64_t us)
{
	return (double)count * 1e6 / (double)(us ? us : 1);
}

/* ---- throughput -------------------------------------------------------------------- */

struct pair {
	struct raw_result raw;
	struct feed_result fed;
};

/* Raw first in every other pair, so that neither always has the quieter moment. */
static int
run_pair(struct figures *figures, struct feed *feed, bool raw_first, struct pair *pair,
    struct err *err)
{
	for (int turn = 0; turn < 2; turn++) {
		if ((turn == 0) == raw_first) {
			if (raw_run(figures->directory, PRODUCERS, BODY_BYTES, PAIR_MESSAGES,
			    &pair->raw, err) < 0)
				return -1;
			continue;
		}
		feed_run(feed, PRODUCERS, BODY_BYTES, PAIR_MESSAGES, &pair->fed);
		feed_settle_all(feed);
	}
	return pair->fed.failed_count ? err_set(err, ERR_SYSTEM, "commits failed") : 0;
}

static int
throughput(struct figures *figures, size_t threads, const char *name, struct err *err)
{
	char *place = figure_place(figures, name);
	struct queue_found found;
	struct feed *feed = feed_open(place, threads, &found, err);
	double ratios[PAIR_COUNT], rates[PAIR_COUNT], raw_rates[PAIR_COUNT];
	double cpu[PAIR_COUNT], raw_cpu[PAIR_COUNT];
	struct pair pair;
	int result = -1;

	mem_free(&place);
	if (!feed)
		return -1;
	/* The first writes into segments that were never written to; a spool does that once. */
	if (run_pair(figures, feed, true, &pair, err) < 0)
		goto out;
	for (int i = 0; i < PAIR_COUNT; i++) {
		if (run_pair(figures, feed, i % 2 == 0, &pair, err) < 0)
			goto out;
		rates[i] = rate(pair.fed.count, pair.fed.cost.us);
		raw_rates[i] = rate(pair.raw.count, pair.raw.us);
		ratios[i] = rates[i] / raw_rates[i];
		cpu[i] = (double)pair.fed.cost.cpu_us / (double)pair.fed.count;
		raw_cpu[i] = (double)pair.raw.cpu_us / (double)pair.raw.count;
	}
	double ratio = figure_median(ratios, PAIR_COUNT);

	figure_say(figures, ratio >= 0.70, name, "%.2f of raw (wanted: 0.70): %.0f messages/s, raw "
	    "%.0f; processor %.1f us a message, raw %.1f; %d producers on %zu threads, pairs %.2f "
	    "to %.2f", ratio, figure_median(rates, PAIR_COUNT),
	    figure_median(raw_rates, PAIR_COUNT), figure_median(cpu, PAIR_COUNT),
	    figure_median(raw_cpu, PAIR_COUNT), PRODUCERS, threads, ratios[0],
	    ratios[PAIR_COUNT - 1]);
	result = 0;
out:
	feed_close(&feed);
	return result;
}

int
figure_throughput(struct figures *figures, struct err *err)
{
	if (throughput(figures, PRODUCERS, "throughput-threads", err) < 0)
		return -1;
	return throughput(figures, 1, "throughput-sessions", err);
}

int
figure_sharing(struct figures *figures, struct err *err)
{
	char *place = figure_place(figures, "sharing");
	struct queue_found found;
	struct feed *feed = feed_open(place, 1, &found, err);
	struct feed_result fed;

	mem_free(&place);
	if (!feed)
		return -1;
	feed_set_fate(feed, FEED_DELIVER);
	feed_run(feed, SHARING_PRODUCERS, BODY_BYTES, PAIR_MESSAGES, &fed);
	(void)feed_wait_count(feed, 0, 30000);
	double shared = (double)fed.count / (double)(fed.batch_count ? fed.batch_count : 1);

	figure_say(figures, shared >= 20, "sharing", "%.1f messages a sync (wanted: 20), outcomes "
	    "included; %d producers, %.0f messages/s", shared, SHARING_PRODUCERS,
	    rate(fed.count, fed.cost.us));
	feed_close(&feed);
	return 0;
}

/* ---- latency ------------------------------------------------------------------------- */

static int
latencies(struct feed *feed, struct raw_lone *lone, double *raw_us, double *commit_us,
    struct err *err)
{
	for (int i = 0; i < LATENCY_COUNT; i++) {
		struct feed_result fed;
		uint64_t us;

		if (raw_lone_step(lone, &us, err) < 0)
			return -1;
		raw_us[i] = (double)us;
		feed_run(feed, 1, BODY_BYTES, 1, &fed);
		if (fed.failed_count)
			return err_set(err, ERR_SYSTEM, "commits failed");
		commit_us[i] = (double)fed.commit_us;
	}
	return 0;
}

int
figure_latency(struct figures *figures, struct err *err)
{
	double *raw_us = mem_alloc_array(LATENCY_COUNT, sizeof(raw_us[0]));
	double *commit_us = mem_alloc_array(LATENCY_COUNT, sizeof(commit_us[0]));
	char *place = figure_place(figures, "latency");
	struct queue_found found;
	struct raw_lone *lone = raw_lone_open(figures->directory, BODY_BYTES, err);
	struct feed *feed = lone ? feed_open(place, 1, &found, err) : NULL;
	int result = -1;

	mem_free(&place);
	if (feed && latencies(feed, lone, raw_us, commit_us, err) == 0) {
		double raw = figure_median(raw_us, LATENCY_COUNT);
		double commit = figure_median(commit_us, LATENCY_COUNT);

		figure_say(figures, commit <= 1.5 * raw, "latency", "%.2f of a raw append and sync "
		    "(wanted: at most 1.50): median %.0f us, raw %.0f us; 9 of 10 within %.0f us, "
		    "raw %.0f us", commit / raw, commit, raw, commit_us[LATENCY_COUNT * 9 / 10],
		    raw_us[LATENCY_COUNT * 9 / 10]);
		result = 0;
	}
	feed_close(&feed);
	raw_lone_close(&lone);
	mem_free(&raw_us);
	mem_free(&commit_us);
	return result;
}
