#ifndef RELAY_DAEMON_SANDBOX_PRIVATE_H
#define RELAY_DAEMON_SANDBOX_PRIVATE_H

#include "relay/daemon/sandbox.h"

/* sandbox_calls.c: the filter of system calls, for all threads of the process. */
int sandbox_filter_calls(struct sandbox_state *state, struct err *err);

#endif
