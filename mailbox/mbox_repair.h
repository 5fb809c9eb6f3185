/*
 * After a crash, or an append that could not be undone: what became of an intent?
 *
 * With the mbox open and locked, the octets behind its old size are compared with the intent:
 *   - all there: delivered;
 *   - none: not delivered;
 *   - the beginning is ours (or was never written: zeros) and no other program's message stands
 *     behind it: a torn append, which is cut off, durably; not delivered;
 *   - otherwise others have been at work: nothing is changed.  If the file is as we left it, a
 *     message counts as delivered if every octet of it is there; if it was rewritten, if its
 *     delivery id is found in the file and the message that has it is not shorter than ours.
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
