#ifndef RELAY_NET_WORK_H
#define RELAY_NET_WORK_H

#include <stdbool.h>
#include <stddef.h>

#include "relay/base/err.h"
#include "relay/net/loop.h"

/*
 * The only source of threads.  A thread that takes messages from others (hub,
 * worker, committer) is a loop thread; its callbacks may block if it has no
 * sockets, which is how the committer works: messages collect while it syncs,
 * and its loop_at_turn_end() task sees the whole batch.  Signals are blocked
 * in all of them.
 */
struct work_thread;

/* Runs the loop on a new thread, until loop_stop() is called on that thread. */
struct work_thread *work_loop_start(const char *name, struct loop *loop, struct err *err);

/* Runs a plain function on a new thread (log writer); it ends by returning. */
struct work_thread *work_service_start(const char *name, void (*run)(void *ctx), void *ctx,
    struct err *err);

/* Posts a loop_stop() to a thread made by work_loop_start(). */
void work_loop_stop(struct work_thread *thread);

/* Waits for the end of the thread and frees it. */
void work_join(struct work_thread **thread);

/*
 * A pool of threads for work that blocks.  The queue is bounded and served in
 * order.  One lock guards that queue; nothing else is shared.
 *
 * A job lives inside the object it serves and belongs to the pool from
 * work_submit() until done() or dropped().
 */
struct work_pool;

struct work_job {
	struct work_job *next;
	void (*run)(void *ctx);         /* on a thread of the pool */
	void (*done)(void *ctx);        /* on the loop that submitted */
	void (*dropped)(void *ctx);     /* there too, instead of done(), after work_cancel() */
	void *ctx;
	struct loop *home;
	struct loop_post post;
	bool cancelled;
};

struct work_pool_settings {
	const char *name;
	size_t thread_count;
	size_t job_count_max;           /* waiting jobs */
};

struct work_pool *work_pool_new(const struct work_pool_settings *settings, struct err *err);

/* Ends the threads after the jobs already queued; their done() still come by post. */
void work_pool_free(struct work_pool **pool);

/* Sets the callbacks; dropped may be NULL for jobs that are never cancelled. */
void work_job_init(struct work_job *job, void (*run)(void *ctx), void (*done)(void *ctx),
    void (*dropped)(void *ctx), void *ctx);

/* Returns -1 with ERR_LIMIT, and the job stays the caller's, when the queue is full. */
int work_submit(struct work_pool *pool, struct loop *home, struct work_job *job,
    struct err *err);

/*
 * After this done() never comes; dropped() does, once, when the job is no
 * longer in use (it may still run first).  On the loop that submitted.
 */
void work_cancel(struct work_job *job);

#endif
