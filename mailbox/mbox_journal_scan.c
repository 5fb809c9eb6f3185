#include "mailbox/mbox_journal_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mailbox/mutant.h"
#include "relay/base/cursor.h"
#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

/* A slot with a segment in it, as its header says. */
struct slot {
	unsigned number;
	struct journal_segment_head head;
};

struct scan {
	struct mbox_journal *journal;
	const struct mbox_journal_found *found;
	struct arena *arena;
	struct intent **intents;        /* every intent read, also ended ones */
	size_t intent_count;
	size_t intent_capacity;
	struct journal_keys *keys;      /* of what the segments say was delivered */
	struct slot slots[MBOX_JOURNAL_SEGMENTS_MAX];
	size_t slot_count;
	uint32_t strange_version;       /* of a segment that another release made; 0: none */
	char (*seen)[DISK_NAME_BYTES_MAX];
	size_t seen_count;
	size_t seen_capacity;
	uint32_t oldest_seconds;        /* of a key that is still wanted */
	uint32_t file_newest_seconds;
};

/* ------------------------------------------------------------ names and heads */

static void
add_name(void *ctx, const char *name)
{
	struct scan *scan = ctx;
	struct span digits = span_from_cstr(name), before;
	uint64_t number;

	if (!span_split(digits, '-', &before, &digits) || !span_equal_cstr(before, "seen") ||
	    digits.len != 16 || !span_parse_hex(digits, &number))
		return;
	if (scan->seen_count == scan->seen_capacity) {
		scan->seen_capacity = scan->seen_capacity ? 2 * scan->seen_capacity : 64;
		scan->seen = mem_resize_array(scan->seen, scan->seen_capacity,
					      sizeof(*scan->seen));
	}
	(void)snprintf(scan->seen[scan->seen_count++], DISK_NAME_BYTES_MAX, "%s", name);
	if (number >= scan->journal->next_number)
		scan->journal->next_number = number + 1;
}

static int
compare_slots(const void *a, const void *b)
{
	const struct slot *left = a, *right = b;

	return (left->head.number > right->head.number) - (left->head.number < right->head.number);
}

static void
read_slot(struct scan *scan, unsigned number)
{
	struct disk *disk = scan->journal->disk;
	char name[DISK_NAME_BYTES_MAX], block[JOURNAL_BLOCK_BYTES];
	struct slot *slot = &scan->slots[scan->slot_count];
	int file = -1;
	size_t got = 0;

	journal_slot_name(number, name);
	if (disk_open(disk, name, DISK_OPEN_READ, &file, NULL) < 0)
		return;
	if (disk_read(disk, file, block, sizeof(block), 0, &got, NULL) == 0) {
		uint32_t version = journal_segment_version(span_make(block, got));

		if (version != 0 && !journal_version_is_known(version)) {
			scan->strange_version = version;
		} else if (journal_segment_head_decode(&slot->head, span_make(block, got))) {
			slot->number = number;
			scan->slot_count++;
		}
	}
	disk_close(disk, &file);
}

/*
 * The newest header says which segments are dead, and their slots will be written to.  It may be in
 * memory only: its process was killed before the sync returned, or the sync failed, and then the
 * next one would lie.  So it is written once more, octet for octet, before it is synced and
 * believed.
 */
static int
make_sure_of_newest(struct scan *scan, struct err *err)
{
	struct disk *disk = scan->journal->disk;
	const struct slot *newest = &scan->slots[scan->slot_count - 1];
	char name[DISK_NAME_BYTES_MAX], block[JOURNAL_BLOCK_BYTES];
	struct iovec vector = { .iov_base = block, .iov_len = sizeof(block) };
	int file = -1, result;

	if (mailbox_mutant(MAILBOX_MUTANT_BELIEVE_HEADER))
		return 0;
	journal_slot_name(newest->number, name);
	journal_segment_head_encode(&newest->head, block);
	result = disk_open(disk, name, DISK_OPEN_WRITE, &file, err);
	if (result == 0)
		result = disk_write(disk, file, &vector, 1, 0, DISK_WRITE_SYNC, err);
	disk_close(disk, &file);
	return result;
}

/* Every segment that is there, oldest first, without the dead ones. */
static int
read_slots(struct scan *scan, struct err *err)
{
	struct mbox_journal *journal = scan->journal;
	const struct journal_segment_head *newest;
	size_t live = 0;

	for (unsigned i = 0; i < MBOX_JOURNAL_SEGMENTS_MAX; i++)
		read_slot(scan, i);
	/* Where another release was at work nothing is changed. */
	if (scan->slot_count == 0 || scan->strange_version != 0)
		return 0;
	qsort(scan->slots, scan->slot_count, sizeof(scan->slots[0]), compare_slots);
	if (make_sure_of_newest(scan, err) < 0)
		return -1;
	newest = &scan->slots[scan->slot_count - 1].head;
	if (newest->number >= journal->next_number)
		journal->next_number = newest->number + 1;
	journal->state.node = newest->node;

	uint64_t first_live = newest->first_live;

	for (size_t i = 0; i < scan->slot_count; i++)
		if (scan->slots[i].head.number >= first_live)
			scan->slots[live++] = scan->slots[i];
	scan->slot_count = live;
	return 0;
}

/* ------------------------------------------------------------------- segments */

static void
take_key(void *ctx, const struct journal_key *key)
{
	struct scan *scan = ctx;

	journal_keys_add(scan->keys, key);
}

static void
take_intent(struct scan *scan, struct span body, struct journal_segment *segment)
{
	struct mbox_journal *journal = scan->journal;
	struct intent *intent = arena_alloc(scan->arena, sizeof(*intent));
	struct journal_open_intent *earlier;

	if (intent_decode(intent, arena_dup(scan->arena, body), scan->arena, NULL) < 0) {
		journal->state.damaged_count++;
		return;
	}
	if (intent->id >= journal->next_intent_id)
		journal->next_intent_id = intent->id + 1;
	/* Carried over from an earlier segment: this is the same one. */
	earlier = journal_intent_find(journal, intent->id);
	if (earlier != NULL)
		return;
	journal_intent_opened(journal, intent, segment);
	if (scan->intent_count == scan->intent_capacity) {
		scan->intent_capacity = scan->intent_capacity ? 2 * scan->intent_capacity : 256;
		scan->intents = mem_resize_array(scan->intents, scan->intent_capacity,
						 sizeof(*scan->intents));
	}
	scan->intents[scan->intent_count++] = intent;
}

static void
take_end(struct scan *scan, struct span body)
{
	struct mbox_journal *journal = scan->journal;
	struct cursor in = cursor_init(body);
	uint64_t id = cursor_u64(&in), delivered = cursor_u64(&in);
	int64_t wall_ms = cursor_i64(&in);
	struct journal_open_intent *open = journal_intent_find(journal, id);

	if (cursor_failed(&in)) {
		journal->state.damaged_count++;
		return;
	}
	/* Its intent may have gone with a dead segment. */
	if (open != NULL)
		journal_intent_closed(journal, open, delivered, wall_ms, take_key, scan);
}

static void
take_payload(struct scan *scan, struct span payload, struct journal_segment *segment)
{
	struct cursor in = cursor_init(payload);

	while (cursor_left(&in) > 0) {
		uint8_t type = cursor_u8(&in);
		struct span body = cursor_take_u32(&in);

		if (cursor_failed(&in)) {
			scan->journal->state.damaged_count++;
			return;
		}
		if (type == JOURNAL_INTENT)
			take_intent(scan, body, segment);
		else if (type == JOURNAL_END)
			take_end(scan, body);
		else
			scan->journal->state.damaged_count++;
	}
}

/*
 * All batches of a segment.  A batch that cannot be read is skipped block by block: behind a torn
 * tail there is nothing, and if there is, it was damage.
 */
static int
read_segment(struct scan *scan, const struct slot *slot, struct err *err)
{
	struct mbox_journal *journal = scan->journal;
	struct journal_segment *segment = journal_segment_new(journal, &slot->head, slot->number);
	char name[DISK_NAME_BYTES_MAX];
	uint64_t size, sequence, expected = 1;
	size_t got = 0, whole;
	char *octets = NULL;
	struct span rest, payload;
	int file = -1, result = -1;

	journal_slot_name(slot->number, name);
	if (disk_open(journal->disk, name, DISK_OPEN_READ, &file, err) < 0 ||
	    disk_size(journal->disk, file, &size, err) < 0)
		goto out;
	if (size > slot->head.segment_bytes)
		size = slot->head.segment_bytes;
	octets = mem_alloc((size_t)size);
	if (disk_read(journal->disk, file, octets, (size_t)size, 0, &got, err) < 0)
		goto out;
	rest = span_skip(span_make(octets, got), JOURNAL_BLOCK_BYTES);
	while (rest.len >= JOURNAL_BLOCK_BYTES) {
		if (!journal_batch_decode(rest, &slot->head, &payload, &sequence, &whole)) {
			rest = span_skip(rest, JOURNAL_BLOCK_BYTES);
			continue;
		}
		journal->state.damaged_count += sequence != expected;
		expected = sequence + 1;
		take_payload(scan, payload, segment);
		rest = span_skip(rest, whole);
	}
	result = 0;
out:
	disk_close(journal->disk, &file);
	mem_free(&octets);
	return result;
}

/* ------------------------------------------------------------------ seen files */

static void
note_seen_key(void *ctx, const struct journal_key *key)
{
	struct scan *scan = ctx;

	if (key->seconds > scan->file_newest_seconds)
		scan->file_newest_seconds = key->seconds;
	if (key->seconds >= scan->oldest_seconds)
		scan->found->key(scan->found->ctx, &key->key, (int64_t)key->seconds * 1000);
}

static void
set_aside(struct scan *scan, const char *name)
{
	char bad[DISK_NAME_BYTES_MAX];

	(void)snprintf(bad, sizeof(bad), "bad-%.32s", name);
	log_error("mailbox journal: %s is damaged: set aside as %s; a second arrival of what it "
		  "knew would be delivered again", name, bad);
	(void)disk_rename(scan->journal->disk, name, bad, NULL);
	scan->journal->state.damaged_count++;
}

static int
read_seen(struct scan *scan, const char *name, struct err *err)
{
	struct disk *disk = scan->journal->disk;
	char *octets = NULL;
	uint64_t size;
	size_t got = 0;
	int file = -1, result = -1;

	scan->file_newest_seconds = 0;
	if (disk_open(disk, name, DISK_OPEN_READ, &file, err) < 0 ||
	    disk_size(disk, file, &size, err) < 0)
		goto out;
	if (size > (uint64_t)64 + JOURNAL_SEEN_KEYS_MAX * sizeof(struct journal_key))
		size = 0;
	octets = mem_alloc((size_t)size);
	if (disk_read(disk, file, octets, (size_t)size, 0, &got, err) < 0)
		goto out;
	if (!journal_seen_decode(span_make(octets, got), note_seen_key, scan))
		set_aside(scan, name);
	else if (scan->file_newest_seconds < scan->oldest_seconds)
		(void)disk_remove(disk, name, NULL);
	result = 0;
out:
	disk_close(disk, &file);
	mem_free(&octets);
	return result;
}

/* ------------------------------------------------------------------------ all */

int
journal_scan(struct mbox_journal *journal, const struct mbox_journal_settings *settings,
	     const struct mbox_journal_found *found, struct arena *arena,
	     struct intent ***carried_out, size_t *carried_count_out, struct journal_keys *keys,
	     struct err *err)
{
	struct scan scan = {
		.journal = journal,
		.found = found,
		.arena = arena,
		.keys = keys,
		.oldest_seconds = journal_seconds(settings->wall_ms -
						  (int64_t)settings->remember_ms),
	};
	int error = journal->disk->ops->list(journal->disk, add_name, &scan), result = 0;

	if (error != 0) {
		errno = error;
		(void)err_set_errno(err, "%s", journal->disk->place);
		result = -1;
	}
	if (result == 0)
		result = read_slots(&scan, err);
	if (scan.strange_version != 0 && result == 0)
		result = err_set(err, ERR_FORMAT, "%s: the journal has version %u, which this "
				 "mailboxd does not know: nothing was changed",
				 journal->disk->place, (unsigned)scan.strange_version);
	for (size_t i = 0; i < scan.slot_count && result == 0; i++)
		result = read_segment(&scan, &scan.slots[i], err);
	for (size_t i = 0; i < scan.seen_count && result == 0; i++)
		result = read_seen(&scan, scan.seen[i], err);
	for (size_t i = 0; i < keys->count && result == 0; i++)
		note_seen_key(&scan, &keys->keys[i]);
	*carried_count_out = 0;
	*carried_out = scan.intents;
	for (size_t i = 0; i < scan.intent_count; i++)
		if (journal_intent_find(journal, scan.intents[i]->id) != NULL)
			scan.intents[(*carried_count_out)++] = scan.intents[i];
	mem_free(&scan.seen);
	return result;
}
