#ifndef QUEUE_RECOVERY_H
#define QUEUE_RECOVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "queue/scan.h"
#include "queue/spool.h"

/* What recover.c (which segments), replay.c (which messages) and copy.c share. */

/* A slot with a segment in it. */
struct candidate {
	uint32_t slot;
	int file;
	struct segment_mark mark;
	uint64_t capacity, written;
	bool is_unknown;                /* no head, and what is behind cannot be read */
	bool is_live;
	bool is_sealed;                 /* the manifest says where it ends */
	bool is_hollow;                 /* nothing of it is vouched for */
	uint64_t end, vouched_end;
	uint64_t footer;
	uint64_t free_found;            /* while looking for the manifest */
};

/* A record of an unvouched batch, with a copy of its payload. */
struct suspect {
	STAILQ_ENTRY(suspect) next;
	struct record_header header;
	struct place place;
	char *payload;
};

/* A state whose message was not seen yet. */
struct orphan {
	STAILQ_ENTRY(orphan) next;
	uint64_t id;
	uint32_t size;
	char state[];
};

struct recovery {
	struct spool *spool;
	struct queue_found *found;
	struct candidate *candidates;   /* by number, lowest first */
	uint32_t candidate_count, candidate_capacity;

	char *manifest;                 /* payload of the newest one */
	size_t manifest_bytes;
	uint64_t manifest_number;       /* the segment it is in; 0 none */
	uint64_t manifest_offset;
	struct segment_mark *freed;     /* by FREE records behind it */
	size_t freed_count, freed_capacity;

	uint64_t number_max, sequence_max, queue_ms_max, id_max;
	int64_t wall_ms_max;

	struct candidate *current;      /* being replayed */
	bool read_failed;               /* something may be there that was not seen this time */
	STAILQ_HEAD(, suspect) suspects;
	STAILQ_HEAD(, orphan) orphans;
};

/*
 * replay.c: the records of one segment, then what all of them together mean.
 * -1: the end of the log cannot be read, so nobody knows where it is.
 */
int replay_segment(struct recovery *recovery, struct candidate *candidate, struct err *err);
void replay_end(struct recovery *recovery);

/* copy.c: writes what is suspect again and cuts it off; opens the log. */
int copy_suspects(struct recovery *recovery, struct err *err);

void recovery_note_batch(void *ctx, uint64_t offset, const struct batch *batch);
void recovery_damage(struct recovery *recovery, uint64_t segment, uint64_t offset, uint64_t id,
    const char *what);

/* The disk does not give what a start must know.  Returns -1. */
int recovery_unreadable(const struct recovery *recovery, uint32_t slot, struct err *err);
struct candidate *recovery_find(struct recovery *recovery, struct segment_mark mark);

#endif
