#ifndef TESTS_CRASH_DISK_PRIVATE_H
#define TESTS_CRASH_DISK_PRIVATE_H

#include "tests/crash/chance.h"
#include "tests/crash/disk.h"

/* What disk.c (the calls) and pending.c (what they leave behind) share. */

/* Here a crash may come. */
void crash_boundary(struct crash_disk *disk);

struct crash_pending *crash_add_pending(struct crash_disk *disk, enum crash_pending_kind kind,
    int inode);

/* Forgets those of the inode from `from` on; durable ones were applied before. */
void crash_drop_pending(struct crash_disk *disk, int inode, uint32_t from);

/* Makes what the file has pending from `from` on durable, or fails. */
int crash_sync_from(struct crash_disk *disk, int inode, uint32_t from, struct chance *chance);

#endif
