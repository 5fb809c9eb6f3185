/* relay/net/tls.h in the simulation. */
#include "tests/sim/tls_private.h"

#include <stdio.h>
#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

struct tls_context {
	int references;
	char certificate[TLS_PEER_NAME_BYTES_MAX];      /* "": none */
	char authority[TLS_PEER_NAME_BYTES_MAX];        /* "": believes none */
	enum tls_client_auth client_auth;
};

struct tls_ticket_keys {
	int references;
};

/* ---- contexts */

static void
keep_name(char name_out[TLS_PEER_NAME_BYTES_MAX], const char *file)
{
	struct span name = span_from_cstr(file ? file : "");

	for (size_t i = name.len; i > 0; i--)
		if (name.data[i - 1] == '/') {
			name = span_skip(name, i);
			break;
		}
	if (name.len > 4 && span_equal(span_skip(name, name.len - 4), SPAN(".pem")))
		name = span_first(name, name.len - 4);
	(void)snprintf(name_out, TLS_PEER_NAME_BYTES_MAX, "%.*s", (int)name.len, name.data);
}

struct tls_context *
tls_server_context_new(const struct tls_server_settings *settings, struct err *err)
{
	struct tls_context *context = mem_alloc(sizeof(*context));

	(void)err;
	context->references = 1;
	context->client_auth = settings->client_auth;
	if (settings->identity_count > 0)
		keep_name(context->certificate, settings->identities[0].certificate_file);
	keep_name(context->authority, settings->ca_file);
	return context;
}

struct tls_context *
tls_client_context_new(const struct tls_client_settings *settings, struct err *err)
{
	struct tls_context *context = mem_alloc(sizeof(*context));

	(void)err;
	context->references = 1;
	if (settings->identity)
		keep_name(context->certificate, settings->identity->certificate_file);
	keep_name(context->authority, settings->ca_file);
	return context;
}

struct tls_context *
tls_context_ref(struct tls_context *context)
{
	if (context)
		context->references++;
	return context;
}

void
tls_context_unref(struct tls_context **context)
{
	if (*context && --(*context)->references == 0)
		mem_free(context);
	*context = NULL;
}

const char *
tls_context_warning(const struct tls_context *context)
{
	(void)context;
	return NULL;
}

int64_t
tls_context_not_after_ms(const struct tls_context *context)
{
	(void)context;
	return INT64_MAX;
}

struct tls_ticket_keys *
tls_ticket_keys_new(const struct tls_ticket_keys *old, struct random *random)
{
	struct tls_ticket_keys *keys = mem_alloc(sizeof(*keys));

	(void)old;
	(void)random;
	keys->references = 1;
	return keys;
}

struct tls_ticket_keys *
tls_ticket_keys_ref(struct tls_ticket_keys *keys)
{
	if (keys)
		keys->references++;
	return keys;
}

void
tls_ticket_keys_unref(struct tls_ticket_keys **keys)
{
	if (*keys && --(*keys)->references == 0)
		mem_free(keys);
	*keys = NULL;
}

void
tls_context_set_ticket_keys(struct tls_context *context, struct tls_ticket_keys *keys)
{
	(void)context;
	(void)keys;
}

int
tls_fingerprint_parse(struct span text, uint8_t fingerprint_out[TLS_FINGERPRINT_BYTES],
    struct err *err)
{
	(void)text;
	(void)fingerprint_out;
	return err_set(err, ERR_UNSUPPORTED, "no fingerprints in the simulation");
}

/* ---- handshakes */

void
sim_tls_begin(struct sim_tls *tls, struct tls_context *context, const struct tls_peer *peer)
{
	memset(tls, 0, sizeof(*tls));
	tls->context = context;
	if (!peer)
		return;
	tls->verify = peer->verify;
	(void)snprintf(tls->name, sizeof(tls->name), "%s", peer->name ? peer->name : "");
}

/* Three texts, each ended by a NUL: certificate, authority, the name asked for. */
static void
put_words(const struct sim_tls *tls, struct buf *out)
{
	const char *const words[] = { tls->context->certificate, tls->context->authority,
	    tls->name };

	for (size_t i = 0; i < 3; i++)
		must(buf_append(out, span_make(words[i], strlen(words[i]) + 1)) == 0);
}

static const char *
take_word(struct span *bytes)
{
	const char *word = bytes->data;
	const char *end = memchr(bytes->data, '\0', bytes->len);

	must(end != NULL);
	*bytes = span_skip(*bytes, (size_t)(end - word) + 1);
	return word;
}

static bool
vouches(const struct sim_tls *tls, const char *certificate, const char *authority)
{
	return certificate[0] && tls->context->authority[0] &&
	    strcmp(authority, tls->context->authority) == 0;
}

static void
note_peer(struct sim_tls *tls, const char *certificate, bool verified)
{
	struct tls_info *info = &tls->info;

	(void)snprintf(info->version, sizeof(info->version), "TLSv1.3");
	(void)snprintf(info->cipher, sizeof(info->cipher), "TLS_AES_256_GCM_SHA384");
	info->cipher_bits = 256;
	info->peer_has_certificate = certificate[0] != '\0';
	info->peer_verified = verified;
	(void)snprintf(info->peer_name, sizeof(info->peer_name), "%s", certificate);
}

void
sim_tls_hello(struct sim_tls *tls, struct buf *hello_out)
{
	put_words(tls, hello_out);
}

int
sim_tls_answer(struct sim_tls *tls, struct span hello, struct buf *answer_out, struct err *err)
{
	const char *certificate = take_word(&hello);
	const char *authority = take_word(&hello);
	const char *asked = take_word(&hello);
	bool wanted = tls->context->client_auth != TLS_CLIENT_AUTH_NONE;
	bool verified = wanted && vouches(tls, certificate, authority);

	if (tls->context->client_auth == TLS_CLIENT_AUTH_REQUIRE && !verified)
		return err_set(err, ERR_TLS, "no certificate of our authority");
	note_peer(tls, wanted ? certificate : "", verified);
	(void)snprintf(tls->info.server_name, sizeof(tls->info.server_name), "%s", asked);
	put_words(tls, answer_out);
	return 0;
}

int
sim_tls_check(struct sim_tls *tls, struct span answer, struct err *err)
{
	const char *certificate = take_word(&answer);
	const char *authority = take_word(&answer);
	bool verified = vouches(tls, certificate, authority) && strcmp(certificate, tls->name) == 0;

	if (tls->verify != TLS_VERIFY_NONE && !verified)
		return err_set(err, ERR_TLS, "certificate %s of %s is not what %s should show",
		    certificate, authority, tls->name);
	note_peer(tls, certificate, verified);
	return 0;
}
