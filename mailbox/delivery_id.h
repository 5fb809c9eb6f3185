/*
 * Numbers of deliveries: ordered by time, unique over the threads of a node, never reused.  A
 * plain value; the time in one is milliseconds since the epoch, UTC.
 */
#ifndef MAILBOX_DELIVERY_ID_H
#define MAILBOX_DELIVERY_ID_H

#include <stddef.h>
#include <stdint.h>

#include "relay/base/random.h"

struct delivery_ids {
	uint64_t last;
	uint64_t salt;                  /* random: another node has others in the same moment */
	uint64_t source;                /* number of the worker thread */
};

void delivery_ids_init(struct delivery_ids *ids, size_t source, struct random *random);
uint64_t delivery_ids_next(struct delivery_ids *ids, int64_t wall_ms);

/* When it was made, as far as the clock did not go back. */
uint64_t delivery_id_ms(uint64_t id);

#endif
