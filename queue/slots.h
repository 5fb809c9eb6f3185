#ifndef QUEUE_SLOTS_H
#define QUEUE_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/disk.h"
#include "queue/record.h"

/*
 * The files that segments live in, one after the other.  A slot that a segment
 * had before is overwritten, which changes no metadata; so freed slots are kept
 * for use again, and the last of them is the reserve (R12): mail may not have it
 * while the disk has no room for another.  Committer only, or before it runs.
 */
enum slot_state {
	SLOT_UNUSED,            /* no file */
	SLOT_FREE,              /* written over its capacity; what it holds is dead */
	SLOT_LIVE,              /* holds a live segment, or the open one */
	SLOT_BAD,               /* failed; left alone until the next start */
};

struct slot {
	enum slot_state state;
	int file;
	struct segment_mark mark;
	uint64_t capacity;
	uint64_t written;       /* octets of the file that exist: the rest is new */
};

struct slots {
	struct disk *disk;
	struct slot *slots;
	uint32_t slot_count;
	uint32_t free_count;
	uint64_t node_id;
};

struct slots_terms {
	uint64_t capacity;
	uint64_t floor_bytes;   /* mail leaves so much of the disk free */
	bool for_mail;
	struct segment_mark mark;
	int64_t wall_ms;
};

void slots_init(struct slots *slots, struct disk *disk, uint64_t node_id);
void slots_fini(struct slots *slots);

void slot_name(uint32_t slot, char name_out[DISK_NAME_BYTES_MAX]);

/* A slot found at start; those between are unused. */
struct slot *slots_add(struct slots *slots, uint32_t at);

/*
 * A slot whose header says terms->mark, durable, name and all (R2).  ERR_LIMIT:
 * the disk has no room for mail.
 */
int slots_open(struct slots *slots, const struct slots_terms *terms, uint32_t *slot_out,
    struct err *err);

/* Whether slots_open() for mail would find a place now. */
bool slots_has_room_for_mail(struct slots *slots, const struct slots_terms *terms);

/* Its segment is dead and that is durable.  Beyond free_count_max the file goes. */
void slots_release(struct slots *slots, uint32_t slot, uint32_t free_count_max);

/* Makes a free slot of this size, written through, unless there is one. */
int slots_make_reserve(struct slots *slots, uint64_t bytes, int64_t wall_ms, struct err *err);

#endif
