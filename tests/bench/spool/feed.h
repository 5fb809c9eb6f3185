#ifndef TESTS_BENCH_SPOOL_FEED_H
#define TESTS_BENCH_SPOOL_FEED_H

#include "queue/queue.h"
#include "tests/bench/spool/meter.h"

/*
 * A spool with producers: each has one message under way at a time, as a session
 * has.  They are spread over threads, each with a port of its own, as in relayd.
 * The hub's loop runs on the thread that calls.
 */
enum feed_fate {
	FEED_KEEP,              /* nothing becomes of a message */
	FEED_DELIVER,           /* settled as soon as it is offered */
	FEED_DELIVER_HALF,      /* every other one; the rest is deferred for long */
};

struct feed;

struct feed *feed_open(const char *directory, size_t threads, struct queue_found *found_out,
    struct err *err);

/* Seals and closes; what is in it stays. */
void feed_close(struct feed **feed);

struct feed_result {
	struct meter cost;              /* from the first begin to the last report */
	uint64_t count, failed_count;
	uint64_t batch_count;           /* syncs, those for outcomes too */
	uint64_t written_bytes;         /* as the spool counts */
	uint64_t commit_us;             /* from queue_commit() to done(), added up */
};

/* count messages by so many producers; returns when the last was reported. */
void feed_run(struct feed *feed, size_t producers, size_t body_bytes, uint64_t count,
    struct feed_result *result_out);

/* What becomes of messages offered from now on. */
void feed_set_fate(struct feed *feed, enum feed_fate fate);

/* Called once in each turn of the hub's loop during runs; NULL for nothing. */
void feed_each_turn(struct feed *feed, void (*turn)(void *ctx), void *ctx);

/* Settles everything that is there, by listing it.  Returns when nothing is left. */
void feed_settle_all(struct feed *feed);

/* Turns of the hub's loop: until `count` messages are left, or for some time. */
bool feed_wait_count(struct feed *feed, uint64_t count, uint64_t wait_ms);
void feed_wait_ms(struct feed *feed, uint64_t wait_ms);

struct queue *feed_queue(struct feed *feed);
uint64_t feed_offered_count(const struct feed *feed);

#endif
