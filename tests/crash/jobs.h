#ifndef TESTS_CRASH_JOBS_H
#define TESTS_CRASH_JOBS_H

#include "tests/crash/explore.h"

/*
 * Exploring in processes of their own, so that a queue that aborts, or never ends,
 * is something that was found too.
 */
enum { JOBS_MAX = 16 };

struct search {
	uint64_t seed;                  /* the first one */
	uint64_t operations;
	bool is_one_seed;
	uint64_t state_count_max;       /* of all jobs together */
	uint32_t job_count;
	uint32_t depth_max;
};

struct found {
	bool is_found;
	char text[240];
	char image[64];
	struct path path;
	uint64_t state_count, seed_count, nested_count;
	uint64_t profile_counts[PROFILE_COUNT];
};

/* Ends at the first violation, or when the states are used up. */
void search_run(const struct search *search, struct found *found_out);

/*
 * Makes what was found small: fewer crashes one upon the other, then fewer
 * operations, as long as the seed still leads to some violation.
 */
void search_shrink(struct found *found);

#endif
