#ifndef RELAY_NET_SOCKET_ADDRESS_H
#define RELAY_NET_SOCKET_ADDRESS_H

#include <sys/socket.h>

#include "relay/net/endpoint.h"

/* An endpoint as the system's calls want it, for listener.c and dial.c. */
socklen_t socket_address_of(const struct endpoint *endpoint, struct sockaddr_storage *address_out);

/* IPv4-mapped addresses become IPv4; what we do not know becomes ENDPOINT_NONE. */
struct endpoint socket_address_read(const struct sockaddr_storage *address);

/* Our own end of a socket. */
struct endpoint socket_address_local(int fd);

#endif
