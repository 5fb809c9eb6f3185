/*
 * An mbox, open and locked: appends that are whole or undone.
 *
 * The file must be a plain one with one name, owned by whom the configuration says, and reached
 * without a symbolic link in its own name; what it is called is looked at again once it is
 * locked, so that a file put into its place meanwhile is not written to.  The directories above
 * it are the operator's.
 *
 * Everything here blocks and is for a thread of the pool.
 */
#ifndef MAILBOX_MBOX_H
#define MAILBOX_MBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "mailbox/box_disk.h"
#include "mailbox/intent.h"
#include "mailbox/mbox_lock.h"
#include "mailbox/mbox_stream.h"
#include "relay/base/arena.h"
#include "relay/base/err.h"
#include "relay/mail/reply.h"

struct mbox_settings {
	struct mbox_lock_settings lock;
	const char *path;               /* absolute */
	uid_t uid;                      /* who must own the file */
	bool create;                    /* make it if it is not there */
};

/* Open and locked; to be closed by mbox_close(). */
struct mbox {
	const struct mbox_settings *settings;
	const char *name;               /* the last part of the path */
	int dir;
	int file;
	bool created;
	struct mbox_lock lock;
	struct box_stat stat;           /* as it was when it was locked */
	/* what must be added before a From_ line: "", LF or LF LF */
	struct span lead;
};

enum mbox_open_result {
	MBOX_OPENED,
	MBOX_ABSENT,                    /* there is none, and it was not to be made */
	MBOX_BUSY,                      /* locked by another: try again soon */
	MBOX_REFUSED,                   /* err says what is wrong with it */
};

/* The settings are borrowed until the mbox is closed. */
enum mbox_open_result
mbox_open(struct mbox *mbox, const struct mbox_settings *settings, struct err *err);
void mbox_close(struct mbox *mbox);

/* Read its size and its end anew, after a change by the holder of the locks. */
int mbox_look_again(struct mbox *mbox, struct err *err);

/*
 * Describe the append of these messages for the journal.  Reads all of them once.  The intent's
 * arrays live in ARENA; its id is not set.
 */
int mbox_plan(const struct mbox *mbox, const struct mbox_message *messages, size_t message_count,
	      int64_t wall_ms, struct arena *arena, struct intent *intent_out, struct err *err);

enum mbox_append_result {
	MBOX_APPENDED,                  /* it is on stable storage */
	MBOX_UNDONE,                    /* err says why; the file is as it was, durably */
	MBOX_TORN,                      /* err says why; the file must be repaired first */
};

/* Write what was planned, with the intent durable in the journal. */
enum mbox_append_result
mbox_append(struct mbox *mbox, const struct intent *intent, const struct mbox_message *messages,
	    size_t message_count, struct err *err);

/* The verdict for the messages of an open or an append that failed: always 4yz. */
void mbox_reply(const struct err *err, struct reply *reply);

#endif
