#include "relay/outbound/pool.h"

#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/outbound/pool_private.h"

enum {
	POOL_CONNECTION_MAX = 1000,
	POOL_LINK_MESSAGES_MAX = 2000,  /* then a connection is opened anew: load moves on */
	POOL_IDLE_MS = 20 * 1000,
};

static void pump(struct site *site);

static void
check_stop(void *ctx)
{
	struct pool *pool = ctx;

	if (!pool->stopping || pool->stopped || pool->link_count > 0 ||
	    !TAILQ_EMPTY(&pool->attempts))
		return;
	pool->stopped = true;
	loop_timer_stop(pool->settings.loop, &pool->grace);
	resolver_client_free(&pool->resolver);
	pool->ops->stopped(pool->ctx);
}

static void
schedule_check(struct pool *pool)
{
	if (pool->stopping && !pool->stopped)
		loop_at_turn_end(pool->settings.loop, &pool->check_stop);
}

static void
free_site(struct site *site)
{
	struct pool *pool = site->pool;

	if (site->is_starved)
		TAILQ_REMOVE(&pool->starved, site, starved);
	HASH_DEL(pool->sites, site);
	way_unref(&site->way);
	mem_free(&site);
}

static void
free_site_if_unused(struct site *site)
{
	if (site->link_count == 0 && site->attempt_count == 0 && TAILQ_EMPTY(&site->waiting))
		free_site(site);
}

static void
give_back(struct pool *pool, struct job *job, uint32_t connections)
{
	job->connections = connections;
	pool->ops->done(pool->ctx, job);
}

/* ---- links ---- */

static void
leave_idle(struct link *link)
{
	if (!link->idle)
		return;
	link->idle = false;
	TAILQ_REMOVE(&link->site->pool->idle, link, of_pool);
}

static void
quit_link(struct link *link)
{
	leave_idle(link);
	call_quit(link->call);
}

struct link *
pool_take_idle(struct site *site, uint8_t host)
{
	struct link *link;

	TAILQ_FOREACH(link, &site->links, of_site) {
		if (!link->idle || link->host != host || link->way != site->way ||
		    !call_is_ready(link->call))
			continue;
		leave_idle(link);
		return link;
	}
	return NULL;
}

struct link *
pool_add_link(struct attempt *attempt, uint8_t host)
{
	struct site *site = attempt->site;
	struct link *link = mem_alloc(sizeof(*link));

	link->site = site;
	link->way = way_ref(attempt->job->way);
	link->host = host;
	link->attempt = attempt;
	attempt->link = link;
	TAILQ_INSERT_TAIL(&site->links, link, of_site);
	site->link_count++;
	site->pool->link_count++;
	return link;
}

static void
feed_starved(struct pool *pool)
{
	struct site *site = TAILQ_FIRST(&pool->starved);

	if (!site)
		return;
	TAILQ_REMOVE(&pool->starved, site, starved);
	site->is_starved = false;
	pump(site);
}

void
pool_drop_link(struct link *link)
{
	struct site *site = link->site;
	struct pool *pool = site->pool;

	leave_idle(link);
	if (link->attempt)
		link->attempt->link = NULL;
	TAILQ_REMOVE(&site->links, link, of_site);
	site->link_count--;
	pool->link_count--;
	call_free(&link->call);
	way_unref(&link->way);
	mem_free(&link);
	feed_starved(pool);
	schedule_check(pool);
}

bool
pool_link_is_spent(const struct link *link)
{
	uint64_t stated = call_limits(link->call).message_count_max;

	return link->message_count >= POOL_LINK_MESSAGES_MAX ||
	    (stated && call_message_count(link->call) >= stated);
}

void
pool_release_link(struct link *link)
{
	struct site *site = link->site;
	struct pool *pool = site->pool;

	if (link->attempt)
		link->attempt->link = NULL;
	link->attempt = NULL;
	if (!call_is_ready(link->call))
		return;                 /* closed() follows */
	link->message_count++;
	if (pool->stopping || link->way != site->way || pool_link_is_spent(link)) {
		call_quit(link->call);
		return;
	}
	link->idle = true;
	TAILQ_INSERT_TAIL(&pool->idle, link, of_pool);
}

void
pool_idle_link_closed(struct link *link)
{
	struct site *site = link->site;
	struct pool *pool = site->pool;

	pool_drop_link(link);
	pool->ops->connections(pool->ctx, site->destination, site->link_count);
	pump(site);
	free_site_if_unused(site);
}

/* ---- jobs ---- */

/* An idle link to one of the job's best hosts, and where that host is in its order. */
static struct link *
take_idle_for(struct site *site, struct job *job)
{
	for (size_t i = 0; i < job->host_count; i++) {
		struct link *link;

		/* Warm or not, a host is no reason to pass over a better one. */
		if (job->hosts[i].preference != job->hosts[0].preference)
			return NULL;
		link = pool_take_idle(site, job->hosts[i].host);
		if (!link)
			continue;

		struct job_host first = job->hosts[0];

		job->hosts[0] = job->hosts[i];
		job->hosts[i] = first;
		return link;
	}
	return NULL;
}

static bool
has_room(struct site *site)
{
	struct pool *pool = site->pool;

	if (site->link_count >= site->connection_max) {
		struct link *link;

		/* What idles towards a host nobody asks for makes room. */
		TAILQ_FOREACH(link, &site->links, of_site)
			if (link->idle) {
				quit_link(link);
				return false;
			}
		return false;
	}
	if (pool->link_count < pool->settings.connection_max)
		return true;
	if (!TAILQ_EMPTY(&pool->idle))
		quit_link(TAILQ_FIRST(&pool->idle));
	if (!site->is_starved) {
		site->is_starved = true;
		TAILQ_INSERT_TAIL(&pool->starved, site, starved);
	}
	return false;
}

static void
pump(struct site *site)
{
	struct job *job;

	while ((job = TAILQ_FIRST(&site->waiting))) {
		struct link *link = take_idle_for(site, job);

		/* Attempts without a link yet will have one: they count as much. */
		if (!link && (site->attempt_count >= site->connection_max || !has_room(site)))
			return;
		TAILQ_REMOVE(&site->waiting, job, line);
		attempt_start(site, job, link);
	}
}

static uint32_t
connections_of(struct pool *pool, const struct job *job)
{
	struct site *site;

	HASH_FIND(hh, pool->sites, &job->destination, sizeof(job->destination), site);
	return site ? site->link_count : 0;
}

static void
return_unstarted(struct pool *pool, struct job *job)
{
	job->end = JOB_NOT_STARTED;
	give_back(pool, job, connections_of(pool, job));
}

static void
return_waiting(struct site *site)
{
	struct job *job;

	while ((job = TAILQ_FIRST(&site->waiting))) {
		TAILQ_REMOVE(&site->waiting, job, line);
		return_unstarted(site->pool, job);
	}
}

void
pool_finish(struct attempt *attempt)
{
	struct site *site = attempt->site;
	struct pool *pool = attempt->pool;
	struct job *job = attempt->job;
	bool failed = false;

	must(!attempt->link);
	TAILQ_REMOVE(&pool->attempts, attempt, of_pool);
	site->attempt_count--;
	mem_free(&attempt->rcpts);
	mem_free(&attempt->again_rcpts);
	mem_free(&attempt);

	for (size_t i = 0; i < job->host_count; i++)
		failed |= job->hosts[i].state == JOB_HOST_BAD;
	give_back(pool, job, site->link_count);
	/*
	 * Where a host failed, those that wait go back: the hub knows better than we
	 * whether to go on, and with which hosts.
	 */
	if (failed || pool->stopping)
		return_waiting(site);
	pump(site);
	free_site_if_unused(site);
	schedule_check(pool);
}

static struct site *
site_of(struct pool *pool, const struct job *job)
{
	struct site *site;

	HASH_FIND(hh, pool->sites, &job->destination, sizeof(job->destination), site);
	if (!site) {
		site = mem_alloc(sizeof(*site));
		site->pool = pool;
		site->destination = job->destination;
		TAILQ_INIT(&site->links);
		TAILQ_INIT(&site->waiting);
		HASH_ADD(hh, pool->sites, destination, sizeof(site->destination), site);
	}
	return site;
}

static void
use_way(struct site *site, struct way *way)
{
	struct link *link;

	if (site->way == way)
		return;
	way_unref(&site->way);
	site->way = way_ref(way);
	TAILQ_FOREACH(link, &site->links, of_site)
		if (link->idle)
			quit_link(link);
}

/* ---- jobs come in ---- */

static void
line_up(struct pool *pool, struct job *job)
{
	struct site *site = site_of(pool, job);

	use_way(site, job->way);
	site->connection_max = job->connection_max ? job->connection_max : 1;
	TAILQ_INSERT_TAIL(&site->waiting, job, line);
	pump(site);
}

static void
envelope_read(void *ctx, enum queue_result result, struct envelope *envelope)
{
	struct job *job = ctx;
	struct pool *pool = job->pool;

	TAILQ_REMOVE(&pool->fetching, job, line);
	job->envelope = envelope;
	if (envelope && job->outcomes[job->outcome_count - 1].rcpt >= envelope->rcpt_count)
		result = QUEUE_DAMAGED;
	if (result == QUEUE_DONE && envelope) {
		line_up(pool, job);
		return;
	}
	job->end = result == QUEUE_NOT_FOUND ? JOB_GONE :
	    result == QUEUE_DAMAGED ? JOB_DAMAGED : JOB_LOCAL;
	(void)err_set(&job->err, ERR_DAMAGED, "the envelope cannot be read (%s)",
	    queue_result_name(result));
	give_back(pool, job, connections_of(pool, job));
	schedule_check(pool);
}

void
pool_take(struct pool *pool, struct job *job)
{
	job->pool = pool;
	if (pool->stopping) {
		return_unstarted(pool, job);
		return;
	}
	if (job->envelope) {
		line_up(pool, job);
		return;
	}
	/* Read before it waits for a connection, so that none waits for a disk. */
	TAILQ_INSERT_TAIL(&pool->fetching, job, line);
	job->token = queue_read_envelope(pool->settings.port, job->id, envelope_read, job);
}

static void
stop_fetching(struct pool *pool, struct job *job)
{
	TAILQ_REMOVE(&pool->fetching, job, line);
	queue_port_cancel(pool->settings.port, &job->token);
	return_unstarted(pool, job);
}

void
pool_cancel(struct pool *pool, uint64_t serial, bool force)
{
	struct attempt *attempt;
	struct job *job;

	TAILQ_FOREACH(attempt, &pool->attempts, of_pool)
		if (attempt->job->serial == serial) {
			attempt_cut(attempt, force);
			return;
		}
	TAILQ_FOREACH(job, &pool->fetching, line)
		if (job->serial == serial) {
			stop_fetching(pool, job);
			return;
		}
	for (struct site *site = pool->sites; site; site = site->hh.next)
		TAILQ_FOREACH(job, &site->waiting, line)
			if (job->serial == serial) {
				TAILQ_REMOVE(&site->waiting, job, line);
				return_unstarted(pool, job);
				free_site_if_unused(site);
				return;
			}
}

/* ---- the end ---- */

static void
cut_all(void *ctx)
{
	struct pool *pool = ctx;
	struct attempt *attempt;
	struct site *site, *next;

	while ((attempt = TAILQ_FIRST(&pool->attempts)))
		attempt_cut(attempt, true);
	HASH_ITER(hh, pool->sites, site, next) {
		while (!TAILQ_EMPTY(&site->links))
			pool_drop_link(TAILQ_FIRST(&site->links));
		free_site_if_unused(site);
	}
	schedule_check(pool);
}

void
pool_stop(struct pool *pool, uint64_t grace_ms)
{
	struct site *site, *next;
	struct link *link;

	if (pool->stopping)
		return;
	pool->stopping = true;
	while (!TAILQ_EMPTY(&pool->fetching))
		stop_fetching(pool, TAILQ_FIRST(&pool->fetching));
	HASH_ITER(hh, pool->sites, site, next) {
		return_waiting(site);
		TAILQ_FOREACH(link, &site->links, of_site)
			if (link->idle)
				quit_link(link);
		free_site_if_unused(site);
	}
	loop_timer_start(pool->settings.loop, &pool->grace, grace_ms);
	schedule_check(pool);
}

struct pool *
pool_new(const struct pool_settings *settings, const struct pool_ops *ops, void *ctx)
{
	struct pool *pool = mem_alloc(sizeof(*pool));

	pool->settings = *settings;
	if (pool->settings.connection_max == 0)
		pool->settings.connection_max = POOL_CONNECTION_MAX;
	if (pool->settings.idle_ms == 0)
		pool->settings.idle_ms = POOL_IDLE_MS;
	pool->ops = ops;
	pool->ctx = ctx;
	pool->resolver = resolver_client_new(settings->resolver, settings->loop);
	TAILQ_INIT(&pool->attempts);
	TAILQ_INIT(&pool->fetching);
	TAILQ_INIT(&pool->idle);
	TAILQ_INIT(&pool->starved);
	loop_timer_init(&pool->grace, cut_all, pool);
	loop_task_init(&pool->check_stop, check_stop, pool);
	return pool;
}

void
pool_free(struct pool **pool_pointer)
{
	struct pool *pool = *pool_pointer;

	*pool_pointer = NULL;
	if (!pool)
		return;
	must(pool->link_count == 0 && TAILQ_EMPTY(&pool->attempts));
	resolver_client_free(&pool->resolver);
	mem_free(&pool);
}
