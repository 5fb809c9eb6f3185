#ifndef RELAY_NET_TLS_PRIVATE_H
#define RELAY_NET_TLS_PRIVATE_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "relay/base/err.h"
#include "relay/net/tls.h"

/* What tls.c (contexts) and tls_session.c (what is asked and found) give to tls_stream.c: the
 * three files of relay/net that know OpenSSL's types. */

/*
 * A session under the context: a server's, or a client's with what PEER asks set up (SNI, name
 * or address to verify, fingerprints compared in tls_check_peer()).  NULL when OpenSSL has no
 * memory or PEER makes no sense.
 */
SSL *tls_session_new(struct tls_context *context, bool is_server, const struct tls_peer *peer,
    struct err *err);

/* KEYS are borrowed for the life of CTX; NULL: no tickets. */
void tls_tickets_set_up(SSL_CTX *ctx, struct tls_ticket_keys *keys);

/* What a client asks of its peer: SNI, ALPN, name or address to verify. */
int tls_session_ask(SSL *ssl, const struct tls_peer *peer, struct err *err);

uint64_t tls_handshake_timeout_ms(const struct tls_context *context);

/*
 * After the handshake: fill INFO, and for a client see that the peer is who PEER asks for where
 * OpenSSL did not (fingerprints).  -1 with ERR_TLS when it is not.
 */
int tls_session_finish(SSL *ssl, const struct tls_peer *peer, struct tls_info *info_out,
    struct err *err);

/* OpenSSL's reason in words ("certificate verify failed: ..."), the error queue emptied. */
int tls_set_err(struct err *err, SSL *ssl, const char *what);

#endif
