#ifndef TESTS_CRASH_CHANCE_H
#define TESTS_CRASH_CHANCE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Chance that is a function of where one is: the same seed, place and number give
 * the same choice, whatever was chosen elsewhere.  So a state is named by a few
 * numbers, and leaving something out of a workload leaves the rest as it was.
 */
static inline uint64_t
chance_mix(uint64_t a, uint64_t b)
{
	uint64_t z = a + 0x9e3779b97f4a7c15ULL * (b + 1);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

/* A sequence of choices from one place. */
struct chance {
	uint64_t seed, count;
};

static inline struct chance
chance_at(uint64_t seed)
{
	return (struct chance){ .seed = seed };
}

static inline uint64_t
chance_u64(struct chance *chance)
{
	return chance_mix(chance->seed, chance->count++);
}

/* 0 to bound - 1. */
static inline uint32_t
chance_below(struct chance *chance, uint32_t bound)
{
	return (uint32_t)(chance_u64(chance) % bound);
}

/* True once in so many; never for 0. */
static inline bool
chance_one_in(struct chance *chance, uint32_t count)
{
	return count > 0 && chance_below(chance, count) == 0;
}

#endif
