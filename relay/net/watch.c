#include "relay/net/loop_private.h"

#include "relay/base/mem.h"

struct loop_watch {
	ev_io io;
	struct loop *loop;
	void (*ready)(void *ctx, unsigned events);
	void *ctx;
};

static void
watch_ready(struct ev_loop *ev, ev_io *io, int events)
{
	struct loop_watch *watch = io->data;
	unsigned seen = 0;

	(void)ev;
	if (events & EV_READ)
		seen |= LOOP_READ;
	if (events & EV_WRITE)
		seen |= LOOP_WRITE;
	watch->ready(watch->ctx, seen);
}

struct loop_watch *
loop_watch_new(struct loop *loop, int fd, unsigned events,
    void (*ready)(void *ctx, unsigned events), void *ctx)
{
	struct loop_watch *watch = mem_alloc(sizeof(*watch));

	watch->loop = loop;
	watch->ready = ready;
	watch->ctx = ctx;
	ev_io_init(&watch->io, watch_ready, fd, 0);
	watch->io.data = watch;
	loop_watch_set(watch, events);
	return watch;
}

void
loop_watch_set(struct loop_watch *watch, unsigned events)
{
	int wanted = ((events & LOOP_READ) ? EV_READ : 0) | ((events & LOOP_WRITE) ? EV_WRITE : 0);
	int fd = watch->io.fd;

	ev_io_stop(watch->loop->ev, &watch->io);
	ev_io_set(&watch->io, fd, wanted);
	if (wanted)
		ev_io_start(watch->loop->ev, &watch->io);
}

static void
watch_release(void *object)
{
	mem_free(&object);
}

void
loop_watch_free(struct loop_watch **watch)
{
	if (!*watch)
		return;
	ev_io_stop((*watch)->loop->ev, &(*watch)->io);
	loop_defer_free((*watch)->loop, watch_release, *watch);
	*watch = NULL;
}
