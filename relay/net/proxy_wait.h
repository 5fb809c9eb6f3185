#ifndef RELAY_NET_PROXY_WAIT_H
#define RELAY_NET_PROXY_WAIT_H

#include <stddef.h>
#include <sys/queue.h>

#include "relay/net/endpoint.h"
#include "relay/net/loop.h"

/*
 * For listener.c: connections of proxies that have not said yet whom they speak for.  Of
 * each exactly the header is read, so that greeting and TLS find what belongs to them.
 * Their number and their time are bounded.
 */
struct proxy_waits {
	struct loop *loop;
	LIST_HEAD(proxy_wait_list, proxy_wait) list;
	size_t count;
	/* The connection begins: the addresses are those of the client and of what it dialled. */
	void (*done)(void *ctx, int fd, const struct endpoint *peer, const struct endpoint *local);
	/* It was closed. */
	void (*failed)(void *ctx, const struct endpoint *proxy, const char *why);
	void *ctx;
};

void proxy_waits_init(struct proxy_waits *waits, struct loop *loop);

/* Takes the descriptor. */
void proxy_waits_add(struct proxy_waits *waits, int fd, const struct endpoint *peer,
    const struct endpoint *local);

/* Closes them all; nothing is called any more. */
void proxy_waits_abort(struct proxy_waits *waits);

#endif
