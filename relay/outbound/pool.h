#ifndef RELAY_OUTBOUND_POOL_H
#define RELAY_OUTBOUND_POOL_H

#include <stddef.h>
#include <stdint.h>

#include "queue/queue.h"
#include "relay/net/loop.h"
#include "relay/net/resolver.h"
#include "relay/outbound/job.h"

/*
 * What one worker has of the way out: for each destination its connections, warm
 * and busy, and the jobs that wait for one.  Everything here is called on the
 * worker's thread but for pool_new(); answers are given by the operations, there too.
 */
struct pool;

struct pool_ops {
	/* The job is back; it is the callee's again.  Exactly once for each. */
	void (*done)(void *ctx, struct job *job);

	/* Outside of a job the number of connections to a destination has changed. */
	void (*connections)(void *ctx, uint64_t destination, uint32_t count);

	/* After pool_stop(): nothing of the pool is left but the memory. */
	void (*stopped)(void *ctx);
};

struct pool_settings {
	struct loop *loop;
	struct queue_port *port;
	struct resolver *resolver;
	size_t worker;                  /* our number: which TLS context of a way is ours */
	uint32_t connection_max;        /* of this worker, all destinations; 0: 1000 */
	uint64_t idle_ms;               /* a warm connection without work; 0: 20 s */
};

/* Before the loop runs, or on its thread. */
struct pool *pool_new(const struct pool_settings *settings, const struct pool_ops *ops, void *ctx);

/* After stopped(). */
void pool_free(struct pool **pool);

/* Takes the job. */
void pool_take(struct pool *pool, struct job *job);

/*
 * End this job, if it is still here: at once when it waits, before the final dot
 * when it runs.  Once the peer may have the message it is let be, unless FORCE.
 */
void pool_cancel(struct pool *pool, uint64_t serial, bool force);

/* Waiting jobs go back, running ones have GRACE_MS, idle connections say QUIT. */
void pool_stop(struct pool *pool, uint64_t grace_ms);

#endif
