#ifndef QUEUE_CHANGE_H
#define QUEUE_CHANGE_H

#include <uthash.h>

#include "queue/spool.h"
#include "relay/base/arena.h"

/*
 * Changes of messages.  A change counts in the index at once; its record carries
 * the whole new state, so the changes of one message are written one after the
 * other, each from the state that the last one left.  Changes of different
 * messages share batches.  steer.c makes them, change.c writes them.
 */
enum change_kind {
	CHANGE_UPDATE,
	CHANGE_ATTEMPT,
	CHANGE_HOLD,
	CHANGE_RELEASE,
	CHANGE_REMOVE,
	CHANGE_MOVE,                    /* of its records, not of what they say: move.c */
};

struct change {
	STAILQ_ENTRY(change) next;
	struct change_line *line;
	enum change_kind kind;
	struct arena arena;
	struct queue_outcome *outcomes; /* due times in the queue's clock */
	size_t outcome_count;
	uint32_t batch;
	bool delay_notice_sent;
	bool settles;                   /* nobody is open after it */
	uint32_t *rcpts;                /* of an attempt */
	uint32_t rcpt_count;
	struct span text;               /* host of an attempt, why of a hold */
	struct call *call;              /* NULL: answered */
	struct message_commit *notice;
	struct move *move;

	struct commit_job job;
	struct inbox_item item;
	struct log_record record;
	struct buf payload;
};

/* The changes of one message, in order; the first is under way. */
struct change_line {
	UT_hash_handle hh;
	uint64_t id;
	struct spool *spool;
	STAILQ_HEAD(, change) changes;
	struct message_state *state;    /* as the last written one left it, or NULL */
	struct pinned_read read;
	bool stalled;                   /* the log is gone; waits for it to come back */
};

struct attempt_call {
	struct call call;
	queue_attempt_begun *begun;
	void *ctx;
	uint32_t batch;
};

struct change *change_new(struct spool *spool, uint64_t id, enum change_kind kind);

/* Writes it as soon as those before it are written. */
void change_submit(struct change *change);

/* It is written, or will not be: the next one of its message begins.  Frees it. */
void change_over(struct change *change);

/* move.c: the change is the first of its line; it goes, whether it began or not. */
void move_begin(struct change *change);
void move_drop(struct change *change);

#endif
