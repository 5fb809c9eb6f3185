/*
 * What the service manager is told (sd_notify) and how it sees that we live (watchdog).  Without
 * a manager ($NOTIFY_SOCKET is not set) everything here does nothing.
 */
#ifndef RELAY_DAEMON_NOTIFY_H
#define RELAY_DAEMON_NOTIFY_H

#include "relay/base/err.h"
#include "relay/net/loop.h"

#include <stdbool.h>
#include <stdint.h>

struct notify;

/*
 * WATCHDOG: asked before each sign of life to the manager; false, and none is sent.  It should
 * say whether the threads that mail depends on made progress.  May be NULL: the loop's own
 * turning is the sign.
 */
struct notify *
notify_open(struct loop *loop, bool (*watchdog)(void *ctx), void *ctx);
void notify_close(struct notify **notify);

void notify_ready(struct notify *notify);
void notify_reloading(struct notify *notify);           /* notify_ready() ends it */
void notify_stopping(struct notify *notify);

/* One line that `systemctl status` shows. */
void notify_status(struct notify *notify, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
