#include "relay/outbound/outbound_private.h"

#include <string.h>

#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

static void job_returned(void *ctx);

/* ---- out ---- */

static void
take_job(void *ctx)
{
	struct job *job = ctx;
	struct outbound *outbound = ((struct letter *)job->letter)->outbound;

	pool_take(outbound->workers[job->worker].pool, job);
}

static void
post_to_worker(struct outbound *outbound, struct job *job)
{
	job->posted = true;
	loop_post_init(&job->post, take_job, job);
	loop_post(outbound->workers[job->worker].loop, &job->post);
}

/* On the worker's thread: the answer goes home. */
void
job_post_back(struct outbound *outbound, struct job *job)
{
	loop_post_init(&job->post, job_returned, job);
	loop_post(outbound->hub, &job->post);
}

/*
 * A part of a message's recipients is on record before it leaves: after a crash
 * they are known to be possibly there (DECISIONS.md 3).
 */
static void
attempt_is_recorded(void *ctx, enum queue_result result, uint32_t batch)
{
	struct job *job = ctx;
	struct letter *letter = job->letter;
	struct outbound *outbound = letter->outbound;

	job->token = (struct token){ 0 };
	if (result == QUEUE_DONE || result == QUEUE_UNKNOWN) {
		job->batch = batch;
		if (!outbound->stopping && !letter->revoked && letter->wish == WISH_NONE) {
			post_to_worker(outbound, job);
			return;
		}
		job->end = JOB_NOT_STARTED;
	} else {
		job->end = result == QUEUE_NOT_FOUND ? JOB_GONE : JOB_LOCAL;
		(void)err_set(&job->err, ERR_BUSY, "the attempt cannot be recorded (%s)",
		    queue_result_name(result));
	}
	job_returned(job);
}

static void
record_attempt(struct outbound *outbound, struct job *job)
{
	struct letter *letter = job->letter;
	const struct unit *unit = job->unit;

	letter->batch_count++;
	job->is_part = true;
	job->token = queue_attempt(outbound->queue, job->id, unit->rcpts, unit->rcpt_count,
	    span_from_cstr(unit->destination->name), attempt_is_recorded, job);
}

/* In the order in which they came, so that no part of a message waits for others for ever. */
static void
start_waiting(struct outbound *outbound, struct letter *letter)
{
	bool is_over = outbound->stopping || letter->revoked || letter->wish != WISH_NONE;
	struct job *job;

	while ((is_over || letter->batch_count < OUTBOUND_BATCHES_MAX) &&
	    (job = TAILQ_FIRST(&letter->waiting))) {
		TAILQ_REMOVE(&letter->waiting, job, line);
		if (!is_over) {
			record_attempt(outbound, job);
			continue;
		}
		job->end = JOB_NOT_STARTED;
		job_post_back(outbound, job);
	}
}

static struct job *
make_job(struct outbound *outbound, struct unit *unit, const struct dispatch_order *order)
{
	struct letter *letter = letter_of(unit);
	struct destination *destination = unit->destination;
	size_t host_count = order->host_count < JOB_HOST_COUNT_MAX ? order->host_count :
	    JOB_HOST_COUNT_MAX;
	struct job *job = job_new(unit->rcpt_count, host_count);

	job->letter = letter;
	job->unit = unit;
	job->serial = ++outbound->job_serial;
	job->id = letter->message.id;
	job->destination = destination->number;
	job->worker = order->worker;
	job->way = way_ref(destination->way);
	job->envelope = letter_take_envelope(letter);
	job->body = queue_body_in_memory(outbound->queue, job->id);
	job->connection_max = order->connection_max;
	job->begun_ms = outbound_now(outbound);
	for (size_t i = 0; i < host_count; i++) {
		job->hosts[i].host = order->hosts[i];
		job->hosts[i].preference = destination->hosts[order->hosts[i]].preference;
	}
	for (uint32_t i = 0; i < unit->rcpt_count; i++) {
		job->outcomes[i].rcpt = unit->rcpts[i];
		job->outcomes[i].fate = CALL_FATE_UNTRIED;
	}
	return job;
}

void
job_start(void *ctx, struct unit *unit, const struct dispatch_order *order)
{
	struct outbound *outbound = ctx;
	struct letter *letter = letter_of(unit);
	struct job *job = make_job(outbound, unit, order);

	TAILQ_INSERT_TAIL(&outbound->jobs, job, of_hub);
	if (unit->rcpt_count == letter->rcpt_count) {
		post_to_worker(outbound, job);
		return;
	}
	TAILQ_INSERT_TAIL(&letter->waiting, job, line);
	start_waiting(outbound, letter);
}

/* ---- asked to end ---- */

struct cancel {
	struct loop_post post;
	struct pool *pool;
	uint64_t serial;
};

static void
cancel_on_worker(void *ctx)
{
	struct cancel *cancel = ctx;

	pool_cancel(cancel->pool, cancel->serial, false);
	mem_free(&cancel);
}

void
job_cancel_all(struct outbound *outbound, struct letter *letter)
{
	struct job *job;

	TAILQ_FOREACH(job, &outbound->jobs, of_hub) {
		struct cancel *cancel;

		if (job->letter != letter || !job->posted)
			continue;
		cancel = mem_alloc(sizeof(*cancel));
		cancel->pool = outbound->workers[job->worker].pool;
		cancel->serial = job->serial;
		loop_post_init(&cancel->post, cancel_on_worker, cancel);
		loop_post(outbound->workers[job->worker].loop, &cancel->post);
	}
}

/* ---- back ---- */

static void
log_breaker(const struct destination *destination, const struct host *host, bool opened)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, opened ? "breaker-open" : "breaker-closed");
	log_cstr(&line, "host", host->name);
	log_cstr(&line, "dest", destination->name);
	if (opened) {
		log_u64(&line, "failures", host->breaker.failure_count);
		log_cstr(&line, "error", host->last_error);
	}
	log_u64(&line, "waiting", destination->ready_count);
	log_end(&line);
}

static void
report_hosts(struct outbound *outbound, const struct job *job, struct destination *destination)
{
	struct dispatch *dispatch = &outbound->dispatch;
	uint64_t now_ms = outbound_now(outbound);

	for (size_t i = 0; i < job->host_count; i++) {
		const struct job_host *told = &job->hosts[i];
		struct host *host = destination->hosts[told->host].host;

		switch (told->state) {
		case JOB_HOST_UNUSED:
			dispatch_host_unused(dispatch, destination, told->host, now_ms);
			break;
		case JOB_HOST_GOOD:
			dispatch_host_is_own(dispatch, host, false);
			memcpy(host->tls, told->tls, sizeof(host->tls));
			if (dispatch_host_good(dispatch, destination, told->host,
			    told->fresh ? destination_proven(destination, job->worker,
			    told->proven) : 0, now_ms)) {
				stats_add(outbound->cells, OUTBOUND_STAT_BREAKER_CLOSED, 1);
				memory_changed(outbound);
				log_breaker(destination, host, false);
			}
			break;
		case JOB_HOST_BAD:
			dispatch_host_is_own(dispatch, host, told->is_own);
			if (dispatch_host_bad(dispatch, destination, told->host, told->class,
			    span_from_cstr(told->words), job->begun_ms, now_ms)) {
				stats_add(outbound->cells, OUTBOUND_STAT_BREAKER_OPENED, 1);
				memory_changed(outbound);
				log_breaker(destination, host, true);
			}
			break;
		}
	}
}

/* Trouble of our own: the unit waits a little, and no attempt is counted. */
static void
defer_locally(struct outbound *outbound, struct job *job, struct unit *unit)
{
	const struct retry_policy *policy = letter_policy(outbound, unit);
	struct letter *letter = letter_of(unit);
	uint64_t now_ms = outbound_now(outbound);
	char id_text[QUEUE_ID_BYTES];
	uint64_t interval_ms;

	unit->class_count = unit->class == RETRY_LOCAL ? unit->class_count + 1 : 1;
	unit->class = RETRY_LOCAL;
	interval_ms = retry_interval_ms(policy, RETRY_LOCAL, unit->class_count,
	    letter_age_ms(letter, now_ms), outbound->settings.random);
	queue_id_print(job->id, id_text);
	log_error("outbound: %s: %s", id_text, job->err.text);
	unit->history = history_add(unit->history, outbound->words, loop_wall_ms(outbound->hub),
	    RETRY_LOCAL, SPAN(""), span_from_cstr(job->err.text));
	dispatch_defer(&outbound->dispatch, unit, (int64_t)(now_ms + interval_ms), now_ms);
}

static void
settle_by_end(struct outbound *outbound, struct job *job, struct unit *unit)
{
	uint64_t now_ms = outbound_now(outbound);
	struct letter *letter = letter_of(unit);

	switch (job->end) {
	case JOB_TRIED:
	case JOB_CUT:
		outcome_apply(outbound, job, unit);
		return;
	case JOB_NOT_STARTED:
		destination_rate_give_back(unit->destination);
		outcome_close_batch(outbound, job);
		if (letter->wish != WISH_NONE || letter->revoked)
			dispatch_defer(&outbound->dispatch, unit, INT64_MAX, now_ms);
		else
			dispatch_ready(&outbound->dispatch, unit, true, now_ms);
		return;
	case JOB_DAMAGED:
	case JOB_LOCAL:
		outcome_close_batch(outbound, job);
		defer_locally(outbound, job, unit);
		return;
	case JOB_GONE:
		/* Revoked follows, if it has not come already. */
		dispatch_defer(&outbound->dispatch, unit, INT64_MAX, now_ms);
		return;
	}
	must_not_reach();
}

static void
job_returned(void *ctx)
{
	struct job *job = ctx;
	struct unit *unit = job->unit;
	struct letter *letter = job->letter;
	struct outbound *outbound = letter->outbound;
	struct destination *destination = unit->destination;
	uint64_t now_ms = outbound_now(outbound);

	TAILQ_REMOVE(&outbound->jobs, job, of_hub);
	body_release(&job->body);
	job->took_ms = now_ms - job->begun_ms;
	report_hosts(outbound, job, destination);
	if (job->end == JOB_TRIED) {
		destination->attempt_count++;
		unit->tried = true;
		stats_add(outbound->cells, OUTBOUND_STAT_ATTEMPTS, 1);
	}
	dispatch_returned(&outbound->dispatch, unit, job->worker, job->connections, now_ms);
	if (job->is_part)
		letter->batch_count--;
	settle_by_end(outbound, job, unit);
	job_free(&job);
	start_waiting(outbound, letter);
	letter_settled(letter);
	outbound_wake(outbound);
}
