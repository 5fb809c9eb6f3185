#ifndef RELAY_OUTBOUND_BREAKER_H
#define RELAY_OUTBOUND_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/base/random.h"

/*
 * Whether a host may be tried.  Pure.
 *
 * Failures of the host itself (no connection, TLS, greeting, protocol, silence),
 * never of a recipient, open it after a few in a row.  Then one probe at a time
 * may go, after a backoff with full jitter that doubles up to its maximum.  The
 * first success closes it.
 */
enum breaker_state {
	BREAKER_CLOSED,
	BREAKER_OPEN,           /* until probe_ms */
	BREAKER_HALF_OPEN,      /* a probe is under way */
};

struct breaker_settings {
	uint32_t failure_count_max;     /* in a row until it opens; 0: 3 */
	uint64_t backoff_first_ms;      /* 0: 2 s */
	uint64_t backoff_max_ms;        /* 0: 5 minutes */
};

struct breaker {
	struct breaker_settings settings;
	enum breaker_state state;
	uint32_t failure_count;         /* in a row */
	uint32_t open_count;            /* probes that failed in a row: the step of the backoff */
	uint64_t since_ms;              /* of the state */
	uint64_t probe_ms;              /* OPEN: not before */
};

void breaker_init(struct breaker *breaker, const struct breaker_settings *settings,
    uint64_t now_ms);

/* New settings for what comes; a probe already set moves forward if it is too far away. */
void breaker_configure(struct breaker *breaker, const struct breaker_settings *settings,
    uint64_t now_ms);

/*
 * As it was in the life before: open, to be probed at that time, or soon if it is over.  A
 * probe further away than the settings allow comes nearer.
 */
void breaker_restore(struct breaker *breaker, uint32_t open_count, uint32_t failure_count,
    uint64_t since_ms, uint64_t probe_ms, uint64_t now_ms);

/* May a job use the host now?  Changes nothing. */
bool breaker_allows(const struct breaker *breaker, uint64_t now_ms);

/* A job will use it: the open one whose time has come goes to half open. */
void breaker_begin(struct breaker *breaker, uint64_t now_ms);

/* The host was good.  True when this closed it: wake what waits. */
bool breaker_success(struct breaker *breaker, uint64_t now_ms);

/* True when this opened it, from closed. */
bool breaker_failure(struct breaker *breaker, uint64_t now_ms, struct random *random);

/* The job that was begun did not come to the host: a half open one may be probed again. */
void breaker_abandon(struct breaker *breaker, uint64_t now_ms);

/* Somebody knows better (operator, the neighbour's own EHLO): the next probe may go now. */
void breaker_hurry(struct breaker *breaker, uint64_t now_ms);

const char *breaker_state_name(enum breaker_state state);

#endif
