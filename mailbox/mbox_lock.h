/*
 * The two locks of an mbox, as Debian's policy (11.6) asks: the fcntl lock first, the dot lock
 * after it, both tried without waiting, and the first given back when the second is not to be
 * had.  Who waits is the caller, with a timer.
 *
 * The dot lock "NAME.lock" is made whole under another name and linked into its place.  It says
 * who made it (lock_owner.h).  One that is in the way is broken when its owner is provably gone;
 * every other falls only by liblockfile's rule: not touched for five minutes.
 */
#ifndef MAILBOX_MBOX_LOCK_H
#define MAILBOX_MBOX_LOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "mailbox/box_disk.h"
#include "mailbox/lock_owner.h"
#include "relay/base/err.h"

enum {
	MBOX_LOCK_STALE_MS = 300 * 1000,        /* liblockfile's age rule */
	MBOX_NAME_BYTES_MAX = 255 - 32,         /* of a mailbox file: the names of its locks fit */
};

enum mbox_lock_result {
	MBOX_LOCK_TAKEN,
	MBOX_LOCK_BUSY,                 /* err says who has it */
	MBOX_LOCK_FAILED,               /* err says why */
};

struct mbox_lock_settings {
	struct box_disk *disk;
	const struct lock_owner *self;
	const struct lock_witness *witness;
	bool dot_lock;                  /* else the fcntl lock alone */
};

struct mbox_lock {
	bool has_dot;
	bool broke_stale;               /* a stale dot lock was removed; err says whose */
	uint64_t inode;                 /* of our dot lock */
};

/*
 * Try both locks of the open FILE whose name in DIR is NAME.  On TAKEN, and only then, the caller
 * owes mbox_lock_release() before it closes the file, which gives the fcntl lock back.
 */
enum mbox_lock_result
mbox_lock_try(struct mbox_lock *lock, const struct mbox_lock_settings *settings, int dir,
	      const char *name, int file, struct err *err);

/* Removes the dot lock, if it is still ours. */
void mbox_lock_release(struct mbox_lock *lock, const struct mbox_lock_settings *settings,
		       int dir, const char *name);

#endif
