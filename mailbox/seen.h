/*
 * The deliveries that were made, by key: 20 octets an entry and bounded.  Keys are halves of
 * digests, so they are their own hash.  One thread.
 */
#ifndef MAILBOX_SEEN_H
#define MAILBOX_SEEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mailbox/intent.h"

enum {
	SEEN_COUNT_MAX = 1 << 24,
};

struct seen_entry {
	struct intent_key key;
	uint32_t seconds;               /* since 1970; 0: the place is free */
};

struct seen {
	struct seen_entry *entries;
	size_t capacity;                /* a power of two, or 0 */
	size_t count;
	size_t count_max;
	uint64_t dropped_count;         /* forgotten before their time, for want of room */
};

void seen_init(struct seen *seen, size_t count_max);
void seen_fini(struct seen *seen);

/* A key that is there gets the later time.  When all is full the older half is dropped. */
void seen_add(struct seen *seen, const struct intent_key *key, int64_t wall_ms);
bool seen_has(const struct seen *seen, const struct intent_key *key);

/* Drop what is older. */
void seen_forget(struct seen *seen, int64_t older_than_ms);

#endif
