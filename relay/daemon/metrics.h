/*
 * Numbers and health over HTTP, for a monitoring system:
 *
 *	/metrics   the page, in the text format of Prometheus
 *	/healthz   200 while the daemon lives, 503 when a thread that mail depends on hangs
 *	/readyz    200 while mail can be taken and given, else 503 with the reason in words
 *
 * The server is libmicrohttpd's, on the hub's loop by its epoll descriptor; it starts no thread.
 * There is no access control: the address decides who can read.  Nothing that it shows is of a
 * letter.
 */
#ifndef RELAY_DAEMON_METRICS_H
#define RELAY_DAEMON_METRICS_H

#include "relay/base/err.h"
#include "relay/daemon/metrics_page.h"
#include "relay/net/endpoint.h"
#include "relay/net/loop.h"

#include <stdbool.h>
#include <stddef.h>

struct metrics;

struct metrics_ops {
	void (*collect)(void *ctx, struct metrics_page *page);
	/* False, and why in words. */
	bool (*is_alive)(void *ctx, struct buf *why);
	bool (*is_ready)(void *ctx, struct buf *why);
};

/* Hub.  The error names the address. */
struct metrics *
metrics_open(struct loop *loop, const struct endpoint *address, const struct metrics_ops *ops,
	     void *ctx, struct err *err);
void metrics_close(struct metrics **metrics);

/* With the real port where 0 was asked for. */
struct endpoint metrics_address(const struct metrics *metrics);

#endif
