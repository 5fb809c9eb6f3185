#include "mailbox/worker_private.h"

#include "mailbox/maildir_size.h"
#include "mailbox/mbox_search.h"
#include "relay/base/must.h"

/* ------------------------------------------------------------------------- repairs */

/* Somebody took the whole box away, and what we had begun with it. */
static void
nothing_is_left(struct worker_lane *lane, enum intent_kind kind)
{
	struct worker_repair *repair;

	TAILQ_FOREACH(repair, &lane->repairs, next)
		if (repair->intent.kind == kind) {
			repair->result = (struct mbox_repair){ 0 };
			repair->finished = true;
		}
}

/* Settle what a crash left, the latest first, so that what is cut off is at the end. */
static enum mbox_open_result
repair_mbox(struct worker_lane *lane, const struct intent *any)
{
	struct mbox_settings settings = lane->settings;
	struct worker_repair *repair;
	struct mbox mbox;
	enum mbox_open_result result;

	settings.create = false;
	settings.uid = (uid_t)any->uid;
	settings.lock.dot_lock = any->dot_lock;
	result = mbox_open(&mbox, &settings, &lane->err);
	if (result != MBOX_OPENED)
		return result;
	TAILQ_FOREACH_REVERSE(repair, &lane->repairs, worker_repairs, next) {
		if (repair->intent.kind != INTENT_MBOX)
			continue;
		if (mbox_repair(&mbox, &repair->intent, &repair->result, &lane->err) < 0) {
			result = MBOX_REFUSED;
			break;
		}
		repair->finished = true;
	}
	mbox_close(&mbox);
	return result;
}

static enum mbox_open_result
repair_maildir(struct worker_lane *lane, const struct intent *any)
{
	struct maildir_settings settings = lane->maildir_settings;
	struct worker_repair *repair;
	struct maildir maildir;
	enum mbox_open_result result;

	settings.create = false;
	settings.uid = (uid_t)any->uid;
	result = maildir_open(&maildir, &settings, &lane->err);
	if (result != MBOX_OPENED)
		return result;
	TAILQ_FOREACH(repair, &lane->repairs, next) {
		if (repair->intent.kind != INTENT_MAILDIR)
			continue;
		if (maildir_repair(&maildir, &repair->intent, &repair->result, &lane->err) < 0) {
			result = MBOX_REFUSED;
			break;
		}
		repair->finished = true;
	}
	maildir_close(&maildir);
	return result;
}

static const struct intent *
first_of_kind(const struct worker_lane *lane, enum intent_kind kind)
{
	const struct worker_repair *repair;

	TAILQ_FOREACH(repair, &lane->repairs, next)
		if (repair->intent.kind == kind)
			return &repair->intent;
	return NULL;
}

/* MBOX_OPENED when all is settled; the other results are as mbox_open() has them. */
static enum mbox_open_result
repair(struct worker_lane *lane)
{
	static const struct {
		enum intent_kind kind;
		enum mbox_open_result (*repair)(struct worker_lane *lane, const struct intent *any);
	} kinds[] = {
		{ INTENT_MBOX, repair_mbox },
		{ INTENT_MAILDIR, repair_maildir },
	};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		const struct intent *any = first_of_kind(lane, kinds[i].kind);
		enum mbox_open_result result = MBOX_OPENED;

		if (any != NULL)
			result = kinds[i].repair(lane, any);
		if (result == MBOX_ABSENT)
			nothing_is_left(lane, kinds[i].kind);
		else if (result != MBOX_OPENED)
			return result;
	}
	return MBOX_OPENED;
}

/* --------------------------------------------------------------------------- quota */

static bool
is_known(const struct box_stat *known, const struct box_stat *stat)
{
	return known->device == stat->device && known->inode == stat->inode &&
	       known->size == stat->size && known->modified_ms == stat->modified_ms;
}

static int
count_mbox(struct worker_lane *lane, struct usage *usage)
{
	struct worker_batch *batch = lane->batch;

	usage->bytes = batch->mbox.stat.size;
	if (batch->quota.messages == 0)
		return 0;
	if (!is_known(&lane->known.stat, &batch->mbox.stat) || lane->known.stat.size == 0) {
		if (mbox_search_count(&batch->mbox, &lane->known.messages, &lane->err) < 0)
			return -1;
		lane->known.stat = batch->mbox.stat;
	}
	usage->messages = lane->known.messages;
	return 0;
}

static uint64_t
bytes_of(const struct worker_batch *batch, size_t i)
{
	if (batch->kind == BOXES_MAILDIR)
		return batch->messages[i].head.len + letter_bytes(batch->messages[i].letter);
	return mbox_message_bytes(&batch->messages[i]);
}

/* Those for which there is no room go to the end of the batch. */
static void
set_aside_what_does_not_fit(struct worker_batch *batch, struct usage usage)
{
	struct worker_post *over[WORKER_BATCH_POSTS_MAX];
	size_t fit = 0;

	batch->over_count = 0;
	for (size_t i = 0; i < batch->count; i++) {
		uint64_t bytes = bytes_of(batch, i);

		if (!quota_admits(&batch->quota, &usage, bytes)) {
			over[batch->over_count++] = batch->posts[i];
			continue;
		}
		usage_add(&usage, bytes, 1);
		batch->messages[fit] = batch->messages[i];
		batch->posts[fit++] = batch->posts[i];
	}
	for (size_t i = 0; i < batch->over_count; i++)
		batch->posts[fit + i] = over[i];
	batch->count = fit;
}

static int
apply_quota(struct worker_lane *lane)
{
	struct worker_batch *batch = lane->batch;
	struct usage usage = { 0 };
	int result;

	if (batch->kind == BOXES_MAILDIR)
		result = maildir_size_read(&batch->maildir, &batch->quota, &usage, &lane->err);
	else if (quota_is_set(&batch->quota))
		result = count_mbox(lane, &usage);
	else
		return 0;
	if (result < 0 || !quota_is_set(&batch->quota))
		return result;
	for (size_t i = 0; i < batch->count && batch->kind == BOXES_MAILDIR; i++)
		if (!quota_admits(&batch->quota, &usage, bytes_of(batch, i))) {
			/* Before anybody is refused, see whether it is still so. */
			if (maildir_size_recount(&batch->maildir, &batch->quota, &usage,
						 &lane->err) < 0)
				return -1;
			break;
		}
	set_aside_what_does_not_fit(batch, usage);
	return 0;
}

/* ------------------------------------------------------------------- open and append */

static enum mbox_open_result
open_box(struct worker_lane *lane)
{
	struct worker_batch *batch = lane->batch;

	if (batch->kind == BOXES_MAILDIR)
		return maildir_open(&batch->maildir, &lane->maildir_settings, &lane->err);
	return mbox_open(&batch->mbox, &lane->settings, &lane->err);
}

static void
close_box(struct worker_batch *batch)
{
	if (batch->kind == BOXES_MAILDIR)
		maildir_close(&batch->maildir);
	else
		mbox_close(&batch->mbox);
}

static int
plan(struct worker_lane *lane)
{
	struct worker_batch *batch = lane->batch;

	if (apply_quota(lane) < 0)
		return -1;
	if (batch->count == 0)
		return 0;
	if (batch->kind == BOXES_MBOX)
		return mbox_plan(&batch->mbox, batch->messages, batch->count, lane->wall_ms,
				 &batch->arena, &batch->intent, &lane->err);
	maildir_plan(&batch->maildir, batch->messages, batch->count,
		     span_from_cstr(lane->worker->hostname), lane->wall_ms, &batch->arena,
		     &batch->intent);
	return 0;
}

void
worker_job_open(void *ctx)
{
	struct worker_lane *lane = ctx;
	struct worker_batch *batch = lane->batch;

	err_clear(&lane->err);
	lane->open_result = MBOX_ABSENT;
	lane->broke_lock = false;
	if (!TAILQ_EMPTY(&lane->repairs)) {
		lane->open_result = repair(lane);
		if (lane->open_result != MBOX_OPENED)
			return;
	}
	if (batch->count == 0)
		return;
	lane->open_result = open_box(lane);
	if (lane->open_result != MBOX_OPENED)
		return;
	lane->broke_lock = batch->kind == BOXES_MBOX && batch->mbox.lock.broke_stale;
	if (plan(lane) < 0)
		lane->open_result = MBOX_REFUSED;
	/* Without anything to write the journal has nothing to hear of. */
	if (lane->open_result == MBOX_REFUSED || batch->count == 0)
		close_box(batch);
}

static void
append_to_mbox(struct worker_lane *lane)
{
	struct worker_batch *batch = lane->batch;
	struct err ignored;

	lane->append_result = mbox_append(&batch->mbox, &batch->intent, batch->messages,
					  batch->count, &lane->err);
	if (lane->append_result == MBOX_TORN)
		batch->is_repaired = mbox_look_again(&batch->mbox, &ignored) == 0 &&
				     mbox_repair(&batch->mbox, &batch->intent, &batch->repair,
						 &ignored) == 0;
	if (lane->append_result == MBOX_APPENDED && batch->quota.messages != 0 &&
	    mbox_look_again(&batch->mbox, &ignored) == 0) {
		lane->known.stat = batch->mbox.stat;
		lane->known.messages += batch->count;
	}
}

static void
add_to_maildir(struct worker_lane *lane)
{
	struct worker_batch *batch = lane->batch;
	struct err ignored;
	uint64_t bytes = 0;

	lane->append_result = maildir_deliver(&batch->maildir, &batch->intent, batch->messages,
					      batch->count, &lane->err);
	if (lane->append_result == MBOX_TORN)
		batch->is_repaired = maildir_repair(&batch->maildir, &batch->intent,
						    &batch->repair, &ignored) == 0;
	if (lane->append_result != MBOX_APPENDED || !quota_is_set(&batch->quota))
		return;
	for (size_t i = 0; i < batch->count; i++)
		bytes += bytes_of(batch, i);
	maildir_size_add(&batch->maildir, bytes, batch->count);
}

void
worker_job_append(void *ctx)
{
	struct worker_lane *lane = ctx;
	struct worker_batch *batch = lane->batch;

	batch->is_repaired = false;
	if (!lane->journal_failed) {
		if (batch->kind == BOXES_MAILDIR)
			add_to_maildir(lane);
		else
			append_to_mbox(lane);
	}
	close_box(batch);
}
