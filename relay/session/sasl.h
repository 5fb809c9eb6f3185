#ifndef RELAY_SESSION_SASL_H
#define RELAY_SESSION_SASL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/buf.h"
#include "relay/base/err.h"
#include "relay/base/span.h"

/*
 * SASL (RFC 4422), both sides: PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 (RFC 7677) and
 * EXTERNAL.  The only home of the SASL library.  Octets in, octets out: base64, lines and
 * sockets are the engines'.
 *
 * An exchange belongs to one thread at a time; the library behind them is shared by all
 * threads and does not change.  A step may take as long as a password hash does.
 */
struct sasl;

struct sasl *sasl_new(struct err *err);

/* When no exchange is left. */
void sasl_free(struct sasl **sasl);

enum {
	SASL_USER_BYTES_MAX = 255,
	SASL_PASSWORD_BYTES_MAX = 511,          /* what crypt(3) takes */
	SASL_KEY_BYTES = 32,                    /* SHA-256 */
	SASL_SALT_BYTES_MAX = 64,
	SASL_ITERATIONS_MIN = 4096,             /* RFC 7677 section 4 */
	SASL_ITERATIONS_MAX = 10000000,
	/* What a server may ask of us, who do it on a thread with other things to do. */
	SASL_CLIENT_ITERATIONS_MAX = 200000,
};

/* What a server keeps of a password for SCRAM-SHA-256 (RFC 5802 section 3). */
struct sasl_scram {
	uint32_t iterations;
	size_t salt_len;
	uint8_t salt[SASL_SALT_BYTES_MAX];
	uint8_t stored_key[SASL_KEY_BYTES];
	uint8_t server_key[SASL_KEY_BYTES];
};

/*
 * The keys of a password, for the salt and the iterations that SCRAM has.  -1 when the
 * password cannot be one (RFC 4013, SASLprep).
 */
int sasl_scram_derive(struct span password, struct sasl_scram *scram);

/* "PLAIN", "LOGIN", "SCRAM-SHA-256" or "EXTERNAL"? */
bool sasl_knows(struct span mechanism);

/* ---- the server's side */

struct sasl_server;

/* Asked from inside sasl_server_step(), on its thread.  Texts end in NUL behind the span. */
struct sasl_server_ops {
	bool (*password_is)(void *ctx, struct span user, struct span password);
	/* Always fills SCRAM_OUT: for a user without keys with what nobody can tell from them. */
	void (*scram_of)(void *ctx, struct span user, struct sasl_scram *scram_out);
};

enum sasl_step {
	SASL_CHALLENGE,         /* the challenge was filled; a response is waited for */
	SASL_DONE,              /* sasl_server_user() says who it is */
	SASL_REFUSED,           /* the proof does not hold */
	SASL_MALFORMED,         /* not what the mechanism says */
	SASL_FAILED,            /* the library could not go on; no fault of the client */
};

/*
 * IDENTITY is who the client is by its certificate, for EXTERNAL; "" for nobody.  The ops
 * and CTX outlive the exchange.  NULL when the mechanism is not known.
 */
struct sasl_server *sasl_server_new(struct sasl *sasl, struct span mechanism,
    struct span identity, const struct sasl_server_ops *ops, void *ctx);
void sasl_server_free(struct sasl_server **server);

/* HAS_RESPONSE is false only at the first step, when no initial response came. */
enum sasl_step sasl_server_step(struct sasl_server *server, bool has_response,
    struct span response, struct buf *challenge);

/* After SASL_DONE; before it whom the client says it is, as far as known, for the log. */
struct span sasl_server_user(const struct sasl_server *server);

/* ---- the client's side */

struct sasl_client;

/* Copies.  NULL when the mechanism is not known. */
struct sasl_client *sasl_client_new(struct sasl *sasl, struct span mechanism, struct span user,
    struct span password);
void sasl_client_free(struct sasl_client **client);

/*
 * The first call has no challenge: RESPONSE is the initial one, and -1 says that there is
 * none.  Later -1 gives up: the server cannot prove itself, or talks nonsense.
 */
int sasl_client_step(struct sasl_client *client, bool has_challenge, struct span challenge,
    struct buf *response);

/* What the mechanism asks of the server was fulfilled: its word of success can be believed. */
bool sasl_client_is_satisfied(const struct sasl_client *client);

#endif
