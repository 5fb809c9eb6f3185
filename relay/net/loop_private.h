#ifndef RELAY_NET_LOOP_PRIVATE_H
#define RELAY_NET_LOOP_PRIVATE_H

#include <ev.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/clock.h"
#include "relay/base/heap.h"
#include "relay/net/loop.h"

/* For the files of relay/net that need libev: conn.c, dial.c, listener.c, loop.c. */

enum {
	/* Every read of a turn goes through this one buffer, so idle connections hold none. */
	LOOP_SCRATCH_BYTES = 64 * 1024,
};

struct loop_deferred {
	void (*release)(void *object);
	void *object;
};

struct loop {
	struct ev_loop *ev;
	const struct clock *clock;
	uint64_t now_ms;
	bool stopped;

	struct heap timers;
	uint64_t timer_sequence;
	ev_timer wait_timer;            /* ends the wait when the first timer is due */

	_Atomic(struct loop_post *) posted;     /* newest first */
	atomic_bool sleeps;                     /* a post must write to wake_fd */
	atomic_uint posters;                    /* inside loop_post() now */
	int wake_fd;
	ev_io wake_io;

	struct loop_task *tasks;        /* scheduled for the end of this turn, in order */
	struct loop_task **tasks_tail;
	struct loop_task *tasks_running;

	struct loop_deferred *deferred;
	size_t deferred_count;
	size_t deferred_capacity;

	char *scratch;                  /* LOOP_SCRATCH_BYTES, valid during one callback */
};

#endif
