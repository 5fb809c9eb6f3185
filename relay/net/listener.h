#ifndef RELAY_NET_LISTENER_H
#define RELAY_NET_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/err.h"
#include "relay/net/conn.h"
#include "relay/net/endpoint.h"
#include "relay/net/loop.h"

/*
 * Sockets that accept.  A listener has one or more addresses and gives each
 * new connection, silent, to accepted(), which takes it: conn_start() on this
 * or (after loop_post()) on another loop, or conn_free().  With SO_REUSEPORT
 * every worker opens the same addresses and the kernel spreads the clients.
 * When descriptors run out it refuses one client cleanly with a descriptor
 * kept for that, and rests for a moment.  One loop's thread.
 *
 * A connection of a proxy is given after its header was read, with the addresses that it
 * says; one that has not said it when the listener is closed is closed, too.
 */
struct listener;

struct listener_settings {
	const struct endpoint *addresses;
	size_t address_count;
	/* socket activation: used as they are, owned from then on */
	const int *inherited_fds;
	size_t inherited_fd_count;
	int backlog;                    /* 0: 1024 */
	unsigned unix_mode;             /* mode of a unix socket; 0: 0666 */
	bool reuse_port;
};

/* What is believed of who connects. */
enum listener_trust {
	LISTENER_CLIENT,        /* it is who it is */
	LISTENER_PROXY,         /* a PROXY header comes first and says whom it speaks for */
	LISTENER_STRANGER,      /* only proxies may come here, and it is none: closed */
};

struct listener_ops {
	void (*accepted)(void *ctx, struct conn *conn);
	/* May be NULL: all are clients.  Asked for each connection. */
	enum listener_trust (*trust)(void *ctx, const struct endpoint *peer);
	/* May be NULL.  A connection that should have had a PROXY header had none that is good. */
	void (*distrusted)(void *ctx, const struct endpoint *peer, const char *why);
	/* May be NULL.  Accepting failed and rests for a while; say so in the log. */
	void (*troubled)(void *ctx, const struct err *err);
};

/*
 * Binds every address or none.  A port of 0 is the kernel's choice:
 * listener_address() says which.  IPv6 sockets are IPv6 only.
 */
struct listener *listener_open(struct loop *loop, const struct listener_settings *settings,
    const struct listener_ops *ops, void *ctx, struct err *err);

size_t listener_address_count(const struct listener *listener);
struct endpoint listener_address(const struct listener *listener, size_t index);

/* While paused, clients wait in the kernel's queue. */
void listener_pause(struct listener *listener);
void listener_resume(struct listener *listener);

/*
 * Takes what already waits in the kernel's queue (accepted() is called for
 * each, during this call), then closes the sockets.
 */
void listener_close(struct listener **listener);

/* Closes the sockets without that: waiting clients are reset. */
void listener_abort(struct listener **listener);

#endif
