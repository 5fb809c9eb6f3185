#ifndef RELAY_NET_ENDPOINT_PRIVATE_H
#define RELAY_NET_ENDPOINT_PRIVATE_H

#include <sys/socket.h>

#include "relay/net/endpoint.h"

/* Endpoints as the kernel has them: for the files of net that make sockets. */

/* Returns the length to pass on; the endpoint must have a family. */
socklen_t endpoint_to_sockaddr(const struct endpoint *endpoint, struct sockaddr_storage *out);

/* A family we do not know gives ENDPOINT_NONE; a mapped address the IPv4 that it means. */
void endpoint_from_sockaddr(struct endpoint *endpoint_out, const struct sockaddr_storage *from,
    socklen_t len);

/* AF_INET, AF_INET6, AF_UNIX. */
int endpoint_socket_family(const struct endpoint *endpoint);

#endif
