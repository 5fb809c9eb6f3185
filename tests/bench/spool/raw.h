#ifndef TESTS_BENCH_SPOOL_RAW_H
#define TESTS_BENCH_SPOOL_RAW_H

#include <stddef.h>
#include <stdint.h>

#include "relay/base/err.h"

/*
 * What the machine can do at best: threads that append to one new file, where one
 * of them syncs for all that wrote before.  The measure for the spool.
 */
struct raw_result {
	uint64_t us, cpu_us;
	uint64_t count, sync_count;
};

int raw_run(const char *directory, size_t threads, size_t size, uint64_t count,
    struct raw_result *result_out, struct err *err);

/* One appender: each call appends and syncs, and says how long it took. */
struct raw_lone;

struct raw_lone *raw_lone_open(const char *directory, size_t size, struct err *err);
int raw_lone_step(struct raw_lone *lone, uint64_t *us_out, struct err *err);
void raw_lone_close(struct raw_lone **lone);

#endif
