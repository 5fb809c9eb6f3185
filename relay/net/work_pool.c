#include "relay/net/work.h"

#include <pthread.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

struct work_pool {
	pthread_mutex_t lock;           /* guards all below but the threads */
	pthread_cond_t filled;
	struct work_job *first;
	struct work_job **tail;
	size_t job_count;
	size_t job_count_max;
	bool ends;
	struct work_thread **threads;
	size_t thread_count;
};

static struct work_job *
take_job(struct work_pool *pool)
{
	(void)pthread_mutex_lock(&pool->lock);
	while (!pool->first && !pool->ends)
		(void)pthread_cond_wait(&pool->filled, &pool->lock);
	struct work_job *job = pool->first;

	if (job) {
		pool->first = job->next;
		if (!pool->first)
			pool->tail = &pool->first;
		pool->job_count--;
	}
	(void)pthread_mutex_unlock(&pool->lock);
	return job;
}

static void
pool_main(void *ctx)
{
	struct work_pool *pool = ctx;

	for (;;) {
		struct work_job *job = take_job(pool);

		if (!job)
			return;
		job->run(job->ctx);
		loop_post(job->home, &job->post);
	}
}

struct work_pool *
work_pool_new(const struct work_pool_settings *settings, struct err *err)
{
	struct work_pool *pool = mem_alloc(sizeof(*pool));

	must(settings->thread_count > 0);
	must(pthread_mutex_init(&pool->lock, NULL) == 0);
	must(pthread_cond_init(&pool->filled, NULL) == 0);
	pool->tail = &pool->first;
	pool->job_count_max = settings->job_count_max;
	pool->threads = mem_alloc_array(settings->thread_count, sizeof(struct work_thread *));
	for (size_t i = 0; i < settings->thread_count; i++) {
		pool->threads[i] = work_service_start(settings->name, pool_main, pool, err);
		if (!pool->threads[i]) {
			work_pool_free(&pool);
			return NULL;
		}
		pool->thread_count++;
	}
	return pool;
}

void
work_pool_free(struct work_pool **pool_address)
{
	struct work_pool *pool = *pool_address;

	if (!pool)
		return;
	(void)pthread_mutex_lock(&pool->lock);
	pool->ends = true;
	(void)pthread_cond_broadcast(&pool->filled);
	(void)pthread_mutex_unlock(&pool->lock);
	for (size_t i = 0; i < pool->thread_count; i++)
		work_join(&pool->threads[i]);
	must(!pool->first);
	(void)pthread_cond_destroy(&pool->filled);
	(void)pthread_mutex_destroy(&pool->lock);
	mem_free(&pool->threads);
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
	bool full;

	job->next = NULL;
	job->home = home;
	job->cancelled = false;
	loop_post_init(&job->post, job_came_home, job);
	(void)pthread_mutex_lock(&pool->lock);
	full = pool->job_count >= pool->job_count_max;
	if (!full) {
		*pool->tail = job;
		pool->tail = &job->next;
		pool->job_count++;
		(void)pthread_cond_signal(&pool->filled);
	}
	(void)pthread_mutex_unlock(&pool->lock);
	if (full)
		return err_set(err, ERR_LIMIT, "%zu jobs wait already", pool->job_count_max);
	return 0;
}

void
work_cancel(struct work_job *job)
{
	job->cancelled = true;
}
