#ifndef TESTS_UNIT_QUEUE_FAKE_LOOP_H
#define TESTS_UNIT_QUEUE_FAKE_LOOP_H

#include <stdbool.h>

/*
 * relay/net's loop.h and work.h for one thread and a clock that stands still:
 * every loop, timer and job is a step that the test takes.  Link it before
 * libnet, whose own loop and threads then stay out.
 */

/* One step of any loop or pool, in a fixed order.  False: nothing is left to do now. */
bool fake_step(void);

/* Steps until nothing is left; fails the test when that takes too many. */
void fake_run(void);

/* Everything that is on its way is forgotten: the process died. */
void fake_forget(void);

#endif
