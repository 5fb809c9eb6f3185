/*
 * The parts of the worker: worker.c takes posts and knows keys, worker_lane.c moves a lane from
 * step to step, worker_job.c has what runs on threads of the pool, worker_journal.c feeds the
 * journal's thread.
 */
#ifndef MAILBOX_WORKER_PRIVATE_H
#define MAILBOX_WORKER_PRIVATE_H

#include <stdatomic.h>
#include <uthash.h>

#include "mailbox/maildir.h"
#include "mailbox/mbox.h"
#include "mailbox/mbox_journal.h"
#include "mailbox/mbox_repair.h"
#include "mailbox/seen.h"
#include "mailbox/worker.h"
#include "relay/base/arena.h"
#include "relay/net/work.h"

enum {
	WORKER_BATCH_POSTS_MAX = INTENT_ENTRY_COUNT_MAX,
	WORKER_BATCH_BYTES_MAX = 16 * 1024 * 1024,      /* but a batch has one post at least */
	WORKER_LOCK_RETRY_MIN_MS = 20,
	WORKER_LOCK_RETRY_MAX_MS = 500,
	WORKER_REPAIR_RETRY_MAX_MS = 30 * 1000,
	WORKER_FLUSH_MS = 1000,                 /* an end becomes durable within this */
	WORKER_PROBE_MAX_MS = 30 * 1000,        /* of a journal that failed */
	WORKER_FORGET_MS = 3600 * 1000,
	WORKER_JOBS_MAX = INT32_MAX,            /* a lane has one at most, a letter too */
};

TAILQ_HEAD(worker_posts, worker_post);

/* An intent of which it is not known what became of it. */
struct worker_repair {
	TAILQ_ENTRY(worker_repair) next;
	struct arena arena;
	struct intent intent;
	bool finished;                  /* set by the job; result is valid */
	struct mbox_repair result;
};

TAILQ_HEAD(worker_repairs, worker_repair);

enum worker_step {
	LANE_IDLE,
	LANE_OPENING,                   /* a job opens, repairs, plans */
	LANE_JOURNALING,                /* open and locked; the intent is on its way to the disk */
	LANE_APPENDING,                 /* a job appends and closes */
	/* locked by another, or not to be repaired now: the timer */
	LANE_RESTING,
};

/* The posts that are worked on together, and all that the jobs need of them. */
struct worker_batch {
	struct worker_post *posts[WORKER_BATCH_POSTS_MAX];
	struct mbox_message messages[WORKER_BATCH_POSTS_MAX];
	size_t count;
	struct arena arena;
	struct intent intent;
	enum boxes_kind kind;
	struct mbox mbox;
	struct maildir maildir;
	struct quota quota;
	size_t over_count;              /* posts behind COUNT for which the box has no room */
	struct mbox_repair repair;      /* of an append that could not be undone */
	bool is_repaired;
};

struct worker_lane {
	UT_hash_handle hh;
	TAILQ_ENTRY(worker_lane) journal_next;
	struct worker *worker;
	char *path;
	enum worker_step step;
	struct worker_posts waiting;
	size_t waiting_count;
	size_t alone_count;             /* so many posts go by themselves: a batch had no room */
	struct worker_repairs repairs;
	struct loop_timer timer;
	struct loop_task task;          /* begins at the end of a turn */
	uint64_t retry_ms;
	struct mbox_settings settings;
	struct maildir_settings maildir_settings;
	struct worker_known {           /* of an mbox whose messages were counted */
		struct box_stat stat;
		uint64_t messages;
	} known;                        /* the jobs' */
	uint64_t over_since_ms;         /* since when it is full; 0: it is not */
	struct worker_batch *batch;     /* NULL while idle or resting */
	struct work_job job;
	enum mbox_open_result open_result;
	enum mbox_append_result append_result;
	bool journal_failed;
	bool broke_lock;
	struct err err;
	int64_t wall_ms;                /* for the job */
	/* For the operator. */
	uint64_t stored;
	int64_t last_stored_ms;
	char last_error[ERR_TEXT_BYTES];
};

/* A delivery under way, or one of which it is not known: others of the same key wait for it. */
struct worker_key {
	UT_hash_handle hh;
	struct intent_key key;
	struct worker_posts followers;
};

struct worker {
	struct loop *hub;
	struct box_disk *box_disk;
	const struct lock_witness *witness;
	struct lock_owner self;
	char *hostname;
	struct mbox_journal *journal;   /* touched by the journal's job alone, once it runs */
	struct work_pool *box_pool;
	struct work_pool *journal_pool;
	uint64_t remember_ms;
	struct worker_lane *lanes;
	struct worker_key *keys;
	struct seen seen;
	struct worker_counts counts;
	atomic_bool may_store;

	/* Posts that are settled, told at the end of the turn. */
	struct worker_posts settled;
	struct loop_task tell;

	/* The journal: what waits for it, and what its job has. */
	TAILQ_HEAD(worker_lanes, worker_lane) journal_lanes;
	struct worker_journal_end {
		struct mbox_journal_end end;
		int64_t wall_ms;
	} *ends;
	size_t end_count;
	size_t end_capacity;
	struct worker_journal_end *job_ends;
	size_t job_end_count;
	size_t job_end_capacity;
	struct worker_lane *job_lanes[MBOX_JOURNAL_BATCH_INTENTS_MAX];
	size_t job_lane_count;
	bool job_forgets;
	bool job_failed;
	bool journal_runs;
	struct err journal_err;
	struct mbox_journal_state journal_state;        /* as the last job left it */
	int64_t job_wall_ms;
	struct work_job journal_job;
	struct loop_timer flush_timer;
	uint64_t probe_ms;
	struct loop_timer forget_timer;

	void (*stopped)(void *ctx);
	void *stopped_ctx;
	bool stopping;
};

/* worker.c */
void worker_settle(struct worker *worker, struct worker_post *post);
void worker_fail(struct worker *worker, struct worker_post *post, const struct reply *reply);
void worker_delivered(struct worker *worker, const struct intent_key *key);
struct worker_key *worker_key_find(struct worker *worker, const struct intent_key *key);
struct worker_key *worker_key_add(struct worker *worker, const struct intent_key *key);

/*
 * The delivery of the key is over.  Those that waited for it: absorbed, or they get the reply, or
 * with a NULL reply they are delivered themselves.
 */
void worker_key_finish(struct worker *worker, const struct intent_key *key, bool delivered,
		       const struct reply *reply);
struct worker_lane *worker_lane_get(struct worker *worker, const char *path);
void worker_check_stopped(struct worker *worker);

/* worker_lane.c */
void worker_lane_init(struct worker_lane *lane, struct worker *worker, const char *path);
void worker_lane_fini(struct worker_lane *lane);
void worker_lane_add(struct worker_lane *lane, struct worker_post *post);
void worker_lane_add_repair(struct worker_lane *lane, const struct intent *intent);
void worker_lane_give_up(struct worker_lane *lane);

/* The journal has, or has not, made the lane's intent durable. */
void worker_lane_journaled(struct worker_lane *lane, bool failed, const struct err *err);

/* worker_job.c: on a thread of the pool; the lane is theirs until they return */
void worker_job_open(void *lane);
void worker_job_append(void *lane);

/* worker_journal.c */
void worker_journal_init(struct worker *worker);
void worker_journal_add(struct worker *worker, struct worker_lane *lane);
void worker_journal_end(struct worker *worker, uint64_t intent_id, uint64_t delivered);
void worker_journal_flush(struct worker *worker);
bool worker_journal_is_idle(const struct worker *worker);

#endif
