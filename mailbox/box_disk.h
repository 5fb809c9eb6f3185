/*
 * The only way in which mailboxd touches mailboxes: a table of functions, POSIX in production and
 * in tests a disk that fails, tears and forgets.  (The journal has queue/disk.h, which is made
 * for a directory that is nobody else's; a mailbox is shared with programs we do not know, so
 * this face knows locks, links, owners and symbolic links.)
 *
 * Every function returns 0 or a positive errno number.  Directories and files are small numbers
 * that only this disk understands.  Functions may be called by several threads at once, for
 * different files.
 */
#ifndef MAILBOX_BOX_DISK_H
#define MAILBOX_BOX_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "relay/base/err.h"

enum box_open {
	BOX_OPEN_READ,          /* read only */
	BOX_OPEN_WRITE,         /* read what is there, write behind it */
	BOX_OPEN_UPDATE,        /* read and write what is there */
	BOX_OPEN_CREATE,        /* as WRITE; it must not exist; mode 0600 */
};

enum box_kind {
	BOX_KIND_FILE,
	BOX_KIND_DIRECTORY,
	BOX_KIND_LINK,
	BOX_KIND_OTHER,         /* FIFO, device, socket */
};

struct box_stat {
	enum box_kind kind;
	uint64_t device;
	uint64_t inode;
	uint64_t size;
	uint64_t link_count;
	uid_t uid;
	uint32_t mode;          /* permission bits */
	int64_t modified_ms;    /* wall clock of the file system */
};

enum box_sync {
	BOX_SYNC_DATA,          /* what is needed to read the bytes again: size, too */
	BOX_SYNC_ALL,
};

struct box_disk;

struct box_disk_ops {
	/* Follows symbolic links: the directories above a mailbox are the operator's. */
	int (*open_dir)(struct box_disk *disk, const char *path, int *dir_out);

	/* The mode of a directory; an existing one is EEXIST. */
	int (*make_dir)(struct box_disk *disk, int dir, const char *name, uint32_t mode);
	int (*open_dir_at)(struct box_disk *disk, int dir, const char *name, int *dir_out);

	/* Never follows a link in NAME (ELOOP), never waits for a FIFO or a device. */
	int (*open)(struct box_disk *disk, int dir, const char *name, enum box_open how,
		    int *file_out);
	void (*close)(struct box_disk *disk, int file_or_dir);
	int (*stat)(struct box_disk *disk, int file_or_dir, struct box_stat *stat_out);

	/* Of the name itself, be it a link. */
	int (*stat_at)(struct box_disk *disk, int dir, const char *name, struct box_stat *stat_out);

	/* May read fewer bytes than asked; none at the end of the file. */
	int (*read)(struct box_disk *disk, int file, void *data, size_t size, uint64_t offset,
		    size_t *got_out);

	/*
	 * May write fewer bytes than asked.  OFFSET is the end of the file as far as the caller
	 * knows; on POSIX the bytes go behind whatever is there, unless it was opened for UPDATE.
	 */
	int (*write)(struct box_disk *disk, int file, const struct iovec *vectors,
		     int vector_count, uint64_t offset, size_t *written_out);
	/* Begin to write it out, so that the sync of it waits less; promises nothing. */
	void (*begin_sync)(struct box_disk *disk, int file);
	int (*sync)(struct box_disk *disk, int file, enum box_sync how);
	int (*sync_dir)(struct box_disk *disk, int dir);
	int (*truncate)(struct box_disk *disk, int file, uint64_t size);

	/*
	 * The fcntl lock of the whole file, for writing, never waiting: EAGAIN when another has
	 * it.  It belongs to the open file, and is gone with close().
	 */
	int (*lock)(struct box_disk *disk, int file);

	/* Another name for a file; EEXIST when TO is taken. */
	int (*link)(struct box_disk *disk, int dir, const char *from, int to_dir, const char *to);
	int (*rename)(struct box_disk *disk, int dir, const char *from, int to_dir, const char *to);
	int (*remove)(struct box_disk *disk, int dir, const char *name);

	/* Calls each() for every name; it may not change the directory. */
	int (*list)(struct box_disk *disk, int dir, void (*each)(void *ctx, const char *name),
		    void *ctx);
};

struct box_disk {
	const struct box_disk_ops *ops;
};

/* The real one; stateless, lives for ever. */
struct box_disk *box_disk_posix(void);

/* The same with words: NAME is for the message, err has ERR_SYSTEM and the number. */
int box_disk_fail(int error, const char *what, const char *name, struct err *err);

/* Exactly size bytes; ERR_DAMAGED when the file ends before. */
int box_disk_read_all(struct box_disk *disk, int file, void *data, size_t size, uint64_t offset,
		      struct err *err);

/*
 * All of them, whatever write() accepts at a time.  The vectors are used up.  *written_out counts
 * what was written also when it fails.
 */
int box_disk_write_all(struct box_disk *disk, int file, struct iovec *vectors, int vector_count,
		       uint64_t offset, uint64_t *written_out, struct err *err);

/* Is it the error of a disk, quota or file size that is used up: ENOSPC, EDQUOT, EFBIG? */
bool box_disk_err_is_full(const struct err *err);

#endif
