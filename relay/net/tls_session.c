#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "relay/base/ascii.h"
#include "relay/net/endpoint.h"
#include "relay/net/tls_private.h"

static const unsigned char alpn_smtp[] = { 4, 's', 'm', 't', 'p' };

/* ---- what is asked of a peer ----------------------------------------------- */

static bool
ask_for_name(SSL *ssl, const char *name)
{
	struct endpoint endpoint;

	if (endpoint_parse_ip(span_from_cstr(name), 0, &endpoint))
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
	SSL_set_hostflags(ssl,
	    X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
	return SSL_set1_host(ssl, name) == 1;
}

/* RFC 6066 section 3: SNI has no addresses. */
static void
say_name(SSL *ssl, const char *name)
{
	struct endpoint endpoint;

	if (name && !endpoint_parse_ip(span_from_cstr(name), 0, &endpoint))
		(void)SSL_set_tlsext_host_name(ssl, name);
}

int
tls_session_ask(SSL *ssl, const struct tls_peer *peer, struct err *err)
{
	bool has_name = peer->name && peer->name[0];

	say_name(ssl, has_name ? peer->name : NULL);
	(void)SSL_set_alpn_protos(ssl, alpn_smtp, sizeof(alpn_smtp));
	SSL_set_verify(ssl, peer->verify == TLS_VERIFY_NAME ? SSL_VERIFY_PEER : SSL_VERIFY_NONE,
	    NULL);
	/* Asked for in any case, so that tls_info tells the truth where nothing depends on it. */
	if ((!has_name || !ask_for_name(ssl, peer->name)) && peer->verify == TLS_VERIFY_NAME)
		return err_set(err, ERR_TLS, "there is no name to verify");
	return 0;
}

int
tls_fingerprint_parse(struct span text, uint8_t fingerprint_out[TLS_FINGERPRINT_BYTES],
    struct err *err)
{
	size_t count = 0;
	int high = -1;

	if (span_starts_with_nocase(text, SPAN("sha256:")))
		text = span_skip(text, 7);
	for (size_t i = 0; i < text.len; i++) {
		int digit = ascii_hex_value(text.data[i]);

		if (text.data[i] == ':' && high < 0)
			continue;
		if (digit < 0 || count == TLS_FINGERPRINT_BYTES)
			return err_set(err, ERR_FORMAT,
			    "expected a SHA-256 fingerprint of 64 digits");
		if (high < 0) {
			high = digit;
			continue;
		}
		fingerprint_out[count++] = (uint8_t)(high << 4 | digit);
		high = -1;
	}
	if (count != TLS_FINGERPRINT_BYTES || high >= 0)
		return err_set(err, ERR_FORMAT, "expected a SHA-256 fingerprint of 64 digits");
	return 0;
}

/* ---- what was found --------------------------------------------------------- */

/* On its way to log lines and Received fields: printable ASCII without blanks. */
static void
make_safe(char *text)
{
	for (; *text; text++)
		if (!ascii_is_graph(*text))
			*text = '?';
}

static void
name_of(X509 *certificate, char name_out[TLS_PEER_NAME_BYTES_MAX])
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	bool found = false;

	for (int i = 0; names && !found && i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
		const char *text = name->type == GEN_DNS
		    ? (const char *)ASN1_STRING_get0_data(name->d.dNSName) : NULL;
		size_t len = text ? (size_t)ASN1_STRING_length(name->d.dNSName) : 0;

		/* A NUL inside is how CVE-2009-4565 made one name of two. */
		if (len == 0 || len >= TLS_PEER_NAME_BYTES_MAX || memchr(text, '\0', len))
			continue;
		memcpy(name_out, text, len);
		name_out[len] = '\0';
		found = true;
	}
	GENERAL_NAMES_free(names);
	if (!found && X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName,
	    name_out, TLS_PEER_NAME_BYTES_MAX) < 0)
		name_out[0] = '\0';
	make_safe(name_out);
}

static bool
has_fingerprint(X509 *certificate, const struct tls_peer *peer, const uint8_t *of_certificate)
{
	uint8_t of_key[TLS_FINGERPRINT_BYTES] = { 0 };
	unsigned char *key = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &key);

	if (len > 0)
		(void)EVP_Digest(key, (size_t)len, of_key, NULL, EVP_sha256(), NULL);
	OPENSSL_free(key);
	for (size_t i = 0; i < peer->fingerprint_count; i++)
		if (memcmp(peer->fingerprints[i], of_certificate, TLS_FINGERPRINT_BYTES) == 0 ||
		    (len > 0 && memcmp(peer->fingerprints[i], of_key, TLS_FINGERPRINT_BYTES) == 0))
			return true;
	return false;
}

int
tls_session_finish(SSL *ssl, const struct tls_peer *peer, struct tls_info *info_out,
    struct err *err)
{
	X509 *certificate = SSL_get0_peer_certificate(ssl);
	const char *server_name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	long verified = SSL_get_verify_result(ssl);

	*info_out = (struct tls_info){ 0 };
	(void)snprintf(info_out->version, sizeof(info_out->version), "%s", SSL_get_version(ssl));
	(void)snprintf(info_out->cipher, sizeof(info_out->cipher), "%s", SSL_get_cipher_name(ssl));
	info_out->cipher_bits = SSL_get_cipher_bits(ssl, NULL);
	info_out->resumed = SSL_session_reused(ssl) == 1;
	if (server_name)
		(void)snprintf(info_out->server_name, sizeof(info_out->server_name), "%s",
		    server_name);
	make_safe(info_out->server_name);
	if (!certificate) {
		if (peer && peer->verify != TLS_VERIFY_NONE)
			return err_set(err, ERR_TLS, "the peer has no certificate");
		return 0;
	}
	info_out->peer_has_certificate = true;
	info_out->peer_verified = verified == X509_V_OK &&
	    (!peer || (peer->name && peer->name[0]));
	if (verified != X509_V_OK)
		(void)snprintf(info_out->verify_error, sizeof(info_out->verify_error), "%s",
		    X509_verify_cert_error_string(verified));
	name_of(certificate, info_out->peer_name);
	(void)X509_digest(certificate, EVP_sha256(), info_out->peer_fingerprint, NULL);
	if (peer && peer->verify == TLS_VERIFY_FINGERPRINT &&
	    !has_fingerprint(certificate, peer, info_out->peer_fingerprint))
		return err_set(err, ERR_TLS, "the peer's certificate has none of the fingerprints");
	return 0;
}
