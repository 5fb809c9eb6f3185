/*
 * Looking for things in an mbox, in windows of bounded size whatever the size of the file.
 */
#ifndef MAILBOX_MBOX_SEARCH_H
#define MAILBOX_MBOX_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

#include "mailbox/intent.h"
#include "mailbox/mbox.h"
#include "relay/base/err.h"

/*
 * Where something that looks as a From_ line begins, from START on and before END: "From ", and on
 * the same line a day and a month as asctime() writes them.  It need not begin a line, because a
 * torn message may end before it; but one that is quoted is none.  END if there is none.
 */
int mbox_search_from_line(struct mbox *mbox, uint64_t start, uint64_t end, uint64_t *at_out,
			  struct err *err);

/*
 * Is the message of ENTRY anywhere among the last BYTES_MAX octets: its delivery id, and behind
 * the header that has it the whole body, octet for octet?
 */
int mbox_search_delivery(struct mbox *mbox, const struct intent_entry *entry, uint64_t bytes_max,
			 bool *found_out, struct err *err);

/* May a From_ line stand AT, so that every reader sees it: behind an empty line, or first? */
int mbox_search_is_start(struct mbox *mbox, uint64_t at, bool *is_out, struct err *err);

/* How many messages there are: From_ lines at the start or behind an empty line. */
int mbox_search_count(struct mbox *mbox, uint64_t *count_out, struct err *err);

/* The checksum of a part of the file. */
int mbox_search_sum(struct mbox *mbox, uint64_t start, uint64_t end, uint32_t *crc_out,
		    struct err *err);

#endif
