#ifndef RELAY_NET_PROXY_HEADER_H
#define RELAY_NET_PROXY_HEADER_H

#include <stdbool.h>
#include <stddef.h>

#include "relay/base/span.h"
#include "relay/net/endpoint.h"

/*
 * The header of the PROXY protocol, versions 1 and 2: what a proxy in front of us says of
 * the client before anything else.  Pure; the octets are hostile.
 *
 * Version 1 is a line, "PROXY TCP4 CLIENT SERVER PORT PORT" CR LF, or "PROXY UNKNOWN ...".
 * Version 2 is binary: 12 octets of signature, version and command, family and protocol, a
 * length of 16 bits, addresses, and TLVs, which are skipped.  UNKNOWN, LOCAL (the proxy
 * speaks for itself: a health check) and families without addresses leave the connection
 * what it is.
 */
enum {
	PROXY_HEADER_BYTES_MAX = 2048,          /* with TLVs; version 1 has at most 107 */
	PROXY_HEADER_BYTES_MIN = 15,            /* "PROXY UNKNOWN" CR LF */
};

enum proxy_parse {
	PROXY_MORE,     /* at least `wanted` octets more belong to it */
	PROXY_BAD,
	PROXY_DONE,     /* it is exactly the octets given */
};

struct proxy_header {
	size_t wanted;
	bool has_addresses;
	struct endpoint client, server;
	const char *why;                        /* PROXY_BAD */
};

/*
 * INPUT never has more than the header: who reads takes no more than was wanted, first
 * PROXY_HEADER_BYTES_MIN, so that what stands behind it is for others.
 */
enum proxy_parse proxy_header_parse(struct span input, struct proxy_header *header_out);

#endif
