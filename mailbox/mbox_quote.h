/*
 * mboxrd quoting: a line that is any number of '>' (none, too) followed by "From " gets one '>'
 * more, so that no line of a message is taken for the beginning of the next, and a reader that
 * takes one '>' away has the message as it was.
 *
 * A stream in pieces: text may be cut anywhere.  Nothing is copied; what is put in, and the at
 * most four octets that had to be held back at a cut, come as constants.  A plain value.
 */
#ifndef MAILBOX_MBOX_QUOTE_H
#define MAILBOX_MBOX_QUOTE_H

#include "relay/base/span.h"

#include <stdbool.h>
#include <stddef.h>

struct mbox_quote {
	bool in_line;           /* private: behind the part of a line that decides */
	unsigned held;          /* private: octets of "From " that ended the text before */
};

/* The text begins at the start of a line; its lines end in LF. */
void mbox_quote_init(struct mbox_quote *quote);

/*
 * The next piece of the quoted form of TEXT, which must not be empty; the piece may be.  Returns
 * how many octets of the text are dealt with.  The piece is a part of the text or a constant.
 */
size_t mbox_quote_next(struct mbox_quote *quote, struct span text, struct span *piece_out);

/* What was held back when the text ended. */
struct span mbox_quote_end(struct mbox_quote *quote);

/* Whether a piece is one in which a '>' was put in. */
bool mbox_quote_is_added(struct span piece);

#endif
