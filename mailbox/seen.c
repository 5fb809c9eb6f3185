#include "mailbox/seen.h"

#include <string.h>

#include "relay/base/cursor.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

enum { CAPACITY_MIN = 1024 };

void
seen_init(struct seen *seen, size_t count_max)
{
	must(count_max >= 2);
	*seen = (struct seen){ .count_max = count_max };
}

void
seen_fini(struct seen *seen)
{
	mem_free(&seen->entries);
	*seen = (struct seen){ 0 };
}

static uint32_t
seconds_of(int64_t wall_ms)
{
	if (wall_ms < 1000)
		return 1;
	return wall_ms / 1000 > UINT32_MAX ? UINT32_MAX : (uint32_t)(wall_ms / 1000);
}

/* The place of the key, or the free one where it would be. */
static struct seen_entry *
find(const struct seen *seen, const struct intent_key *key)
{
	size_t at = (size_t)cursor_load_u64(key->bytes) & (seen->capacity - 1);

	while (seen->entries[at].seconds != 0 &&
	       memcmp(seen->entries[at].key.bytes, key->bytes, INTENT_KEY_BYTES) != 0)
		at = (at + 1) & (seen->capacity - 1);
	return &seen->entries[at];
}

/* Into a table of that capacity, without what is older. */
static void
rebuild(struct seen *seen, size_t capacity, uint32_t oldest)
{
	struct seen_entry *old = seen->entries;
	size_t old_capacity = seen->capacity;

	seen->entries = mem_alloc_array(capacity, sizeof(*seen->entries));
	seen->capacity = capacity;
	seen->count = 0;
	for (size_t i = 0; i < old_capacity; i++)
		if (old[i].seconds != 0 && old[i].seconds >= oldest) {
			*find(seen, &old[i].key) = old[i];
			seen->count++;
		}
	mem_free(&old);
}

/* A time in the middle between the oldest and the newest. */
static uint32_t
middle_age(const struct seen *seen)
{
	uint32_t oldest = UINT32_MAX, newest = 0;

	for (size_t i = 0; i < seen->capacity; i++) {
		uint32_t seconds = seen->entries[i].seconds;

		if (seconds == 0)
			continue;
		oldest = seconds < oldest ? seconds : oldest;
		newest = seconds > newest ? seconds : newest;
	}
	return oldest + (newest - oldest) / 2 + 1;
}

void
seen_add(struct seen *seen, const struct intent_key *key, int64_t wall_ms)
{
	uint32_t seconds = seconds_of(wall_ms);
	struct seen_entry *entry;

	if (seen->count == seen->count_max) {
		size_t before = seen->count;

		rebuild(seen, seen->capacity, middle_age(seen));
		seen->dropped_count += before - seen->count;
	} else if (seen->count + seen->count / 3 >= seen->capacity) {
		rebuild(seen, seen->capacity ? 2 * seen->capacity : CAPACITY_MIN, 0);
	}
	entry = find(seen, key);
	if (entry->seconds == 0) {
		entry->key = *key;
		seen->count++;
	}
	if (seconds > entry->seconds)
		entry->seconds = seconds;
}

bool
seen_has(const struct seen *seen, const struct intent_key *key)
{
	return seen->count > 0 && find(seen, key)->seconds != 0;
}

void
seen_forget(struct seen *seen, int64_t older_than_ms)
{
	if (seen->count > 0)
		rebuild(seen, seen->capacity, seconds_of(older_than_ms));
}
