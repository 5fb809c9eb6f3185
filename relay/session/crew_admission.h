#ifndef RELAY_SESSION_CREW_ADMISSION_H
#define RELAY_SESSION_CREW_ADMISSION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/net/endpoint.h"

/*
 * How many connections there are, in all and from one client address, over all workers.
 *
 * The table is shared by the threads and bounded: a slot is one atomic word, half the
 * hash of an address, half its count.  A message to the hub would cost every connection
 * a round trip, and a share for each worker would refuse a client whom the kernel gave
 * to one worker by chance; hence this one object without an owner.  Two addresses of
 * equal hash share a count, which is harmless at 32 bits.  When the few slots where an
 * address may be are taken by others, it is counted in the total alone.
 */
enum {
	CREW_ADMISSION_SLOT_COUNT = 1 << 16,
	CREW_ADMISSION_PROBE_COUNT = 16,
};

struct crew_admission {
	atomic_size_t total;
	atomic_uint_fast64_t admitted;
	atomic_uint_fast64_t refused;
	uint64_t seed;
	atomic_uint_fast64_t *slots;
};

enum crew_admission_result {
	CREW_ADMITTED,
	CREW_REFUSED_TOTAL,
	CREW_REFUSED_CLIENT,
};

void crew_admission_init(struct crew_admission *admission, uint64_t seed);
void crew_admission_fini(struct crew_admission *admission);

/* A limit of 0 is none.  Admitted connections are counted until crew_admission_leave(). */
enum crew_admission_result crew_admission_enter(struct crew_admission *admission,
    const struct endpoint *peer, uint32_t total_max, uint32_t client_max);
void crew_admission_leave(struct crew_admission *admission, const struct endpoint *peer);

/* It was admitted, and is refused for another reason after all. */
void crew_admission_give_back(struct crew_admission *admission, const struct endpoint *peer);

/* Connections of that client now. */
uint32_t crew_admission_count(const struct crew_admission *admission,
    const struct endpoint *peer);

#endif
