#ifndef RELAY_OUTBOUND_ROUTE_PATTERN_H
#define RELAY_OUTBOUND_ROUTE_PATTERN_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/base/arena.h"
#include "relay/base/err.h"
#include "relay/base/span.h"

/*
 * One pattern of a route, as route.h describes them.  Pure.  Texts are kept in
 * lower case, so that a pattern is its own key in a table.
 */
enum route_pattern_kind {
	PATTERN_ANY,            /* "*" */
	PATTERN_NULL,           /* "<>" */
	PATTERN_DOMAIN,         /* "example.net" */
	PATTERN_BELOW,          /* ".example.net", written as "*.example.net" */
	PATTERN_ADDRESS,        /* "user@example.net" */
	PATTERN_LOCAL,          /* "user@" */
};

struct route_pattern {
	enum route_pattern_kind kind;
	struct span key;
	struct span text;               /* as written */
};

/* -1 with ERR_CONFIG when the text is no pattern. */
int route_pattern_parse(struct span text, struct arena *arena,
    struct route_pattern *pattern_out, struct err *err);

/* An address cut into what patterns look at; lower case, in the caller's room. */
enum { ROUTE_ADDRESS_BYTES_MAX = 512 };

struct route_address {
	bool is_null;
	struct span whole;              /* "user@example.net"; "" if only the domain is known */
	struct span local_at;           /* "user@" */
	struct span domain;
	char room[ROUTE_ADDRESS_BYTES_MAX];
};

/* Too long an address matches only "*". */
void route_address_set(struct route_address *address, struct span text, struct span domain);

bool route_pattern_matches(const struct route_pattern *pattern,
    const struct route_address *address);

#endif
