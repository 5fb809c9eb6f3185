#ifndef QUEUE_SNAPSHOT_DISK_H
#define QUEUE_SNAPSHOT_DISK_H

#include "queue/disk.h"

/*
 * A disk over another one that it never writes to: what is written, made, renamed
 * or removed is kept in memory and gone at the close.  So a spool can be opened
 * as a start opens it, copies of suspects and all, and stays as it is.  Only the
 * lock is taken on the disk below: nobody else is at work there meanwhile.
 *
 * Its functions may be called from several threads; one lock guards the table of
 * files and what was written, as the committer and the readers meet there.
 */
struct disk *snapshot_disk_open(struct disk *below);

/* The one below stays open. */
void snapshot_disk_close(struct disk **disk);

#endif
