#ifndef QUEUE_RECORD_H
#define QUEUE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/buf.h"
#include "relay/base/digest.h"
#include "relay/base/err.h"
#include "relay/base/span.h"

/* Octets of the log: see the head of record.c for the format.  Pure. */
#define RECORD_FORMAT_VERSION 1
#define RECORD_BLOCK_BYTES 4096
#define RECORD_HEADER_BYTES 40
#define RECORD_ALIGN 8
#define RECORD_MAGIC ((uint32_t)0x31526843)     /* "ChR1" */
#define RECORD_PAYLOAD_BYTES_MAX ((uint32_t)64 << 20)

enum record_type {
	RECORD_BATCH = 1,
	RECORD_CHUNK = 2,
	RECORD_MESSAGE = 3,
	RECORD_STATE = 4,
	RECORD_DONE = 5,
	RECORD_FREE = 6,
	RECORD_MANIFEST = 7,
	RECORD_DEAD = 8,
	RECORD_INDEX = 9,
	RECORD_PARTIAL = 10,
	RECORD_TRANSACTION = 11,
	RECORD_FLOOR = 12,
	RECORD_TYPE_MAX = 12,
};

/* What a checksum is bound to: one life of one slot. */
struct segment_mark {
	uint64_t number;                /* 0: no segment */
	uint64_t salt;
};

struct record_header {
	enum record_type type;
	uint32_t sequence;
	uint64_t id;
	uint32_t payload_bytes;
	uint32_t payload_crc;
};

/* Header, payload and padding. */
static inline uint64_t
record_bytes(uint64_t payload_bytes)
{
	return RECORD_HEADER_BYTES +
	    (payload_bytes + RECORD_ALIGN - 1) / RECORD_ALIGN * RECORD_ALIGN;
}

static inline uint64_t
record_block_align(uint64_t bytes)
{
	return (bytes + RECORD_BLOCK_BYTES - 1) / RECORD_BLOCK_BYTES * RECORD_BLOCK_BYTES;
}

void record_header_write(const struct record_header *header, struct segment_mark mark,
    char out[RECORD_HEADER_BYTES]);

/* Whether a header can begin here at all; four octets are looked at. */
static inline bool
record_may_begin(const char *at)
{
	return at[0] == 'C' && at[1] == 'h' && at[2] == 'R' && at[3] == '1';
}

/* False unless everything matches: magic, salt, bounds, checksum with the number. */
bool record_header_read(struct record_header *header_out, struct segment_mark mark,
    const char in[RECORD_HEADER_BYTES]);

bool record_payload_matches(const struct record_header *header, struct span payload);

const char *record_type_name(enum record_type type);

/* ---- the head of a segment ---------------------------------------------- */

struct segment_header {
	struct segment_mark mark;       /* number 0: a slot without a segment */
	uint64_t node_id;
	uint64_t capacity;              /* octets of the slot, header included */
	int64_t created_wall_ms;
};

void segment_header_write(const struct segment_header *header, char out[RECORD_BLOCK_BYTES]);

/* ERR_DAMAGED: not one; ERR_UNSUPPORTED: of a newer version. */
int segment_header_read(struct segment_header *header_out, const char in[RECORD_BLOCK_BYTES],
    struct err *err);

/* ---- payloads ------------------------------------------------------------ */

struct batch {
	uint64_t sequence;
	uint32_t bytes;                 /* of the batch, this record and padding included */
	uint32_t record_count;          /* without this one */
	uint64_t vouch_number;          /* this segment is durable ... */
	uint64_t vouch_end;             /* ... up to here */
	uint64_t queue_ms;              /* the queue's own clock */
	int64_t wall_ms;
	uint64_t id_floor;              /* every id given so far is at most this */
	uint64_t number;                /* of the segment, should its head be lost */
};

#define BATCH_PAYLOAD_BYTES 64
#define BATCH_RECORD_BYTES (RECORD_HEADER_BYTES + BATCH_PAYLOAD_BYTES)

void batch_write(const struct batch *batch, char out[BATCH_PAYLOAD_BYTES]);
bool batch_read(struct batch *batch_out, struct span payload);

/*
 * Which segment a batch is of, from its first BATCH_RECORD_BYTES octets alone:
 * for a slot whose head is damaged.
 */
bool batch_identify(const char in[BATCH_RECORD_BYTES], struct segment_mark *mark_out);

/* One live segment in a manifest, and one that a FREE or a DEAD names. */
struct manifest_entry {
	struct segment_mark mark;
	uint32_t slot;
	uint64_t end;                   /* durable up to here, and nothing behind counts */
	uint64_t footer;                /* offset of its index batch; 0: none */
};

#define MANIFEST_ENTRY_BYTES 36

void manifest_put(struct buf *out, const struct manifest_entry *entries, size_t count);

/* The number of entries, or -1 when the payload is none. */
ptrdiff_t manifest_count(struct span payload);
void manifest_get(struct span payload, size_t at, struct manifest_entry *entry_out);

#define MARK_PAYLOAD_BYTES 16

void mark_write(struct segment_mark mark, char out[MARK_PAYLOAD_BYTES]);
bool mark_read(struct segment_mark *mark_out, struct span payload);

/* DEAD: bit n says that the message with ordinal n of that segment is settled or moved. */
void dead_put(struct buf *out, struct segment_mark mark, const uint8_t *bits, uint32_t bit_count);
bool dead_read(struct span payload, struct segment_mark *mark_out, struct span *bits_out,
    uint32_t *bit_count_out);

/* The commit record of a message. */
struct message_record {
	uint32_t chunk_count;
	uint64_t body_bytes;
	uint8_t digest[DIGEST_BYTES];
	uint64_t accepted_ms;           /* by the queue's own clock */
	struct span transid, owner, reply;
	uint64_t parent_id;             /* of a notification: whose mark this record is too */
	uint32_t parent_revision;
	bool parent_done;
	struct span parent_state;
	struct span envelope;
};

void message_record_put(struct buf *out, const struct message_record *record);
bool message_record_read(struct message_record *record_out, struct span payload);

#endif
