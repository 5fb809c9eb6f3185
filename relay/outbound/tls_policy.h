#ifndef RELAY_OUTBOUND_TLS_POLICY_H
#define RELAY_OUTBOUND_TLS_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/err.h"
#include "relay/base/span.h"
#include "relay/net/tls.h"
#include "relay/session/call.h"

/*
 * What a route asks of TLS, and what that means for a call.  Pure.
 */
enum tls_level {
	TLS_LEVEL_DEFAULT,      /* verify for named hosts, may for exchangers from MX */
	TLS_LEVEL_NONE,
	TLS_LEVEL_MAY,          /* a failed handshake is tried once in clear, same attempt */
	TLS_LEVEL_REQUIRE,      /* encrypted, any certificate */
	TLS_LEVEL_VERIFY,       /* the CA vouches for the host's name */
	TLS_LEVEL_FINGERPRINT,  /* one of the pinned certificates */
};

enum { TLS_POLICY_FINGERPRINT_COUNT_MAX = 8 };

struct tls_policy {
	enum tls_level level;
	bool implicit;                  /* TLS from the first byte, no STARTTLS */
	const char *name;               /* to verify instead of the host's name; NULL: the host's */
	const char *identity;           /* name of the `tls` section to use; NULL: the node's */
	uint8_t fingerprints[TLS_POLICY_FINGERPRINT_COUNT_MAX][TLS_FINGERPRINT_BYTES];
	size_t fingerprint_count;
};

/* "none", "may", "require", "verify", "fingerprint", "default"; false for other words. */
bool tls_level_parse(struct span text, enum tls_level *level_out);
const char *tls_level_name(enum tls_level level);

/* The level that counts, never DEFAULT. */
enum tls_level tls_policy_level(const struct tls_policy *policy, bool host_is_named);

enum call_tls tls_policy_call(const struct tls_policy *policy, bool host_is_named);

/* Whether the policy makes sense (fingerprints there, implicit not with may); ERR_CONFIG. */
int tls_policy_check(const struct tls_policy *policy, bool host_is_named, struct err *err);

#endif
