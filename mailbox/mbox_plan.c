#include "mailbox/mbox.h"

#include <string.h>

#include "relay/base/crc32c.h"
#include "relay/base/must.h"

/*
 * The append streams by once, and an intent is made of it: checksums of its pieces, and of each
 * message the first octets, where its body begins, and checksums of both parts.
 */
struct plan {
	struct intent *intent;
	struct intent_entry *entries;
	uint32_t *crcs;
	size_t piece;
	uint64_t at;                    /* in the file */
	uint64_t lead_left;
	size_t entry;
	uint64_t entry_at;              /* in the message */
	bool in_body;
	bool at_line_start;
	char (*firsts)[INTENT_FIRST_BYTES];
};

static void
sum_pieces(struct plan *plan, struct span text)
{
	while (text.len > 0) {
		uint64_t left = intent_piece_end(plan->intent, plan->piece) - plan->at;
		size_t len = text.len < left ? text.len : (size_t)left;

		plan->crcs[plan->piece] = crc32c(plan->crcs[plan->piece], text.data, len);
		plan->at += len;
		text = span_skip(text, len);
		if (len == left && plan->piece + 1 < plan->intent->crc_count)
			plan->piece++;
		else
			must(text.len == 0);
	}
}

/* How much of TEXT is still header: up to and with its empty line, if that is here. */
static size_t
header_part(struct plan *plan, struct span text)
{
	size_t at = 0;

	while (at < text.len) {
		const char *lf = memchr(text.data + at, '\n', text.len - at);
		bool is_empty = plan->at_line_start && text.data[at] == '\n';

		plan->at_line_start = lf != NULL;
		at = lf == NULL ? text.len : (size_t)(lf - text.data) + 1;
		if (is_empty) {
			plan->in_body = true;
			break;
		}
	}
	return at;
}

static void
keep_first(struct plan *plan, struct intent_entry *entry, struct span text)
{
	char *room = plan->firsts[plan->entry];
	size_t len = entry->first.len;
	struct span part = span_first(text, INTENT_FIRST_BYTES - len);

	memcpy(room + len, part.data, part.len);
	entry->first = span_make(room, len + part.len);
}

/* A part of one message; what parts it from the next one, the last TAIL octets, is no body. */
static void
take_of_message(struct plan *plan, struct span text, uint64_t tail)
{
	struct intent_entry *entry = &plan->entries[plan->entry];

	keep_first(plan, entry, text);
	if (!plan->in_body) {
		struct span header = span_first(text, header_part(plan, text));

		entry->head_crc = crc32c(entry->head_crc, header.data, header.len);
		entry->body_at += header.len;
		plan->entry_at += header.len;
		text = span_skip(text, header.len);
	}
	if (plan->in_body && entry->body_at + tail < entry->bytes)
		entry->body_bytes = entry->bytes - tail - entry->body_at;

	uint64_t body_end = entry->body_at + entry->body_bytes;
	uint64_t left = body_end > plan->entry_at ? body_end - plan->entry_at : 0;
	struct span body = span_first(text, left < text.len ? (size_t)left : text.len);

	entry->body_crc = crc32c(entry->body_crc, body.data, body.len);
	plan->entry_at += text.len;
}

static void
begin_message(struct plan *plan, size_t index)
{
	plan->entry = index;
	plan->entry_at = 0;
	plan->in_body = false;
	plan->at_line_start = true;
}

static void
take(struct plan *plan, const struct mbox_message *messages, struct span text)
{
	size_t lead = text.len < plan->lead_left ? text.len : (size_t)plan->lead_left;

	sum_pieces(plan, text);
	plan->lead_left -= lead;
	text = span_skip(text, lead);
	while (text.len > 0) {
		uint64_t left = plan->entries[plan->entry].bytes - plan->entry_at;
		size_t len = text.len < left ? text.len : (size_t)left;

		take_of_message(plan, span_first(text, len),
				mbox_message_tail_bytes(&messages[plan->entry]));
		text = span_skip(text, len);
		if (len == left)
			begin_message(plan, plan->entry + 1);
	}
}

/* Pieces as small as a sector, and never more than fit an intent. */
static uint32_t
crc_chunk_bytes(uint64_t bytes)
{
	uint64_t sectors = bytes / (INTENT_CRC_COUNT_MAX - 2) / INTENT_CRC_CHUNK_BYTES_MIN + 1;

	return (uint32_t)(sectors * INTENT_CRC_CHUNK_BYTES_MIN);
}

/* All but what needs the octets. */
static void
describe(struct plan *plan, const struct mbox *mbox, const struct mbox_message *messages,
	 size_t message_count, struct arena *arena)
{
	struct intent *intent = plan->intent;

	plan->entries = arena_alloc_array(arena, message_count, sizeof(*plan->entries));
	intent->bytes = mbox->lead.len;
	for (size_t i = 0; i < message_count; i++) {
		plan->entries[i] = (struct intent_entry){
			.delivery_id = messages[i].delivery_id,
			.id_at = messages[i].id_at,
			.has_key = messages[i].has_key,
			.key = messages[i].key,
			.bytes = mbox_message_bytes(&messages[i]),
		};
		intent->bytes += plan->entries[i].bytes;
	}
	intent->entries = plan->entries;
	intent->entry_count = message_count;
	intent->crc_chunk_bytes = crc_chunk_bytes(intent->bytes);
	intent->crc_count = (size_t)((intent->size_before + intent->bytes - 1) /
					     intent->crc_chunk_bytes -
				     intent->size_before / intent->crc_chunk_bytes + 1);
	must(intent->crc_count <= INTENT_CRC_COUNT_MAX);
	plan->crcs = arena_alloc_array(arena, intent->crc_count, sizeof(uint32_t));
	plan->firsts = arena_alloc_array(arena, message_count, sizeof(*plan->firsts));
	intent->crcs = plan->crcs;
}

int
mbox_plan(const struct mbox *mbox, const struct mbox_message *messages, size_t message_count,
	  int64_t wall_ms, struct arena *arena, struct intent *intent, struct err *err)
{
	struct plan plan = {
		.intent = intent,
		.at = mbox->stat.size,
		.lead_left = mbox->lead.len,
	};
	struct mbox_stream stream;
	struct span piece;
	int result;

	must(message_count > 0 && message_count <= INTENT_ENTRY_COUNT_MAX);
	*intent = (struct intent){
		.kind = INTENT_MBOX,
		.wall_ms = wall_ms,
		.path = arena_dup(arena, span_from_cstr(mbox->settings->path)),
		.uid = mbox->settings->uid,
		.dot_lock = mbox->settings->lock.dot_lock,
		.device = mbox->stat.device,
		.inode = mbox->stat.inode,
		.size_before = mbox->stat.size,
	};
	describe(&plan, mbox, messages, message_count, arena);
	begin_message(&plan, 0);
	mbox_stream_init(&stream, mbox->lead, messages, message_count);
	while ((result = mbox_stream_next(&stream, &piece, err)) == 0 && piece.len > 0)
		take(&plan, messages, piece);
	mbox_stream_fini(&stream);
	must(result < 0 || plan.at == intent->size_before + intent->bytes);
	return result;
}
