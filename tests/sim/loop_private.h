#ifndef TESTS_SIM_LOOP_PRIVATE_H
#define TESTS_SIM_LOOP_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "relay/base/heap.h"
#include "relay/net/loop.h"
#include "tests/sim/world.h"

/* Something of the network came to an object of this loop: run() in its next turn. */
struct sim_ready {
	TAILQ_ENTRY(sim_ready) entry;
	void (*run)(void *ctx);
	void *ctx;
	bool queued;
};

TAILQ_HEAD(sim_ready_list, sim_ready);

struct sim_deferred {
	void (*release)(void *object);
	void *object;
};

struct loop {
	struct sim_runner runner;
	const struct clock *clock;
	uint64_t now_ms;
	bool stopped;
	struct heap timers;
	uint64_t timer_sequence;
	struct loop_post *posts;
	struct loop_post **posts_tail;
	struct loop_task *tasks;
	struct loop_task **tasks_tail;
	struct loop_task *tasks_running;
	struct sim_ready_list ready;
	struct sim_deferred *deferred;
	size_t deferred_count;
	size_t deferred_capacity;
};

/* From here on the world gives it turns: work_loop_start(), or the owner of a hub. */
void sim_loop_begin(struct loop *loop);

void sim_loop_ready(struct loop *loop, struct sim_ready *ready);
void sim_loop_not_ready(struct loop *loop, struct sim_ready *ready);

#endif
