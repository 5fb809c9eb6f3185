/*
 * Sockets that the service manager opened for us (socket activation).  They are found by their
 * address: a listener whose address is that of an inherited socket uses it.
 */
#ifndef RELAY_DAEMON_ACTIVATION_H
#define RELAY_DAEMON_ACTIVATION_H

#include "relay/base/err.h"
#include "relay/net/endpoint.h"

#include <stdbool.h>
#include <stddef.h>

struct activation;

/*
 * Takes over what $LISTEN_FDS says and removes it from the environment.  Never NULL on success,
 * though it may hold nothing.  Fails when a descriptor is not a listening stream socket.
 */
struct activation *activation_open(struct err *err);

/* Closes what nobody took. */
void activation_close(struct activation **activation);

/* The descriptor bound to ADDRESS, the caller's from now on, or -1. */
int activation_take(struct activation *activation, const struct endpoint *address);

/* How many were inherited and not taken; their addresses, for a warning. */
size_t activation_rest_count(const struct activation *activation);
struct endpoint activation_rest(const struct activation *activation, size_t index);

#endif
