#ifndef RELAY_BASE_STATS_H
#define RELAY_BASE_STATS_H

#include <stddef.h>
#include <stdint.h>

/*
 * Counters, gauges and histograms.  A module declares its numbers in one table:
 *
 *	enum { QUEUE_STATS_COMMITS, QUEUE_STATS_BYTES, QUEUE_STATS_COUNT };
 *	static const struct stats_def defs[QUEUE_STATS_COUNT] = {
 *		[QUEUE_STATS_COMMITS] = { "queue_commits_total", STATS_COUNTER,
 *		    .help = "Batches written and synced." },
 *		...
 *	};
 *	const struct stats_table queue_stats = { defs, QUEUE_STATS_COUNT };
 *
 * Each thread gets cells of its own for a table and adds to them without a lock;
 * a reader sums the cells of all threads.  The sum of a counter never goes back:
 * cells given up are added to what stays.  All functions that add accept NULL
 * cells and do nothing.
 *
 * The one lock guards the list of cells; it is taken by attach, detach and read,
 * never by adding.  visit is called under it: it may not attach or read again.
 */
enum stats_kind {
	STATS_COUNTER,
	STATS_GAUGE,            /* the sum over threads; cells given up leave it */
	STATS_HISTOGRAM,
};

struct stats_def {
	const char *name;       /* as Prometheus wants it, without the "chapar_" */
	enum stats_kind kind;
	const char *labels;     /* "result=\"ok\"", or NULL */
	const char *help;       /* a sentence */
	const uint64_t *bounds; /* histogram: upper bounds, growing */
	size_t bounds_count;
};

#define STATS_BOUNDS_MAX 32

struct stats_table {
	const struct stats_def *defs;
	size_t count;
};

struct stats;
struct stats_cells;

struct stats *stats_new(void);

/* When all cells are detached. */
void stats_free(struct stats **stats);

/* Cells for one thread, or for one owner on a thread.  Any thread. */
struct stats_cells *stats_attach(struct stats *stats, const struct stats_table *table);

/* Accepts an empty pointer and leaves one behind. */
void stats_detach(struct stats_cells **cells);

/* Only the thread whose cells they are. */
void stats_add(struct stats_cells *cells, size_t index, uint64_t count);
void stats_gauge_add(struct stats_cells *cells, size_t index, int64_t change);
void stats_gauge_set(struct stats_cells *cells, size_t index, int64_t value);
void stats_observe(struct stats_cells *cells, size_t index, uint64_t value);

/* Summed over all cells.  Any thread. */
struct stats_value {
	const struct stats_def *def;
	int64_t value;                          /* counter or gauge */
	uint64_t count;                         /* histogram: observations */
	uint64_t sum;
	uint64_t buckets[STATS_BOUNDS_MAX + 1]; /* each by itself; the last is the rest */
};

typedef void stats_visit(void *ctx, const struct stats_value *value);

/* Every number of every table attached so far, table by table. */
void stats_read(struct stats *stats, stats_visit *visit, void *ctx);

/* One number of a table; 0 when nobody has attached the table. */
int64_t stats_sum(struct stats *stats, const struct stats_table *table, size_t index);

#endif
