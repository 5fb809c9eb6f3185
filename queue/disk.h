#ifndef QUEUE_DISK_H
#define QUEUE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "relay/base/err.h"
#include "relay/base/span.h"

/*
 * The only way in which the queue (and the mailbox's journal) touches a disk: a
 * table of functions over one directory.  In production disk_posix; in the
 * crash tests a disk that tears, reorders, forgets and fails; between them a
 * wrapper that makes the n-th call fail.
 *
 * Every function returns 0 or a positive errno number.  Names are plain file
 * names in the directory, at most DISK_NAME_BYTES_MAX with the NUL.  Files are
 * small numbers that only this disk understands.  Functions may be called from
 * several threads at once, but one file is written by one thread at a time.
 *
 * What is durable when:
 *   - a name (created, renamed, removed) after sync_dir() returned 0;
 *   - bytes after sync() returned 0, or after a write with DISK_WRITE_SYNC did.
 * After a sync failed nothing is known about bytes written since the last good
 * one, and a later sync that succeeds proves nothing about them.
 */
#define DISK_NAME_BYTES_MAX 64

enum disk_open {
	DISK_OPEN_READ = 0,
	DISK_OPEN_WRITE = 1,    /* read and write a file that exists */
	DISK_OPEN_CREATE = 2,   /* read and write; it must not exist */
};

enum disk_write {
	DISK_WRITE_PLAIN = 0,
	DISK_WRITE_SYNC = 1,    /* the bytes (and the size) are durable when it returns 0 */
};

enum disk_kind {
	DISK_KIND_STABLE,
	DISK_KIND_TMPFS,        /* gone with the power */
	DISK_KIND_OVERLAY,      /* gone with the container */
};

struct disk;

struct disk_ops {
	int (*open)(struct disk *disk, const char *name, enum disk_open how, int *file_out);
	int (*close)(struct disk *disk, int file);
	int (*size)(struct disk *disk, int file, uint64_t *size_out);

	/* Reads at most size bytes; fewer only at the end of the file or by a fault. */
	int (*read)(struct disk *disk, int file, void *data, size_t size, uint64_t offset,
	    size_t *got_out);

	/*
	 * Writes the vectors one behind the other; may write fewer bytes than asked
	 * and return 0 (with DISK_WRITE_SYNC those are durable).  On an error nothing
	 * is known about any of them.
	 */
	int (*write)(struct disk *disk, int file, const struct iovec *vectors, int vector_count,
	    uint64_t offset, enum disk_write how, size_t *written_out);
	int (*sync)(struct disk *disk, int file);

	int (*rename)(struct disk *disk, const char *from, const char *to);
	int (*remove)(struct disk *disk, const char *name);
	int (*sync_dir)(struct disk *disk);

	/* Calls each() for every regular file; it may not change the directory. */
	int (*list)(struct disk *disk, void (*each)(void *ctx, const char *name), void *ctx);

	/* Bytes that this process may still write, and the size of the file system. */
	int (*space)(struct disk *disk, uint64_t *free_out, uint64_t *total_out);

	/* One holder for all processes, until unlock() or the end; EWOULDBLOCK if it is taken. */
	int (*lock)(struct disk *disk, const char *name, int *lock_out);
	int (*unlock)(struct disk *disk, int lock);

	int (*kind)(struct disk *disk, enum disk_kind *kind_out);

	/* The file will be read soon, from the start on; a hint that may do nothing. */
	void (*read_ahead)(struct disk *disk, int file, uint64_t offset, uint64_t size);
};

/* The first member of every kind of disk.  place is for messages ("/var/spool/chapar"). */
struct disk {
	const struct disk_ops *ops;
	const char *place;
};

/*
 * Opens the directory (made, 0700, if only its last part is missing), which must
 * be ours and closed to other writers.  No file in it is a link, and
 * the names in it never lead out of it.  Free with disk_posix_close().
 */
struct disk *disk_posix_open(const char *directory, struct err *err);
void disk_posix_close(struct disk **disk);

/* The same with words: these return -1 and fill err, with context. */
int disk_open(struct disk *disk, const char *name, enum disk_open how, int *file_out,
    struct err *err);
void disk_close(struct disk *disk, int *file);
int disk_size(struct disk *disk, int file, uint64_t *size_out, struct err *err);

/* Goes on after short reads; got_out is less than size only at the end of the file. */
int disk_read(struct disk *disk, int file, void *data, size_t size, uint64_t offset,
    size_t *got_out, struct err *err);

/* Exactly size bytes, or ERR_DAMAGED when the file ends before. */
int disk_read_all(struct disk *disk, int file, void *data, size_t size, uint64_t offset,
    struct err *err);

/* Goes on after short writes.  The vectors are used up. */
int disk_write(struct disk *disk, int file, struct iovec *vectors, int vector_count,
    uint64_t offset, enum disk_write how, struct err *err);
int disk_sync(struct disk *disk, int file, struct err *err);
int disk_sync_dir(struct disk *disk, struct err *err);
int disk_rename(struct disk *disk, const char *from, const char *to, struct err *err);
int disk_remove(struct disk *disk, const char *name, struct err *err);
int disk_space(struct disk *disk, uint64_t *free_out, uint64_t *total_out, struct err *err);

/* Whether the error is one of a full disk: ENOSPC, EDQUOT, EFBIG. */
bool disk_err_is_full(const struct err *err);

#endif
