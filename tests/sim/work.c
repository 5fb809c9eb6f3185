/* relay/net/work.h in the simulation: a thread is a runner of the world. */
#include "relay/net/work.h"

#include "relay/base/container_of.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "tests/sim/loop_private.h"

struct work_thread {
	struct loop *loop;
	struct loop_post stop;
};

struct work_pool {
	struct sim_runner runner;
	struct work_job *first;
	struct work_job **tail;
	size_t job_count;
	size_t job_count_max;
};

struct work_thread *
work_loop_start(const char *name, struct loop *loop, struct err *err)
{
	struct work_thread *thread = mem_alloc(sizeof(*thread));

	(void)name;
	(void)err;
	thread->loop = loop;
	sim_loop_begin(loop);
	return thread;
}

/* Only the writer of the log is one, and logs are synchronous here. */
struct work_thread *
work_service_start(const char *name, void (*run)(void *ctx), void *ctx, struct err *err)
{
	(void)name;
	(void)run;
	(void)ctx;
	(void)err;
	must_not_reach();
}

static void
stop_loop(void *ctx)
{
	loop_stop(ctx);
}

void
work_loop_stop(struct work_thread *thread)
{
	loop_post_init(&thread->stop, stop_loop, thread->loop);
	loop_post(thread->loop, &thread->stop);
}

/* Others do not run meanwhile: the thread must come to its end by itself. */
void
work_join(struct work_thread **thread)
{
	if (!*thread)
		return;
	if (!(*thread)->loop->stopped)
		loop_run((*thread)->loop);
	sim_runner_remove(&(*thread)->loop->runner);
	mem_free(thread);
}

static bool
pool_has_work(const struct sim_runner *runner)
{
	return container_of(runner, const struct work_pool, runner)->first != NULL;
}

static uint64_t
pool_next_us(const struct sim_runner *runner)
{
	(void)runner;
	return UINT64_MAX;
}

static void
pool_turn(struct sim_runner *runner)
{
	struct work_pool *pool = container_of(runner, struct work_pool, runner);
	struct work_job *job = pool->first;

	pool->first = job->next;
	if (!pool->first)
		pool->tail = &pool->first;
	pool->job_count--;
	job->run(job->ctx);
	loop_post(job->home, &job->post);
}

struct work_pool *
work_pool_new(const struct work_pool_settings *settings, struct err *err)
{
	struct work_pool *pool = mem_alloc(sizeof(*pool));

	(void)err;
	pool->tail = &pool->first;
	pool->job_count_max = settings->job_count_max;
	pool->runner = (struct sim_runner){ .host = sim_host_current(), .has_work = pool_has_work,
	    .turn = pool_turn, .next_us = pool_next_us };
	sim_runner_add(&pool->runner);
	return pool;
}

void
work_pool_free(struct work_pool **pool_address)
{
	struct work_pool *pool = *pool_address;

	if (!pool)
		return;
	while (pool->first)
		pool_turn(&pool->runner);
	sim_runner_remove(&pool->runner);
	mem_free(pool_address);
}

static void
job_came_home(void *ctx)
{
	struct work_job *job = ctx;

	if (!job->cancelled)
		job->done(job->ctx);
	else if (job->dropped)
		job->dropped(job->ctx);
}

void
work_job_init(struct work_job *job, void (*run)(void *ctx), void (*done)(void *ctx),
    void (*dropped)(void *ctx), void *ctx)
{
	*job = (struct work_job){ .run = run, .done = done, .dropped = dropped, .ctx = ctx };
}

int
work_submit(struct work_pool *pool, struct loop *home, struct work_job *job, struct err *err)
{
	if (pool->job_count >= pool->job_count_max)
		return err_set(err, ERR_LIMIT, "%zu jobs wait already", pool->job_count_max);
	job->next = NULL;
	job->home = home;
	job->cancelled = false;
	loop_post_init(&job->post, job_came_home, job);
	*pool->tail = job;
	pool->tail = &job->next;
	pool->job_count++;
	return 0;
}

void
work_cancel(struct work_job *job)
{
	job->cancelled = true;
}
