#include "relay/net/proxy_wait.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/net/proxy_header.h"

enum {
	WAIT_COUNT_MAX = 1024,          /* of one listener */
	WAIT_MS = 5000,                 /* a proxy says it at once */
};

struct proxy_wait {
	LIST_ENTRY(proxy_wait) entry;
	struct proxy_waits *waits;
	struct loop_watch *watch;
	struct loop_timer timer;
	struct endpoint peer, local;
	int fd;
	size_t len;
	char header[PROXY_HEADER_BYTES_MAX];
};

void
proxy_waits_init(struct proxy_waits *waits, struct loop *loop)
{
	LIST_INIT(&waits->list);
	waits->loop = loop;
	waits->count = 0;
}

static void
wait_release(void *object)
{
	struct proxy_wait *wait = object;

	mem_free(&wait);
}

/* The descriptor is the caller's afterwards. */
static int
wait_end(struct proxy_wait *wait)
{
	struct proxy_waits *waits = wait->waits;
	int fd = wait->fd;

	LIST_REMOVE(wait, entry);
	waits->count--;
	loop_watch_free(&wait->watch);
	loop_timer_stop(waits->loop, &wait->timer);
	wait->fd = -1;
	loop_defer_free(waits->loop, wait_release, wait);
	return fd;
}

static void
wait_fail(struct proxy_wait *wait, const char *why)
{
	struct proxy_waits *waits = wait->waits;

	(void)close(wait_end(wait));
	waits->failed(waits->ctx, &wait->peer, why);
}

static void
wait_is_over(void *ctx)
{
	wait_fail(ctx, "no PROXY header came in time");
}

static void
wait_done(struct proxy_wait *wait, const struct proxy_header *header)
{
	struct proxy_waits *waits = wait->waits;
	int fd = wait_end(wait);

	if (header->has_addresses)
		waits->done(waits->ctx, fd, &header->client, &header->server);
	else
		waits->done(waits->ctx, fd, &wait->peer, &wait->local);
}

static void
wait_ready(void *ctx, unsigned events)
{
	struct proxy_wait *wait = ctx;
	struct proxy_header header;

	(void)events;
	while (wait->fd >= 0) {
		ssize_t got;

		switch (proxy_header_parse(span_make(wait->header, wait->len), &header)) {
		case PROXY_DONE:
			wait_done(wait, &header);
			return;
		case PROXY_BAD:
			wait_fail(wait, header.why);
			return;
		case PROXY_MORE:
			break;
		}
		must(header.wanted > 0 && header.wanted <= sizeof(wait->header) - wait->len);
		got = recv(wait->fd, wait->header + wait->len, header.wanted, 0);
		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (got <= 0) {
			wait_fail(wait, "the connection ended inside the PROXY header");
			return;
		}
		wait->len += (size_t)got;
	}
}

void
proxy_waits_add(struct proxy_waits *waits, int fd, const struct endpoint *peer,
    const struct endpoint *local)
{
	struct proxy_wait *wait;

	if (waits->count >= WAIT_COUNT_MAX) {
		(void)close(fd);
		waits->failed(waits->ctx, peer, "too many have not said their PROXY header yet");
		return;
	}
	wait = mem_alloc(sizeof(*wait));
	wait->waits = waits;
	wait->fd = fd;
	wait->peer = *peer;
	wait->local = *local;
	LIST_INSERT_HEAD(&waits->list, wait, entry);
	waits->count++;
	loop_timer_init(&wait->timer, wait_is_over, wait);
	loop_timer_start(waits->loop, &wait->timer, WAIT_MS);
	wait->watch = loop_watch_new(waits->loop, fd, LOOP_READ, wait_ready, wait);
}

void
proxy_waits_abort(struct proxy_waits *waits)
{
	while (!LIST_EMPTY(&waits->list))
		(void)close(wait_end(LIST_FIRST(&waits->list)));
}
