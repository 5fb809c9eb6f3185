/* relay/net/listener.h in the simulation. */
#include "relay/net/listener.h"

#include <string.h>
#include <sys/queue.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "tests/sim/listener_private.h"
#include "tests/sim/loop_private.h"

enum { WAITING_MAX = 64, CANDIDATES_MAX = 32 };

struct listener {
	LIST_ENTRY(listener) entry;
	struct sim_host *host;
	struct loop *loop;
	struct listener_ops ops;
	void *ctx;
	struct endpoint *addresses;
	size_t address_count;
	struct conn *waiting[WAITING_MAX];      /* in the kernel's queue */
	size_t waiting_count;
	bool paused;
	struct sim_ready ready;
};

/* Beside the world's pointer, for the same reason. */
static LIST_HEAD(listeners, listener) listeners;

static struct conn *
take_first(struct listener *listener)
{
	struct conn *conn = listener->waiting[0];

	listener->waiting_count--;
	memmove(listener->waiting, listener->waiting + 1,
	    listener->waiting_count * sizeof(listener->waiting[0]));
	return conn;
}

static void
accept_one(void *ctx)
{
	struct listener *listener = ctx;

	if (listener->paused || listener->waiting_count == 0)
		return;
	if (listener->waiting_count > 1)
		sim_loop_ready(listener->loop, &listener->ready);
	listener->ops.accepted(listener->ctx, take_first(listener));
}

struct listener *
listener_open(struct loop *loop, const struct listener_settings *settings,
    const struct listener_ops *ops, void *ctx, struct err *err)
{
	struct listener *listener = mem_alloc(sizeof(*listener));

	(void)err;
	must(settings->inherited_fd_count == 0);
	listener->host = loop->runner.host;
	listener->loop = loop;
	listener->ops = *ops;
	listener->ctx = ctx;
	listener->address_count = settings->address_count;
	listener->addresses = mem_dup(settings->addresses,
	    settings->address_count * sizeof(*settings->addresses));
	listener->ready = (struct sim_ready){ .run = accept_one, .ctx = listener };
	LIST_INSERT_HEAD(&listeners, listener, entry);
	return listener;
}

size_t
listener_address_count(const struct listener *listener)
{
	return listener->address_count;
}

struct endpoint
listener_address(const struct listener *listener, size_t index)
{
	return listener->addresses[index];
}

void
listener_pause(struct listener *listener)
{
	listener->paused = true;
}

void
listener_resume(struct listener *listener)
{
	listener->paused = false;
	if (listener->waiting_count > 0)
		sim_loop_ready(listener->loop, &listener->ready);
}

static void
listener_free(struct listener **listener_address)
{
	struct listener *listener = *listener_address;

	while (listener->waiting_count > 0) {
		struct conn *conn = take_first(listener);

		conn_free(&conn);
	}
	sim_loop_not_ready(listener->loop, &listener->ready);
	LIST_REMOVE(listener, entry);
	mem_free(&listener->addresses);
	mem_free(listener_address);
}

void
listener_close(struct listener **listener)
{
	if (!*listener)
		return;
	while ((*listener)->waiting_count > 0)
		(*listener)->ops.accepted((*listener)->ctx, take_first(*listener));
	listener_free(listener);
}

void
listener_abort(struct listener **listener)
{
	if (*listener)
		listener_free(listener);
}

static bool
listens_on(const struct listener *listener, const struct endpoint *address)
{
	if (listener->waiting_count == WAITING_MAX)
		return false;
	for (size_t i = 0; i < listener->address_count; i++)
		if (endpoint_compare(&listener->addresses[i], address) == 0)
			return true;
	return false;
}

/* With several of one address (a worker each) it is any of them. */
bool
sim_listener_offer(struct sim_wire *wire, const struct endpoint *address,
    const struct endpoint *peer)
{
	struct listener *candidates[CANDIDATES_MAX], *listener;
	size_t count = 0;

	LIST_FOREACH(listener, &listeners, entry)
		if (listens_on(listener, address) && count < CANDIDATES_MAX)
			candidates[count++] = listener;
	if (count == 0)
		return false;
	listener = candidates[sim_between(0, count - 1)];
	listener->waiting[listener->waiting_count++] = sim_conn_new(wire, 1, peer, address);
	if (!listener->paused)
		sim_loop_ready(listener->loop, &listener->ready);
	return true;
}

void
sim_listeners_of_crashed(const struct sim_host *host)
{
	struct listener *listener, *next;

	for (listener = LIST_FIRST(&listeners); listener; listener = next) {
		next = LIST_NEXT(listener, entry);
		if (listener->host == host)
			LIST_REMOVE(listener, entry);
	}
}

void
sim_listeners_forget(void)
{
	LIST_INIT(&listeners);
}
