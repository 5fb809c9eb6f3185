#include "mailbox/worker_private.h"

#include <string.h>

#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

static void go_on(struct worker_lane *lane);
static void opened(void *ctx);
static void appended(void *ctx);

/* ---------------------------------------------------------------- parts of a lane */

static void
timer_fired(void *ctx)
{
	struct worker_lane *lane = ctx;

	must(lane->step == LANE_RESTING);
	lane->step = LANE_IDLE;
	go_on(lane);
}

/* Posts of a whole turn go together. */
static void
turn_ended(void *ctx)
{
	struct worker_lane *lane = ctx;

	if (lane->step == LANE_IDLE)
		go_on(lane);
}

void
worker_lane_init(struct worker_lane *lane, struct worker *worker, const char *path)
{
	*lane = (struct worker_lane){ .worker = worker, .path = mem_dup_cstr(path) };
	TAILQ_INIT(&lane->waiting);
	TAILQ_INIT(&lane->repairs);
	loop_timer_init(&lane->timer, timer_fired, lane);
	loop_task_init(&lane->task, turn_ended, lane);
}

static void
free_repair(struct worker_lane *lane, struct worker_repair *repair)
{
	TAILQ_REMOVE(&lane->repairs, repair, next);
	arena_fini(&repair->arena);
	mem_free(&repair);
}

void
worker_lane_fini(struct worker_lane *lane)
{
	must(lane->batch == NULL && TAILQ_EMPTY(&lane->waiting));
	loop_timer_stop(lane->worker->hub, &lane->timer);
	loop_task_cancel(lane->worker->hub, &lane->task);
	while (!TAILQ_EMPTY(&lane->repairs))
		free_repair(lane, TAILQ_FIRST(&lane->repairs));
	mem_free(&lane->path);
}

void
worker_lane_add_repair(struct worker_lane *lane, const struct intent *intent)
{
	struct worker_repair *repair = mem_alloc(sizeof(*repair));

	arena_init(&repair->arena, 0);
	repair->intent = intent_copy(intent, &repair->arena);
	/* In the order in which they were made. */
	TAILQ_INSERT_TAIL(&lane->repairs, repair, next);
	for (size_t i = 0; i < intent->entry_count; i++)
		if (intent->entries[i].has_key)
			(void)worker_key_add(lane->worker, &intent->entries[i].key);
	loop_at_turn_end(lane->worker->hub, &lane->task);
}

void
worker_lane_add(struct worker_lane *lane, struct worker_post *post)
{
	TAILQ_INSERT_TAIL(&lane->waiting, post, next);
	lane->waiting_count++;
	loop_at_turn_end(lane->worker->hub, &lane->task);
}

static void
note_error(struct worker_lane *lane, const struct err *err)
{
	memcpy(lane->last_error, err->text, sizeof(lane->last_error));
}

/* --------------------------------------------------------------------- batches */

static uint64_t
post_bytes(const struct worker_post *post)
{
	return post->head.len + letter_quoted_bytes(post->letter);
}

static struct worker_batch *
take_batch(struct worker_lane *lane)
{
	struct worker_batch *batch = mem_alloc(sizeof(*batch));
	size_t count_max = lane->alone_count > 0 ? 1 : WORKER_BATCH_POSTS_MAX;
	struct worker_post *post;
	uint64_t bytes = 0;

	arena_init(&batch->arena, 0);
	while (batch->count < count_max && (post = TAILQ_FIRST(&lane->waiting)) != NULL) {
		bytes += post_bytes(post);
		if (batch->count > 0 && (bytes > WORKER_BATCH_BYTES_MAX ||
					 post->box->kind != batch->posts[0]->box->kind))
			break;
		TAILQ_REMOVE(&lane->waiting, post, next);
		lane->waiting_count--;
		batch->messages[batch->count] = (struct mbox_message){
			.head = post->head,
			.letter = post->letter,
			.delivery_id = post->delivery_id,
			.id_at = post->id_at,
			.has_key = post->has_key,
			.key = post->key,
		};
		batch->posts[batch->count++] = post;
	}
	if (lane->alone_count > 0)
		lane->alone_count--;
	return batch;
}

static void
drop_batch(struct worker_lane *lane)
{
	arena_fini(&lane->batch->arena);
	mem_free(&lane->batch);
}

/* The box is full: for a time it may still be emptied, then the sender is told. */
static void
fail_those_over_quota(struct worker_lane *lane)
{
	struct worker *worker = lane->worker;
	struct worker_batch *batch = lane->batch;
	uint64_t now_ms = loop_now_ms(worker->hub);

	if (batch->count > 0 && batch->over_count == 0)
		lane->over_since_ms = 0;
	if (batch->over_count > 0 && lane->over_since_ms == 0)
		lane->over_since_ms = now_ms;
	for (size_t i = 0; i < batch->over_count; i++) {
		struct worker_post *post = batch->posts[batch->count + i];
		uint64_t patience_ms = post->box->quota_patience_ms;
		struct reply reply;

		if (patience_ms > 0 && now_ms - lane->over_since_ms >= patience_ms)
			reply_set(&reply, 552, "5.2.2", "mailbox is full, and has been for long");
		else
			reply_set(&reply, 452, "4.2.2", "mailbox is full");
		worker->counts.over_quota++;
		worker_fail(worker, post, &reply);
	}
	if (batch->over_count > 0) {
		struct err err;

		(void)err_set(&err, ERR_LIMIT, "%s: the mailbox is full", lane->path);
		note_error(lane, &err);
	}
	batch->over_count = 0;
}

/* Back to the front of the queue, in their order. */
static void
put_batch_back(struct worker_lane *lane)
{
	struct worker_batch *batch = lane->batch;

	for (size_t i = batch->count; i-- > 0; ) {
		TAILQ_INSERT_HEAD(&lane->waiting, batch->posts[i], next);
		lane->waiting_count++;
	}
	batch->count = 0;
}

static void
fail_batch(struct worker_lane *lane, const struct err *err)
{
	struct worker_batch *batch = lane->batch;
	struct reply reply;

	mbox_reply(err, &reply);
	for (size_t i = 0; i < batch->count; i++)
		worker_fail(lane->worker, batch->posts[i], &reply);
	batch->count = 0;
}

static void
deliver_post(struct worker_lane *lane, struct worker_post *post)
{
	reply_set(&post->reply, 250, "2.0.0", "stored");
	lane->stored++;
	lane->worker->counts.stored++;
	if (post->has_key) {
		worker_delivered(lane->worker, &post->key);
		worker_key_finish(lane->worker, &post->key, true, NULL);
	}
	worker_settle(lane->worker, post);
}

/* --------------------------------------------------------------------- repairs */

static void
count_repair(struct worker_lane *lane, const struct mbox_repair *result, uint64_t delivered)
{
	struct worker_counts *counts = &lane->worker->counts;

	counts->repairs_cut += result->cut;
	counts->repairs_left += result->left;
	counts->repairs_whole += delivered != 0;
	if (result->cut)
		log_info("mailbox: %s: a torn message was cut off", lane->path);
	if (result->left)
		log_warn("mailbox: %s: a torn message was left: another program wrote behind it",
			 lane->path);
}

static uint64_t
delivered_bits(const struct mbox_repair *result, size_t count)
{
	uint64_t bits = 0;

	for (size_t i = 0; i < count; i++)
		bits |= (uint64_t)result->delivered[i] << i;
	return bits;
}

/* A repair is done: its end is known, and so is what others waited for. */
static void
finish_repair(struct worker_lane *lane, struct worker_repair *repair)
{
	const struct intent *intent = &repair->intent;
	uint64_t delivered = delivered_bits(&repair->result, intent->entry_count);

	count_repair(lane, &repair->result, delivered);
	worker_journal_end(lane->worker, intent->id, delivered);
	for (size_t i = 0; i < intent->entry_count; i++) {
		if (!intent->entries[i].has_key)
			continue;
		if (repair->result.delivered[i])
			worker_delivered(lane->worker, &intent->entries[i].key);
		worker_key_finish(lane->worker, &intent->entries[i].key,
				  repair->result.delivered[i], NULL);
	}
	free_repair(lane, repair);
}

/* It could not be done now: those that wait for its outcome come again later. */
static void
postpone_repair(struct worker_lane *lane, struct worker_repair *repair, const struct err *err)
{
	struct reply reply;

	mbox_reply(err, &reply);
	for (size_t i = 0; i < repair->intent.entry_count; i++) {
		const struct intent_key *key = &repair->intent.entries[i].key;

		if (!repair->intent.entries[i].has_key)
			continue;
		worker_key_finish(lane->worker, key, false, &reply);
		(void)worker_key_add(lane->worker, key);
	}
}

static void
settle_repairs(struct worker_lane *lane)
{
	struct worker_repair *repair = TAILQ_FIRST(&lane->repairs);

	while (repair != NULL) {
		struct worker_repair *next = TAILQ_NEXT(repair, next);

		if (repair->finished)
			finish_repair(lane, repair);
		else
			postpone_repair(lane, repair, &lane->err);
		repair = next;
	}
}

/* ----------------------------------------------------------------------- steps */

static void
rest(struct worker_lane *lane, uint64_t retry_max_ms)
{
	lane->retry_ms = lane->retry_ms == 0 ? WORKER_LOCK_RETRY_MIN_MS : lane->retry_ms * 3 / 2;
	if (lane->retry_ms > retry_max_ms)
		lane->retry_ms = retry_max_ms;
	lane->step = LANE_RESTING;
	loop_timer_start(lane->worker->hub, &lane->timer, lane->retry_ms);
}

/* Posts that waited for a lock long enough. */
static void
expire_waiting(struct worker_lane *lane, const struct err *err)
{
	uint64_t now_ms = loop_now_ms(lane->worker->hub);
	struct worker_post *post = TAILQ_FIRST(&lane->waiting);
	struct reply reply;

	mbox_reply(err, &reply);
	while (post != NULL) {
		struct worker_post *next = TAILQ_NEXT(post, next);

		if (post->deadline_ms <= now_ms || lane->worker->stopping) {
			TAILQ_REMOVE(&lane->waiting, post, next);
			lane->waiting_count--;
			worker_fail(lane->worker, post, &reply);
		}
		post = next;
	}
}

static void
submit(struct worker_lane *lane, enum worker_step step, void (*run)(void *ctx),
       void (*done)(void *ctx))
{
	lane->step = step;
	lane->wall_ms = loop_wall_ms(lane->worker->hub);
	work_job_init(&lane->job, run, done, NULL, lane);
	must(work_submit(lane->worker->box_pool, lane->worker->hub, &lane->job, NULL) == 0);
}

static void
begin(struct worker_lane *lane)
{
	struct worker *worker = lane->worker;
	const struct box *box = NULL;

	lane->batch = take_batch(lane);
	if (lane->batch->count > 0) {
		box = lane->batch->posts[0]->box;
		lane->batch->kind = box->kind;
		lane->batch->quota = box->quota;
	}
	lane->maildir_settings = (struct maildir_settings){
		.disk = worker->box_disk,
		.path = lane->path,
		.uid = box != NULL ? box->uid : 0,
		.create = box != NULL && box->create,
	};
	lane->settings = (struct mbox_settings){
		.lock = {
			.disk = worker->box_disk,
			.self = &worker->self,
			.witness = worker->witness,
			.dot_lock = box != NULL && box->dot_lock,
		},
		.path = lane->path,
		.uid = box != NULL ? box->uid : 0,
		.create = box != NULL && box->create,
	};
	submit(lane, LANE_OPENING, worker_job_open, opened);
}

/* From idle: begin the next batch, if there is anything to do. */
static void
go_on(struct worker_lane *lane)
{
	must(lane->step == LANE_IDLE && lane->batch == NULL);
	if (!TAILQ_EMPTY(&lane->waiting) ||
	    (!TAILQ_EMPTY(&lane->repairs) && !lane->worker->stopping))
		begin(lane);
	else
		worker_check_stopped(lane->worker);
}

static void
next_batch(struct worker_lane *lane)
{
	drop_batch(lane);
	lane->step = LANE_IDLE;
	go_on(lane);
}

static void
locked_out(struct worker_lane *lane)
{
	lane->worker->counts.lock_waits++;
	note_error(lane, &lane->err);
	put_batch_back(lane);
	drop_batch(lane);
	lane->step = LANE_IDLE;
	expire_waiting(lane, &lane->err);
	if (TAILQ_EMPTY(&lane->waiting) && TAILQ_EMPTY(&lane->repairs))
		go_on(lane);
	else if (TAILQ_EMPTY(&lane->waiting) && lane->worker->stopping)
		worker_check_stopped(lane->worker);
	else
		rest(lane, WORKER_LOCK_RETRY_MAX_MS);
}

/* The box cannot be opened, or not be repaired: its operator must look. */
static void
refused(struct worker_lane *lane)
{
	log_error("mailbox: %s", lane->err.text);
	note_error(lane, &lane->err);
	fail_batch(lane, &lane->err);
	if (TAILQ_EMPTY(&lane->repairs)) {
		next_batch(lane);
		return;
	}
	drop_batch(lane);
	lane->step = LANE_IDLE;
	if (lane->worker->stopping)
		go_on(lane);
	else
		rest(lane, WORKER_REPAIR_RETRY_MAX_MS);
}

static void
opened(void *ctx)
{
	struct worker_lane *lane = ctx;
	struct worker *worker = lane->worker;

	settle_repairs(lane);
	if (lane->open_result == MBOX_OPENED || lane->batch->over_count > 0)
		fail_those_over_quota(lane);
	if (lane->broke_lock) {
		worker->counts.locks_broken++;
		log_warn("mailbox: %s: a stale lock was broken: %s", lane->path, lane->err.text);
	}
	switch (lane->open_result) {
	case MBOX_BUSY:
		locked_out(lane);
		return;
	case MBOX_ABSENT:
		if (lane->batch->count > 0) {
			(void)err_set(&lane->err, ERR_REFUSED,
				      "%s: is not there, and is not to be made", lane->path);
			refused(lane);
			return;
		}
		break;
	case MBOX_REFUSED:
		refused(lane);
		return;
	case MBOX_OPENED:
		if (lane->batch->count == 0)
			break;
		lane->retry_ms = 0;
		lane->step = LANE_JOURNALING;
		worker_journal_add(worker, lane);
		return;
	}
	lane->retry_ms = 0;
	next_batch(lane);
}

void
worker_lane_journaled(struct worker_lane *lane, bool failed, const struct err *err)
{
	must(lane->step == LANE_JOURNALING);
	lane->journal_failed = failed;
	if (failed)
		lane->err = *err;
	submit(lane, LANE_APPENDING, worker_job_append, appended);
}

/* Message by message, after an append that was neither done nor undone. */
static void
settle_torn(struct worker_lane *lane)
{
	struct worker_batch *batch = lane->batch;
	struct reply reply;

	mbox_reply(&lane->err, &reply);
	for (size_t i = 0; i < batch->count; i++) {
		if (batch->is_repaired && batch->repair.delivered[i])
			deliver_post(lane, batch->posts[i]);
		else
			worker_fail(lane->worker, batch->posts[i], &reply);
	}
	if (batch->is_repaired) {
		uint64_t delivered = delivered_bits(&batch->repair, batch->count);

		count_repair(lane, &batch->repair, delivered);
		worker_journal_end(lane->worker, batch->intent.id, delivered);
	} else {
		worker_lane_add_repair(lane, &batch->intent);
	}
}

static void
appended(void *ctx)
{
	struct worker_lane *lane = ctx;
	struct worker_batch *batch = lane->batch;
	struct worker *worker = lane->worker;

	if (lane->journal_failed) {
		note_error(lane, &lane->err);
		fail_batch(lane, &lane->err);
		next_batch(lane);
		return;
	}
	switch (lane->append_result) {
	case MBOX_APPENDED:
		lane->last_error[0] = '\0';
		lane->last_stored_ms = lane->wall_ms;
		worker->counts.batches++;
		worker_journal_end(worker, batch->intent.id, UINT64_MAX >> (64 - batch->count));
		for (size_t i = 0; i < batch->count; i++)
			deliver_post(lane, batch->posts[i]);
		break;
	case MBOX_UNDONE:
		log_warn("mailbox: %s: %s", lane->path, lane->err.text);
		note_error(lane, &lane->err);
		worker_journal_end(worker, batch->intent.id, 0);
		if (batch->count > 1 && box_disk_err_is_full(&lane->err)) {
			/* A small one may fit where a large one did not. */
			lane->alone_count = batch->count;
			put_batch_back(lane);
		} else {
			fail_batch(lane, &lane->err);
		}
		break;
	case MBOX_TORN:
		log_error("mailbox: %s: %s", lane->path, lane->err.text);
		note_error(lane, &lane->err);
		settle_torn(lane);
		break;
	}
	next_batch(lane);
}

void
worker_lane_give_up(struct worker_lane *lane)
{
	struct err err;

	(void)err_set(&err, ERR_BUSY, "the node is stopping");
	if (lane->step != LANE_RESTING)
		return;
	loop_timer_stop(lane->worker->hub, &lane->timer);
	expire_waiting(lane, &err);
	lane->step = LANE_IDLE;
}
