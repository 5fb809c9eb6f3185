/*
 * What a box worker is about to do to one box, as the journal keeps it: enough to say after a
 * crash whether it was done, and to undo the half of it.
 *
 * A plain description; the worker makes it, the journal writes and reads it, the repair compares
 * it with what is in the box.
 */
#ifndef MAILBOX_INTENT_H
#define MAILBOX_INTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/arena.h"
#include "relay/base/buf.h"
#include "relay/base/err.h"
#include "relay/base/span.h"

enum {
	INTENT_KEY_BYTES = 16,
	INTENT_FIRST_BYTES = 128,               /* of a message: its From_ line and more */
	INTENT_CRC_COUNT_MAX = 256 + 2,
	INTENT_CRC_CHUNK_BYTES_MIN = 512,       /* a sector: what a disk writes whole */
	INTENT_ENTRY_COUNT_MAX = 64,
	INTENT_PATH_BYTES_MAX = 4096,
	INTENT_NAME_BYTES_MAX = 255,
	/* Of one in the journal. */
	INTENT_CODE_BYTES_MAX = 256 + INTENT_PATH_BYTES_MAX + INTENT_NAME_BYTES_MAX +
				4 * INTENT_CRC_COUNT_MAX +
				(72 + INTENT_FIRST_BYTES) * INTENT_ENTRY_COUNT_MAX,
};

/*
 * A delivery as it is remembered: the first half of the digest of origin id and recipient as
 * given.  Empty (has_key false) for messages that came without an origin id.
 */
struct intent_key {
	uint8_t bytes[INTENT_KEY_BYTES];
};

struct intent_key intent_key_make(struct span origin, struct span recipient);

enum intent_kind {
	INTENT_MBOX = 1,                /* an append to a file */
	INTENT_MAILDIR = 2,             /* a file that appears in a directory */
};

/*
 * One message of an append.  Readers move messages and change their headers, but never a body: so
 * the body has a checksum of its own, by which the message is known wherever it is.
 */
struct intent_entry {
	bool has_key;
	struct intent_key key;
	uint64_t delivery_id;           /* printed in its Received field: unique */
	uint32_t id_at;                 /* where it is printed, from the message's first octet */
	uint64_t bytes;                 /* of it in the file, all of it */
	uint64_t body_at;               /* behind the empty line, from its first octet */
	uint64_t body_bytes;            /* without what parts it from the next message */
	uint32_t head_crc;              /* CRC-32C of all before the body */
	uint32_t body_crc;
	struct span first;              /* its first octets, INTENT_FIRST_BYTES at most */
};

struct intent {
	uint64_t id;                    /* set by the journal */
	enum intent_kind kind;
	int64_t wall_ms;
	struct span path;               /* of the file, or of the Maildir */
	uint64_t uid;                   /* who must own it */
	bool dot_lock;
	struct span name;               /* Maildir: of the file in new/ */

	/* mbox: the file as it was, and what is added to it. */
	uint64_t device;
	uint64_t inode;
	uint64_t size_before;
	uint64_t bytes;
	uint32_t crc_chunk_bytes;       /* pieces end at multiples of this in the file */
	const uint32_t *crcs;           /* CRC-32C of each piece */
	size_t crc_count;

	const struct intent_entry *entries;
	size_t entry_count;
};

/* Append the coded form; sticky overflow of OUT is the one failure. */
void intent_encode(const struct intent *intent, struct buf *out);

/* What is borrowed points into CODE; the arrays are made in ARENA. */
int intent_decode(struct intent *intent_out, struct span code, struct arena *arena,
		  struct err *err);

/* Of what stands before the first message: LFs that complete what another program left. */
uint64_t intent_lead_bytes(const struct intent *intent);

/* A copy that lives in ARENA. */
struct intent intent_copy(const struct intent *intent, struct arena *arena);

/* Where piece INDEX of the append begins in the file, and where it ends. */
uint64_t intent_piece_start(const struct intent *intent, size_t index);
uint64_t intent_piece_end(const struct intent *intent, size_t index);

#endif
