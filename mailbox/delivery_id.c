#include "mailbox/delivery_id.h"

enum {
	SOURCE_BITS = 8,
	COUNTER_BITS = 14,
};

void
delivery_ids_init(struct delivery_ids *ids, size_t source, struct random *random)
{
	ids->source = source & ((1 << SOURCE_BITS) - 1);
	ids->last = 0;
	ids->salt = random_below(random, UINT64_C(1) << (COUNTER_BITS - 1));
}

/* Milliseconds, then a counter, then the source; it never goes back, though the clock may. */
uint64_t
delivery_ids_next(struct delivery_ids *ids, int64_t wall_ms)
{
	uint64_t next = (wall_ms < 0 ? 0 : (uint64_t)wall_ms << COUNTER_BITS) + ids->salt;

	ids->last = ids->last + 1 > next ? ids->last + 1 : next;
	return ids->last << SOURCE_BITS | ids->source;
}

uint64_t
delivery_id_ms(uint64_t id)
{
	return id >> (SOURCE_BITS + COUNTER_BITS);
}
