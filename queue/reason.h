#ifndef QUEUE_REASON_H
#define QUEUE_REASON_H

#include <stdbool.h>

#include "relay/base/span.h"

/*
 * Why a message (or one recipient of it) waits: one enum for explain, lists,
 * JSON, log and metrics.  The numbers are written to disk: add at the end, and
 * never use one again.
 */
enum queue_reason {
	REASON_NONE = 0,                /* nothing is known yet: just accepted or just found */
	REASON_READY = 1,               /* could be tried now, waits for its turn */
	REASON_IN_FLIGHT = 2,           /* an attempt is under way */
	REASON_WAITING_RETRY = 3,       /* deferred by the next hop, until its due time */
	REASON_DESTINATION_BREAKER = 4, /* the destination is down, a probe will end this */
	REASON_SUSPENDED = 5,           /* an operator suspended the destination */
	REASON_HELD = 6,                /* an operator holds the message, or the spool is held */
	REASON_CONCURRENCY_LIMIT = 7,   /* the destination's window is full */
	REASON_RATE_LIMIT = 8,          /* the destination's rate is used up */
	REASON_DNS_TEMP = 9,            /* the resolver gave no usable answer */
	REASON_TLS_POLICY = 10,         /* the next hop does not meet the TLS that is required */
	REASON_DISK_LOW = 11,           /* an outcome could not be recorded now */
	REASON_NO_ROUTE = 12,           /* no route matches it now */
	REASON_UNCERTAIN = 13,          /* may have been delivered: bound to its host for a while */
	REASON_PARTIAL = 14,            /* body not complete: waits for its sender to resume */
	REASON_DAMAGED = 15,            /* cannot be read back whole: set aside, never sent */
	REASON_DEFERRED_UNTIL = 16,     /* the sender or a window asked for a later time */
	REASON_NO_REPLICA = 17,         /* the replicated backend misses a standby */
	REASON_RECOVERING = 18,         /* found at start, copy forward not yet durable */
	REASON_RESOLVING = 19,          /* its next hop is being looked up */
	REASON_SETTLED = 20,            /* nobody waits; the record of that is being written */
	REASON_COUNT
};

/* "waiting-retry": the fixed word of the reason; never NULL. */
const char *queue_reason_name(enum queue_reason reason);

/* False when no reason has that name. */
bool queue_reason_parse(struct span name, enum queue_reason *reason_out);

/* A sentence for people: what it waits for. */
const char *queue_reason_explain(enum queue_reason reason);

#endif
