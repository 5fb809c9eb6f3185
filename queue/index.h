#ifndef QUEUE_INDEX_H
#define QUEUE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/body.h"
#include "queue/names.h"
#include "queue/queue.h"
#include "queue/reason.h"
#include "queue/retry.h"

/*
 * What the hub keeps of each message: 112 octets for one recipient, and no text
 * but what many messages share.  Entries never move, so a handle or a pointer is
 * good until the entry is removed.  Hub only.
 */

/* Where a record is: a slot, and an offset in units of 8 octets. */
struct place {
	uint32_t slot;
	uint32_t at;
};

#define PLACE_NONE ((struct place){ UINT32_MAX, 0 })

static inline bool
place_is_none(struct place place)
{
	return place.slot == UINT32_MAX;
}

static inline bool
place_equal(struct place a, struct place b)
{
	return a.slot == b.slot && a.at == b.at;
}

static inline struct place
place_make(uint32_t slot, uint64_t offset)
{
	return (struct place){ slot, (uint32_t)(offset / 8) };
}

static inline uint64_t
place_offset(struct place place)
{
	return (uint64_t)place.at * 8;
}

struct entry_rcpt {
	int64_t due_ms;                 /* by the queue's own clock; 0: at once */
	uint32_t domain;                /* a name */
	uint16_t attempt_count;
	uint16_t class_attempt_count;
	uint8_t state, class, reason;
};

enum entry_flag {
	ENTRY_USED = 1 << 0,
	ENTRY_HELD = 1 << 1,
	ENTRY_NOTIFICATION = 1 << 2,
	ENTRY_FOUND_AT_START = 1 << 3,
	ENTRY_DAMAGED = 1 << 4,
	ENTRY_DELAY_NOTICE_SENT = 1 << 5,
	ENTRY_OFFERED = 1 << 6,         /* the scheduler knows it */
	ENTRY_CHANGING = 1 << 7,        /* a change is under way or waits: see change.c */
	ENTRY_HAS_MESSAGE = 1 << 8,     /* while recovering: the MESSAGE record was seen */
	ENTRY_DONE = 1 << 9,            /* all settled; in the index until that is durable */
	ENTRY_SUSPECT = 1 << 10,        /* while recovering: part of it is not vouched for */
	ENTRY_TO_OFFER = 1 << 11,       /* found at start, waits for its slice */
	ENTRY_MARKED = 1 << 12,         /* while recovering: a state was seen behind the message */
};

struct entry {
	uint64_t id;
	struct place message, state;
	union {
		struct place one;
		struct place *many;     /* when chunk_count is above 1 */
	} chunks;
	union {
		struct entry_rcpt one;
		struct entry_rcpt *many; /* when rcpt_count is above 1 */
	} rcpts;
	void *user;
	struct cached_body *cached;
	uint64_t accepted_ms;           /* by the queue's own clock */
	uint32_t body_bytes;
	uint32_t chunk_count, rcpt_count;
	uint32_t ordinal;               /* in the segment of the message record */
	uint32_t revision;
	uint32_t sender, client;        /* names */
	uint16_t flags;
	uint16_t change_count;          /* changes that have no report yet */
};

struct index {
	struct entry **pages;
	uint32_t page_count, page_capacity;
	uint32_t free_first;            /* a list through unused entries, by handle + 1 */
	uint32_t *table;                /* handle + 1; 0 is an empty place */
	uint32_t table_bits, entry_count;
	struct names names;
	size_t array_bytes;             /* of recipients and chunks outside entries */
};

void index_init(struct index *index);
void index_fini(struct index *index);

struct entry *index_find(const struct index *index, uint64_t id);

/* The id must not be there.  Zeroed, with no places. */
struct entry *index_add(struct index *index, uint64_t id);
void index_remove(struct index *index, struct entry *entry);

/* Room for so many; what was there is dropped (rcpts) or kept (chunks). */
void index_set_rcpt_count(struct index *index, struct entry *entry, uint32_t count);
void index_set_chunk_count(struct index *index, struct entry *entry, uint32_t count);

static inline struct entry_rcpt *
entry_rcpt(struct entry *entry, uint32_t at)
{
	return entry->rcpt_count > 1 ? &entry->rcpts.many[at] : &entry->rcpts.one;
}

static inline struct place *
entry_chunk(struct entry *entry, uint32_t at)
{
	return entry->chunk_count > 1 ? &entry->chunks.many[at] : &entry->chunks.one;
}

bool entry_rcpt_is_open(const struct entry_rcpt *rcpt);
uint32_t entry_open_count(struct entry *entry);

/* The entries in the order of their handles, for lists: from `at` on, or NULL. */
struct entry *index_next(const struct index *index, uint64_t *at);

size_t index_bytes(const struct index *index);

#endif
