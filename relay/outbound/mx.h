#ifndef RELAY_OUTBOUND_MX_H
#define RELAY_OUTBOUND_MX_H

#include <stddef.h>
#include <stdint.h>

#include "relay/base/random.h"
#include "relay/base/span.h"
#include "relay/net/endpoint.h"
#include "relay/net/resolver.h"

/*
 * What an answer to an MX question means (RFC 5321 section 5.1, RFC 7505), and in
 * which order hosts are tried.  Pure.
 */
enum mx_verdict {
	MX_HOSTS,               /* these */
	/* no MX, or so they say: the domain itself, if it has an address */
	MX_IMPLICIT,
	MX_NULL,                /* "." : it takes no mail; permanent */
	MX_NO_DOMAIN,           /* there is no such domain; permanent, once it was said twice */
	MX_LOOP,                /* nobody is better than we ourselves */
	MX_TEMPORARY,           /* not known */
};

enum { MX_HOST_COUNT_MAX = 32 };

struct mx_host {
	char name[HOST_BYTES_MAX];
	uint16_t preference;
};

/*
 * Fills hosts_out, by preference and then by name, each name once with its best
 * preference: the same set gives the same list.  OWN_NAME in it cuts it: only hosts
 * that are better than we are left.  "localhost" and names that are none are left out.
 */
enum mx_verdict mx_choose(const struct resolver_answer *answer, struct span own_name,
    struct mx_host hosts_out[MX_HOST_COUNT_MAX], size_t *count_out);

/*
 * What the addresses of the domain itself say, asked after MX_IMPLICIT: MX_HOSTS,
 * MX_NO_DOMAIN or MX_TEMPORARY.  Servers that answer NXDOMAIN for every type that a name
 * lacks are known (RFC 4074 section 4.2), so that answer to the MX question alone proves
 * nothing; nor does an empty answer that no SOA vouches for.
 */
enum mx_verdict mx_choose_implicit(const struct resolver_answer *answer);

const char *mx_verdict_name(enum mx_verdict verdict);

/*
 * The order of one attempt: lower preference first, and within one preference by
 * chance, more often first with more weight; weight 0 after all others of it.
 * Permutes ORDER, indices into the two arrays.
 */
void mx_order(uint8_t *order, size_t count, const uint16_t *preferences,
    const uint16_t *weights, struct random *random);

#endif
