#ifndef RELAY_COMMANDS_H
#define RELAY_COMMANDS_H

#include <stddef.h>

#include "relay/daemon/control.h"

/*
 * What relayctl can ask of a relayd: the table of control verbs.  Their ctx is the
 * struct relay.  They run on the hub.
 */
const struct control_verb *commands_verbs(size_t *count_out);

#endif
