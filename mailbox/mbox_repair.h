/*
 * After a crash, or an append that could not be undone: what became of an intent?
 *
 * Between the append and now, readers may have moved, changed and expunged messages and other
 * programs may have added some, and what was answered 250 may be among it, because ends of
 * intents are made durable late.  So, with the mbox open and locked:
 *   - a message is delivered if it is whole at its place, by its checksums, or if its delivery id
 *     is found in the file with its whole body behind it;
 *   - what lies behind the last whole message at its place is cut off, durably, if it is provably
 *     a torn part of our append and the end of the file: it begins as ours, its pieces have our
 *     checksums but for the last one and such as a disk never got (zeros), and no From_ line of
 *     another program stands where nothing is proven;
 *   - nothing else is changed.  A whole message is never cut off.
 */
#ifndef MAILBOX_MBOX_REPAIR_H
#define MAILBOX_MBOX_REPAIR_H

#include <stdbool.h>
#include <stddef.h>

#include "mailbox/intent.h"
#include "mailbox/mbox.h"
#include "relay/base/err.h"

enum {
	/* From the end of a file that others rewrote, so much is searched. */
	MBOX_REPAIR_SEARCH_BYTES_MAX = 1 << 30,
};

struct mbox_repair {
	bool delivered[INTENT_ENTRY_COUNT_MAX];         /* by entry */
	bool cut;                       /* a torn append was cut off */
	bool left;                      /* a torn one had to be left: others wrote behind it */
	bool searched;                  /* the file had been rewritten */
};

/* On -1 the intent stays open.  On success the mbox may be appended to: its state is read anew. */
int mbox_repair(struct mbox *mbox, const struct intent *intent, struct mbox_repair *repair_out,
		struct err *err);

#endif
