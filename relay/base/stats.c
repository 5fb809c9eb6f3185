#include "relay/base/stats.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

/*
 * Each number of a table has one or more consecutive cells: a counter or gauge
 * one, a histogram one a bucket, one for the rest, and one for the sum.  Only one
 * thread writes a cell, so an addition is a load and a store.
 */
struct stats_cells {
	struct stats *stats;
	const struct stats_table *table;
	struct stats_known *known;
	LIST_ENTRY(stats_cells) next;
	size_t count;
	_Atomic uint64_t values[];
};

/* A table that was attached at least once, with what given-up cells left. */
struct stats_known {
	const struct stats_table *table;
	size_t *first_cell;             /* of each number */
	size_t cells_count;
	uint64_t *retired;
	STAILQ_ENTRY(stats_known) next;
};

struct stats {
	pthread_mutex_t lock;
	STAILQ_HEAD(, stats_known) known;
	LIST_HEAD(, stats_cells) cells;
};

struct stats *
stats_new(void)
{
	struct stats *stats = mem_alloc(sizeof(*stats));

	must(pthread_mutex_init(&stats->lock, NULL) == 0);
	STAILQ_INIT(&stats->known);
	LIST_INIT(&stats->cells);
	return stats;
}

void
stats_free(struct stats **stats_address)
{
	struct stats *stats = *stats_address;

	if (!stats)
		return;
	must(LIST_EMPTY(&stats->cells));
	while (!STAILQ_EMPTY(&stats->known)) {
		struct stats_known *known = STAILQ_FIRST(&stats->known);

		STAILQ_REMOVE_HEAD(&stats->known, next);
		mem_free(&known->first_cell);
		mem_free(&known->retired);
		mem_free(&known);
	}
	must(pthread_mutex_destroy(&stats->lock) == 0);
	mem_free(stats_address);
}

static size_t
cells_of(const struct stats_def *def)
{
	return def->kind == STATS_HISTOGRAM ? def->bounds_count + 2 : 1;
}

static struct stats_known *
find_known(struct stats *stats, const struct stats_table *table)
{
	struct stats_known *known;

	STAILQ_FOREACH(known, &stats->known, next)
		if (known->table == table)
			return known;
	return NULL;
}

static struct stats_known *
learn(struct stats *stats, const struct stats_table *table)
{
	struct stats_known *known = mem_alloc(sizeof(*known));

	known->table = table;
	known->first_cell = mem_alloc_array(table->count, sizeof(known->first_cell[0]));
	for (size_t i = 0; i < table->count; i++) {
		must(table->defs[i].name != NULL);
		must(table->defs[i].bounds_count <= STATS_BOUNDS_MAX);
		known->first_cell[i] = known->cells_count;
		known->cells_count += cells_of(&table->defs[i]);
	}
	known->retired = mem_alloc_array(known->cells_count, sizeof(known->retired[0]));
	STAILQ_INSERT_TAIL(&stats->known, known, next);
	return known;
}

static void
lock(struct stats *stats)
{
	must(pthread_mutex_lock(&stats->lock) == 0);
}

static void
unlock(struct stats *stats)
{
	must(pthread_mutex_unlock(&stats->lock) == 0);
}

struct stats_cells *
stats_attach(struct stats *stats, const struct stats_table *table)
{
	lock(stats);

	struct stats_known *known = find_known(stats, table);

	if (!known)
		known = learn(stats, table);

	struct stats_cells *cells =
	    mem_alloc(sizeof(*cells) + known->cells_count * sizeof(cells->values[0]));

	cells->stats = stats;
	cells->table = table;
	cells->known = known;
	cells->count = known->cells_count;
	LIST_INSERT_HEAD(&stats->cells, cells, next);
	unlock(stats);
	return cells;
}

void
stats_detach(struct stats_cells **cells_address)
{
	struct stats_cells *cells = *cells_address;

	if (!cells)
		return;

	struct stats *stats = cells->stats;

	lock(stats);
	for (size_t i = 0; i < cells->table->count; i++) {
		const struct stats_def *def = &cells->table->defs[i];
		size_t first = cells->known->first_cell[i];

		if (def->kind == STATS_GAUGE)
			continue;
		for (size_t cell = first; cell < first + cells_of(def); cell++)
			cells->known->retired[cell] += atomic_load(&cells->values[cell]);
	}
	LIST_REMOVE(cells, next);
	unlock(stats);
	mem_free(cells_address);
}

static void
add(struct stats_cells *cells, size_t cell, uint64_t count)
{
	uint64_t value = atomic_load_explicit(&cells->values[cell], memory_order_relaxed);

	atomic_store_explicit(&cells->values[cell], value + count, memory_order_relaxed);
}

static size_t
cell_of(const struct stats_cells *cells, size_t index, enum stats_kind kind)
{
	must(index < cells->table->count && cells->table->defs[index].kind == kind);
	return cells->known->first_cell[index];
}

void
stats_add(struct stats_cells *cells, size_t index, uint64_t count)
{
	if (cells)
		add(cells, cell_of(cells, index, STATS_COUNTER), count);
}

void
stats_gauge_add(struct stats_cells *cells, size_t index, int64_t change)
{
	if (cells)
		add(cells, cell_of(cells, index, STATS_GAUGE), (uint64_t)change);
}

void
stats_gauge_set(struct stats_cells *cells, size_t index, int64_t value)
{
	if (cells)
		atomic_store_explicit(&cells->values[cell_of(cells, index, STATS_GAUGE)],
		    (uint64_t)value, memory_order_relaxed);
}

void
stats_observe(struct stats_cells *cells, size_t index, uint64_t value)
{
	size_t bucket = 0;

	if (!cells)
		return;

	size_t first = cell_of(cells, index, STATS_HISTOGRAM);
	const struct stats_def *def = &cells->table->defs[index];

	while (bucket < def->bounds_count && value > def->bounds[bucket])
		bucket++;
	add(cells, first + bucket, 1);
	add(cells, first + def->bounds_count + 1, value);
}

/* The sum of one cell over all threads and what was given up.  Under the lock. */
static uint64_t
sum_cell(struct stats *stats, const struct stats_known *known, size_t cell)
{
	uint64_t sum = known->retired[cell];
	struct stats_cells *cells;

	LIST_FOREACH(cells, &stats->cells, next)
		if (cells->known == known)
			sum += atomic_load_explicit(&cells->values[cell], memory_order_relaxed);
	return sum;
}

static struct stats_value
sum_number(struct stats *stats, const struct stats_known *known, size_t index)
{
	const struct stats_def *def = &known->table->defs[index];
	size_t first = known->first_cell[index];
	struct stats_value value = { .def = def };

	if (def->kind != STATS_HISTOGRAM) {
		value.value = (int64_t)sum_cell(stats, known, first);
		return value;
	}
	for (size_t bucket = 0; bucket <= def->bounds_count; bucket++) {
		value.buckets[bucket] = sum_cell(stats, known, first + bucket);
		value.count += value.buckets[bucket];
	}
	value.sum = sum_cell(stats, known, first + def->bounds_count + 1);
	return value;
}

void
stats_read(struct stats *stats, stats_visit *visit, void *ctx)
{
	const struct stats_known *known;

	lock(stats);
	STAILQ_FOREACH(known, &stats->known, next) {
		for (size_t i = 0; i < known->table->count; i++) {
			struct stats_value value = sum_number(stats, known, i);

			visit(ctx, &value);
		}
	}
	unlock(stats);
}

int64_t
stats_sum(struct stats *stats, const struct stats_table *table, size_t index)
{
	int64_t sum = 0;

	lock(stats);

	const struct stats_known *known = find_known(stats, table);

	must(index < table->count);
	if (known)
		sum = sum_number(stats, known, index).value;
	unlock(stats);
	return sum;
}
