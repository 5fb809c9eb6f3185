#include "mailbox/worker_private.h"

#include <string.h>

#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

enum { REMEMBER_COUNT_MAX = 4 * 1024 * 1024 };

/* ------------------------------------------------------------------------ settling */

static void
tell_settled(void *ctx)
{
	struct worker *worker = ctx;

	while (!TAILQ_EMPTY(&worker->settled)) {
		struct worker_post *post = TAILQ_FIRST(&worker->settled);

		TAILQ_REMOVE(&worker->settled, post, next);
		worker->counts.waiting--;
		post->done(post->ctx, post);
	}
	worker_check_stopped(worker);
}

void
worker_settle(struct worker *worker, struct worker_post *post)
{
	must(post->reply.code != 0);
	TAILQ_INSERT_TAIL(&worker->settled, post, next);
	loop_at_turn_end(worker->hub, &worker->tell);
}

void
worker_fail(struct worker *worker, struct worker_post *post, const struct reply *reply)
{
	must(!reply_is_positive(reply));
	post->reply = *reply;
	worker->counts.failed++;
	if (post->has_key)
		worker_key_finish(worker, &post->key, false, reply);
	worker_settle(worker, post);
}

static void
absorb(struct worker *worker, struct worker_post *post)
{
	reply_set(&post->reply, 250, "2.0.0", "stored before");
	post->absorbed = true;
	worker->counts.absorbed++;
	worker_settle(worker, post);
}

/* ---------------------------------------------------------------------------- keys */

void
worker_delivered(struct worker *worker, const struct intent_key *key)
{
	seen_add(&worker->seen, key, loop_wall_ms(worker->hub));
}

struct worker_key *
worker_key_find(struct worker *worker, const struct intent_key *key)
{
	struct worker_key *found;

	HASH_FIND(hh, worker->keys, key, sizeof(*key), found);
	return found;
}

struct worker_key *
worker_key_add(struct worker *worker, const struct intent_key *key)
{
	struct worker_key *added = worker_key_find(worker, key);

	if (added != NULL)
		return added;
	added = mem_alloc(sizeof(*added));
	added->key = *key;
	TAILQ_INIT(&added->followers);
	HASH_ADD(hh, worker->keys, key, sizeof(added->key), added);
	return added;
}

static void
enter(struct worker *worker, struct worker_post *post)
{
	struct worker_key *key;

	if (post->has_key) {
		if (seen_has(&worker->seen, &post->key)) {
			absorb(worker, post);
			return;
		}
		key = worker_key_find(worker, &post->key);
		if (key != NULL) {
			TAILQ_INSERT_TAIL(&key->followers, post, next);
			return;
		}
		(void)worker_key_add(worker, &post->key);
	}
	worker_lane_add(worker_lane_get(worker, post->box->path), post);
}

void
worker_key_finish(struct worker *worker, const struct intent_key *wanted, bool delivered,
		  const struct reply *reply)
{
	struct worker_key *key = worker_key_find(worker, wanted);
	struct worker_posts followers = TAILQ_HEAD_INITIALIZER(followers);

	if (key == NULL)
		return;
	TAILQ_CONCAT(&followers, &key->followers, next);
	HASH_DEL(worker->keys, key);
	mem_free(&key);
	while (!TAILQ_EMPTY(&followers)) {
		struct worker_post *post = TAILQ_FIRST(&followers);

		TAILQ_REMOVE(&followers, post, next);
		if (delivered) {
			absorb(worker, post);
		} else if (reply != NULL) {
			post->reply = *reply;
			worker->counts.failed++;
			worker_settle(worker, post);
		} else {
			enter(worker, post);
		}
	}
}

/* --------------------------------------------------------------------------- posts */

struct worker_lane *
worker_lane_get(struct worker *worker, const char *path)
{
	struct worker_lane *lane;

	HASH_FIND_STR(worker->lanes, path, lane);
	if (lane != NULL)
		return lane;
	lane = mem_alloc(sizeof(*lane));
	worker_lane_init(lane, worker, path);
	HASH_ADD_KEYPTR(hh, worker->lanes, lane->path, strlen(lane->path), lane);
	return lane;
}

void
worker_submit(struct worker *worker, struct worker_post *post)
{
	post->reply = (struct reply){ 0 };
	post->absorbed = false;
	post->deadline_ms = loop_now_ms(worker->hub) + post->box->lock_wait_ms;
	worker->counts.waiting++;
	enter(worker, post);
}

/* ------------------------------------------------------------------ life and death */

/* An intent found in the journal: of its box we know nothing yet. */
struct found {
	struct worker *worker;
	struct arena arena;
	struct intent **intents;
	size_t count;
	size_t capacity;
};

static void
found_intent(void *ctx, const struct intent *intent)
{
	struct found *found = ctx;

	if (found->count == found->capacity) {
		found->capacity = found->capacity ? 2 * found->capacity : 16;
		found->intents = mem_resize_array(found->intents, found->capacity,
						  sizeof(*found->intents));
	}
	found->intents[found->count] = arena_alloc(&found->arena, sizeof(*intent));
	*found->intents[found->count++] = intent_copy(intent, &found->arena);
}

static void
found_key(void *ctx, const struct intent_key *key, int64_t wall_ms)
{
	struct found *found = ctx;

	seen_add(&found->worker->seen, key, wall_ms);
}

static int
open_journal(struct worker *worker, const struct worker_settings *settings, struct err *err)
{
	struct found found = { .worker = worker };
	const struct mbox_journal_settings journal_settings = {
		.disk = settings->journal_disk,
		.random = settings->random,
		.segment_bytes = settings->journal_segment_bytes,
		.wall_ms = loop_wall_ms(worker->hub),
		.remember_ms = settings->remember_ms,
	};
	const struct mbox_journal_found callbacks = {
		.intent = found_intent,
		.key = found_key,
		.ctx = &found,
	};
	int result;

	arena_init(&found.arena, 0);
	result = mbox_journal_open(&worker->journal, &journal_settings, &callbacks, err);
	if (result == 0) {
		worker->journal_state = mbox_journal_state(worker->journal);
		lock_owner_self(&worker->self, worker->journal_state.node);
		for (size_t i = 0; i < found.count; i++) {
			char *path = mem_dup_text(found.intents[i]->path.data,
						  found.intents[i]->path.len);

			worker_lane_add_repair(worker_lane_get(worker, path), found.intents[i]);
			mem_free(&path);
		}
	}
	mem_free(&found.intents);
	arena_fini(&found.arena);
	return result;
}

struct worker *
worker_new(const struct worker_settings *settings, struct err *err)
{
	struct worker *worker = mem_alloc(sizeof(*worker));
	const struct work_pool_settings box_pool = {
		.name = "box",
		.thread_count = settings->thread_count,
		.job_count_max = WORKER_JOBS_MAX,
	};
	const struct work_pool_settings journal_pool = {
		.name = "journal",
		.thread_count = 1,
		.job_count_max = 1,
	};

	worker->hub = settings->hub;
	worker->box_disk = settings->box_disk;
	worker->witness = settings->witness;
	worker->remember_ms = settings->remember_ms;
	worker->hostname = mem_dup_cstr(settings->hostname);
	TAILQ_INIT(&worker->settled);
	loop_task_init(&worker->tell, tell_settled, worker);
	seen_init(&worker->seen, settings->remember_count_max ? settings->remember_count_max
							      : REMEMBER_COUNT_MAX);
	worker_journal_init(worker);
	if (open_journal(worker, settings, err) < 0 ||
	    (worker->box_pool = work_pool_new(&box_pool, err)) == NULL ||
	    (worker->journal_pool = work_pool_new(&journal_pool, err)) == NULL)
		worker_free(&worker);
	return worker;
}

void
worker_free(struct worker **worker_ptr)
{
	struct worker *worker = *worker_ptr;
	struct worker_lane *lane, *next_lane;
	struct worker_key *key, *next_key;

	if (worker == NULL)
		return;
	loop_timer_stop(worker->hub, &worker->flush_timer);
	loop_timer_stop(worker->hub, &worker->forget_timer);
	loop_task_cancel(worker->hub, &worker->tell);
	if (worker->box_pool != NULL)
		work_pool_free(&worker->box_pool);
	if (worker->journal_pool != NULL)
		work_pool_free(&worker->journal_pool);
	HASH_ITER(hh, worker->lanes, lane, next_lane) {
		HASH_DEL(worker->lanes, lane);
		worker_lane_fini(lane);
		mem_free(&lane);
	}
	HASH_ITER(hh, worker->keys, key, next_key) {
		HASH_DEL(worker->keys, key);
		mem_free(&key);
	}
	mbox_journal_close(&worker->journal);
	seen_fini(&worker->seen);
	mem_free(&worker->hostname);
	mem_free(&worker->ends);
	mem_free(&worker->job_ends);
	mem_free(worker_ptr);
}

void
worker_hurry(struct worker *worker)
{
	struct worker_lane *lane, *next;

	worker->stopping = true;
	HASH_ITER(hh, worker->lanes, lane, next)
		worker_lane_give_up(lane);
}

void
worker_stop(struct worker *worker, void (*stopped)(void *ctx), void *ctx)
{
	must(worker->stopped == NULL);
	worker->stopped = stopped;
	worker->stopped_ctx = ctx;
	worker_hurry(worker);
	loop_at_turn_end(worker->hub, &worker->tell);
}

void
worker_check_stopped(struct worker *worker)
{
	void (*stopped)(void *ctx) = worker->stopped;
	struct worker_lane *lane, *next;

	if (!worker->stopping || stopped == NULL || worker->counts.waiting > 0)
		return;
	HASH_ITER(hh, worker->lanes, lane, next)
		if (lane->step != LANE_IDLE)
			return;
	if (!worker_journal_is_idle(worker)) {
		worker_journal_flush(worker);
		return;
	}
	worker->stopped = NULL;
	stopped(worker->stopped_ctx);
}

struct work_pool *
worker_pool(const struct worker *worker)
{
	return worker->box_pool;
}

bool
worker_may_store(const struct worker *worker)
{
	return atomic_load_explicit(&worker->may_store, memory_order_relaxed);
}

uint64_t
worker_node_id(const struct worker *worker)
{
	return worker->self.node;
}

struct worker_counts
worker_counts(const struct worker *worker)
{
	struct worker_counts counts = worker->counts;
	const struct worker_lane *lane;
	const struct worker_repair *repair;

	counts.journal_syncs = worker->journal_state.batch_count;
	counts.journal_damaged = worker->journal_state.damaged_count;
	counts.remembered = worker->seen.count;
	for (lane = worker->lanes; lane != NULL; lane = lane->hh.next)
		TAILQ_FOREACH(repair, &lane->repairs, next)
			counts.repairs_pending++;
	return counts;
}

struct worker_box_state
worker_box_state(const struct worker *worker, const char *path)
{
	const struct worker_lane *lane;

	HASH_FIND_STR(worker->lanes, path, lane);
	if (lane == NULL)
		return (struct worker_box_state){ .state = "idle", .last_error = "" };
	return (struct worker_box_state){
		.waiting = lane->waiting_count + (lane->batch != NULL ? lane->batch->count : 0),
		.stored = lane->stored,
		.state = !TAILQ_EMPTY(&lane->repairs) ? "repair"
		       : lane->step == LANE_IDLE ? "idle"
		       : lane->step == LANE_RESTING ? "locked" : "writing",
		.last_error = lane->last_error,
		.last_stored_ms = lane->last_stored_ms,
	};
}
