#include "relay/outbound/outbound_private.h"

#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	OUTBOUND_SWEEP_MS = 60 * 1000,
	OUTBOUND_IDLE_MS = 10 * 60 * 1000,      /* a destination without mail is forgotten */
	OUTBOUND_CONNECTIONS_MAX = 1000,
	OUTBOUND_JOBS_PER_CONNECTION = 4,
};

static const struct stats_def stat_defs[OUTBOUND_STAT_COUNT] = {
	[OUTBOUND_STAT_ATTEMPTS] = { "outbound_attempts_total", STATS_COUNTER,
	    .help = "Attempts that reached, or tried to reach, a host." },
	[OUTBOUND_STAT_DELIVERED] = { "outbound_recipients_total", STATS_COUNTER,
	    .labels = "outcome=\"delivered\"", .help = "What became of recipients." },
	[OUTBOUND_STAT_DEFERRED] = { "outbound_recipients_total", STATS_COUNTER,
	    .labels = "outcome=\"deferred\"", .help = "What became of recipients." },
	[OUTBOUND_STAT_FAILED] = { "outbound_recipients_total", STATS_COUNTER,
	    .labels = "outcome=\"failed\"", .help = "What became of recipients." },
	[OUTBOUND_STAT_EXPIRED] = { "outbound_recipients_total", STATS_COUNTER,
	    .labels = "outcome=\"expired\"", .help = "What became of recipients." },
	[OUTBOUND_STAT_UNCERTAIN] = { "outbound_recipients_total", STATS_COUNTER,
	    .labels = "outcome=\"uncertain\"", .help = "What became of recipients." },
	[OUTBOUND_STAT_DISCARDED] = { "outbound_discarded_total", STATS_COUNTER,
	    .help = "Recipients that failed and nobody could or would be told." },
	[OUTBOUND_STAT_NOTICES] = { "outbound_notifications_total", STATS_COUNTER,
	    .help = "Notifications sent to senders." },
	[OUTBOUND_STAT_BREAKER_OPENED] = { "outbound_breakers_total", STATS_COUNTER,
	    .labels = "change=\"opened\"", .help = "Hosts found down, and back." },
	[OUTBOUND_STAT_BREAKER_CLOSED] = { "outbound_breakers_total", STATS_COUNTER,
	    .labels = "change=\"closed\"", .help = "Hosts found down, and back." },
};

static const struct stats_table stat_table = { stat_defs, OUTBOUND_STAT_COUNT };

static const struct dispatch_ops dispatch_ops = {
	.start = job_start,
	.resolve = domain_resolve,
	.expire = failure_expire,
	.reroute = letter_reroute,
	.rebound = letter_rebound,
	.notice = failure_notice,
};

int64_t
outbound_wall_of(const struct outbound *outbound, int64_t at_ms)
{
	if (at_ms == INT64_MAX || at_ms == INT64_MIN)
		return 0;
	return loop_wall_ms(outbound->hub) + (at_ms - (int64_t)outbound_now(outbound));
}

/* ---- time ---- */

static void
act(void *ctx)
{
	struct outbound *outbound = ctx;
	uint64_t now_ms = outbound_now(outbound);
	bool more = letters_place_some(outbound);
	int64_t next_ms;

	more |= dispatch_run(&outbound->dispatch, OUTBOUND_TURN_MAX, now_ms);
	failure_run_pending(outbound);
	next_ms = more ? (int64_t)now_ms : dispatch_next_ms(&outbound->dispatch);
	if (next_ms == INT64_MAX)
		loop_timer_stop(outbound->hub, &outbound->timer);
	else
		loop_timer_start_at(outbound->hub, &outbound->timer,
		    next_ms > (int64_t)now_ms ? (uint64_t)next_ms : now_ms);
}

void
outbound_wake(struct outbound *outbound)
{
	loop_at_turn_end(outbound->hub, &outbound->turn_end);
}

static void
timer_fired(void *ctx)
{
	outbound_wake(ctx);
}

static void
sweep(void *ctx)
{
	struct outbound *outbound = ctx;

	dispatch_sweep(&outbound->dispatch, OUTBOUND_IDLE_MS, outbound_now(outbound),
	    outbound_destination_dropped, outbound);
	loop_timer_start(outbound->hub, &outbound->sweep, OUTBOUND_SWEEP_MS);
}

/* ---- workers ---- */

static void
pool_done(void *ctx, struct job *job)
{
	struct worker *worker = ctx;

	job_post_back(worker->outbound, job);
}

struct connections_note {
	struct loop_post post;
	struct worker *worker;
	uint64_t destination;
	uint32_t count;
};

static void
connections_noted(void *ctx)
{
	struct connections_note *note = ctx;
	struct dispatch *dispatch = &note->worker->outbound->dispatch;

	for (struct destination *it = dispatch->destinations; it; it = it->hh.next)
		if (it->number == note->destination)
			dispatch_connections(dispatch, it, note->worker->number, note->count);
	mem_free(&note);
}

static void
pool_connections(void *ctx, uint64_t destination, uint32_t count)
{
	struct worker *worker = ctx;
	struct connections_note *note = mem_alloc(sizeof(*note));

	note->worker = worker;
	note->destination = destination;
	note->count = count;
	loop_post_init(&note->post, connections_noted, note);
	loop_post(worker->outbound->hub, &note->post);
}

static void
check_stopped(struct outbound *outbound)
{
	void (*stopped)(void *ctx) = outbound->stopped;

	for (size_t i = 0; i < outbound->worker_count; i++)
		if (!outbound->workers[i].stopped)
			return;
	if (!stopped)
		return;
	must(TAILQ_EMPTY(&outbound->jobs) || !TAILQ_FIRST(&outbound->jobs)->posted);
	outbound->stopped = NULL;
	stopped(outbound->stopped_ctx);
}

static void
worker_stopped(void *ctx)
{
	struct worker *worker = ctx;

	worker->stopped = true;
	check_stopped(worker->outbound);
}

/* On the worker's thread: all its jobs are on their way home, in front of this. */
static void
pool_stopped(void *ctx)
{
	struct worker *worker = ctx;

	pool_free(&worker->pool);
	loop_post_init(&worker->stopped_post, worker_stopped, worker);
	loop_post(worker->outbound->hub, &worker->stopped_post);
}

static const struct pool_ops pool_ops = {
	.done = pool_done,
	.connections = pool_connections,
	.stopped = pool_stopped,
};

static void
stop_worker(void *ctx)
{
	struct worker *worker = ctx;

	pool_stop(worker->pool, worker->grace_ms);
}

/* ---- birth and death ---- */

struct outbound *
outbound_new(const struct outbound_settings *settings)
{
	struct outbound *outbound = mem_alloc(sizeof(*outbound));

	must(settings->worker_count > 0);
	outbound->settings = *settings;
	outbound->hub = settings->hub;
	outbound->queue = settings->queue;
	outbound->worker_count = settings->worker_count;
	outbound->words = history_words_new();
	outbound->cells = stats_attach(settings->stats, &stat_table);
	outbound->resolver = resolver_client_new(settings->resolver, settings->hub);
	retry_policy_init(&outbound->retry_without_route);
	TAILQ_INIT(&outbound->letters);
	TAILQ_INIT(&outbound->kept);
	TAILQ_INIT(&outbound->pending);
	TAILQ_INIT(&outbound->zombies);
	TAILQ_INIT(&outbound->jobs);
	TAILQ_INIT(&outbound->verbs);
	SLIST_INIT(&outbound->remembered);
	dispatch_init(&outbound->dispatch, &(struct dispatch_settings){
		.random = settings->random,
		.ops = &dispatch_ops,
		.ctx = outbound,
		.worker_count = settings->worker_count,
		.running_max = OUTBOUND_CONNECTIONS_MAX * OUTBOUND_JOBS_PER_CONNECTION,
		.host_max = JOB_HOST_COUNT_MAX,
	});
	loop_timer_init(&outbound->timer, timer_fired, outbound);
	loop_timer_init(&outbound->sweep, sweep, outbound);
	loop_task_init(&outbound->turn_end, act, outbound);
	loop_timer_start(outbound->hub, &outbound->sweep, OUTBOUND_SWEEP_MS);

	outbound->workers = mem_alloc_array(settings->worker_count, sizeof(*outbound->workers));
	for (size_t i = 0; i < settings->worker_count; i++) {
		struct worker *worker = &outbound->workers[i];

		worker->outbound = outbound;
		worker->number = i;
		worker->loop = settings->workers[i].loop;
		worker->pool = pool_new(&(struct pool_settings){
			.loop = worker->loop,
			.port = settings->workers[i].port,
			.resolver = settings->resolver,
			.worker = i,
			.connection_max = OUTBOUND_CONNECTIONS_MAX,
		}, &pool_ops, worker);
	}
	return outbound;
}

void
outbound_stop(struct outbound *outbound, uint64_t grace_ms, void (*stopped)(void *ctx), void *ctx)
{
	must(!outbound->stopping);
	outbound->stopping = true;
	outbound->dispatch.paused = true;
	outbound->stopped = stopped;
	outbound->stopped_ctx = ctx;
	for (size_t i = 0; i < outbound->worker_count; i++) {
		struct worker *worker = &outbound->workers[i];

		worker->grace_ms = grace_ms;
		loop_post_init(&worker->stop_post, stop_worker, worker);
		loop_post(worker->loop, &worker->stop_post);
	}
}

/*
 * Jobs still here were never posted, or belong to workers that run no more: the
 * queue has them as they were, and tries them again after the next start.
 */
static void
free_jobs(struct outbound *outbound)
{
	struct job *job;

	while ((job = TAILQ_FIRST(&outbound->jobs))) {
		struct unit *unit = job->unit;

		TAILQ_REMOVE(&outbound->jobs, job, of_hub);
		if (!token_is_empty(job->token) && !job->posted)
			queue_cancel(outbound->queue, &job->token);
		dispatch_returned(&outbound->dispatch, unit, job->worker, 0,
		    outbound_now(outbound));
		dispatch_settling(&outbound->dispatch, unit, outbound_now(outbound));
		job_free(&job);
	}
}

static void
free_letters(struct outbound *outbound)
{
	struct letter *letter;

	while ((letter = TAILQ_FIRST(&outbound->letters))) {
		queue_set_user(outbound->queue, letter->message.id, NULL);
		letter_free(letter);
	}
	while ((letter = TAILQ_FIRST(&outbound->zombies)))
		letter_free(letter);
}

void
outbound_free(struct outbound **outbound_pointer)
{
	struct outbound *outbound = *outbound_pointer;

	*outbound_pointer = NULL;
	if (!outbound)
		return;
	outbound->dispatch.paused = true;
	free_jobs(outbound);
	outbound_free_verbs(outbound);
	domain_cancel_all(outbound);
	free_letters(outbound);
	outbound_release_named(outbound);
	dispatch_sweep(&outbound->dispatch, 0, outbound_now(outbound),
	    outbound_destination_dropped, outbound);
	dispatch_fini(&outbound->dispatch);
	loop_timer_stop(outbound->hub, &outbound->timer);
	loop_timer_stop(outbound->hub, &outbound->sweep);
	loop_task_cancel(outbound->hub, &outbound->turn_end);
	for (size_t i = 0; i < outbound->worker_count; i++)
		pool_free(&outbound->workers[i].pool);
	mem_free(&outbound->workers);
	resolver_client_free(&outbound->resolver);
	outbound_drop_config(outbound);
	memory_free(outbound);
	route_table_unref(&outbound->routes);
	history_words_free(&outbound->words);
	stats_detach(&outbound->cells);
	mem_free(&outbound);
}
