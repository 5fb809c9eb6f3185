#include "relay/inbound/rate.h"

#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	WAY_COUNT = 8,                  /* places where a key may be */
	MINUTE_US = 60 * 1000 * 1000,
};

struct rate_entry {
	uint64_t hash;                  /* 0: free */
	uint64_t paid_until_us;         /* all that was taken, at the even pace */
	uint32_t count;
};

struct rate_table {
	uint64_t seed;
	size_t set_count;
	struct rate_entry *entries;
};

struct rate_table *
rate_table_new(size_t slot_count, uint64_t seed)
{
	struct rate_table *table = mem_alloc(sizeof(*table));

	table->seed = seed;
	table->set_count = 1;
	while (table->set_count * WAY_COUNT < slot_count)
		table->set_count *= 2;
	table->entries = mem_alloc_array(table->set_count * WAY_COUNT, sizeof(*table->entries));
	return table;
}

void
rate_table_free(struct rate_table **table)
{
	if (!*table)
		return;
	mem_free(&(*table)->entries);
	mem_free(table);
}

static uint64_t
hash_of(const struct rate_table *table, enum rate_kind kind, struct span key)
{
	uint64_t hash = span_hash_nocase(key, table->seed + (uint64_t)kind);

	return hash ? hash : 1;
}

static struct rate_entry *
find(const struct rate_table *table, uint64_t hash)
{
	struct rate_entry *set = &table->entries[(hash % table->set_count) * WAY_COUNT];

	for (size_t i = 0; i < WAY_COUNT; i++)
		if (set[i].hash == hash)
			return &set[i];
	return NULL;
}

static uint64_t
debt_of(const struct rate_entry *entry, uint64_t now_us)
{
	return entry->hash && entry->paid_until_us > now_us ? entry->paid_until_us - now_us : 0;
}

/* The entry of this key, made if need be; NULL when every place has one that counts. */
static struct rate_entry *
find_or_make(struct rate_table *table, uint64_t hash, uint64_t now_us)
{
	struct rate_entry *set = &table->entries[(hash % table->set_count) * WAY_COUNT];
	struct rate_entry *least = find(table, hash);

	if (least)
		return least;
	for (size_t i = 0; i < WAY_COUNT; i++) {
		if (set[i].count > 0)
			continue;
		if (!least || debt_of(&set[i], now_us) < debt_of(least, now_us))
			least = &set[i];
	}
	if (least)
		*least = (struct rate_entry){ .hash = hash };
	return least;
}

/* The time one costs, and how much debt may be before it. */
static uint64_t
cost_us(const struct rate_limit *limit)
{
	return MINUTE_US / limit->minute_count;
}

static uint64_t
debt_max_us(const struct rate_limit *limit)
{
	uint64_t burst = limit->burst_count ? limit->burst_count : limit->minute_count;

	return (burst - 1) * cost_us(limit);
}

bool
rate_take(struct rate_table *table, enum rate_kind kind, struct span key,
    const struct rate_limit *limit, uint64_t now_ms)
{
	uint64_t now_us = now_ms * 1000;
	struct rate_entry *entry;

	if (limit->minute_count == 0)
		return true;
	entry = find_or_make(table, hash_of(table, kind, key), now_us);
	if (!entry)
		return true;

	uint64_t debt = debt_of(entry, now_us);

	if (debt > debt_max_us(limit))
		return false;
	entry->paid_until_us = now_us + debt + cost_us(limit);
	return true;
}

uint64_t
rate_wait_ms(const struct rate_table *table, enum rate_kind kind, struct span key,
    const struct rate_limit *limit, uint64_t now_ms)
{
	const struct rate_entry *entry = find(table, hash_of(table, kind, key));
	uint64_t debt;

	if (!entry || limit->minute_count == 0)
		return 0;
	debt = debt_of(entry, now_ms * 1000);
	return debt > debt_max_us(limit) ? (debt - debt_max_us(limit) + 999) / 1000 : 0;
}

bool
rate_enter(struct rate_table *table, enum rate_kind kind, struct span key, uint32_t count_max,
    uint64_t now_ms)
{
	struct rate_entry *entry = find_or_make(table, hash_of(table, kind, key), now_ms * 1000);

	if (!entry)
		return true;
	if (count_max > 0 && entry->count >= count_max)
		return false;
	must(entry->count < UINT32_MAX);
	entry->count++;
	return true;
}

/* One that was not written down when it entered may find nothing, or another's count. */
void
rate_leave(struct rate_table *table, enum rate_kind kind, struct span key)
{
	struct rate_entry *entry = find(table, hash_of(table, kind, key));

	if (entry && entry->count > 0)
		entry->count--;
}

uint32_t
rate_count(const struct rate_table *table, enum rate_kind kind, struct span key)
{
	const struct rate_entry *entry = find(table, hash_of(table, kind, key));

	return entry ? entry->count : 0;
}

struct span
rate_network_key(const uint8_t ip16[16])
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (memcmp(ip16, mapped, sizeof(mapped)) == 0)
		return span_make(ip16 + 12, 3);
	return span_make(ip16, 7);
}
