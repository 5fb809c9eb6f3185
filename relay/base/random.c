#include "relay/base/random.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "relay/base/container_of.h"
#include "relay/base/must.h"

static void
fill_from_system(struct random *random, void *data, size_t size)
{
	char *at = data;

	(void)random;
	while (size > 0) {
		ssize_t got = getrandom(at, size, 0);

		if (got < 0) {
			must(errno == EINTR);
			continue;
		}
		at += got;
		size -= (size_t)got;
	}
}

void
random_init_system(struct random *random)
{
	*random = (struct random){ .fill = fill_from_system };
}

static uint64_t
rotate(uint64_t value, unsigned int bits)
{
	return value << bits | value >> (64 - bits);
}

/* xoshiro256**: small, fast, and the same everywhere. */
static uint64_t
seeded_next(struct random_seeded *seeded)
{
	uint64_t *s = seeded->state;
	uint64_t result = rotate(s[1] * 5, 7) * 9;
	uint64_t shifted = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= shifted;
	s[3] = rotate(s[3], 45);
	return result;
}

static void
fill_seeded(struct random *random, void *data, size_t size)
{
	struct random_seeded *seeded = container_of(random, struct random_seeded, random);
	unsigned char *at = data;

	while (size > 0) {
		uint64_t value = seeded_next(seeded);

		for (unsigned int i = 0; i < 8 && size > 0; i++, size--)
			*at++ = (unsigned char)(value >> (8 * i));
	}
}

void
random_init_seeded(struct random_seeded *seeded, uint64_t seed)
{
	seeded->random.fill = fill_seeded;
	/* splitmix64 spreads the seed, so that 0 and 1 are as good as any. */
	for (unsigned int i = 0; i < 4; i++) {
		seed += 0x9e3779b97f4a7c15ULL;

		uint64_t z = seed;

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
		seeded->state[i] = z ^ (z >> 31);
	}
}

void
random_fill(struct random *random, void *data, size_t size)
{
	random->fill(random, data, size);
}

uint64_t
random_u64(struct random *random)
{
	unsigned char bytes[8];
	uint64_t value = 0;

	random->fill(random, bytes, sizeof(bytes));
	for (unsigned int i = 0; i < 8; i++)
		value |= (uint64_t)bytes[i] << (8 * i);
	return value;
}

uint64_t
random_below(struct random *random, uint64_t bound)
{
	must(bound > 0);

	/* Values below this would make the small results likelier: draw again. */
	uint64_t uneven = -bound % bound;

	for (;;) {
		uint64_t value = random_u64(random);

		if (value >= uneven)
			return value % bound;
	}
}

uint64_t
random_jitter(struct random *random, uint64_t value, unsigned int percent)
{
	must(percent <= 100);

	uint64_t spread = value / 100 * percent + value % 100 * percent / 100;

	if (spread == 0)
		return value;

	uint64_t least = value - spread;
	uint64_t most;

	if (__builtin_add_overflow(value, spread, &most))
		most = UINT64_MAX - 1;
	return least + random_below(random, most - least + 1);
}
