/*
 * The sandbox of a daemon by its configuration: what the shared sections name may be read or
 * written.  A daemon adds its own and enters.
 */
#ifndef RELAY_DAEMON_NODE_SANDBOX_H
#define RELAY_DAEMON_NODE_SANDBOX_H

#include "relay/base/err.h"
#include "relay/daemon/node_config.h"
#include "relay/daemon/privilege.h"
#include "relay/daemon/sandbox.h"

struct sandbox *node_sandbox_new(const struct node_config *config, const char *config_path);

/*
 * Enters, frees it, and says in the log what is in force.  With sandbox = no it only says so.
 */
int node_sandbox_enter(struct sandbox **sandbox, const struct node_config *config,
		       struct sandbox_state *state_out, struct err *err);

/*
 * For --self-check: becomes the user, enters, tries and prints.  Takes the sandbox.  True when
 * all that is forbidden was refused.
 */
bool node_sandbox_check(struct sandbox **sandbox, const struct node_config *config,
			struct err *err);

/* A reload could not read a file: adds that the sandbox may be why. */
void node_sandbox_explain(const struct sandbox_state *state, struct err *err);

#endif
