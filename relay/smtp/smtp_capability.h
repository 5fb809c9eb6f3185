/*
 * Service extensions: the one table of EHLO keywords that the server prints from and the client
 * reads by.  A new extension is a bit here, a row in smtp_capability.c, and its parameters in
 * smtp_param.c.  Any thread.
 */
#ifndef RELAY_SMTP_CAPABILITY_H
#define RELAY_SMTP_CAPABILITY_H

#include "relay/base/span.h"

#include <stdbool.h>
#include <stdint.h>

/* A set of these is an uint32_t. */
enum smtp_capability {
	SMTP_PIPELINING          = 1 << 0,      /* RFC 2920 */
	SMTP_SIZE                = 1 << 1,      /* RFC 1870 */
	SMTP_8BITMIME            = 1 << 2,      /* RFC 6152 */
	SMTP_SMTPUTF8            = 1 << 3,      /* RFC 6531 */
	SMTP_ENHANCEDSTATUSCODES = 1 << 4,      /* RFC 2034 */
	SMTP_CHUNKING            = 1 << 5,      /* RFC 3030 */
	SMTP_DSN                 = 1 << 6,      /* RFC 3461 */
	SMTP_STARTTLS            = 1 << 7,      /* RFC 3207 */
	SMTP_AUTH                = 1 << 8,      /* RFC 4954 */
	SMTP_LIMITS              = 1 << 9,      /* RFC 9422 */
	SMTP_CHECKPOINT          = 1 << 10,     /* RFC 1845; offered to own nodes only */
	SMTP_XORIGIN             = 1 << 11,     /* our own MAIL parameter; to own nodes only */
};

/* What every stranger may be offered. */
enum {
	SMTP_CAPABILITIES_COMMON = SMTP_PIPELINING | SMTP_SIZE | SMTP_8BITMIME | SMTP_SMTPUTF8 |
				   SMTP_ENHANCEDSTATUSCODES | SMTP_CHUNKING | SMTP_DSN,
	SMTP_AUTH_MECHANISMS_BYTES_MAX = 256,
};

struct smtp_capability_name {
	enum smtp_capability capability;
	const char *keyword;
};

/* The whole table; COUNT_OUT rows. */
const struct smtp_capability_name *smtp_capability_table(size_t *count_out);

const char *smtp_capability_keyword(enum smtp_capability capability);

/* What a peer said in its answer to EHLO. */
struct smtp_peer {
	uint32_t offers;                /* set of enum smtp_capability */
	uint64_t size_max;              /* SIZE; 0: not stated, or no limit */
	uint64_t mail_count_max;        /* LIMITS MAILMAX; 0: not stated */
	uint64_t rcpt_count_max;        /* LIMITS RCPTMAX; 0: not stated */
	uint64_t rcpt_domain_count_max; /* LIMITS RCPTDOMAINMAX; 0: not stated */
	size_t mechanisms_len;
	char mechanisms[SMTP_AUTH_MECHANISMS_BYTES_MAX]; /* "PLAIN SCRAM-SHA-256", upper case */
};

void smtp_peer_init(struct smtp_peer *peer);

/*
 * Take one line of the answer to EHLO, behind code and separator ("SIZE 1000000").  What is not
 * known is ignored, and so is what is malformed: the peer is hostile, and no harm is done.
 */
void smtp_peer_add(struct smtp_peer *peer, struct span line);

static inline bool
smtp_peer_offers(const struct smtp_peer *peer, enum smtp_capability capability)
{
	return (peer->offers & (uint32_t)capability) != 0;
}

struct span smtp_peer_mechanisms(const struct smtp_peer *peer);
bool smtp_peer_has_mechanism(const struct smtp_peer *peer, struct span mechanism);

#endif
