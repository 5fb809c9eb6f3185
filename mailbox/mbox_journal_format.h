/*
 * The journal on disk, version 2.  All numbers are little-endian.
 *
 * "lock"               held by the process that has the journal
 * "segment-NN"         slots; which segment is in one, its header says
 * "seen-NUMBER"        keys of the segments up to NUMBER, 16 hexadecimal digits
 * "bad-..."            files set aside because they could not be read
 *
 * A segment has a fixed size and was written once with zeros, so that a batch changes no size.  One
 * of another version is refused, and nothing is touched.
 *
 *	block 0         magic "ChaparMJ", u32 version, u64 node, u64 number, u64 salt,
 *	                u64 first_live, u64 segment_bytes, u32 CRC-32C of all before it
 *	batches         each begins a block of 4096 octets and is padded with zeros to the end of
 *	                one, so that no block that holds durable records is written again:
 *	                u32 magic, u32 payload bytes, u64 number, u64 salt, u64 sequence,
 *	                u32 CRC-32C of all before it and the payload; payload
 *	payload         records: u8 type, u32 bytes, body
 *	record 1        intent (intent.c)
 *	record 2        end: u64 intent id, u64 delivered (bit I: entry I), i64 wall clock in ms
 *
 * The number and the salt, new for each segment, keep old octets of a slot from being taken for
 * new ones.  Segments below the first_live of the highest number are dead.  A segment is used
 * only after its header is durable; the first of a process begins with the intents that are
 * carried over, and its header is written behind them, so that all of that is there or nothing.
 * A process never goes on with a segment of an earlier one.  A segment whose intents have all
 * ended is dead once its keys are durable in a "seen" file.
 *
 * A "seen" file: magic "ChaparMS", u32 version, u64 number, u64 count, count times (16 octets
 * key, u32 seconds since 1970), u32 CRC-32C of all before it.
 */
#ifndef MAILBOX_MBOX_JOURNAL_FORMAT_H
#define MAILBOX_MBOX_JOURNAL_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mailbox/intent.h"
#include "mailbox/mbox_journal.h"
#include "relay/base/buf.h"
#include "relay/base/span.h"

enum {
	JOURNAL_BLOCK_BYTES = 4096,
	JOURNAL_BATCH_HEAD_BYTES = 36,
	JOURNAL_RECORD_HEAD_BYTES = 5,
	JOURNAL_END_BYTES = 24,
	JOURNAL_BATCH_BYTES_MAX = JOURNAL_BLOCK_BYTES + JOURNAL_BATCH_HEAD_BYTES +
				  MBOX_JOURNAL_BATCH_INTENTS_MAX *
					  (JOURNAL_RECORD_HEAD_BYTES + INTENT_CODE_BYTES_MAX) +
				  MBOX_JOURNAL_BATCH_ENDS_MAX *
					  (JOURNAL_RECORD_HEAD_BYTES + JOURNAL_END_BYTES),
	JOURNAL_SEEN_KEYS_MAX = 1 << 20,        /* of one file */
};

enum journal_record_type {
	JOURNAL_INTENT = 1,
	JOURNAL_END = 2,
};

struct journal_segment_head {
	uint64_t node;
	uint64_t number;
	uint64_t salt;
	uint64_t first_live;
	uint64_t segment_bytes;
};

/* One block. */
void journal_segment_head_encode(const struct journal_segment_head *head,
				 char block_out[JOURNAL_BLOCK_BYTES]);
bool journal_segment_head_decode(struct journal_segment_head *head_out, struct span block);

/* The version of a block that begins as a segment of any version does; 0 if it does not. */
uint32_t journal_segment_version(struct span block);
bool journal_version_is_known(uint32_t version);

/*
 * A batch under construction: room for its head first, then records; journal_batch_close() fills
 * in the head and pads to whole blocks.
 */
void journal_batch_open(struct buf *batch);
void journal_batch_put_intent(struct buf *batch, const struct intent *intent);
void journal_batch_put_end(struct buf *batch, const struct mbox_journal_end *end,
			   int64_t wall_ms);
bool journal_batch_is_empty(const struct buf *batch);
void journal_batch_close(struct buf *batch, const struct journal_segment_head *segment,
			 uint64_t sequence);

/*
 * The batch at the front of OCTETS, which begin a block.  False if there is none.  The payload is
 * borrowed; the batch fills WHOLE_BYTES, whole blocks.
 */
bool journal_batch_decode(struct span octets, const struct journal_segment_head *segment,
			  struct span *payload_out, uint64_t *sequence_out,
			      size_t *whole_bytes_out);

/* A key as it is remembered. */
struct journal_key {
	struct intent_key key;
	uint32_t seconds;
};

void journal_seen_encode(uint64_t number, const struct journal_key *keys, size_t key_count,
			 struct buf *out);

/* False when it is damaged.  Calls each() for all keys, or for none. */
bool journal_seen_decode(struct span file, void (*each)(void *ctx, const struct journal_key *key),
			 void *ctx);

#endif
