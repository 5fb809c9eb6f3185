#ifndef RELAY_NET_ENDPOINT_H
#define RELAY_NET_ENDPOINT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/err.h"
#include "relay/base/network.h"
#include "relay/base/span.h"

enum endpoint_family {
	ENDPOINT_NONE,
	ENDPOINT_IPV4,
	ENDPOINT_IPV6,
	ENDPOINT_UNIX,
};

enum {
	ENDPOINT_PATH_BYTES_MAX = 108,  /* sun_path, with its NUL */
	ENDPOINT_TEXT_BYTES_MAX = 128,  /* any endpoint in words, with its NUL */
	HOST_BYTES_MAX = 254,           /* a DNS name in text, with its NUL */
};

/* An address of the network as a value.  IPv4-mapped IPv6 is always turned into IPv4. */
struct endpoint {
	enum endpoint_family family;
	uint16_t port;
	uint32_t scope;                         /* IPv6 link-local: interface index */
	union {
		uint8_t ip[16];                 /* network order; IPv4 uses the first four */
		char path[ENDPOINT_PATH_BYTES_MAX];
	};
};

/*
 * "192.0.2.1:25", "[2001:db8::1]:25", "[fe80::1%eth0]:25", "unix:/run/x.sock",
 * and the same without ":port" when default_port is not 0.
 */
int endpoint_parse(struct span text, uint16_t default_port, struct endpoint *endpoint_out,
    struct err *err);

/* A bare address, "192.0.2.1" or "2001:db8::1". */
bool endpoint_parse_ip(struct span text, uint16_t port, struct endpoint *endpoint_out);

/* As endpoint_parse() reads it.  Returns text_out. */
const char *endpoint_print(const struct endpoint *endpoint,
    char text_out[ENDPOINT_TEXT_BYTES_MAX]);

/* The address alone: "192.0.2.1", "2001:db8::1", "unix:/run/x.sock". */
const char *endpoint_print_ip(const struct endpoint *endpoint,
    char text_out[ENDPOINT_TEXT_BYTES_MAX]);

/* A total order; 0 when family, address and port are the same. */
int endpoint_compare(const struct endpoint *a, const struct endpoint *b);
bool endpoint_same_ip(const struct endpoint *a, const struct endpoint *b);
bool endpoint_is_loopback(const struct endpoint *endpoint);
bool endpoint_is_unspecified(const struct endpoint *endpoint);

/* A host by name or address, with a port: "mbox1:2424", "192.0.2.1:25", "[::1]:25". */
struct host_port {
	char host[HOST_BYTES_MAX];              /* lower case, no trailing dot */
	uint16_t port;
	bool is_endpoint;                       /* needs no resolver */
	struct endpoint endpoint;               /* valid if is_endpoint */
};

int host_port_parse(struct span text, uint16_t default_port, struct host_port *host_port_out,
    struct err *err);

/*
 * The address as relay/base/network.h wants it, IPv4 mapped into IPv6.  False
 * for unix sockets.  endpoint_network() is the network of that width around
 * it: the key for limits by client network.
 */
bool endpoint_ip16(const struct endpoint *endpoint, uint8_t ip_out[16]);
bool endpoint_is_in(const struct endpoint *endpoint, const struct network *network);
bool endpoint_network(const struct endpoint *endpoint, unsigned ipv4_bits, unsigned ipv6_bits,
    struct network *network_out);

#endif
