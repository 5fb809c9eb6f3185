#ifndef TESTS_UNIT_QUEUE_FAKE_LOOP_H
#define TESTS_UNIT_QUEUE_FAKE_LOOP_H

#include <stdbool.h>
#include <stdint.h>

/*
 * relay/net's loop.h and work.h for one thread and a clock that stands still:
 * every loop, timer and job is a step that the test takes.  Link it before
 * libnet, whose own loop and threads then stay out.
 */
struct loop;
struct work_pool;

/* One step of any loop or pool, in a fixed order.  False: nothing is left to do now. */
bool fake_step(void);

/* Steps until nothing is left; fails the test when that takes too many. */
void fake_run(void);

/* The same, but the looking begins at the loop or pool with this number, of those there are. */
bool fake_step_from(uint32_t first);

/* Everything that is on its way is forgotten: the process died. */
void fake_forget(void);

/*
 * A process of its own beside the one that is running: its loops and pools.  Empty
 * at first; returns those that were in use, to be given back later.
 */
struct fake_process {
	struct loop *loops;
	struct work_pool *pools;
};

struct fake_process fake_enter(struct fake_process process);

/* A loop that is paused takes no steps. */
void fake_pause(struct loop *loop, bool is_paused);

#endif
