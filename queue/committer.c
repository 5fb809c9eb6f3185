#include "queue/committer_private.h"

#include <errno.h>

#include "queue/mutant.h"
#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	MANIFEST_BYTES_MAX = 64 << 20,
	LOOK_INTERVAL_MS = 1000,
};

static void
set_pressure(struct committer *committer, enum queue_pressure pressure, const char *why)
{
	/* Without a log there is none until a batch was written: else all would be tried again. */
	if (committer->pressure == pressure ||
	    (committer->pressure == PRESSURE_NO_LOG && committer->failure_count > 0))
		return;
	committer->pressure = pressure;
	committer->settings.events.pressure(committer->settings.ctx, pressure, why);
}

/* ---- all batches ------------------------------------------------------------ */

static void
refuse_pending(struct committer *committer, enum queue_result result, bool outcomes_too)
{
	struct commit_jobs kept = STAILQ_HEAD_INITIALIZER(kept);
	struct commit_job *job;

	while ((job = STAILQ_FIRST(&committer->pending)) != NULL) {
		STAILQ_REMOVE_HEAD(&committer->pending, next);
		if (job->class != COMMIT_MAIL && !outcomes_too)
			STAILQ_INSERT_TAIL(&kept, job, next);
		else
			commit_report(job, job->class == COMMIT_OUTCOME ? QUEUE_UNKNOWN : result);
	}
	STAILQ_CONCAT(&committer->pending, &kept);
}

static bool
has_outcome(const struct committer *committer)
{
	const struct commit_job *job;

	STAILQ_FOREACH(job, &committer->pending, next) {
		if (job->class != COMMIT_MAIL)
			return true;
	}
	return false;
}

/* A record that does not even fit into an empty segment. */
static void
refuse_first(struct committer *committer)
{
	struct commit_job *job = STAILQ_FIRST(&committer->pending);

	STAILQ_REMOVE_HEAD(&committer->pending, next);
	log_error("queue: a record of %u octets does not fit into a segment",
	    job->records[job->record_next].payload_bytes);
	commit_report(job, job->class == COMMIT_OUTCOME ? QUEUE_UNKNOWN : QUEUE_FAILED);
}

static bool
no_log(struct committer *committer, const char *why)
{
	log_error("queue: %s: nothing can be recorded", why);
	set_pressure(committer, PRESSURE_NO_LOG, why);
	refuse_pending(committer, QUEUE_FAILED, true);
	return false;
}

/* Opens for mail if it can be, else for outcomes.  False: nothing can be written now. */
static bool
open_for_pending(struct committer *committer)
{
	struct err err;

	while (commit_open(committer, true, &err) < 0) {
		if (err.kind == ERR_LIMIT || disk_err_is_full(&err)) {
			set_pressure(committer, PRESSURE_REFUSE, err.text);
			refuse_pending(committer, QUEUE_FULL, false);
			if (!has_outcome(committer))
				return false;
			if (commit_open(committer, false, &err) == 0)
				return true;
		}
		committer->look_due = true;
		if (++committer->failure_count >= 2)
			return no_log(committer, err.text);
	}
	return true;
}

static void
seal_whole(struct committer *committer)
{
	if (commit_footer(committer) == 0) {
		commit_seal(committer, committer->open.end);
		return;
	}
	committer->look_due = true;
	set_pressure(committer, PRESSURE_REFUSE, "a write or sync failed");
}

/* One batch, and what follows from it.  False: nothing more can be done now. */
static bool
commit_round(struct committer *committer)
{
	enum fit fit;

	if (!committer->is_open && !open_for_pending(committer))
		return false;
	bool was_fresh = commit_is_fresh(committer);

	if (commit_batch(committer, &fit) < 0) {
		committer->look_due = true;
		set_pressure(committer, PRESSURE_REFUSE, "a write or sync failed");
		if (committer->failure_count >= 2)
			return no_log(committer, "two segments failed one after the other");
		return true;
	}
	if (fit == FIT_NEXT_SEGMENT) {
		struct commit_job *job = STAILQ_FIRST(&committer->pending);

		if (!commit_job_may_use(committer, job)) {
			refuse_pending(committer, QUEUE_FULL, false);
		} else if (was_fresh && job->record_next == job->record_retry &&
		    committer->gather.record_count <= 1) {
			refuse_first(committer);
		} else {
			seal_whole(committer);
		}
	}
	return true;
}

static void look_after_room(struct committer *committer);

void
commit_step(struct committer *committer)
{
	while (!STAILQ_EMPTY(&committer->pending) && commit_round(committer))
		commit_announce_sealed(committer);
	commit_announce_sealed(committer);
	/* After a first failure a fresh segment is proven at once; after a second by the timer. */
	if (committer->look_due && committer->failure_count < 2 && !committer->recovering) {
		committer->look_due = false;
		look_after_room(committer);
	}
}

static uint32_t
count_messages(const struct committer *committer)
{
	const struct commit_job *job;
	uint32_t count = 0;

	STAILQ_FOREACH(job, &committer->pending, next)
		count += job->records[job->record_count - 1].type == RECORD_MESSAGE;
	return count;
}

static void
gathered(void *ctx)
{
	struct committer *committer = ctx;
	uint32_t message_count = count_messages(committer);

	loop_timer_stop(committer->settings.loop, &committer->crowd_timer);
	committer->crowd -= (committer->crowd + 7) / 8;
	if (committer->crowd < message_count)
		committer->crowd = message_count;
	commit_step(committer);
}

/*
 * A sync costs the same for one message as for fifty.  Where messages came many
 * at a time of late, a batch waits for as many to come, but not long.  A lone
 * session never has two in one batch, so it never waits.
 */
static void
turn_ended(void *ctx)
{
	struct committer *committer = ctx;

	if (committer->settings.gather_ms == 0 || committer->crowd < 2 ||
	    count_messages(committer) >= committer->crowd)
		gathered(committer);
	else if (!loop_timer_is_running(&committer->crowd_timer))
		loop_timer_start(committer->settings.loop, &committer->crowd_timer,
		    committer->settings.gather_ms);
}

void
committer_add(struct committer *committer, struct commit_job *job)
{
	job->record_next = 0;
	job->record_retry = 0;
	STAILQ_INSERT_TAIL(&committer->pending, job, next);
}

static void
job_arrived(void *ctx)
{
	struct commit_job *job = ctx;

	if (job->committer->closed) {
		commit_report(job, QUEUE_UNKNOWN);
		return;
	}
	committer_add(job->committer, job);
	loop_at_turn_end(job->committer->settings.loop, &job->committer->task);
}

void
commit_submit(struct committer *committer, struct commit_job *job)
{
	job->committer = committer;
	if (committer->closed) {
		commit_report(job, QUEUE_UNKNOWN);
		return;
	}
	loop_post_init(&job->post, job_arrived, job);
	loop_post(committer->settings.loop, &job->post);
}

/* ---- room, and logs that failed ---------------------------------------------- */

int
committer_write_manifest(struct committer *committer, struct err *err)
{
	enum fit fit;

	for (int i = 0; i < 2; i++) {
		if (!committer->is_open && commit_open(committer, true, err) < 0 &&
		    commit_open(committer, false, err) < 0)
			continue;
		committer->manifest_due = true;
		if (commit_batch(committer, &fit) == 0) {
			commit_announce_sealed(committer);
			return 0;
		}
		(void)err_set(err, ERR_SYSTEM, "%s: the log cannot be written",
		    committer->settings.disk->place);
	}
	return -1;
}

/* A log that failed twice is tried again now and then: a fresh segment proves it. */
static void
try_fresh_log(struct committer *committer)
{
	enum fit fit;
	struct err err;

	if (!committer->is_open && commit_open(committer, true, &err) < 0 &&
	    commit_open(committer, false, &err) < 0)
		return;
	if (commit_is_fresh(committer))
		(void)commit_batch(committer, &fit);
}

static void
look_after_room(struct committer *committer)
{
	struct slots_terms terms = commit_terms(committer, true);
	struct err err;

	if (committer->failure_count > 0) {
		try_fresh_log(committer);
		commit_announce_sealed(committer);
		if (committer->failure_count > 0)
			return;
	}
	if (!slots_has_room_for_mail(&committer->slots, &terms)) {
		set_pressure(committer, PRESSURE_REFUSE, "the disk is full up to the floor");
		return;
	}
	if (committer->is_open && committer->is_reserve)
		seal_whole(committer);
	commit_announce_sealed(committer);
	if (slots_make_reserve(&committer->slots, committer->settings.reserve_bytes, terms.wall_ms,
	    &err) < 0) {
		set_pressure(committer, PRESSURE_REFUSE, err.text);
		return;
	}
	set_pressure(committer, PRESSURE_NONE, "");
}

static void
count_room(struct committer *committer)
{
	uint64_t free_bytes, total_bytes;
	struct err err;

	if (disk_space(committer->settings.disk, &free_bytes, &total_bytes, &err) == 0)
		atomic_store(&committer->counts.disk_free_bytes, free_bytes);
	atomic_store(&committer->counts.free_count, committer->slots.free_count);
}

static void
look_timer_fired(void *ctx)
{
	struct committer *committer = ctx;

	look_after_room(committer);
	count_room(committer);
	loop_timer_start(committer->settings.loop, &committer->timer, LOOK_INTERVAL_MS);
}

void
committer_init(struct committer *committer, const struct committer_settings *settings)
{
	*committer = (struct committer){
		.settings = *settings,
		.number_next = 1,
		.batch_next = 1,
	};
	STAILQ_INIT(&committer->pending);
	STAILQ_INIT(&committer->in_batch);
	slots_init(&committer->slots, settings->disk, settings->node_id);
	gather_init(&committer->gather);
	footer_init(&committer->footer, settings->segment_bytes);
	buf_init(&committer->manifest, MANIFEST_BYTES_MAX);
	loop_task_init(&committer->task, turn_ended, committer);
	loop_timer_init(&committer->timer, look_timer_fired, committer);
	loop_timer_init(&committer->crowd_timer, gathered, committer);
}

void
committer_fini(struct committer *committer)
{
	must(!loop_timer_is_running(&committer->timer));
	slots_fini(&committer->slots);
	gather_fini(&committer->gather);
	footer_fini(&committer->footer);
	buf_fini(&committer->manifest);
	mem_free(&committer->live);
	mem_free(&committer->sealed);
}

void
committer_start(struct committer *committer)
{
	loop_timer_start(committer->settings.loop, &committer->timer, 0);
}

void
committer_stop(struct committer *committer)
{
	if (!STAILQ_EMPTY(&committer->pending))
		gathered(committer);
	committer_refuse(committer);
}

void
committer_refuse(struct committer *committer)
{
	committer->closed = true;
	loop_timer_stop(committer->settings.loop, &committer->timer);
	loop_timer_stop(committer->settings.loop, &committer->crowd_timer);
	loop_task_cancel(committer->settings.loop, &committer->task);
	refuse_pending(committer, QUEUE_FAILED, true);
}
