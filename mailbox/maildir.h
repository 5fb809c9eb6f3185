/*
 * A Maildir: a message is a file of its own, made in tmp/, made durable, and then renamed into
 * new/, so that readers see it whole or not at all, without locks.
 *
 * A name is made of the delivery id alone (and of the node's host name), SECONDS.ID.HOST,S=BYTES,
 * so that a repair after a crash knows what to look for.  The directory and its three parts must
 * be directories of the right owner, reached without a symbolic link in their own names.
 *
 * Everything here blocks and is for a thread of the pool.
 */
#ifndef MAILBOX_MAILDIR_H
#define MAILBOX_MAILDIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "mailbox/box_disk.h"
#include "mailbox/intent.h"
#include "mailbox/mbox.h"
#include "mailbox/mbox_repair.h"
#include "relay/base/arena.h"
#include "relay/base/err.h"

enum {
	MAILDIR_NAME_BYTES = 256,
	MAILDIR_HOST_BYTES_MAX = 160,
};

struct maildir_settings {
	struct box_disk *disk;
	const char *path;               /* absolute */
	uid_t uid;                      /* who must own it */
	bool create;                    /* make it if it is not there */
};

/* Open; to be closed by maildir_close(). */
struct maildir {
	const struct maildir_settings *settings;
	int dir;
	int tmp;
	int fresh;                      /* "new" */
	int cur;
};

/* As mbox_open() has it; MBOX_BUSY never. */
enum mbox_open_result
maildir_open(struct maildir *maildir, const struct maildir_settings *settings, struct err *err);
void maildir_close(struct maildir *maildir);

/* The name in new/ of a message; HOST may hold anything. */
void maildir_name(uint64_t delivery_id, struct span host, uint64_t bytes,
		  char name_out[MAILDIR_NAME_BYTES]);

/* Describe the delivery for the journal.  The intent lives in ARENA; its id is not set. */
void maildir_plan(const struct maildir *maildir, const struct mbox_message *messages,
		  size_t message_count, struct span host, int64_t wall_ms, struct arena *arena,
		  struct intent *intent_out);

/*
 * Messages are written before the first of them is synced, so that they share what a sync costs.
 * With MBOX_TORN some may be in new/, and nobody knows whether durably: maildir_repair() tells.
 */
enum mbox_append_result
maildir_deliver(struct maildir *maildir, const struct intent *intent,
		const struct mbox_message *messages, size_t message_count, struct err *err);

/*
 * What became of an intent: a message is delivered if it is in new/ or in cur/ under its name,
 * with whatever flags a reader gave it.  What is left in tmp/ is removed.
 */
int maildir_repair(struct maildir *maildir, const struct intent *intent,
		   struct mbox_repair *repair_out, struct err *err);

#endif
