#ifndef TESTS_IOFAULT_FAULT_DISK_H
#define TESTS_IOFAULT_FAULT_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "queue/disk.h"

/*
 * A disk over another one that counts all calls and makes some of them fail: the
 * n-th, or the n-th and all behind it.
 */
#define FAULT_CALLS_MAX 4096

/* Not an errno number: the call takes or gives only half of what was asked. */
#define FAULT_SHORT (-1)

enum fault_call {
	CALL_OPEN,
	CALL_OPEN_TO_WRITE,
	CALL_CREATE,
	CALL_CLOSE,
	CALL_SIZE,
	CALL_READ,
	CALL_WRITE,
	CALL_SYNC,
	CALL_RENAME,
	CALL_REMOVE,
	CALL_SYNC_DIR,
	CALL_LIST,
	CALL_SPACE,
	CALL_LOCK,
	CALL_KIND,
};

struct fault {
	int error;                      /* errno, or FAULT_SHORT */
	uint64_t first;                 /* the n-th call, from 1; 0: none fails */
	bool for_ever;
	bool is_half_done;              /* what fails happened nevertheless; of a write, half */
};

struct fault_disk {
	struct disk disk;
	struct disk *under;
	struct fault fault;
	bool is_off;                    /* neither counts nor fails */
	uint64_t call_count, failed_count;
	uint8_t calls[FAULT_CALLS_MAX]; /* what each of the first was */
};

void fault_disk_init(struct fault_disk *disk, struct disk *under, const struct fault *fault);

/* Whether such a call can fail in this way at all: nothing is full for who reads. */
bool fault_can_hit(int error, enum fault_call call);

const char *fault_call_name(enum fault_call call);

#endif
