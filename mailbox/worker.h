/*
 * Getting messages into boxes: the hub's part decides, threads of a pool do what blocks.
 *
 * Every box (every path) has a lane.  A lane works on one batch at a time: open and lock the box
 * (first repairing what a crash left), have the intent made durable by the journal, append, sync,
 * close.  What comes meanwhile waits and is the next batch, so deliveries that are ready together
 * share locks and syncs; intents of lanes that are ready together share a sync of the journal,
 * which has a thread of its own.  A locked box is tried again by a timer and holds no thread.
 *
 * Everything here is for the hub's thread, but for worker_may_store() and worker_pool().
 */
#ifndef MAILBOX_WORKER_H
#define MAILBOX_WORKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "mailbox/box_disk.h"
#include "mailbox/boxes.h"
#include "mailbox/intent.h"
#include "mailbox/letter.h"
#include "mailbox/lock_owner.h"
#include "queue/disk.h"
#include "relay/base/err.h"
#include "relay/base/random.h"
#include "relay/mail/reply.h"
#include "relay/net/loop.h"
#include "relay/net/work.h"

struct worker;

/* One message for one box.  The caller's until done(), but for the memory. */
struct worker_post {
	const struct box *box;
	const struct letter *letter;    /* sealed */
	struct span head;               /* as mbox_head_compose() makes it */
	uint64_t delivery_id;
	uint32_t id_at;                 /* where the head has it printed */
	bool has_key;
	struct intent_key key;

	/* Called once, not during worker_submit(). */
	void (*done)(void *ctx, struct worker_post *post);
	void *ctx;

	/*
	 * The outcome: 2yz when the message is in the box, durably; 552 when that has been full
	 * for too long; else 4yz.
	 */
	struct reply reply;
	bool absorbed;                  /* it had been delivered before, by another way */

	TAILQ_ENTRY(worker_post) next;  /* private */
	uint64_t deadline_ms;
};

struct worker_settings {
	struct loop *hub;
	struct disk *journal_disk;      /* borrowed */
	struct box_disk *box_disk;      /* borrowed */
	const struct lock_witness *witness;
	struct random *random;          /* borrowed; used on the journal's thread */
	const char *hostname;           /* for names in Maildirs; copied */
	size_t thread_count;
	uint64_t journal_segment_bytes; /* 0: the default */
	uint64_t remember_ms;
	size_t remember_count_max;      /* 0: the default */
};

/*
 * Opens the journal; blocks.  Repairs of boxes that a crash interrupted begin with the loop.
 */
struct worker *worker_new(const struct worker_settings *settings, struct err *err);

/* After worker_stop() has reported. */
void worker_free(struct worker **worker);

void worker_submit(struct worker *worker, struct worker_post *post);

/* From now on nothing waits for a lock: it is given up with 4yz.  The end is near. */
void worker_hurry(struct worker *worker);

/*
 * No more is submitted: hurry, and finish what is under way.  stopped() comes once, when all
 * posts are done and the journal is flushed.
 */
void worker_stop(struct worker *worker, void (*stopped)(void *ctx), void *ctx);

/* The threads that write to boxes, for letters that have to be spilled.  Any thread. */
struct work_pool *worker_pool(const struct worker *worker);

/* False while the journal cannot be written: then mail is to be refused with 4yz.  Any thread. */
bool worker_may_store(const struct worker *worker);

/* Random, kept in the journal. */
uint64_t worker_node_id(const struct worker *worker);

struct worker_counts {
	uint64_t stored;                /* messages put into boxes */
	uint64_t absorbed;
	uint64_t failed;                /* answered 4yz or 5yz */
	uint64_t over_quota;            /* of them, for want of room in the box */
	uint64_t batches;               /* appends */
	uint64_t lock_waits;            /* tries that found a box locked */
	uint64_t locks_broken;          /* stale dot locks removed */
	uint64_t repairs_cut;           /* torn appends cut off */
	uint64_t repairs_left;          /* torn appends left, others had written behind them */
	uint64_t repairs_whole;         /* interrupted deliveries that were found complete */
	uint64_t journal_syncs;
	uint64_t journal_failures;
	size_t repairs_pending;
	size_t waiting;                 /* posts now */
	size_t remembered;              /* keys now */
	uint64_t journal_damaged;
};

struct worker_counts worker_counts(const struct worker *worker);

/* What is known of a box by its path. */
struct worker_box_state {
	size_t waiting;
	uint64_t stored;
	const char *state;              /* "idle", "writing", "locked", "repair" */
	const char *last_error;         /* "" after a success */
	int64_t last_stored_ms;         /* wall clock; 0: never since the start */
};

struct worker_box_state worker_box_state(const struct worker *worker, const char *path);

#endif
