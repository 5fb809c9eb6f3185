#ifndef TESTS_IOFAULT_WORKLOAD_H
#define TESTS_IOFAULT_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/iofault/fault_disk.h"

/*
 * One life of a small spool on a disk that fails: letters small and streamed,
 * outcomes, notifications, steering, segments used again, an orderly restart and
 * a crash.  Then the disk is well again, and what was said must be true.
 */
struct workload_verdict {
	const char *broken;             /* what was not true; NULL: all was */
	const char *where;
	uint64_t letter;                /* its place in the workload */
	uint64_t call_count;
	uint64_t failed_count;
	uint8_t calls[FAULT_CALLS_MAX];
};

void workload_run(const struct fault *fault, struct workload_verdict *verdict_out);

#endif
