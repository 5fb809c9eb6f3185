#include "tests/unit/queue/fake_loop.h"

#include <stdlib.h>

#include "relay/base/container_of.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/net/loop.h"
#include "relay/net/work.h"

enum { STEPS_MAX = 10 * 1000 * 1000 };

struct loop {
	struct loop *next;
	const struct clock *clock;
	struct loop_post *first, **tail;
	struct loop_task *tasks, **tasks_tail;
	struct heap timers;
	uint64_t sequence;
	bool is_paused;
};

struct work_thread {
	struct loop *loop;
};

struct work_pool {
	struct work_pool *next;
	struct work_job *first, **tail;
};

/* The one place of the tests that keeps what a process has. */
static struct fake_process all;

static bool
timer_before(const struct heap_node *a, const struct heap_node *b)
{
	const struct loop_timer *left = container_of(a, const struct loop_timer, place);
	const struct loop_timer *right = container_of(b, const struct loop_timer, place);

	return left->due_ms != right->due_ms ? left->due_ms < right->due_ms :
	    left->sequence < right->sequence;
}

struct loop *
loop_new(const struct clock *clock, struct err *err)
{
	struct loop *loop = mem_alloc(sizeof(*loop));

	(void)err;
	loop->clock = clock;
	loop->tail = &loop->first;
	loop->tasks_tail = &loop->tasks;
	heap_init(&loop->timers, timer_before);
	loop->next = all.loops;
	all.loops = loop;
	return loop;
}

static bool
run_post(struct loop *loop)
{
	struct loop_post *post = loop->first;

	if (!post)
		return false;
	loop->first = post->next;
	if (!loop->first)
		loop->tail = &loop->first;
	post->next = NULL;
	post->run(post->ctx);
	return true;
}

static bool
run_timer(struct loop *loop)
{
	struct heap_node *first = heap_first(&loop->timers);

	if (!first || container_of(first, struct loop_timer, place)->due_ms > loop_now_ms(loop))
		return false;
	struct loop_timer *timer = container_of(first, struct loop_timer, place);

	heap_remove(&loop->timers, first);
	timer->fired(timer->ctx);
	return true;
}

static bool
run_task(struct loop *loop)
{
	struct loop_task *task = loop->tasks;

	if (!task)
		return false;
	loop_task_cancel(loop, task);
	task->run(task->ctx);
	return true;
}

/* Like a real turn: a loop's messages first, then its timers, then what ends the turn. */
static bool
loop_step(struct loop *loop)
{
	return !loop->is_paused && (run_post(loop) || run_timer(loop) || run_task(loop));
}

static bool
pool_step(struct work_pool *pool)
{
	struct work_job *job = pool->first;

	if (!job)
		return false;
	pool->first = job->next;
	if (!pool->first)
		pool->tail = &pool->first;
	job->run(job->ctx);
	loop_post_init(&job->post, job->done, job->ctx);
	loop_post(job->home, &job->post);
	return true;
}

bool
fake_step(void)
{
	for (struct loop *loop = all.loops; loop; loop = loop->next) {
		if (loop_step(loop))
			return true;
	}
	for (struct work_pool *pool = all.pools; pool; pool = pool->next) {
		if (pool_step(pool))
			return true;
	}
	return false;
}

static uint32_t
count_all(void)
{
	uint32_t count = 0;

	for (struct loop *loop = all.loops; loop; loop = loop->next)
		count++;
	for (struct work_pool *pool = all.pools; pool; pool = pool->next)
		count++;
	return count;
}

bool
fake_step_from(uint32_t first)
{
	uint32_t at = 0, skip = all.loops ? first % count_all() : 0;

	for (struct loop *loop = all.loops; loop; loop = loop->next) {
		if (at++ >= skip && loop_step(loop))
			return true;
	}
	for (struct work_pool *pool = all.pools; pool; pool = pool->next) {
		if (at++ >= skip && pool_step(pool))
			return true;
	}
	return fake_step();
}

struct fake_process
fake_enter(struct fake_process process)
{
	struct fake_process before = all;

	all = process;
	return before;
}

void
fake_pause(struct loop *loop, bool is_paused)
{
	loop->is_paused = is_paused;
}

void
fake_run(void)
{
	for (int i = 0; fake_step(); i++)
		must(i < STEPS_MAX);
}

void
fake_forget(void)
{
	all.loops = NULL;
	all.pools = NULL;
}

void
loop_free(struct loop **loop)
{
	if (!*loop)
		return;
	while (run_post(*loop) || run_task(*loop))
		;
	for (struct loop **at = &all.loops; *at; at = &(*at)->next) {
		if (*at == *loop) {
			*at = (*loop)->next;
			break;
		}
	}
	heap_fini(&(*loop)->timers);
	mem_free(loop);
}

uint64_t
loop_now_ms(const struct loop *loop)
{
	return clock_monotonic_ms(loop->clock);
}

int64_t
loop_wall_ms(const struct loop *loop)
{
	return clock_wall_ms(loop->clock);
}

const struct clock *
loop_clock(const struct loop *loop)
{
	return loop->clock;
}

void
loop_timer_init(struct loop_timer *timer, void (*fired)(void *ctx), void *ctx)
{
	*timer = (struct loop_timer){ .fired = fired, .ctx = ctx };
}

void
loop_timer_start_at(struct loop *loop, struct loop_timer *timer, uint64_t due_ms)
{
	heap_remove(&loop->timers, &timer->place);
	timer->due_ms = due_ms;
	timer->sequence = loop->sequence++;
	heap_add(&loop->timers, &timer->place);
}

void
loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
	loop_timer_start_at(loop, timer, loop_now_ms(loop) + delay_ms);
}

void
loop_timer_stop(struct loop *loop, struct loop_timer *timer)
{
	heap_remove(&loop->timers, &timer->place);
}

bool
loop_timer_is_running(const struct loop_timer *timer)
{
	return heap_has(&timer->place);
}

void
loop_post_init(struct loop_post *post, void (*run)(void *ctx), void *ctx)
{
	*post = (struct loop_post){ .run = run, .ctx = ctx };
}

void
loop_post(struct loop *loop, struct loop_post *post)
{
	post->next = NULL;
	*loop->tail = post;
	loop->tail = &post->next;
}

void
loop_task_init(struct loop_task *task, void (*run)(void *ctx), void *ctx)
{
	*task = (struct loop_task){ .run = run, .ctx = ctx };
}

void
loop_at_turn_end(struct loop *loop, struct loop_task *task)
{
	if (task->previous)
		return;
	task->next = NULL;
	task->previous = loop->tasks_tail;
	*loop->tasks_tail = task;
	loop->tasks_tail = &task->next;
}

void
loop_task_cancel(struct loop *loop, struct loop_task *task)
{
	if (!task->previous)
		return;
	*task->previous = task->next;
	if (task->next)
		task->next->previous = task->previous;
	else
		loop->tasks_tail = task->previous;
	task->next = NULL;
	task->previous = NULL;
}

struct work_thread *
work_loop_start(const char *name, struct loop *loop, struct err *err)
{
	struct work_thread *thread = mem_alloc(sizeof(*thread));

	(void)name;
	(void)err;
	thread->loop = loop;
	return thread;
}

void
work_loop_stop(struct work_thread *thread)
{
	while (run_post(thread->loop) || run_task(thread->loop))
		;
}

void
work_join(struct work_thread **thread)
{
	mem_free(thread);
}

struct work_pool *
work_pool_new(const struct work_pool_settings *settings, struct err *err)
{
	struct work_pool *pool = mem_alloc(sizeof(*pool));

	(void)settings;
	(void)err;
	pool->tail = &pool->first;
	pool->next = all.pools;
	all.pools = pool;
	return pool;
}

void
work_pool_free(struct work_pool **pool)
{
	while (pool_step(*pool))
		;
	for (struct work_pool **at = &all.pools; *at; at = &(*at)->next) {
		if (*at == *pool) {
			*at = (*pool)->next;
			break;
		}
	}
	mem_free(pool);
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
	(void)err;
	job->home = home;
	job->next = NULL;
	*pool->tail = job;
	pool->tail = &job->next;
	return 0;
}
