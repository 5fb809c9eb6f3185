/*
 * What a Maildir holds, by the file "maildirsize" that Maildir++ programs share: its first line
 * is the quota ("1000000S,500C"), every further line what was added or taken away ("BYTES COUNT").
 * It is counted anew when it is missing, long, tells another quota than ours, or says that the
 * box is full.  Messages in the trash do not count: the folder .Trash, and the flag T.
 *
 * Where the configuration sets no quota the one in the file holds; without both nothing is counted.
 * The file is an aid of its programs and no promise: failing to write it fails no delivery.
 *
 * Everything here blocks and is for a thread of the pool.
 */
#ifndef MAILBOX_MAILDIR_SIZE_H
#define MAILBOX_MAILDIR_SIZE_H

#include "mailbox/maildir.h"
#include "mailbox/quota.h"
#include "relay/base/err.h"

/* QUOTA is the configuration's; it gets the one that holds. */
int maildir_size_read(struct maildir *maildir, struct quota *quota, struct usage *usage_out,
		      struct err *err);

/* Count anew and write the file. */
int maildir_size_recount(struct maildir *maildir, const struct quota *quota,
			 struct usage *usage_out, struct err *err);

/* Note what was delivered. */
void maildir_size_add(struct maildir *maildir, uint64_t bytes, uint64_t messages);

#endif
