/*
 * Signals as callbacks on the hub's loop.
 */
#ifndef RELAY_DAEMON_SIGNALS_H
#define RELAY_DAEMON_SIGNALS_H

#include "relay/base/err.h"
#include "relay/net/loop.h"

struct signals;

struct signals_ops {
	void (*terminate)(void *ctx);           /* SIGTERM, SIGINT; called for each one */
	void (*reload)(void *ctx);              /* SIGHUP */
};

/*
 * From here on SIGTERM, SIGINT and SIGHUP are blocked and come as callbacks, and SIGPIPE is
 * ignored.  Threads inherit what is blocked: call it before the first one is started.
 */
struct signals *
signals_open(struct loop *loop, const struct signals_ops *ops, void *ctx, struct err *err);

/* Restores the mask of the calling thread and what SIGPIPE did before. */
void signals_close(struct signals **signals);

#endif
