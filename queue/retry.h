#ifndef QUEUE_RETRY_H
#define QUEUE_RETRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/random.h"
#include "relay/base/span.h"

/*
 * When to try again.  Pure: time since the arrival and chance are arguments, and
 * the answer is an interval.  The schedule is a list of intervals a class; after
 * its last entry the last one repeats until the lifetime is over.  Retry is by
 * time, never by count: attempts only say how far along the list we are.
 *
 * The numbers of the classes are written to disk: add at the end.
 */
enum retry_class {
	RETRY_OTHER = 0,        /* a 4yz that says nothing more */
	RETRY_GREYLISTED = 1,
	RETRY_MAILBOX_FULL = 2, /* x.2.2 */
	RETRY_RATE = 3,         /* the peer says: too fast, too many */
	RETRY_DNS = 4,
	RETRY_TLS = 5,
	RETRY_CONNECT = 6,      /* no connection, or lost before an answer */
	RETRY_PROTOCOL = 7,     /* the peer speaks nonsense */
	RETRY_REPUTATION = 8,   /* the peer refuses our address for now */
	RETRY_UNCERTAIN = 9,    /* lost after the final dot */
	RETRY_LOCAL = 10,       /* a fault on our side: disk, memory, configuration */
	RETRY_CLASS_COUNT
};

#define RETRY_INTERVAL_COUNT_MAX 16

struct retry_schedule {
	uint64_t interval_ms[RETRY_INTERVAL_COUNT_MAX];
	size_t interval_count;
};

struct retry_policy {
	struct retry_schedule by_class[RETRY_CLASS_COUNT];
	uint64_t lifetime_ms;           /* after this the recipient expires; default 5 days */
	uint64_t delay_notice_ms;       /* age at which the sender is told; 0: never; default 4 h */
	unsigned int jitter_percent;    /* default 10 */
	bool hold_uncertain;            /* no attempt of its own after an uncertain outcome */
};

/* The defaults of this house. */
void retry_policy_init(struct retry_policy *policy);

/*
 * How long to wait before the next attempt.  attempt_count counts the attempts
 * made in this class, at least 1.  age_ms is the time in the queue.  The next
 * attempt never comes later than the end of the lifetime, so that there is a
 * last one just before it.
 */
uint64_t retry_interval_ms(const struct retry_policy *policy, enum retry_class class,
    uint32_t attempt_count, uint64_t age_ms, struct random *random);

/* Whether the lifetime is over: a failed attempt now is the last. */
bool retry_is_over(const struct retry_policy *policy, uint64_t age_ms);

/* Whether the delay notice is due; the caller remembers whether it was sent. */
bool retry_delay_notice_is_due(const struct retry_policy *policy, uint64_t age_ms);

/* The class that a negative reply of a peer belongs to. */
enum retry_class retry_class_of_reply(unsigned int code, struct span status, struct span text);

const char *retry_class_name(enum retry_class class);
bool retry_class_parse(struct span name, enum retry_class *class_out);

#endif
