#include "mailbox/mbox_journal_private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "mailbox/mutant.h"
#include "relay/base/cursor.h"
#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

enum { ZERO_BYTES = 256 * 1024 };

void
journal_slot_name(unsigned slot, char out[DISK_NAME_BYTES_MAX])
{
	(void)snprintf(out, DISK_NAME_BYTES_MAX, "segment-%02u", slot);
}

void
journal_seen_name(uint64_t number, char out[DISK_NAME_BYTES_MAX])
{
	(void)snprintf(out, DISK_NAME_BYTES_MAX, "seen-%016" PRIx64, number);
}

uint32_t
journal_seconds(int64_t wall_ms)
{
	if (wall_ms < 0)
		return 0;
	return wall_ms / 1000 > UINT32_MAX ? UINT32_MAX : (uint32_t)(wall_ms / 1000);
}

void
journal_keys_add(struct journal_keys *keys, const struct journal_key *key)
{
	if (keys->count == keys->capacity) {
		keys->capacity = keys->capacity ? 2 * keys->capacity : 64;
		keys->keys = mem_resize_array(keys->keys, keys->capacity, sizeof(*keys->keys));
	}
	keys->keys[keys->count++] = *key;
}

void
journal_keys_fini(struct journal_keys *keys)
{
	mem_free(&keys->keys);
	*keys = (struct journal_keys){ 0 };
}

struct journal_segment *
journal_segment_new(struct mbox_journal *journal, const struct journal_segment_head *head,
		    unsigned slot)
{
	struct journal_segment *segment = mem_alloc(sizeof(*segment));

	segment->head = *head;
	segment->slot = slot;
	journal->slot_used[slot] = true;
	TAILQ_INSERT_TAIL(&journal->segments, segment, next);
	return segment;
}

void
journal_segment_free(struct mbox_journal *journal, struct journal_segment **segment_ptr)
{
	struct journal_segment *segment = *segment_ptr;

	TAILQ_REMOVE(&journal->segments, segment, next);
	journal->slot_used[segment->slot] = false;
	journal_keys_fini(&segment->keys);
	mem_free(segment_ptr);
}

/* Write zeros where there is nothing yet, so that batches change no size. */
static int
fill(struct mbox_journal *journal, uint64_t bytes, struct err *err)
{
	uint64_t at;
	char *zeros;
	int result = 0;

	if (disk_size(journal->disk, journal->file, &at, err) < 0)
		return -1;
	if (at >= bytes)
		return 0;
	zeros = mem_alloc(ZERO_BYTES);
	while (at < bytes && result == 0) {
		size_t len = bytes - at < ZERO_BYTES ? (size_t)(bytes - at) : ZERO_BYTES;
		struct iovec vector = { .iov_base = zeros, .iov_len = len };

		result = disk_write(journal->disk, journal->file, &vector, 1, at,
				    DISK_WRITE_PLAIN, err);
		at += len;
	}
	mem_free(&zeros);
	if (result == 0)
		result = disk_sync(journal->disk, journal->file, err);
	return result;
}

static int
open_slot(struct mbox_journal *journal, unsigned slot, struct err *err)
{
	char name[DISK_NAME_BYTES_MAX];

	journal_slot_name(slot, name);
	if (disk_open(journal->disk, name, DISK_OPEN_WRITE, &journal->file, err) == 0)
		return 0;
	return disk_open(journal->disk, name, DISK_OPEN_CREATE, &journal->file, err);
}

static int
find_slot(const struct mbox_journal *journal, unsigned *slot_out, struct err *err)
{
	for (unsigned slot = 0; slot < MBOX_JOURNAL_SEGMENTS_MAX; slot++)
		if (!journal->slot_used[slot]) {
			*slot_out = slot;
			return 0;
		}
	return err_set(err, ERR_LIMIT, "the journal has no room: too many boxes wait for repair");
}

int
journal_segment_begin(struct mbox_journal *journal, uint64_t bytes, bool commit_later,
		      struct err *err)
{
	struct journal_segment *first = TAILQ_FIRST(&journal->segments);
	struct journal_segment_head head = {
		.node = journal->state.node,
		.number = journal->next_number,
		.salt = random_u64(journal->random),
		.segment_bytes = bytes > journal->segment_bytes ? bytes : journal->segment_bytes,
	};
	unsigned slot = 0;

	disk_close(journal->disk, &journal->file);
	if (find_slot(journal, &slot, err) < 0)
		return -1;
	head.first_live = commit_later || first == NULL ? head.number : first->head.number;
	if (open_slot(journal, slot, err) < 0 ||
	    fill(journal, head.segment_bytes, err) < 0 ||
	    (!mailbox_mutant(MAILBOX_MUTANT_NO_SEGMENT_NAME_SYNC) &&
	     disk_sync_dir(journal->disk, err) < 0)) {
		disk_close(journal->disk, &journal->file);
		return -1;
	}
	/* A number is never used twice, not even for a segment that did not come to be. */
	journal->next_number++;
	journal->write_at = JOURNAL_BLOCK_BYTES;
	journal->sequence = 1;
	(void)journal_segment_new(journal, &head, slot);
	return commit_later ? 0 : journal_segment_commit(journal, err);
}

/* The current segment cannot be used: forget that it was begun, if nothing is in it. */
static void
abandon(struct mbox_journal *journal)
{
	struct journal_segment *current = TAILQ_LAST(&journal->segments, journal_segments);

	disk_close(journal->disk, &journal->file);
	if (current->open_count == 0 && current->keys.count == 0)
		journal_segment_free(journal, &current);
}

int
journal_segment_commit(struct mbox_journal *journal, struct err *err)
{
	const struct journal_segment *current = TAILQ_LAST(&journal->segments, journal_segments);
	char block[JOURNAL_BLOCK_BYTES];
	struct iovec vector = { .iov_base = block, .iov_len = sizeof(block) };

	journal_segment_head_encode(&current->head, block);
	if (disk_write(journal->disk, journal->file, &vector, 1, 0, DISK_WRITE_SYNC, err) < 0) {
		abandon(journal);
		return -1;
	}
	return 0;
}

bool
journal_segment_has_room(const struct mbox_journal *journal, const struct buf *batch)
{
	const struct journal_segment *current = TAILQ_LAST(&journal->segments, journal_segments);

	return journal->file >= 0 && current != NULL &&
	       journal->write_at + buf_len(batch) + JOURNAL_BLOCK_BYTES <=
		       current->head.segment_bytes;
}

int
journal_segment_write(struct mbox_journal *journal, struct buf *batch, struct err *err)
{
	struct journal_segment *current = TAILQ_LAST(&journal->segments, journal_segments);

	must(current != NULL && journal_segment_has_room(journal, batch));
	journal_batch_close(batch, &current->head, journal->sequence);

	struct span octets = buf_span(batch);
	struct iovec vector = {
		.iov_base = (void *)(uintptr_t)octets.data,
		.iov_len = octets.len,
	};

	if (disk_write(journal->disk, journal->file, &vector, 1, journal->write_at,
		       mailbox_mutant(MAILBOX_MUTANT_NO_INTENT_SYNC) ? DISK_WRITE_PLAIN
								     : DISK_WRITE_SYNC,
		       err) < 0 &&
	    !mailbox_mutant(MAILBOX_MUTANT_IGNORE_SYNC_ERROR)) {
		/* Nothing is known of what is there now, and nothing more may be added to it. */
		abandon(journal);
		return err_wrap(err, "%s: the journal", journal->disk->place);
	}
	journal->write_at += octets.len;
	journal->sequence++;
	journal->state.batch_count++;
	return 0;
}

int
journal_seen_write(struct mbox_journal *journal, uint64_t number, const struct journal_keys *keys,
		   struct err *err)
{
	static const char draft[] = "seen.new";
	char name[DISK_NAME_BYTES_MAX];
	struct buf out;
	int file = -1, result = -1;

	if (keys->count == 0 || mailbox_mutant(MAILBOX_MUTANT_KEYS_LOST))
		return 0;
	journal_seen_name(number, name);
	buf_init(&out, 64 + keys->count * sizeof(struct journal_key));
	journal_seen_encode(number, keys->keys, keys->count, &out);
	must(!buf_overflowed(&out));

	struct iovec vector = {
		.iov_base = (void *)(uintptr_t)buf_span(&out).data,
		.iov_len = buf_len(&out),
	};

	if (disk_remove(journal->disk, draft, err) < 0 && !err_is_errno(err, ENOENT))
		goto out;
	if (disk_open(journal->disk, draft, DISK_OPEN_CREATE, &file, err) < 0 ||
	    disk_write(journal->disk, file, &vector, 1, 0,
		       mailbox_mutant(MAILBOX_MUTANT_KEYS_NOT_SYNCED) ? DISK_WRITE_PLAIN
								      : DISK_WRITE_SYNC,
		       err) < 0 ||
	    disk_rename(journal->disk, draft, name, err) < 0)
		goto out;
	result = disk_sync_dir(journal->disk, err);
out:
	disk_close(journal->disk, &file);
	buf_fini(&out);
	return result;
}

void
journal_seen_forget(struct mbox_journal *journal, const char *name, uint32_t oldest)
{
	struct disk *disk = journal->disk;
	uint8_t end[8];
	uint64_t size;
	int file = -1;

	/* Keys are in the order in which they were delivered; the last is before the checksum. */
	if (disk_open(disk, name, DISK_OPEN_READ, &file, NULL) == 0 &&
	    disk_size(disk, file, &size, NULL) == 0 && size > sizeof(end) &&
	    disk_read_all(disk, file, end, sizeof(end), size - sizeof(end), NULL) == 0 &&
	    cursor_load_u32(end) < oldest)
		(void)disk_remove(disk, name, NULL);
	disk_close(disk, &file);
}

void
journal_segments_retire(struct mbox_journal *journal)
{
	struct journal_segment *segment, *next;
	const struct journal_segment *last = TAILQ_LAST(&journal->segments, journal_segments);
	struct err err;

	for (segment = TAILQ_FIRST(&journal->segments); segment != NULL; segment = next) {
		next = TAILQ_NEXT(segment, next);
		if ((segment == last && journal->file >= 0) || segment->open_count > 0)
			continue;
		if (journal_seen_write(journal, segment->head.number, &segment->keys, &err) < 0) {
			log_warn("mailbox journal: %s: tried again later", err.text);
			return;
		}
		journal_segment_free(journal, &segment);
	}
}
