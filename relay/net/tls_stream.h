#ifndef RELAY_NET_TLS_STREAM_H
#define RELAY_NET_TLS_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "relay/base/err.h"
#include "relay/base/span.h"
#include "relay/net/tls.h"

/*
 * TLS over a socket that does not block, for conn.c alone.  Once a call has
 * failed, or the peer has said close_notify, there is no way back to clear.
 */
struct tls_stream;

enum tls_step {
	TLS_STEP_DONE,          /* the handshake is complete, or octets were moved */
	TLS_STEP_WANTS_READ,    /* call again when the socket is readable */
	TLS_STEP_WANTS_WRITE,   /* call again when it is writable */
	TLS_STEP_ENDED,         /* the peer said close_notify */
	TLS_STEP_FAILED,        /* err says why */
};

/* PEER is NULL for a server; it is copied.  NULL when it cannot be made. */
struct tls_stream *tls_stream_new(struct tls_context *context, int fd, const struct tls_peer *peer,
    struct err *err);
void tls_stream_free(struct tls_stream **stream);

enum tls_step tls_stream_handshake(struct tls_stream *stream, struct err *err);
const struct tls_info *tls_stream_info(const struct tls_stream *stream);
uint64_t tls_stream_timeout_ms(const struct tls_stream *stream);

enum tls_step tls_stream_read(struct tls_stream *stream, char *data, size_t size, size_t *read_out,
    struct err *err);

/* What was not written must be offered again, the same octets, at any address. */
enum tls_step tls_stream_write(struct tls_stream *stream, struct span bytes, size_t *written_out,
    struct err *err);

/* Octets are decrypted and wait, though the socket may have none. */
bool tls_stream_has_pending(const struct tls_stream *stream);

/* Says close_notify, as far as the socket takes it. */
void tls_stream_shutdown(struct tls_stream *stream);

#endif
