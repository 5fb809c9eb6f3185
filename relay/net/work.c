#include "relay/net/work.h"

#include <pthread.h>
#include <signal.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

enum { THREAD_NAME_BYTES_MAX = 16 };    /* the kernel's limit, with its NUL */

struct work_thread {
	pthread_t id;
	void (*run)(void *ctx);
	void *ctx;
	struct loop *loop;              /* NULL for a plain service */
	struct loop_post stop;
};

static void *
thread_main(void *argument)
{
	struct work_thread *thread = argument;

	thread->run(thread->ctx);
	return NULL;
}

static struct work_thread *
thread_start(const char *name, void (*run)(void *ctx), void *ctx, struct loop *loop,
    struct err *err)
{
	struct work_thread *thread = mem_alloc(sizeof(*thread));
	char short_name[THREAD_NAME_BYTES_MAX] = "";
	sigset_t all, before;

	thread->run = run;
	thread->ctx = ctx;
	thread->loop = loop;
	for (size_t i = 0; i + 1 < sizeof(short_name) && name[i]; i++)
		short_name[i] = name[i];
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	int failure = pthread_create(&thread->id, NULL, thread_main, thread);

	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (failure != 0) {
		(void)err_set(err, ERR_LIMIT, "cannot start thread %s (error %d)", name, failure);
		mem_free(&thread);
		return NULL;
	}
	(void)pthread_setname_np(thread->id, short_name);       /* only for ps and debuggers */
	return thread;
}

static void
loop_main(void *ctx)
{
	loop_run(ctx);
}

struct work_thread *
work_loop_start(const char *name, struct loop *loop, struct err *err)
{
	return thread_start(name, loop_main, loop, loop, err);
}

struct work_thread *
work_service_start(const char *name, void (*run)(void *ctx), void *ctx, struct err *err)
{
	return thread_start(name, run, ctx, NULL, err);
}

static void
stop_loop(void *ctx)
{
	loop_stop(ctx);
}

void
work_loop_stop(struct work_thread *thread)
{
	must(thread->loop != NULL);
	loop_post_init(&thread->stop, stop_loop, thread->loop);
	loop_post(thread->loop, &thread->stop);
}

void
work_join(struct work_thread **thread)
{
	if (!*thread)
		return;
	must(pthread_join((*thread)->id, NULL) == 0);
	mem_free(thread);
}
