#ifndef TESTS_SIM_LISTENER_PRIVATE_H
#define TESTS_SIM_LISTENER_PRIVATE_H

#include <stdbool.h>

#include "relay/net/endpoint.h"
#include "tests/sim/wire.h"

/* Gives the second side of the wire to a listener of that address; false: there is none. */
bool sim_listener_offer(struct sim_wire *wire, const struct endpoint *address,
    const struct endpoint *peer);

/* The machine crashed: its listeners are gone. */
void sim_listeners_of_crashed(const struct sim_host *host);

/* The world ends. */
void sim_listeners_forget(void);

#endif
