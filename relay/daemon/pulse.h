/*
 * Whether other threads' loops still turn: each is asked for a sign of life by loop_post(), and
 * one that has not answered when it is asked the next time hangs (a disk that does not return,
 * an endless loop).
 */
#ifndef RELAY_DAEMON_PULSE_H
#define RELAY_DAEMON_PULSE_H

#include "relay/net/loop.h"

#include <stdbool.h>
#include <stddef.h>

enum { PULSE_LOOPS_MAX = 300 };

struct pulse;

struct pulse *pulse_new(void);

/* When none of the loops turns any more. */
void pulse_free(struct pulse **pulse);

/* NAME is borrowed. */
void pulse_watch(struct pulse *pulse, struct loop *loop, const char *name);

/*
 * Ask all that have answered; the name of one that has not answered the question of the last
 * time, NULL when all have.
 */
const char *pulse_beat(struct pulse *pulse);

/* The one found by the last beat, without asking again. */
const char *pulse_missing(const struct pulse *pulse);

#endif
