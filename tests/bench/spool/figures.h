#ifndef TESTS_BENCH_SPOOL_FIGURES_H
#define TESTS_BENCH_SPOOL_FIGURES_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/base/err.h"

/*
 * The figures that the spool is held to.  Each prints lines "ok NAME: ..." or
 * "not ok NAME: ..." with what it measured and what is wanted, and counts misses.
 */
struct figures {
	const char *directory;          /* empty, on a real disk; subdirectories are made in it */
	const char *program;            /* this one, to be run again as another process */
	unsigned int miss_count;
};

/* Both return 0, or -1 when the measurement itself failed. */
typedef int figure_run(struct figures *figures, struct err *err);

figure_run figure_throughput;   /* 50 producers of 10 kB, against raw appends */
figure_run figure_sharing;      /* messages a sync at 200 producers */
figure_run figure_latency;      /* one producer, against one raw append and sync */
figure_run figure_bytes;        /* octets for the device, until reclaimed */
figure_run figure_life;         /* the same with half of the messages deferred for long */
figure_run figure_million;      /* memory, start, list with a million messages */
figure_run figure_fill;         /* of figure_million, in a process of its own: ends by kill -9 */

/* Prints the line. */
void figure_say(struct figures *figures, bool good, const char *name, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* "directory/name"; free with mem_free(). */
char *figure_place(const struct figures *figures, const char *name);

/* The middle one; sorts the values. */
double figure_median(double *values, unsigned int count);

#endif
