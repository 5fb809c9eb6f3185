/*
 * The section "forward" of mailboxd's configuration: the relay that takes what leads elsewhere.
 */
#ifndef MAILBOX_FORWARD_CONFIG_H
#define MAILBOX_FORWARD_CONFIG_H

#include "mailbox/forward.h"
#include "relay/base/arena.h"
#include "relay/base/conf.h"
#include "relay/daemon/node_config.h"

enum { FORWARD_CONFIG_OPTION_COUNT = 4 };

extern const struct conf_option forward_config_options[FORWARD_CONFIG_OPTION_COUNT];

/*
 * Without the section nothing is forwarded.  What is kept lives in ARENA, but for the route's TLS
 * context, which is the caller's to release.  The error begins with file and line.
 */
int forward_config_read(struct forward_route *route_out, const struct conf *conf,
			const struct node_config *node, struct arena *arena, struct err *err);

#endif
