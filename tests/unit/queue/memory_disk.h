#ifndef TESTS_UNIT_QUEUE_MEMORY_DISK_H
#define TESTS_UNIT_QUEUE_MEMORY_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "queue/disk.h"

/*
 * A disk in memory that does what it is told, and fails when it is told to.  It
 * keeps no difference between written and durable: that is the business of
 * tests/crash.
 */
struct memory_file {
	char name[DISK_NAME_BYTES_MAX];
	char *data;
	uint64_t size, capacity;
	int open_count;
};

struct memory_disk {
	struct disk disk;
	struct memory_file files[256];
	int file_count;
	uint64_t bytes_max;             /* of all files together */
	enum disk_kind kind;
	bool is_locked;

	int write_error, sync_error, read_error;        /* for the next calls */
	int error_skip;                                 /* so many go well before */
	int error_count;                                /* how many calls fail; -1 all */
	uint64_t sync_count, dir_sync_count, written_bytes;
};

void memory_disk_init(struct memory_disk *memory);
void memory_disk_fini(struct memory_disk *memory);

/* What another process would find if this one died now. */
void memory_disk_copy(struct memory_disk *to, const struct memory_disk *from);

struct memory_file *memory_disk_find(struct memory_disk *memory, const char *name);

#endif
