#ifndef RELAY_NET_TLS_H
#define RELAY_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/err.h"
#include "relay/base/random.h"
#include "relay/base/span.h"
#include "relay/net/endpoint.h"

/*
 * TLS as the rest of the relay sees it: contexts made from files, what is
 * asked of a peer, what a handshake found.  TLS 1.2 and newer, no
 * renegotiation, no compression, ALPN "smtp" where the peer speaks ALPN.
 *
 * A context is immutable and counted: a reload makes a new one and drops the
 * old, which lives on in the connections that began with it.  One context a
 * worker is best (OpenSSL counts references with atomics, contexts share a
 * lock); the count itself is safe on every thread.
 */
struct tls_context;
struct tls_ticket_keys;

enum tls_version {
	TLS_VERSION_1_2,
	TLS_VERSION_1_3,
};

/* One certificate with its chain, PEM, leaf first, and the key to it, PEM. */
struct tls_identity {
	const char *certificate_file;
	const char *key_file;
};

/* What a server wants of its clients' certificates. */
enum tls_client_auth {
	TLS_CLIENT_AUTH_NONE,
	TLS_CLIENT_AUTH_ASK,            /* anything goes; tls_info says whether it was verified */
	/* none, or one that the CA does not vouch for, is refused */
	TLS_CLIENT_AUTH_REQUIRE,
};

struct tls_server_settings {
	const struct tls_identity *identities;  /* first is for clients without SNI */
	size_t identity_count;
	const char *ca_file;                    /* for clients' certificates; may be NULL */
	enum tls_client_auth client_auth;
	enum tls_version version_min;
	struct tls_ticket_keys *ticket_keys;    /* NULL: no session tickets, for now */
	uint64_t handshake_timeout_ms;          /* 0: 30 s */
};

struct tls_client_settings {
	const char *ca_file;                    /* NULL: the system's */
	const struct tls_identity *identity;    /* NULL: no client certificate */
	enum tls_version version_min;
	uint64_t handshake_timeout_ms;          /* 0: 30 s */
};

/*
 * Both read the files, check that each key fits its certificate, and say in
 * words what is wrong: `relayd -n` builds contexts and throws them away.
 * Warnings that do not hinder (certificate not valid at the moment) are for
 * tls_context_warning(), which is NULL when there are none.
 */
struct tls_context *tls_server_context_new(const struct tls_server_settings *settings,
    struct err *err);
struct tls_context *tls_client_context_new(const struct tls_client_settings *settings,
    struct err *err);
struct tls_context *tls_context_ref(struct tls_context *context);
void tls_context_unref(struct tls_context **context);
const char *tls_context_warning(const struct tls_context *context);

/* End of validity of the context's own certificate (ms since 1970), 0 without one. */
int64_t tls_context_not_after_ms(const struct tls_context *context);

/*
 * Keys for session tickets, shared by all workers: immutable, counted.  A new
 * set has a fresh key and keeps the newest of the old set (NULL at first) to
 * open tickets already given; make one every few hours and give it to the contexts.
 */
struct tls_ticket_keys *tls_ticket_keys_new(const struct tls_ticket_keys *old,
    struct random *random);
struct tls_ticket_keys *tls_ticket_keys_ref(struct tls_ticket_keys *keys);
void tls_ticket_keys_unref(struct tls_ticket_keys **keys);

/*
 * From the next handshake on a server's context has these keys, or, by NULL, no tickets.  On the
 * thread that uses the context.
 */
void tls_context_set_ticket_keys(struct tls_context *context, struct tls_ticket_keys *keys);

/* What a client asks of a server. */
enum tls_verify {
	TLS_VERIFY_NONE,                /* any certificate; tls_info says what was found */
	TLS_VERIFY_NAME,                /* the CA vouches for it and it has the name */
	TLS_VERIFY_FINGERPRINT,         /* SHA-256 of certificate or of its public key */
};

enum {
	TLS_FINGERPRINT_BYTES = 32,
	TLS_PEER_NAME_BYTES_MAX = HOST_BYTES_MAX,
	TLS_TEXT_BYTES_MAX = 48,
};

struct tls_peer {
	enum tls_verify verify;
	const char *name;               /* SNI, and the name to find; a host or an IP address */
	const uint8_t (*fingerprints)[TLS_FINGERPRINT_BYTES];
	size_t fingerprint_count;
};

/* "AB:CD:..." or without colons, either case; with or without "sha256:" before it. */
int tls_fingerprint_parse(struct span text, uint8_t fingerprint_out[TLS_FINGERPRINT_BYTES],
    struct err *err);

struct tls_info {
	char version[TLS_TEXT_BYTES_MAX];       /* "TLSv1.3" */
	char cipher[TLS_TEXT_BYTES_MAX];        /* "TLS_AES_256_GCM_SHA384" */
	int cipher_bits;
	bool resumed;
	bool peer_has_certificate;
	/* a CA vouches (and, for a client, the name fits) */
	bool peer_verified;
	char verify_error[TLS_PEER_NAME_BYTES_MAX];     /* why not, in words, or "" */
	/* First DNS name of the peer's certificate, else its common name, else "". */
	char peer_name[TLS_PEER_NAME_BYTES_MAX];
	uint8_t peer_fingerprint[TLS_FINGERPRINT_BYTES];
	char server_name[TLS_PEER_NAME_BYTES_MAX];      /* SNI of the client, or "" */
};

#endif
