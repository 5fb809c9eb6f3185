#ifndef RELAY_BASE_NETWORK_H
#define RELAY_BASE_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/base/err.h"
#include "relay/base/span.h"

struct sockaddr;

/*
 * An address range: "192.0.2.0/24", "2001:db8::/32", or one address.  IPv4 is
 * kept as IPv4-mapped IPv6, so that a mapped address of a dual-stack socket is
 * the IPv4 address it means.
 */
struct network {
	uint8_t bytes[16];
	uint8_t prefix_bits;    /* of 128 */
};

#define NETWORK_TEXT_BYTES 64

/* Bits set behind the prefix are a failure: they are a mistake of the writer. */
int network_parse(struct span text, struct network *network_out, struct err *err);
void network_print(const struct network *network, char text_out[NETWORK_TEXT_BYTES]);

/* 16 bytes, IPv4 as mapped. */
bool network_has(const struct network *network, const uint8_t address[16]);

/* False for families other than IPv4 and IPv6. */
bool network_has_sockaddr(const struct network *network, const struct sockaddr *address);

#endif
