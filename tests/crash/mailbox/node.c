/* What a node does with a batch, and at its start; as the worker does it, without its threads. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "mailbox/letter.h"
#include "mailbox/maildir.h"
#include "mailbox/mbox.h"
#include "mailbox/mbox_repair.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "tests/crash/mailbox/life.h"

enum { WALL_MS = 1000000 };

struct batch {
	struct letter_budget budget;
	struct letter *letters[LIFE_BATCH_MAX];
	struct mbox_message messages[LIFE_BATCH_MAX];
	size_t first;                   /* fact */
	size_t count;
};

/* ------------------------------------------------------------------------- messages */

static struct letter *
make_letter(struct batch *batch, const struct fact *fact)
{
	struct span rest = message_letter(fact), line;
	struct letter *letter = letter_new(&batch->budget);

	while (rest.len > 0 && span_split(rest, '\n', &line, &rest)) {
		(void)letter_append(letter, line);
		(void)letter_append(letter, SPAN("\r\n"));
	}
	letter_seal(letter);
	return letter;
}

static void
make_message(struct life *life, struct batch *batch, size_t box, size_t i)
{
	size_t number = life->fact_count++;
	struct fact *fact = &life->facts[number];

	*fact = (struct fact){ .box = box };
	message_make(fact, number, random_u64(life->random), life->texts);
	fact->key = intent_key_make(span_make((const char *)&fact->delivery_id, 8), SPAN("r"));
	batch->letters[i] = make_letter(batch, fact);
	batch->messages[i] = (struct mbox_message){
		.head = message_head(fact),
		.letter = batch->letters[i],
		.delivery_id = fact->delivery_id,
		.has_key = true,
		.key = fact->key,
		.id_at = (uint32_t)fact->id_at,
	};
}

static void
make_batch(struct life *life, struct batch *batch, size_t box)
{
	*batch = (struct batch){ .first = life->fact_count };
	batch->budget.bytes_max = 1 << 20;
	batch->count = 1 + (size_t)random_below(life->random, LIFE_BATCH_MAX);
	for (size_t i = 0; i < batch->count; i++)
		make_message(life, batch, box, i);
}

/* ------------------------------------------------------------------------ the box */

struct box {
	bool is_maildir;
	char path[32];
	struct mbox_settings mbox_settings;
	struct maildir_settings maildir_settings;
	struct mbox mbox;
	struct maildir maildir;
};

static enum mbox_open_result
open_box(struct life *life, struct box *box, size_t number, bool create)
{
	struct err err;

	*box = (struct box){ .is_maildir = number == LIFE_MAILDIR };
	(void)snprintf(box->path, sizeof(box->path), "/boxes/%s", life_box_name(number));
	box->mbox_settings = (struct mbox_settings){
		.lock = { .disk = sim_fs_boxes(life->fs) }, .path = box->path, .create = create,
	};
	box->maildir_settings = (struct maildir_settings){
		.disk = sim_fs_boxes(life->fs), .path = box->path, .create = create,
	};
	if (box->is_maildir)
		return maildir_open(&box->maildir, &box->maildir_settings, &err);
	return mbox_open(&box->mbox, &box->mbox_settings, &err);
}

static void
close_box(struct box *box)
{
	if (box->is_maildir)
		maildir_close(&box->maildir);
	else
		mbox_close(&box->mbox);
}

static void
plan(struct box *box, const struct batch *batch, struct arena *arena, struct intent *intent)
{
	struct err err;

	if (box->is_maildir)
		maildir_plan(&box->maildir, batch->messages, batch->count, SPAN("x"), WALL_MS,
			     arena, intent);
	else
		must(mbox_plan(&box->mbox, batch->messages, batch->count, WALL_MS, arena, intent,
			       &err) == 0);
}

static enum mbox_append_result
append(struct box *box, const struct intent *intent, const struct batch *batch)
{
	struct err err;

	if (box->is_maildir)
		return maildir_deliver(&box->maildir, intent, batch->messages, batch->count, &err);
	return mbox_append(&box->mbox, intent, batch->messages, batch->count, &err);
}

static int
repair(struct box *box, const struct intent *intent, struct mbox_repair *repair_out)
{
	struct err err;

	if (box->is_maildir)
		return maildir_repair(&box->maildir, intent, repair_out, &err);
	return mbox_repair(&box->mbox, intent, repair_out, &err);
}

/* ------------------------------------------------------------------------- intents */

static void
remember(struct life *life, const struct intent_key *key)
{
	must(life->key_count < sizeof(life->keys) / sizeof(life->keys[0]));
	life->keys[life->key_count++] = *key;
}

static void
end_intent(struct life *life, const struct intent *intent, uint64_t delivered)
{
	const struct mbox_journal_end end = { .intent_id = intent->id, .delivered = delivered };

	mbox_journal_end(life->journal, &end, WALL_MS);
	for (size_t i = 0; i < intent->entry_count; i++)
		if (delivered >> i & 1)
			remember(life, &intent->entries[i].key);
}

static uint64_t
bits_of(const struct mbox_repair *repair, size_t count)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < count; i++)
		bits |= (uint64_t)repair->delivered[i] << i;
	return bits;
}

/* An append that was neither done nor undone is repaired at once, or at the next start. */
static bool
settle_torn(struct life *life, struct box *box, const struct intent *intent)
{
	struct mbox_repair result;
	struct err err;

	if (!box->is_maildir && mbox_look_again(&box->mbox, &err) < 0)
		return false;
	if (repair(box, intent, &result) < 0)
		return false;
	life_tell(life, "intent %" PRIu64 ": delivered %" PRIx64 "%s", intent->id,
		  bits_of(&result, intent->entry_count), result.cut ? ", cut" : "");
	end_intent(life, intent, bits_of(&result, intent->entry_count));
	return true;
}

static bool
act(struct life *life, struct box *box, const struct intent *intent, const struct batch *batch)
{
	enum mbox_append_result result = append(box, intent, batch);

	life_tell(life, "messages %zu and %zu more, intent %" PRIu64 " in %s at %" PRIu64
		  ": %s", batch->first, batch->count - 1, intent->id, box->path,
		  intent->size_before, result == MBOX_APPENDED ? "appended"
		  : result == MBOX_UNDONE ? "undone" : "torn");
	switch (result) {
	case MBOX_APPENDED:
		end_intent(life, intent, (UINT64_C(1) << batch->count) - 1);
		for (size_t i = 0; i < batch->count; i++)
			life->facts[batch->first + i].acked = true;
		return true;
	case MBOX_UNDONE:
		end_intent(life, intent, 0);
		return true;
	case MBOX_TORN:
		return settle_torn(life, box, intent);
	}
	must_not_reach();
}

bool
life_deliver(struct life *life)
{
	size_t number = (size_t)random_below(life->random, LIFE_BOXES);
	struct intent intent, *intents[] = { &intent };
	struct batch batch;
	struct box box;
	struct arena arena;
	struct err err;
	bool goes_on = true;

	make_batch(life, &batch, number);
	arena_init(&arena, 0);
	must(open_box(life, &box, number, true) == MBOX_OPENED);
	plan(&box, &batch, &arena, &intent);
	if (mbox_journal_write(life->journal, intents, 1, &err) == 0)
		goes_on = act(life, &box, &intent, &batch);
	close_box(&box);
	arena_fini(&arena);
	for (size_t i = 0; i < batch.count; i++)
		letter_release(&batch.letters[i]);
	return goes_on;
}

/* --------------------------------------------------------------------------- a start */

static void
found_intent(void *ctx, const struct intent *intent)
{
	struct life *life = ctx;

	must(life->intent_count < LIFE_INTENTS_MAX);
	life->intents[life->intent_count++] = intent_copy(intent, &life->arena);
}

static void
found_key(void *ctx, const struct intent_key *key, int64_t wall_ms)
{
	struct life *life = ctx;

	(void)wall_ms;
	/* A key may be told more than once. */
	for (size_t i = 0; i < life->key_count; i++)
		if (memcmp(&life->keys[i], key, sizeof(*key)) == 0)
			return;
	remember(life, key);
}

static size_t
box_of_path(struct span path)
{
	for (size_t box = 0; box < LIFE_BOXES; box++)
		if (span_equal_cstr(span_skip(path, strlen("/boxes/")), life_box_name(box)))
			return box;
	must_not_reach();
}

static bool
repair_one(struct life *life, const struct intent *intent)
{
	struct mbox_repair result = { 0 };
	struct box box;
	bool good = true;
	uint64_t bits;

	switch (open_box(life, &box, box_of_path(intent->path), false)) {
	case MBOX_ABSENT:
		break;
	case MBOX_OPENED:
		good = repair(&box, intent, &result) == 0;
		close_box(&box);
		break;
	case MBOX_BUSY:
	case MBOX_REFUSED:
		must_not_reach();
	}
	bits = bits_of(&result, intent->entry_count);
	life_tell(life, "intent %" PRIu64 " in %s at %" PRIu64 ", %s: delivered %" PRIx64 "%s%s%s",
		  intent->id, box.path, intent->size_before, good ? "repaired" : "not repaired",
		  bits, result.cut ? ", cut" : "", result.left ? ", left" : "",
		  result.searched ? ", searched" : "");
	life->tally->cut += result.cut;
	life->tally->left += result.left;
	life->tally->searched += result.searched;
	life->tally->maildir_found += intent->kind == INTENT_MAILDIR && bits != 0;
	if (good)
		end_intent(life, intent, bits);
	return good;
}

bool
life_start(struct life *life)
{
	const struct mbox_journal_found found = {
		.intent = found_intent, .key = found_key, .ctx = life,
	};
	struct err err;
	bool good = true;

	life->intent_count = life->key_count = 0;
	arena_init(&life->arena, 0);
	life->settings = (struct mbox_journal_settings){
		.disk = sim_fs_disk(life->fs), .random = life->random,
		.segment_bytes = MBOX_JOURNAL_SEGMENT_BYTES_MIN, .wall_ms = WALL_MS,
		.remember_ms = 1000000000,
	};
	if (mbox_journal_open(&life->journal, &life->settings, &found, &err) < 0) {
		good = false;
	} else {
		/* The latest first, as the worker does it. */
		for (size_t i = life->intent_count; i-- > 0 && good; )
			good = repair_one(life, &life->intents[i]);
		if (!good)
			mbox_journal_close(&life->journal);
	}
	arena_fini(&life->arena);
	return good;
}
