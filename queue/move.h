#ifndef QUEUE_MOVE_H
#define QUEUE_MOVE_H

#include "queue/change.h"

/*
 * Moving survivors: move.c moves what is needed of one message, mover.c decides
 * which segments are emptied and when.  Hub only.
 */
struct mover {
	struct spool *spool;
	struct loop_timer look_timer;
	struct loop_timer rest_timer;
	struct loop_task walk_task;
	bool is_moving;
	bool has_failed;                /* in this pass: the log takes nothing now */
	bool is_stopped;
	uint64_t at;                    /* in the index */
	bool at_end;
	uint32_t in_flight;
	uint64_t step_bytes, step_begun_us;
	uint32_t pass_count;            /* since the last look of the timer */
};

/* At most so much of one message in one job, but for a single larger record. */
#define MOVE_BYTES_MAX ((uint64_t)256 << 10)

/* Whether a record of the entry is in a segment that is being emptied. */
bool move_is_due(const struct spool *spool, struct entry *entry);

/* Submits a change that moves what is due of it; `at` is the cursor that finds it again. */
void move_submit(struct mover *mover, struct entry *entry, uint64_t at);

/* The last move of a step is over. */
void mover_step_over(struct mover *mover);

#endif
