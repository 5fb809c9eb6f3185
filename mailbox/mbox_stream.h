/*
 * The octets of an append to an mbox, in pieces: what closes a foreign last line, then message
 * after message, each with its head, its body quoted, and the blank line behind it.  Pieces
 * borrow from heads, letters and constants; letters that lie in a file are read in windows.
 */
#ifndef MAILBOX_MBOX_STREAM_H
#define MAILBOX_MBOX_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mailbox/intent.h"
#include "mailbox/letter.h"
#include "mailbox/mbox_quote.h"
#include "relay/base/err.h"
#include "relay/base/span.h"

struct mbox_message {
	struct span head;               /* with its From_ line; lines end in LF */
	const struct letter *letter;    /* sealed */
	uint64_t delivery_id;
	uint32_t id_at;                 /* where the head has it printed */
	bool has_key;
	struct intent_key key;          /* for the intent */
};

/* Octets of the message in the file. */
uint64_t mbox_message_bytes(const struct mbox_message *message);

/* Of them, those that part it from the next message. */
size_t mbox_message_tail_bytes(const struct mbox_message *message);

struct mbox_stream {
	const struct mbox_message *messages;
	size_t message_count;
	struct span lead;
	size_t at;                      /* private from here on */
	enum { MBOX_STREAM_LEAD, MBOX_STREAM_HEAD, MBOX_STREAM_BODY, MBOX_STREAM_TAIL } stage;
	struct letter_reader reader;
	struct mbox_quote quote;
	struct span text;
	bool quotes;                    /* this letter has lines to quote */
};

/* All is borrowed. */
void mbox_stream_init(struct mbox_stream *stream, struct span lead,
		      const struct mbox_message *messages, size_t message_count);
void mbox_stream_fini(struct mbox_stream *stream);

/* The next piece, empty at the end of all. */
int mbox_stream_next(struct mbox_stream *stream, struct span *piece_out, struct err *err);

/* Will the next piece take the place of earlier ones, which must be used before? */
bool mbox_stream_will_overwrite(const struct mbox_stream *stream);

#endif
