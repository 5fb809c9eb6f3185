#ifndef TESTS_CRASH_EXPLORE_H
#define TESTS_CRASH_EXPLORE_H

#include "tests/crash/life.h"

/*
 * Which crashes are looked at.  A state is a path: a seed, the operations of its
 * workload that are done, and for each crash the boundary at which it came and
 * which of the images taken there it left.  As text:
 *
 *	SEED/OPERATIONS/BOUNDARY.IMAGE/BOUNDARY.IMAGE...
 *
 * with the operations as a hexadecimal set.  The profile is SEED modulo their
 * number.  A path without crashes is the life itself.
 */
enum {
	PATH_DEPTH_MAX = 4,
	PATH_OPERATIONS_MAX = 64,
	PATH_TEXT_BYTES = 128,
};

struct crash_step {
	uint32_t boundary, image;
};

struct path {
	uint64_t seed;
	uint64_t operations;            /* a bit for each that is done */
	struct crash_step steps[PATH_DEPTH_MAX];
	uint32_t depth;
};

void path_print(const struct path *path, char text_out[PATH_TEXT_BYTES]);
bool path_parse(struct path *path_out, const char *text);

struct explorer {
	struct path path;               /* where we are; kept when something is found */
	struct violation violation;
	char image[64];                 /* the last crash, in words */
	uint64_t state_count, state_count_max;
	uint64_t profile_counts[PROFILE_COUNT];
	uint64_t seed_count, nested_count;
	uint32_t depth_max;             /* crashes one upon the other */
	const volatile bool *stop;      /* somebody else has found something */
	const struct path *replay;      /* only this one, or NULL */
	bool is_verbose;
};

enum { EXPLORE_OPERATIONS = 44 };

/* All that a seed leads to, until something is found or the count is reached. */
void explore_seed(struct explorer *explorer, uint64_t seed, uint64_t operations);

#endif
