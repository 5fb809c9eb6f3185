#include "relay/net/tls.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/net/tls_private.h"

enum { HANDSHAKE_TIMEOUT_MS = 30 * 1000, IDENTITIES_MAX = 16 };

static const unsigned char alpn_smtp[] = { 4, 's', 'm', 't', 'p' };

/* As a server only what testssl finds no fault with; as a client whatever is not broken. */
static const char server_ciphers[] = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:DHE+CHACHA20";
static const char client_ciphers[] = "HIGH:!aNULL:!eNULL:!PSK:!SRP";

struct tls_context {
	atomic_uint references;
	bool is_server;
	SSL_CTX *contexts[IDENTITIES_MAX];      /* one an identity; the first is for all others */
	size_t context_count;
	uint64_t handshake_timeout_ms;
	struct tls_ticket_keys *ticket_keys;
	int64_t not_after_ms;
	char *warning;
};

/* ---- errors --------------------------------------------------------------- */

int
tls_set_err(struct err *err, SSL *ssl, const char *what)
{
	char reason[200] = "";
	long verified = ssl ? SSL_get_verify_result(ssl) : X509_V_OK;
	unsigned long code = ERR_peek_last_error();

	/* A doubtful certificate that was let in is not what broke the connection later. */
	if (verified != X509_V_OK && ERR_GET_LIB(code) == ERR_LIB_SSL &&
	    ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED)
		(void)snprintf(reason, sizeof(reason), "certificate verify failed: %s",
		    X509_verify_cert_error_string(verified));
	else if (code && ERR_reason_error_string(code))
		(void)snprintf(reason, sizeof(reason), "%s", ERR_reason_error_string(code));
	else if (code)
		(void)snprintf(reason, sizeof(reason), "OpenSSL error %lx", code);
	else
		(void)snprintf(reason, sizeof(reason), "the peer closed the connection");
	ERR_clear_error();
	return err_set(err, ERR_TLS, "%s: %s", what, reason);
}

static int
file_err(struct err *err, const char *file, const char *what)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;

	(void)err_set(err, ERR_CONFIG, "%s: %s%s%s", file, what, reason ? ": " : "", reason ? reason
	    : "");
	ERR_clear_error();
	return -1;
}

static void
need_readable(const char *file, struct err *err, bool *good)
{
	FILE *stream = fopen(file, "re");

	if (stream)
		(void)fclose(stream);
	else
		*good = err_set_errno(err, "%s", file) == 0;
}

/* ---- contexts ------------------------------------------------------------- */

static int64_t
time_ms(const ASN1_TIME *when)
{
	int days = 0, seconds = 0;
	ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
	int64_t ms = 0;

	if (epoch && ASN1_TIME_diff(&days, &seconds, epoch, when) == 1)
		ms = ((int64_t)days * 86400 + seconds) * 1000;
	ASN1_TIME_free(epoch);
	return ms;
}

static void
look_at_validity(struct tls_context *context, const char *file, X509 *certificate)
{
	int64_t not_after_ms = time_ms(X509_get0_notAfter(certificate));

	if (!context->not_after_ms || not_after_ms < context->not_after_ms)
		context->not_after_ms = not_after_ms;
	if (context->warning)
		return;
	if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
		context->warning = mem_format("%s: the certificate has expired", file);
	else if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
		context->warning = mem_format("%s: the certificate is not valid yet", file);
}

/* OpenSSL would ask at the terminal. */
static int
refuse_password(char *buffer, int size, int writing, void *arg)
{
	(void)buffer;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

static int
load_identity(struct tls_context *context, SSL_CTX *ctx, const struct tls_identity *identity,
    struct err *err)
{
	bool good = true;

	need_readable(identity->certificate_file, err, &good);
	if (good)
		need_readable(identity->key_file, err, &good);
	if (!good)
		return -1;
	if (SSL_CTX_use_certificate_chain_file(ctx, identity->certificate_file) != 1)
		return file_err(err, identity->certificate_file, "no certificate in PEM form");
	if (SSL_CTX_use_PrivateKey_file(ctx, identity->key_file, SSL_FILETYPE_PEM) != 1) {
		unsigned long code = ERR_peek_last_error();

		if (ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH) {
			ERR_clear_error();
			return err_set(err, ERR_CONFIG,
			    "%s: the key does not belong to the certificate %s",
			    identity->key_file, identity->certificate_file);
		}
		return file_err(err, identity->key_file, "no private key in PEM form");
	}
	if (SSL_CTX_check_private_key(ctx) != 1) {
		ERR_clear_error();
		return err_set(err, ERR_CONFIG, "%s: the key does not belong to the certificate %s",
		    identity->key_file, identity->certificate_file);
	}
	look_at_validity(context, identity->certificate_file, SSL_CTX_get0_certificate(ctx));
	return 0;
}

static SSL_CTX *
new_ctx(bool is_server, enum tls_version version_min)
{
	SSL_CTX *ctx = SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method());

	must(ctx != NULL);
	(void)SSL_CTX_set_min_proto_version(ctx,
	    version_min == TLS_VERSION_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
	/* An end without close_notify is an end: SMTP says itself when it is complete. */
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
	    SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_IGNORE_UNEXPECTED_EOF);
	must(SSL_CTX_set_cipher_list(ctx, is_server ? server_ciphers : client_ciphers) == 1);
	SSL_CTX_set_default_passwd_cb(ctx, refuse_password);
	(void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	(void)SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	return ctx;
}

static struct tls_context *
new_context(bool is_server, uint64_t handshake_timeout_ms)
{
	struct tls_context *context = mem_alloc(sizeof(*context));

	atomic_init(&context->references, 1);
	context->is_server = is_server;
	context->handshake_timeout_ms = handshake_timeout_ms ? handshake_timeout_ms
	    : HANDSHAKE_TIMEOUT_MS;
	return context;
}

static int
load_ca(SSL_CTX *ctx, const char *ca_file, bool is_server, struct err *err)
{
	bool good = true;

	need_readable(ca_file, err, &good);
	if (!good)
		return -1;
	if (SSL_CTX_load_verify_locations(ctx, ca_file, NULL) != 1)
		return file_err(err, ca_file, "no certificate in PEM form");
	if (is_server)
		SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(ca_file));
	return 0;
}

/* ALPACA: a client that speaks ALPN and does not say "smtp" means another protocol. */
static int
choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
    unsigned int in_len, void *arg)
{
	unsigned char *chosen;

	(void)ssl;
	(void)arg;
	if (SSL_select_next_proto(&chosen, out_len, alpn_smtp, sizeof(alpn_smtp), in, in_len) !=
	    OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

/* The identity whose certificate has the name that the client asks for; else the first. */
static int
choose_identity(SSL *ssl, int *alert, void *arg)
{
	const struct tls_context *context = arg;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	(void)alert;
	for (size_t i = 0; name && i < context->context_count; i++) {
		X509 *certificate = SSL_CTX_get0_certificate(context->contexts[i]);

		if (X509_check_host(certificate, name, 0, 0, NULL) == 1) {
			(void)SSL_set_SSL_CTX(ssl, context->contexts[i]);
			break;
		}
	}
	return SSL_TLSEXT_ERR_OK;
}

/*
 * Who has no certificate is let in, where that is allowed; who has a bad one is known as
 * unverified.
 */
static int
accept_any(int good, X509_STORE_CTX *store)
{
	(void)good;
	(void)store;
	return 1;
}

/*
 * The tickets of all contexts may share keys, but who was verified under one CA must not go on
 * under another: a ticket opens only a session of the same certificate and CA file.
 */
static int
bind_sessions(SSL_CTX *ctx, const char *ca_file)
{
	const char *file = ca_file ? ca_file : "";
	unsigned char id[EVP_MAX_MD_SIZE], certificate[EVP_MAX_MD_SIZE];
	unsigned int id_len = 0, certificate_len = 0;
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	int good = digest && X509_digest(SSL_CTX_get0_certificate(ctx), EVP_sha256(), certificate,
	    &certificate_len) == 1 && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 &&
	    EVP_DigestUpdate(digest, certificate, certificate_len) == 1 &&
	    EVP_DigestUpdate(digest, file, strlen(file)) == 1 &&
	    EVP_DigestFinal_ex(digest, id, &id_len) == 1 &&
	    SSL_CTX_set_session_id_context(ctx, id, id_len) == 1;

	EVP_MD_CTX_free(digest);
	return good;
}

static int
set_up_server(SSL_CTX *ctx, const struct tls_server_settings *settings, struct err *err)
{
	int mode = SSL_VERIFY_NONE;

	if (settings->ca_file && load_ca(ctx, settings->ca_file, true, err) < 0)
		return -1;
	if (settings->client_auth != TLS_CLIENT_AUTH_NONE)
		mode = SSL_VERIFY_PEER;
	if (settings->client_auth == TLS_CLIENT_AUTH_REQUIRE)
		mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
	SSL_CTX_set_verify(ctx, mode,
	    settings->client_auth == TLS_CLIENT_AUTH_ASK ? accept_any : NULL);
	if (bind_sessions(ctx, settings->ca_file) != 1)
		return tls_set_err(err, NULL, "TLS context");
	(void)SSL_CTX_set_dh_auto(ctx, 1);
	tls_tickets_set_up(ctx, settings->ticket_keys);
	SSL_CTX_set_alpn_select_cb(ctx, choose_alpn, NULL);
	return 0;
}

struct tls_context *
tls_server_context_new(const struct tls_server_settings *settings, struct err *err)
{
	struct tls_context *context;

	ERR_clear_error();
	if (settings->identity_count == 0 || settings->identity_count > IDENTITIES_MAX) {
		(void)err_set(err, ERR_CONFIG, "a TLS server needs 1 to %d certificates",
		    IDENTITIES_MAX);
		return NULL;
	}
	if (settings->client_auth == TLS_CLIENT_AUTH_REQUIRE && !settings->ca_file) {
		(void)err_set(err, ERR_CONFIG, "client certificates are required without a ca");
		return NULL;
	}
	context = new_context(true, settings->handshake_timeout_ms);
	if (settings->ticket_keys)
		context->ticket_keys = tls_ticket_keys_ref(settings->ticket_keys);
	for (size_t i = 0; i < settings->identity_count; i++) {
		SSL_CTX *ctx = new_ctx(true, settings->version_min);

		context->contexts[context->context_count++] = ctx;
		if (load_identity(context, ctx, &settings->identities[i], err) < 0 ||
		    set_up_server(ctx, settings, err) < 0) {
			tls_context_unref(&context);
			return NULL;
		}
	}
	(void)SSL_CTX_set_tlsext_servername_callback(context->contexts[0], choose_identity);
	(void)SSL_CTX_set_tlsext_servername_arg(context->contexts[0], context);
	return context;
}

struct tls_context *
tls_client_context_new(const struct tls_client_settings *settings, struct err *err)
{
	struct tls_context *context = new_context(false, settings->handshake_timeout_ms);
	SSL_CTX *ctx = new_ctx(false, settings->version_min);
	bool good = true;

	ERR_clear_error();
	context->contexts[context->context_count++] = ctx;
	if (settings->ca_file)
		good = load_ca(ctx, settings->ca_file, false, err) == 0;
	else
		(void)SSL_CTX_set_default_verify_paths(ctx);
	good = good && (!settings->identity || load_identity(context, ctx, settings->identity,
	    err) == 0);
	if (!good)
		tls_context_unref(&context);
	return context;
}

struct tls_context *
tls_context_ref(struct tls_context *context)
{
	(void)atomic_fetch_add(&context->references, 1);
	return context;
}

void
tls_context_unref(struct tls_context **context)
{
	struct tls_context *c = *context;

	*context = NULL;
	if (!c || atomic_fetch_sub(&c->references, 1) != 1)
		return;
	for (size_t i = 0; i < c->context_count; i++)
		SSL_CTX_free(c->contexts[i]);
	tls_ticket_keys_unref(&c->ticket_keys);
	mem_free(&c->warning);
	mem_free(&c);
}

void
tls_context_set_ticket_keys(struct tls_context *context, struct tls_ticket_keys *keys)
{
	struct tls_ticket_keys *old = context->ticket_keys;

	context->ticket_keys = keys ? tls_ticket_keys_ref(keys) : NULL;
	for (size_t i = 0; i < context->context_count; i++)
		tls_tickets_set_up(context->contexts[i], keys);
	tls_ticket_keys_unref(&old);
}

const char *
tls_context_warning(const struct tls_context *context)
{
	return context->warning;
}

int64_t
tls_context_not_after_ms(const struct tls_context *context)
{
	return context->not_after_ms;
}

uint64_t
tls_handshake_timeout_ms(const struct tls_context *context)
{
	return context->handshake_timeout_ms;
}

SSL *
tls_session_new(struct tls_context *context, bool is_server, const struct tls_peer *peer,
    struct err *err)
{
	SSL *ssl;

	must(context->is_server == is_server && is_server == !peer);
	ssl = SSL_new(context->contexts[0]);
	if (!ssl) {
		(void)tls_set_err(err, NULL, "TLS");
		return NULL;
	}
	if (peer && tls_session_ask(ssl, peer, err) < 0) {
		SSL_free(ssl);
		return NULL;
	}
	return ssl;
}
