#include "mailbox/worker_private.h"

#include <string.h>

#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

static void kick(struct worker *worker, bool flush);

/* ------------------------------------------------------------- on the journal's thread */

static void
run(void *ctx)
{
	struct worker *worker = ctx;
	struct intent *intents[MBOX_JOURNAL_BATCH_INTENTS_MAX];

	for (size_t i = 0; i < worker->job_end_count; i++)
		mbox_journal_end(worker->journal, &worker->job_ends[i].end,
				 worker->job_ends[i].wall_ms);
	for (size_t i = 0; i < worker->job_lane_count; i++)
		intents[i] = &worker->job_lanes[i]->batch->intent;
	if (worker->job_lane_count > 0)
		worker->job_failed = mbox_journal_write(worker->journal, intents,
							worker->job_lane_count,
							&worker->journal_err) < 0;
	else
		worker->job_failed = mbox_journal_flush(worker->journal,
							&worker->journal_err) < 0;
	if (worker->job_forgets)
		mbox_journal_forget(worker->journal, worker->job_wall_ms);
	worker->journal_state = mbox_journal_state(worker->journal);
}

/* ---------------------------------------------------------------------- on the hub */

/* Is anything left that a sync has not seen? */
static bool
has_ends(const struct worker *worker)
{
	return worker->end_count > 0 || worker->journal_state.pending_end_count > 0;
}

static void
note_failure(struct worker *worker)
{
	worker->counts.journal_failures++;
	if (atomic_exchange(&worker->may_store, false))
		log_error("mailbox journal: %s: no mail is stored until it can be written again",
			  worker->journal_err.text);
	worker->probe_ms = worker->probe_ms == 0 ? WORKER_FLUSH_MS : worker->probe_ms * 2;
	if (worker->probe_ms > WORKER_PROBE_MAX_MS)
		worker->probe_ms = WORKER_PROBE_MAX_MS;
	loop_timer_start(worker->hub, &worker->flush_timer, worker->probe_ms);
}

static void
note_success(struct worker *worker)
{
	if (!atomic_exchange(&worker->may_store, true))
		log_info("mailbox journal: it can be written again");
	worker->probe_ms = 0;
}

static void
done(void *ctx)
{
	struct worker *worker = ctx;
	struct worker_lane *lanes[MBOX_JOURNAL_BATCH_INTENTS_MAX];
	size_t count = worker->job_lane_count;
	bool failed = worker->job_failed;

	worker->journal_runs = false;
	worker->job_forgets = false;
	memcpy(lanes, worker->job_lanes, count * sizeof(lanes[0]));
	if (failed)
		note_failure(worker);
	else
		note_success(worker);
	for (size_t i = 0; i < count; i++)
		worker_lane_journaled(lanes[i], failed, &worker->journal_err);
	kick(worker, worker->stopping && !failed);
	worker_check_stopped(worker);
}

/* Begin a batch, if there is one and none is under way. */
static void
kick(struct worker *worker, bool flush)
{
	struct worker_journal_end *spare = worker->job_ends;

	if (worker->journal_runs ||
	    (TAILQ_EMPTY(&worker->journal_lanes) &&
	     !(flush && (has_ends(worker) || worker->job_forgets))))
		return;
	worker->job_lane_count = 0;
	while (worker->job_lane_count < MBOX_JOURNAL_BATCH_INTENTS_MAX &&
	       !TAILQ_EMPTY(&worker->journal_lanes)) {
		struct worker_lane *lane = TAILQ_FIRST(&worker->journal_lanes);

		TAILQ_REMOVE(&worker->journal_lanes, lane, journal_next);
		worker->job_lanes[worker->job_lane_count++] = lane;
	}
	/* The ends go along, and the array that went with the last batch takes the next ones. */
	worker->job_ends = worker->ends;
	worker->job_end_count = worker->end_count;
	worker->ends = spare;
	worker->end_count = 0;
	size_t capacity = worker->job_end_capacity;

	worker->job_end_capacity = worker->end_capacity;
	worker->end_capacity = capacity;
	worker->job_wall_ms = loop_wall_ms(worker->hub);
	worker->journal_runs = true;
	work_job_init(&worker->journal_job, run, done, NULL, worker);
	must(work_submit(worker->journal_pool, worker->hub, &worker->journal_job, NULL) == 0);
}

static void
flush_timer_fired(void *ctx)
{
	struct worker *worker = ctx;

	kick(worker, true);
}

static void
forget_timer_fired(void *ctx)
{
	struct worker *worker = ctx;

	seen_forget(&worker->seen,
		    loop_wall_ms(worker->hub) - (int64_t)worker->remember_ms);
	if (!worker->journal_runs) {
		worker->job_forgets = true;
		kick(worker, true);
	}
	loop_timer_start(worker->hub, &worker->forget_timer, WORKER_FORGET_MS);
}

void
worker_journal_init(struct worker *worker)
{
	TAILQ_INIT(&worker->journal_lanes);
	atomic_init(&worker->may_store, true);
	loop_timer_init(&worker->flush_timer, flush_timer_fired, worker);
	loop_timer_init(&worker->forget_timer, forget_timer_fired, worker);
	loop_timer_start(worker->hub, &worker->forget_timer, WORKER_FORGET_MS);
}

void
worker_journal_add(struct worker *worker, struct worker_lane *lane)
{
	TAILQ_INSERT_TAIL(&worker->journal_lanes, lane, journal_next);
	kick(worker, false);
}

void
worker_journal_end(struct worker *worker, uint64_t intent_id, uint64_t delivered)
{
	if (worker->end_count == worker->end_capacity) {
		worker->end_capacity = worker->end_capacity ? 2 * worker->end_capacity : 64;
		worker->ends = mem_resize_array(worker->ends, worker->end_capacity,
						sizeof(*worker->ends));
	}
	worker->ends[worker->end_count++] = (struct worker_journal_end){
		.end = { .intent_id = intent_id, .delivered = delivered },
		.wall_ms = loop_wall_ms(worker->hub),
	};
	if (!loop_timer_is_running(&worker->flush_timer))
		loop_timer_start(worker->hub, &worker->flush_timer, WORKER_FLUSH_MS);
}

void
worker_journal_flush(struct worker *worker)
{
	kick(worker, true);
}

bool
worker_journal_is_idle(const struct worker *worker)
{
	/* A journal that cannot be written does not hold up the end: boxes tell the rest. */
	return !worker->journal_runs && TAILQ_EMPTY(&worker->journal_lanes) &&
	       (!has_ends(worker) || worker->job_failed);
}
