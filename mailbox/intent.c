#include "mailbox/intent.h"

#include <string.h>

#include "relay/base/cursor.h"
#include "relay/base/digest.h"

enum { FLAG_DOT_LOCK = 1 };

struct intent_key
intent_key_make(struct span origin, struct span recipient)
{
	struct intent_key key;
	struct digest digest;
	uint8_t value[DIGEST_BYTES], len[4];

	cursor_store_u32(len, (uint32_t)origin.len);
	digest_init(&digest);
	digest_update(&digest, span_make(len, sizeof(len)));
	digest_update(&digest, origin);
	digest_update(&digest, recipient);
	digest_final(&digest, value);
	digest_fini(&digest);
	memcpy(key.bytes, value, sizeof(key.bytes));
	return key;
}

void
intent_encode(const struct intent *intent, struct buf *out)
{
	cursor_put_u64(out, intent->id);
	cursor_put_u8(out, (uint8_t)intent->kind);
	cursor_put_u8(out, intent->dot_lock ? FLAG_DOT_LOCK : 0);
	cursor_put_i64(out, intent->wall_ms);
	cursor_put_span_u16(out, intent->path);
	cursor_put_varint(out, intent->uid);
	cursor_put_span_u16(out, intent->name);
	cursor_put_u64(out, intent->device);
	cursor_put_u64(out, intent->inode);
	cursor_put_u64(out, intent->size_before);
	cursor_put_u64(out, intent->bytes);
	cursor_put_u32(out, intent->crc_chunk_bytes);
	cursor_put_varint(out, intent->crc_count);
	for (size_t i = 0; i < intent->crc_count; i++)
		cursor_put_u32(out, intent->crcs[i]);
	cursor_put_varint(out, intent->entry_count);
	for (size_t i = 0; i < intent->entry_count; i++) {
		const struct intent_entry *entry = &intent->entries[i];

		cursor_put_u8(out, entry->has_key);
		if (entry->has_key)
			cursor_put(out, span_make(entry->key.bytes, INTENT_KEY_BYTES));
		cursor_put_u64(out, entry->delivery_id);
		cursor_put_u32(out, entry->id_at);
		cursor_put_u64(out, entry->bytes);
		cursor_put_u64(out, entry->body_at);
		cursor_put_u64(out, entry->body_bytes);
		cursor_put_u32(out, entry->head_crc);
		cursor_put_u32(out, entry->body_crc);
		cursor_put_span_u16(out, entry->first);
	}
}

static void
decode_crcs(struct intent *intent, struct cursor *in, struct arena *arena)
{
	uint64_t count = cursor_varint(in);

	if (count > INTENT_CRC_COUNT_MAX) {
		cursor_fail(in);
		return;
	}

	uint32_t *crcs = arena_alloc_array(arena, (size_t)count + 1, sizeof(*crcs));

	for (size_t i = 0; i < count; i++)
		crcs[i] = cursor_u32(in);
	intent->crcs = crcs;
	intent->crc_count = (size_t)count;
}

static void
decode_entries(struct intent *intent, struct cursor *in, struct arena *arena)
{
	uint64_t count = cursor_varint(in);

	if (count > INTENT_ENTRY_COUNT_MAX) {
		cursor_fail(in);
		return;
	}

	struct intent_entry *entries = arena_alloc_array(arena, (size_t)count + 1,
							 sizeof(*entries));

	for (size_t i = 0; i < count; i++) {
		entries[i].has_key = cursor_u8(in) != 0;
		if (entries[i].has_key)
			cursor_copy(in, entries[i].key.bytes, INTENT_KEY_BYTES);
		entries[i].delivery_id = cursor_u64(in);
		entries[i].id_at = cursor_u32(in);
		entries[i].bytes = cursor_u64(in);
		entries[i].body_at = cursor_u64(in);
		entries[i].body_bytes = cursor_u64(in);
		entries[i].head_crc = cursor_u32(in);
		entries[i].body_crc = cursor_u32(in);
		entries[i].first = cursor_take_u16(in);
	}
	intent->entries = entries;
	intent->entry_count = (size_t)count;
}

enum { LEAD_BYTES_MAX = 2, TAIL_BYTES_MAX = 2 };

static bool
entry_makes_sense(const struct intent_entry *entry)
{
	uint64_t end;

	return !__builtin_add_overflow(entry->body_at, entry->body_bytes, &end) &&
	       end <= entry->bytes && entry->bytes - end <= TAIL_BYTES_MAX &&
	       entry->first.len <= INTENT_FIRST_BYTES && entry->first.len <= entry->bytes;
}

/* Are the messages the append, but for what stands before the first? */
static bool
entries_make_sense(const struct intent *intent)
{
	uint64_t left = intent->bytes;

	for (size_t i = 0; i < intent->entry_count; i++) {
		if (!entry_makes_sense(&intent->entries[i]) || intent->entries[i].bytes > left)
			return false;
		left -= intent->entries[i].bytes;
	}
	return intent->entry_count > 0 && left <= LEAD_BYTES_MAX;
}

/* Do the pieces fit the append, so that who uses them need not look? */
static bool
makes_sense(const struct intent *intent)
{
	uint64_t end;

	if (intent->path.len == 0 || intent->path.data[0] != '/' ||
	    intent->path.len > INTENT_PATH_BYTES_MAX ||
	    memchr(intent->path.data, '\0', intent->path.len) != NULL)
		return false;
	if (intent->kind == INTENT_MAILDIR)
		return intent->name.len > 0 && intent->name.len <= INTENT_NAME_BYTES_MAX &&
		       memchr(intent->name.data, '/', intent->name.len) == NULL &&
		       memchr(intent->name.data, '\0', intent->name.len) == NULL;
	if (intent->kind != INTENT_MBOX || intent->bytes == 0 ||
	    intent->crc_chunk_bytes < INTENT_CRC_CHUNK_BYTES_MIN ||
	    __builtin_add_overflow(intent->size_before, intent->bytes, &end) ||
	    !entries_make_sense(intent))
		return false;
	return intent->crc_count == (end - 1) / intent->crc_chunk_bytes -
				    intent->size_before / intent->crc_chunk_bytes + 1;
}

int
intent_decode(struct intent *intent, struct span code, struct arena *arena, struct err *err)
{
	struct cursor in = cursor_init(code);

	*intent = (struct intent){ .id = cursor_u64(&in) };
	intent->kind = (enum intent_kind)cursor_u8(&in);
	intent->dot_lock = (cursor_u8(&in) & FLAG_DOT_LOCK) != 0;
	intent->wall_ms = cursor_i64(&in);
	intent->path = cursor_take_u16(&in);
	intent->uid = cursor_varint(&in);
	intent->name = cursor_take_u16(&in);
	intent->device = cursor_u64(&in);
	intent->inode = cursor_u64(&in);
	intent->size_before = cursor_u64(&in);
	intent->bytes = cursor_u64(&in);
	intent->crc_chunk_bytes = cursor_u32(&in);
	decode_crcs(intent, &in, arena);
	decode_entries(intent, &in, arena);
	if (!cursor_ended_well(&in) || !makes_sense(intent))
		return err_set(err, ERR_FORMAT, "this is no intent of a delivery");
	return 0;
}

struct intent
intent_copy(const struct intent *intent, struct arena *arena)
{
	struct intent copy = *intent;
	uint32_t *crcs = arena_alloc_array(arena, intent->crc_count + 1, sizeof(*crcs));
	struct intent_entry *entries = arena_alloc_array(arena, intent->entry_count + 1,
							 sizeof(*entries));

	if (intent->crc_count > 0)
		memcpy(crcs, intent->crcs, intent->crc_count * sizeof(*crcs));
	if (intent->entry_count > 0)
		memcpy(entries, intent->entries, intent->entry_count * sizeof(*entries));
	copy.path = arena_dup(arena, intent->path);
	copy.name = arena_dup(arena, intent->name);
	for (size_t i = 0; i < intent->entry_count; i++)
		entries[i].first = arena_dup(arena, intent->entries[i].first);
	copy.crcs = crcs;
	copy.entries = entries;
	return copy;
}

uint64_t
intent_lead_bytes(const struct intent *intent)
{
	uint64_t bytes = intent->bytes;

	for (size_t i = 0; i < intent->entry_count; i++)
		bytes -= intent->entries[i].bytes;
	return bytes;
}

uint64_t
intent_piece_start(const struct intent *intent, size_t index)
{
	if (index == 0)
		return intent->size_before;
	return (intent->size_before / intent->crc_chunk_bytes + index) * intent->crc_chunk_bytes;
}

uint64_t
intent_piece_end(const struct intent *intent, size_t index)
{
	if (index + 1 >= intent->crc_count)
		return intent->size_before + intent->bytes;
	return intent_piece_start(intent, index + 1);
}
