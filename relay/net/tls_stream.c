#include "relay/net/tls_stream.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include "relay/base/mem.h"
#include "relay/net/tls_private.h"

struct tls_stream {
	SSL *ssl;
	struct tls_context *context;
	bool is_client, secured;
	struct tls_peer peer;
	char *peer_name;
	uint8_t (*fingerprints)[TLS_FINGERPRINT_BYTES];
	struct tls_info *info;          /* only once the handshake is done: idle streams are many */
};

static void
copy_peer(struct tls_stream *stream, const struct tls_peer *peer)
{
	stream->is_client = true;
	stream->peer = *peer;
	if (peer->name)
		stream->peer.name = stream->peer_name = mem_dup_cstr(peer->name);
	if (peer->fingerprint_count) {
		stream->fingerprints = mem_dup(peer->fingerprints,
		    peer->fingerprint_count * sizeof(peer->fingerprints[0]));
		stream->peer.fingerprints =
		    (const uint8_t (*)[TLS_FINGERPRINT_BYTES])stream->fingerprints;
	}
}

struct tls_stream *
tls_stream_new(struct tls_context *context, int fd, const struct tls_peer *peer, struct err *err)
{
	struct tls_stream *stream = mem_alloc(sizeof(*stream));

	stream->context = tls_context_ref(context);
	if (peer)
		copy_peer(stream, peer);
	stream->ssl = tls_session_new(context, !peer, peer ? &stream->peer : NULL, err);
	if (!stream->ssl || SSL_set_fd(stream->ssl, fd) != 1) {
		if (stream->ssl)
			(void)tls_set_err(err, stream->ssl, "TLS");
		tls_stream_free(&stream);
		return NULL;
	}
	/*
	 * A retry may come from another address, for buffers move; and half a record is
	 * progress.
	 */
	SSL_set_mode(stream->ssl,
	    SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	    SSL_MODE_RELEASE_BUFFERS);
	return stream;
}

void
tls_stream_free(struct tls_stream **stream)
{
	struct tls_stream *s = *stream;

	if (!s)
		return;
	SSL_free(s->ssl);
	tls_context_unref(&s->context);
	mem_free(&s->peer_name);
	mem_free(&s->fingerprints);
	mem_free(&s->info);
	mem_free(stream);
}

static enum tls_step
step_of(struct tls_stream *stream, int result, const char *what, struct err *err)
{
	switch (SSL_get_error(stream->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return TLS_STEP_WANTS_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLS_STEP_WANTS_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		return TLS_STEP_ENDED;
	default:
		(void)tls_set_err(err, stream->ssl, what);
		return TLS_STEP_FAILED;
	}
}

enum tls_step
tls_stream_handshake(struct tls_stream *stream, struct err *err)
{
	ERR_clear_error();

	int result = stream->is_client ? SSL_connect(stream->ssl) : SSL_accept(stream->ssl);

	if (result != 1)
		return step_of(stream, result, "TLS handshake", err);
	stream->info = mem_alloc(sizeof(*stream->info));
	stream->secured = true;
	if (tls_session_finish(stream->ssl, stream->is_client ? &stream->peer : NULL, stream->info,
	    err) < 0)
		return TLS_STEP_FAILED;
	return TLS_STEP_DONE;
}

const struct tls_info *
tls_stream_info(const struct tls_stream *stream)
{
	return stream->info;
}

uint64_t
tls_stream_timeout_ms(const struct tls_stream *stream)
{
	return tls_handshake_timeout_ms(stream->context);
}

enum tls_step
tls_stream_read(struct tls_stream *stream, char *data, size_t size, size_t *read_out,
    struct err *err)
{
	*read_out = 0;
	ERR_clear_error();

	int result = SSL_read_ex(stream->ssl, data, size, read_out);

	return result == 1 ? TLS_STEP_DONE : step_of(stream, result, "TLS", err);
}

enum tls_step
tls_stream_write(struct tls_stream *stream, struct span bytes, size_t *written_out, struct err *err)
{
	*written_out = 0;
	ERR_clear_error();

	int result = SSL_write_ex(stream->ssl, bytes.data, bytes.len, written_out);

	return result == 1 ? TLS_STEP_DONE : step_of(stream, result, "TLS", err);
}

bool
tls_stream_has_pending(const struct tls_stream *stream)
{
	return SSL_has_pending(stream->ssl) != 0;
}

void
tls_stream_shutdown(struct tls_stream *stream)
{
	ERR_clear_error();
	if (stream->secured)
		(void)SSL_shutdown(stream->ssl);
	ERR_clear_error();
}
