#include "mailbox/worker_private.h"

#include "relay/base/must.h"

/*
 * Settle what a crash left, the latest first, so that what is cut off is at the end.  With
 * MBOX_OPENED the mbox is open; the other results are as mbox_open() has them.
 */
static enum mbox_open_result
repair(struct worker_lane *lane, struct mbox *mbox)
{
	struct mbox_settings settings = lane->settings;
	struct worker_repair *repair;
	enum mbox_open_result result;

	settings.create = false;
	repair = TAILQ_FIRST(&lane->repairs);
	settings.uid = (uid_t)repair->intent.uid;
	settings.lock.dot_lock = repair->intent.dot_lock;
	result = mbox_open(mbox, &settings, &lane->err);
	if (result == MBOX_ABSENT) {
		/* Somebody took the whole box away, and what we had begun with it. */
		TAILQ_FOREACH(repair, &lane->repairs, next) {
			repair->result = (struct mbox_repair){ 0 };
			repair->finished = true;
		}
		return MBOX_ABSENT;
	}
	if (result != MBOX_OPENED)
		return result;
	TAILQ_FOREACH_REVERSE(repair, &lane->repairs, worker_repairs, next) {
		if (mbox_repair(mbox, &repair->intent, &repair->result, &lane->err) < 0) {
			result = MBOX_REFUSED;
			break;
		}
		repair->finished = true;
	}
	mbox_close(mbox);
	return result;
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
		struct mbox mbox;

		lane->open_result = repair(lane, &mbox);
		if (lane->open_result != MBOX_OPENED && lane->open_result != MBOX_ABSENT)
			return;
	}
	if (batch->count == 0)
		return;
	lane->open_result = mbox_open(&batch->mbox, &lane->settings, &lane->err);
	if (lane->open_result != MBOX_OPENED)
		return;
	lane->broke_lock = batch->mbox.lock.broke_stale;
	if (mbox_plan(&batch->mbox, batch->messages, batch->count, lane->wall_ms, &batch->arena,
		      &batch->intent, &lane->err) < 0) {
		mbox_close(&batch->mbox);
		lane->open_result = MBOX_REFUSED;
	}
}

void
worker_job_append(void *ctx)
{
	struct worker_lane *lane = ctx;
	struct worker_batch *batch = lane->batch;

	if (lane->journal_failed) {
		mbox_close(&batch->mbox);
		return;
	}
	lane->append_result = mbox_append(&batch->mbox, &batch->intent, batch->messages,
					  batch->count, &lane->err);
	batch->is_repaired = false;
	if (lane->append_result == MBOX_TORN) {
		struct err ignored;

		batch->is_repaired = mbox_look_again(&batch->mbox, &ignored) == 0 &&
				     mbox_repair(&batch->mbox, &batch->intent, &batch->repair,
						 &ignored) == 0;
	}
	mbox_close(&batch->mbox);
}
