#ifndef RELAY_BASE_RANDOM_H
#define RELAY_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/*
 * Chance as an argument.  The system's source is for every thread at once; a
 * seeded one is for one thread, gives the same numbers for the same seed on
 * every machine, and is fit for no secret.
 */
struct random {
	void (*fill)(struct random *random, void *data, size_t size);
};

/* getrandom(2); ends the program when the kernel has none to give. */
void random_init_system(struct random *random);

struct random_seeded {
	struct random random;
	uint64_t state[4];
};

void random_init_seeded(struct random_seeded *seeded, uint64_t seed);

void random_fill(struct random *random, void *data, size_t size);
uint64_t random_u64(struct random *random);

/* 0 to bound - 1, every one as likely; bound must not be 0. */
uint64_t random_below(struct random *random, uint64_t bound);

/* value less or more a random part of it, at most percent: the jitter of retries. */
uint64_t random_jitter(struct random *random, uint64_t value, unsigned int percent);

#endif
