#include "relay/net/loop_private.h"

#include <errno.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "relay/base/container_of.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	WAIT_MS_MAX = 60 * 1000,        /* a turn at least this often costs nothing */
};

static bool
timer_before(const struct heap_node *a, const struct heap_node *b)
{
	const struct loop_timer *left = container_of(a, const struct loop_timer, place);
	const struct loop_timer *right = container_of(b, const struct loop_timer, place);

	if (left->due_ms != right->due_ms)
		return left->due_ms < right->due_ms;
	return left->sequence < right->sequence;
}

static void
wait_is_over(struct ev_loop *ev, ev_timer *timer, int events)
{
	(void)ev;
	(void)timer;
	(void)events;
}

static void
wake_arrived(struct ev_loop *ev, ev_io *io, int events)
{
	uint64_t count;
	ssize_t got = read(io->fd, &count, sizeof(count));

	(void)ev;
	(void)events;
	(void)got;              /* EAGAIN: somebody's wake-up was taken together with another's */
}

/*
 * libev calls this between the wait and the callbacks, which then see the new time; and also
 * before the wait, where nothing is pending and the loop must go on saying that it sleeps.
 */
static void
run_callbacks(struct ev_loop *ev)
{
	struct loop *loop = ev_userdata(ev);

	if (ev_pending_count(ev) == 0)
		return;
	atomic_store_explicit(&loop->sleeps, false, memory_order_relaxed);
	loop->now_ms = clock_monotonic_ms(loop->clock);
	ev_invoke_pending(ev);
}

struct loop *
loop_new(const struct clock *clock, struct err *err)
{
	int wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	if (wake_fd < 0) {
		(void)err_set_errno(err, "eventfd");
		return NULL;
	}
	struct ev_loop *ev = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);

	if (!ev) {
		(void)err_set_errno(err, "event loop");
		(void)close(wake_fd);
		return NULL;
	}
	struct loop *loop = mem_alloc(sizeof(*loop));

	loop->ev = ev;
	loop->clock = clock;
	loop->now_ms = clock_monotonic_ms(clock);
	loop->wake_fd = wake_fd;
	loop->tasks_tail = &loop->tasks;
	loop->scratch = mem_alloc(LOOP_SCRATCH_BYTES);
	heap_init(&loop->timers, timer_before);
	ev_set_userdata(ev, loop);
	ev_set_invoke_pending_cb(ev, run_callbacks);
	ev_timer_init(&loop->wait_timer, wait_is_over, 0., 0.);
	ev_io_init(&loop->wake_io, wake_arrived, wake_fd, EV_READ);
	ev_io_start(ev, &loop->wake_io);
	return loop;
}

static void
run_posts(struct loop *loop)
{
	struct loop_post *newest = atomic_exchange(&loop->posted, NULL);
	struct loop_post *first = NULL;

	while (newest) {
		struct loop_post *next = newest->next;

		newest->next = first;
		first = newest;
		newest = next;
	}
	while (first) {
		struct loop_post *post = first;

		first = post->next;     /* run() may free it or post it again */
		post->next = NULL;
		post->run(post->ctx);
	}
}

/* Timers started by these callbacks wait for the next turn, or 0 ms would be for ever. */
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
		struct loop_deferred deferred = loop->deferred[i];

		deferred.release(deferred.object);      /* may defer more, behind us */
	}
	loop->deferred_count = 0;
}

static bool
has_work(struct loop *loop)
{
	return loop->tasks || loop->deferred_count > 0 || atomic_load(&loop->posted);
}

static uint64_t
wait_limit(struct loop *loop, uint64_t wait_ms)
{
	struct heap_node *first = heap_first(&loop->timers);
	uint64_t now_ms = clock_monotonic_ms(loop->clock);

	if (wait_ms > WAIT_MS_MAX)
		wait_ms = WAIT_MS_MAX;
	if (!first)
		return wait_ms;
	const struct loop_timer *timer = container_of(first, struct loop_timer, place);

	if (timer->due_ms <= now_ms)
		return 0;
	return timer->due_ms - now_ms < wait_ms ? timer->due_ms - now_ms : wait_ms;
}

void
loop_turn(struct loop *loop, uint64_t wait_ms)
{
	wait_ms = wait_limit(loop, wait_ms);
	/* First say that we sleep, then look: a post sees the one or we see the post. */
	atomic_store(&loop->sleeps, true);
	if (wait_ms == 0 || has_work(loop)) {
		atomic_store(&loop->sleeps, false);
		ev_run(loop->ev, EVRUN_NOWAIT);
	} else {
		ev_now_update(loop->ev);
		ev_timer_set(&loop->wait_timer, (double)wait_ms / 1000., 0.);
		ev_timer_start(loop->ev, &loop->wait_timer);
		ev_run(loop->ev, EVRUN_ONCE);
		ev_timer_stop(loop->ev, &loop->wait_timer);
		atomic_store(&loop->sleeps, false);
	}
	loop->now_ms = clock_monotonic_ms(loop->clock);
	run_posts(loop);
	run_timers(loop);
	run_tasks(loop);
	run_deferred(loop);
}

void
loop_run(struct loop *loop)
{
	loop->stopped = false;
	while (!loop->stopped)
		loop_turn(loop, WAIT_MS_MAX);
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
	for (int round = 0; round < 1000 && has_work(loop); round++) {
		run_posts(loop);
		run_tasks(loop);
		run_deferred(loop);
	}
	while (atomic_load_explicit(&loop->posters, memory_order_acquire) > 0)
		(void)sched_yield();
	ev_io_stop(loop->ev, &loop->wake_io);
	ev_loop_destroy(loop->ev);
	(void)close(loop->wake_fd);
	heap_fini(&loop->timers);
	mem_free(&loop->deferred);
	mem_free(&loop->scratch);
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
	struct loop_post *newest = atomic_load_explicit(&loop->posted, memory_order_relaxed);

	/* The post may run, and with it the last reason for this loop be gone, before we return. */
	atomic_fetch_add_explicit(&loop->posters, 1, memory_order_relaxed);
	do {
		post->next = newest;
	} while (!atomic_compare_exchange_weak(&loop->posted, &newest, post));
	/* The first to find it asleep wakes it; the others need not. */
	if (atomic_load(&loop->sleeps) && atomic_exchange(&loop->sleeps, false)) {
		uint64_t one = 1;
		ssize_t put = write(loop->wake_fd, &one, sizeof(one));

		must(put == sizeof(one) || errno == EAGAIN);
	}
	atomic_fetch_sub_explicit(&loop->posters, 1, memory_order_release);
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
	loop->deferred[loop->deferred_count++] = (struct loop_deferred){
		.release = release,
		.object = object,
	};
}
