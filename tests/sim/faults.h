#ifndef TESTS_SIM_FAULTS_H
#define TESTS_SIM_FAULTS_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/base/err.h"

/* What goes wrong, by chance, for a while: machines, disks, paths, connections, clocks. */
struct faults_count {
	unsigned power_cuts, crashes, partitions, cuts, failed_syncs, full_disks, clock_steps;
};

/* Begins; each fault ends by itself within two minutes.  mean_us lies between two of them. */
void faults_begin(uint64_t duration_us, uint64_t mean_us);

/* No more begin, all that lasted is over, every machine runs again. */
void faults_end(void);

struct faults_count faults_counted(void);

/* A machine did not start again on its own disk: the error of its daemon. */
bool faults_found_dead(struct err *err_out);

#endif
