/*
 * The pool of threads: each job runs and reports once, and a full pool says so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/clock.h"
#include "relay/base/mem.h"
#include "relay/net/loop.h"
#include "relay/net/work.h"
#include "tests/unit/net/net_fixture.h"

struct task {
	struct work_job job;
	struct pool_test *test;
	atomic_int *gate;               /* waits for it to become 1 */
	int ran, done, dropped;
};

struct pool_test {
	struct loop *loop;
	int done_count, dropped_count;
};

static void
task_run(void *ctx)
{
	struct task *task = ctx;

	for (int i = 0; task->gate && !atomic_load(task->gate) && i < 100000; i++)
		(void)usleep(100);
	task->ran++;
}

static void
task_done(void *ctx)
{
	struct task *task = ctx;

	task->done++;
	task->test->done_count++;
}

static void
task_dropped(void *ctx)
{
	struct task *task = ctx;

	task->dropped++;
	task->test->dropped_count++;
}

static void
each_job_runs_and_reports_once(void **state)
{
	enum { JOBS = 2000 };
	struct pool_test test = { .loop = loop_new(clock_system(), NULL) };
	struct work_pool *pool = work_pool_new(&(struct work_pool_settings){
		.name = "pool", .thread_count = 3, .job_count_max = JOBS,
	}, NULL);
	struct task *tasks = mem_alloc_array(JOBS, sizeof(*tasks));

	(void)state;
	assert_non_null(pool);
	for (size_t i = 0; i < JOBS; i++) {
		tasks[i].test = &test;
		work_job_init(&tasks[i].job, task_run, task_done, task_dropped, &tasks[i]);
		assert_int_equal(work_submit(pool, test.loop, &tasks[i].job, NULL), 0);
		if (i % 5 == 0)
			work_cancel(&tasks[i].job);
	}
	assert_true(RUN_UNTIL(test.loop, test.done_count + test.dropped_count == JOBS));
	for (size_t i = 0; i < JOBS; i++) {
		assert_int_equal(tasks[i].ran, 1);
		assert_int_equal(tasks[i].done, i % 5 != 0);
		assert_int_equal(tasks[i].dropped, i % 5 == 0);
	}
	work_pool_free(&pool);
	loop_free(&test.loop);
	mem_free(&tasks);
}

static void
a_full_pool_says_so(void **state)
{
	struct pool_test test = { .loop = loop_new(clock_system(), NULL) };
	struct work_pool *pool = work_pool_new(&(struct work_pool_settings){
		.name = "pool", .thread_count = 1, .job_count_max = 2,
	}, NULL);
	atomic_int gate = 0;
	struct task tasks[5] = { 0 };
	struct err err;
	size_t taken = 0;

	(void)state;
	for (size_t i = 0; i < 5; i++) {
		tasks[i].test = &test;
		tasks[i].gate = &gate;
		work_job_init(&tasks[i].job, task_run, task_done, NULL, &tasks[i]);
		if (work_submit(pool, test.loop, &tasks[i].job, &err) == 0)
			taken++;
		else
			assert_int_equal(err.kind, ERR_LIMIT);
	}
	/* Two wait; the thread may have taken one of them already and made room. */
	assert_true(taken == 2 || taken == 3);
	atomic_store(&gate, 1);
	assert_true(RUN_UNTIL(test.loop, test.done_count == (int)taken));
	work_pool_free(&pool);
	loop_free(&test.loop);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_job_runs_and_reports_once),
		cmocka_unit_test(a_full_pool_says_so),
	};

	return cmocka_run_group_tests_name("work_pool", tests, NULL, NULL);
}
