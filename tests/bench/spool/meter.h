#ifndef TESTS_BENCH_SPOOL_METER_H
#define TESTS_BENCH_SPOOL_METER_H

#include <stdint.h>

/* What a piece of work costs: time, processor, octets for the device. */
struct meter {
	uint64_t us;                    /* elapsed */
	uint64_t cpu_us;                /* of all threads of this process */
	uint64_t own_bytes;             /* by this process, as the kernel counts: write_bytes */
	uint64_t device_bytes;          /* by everybody, below the file system; 0: not known */
};

/* The state now; directory says which device is meant. */
struct meter meter_now(const char *directory);

/* From before until now. */
struct meter meter_since(const struct meter *before, const char *directory);

/* Memory of this process that is really there. */
uint64_t meter_rss_bytes(void);

/* Everything written so far to the file system of this directory has reached its device. */
void meter_settle(const char *directory);

#endif
