#ifndef RELAY_INBOUND_RATE_H
#define RELAY_INBOUND_RATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/span.h"

/*
 * How often somebody came, and how many times he is here: a bounded table of rates and
 * counts.  Pure: time is an argument.  One thread at a time; relay/inbound/gate.h has
 * the lock.
 *
 * A rate is one number (the generic cell rate algorithm): the time at which all that was
 * taken would have been given at the even pace.  How far that lies ahead of now is the
 * debt; an entry without debt and without count says nothing and may go.
 *
 * When the few places where a key may be are all taken, the entry with the least debt
 * and no count gives way: who is forgotten is one who came once or twice, and a flood of
 * names that come once each can only forget each other.  What is counted is never
 * forgotten; when every place counts, the newcomer is let in and not written down, for
 * which connections have a limit of their own.  The seed keeps others from choosing
 * names that share places.
 */
enum rate_kind {
	RATE_ADDRESS,                   /* connections of one address */
	RATE_NETWORK,                   /* connections of its /24 (IPv4) or /56 (IPv6) */
	RATE_USER,                      /* messages of one who proved who he is */
	RATE_SENDER,                    /* messages of one sender */
};

/* So many a minute on the average, and so many at once; no limit where count is 0. */
struct rate_limit {
	uint32_t minute_count;
	uint32_t burst_count;           /* 0: as many as in a minute */
};

struct rate_table;

/* SLOT_COUNT is made a power of two; an entry has 32 octets. */
struct rate_table *rate_table_new(size_t slot_count, uint64_t seed);
void rate_table_free(struct rate_table **table);

/* Takes one where the limit allows it. */
bool rate_take(struct rate_table *table, enum rate_kind kind, struct span key,
    const struct rate_limit *limit, uint64_t now_ms);

/* How long until rate_take() would say yes; 0: now. */
uint64_t rate_wait_ms(const struct rate_table *table, enum rate_kind kind, struct span key,
    const struct rate_limit *limit, uint64_t now_ms);

/* One more is here, unless there are COUNT_MAX (0: no limit).  Each true wants a leave. */
bool rate_enter(struct rate_table *table, enum rate_kind kind, struct span key,
    uint32_t count_max, uint64_t now_ms);
void rate_leave(struct rate_table *table, enum rate_kind kind, struct span key);
uint32_t rate_count(const struct rate_table *table, enum rate_kind kind, struct span key);

/* The part of an address that stands for its network: 3 octets of IPv4, 7 of IPv6. */
struct span rate_network_key(const uint8_t ip16[16]);

#endif
