#include "mailbox/mbox_journal_format.h"

#include <string.h>

#include "mailbox/mutant.h"
#include "relay/base/crc32c.h"
#include "relay/base/cursor.h"
#include "relay/base/must.h"

enum {
	JOURNAL_VERSION = 2,
	BATCH_MAGIC = 0x424a4d43,       /* "CMJB" */
	SEEN_KEY_BYTES = INTENT_KEY_BYTES + 4,
	SEEN_HEAD_BYTES = 8 + 4 + 8 + 8,
};

static const char segment_magic[8] = { 'C', 'h', 'a', 'p', 'a', 'r', 'M', 'J' };
static const char seen_magic[8] = { 'C', 'h', 'a', 'p', 'a', 'r', 'M', 'S' };

static bool
take_magic(struct cursor *in, const char magic[8])
{
	return span_equal(cursor_take(in, 8), span_make(magic, 8)) &&
	    cursor_u32(in) == JOURNAL_VERSION;
}

void
journal_segment_head_encode(const struct journal_segment_head *head,
			    char block[JOURNAL_BLOCK_BYTES])
{
	struct buf out;
	struct span text;

	buf_init(&out, JOURNAL_BLOCK_BYTES);
	cursor_put(&out, span_make(segment_magic, sizeof(segment_magic)));
	cursor_put_u32(&out, JOURNAL_VERSION);
	cursor_put_u64(&out, head->node);
	cursor_put_u64(&out, head->number);
	cursor_put_u64(&out, head->salt);
	cursor_put_u64(&out, head->first_live);
	cursor_put_u64(&out, head->segment_bytes);
	text = buf_span(&out);
	cursor_put_u32(&out, crc32c(0, text.data, text.len));
	text = buf_span(&out);
	memset(block, 0, JOURNAL_BLOCK_BYTES);
	memcpy(block, text.data, text.len);
	buf_fini(&out);
}

uint32_t
journal_segment_version(struct span block)
{
	struct cursor in = cursor_init(block);
	bool is_segment = span_equal(cursor_take(&in, sizeof(segment_magic)),
				     span_make(segment_magic, sizeof(segment_magic)));
	uint32_t version = cursor_u32(&in);

	return is_segment && !cursor_failed(&in) ? version : 0;
}

bool
journal_version_is_known(uint32_t version)
{
	return version == JOURNAL_VERSION;
}

bool
journal_segment_head_decode(struct journal_segment_head *head, struct span block)
{
	struct cursor in = cursor_init(block);
	bool is_ours = take_magic(&in, segment_magic);

	head->node = cursor_u64(&in);
	head->number = cursor_u64(&in);
	head->salt = cursor_u64(&in);
	head->first_live = cursor_u64(&in);
	head->segment_bytes = cursor_u64(&in);

	size_t len = block.len - cursor_left(&in);

	return is_ours && !cursor_failed(&in) &&
	       cursor_u32(&in) == crc32c(0, block.data, len) && !cursor_failed(&in);
}

void
journal_batch_open(struct buf *batch)
{
	buf_clear(batch);
	(void)buf_append_repeat(batch, '\0', JOURNAL_BATCH_HEAD_BYTES);
}

void
journal_batch_put_intent(struct buf *batch, const struct intent *intent)
{
	size_t at;

	cursor_put_u8(batch, JOURNAL_INTENT);
	at = buf_len(batch);
	cursor_put_u32(batch, 0);
	intent_encode(intent, batch);
	must(!buf_overflowed(batch));
	cursor_patch_u32(batch, at, (uint32_t)(buf_len(batch) - at - 4));
}

void
journal_batch_put_end(struct buf *batch, const struct mbox_journal_end *end, int64_t wall_ms)
{
	cursor_put_u8(batch, JOURNAL_END);
	cursor_put_u32(batch, JOURNAL_END_BYTES);
	cursor_put_u64(batch, end->intent_id);
	cursor_put_u64(batch, end->delivered);
	cursor_put_i64(batch, wall_ms);
}

bool
journal_batch_is_empty(const struct buf *batch)
{
	return buf_len(batch) <= JOURNAL_BATCH_HEAD_BYTES;
}

/* Of the head without its checksum, and the payload. */
static uint32_t
batch_crc(struct span batch)
{
	const size_t before = JOURNAL_BATCH_HEAD_BYTES - 4;
	struct span payload = span_skip(batch, JOURNAL_BATCH_HEAD_BYTES);

	return crc32c(crc32c(0, batch.data, before), payload.data, payload.len);
}

void
journal_batch_close(struct buf *batch, const struct journal_segment_head *segment,
		    uint64_t sequence)
{
	size_t rest;

	cursor_patch_u32(batch, 0, BATCH_MAGIC);
	cursor_patch_u32(batch, 4, (uint32_t)(buf_len(batch) - JOURNAL_BATCH_HEAD_BYTES));
	cursor_patch_u64(batch, 8, segment->number);
	cursor_patch_u64(batch, 16, segment->salt);
	cursor_patch_u64(batch, 24, sequence);
	cursor_patch_u32(batch, 32, batch_crc(buf_span(batch)));
	rest = buf_len(batch) % JOURNAL_BLOCK_BYTES;
	if (rest > 0)
		(void)buf_append_repeat(batch, '\0', JOURNAL_BLOCK_BYTES - rest);
	must(!buf_overflowed(batch));
}

bool
journal_batch_decode(struct span octets, const struct journal_segment_head *segment,
		     struct span *payload, uint64_t *sequence, size_t *whole_bytes)
{
	struct cursor in = cursor_init(octets);
	bool is_batch = cursor_u32(&in) == BATCH_MAGIC;
	uint32_t bytes = cursor_u32(&in);
	bool is_of_segment = cursor_u64(&in) == segment->number;

	is_of_segment = cursor_u64(&in) == segment->salt && is_of_segment;
	*sequence = cursor_u64(&in);

	uint32_t crc = cursor_u32(&in);

	*payload = cursor_take(&in, bytes);
	if (mailbox_mutant(MAILBOX_MUTANT_NO_GENERATION))
		is_of_segment = true;
	if (cursor_failed(&in) || !is_batch || !is_of_segment)
		return false;

	size_t len = JOURNAL_BATCH_HEAD_BYTES + bytes;

	*whole_bytes = (len + JOURNAL_BLOCK_BYTES - 1) / JOURNAL_BLOCK_BYTES * JOURNAL_BLOCK_BYTES;
	return mailbox_mutant(MAILBOX_MUTANT_NO_BATCH_CHECKSUM) ||
	       batch_crc(span_first(octets, len)) == crc;
}

void
journal_seen_encode(uint64_t number, const struct journal_key *keys, size_t key_count,
		    struct buf *out)
{
	struct span text;

	cursor_put(out, span_make(seen_magic, sizeof(seen_magic)));
	cursor_put_u32(out, JOURNAL_VERSION);
	cursor_put_u64(out, number);
	cursor_put_u64(out, key_count);
	for (size_t i = 0; i < key_count; i++) {
		cursor_put(out, span_make(keys[i].key.bytes, INTENT_KEY_BYTES));
		cursor_put_u32(out, keys[i].seconds);
	}
	text = buf_span(out);
	cursor_put_u32(out, crc32c(0, text.data, text.len));
}

bool
journal_seen_decode(struct span file, void (*each)(void *ctx, const struct journal_key *key),
		    void *ctx)
{
	struct cursor in = cursor_init(file);
	bool is_ours = take_magic(&in, seen_magic);
	uint64_t count;

	(void)cursor_u64(&in);
	count = cursor_u64(&in);
	if (cursor_failed(&in) || !is_ours || count > JOURNAL_SEEN_KEYS_MAX ||
	    file.len != SEEN_HEAD_BYTES + count * SEEN_KEY_BYTES + 4 ||
	    cursor_load_u32(file.data + file.len - 4) != crc32c(0, file.data, file.len - 4))
		return false;
	for (uint64_t i = 0; i < count; i++) {
		struct journal_key key;

		cursor_copy(&in, key.key.bytes, INTENT_KEY_BYTES);
		key.seconds = cursor_u32(&in);
		each(ctx, &key);
	}
	return true;
}
