/* relay/net/loop.h in the simulation: no sockets, no threads, time of the world. */
#include "tests/sim/loop_private.h"

#include "relay/base/container_of.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

static bool
timer_before(const struct heap_node *a, const struct heap_node *b)
{
	const struct loop_timer *left = container_of(a, const struct loop_timer, place);
	const struct loop_timer *right = container_of(b, const struct loop_timer, place);

	if (left->due_ms != right->due_ms)
		return left->due_ms < right->due_ms;
	return left->sequence < right->sequence;
}

static const struct loop *
loop_of(const struct sim_runner *runner)
{
	return container_of(runner, const struct loop, runner);
}

static uint64_t
first_due_ms(const struct loop *loop)
{
	struct heap_node *first = heap_first(&loop->timers);

	return first ? container_of(first, struct loop_timer, place)->due_ms : UINT64_MAX;
}

static bool
has_queued(const struct loop *loop)
{
	return loop->tasks || loop->deferred_count > 0 || loop->posts || !TAILQ_EMPTY(&loop->ready);
}

static bool
loop_has_work(const struct sim_runner *runner)
{
	const struct loop *loop = loop_of(runner);

	return !loop->stopped && (has_queued(loop) ||
	    first_due_ms(loop) <= clock_monotonic_ms(loop->clock));
}

static uint64_t
loop_next_us(const struct sim_runner *runner)
{
	uint64_t due_ms = first_due_ms(loop_of(runner));

	return loop_of(runner)->stopped || due_ms > UINT64_MAX / 1000 ? UINT64_MAX : due_ms * 1000;
}

static void
run_turn(struct sim_runner *runner)
{
	loop_turn(container_of(runner, struct loop, runner), 0);
}

struct loop *
loop_new(const struct clock *clock, struct err *err)
{
	struct loop *loop = mem_alloc(sizeof(*loop));

	(void)err;
	loop->clock = clock;
	loop->now_ms = clock_monotonic_ms(clock);
	loop->tasks_tail = &loop->tasks;
	loop->posts_tail = &loop->posts;
	TAILQ_INIT(&loop->ready);
	heap_init(&loop->timers, timer_before);
	loop->runner = (struct sim_runner){ .host = sim_host_current(), .has_work = loop_has_work,
	    .turn = run_turn, .next_us = loop_next_us };
	return loop;
}

void
sim_loop_begin(struct loop *loop)
{
	sim_runner_add(&loop->runner);
}

void
sim_loop_ready(struct loop *loop, struct sim_ready *ready)
{
	if (ready->queued)
		return;
	ready->queued = true;
	TAILQ_INSERT_TAIL(&loop->ready, ready, entry);
}

void
sim_loop_not_ready(struct loop *loop, struct sim_ready *ready)
{
	if (!ready->queued)
		return;
	ready->queued = false;
	TAILQ_REMOVE(&loop->ready, ready, entry);
}

static void
run_ready(struct loop *loop)
{
	struct sim_ready *last = TAILQ_LAST(&loop->ready, sim_ready_list);
	bool more = last != NULL;

	while (more && !TAILQ_EMPTY(&loop->ready)) {
		struct sim_ready *ready = TAILQ_FIRST(&loop->ready);

		more = ready != last;
		ready->queued = false;
		TAILQ_REMOVE(&loop->ready, ready, entry);
		ready->run(ready->ctx);
	}
}

static void
run_posts(struct loop *loop)
{
	struct loop_post *post = loop->posts;

	loop->posts = NULL;
	loop->posts_tail = &loop->posts;
	while (post) {
		struct loop_post *next = post->next;

		post->next = NULL;
		post->run(post->ctx);
		post = next;
	}
}

static void
run_timers(struct loop *loop)
{
	uint64_t sequence_end = loop->timer_sequence;

	for (;;) {
		struct heap_node *first = heap_first(&loop->timers);

		if (!first)
			return;
		struct loop_timer *timer = container_of(first, struct loop_timer, place);

		if (timer->due_ms > loop->now_ms || timer->sequence >= sequence_end)
			return;
		heap_remove(&loop->timers, first);
		timer->fired(timer->ctx);
	}
}

static void
run_tasks(struct loop *loop)
{
	loop->tasks_running = loop->tasks;
	if (loop->tasks_running)
		loop->tasks_running->previous = &loop->tasks_running;
	loop->tasks = NULL;
	loop->tasks_tail = &loop->tasks;
	while (loop->tasks_running) {
		struct loop_task *task = loop->tasks_running;

		loop->tasks_running = task->next;
		if (task->next)
			task->next->previous = &loop->tasks_running;
		task->next = NULL;
		task->previous = NULL;
		task->run(task->ctx);
	}
}

static void
run_deferred(struct loop *loop)
{
	for (size_t i = 0; i < loop->deferred_count; i++) {
		struct sim_deferred deferred = loop->deferred[i];

		deferred.release(deferred.object);
	}
	loop->deferred_count = 0;
}

void
loop_turn(struct loop *loop, uint64_t wait_ms)
{
	(void)wait_ms;
	loop->now_ms = clock_monotonic_ms(loop->clock);
	run_ready(loop);
	run_posts(loop);
	run_timers(loop);
	run_tasks(loop);
	run_deferred(loop);
}

/* A thread that ends: what was posted by then is still delivered. */
void
loop_run(struct loop *loop)
{
	loop->stopped = false;
	for (int round = 0; round < 100000 && !loop->stopped; round++)
		loop_turn(loop, 0);
	must(loop->stopped);
	run_posts(loop);
	run_tasks(loop);
	run_deferred(loop);
}

void
loop_stop(struct loop *loop)
{
	loop->stopped = true;
}

void
loop_free(struct loop **loop_address)
{
	struct loop *loop = *loop_address;

	if (!loop)
		return;
	for (int i = 0; i < 1000 && (loop->posts || loop->tasks || loop->deferred_count > 0);
	    i++) {
		run_posts(loop);
		run_tasks(loop);
		run_deferred(loop);
	}
	sim_runner_remove(&loop->runner);
	heap_fini(&loop->timers);
	mem_free(&loop->deferred);
	mem_free(loop_address);
}

uint64_t
loop_now_ms(const struct loop *loop)
{
	return loop->now_ms;
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
loop_timer_start(struct loop *loop, struct loop_timer *timer, uint64_t delay_ms)
{
	uint64_t due_ms;

	if (__builtin_add_overflow(loop->now_ms, delay_ms, &due_ms))
		due_ms = UINT64_MAX;
	loop_timer_start_at(loop, timer, due_ms);
}

void
loop_timer_start_at(struct loop *loop, struct loop_timer *timer, uint64_t due_ms)
{
	heap_remove(&loop->timers, &timer->place);
	timer->due_ms = due_ms > loop->now_ms ? due_ms : loop->now_ms;
	timer->sequence = loop->timer_sequence++;
	heap_add(&loop->timers, &timer->place);
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
	*loop->posts_tail = post;
	loop->posts_tail = &post->next;
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
	else if (loop->tasks_tail == &task->next)
		loop->tasks_tail = task->previous;
	task->next = NULL;
	task->previous = NULL;
}

void
loop_defer_free(struct loop *loop, void (*release)(void *object), void *object)
{
	if (loop->deferred_count == loop->deferred_capacity) {
		loop->deferred_capacity = loop->deferred_capacity ? loop->deferred_capacity * 2
		    : 64;
		loop->deferred = mem_resize_array(loop->deferred, loop->deferred_capacity,
		    sizeof(*loop->deferred));
	}
	loop->deferred[loop->deferred_count++] = (struct sim_deferred){
		.release = release,
		.object = object,
	};
}

/* Foreign descriptors have no place in this world. */
struct loop_watch *
loop_watch_new(struct loop *loop, int fd, unsigned events,
    void (*ready)(void *ctx, unsigned events), void *ctx)
{
	(void)loop;
	(void)fd;
	(void)events;
	(void)ready;
	(void)ctx;
	must_not_reach();
}

void
loop_watch_set(struct loop_watch *watch, unsigned events)
{
	(void)watch;
	(void)events;
	must_not_reach();
}

void
loop_watch_free(struct loop_watch **watch)
{
	must(!*watch);
}
