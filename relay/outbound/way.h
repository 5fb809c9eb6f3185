#ifndef RELAY_OUTBOUND_WAY_H
#define RELAY_OUTBOUND_WAY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/net/endpoint.h"
#include "relay/net/tls.h"
#include "relay/outbound/route.h"
#include "relay/session/call.h"

/*
 * How a destination is reached, as workers need it: immutable and counted.  The hub
 * makes one for each destination and, when the configuration changes, another one;
 * connections and jobs keep the one they began with.
 */
struct way_host {
	char name[HOST_BYTES_MAX];
	uint16_t port;
};

struct way {
	atomic_uint holders;
	enum call_protocol protocol;
	bool is_named;                  /* hosts the operator named, not exchangers from MX */
	enum call_tls tls;
	struct tls_policy policy;       /* implicit, name, fingerprints */
	struct call_login *login;       /* NULL: nobody asks who we are */
	struct tls_context **contexts;  /* of each worker; NULL without TLS */
	size_t worker_count;
	struct route_timeouts timeouts;
	char *hello;
	bool has_source_ipv4, has_source_ipv6;
	struct endpoint source_ipv4, source_ipv6;
	struct endpoint *own_addresses; /* where our own listeners are: never connect there by MX */
	size_t own_address_count;
	size_t host_count;
	struct way_host hosts[];
};

struct way *way_new(const struct route *route, const char *hello, const struct way_host *hosts,
    size_t host_count, struct tls_context *const *contexts, size_t worker_count);
struct way *way_ref(struct way *way);
void way_unref(struct way **way);

/*
 * One of the addresses is a listener of ours: by MX that means that the mail has come as far
 * as the domain wants it here, and goes on to better exchangers only (RFC 5321 section 5.1).
 */
bool way_leads_home(const struct way *way, const struct endpoint *addresses,
    size_t address_count);

/*
 * Removes addresses that must not be tried: unspecified ones, and for exchangers
 * loopback and our own.  Returns how many are left.
 */
size_t way_filter(const struct way *way, struct endpoint *addresses, size_t address_count);

#endif
