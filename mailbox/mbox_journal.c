#include "mailbox/mbox_journal.h"

#include <errno.h>
#include <string.h>

#include "mailbox/mbox_journal_private.h"
#include "mailbox/mutant.h"
#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

/* ----------------------------------------------------------- open intents */

void
journal_intent_opened(struct mbox_journal *journal, const struct intent *intent,
		      struct journal_segment *segment)
{
	struct journal_open_intent *open = mem_alloc(sizeof(*open));

	open->id = intent->id;
	open->segment = segment;
	open->entry_count = intent->entry_count;
	memcpy(open->entries, intent->entries, intent->entry_count * sizeof(open->entries[0]));
	segment->open_count++;
	HASH_ADD(hh, journal->open_intents, id, sizeof(open->id), open);
}

struct journal_open_intent *
journal_intent_find(struct mbox_journal *journal, uint64_t id)
{
	struct journal_open_intent *open;

	HASH_FIND(hh, journal->open_intents, &id, sizeof(id), open);
	return open;
}

void
journal_intent_closed(struct mbox_journal *journal, struct journal_open_intent *open,
		      uint64_t delivered, int64_t wall_ms,
		      void (*each)(void *ctx, const struct journal_key *key), void *ctx)
{
	for (size_t i = 0; i < open->entry_count; i++) {
		if (!open->entries[i].has_key || (delivered >> i & 1) == 0)
			continue;

		const struct journal_key key = {
			.key = open->entries[i].key,
			.seconds = journal_seconds(wall_ms),
		};

		each(ctx, &key);
	}
	open->segment->open_count--;
	HASH_DEL(journal->open_intents, open);
	mem_free(&open);
}

static void
add_key_of_segment(void *ctx, const struct journal_key *key)
{
	struct journal_segment *segment = ctx;

	journal_keys_add(&segment->keys, key);
}

/* ---------------------------------------------------------------- opening */

/*
 * A fresh segment that begins with the intents carried over; with it all earlier ones are dead.
 * Their keys have a file of their own before.
 */
static int
begin_anew(struct mbox_journal *journal, struct intent *const *carried, size_t carried_count,
	   const struct journal_keys *keys, struct err *err)
{
	struct journal_segment *segment, *next, *current;
	uint64_t bytes = JOURNAL_BLOCK_BYTES * 2 +
			 (uint64_t)carried_count *
				 (INTENT_CODE_BYTES_MAX + JOURNAL_RECORD_HEAD_BYTES) +
			 (carried_count / MBOX_JOURNAL_BATCH_INTENTS_MAX + 1) * JOURNAL_BLOCK_BYTES;

	bytes = (bytes + JOURNAL_BLOCK_BYTES - 1) / JOURNAL_BLOCK_BYTES * JOURNAL_BLOCK_BYTES;
	if (journal->state.node == 0)
		journal->state.node = random_u64(journal->random) | 1;
	if (journal_seen_write(journal, journal->next_number, keys, err) < 0)
		return -1;
	journal->next_number++;
	if (journal_segment_begin(journal, bytes, true, err) < 0 ||
	    (mailbox_mutant(MAILBOX_MUTANT_HEADER_FIRST) &&
	     journal_segment_commit(journal, err) < 0))
		return -1;
	for (size_t i = 0; i < carried_count; ) {
		journal_batch_open(&journal->batch);
		for (size_t n = 0; n < MBOX_JOURNAL_BATCH_INTENTS_MAX && i < carried_count; n++)
			journal_batch_put_intent(&journal->batch, carried[i++]);
		if (journal_segment_write(journal, &journal->batch, err) < 0)
			return -1;
	}
	if (journal_segment_commit(journal, err) < 0)
		return -1;

	struct journal_open_intent *open, *next_open;

	current = TAILQ_LAST(&journal->segments, journal_segments);
	HASH_ITER(hh, journal->open_intents, open, next_open)
		open->segment = current;
	current->open_count = carried_count;
	for (segment = TAILQ_FIRST(&journal->segments); segment != current; segment = next) {
		next = TAILQ_NEXT(segment, next);
		journal_segment_free(journal, &segment);
	}
	return 0;
}

static int
take_over(struct mbox_journal *journal, const struct mbox_journal_settings *settings,
	  const struct mbox_journal_found *found, struct err *err)
{
	struct arena arena;
	struct intent **carried = NULL;
	size_t carried_count = 0;
	struct journal_keys keys = { 0 };
	int result;

	arena_init(&arena, 0);
	result = journal_scan(journal, settings, found, &arena, &carried, &carried_count, &keys,
			      err);
	if (result == 0)
		result = begin_anew(journal, carried, carried_count, &keys, err);
	for (size_t i = 0; i < carried_count && result == 0; i++)
		found->intent(found->ctx, carried[i]);
	journal_keys_fini(&keys);
	mem_free(&carried);
	arena_fini(&arena);
	return result;
}

int
mbox_journal_open(struct mbox_journal **journal_out, const struct mbox_journal_settings *settings,
		  const struct mbox_journal_found *found, struct err *err)
{
	struct mbox_journal *journal = mem_alloc(sizeof(*journal));
	int error;

	*journal_out = NULL;
	journal->disk = settings->disk;
	journal->random = settings->random;
	journal->remember_ms = settings->remember_ms;
	journal->segment_bytes = settings->segment_bytes ? settings->segment_bytes
							 : MBOX_JOURNAL_SEGMENT_BYTES;
	must(journal->segment_bytes >= MBOX_JOURNAL_SEGMENT_BYTES_MIN &&
	     journal->segment_bytes % JOURNAL_BLOCK_BYTES == 0);
	journal->file = -1;
	journal->next_number = 1;
	journal->next_intent_id = 1;
	TAILQ_INIT(&journal->segments);
	buf_init(&journal->batch, JOURNAL_BATCH_BYTES_MAX);
	error = journal->disk->ops->lock(journal->disk, "lock", &journal->lock);
	if (error != 0) {
		journal->lock = -1;
		mbox_journal_close(&journal);
		if (error == EWOULDBLOCK)
			return err_set(err, ERR_BUSY, "%s: another mailboxd has this journal",
				       settings->disk->place);
		errno = error;
		return err_set_errno(err, "%s: lock", settings->disk->place);
	}
	if (take_over(journal, settings, found, err) < 0) {
		mbox_journal_close(&journal);
		return -1;
	}
	*journal_out = journal;
	return 0;
}

void
mbox_journal_close(struct mbox_journal **journal_ptr)
{
	struct mbox_journal *journal = *journal_ptr;
	struct journal_open_intent *open, *next;

	if (journal == NULL)
		return;
	HASH_ITER(hh, journal->open_intents, open, next) {
		HASH_DEL(journal->open_intents, open);
		mem_free(&open);
	}
	while (!TAILQ_EMPTY(&journal->segments)) {
		struct journal_segment *segment = TAILQ_FIRST(&journal->segments);

		journal_segment_free(journal, &segment);
	}
	disk_close(journal->disk, &journal->file);
	if (journal->lock >= 0)
		(void)journal->disk->ops->unlock(journal->disk, journal->lock);
	buf_fini(&journal->batch);
	mem_free(&journal->ends);
	mem_free(journal_ptr);
}

struct mbox_journal_state
mbox_journal_state(const struct mbox_journal *journal)
{
	struct mbox_journal_state state = journal->state;
	const struct journal_segment *segment;

	state.open_intent_count = HASH_COUNT(journal->open_intents);
	state.pending_end_count = journal->end_count;
	TAILQ_FOREACH(segment, &journal->segments, next)
		state.segment_count++;
	return state;
}

/* ---------------------------------------------------------------- writing */

/* The oldest pending ends go first; those that fit one batch. */
static size_t
put_ends(struct mbox_journal *journal)
{
	size_t count = journal->end_count < MBOX_JOURNAL_BATCH_ENDS_MAX
			       ? journal->end_count : MBOX_JOURNAL_BATCH_ENDS_MAX;

	for (size_t i = 0; i < count; i++)
		journal_batch_put_end(&journal->batch, &journal->ends[i].end,
				      journal->ends[i].wall_ms);
	return count;
}

/* A segment that has room for so much: its header, whole blocks, and one to spare. */
static uint64_t
segment_bytes_for(size_t batch_bytes)
{
	return (uint64_t)(batch_bytes / JOURNAL_BLOCK_BYTES + 4) * JOURNAL_BLOCK_BYTES;
}

static int
write_batch(struct mbox_journal *journal, struct intent *const *intents, size_t intent_count,
	    struct err *err)
{
	size_t ends;

	journal_batch_open(&journal->batch);
	for (size_t i = 0; i < intent_count; i++)
		journal_batch_put_intent(&journal->batch, intents[i]);
	ends = put_ends(journal);
	if (!journal_segment_has_room(journal, &journal->batch) &&
	    journal_segment_begin(journal, segment_bytes_for(buf_len(&journal->batch)), false,
				  err) < 0)
		return -1;
	if (journal_segment_write(journal, &journal->batch, err) < 0)
		return -1;
	journal->end_count -= ends;
	if (journal->end_count > 0)
		memmove(journal->ends, journal->ends + ends,
			journal->end_count * sizeof(*journal->ends));
	return 0;
}

int
mbox_journal_write(struct mbox_journal *journal, struct intent *const *intents,
		   size_t intent_count, struct err *err)
{
	struct journal_segment *current;

	must(intent_count <= MBOX_JOURNAL_BATCH_INTENTS_MAX);
	for (size_t i = 0; i < intent_count; i++)
		intents[i]->id = journal->next_intent_id++;
	if (write_batch(journal, intents, intent_count, err) < 0) {
		/*
		 * Perhaps they are on the disk and perhaps not: their end says, when it gets
		 * there, that nothing was done.
		 */
		for (size_t i = 0; i < intent_count; i++) {
			const struct mbox_journal_end end = { .intent_id = intents[i]->id };

			mbox_journal_end(journal, &end, 0);
		}
		journal->state.failed = true;
		return -1;
	}
	journal->state.failed = false;
	journal->state.intent_count += intent_count;
	current = TAILQ_LAST(&journal->segments, journal_segments);
	for (size_t i = 0; i < intent_count; i++)
		journal_intent_opened(journal, intents[i], current);
	journal_segments_retire(journal);
	return 0;
}

void
mbox_journal_end(struct mbox_journal *journal, const struct mbox_journal_end *end, int64_t wall_ms)
{
	struct journal_open_intent *open = journal_intent_find(journal, end->intent_id);

	if (open != NULL)
		journal_intent_closed(journal, open, end->delivered, wall_ms, add_key_of_segment,
				      open->segment);
	if (journal->end_count == journal->end_capacity) {
		journal->end_capacity = journal->end_capacity ? 2 * journal->end_capacity : 64;
		journal->ends = mem_resize_array(journal->ends, journal->end_capacity,
						 sizeof(*journal->ends));
	}
	journal->ends[journal->end_count++] =
		(struct journal_pending_end){ .end = *end, .wall_ms = wall_ms };
}

int
mbox_journal_flush(struct mbox_journal *journal, struct err *err)
{
	while (journal->end_count > 0)
		if (mbox_journal_write(journal, NULL, 0, err) < 0)
			return -1;
	return 0;
}

/* --------------------------------------------------------------- forgetting */

struct old_names {
	char (*names)[DISK_NAME_BYTES_MAX];
	size_t count;
	size_t capacity;
};

static void
collect_seen(void *ctx, const char *name)
{
	struct old_names *old = ctx;

	if (!span_starts_with(span_from_cstr(name), SPAN("seen-")) ||
	    strlen(name) >= DISK_NAME_BYTES_MAX)
		return;
	if (old->count == old->capacity) {
		old->capacity = old->capacity ? 2 * old->capacity : 64;
		old->names = mem_resize_array(old->names, old->capacity, sizeof(*old->names));
	}
	memcpy(old->names[old->count++], name, strlen(name) + 1);
}

void
mbox_journal_forget(struct mbox_journal *journal, int64_t wall_ms)
{
	const uint32_t oldest = journal_seconds(wall_ms - (int64_t)journal->remember_ms);
	struct old_names old = { 0 };

	if (journal->disk->ops->list(journal->disk, collect_seen, &old) == 0)
		for (size_t i = 0; i < old.count; i++)
			journal_seen_forget(journal, old.names[i], oldest);
	mem_free(&old.names);
}
