/*
 * The body of a message on its way into boxes: what DATA or BDAT brought, with LF line ends.
 *
 * While it arrives it belongs to the session's thread, in memory up to a bound, then in a file
 * without a name.  The session's thread writes no files: when letter_must_spill() says so it
 * feeds no more and lets a thread of the pool call letter_spill().  After letter_seal() nobody
 * changes it, any thread may read it, and the last holder frees it.
 */
#ifndef MAILBOX_LETTER_H
#define MAILBOX_LETTER_H

#include "mailbox/mbox_quote.h"
#include "relay/base/err.h"
#include "relay/base/span.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	LETTER_CHUNK_BYTES = 64 * 1024,
	LETTER_SPILL_BYTES = 1024 * 1024,       /* in memory at most, of one letter */
	LETTER_SPILL_BYTES_MIN = LETTER_CHUNK_BYTES,    /* where the budget is used up */
	LETTER_HEADER_BYTES_MAX = LETTER_CHUNK_BYTES,   /* what letter_header() can show */
};

/* Memory that all letters of a node share. */
struct letter_budget {
	atomic_size_t bytes;
	size_t bytes_max;
};

struct letter;

/* The budget is borrowed. */
struct letter *letter_new(struct letter_budget *budget);
struct letter *letter_hold(struct letter *letter);

/* Accepts an empty pointer and leaves one behind.  Any thread. */
void letter_release(struct letter **letter);

/*
 * Add octets in wire form: lines end in CRLF and CR stands nowhere else, as the engine promises.
 * Returns how many were taken: fewer when the letter must be spilled first.
 */
size_t letter_append(struct letter *letter, struct span wire);
bool letter_must_spill(const struct letter *letter);

/*
 * Move what is in memory to a file in DIRECTORY_FD.  Blocks.  On -1 the letter can only be
 * released.
 */
int letter_spill(struct letter *letter, int directory_fd, struct err *err);

void letter_seal(struct letter *letter);

/* The octets with LF line ends, as they came; and with what mboxrd quoting adds. */
uint64_t letter_bytes(const struct letter *letter);
uint64_t letter_quoted_bytes(const struct letter *letter);

/* The octets with CRLF line ends. */
uint64_t letter_wire_bytes(const struct letter *letter);

/* Empty letters do. */
bool letter_ends_in_lf(const struct letter *letter);

/* The beginning, where the header is; at most LETTER_HEADER_BYTES_MAX octets. */
struct span letter_header(const struct letter *letter);

/* Octets of it held in memory. */
size_t letter_memory_bytes(const struct letter *letter);

/* Reading a sealed letter from the front; every reader is a value of its own. */
struct letter_reader {
	const struct letter *letter;
	uint64_t offset;                /* next octet to be given */
	size_t chunk;                   /* private */
	char *window;                   /* private: for what is in the file */
};

void letter_reader_init(struct letter_reader *reader, const struct letter *letter);
void letter_reader_fini(struct letter_reader *reader);

/* The next octets, valid until the next call; empty at the end.  Blocks if they are in a file. */
int letter_read(struct letter_reader *reader, struct span *text_out, struct err *err);

#endif
