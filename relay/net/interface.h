#ifndef RELAY_NET_INTERFACE_H
#define RELAY_NET_INTERFACE_H

#include <stddef.h>
#include <stdint.h>

#include "relay/net/endpoint.h"

/*
 * The addresses of this machine's interfaces, with PORT: what "0.0.0.0" and "::" of a
 * listener stand for.  Of FAMILY only; at most COUNT_MAX.  Any thread.
 */
size_t interface_addresses(enum endpoint_family family, uint16_t port,
    struct endpoint *addresses_out, size_t count_max);

#endif
