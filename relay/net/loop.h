#ifndef RELAY_NET_LOOP_H
#define RELAY_NET_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/clock.h"
#include "relay/base/err.h"
#include "relay/base/heap.h"

/*
 * The event loop of one thread: timers, messages from other threads, work for
 * the end of a turn, and memory that may only go when no callback is on the
 * stack.  Everything here but loop_post() is for the thread that runs the loop
 * (or for the one that built it, before it runs).
 *
 * One turn: wait; take the time; sockets; messages; timers; loop_at_turn_end()
 * tasks; deferred frees.
 */
struct loop;

/* The clock gives wall time; monotonic time is taken once a turn.  Both are borrowed. */
struct loop *loop_new(const struct clock *clock, struct err *err);
void loop_free(struct loop **loop);

/* Runs until loop_stop(); messages already posted by then are still delivered. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* Runs one turn, waiting at most wait_ms.  For tests and for programs that poll. */
void loop_turn(struct loop *loop, uint64_t wait_ms);

/* Monotonic time of this turn, and wall clock (UTC, milliseconds since 1970). */
uint64_t loop_now_ms(const struct loop *loop);
int64_t loop_wall_ms(const struct loop *loop);
const struct clock *loop_clock(const struct loop *loop);

/*
 * A timer lives inside the object it serves.  Due at the same millisecond they
 * fire in the order in which they were started.  A timer fires once; starting
 * a running one moves it.  It may be started, stopped or freed in its callback.
 */
struct loop_timer {
	void (*fired)(void *ctx);
	void *ctx;
	uint64_t due_ms;
	uint64_t sequence;
	struct heap_node place;
};

void loop_timer_init(struct loop_timer *timer, void (*fired)(void *ctx), void *ctx);
void loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms);
void loop_timer_start_at(struct loop *loop, struct loop_timer *timer, uint64_t due_ms);
void loop_timer_stop(struct loop *loop, struct loop_timer *timer);
bool loop_timer_is_running(const struct loop_timer *timer);

/*
 * A message to another thread's loop (or one's own).  The struct belongs to
 * the loop from loop_post() until run() is called, on the loop's thread, never
 * before loop_post() returned.  First in, first out between two threads.
 * loop_post() is safe on every thread, takes no lock and makes a system call
 * only when the loop sleeps.  It cannot fail and cannot be taken back.  run()
 * may free or post the struct again.
 */
struct loop_post {
	struct loop_post *next;
	void (*run)(void *ctx);
	void *ctx;
};

void loop_post_init(struct loop_post *post, void (*run)(void *ctx), void *ctx);
void loop_post(struct loop *loop, struct loop_post *post);

/*
 * A task for the end of this turn, after sockets, messages and timers: the
 * place to act once on what a whole round brought (flush output, commit a
 * batch).  Scheduling a scheduled task does nothing.
 */
struct loop_task {
	struct loop_task *next;
	struct loop_task **previous;    /* NULL while not scheduled */
	void (*run)(void *ctx);
	void *ctx;
};

void loop_task_init(struct loop_task *task, void (*run)(void *ctx), void *ctx);
void loop_at_turn_end(struct loop *loop, struct loop_task *task);
void loop_task_cancel(struct loop *loop, struct loop_task *task);

/* Calls release(object) when this turn's callbacks have all returned. */
void loop_defer_free(struct loop *loop, void (*release)(void *object), void *object);

/*
 * Readiness of a foreign descriptor (control socket, signalfd, a library's
 * epoll).  The watch is freed with loop_watch_free(), also in its callback;
 * the descriptor stays the caller's.  Not for connections: use conn.h.
 */
enum loop_event {
	LOOP_READ = 1,
	LOOP_WRITE = 2,
};

struct loop_watch;

struct loop_watch *loop_watch_new(struct loop *loop, int fd, unsigned events,
    void (*ready)(void *ctx, unsigned events), void *ctx);
void loop_watch_set(struct loop_watch *watch, unsigned events);
void loop_watch_free(struct loop_watch **watch);

#endif
