#ifndef QUEUE_SEGMENTS_H
#define QUEUE_SEGMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/committer.h"
#include "queue/index.h"
#include "queue/record.h"

/*
 * The live segments as the hub keeps them: how much of each is still needed, who
 * reads in it, which of its messages are settled or moved, and since when marks
 * about them stand in other segments.  Hub only.
 */
enum segment_state {
	SEGMENT_NONE,           /* the slot holds no live segment */
	SEGMENT_OPEN,
	SEGMENT_SEALED,
	SEGMENT_MOVING,         /* it is being emptied: see mover.c */
	SEGMENT_MARKING,        /* dead; marks that stand in it are being written again */
	SEGMENT_FREEING,        /* its FREE is being written */
};

struct segment {
	enum segment_state state;
	int file;
	struct segment_mark mark;
	uint64_t capacity;
	uint64_t end;
	uint64_t footer;
	uint64_t live_bytes;            /* by estimate: see segment_cost() */
	uint32_t live_count;            /* records that are needed */
	uint32_t pin_count;             /* readers, and chunks of drafts */
	uint32_t message_count;         /* ordinals seen so far */
	uint32_t dead_capacity;         /* bits */
	uint8_t *dead;                  /* bit n: the message with ordinal n is settled or moved */
	uint64_t mark_oldest;           /* a mark about one of ours is in this segment; 0 none */
	uint64_t mark_since;            /* the same, since segment_begin_marks() */
	bool has_damage;                /* kept as it is: neither emptied nor given back */
	bool is_left_alone;             /* could not be emptied a moment ago */
	uint64_t sealed_ms;             /* by the queue's own clock; 0 before the start */
	uint64_t scrubbed_ms;           /* the same; 0 not yet */
};

struct segments {
	struct segment *slots;
	uint32_t slot_count;
	uint64_t live_bytes;
	uint32_t live_count;            /* segments */
};

void segments_init(struct segments *segments);
void segments_fini(struct segments *segments);

struct segment *segments_add(struct segments *segments, uint32_t slot, int file,
    struct segment_mark mark, uint64_t capacity);
struct segment *segments_at(struct segments *segments, uint32_t slot);
void segments_drop(struct segments *segments, uint32_t slot);

/* Octets that a record of an entry is worth.  The same when it comes and when it goes. */
uint64_t segment_chunk_cost(const struct entry *entry);
#define SEGMENT_MESSAGE_COST ((uint64_t)400)
#define SEGMENT_STATE_COST ((uint64_t)200)

void segments_use(struct segments *segments, struct place place, uint64_t cost);
void segments_unuse(struct segments *segments, struct place place, uint64_t cost);

void segments_pin(struct segments *segments, uint32_t slot);
void segments_unpin(struct segments *segments, uint32_t slot);

/* The message with this ordinal is settled or moved; the mark stands in segment `mark_number`. */
void segment_set_dead(struct segment *segment, uint32_t ordinal, uint64_t mark_number);
bool segment_is_dead(const struct segment *segment, uint32_t ordinal);

/* All the dead of a segment, from a DEAD record. */
void segment_add_dead(struct segment *segment, struct span bits, uint32_t bit_count,
    uint64_t mark_number);

/*
 * All marks about one segment are being written again as one; when that is
 * durable in a segment, only marks made since then may be in older ones.
 */
void segment_begin_marks(struct segment *segment);
void segment_end_marks(struct segment *segment, uint64_t mark_number);

/* Nothing in it is needed, and nobody looks. */
bool segment_is_done(const struct segment *segment);

#endif
