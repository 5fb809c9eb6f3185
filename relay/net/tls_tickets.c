#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <stdatomic.h>
#include <string.h>

#include "relay/base/mem.h"
#include "relay/net/tls_private.h"

enum { KEY_NAME_BYTES = 16, KEY_BYTES = 32, KEYS_MAX = 2 };

struct ticket_key {
	unsigned char name[KEY_NAME_BYTES];
	unsigned char cipher[KEY_BYTES];
	unsigned char mac[KEY_BYTES];
};

struct tls_ticket_keys {
	atomic_uint references;
	size_t count;
	struct ticket_key keys[KEYS_MAX];       /* the newest first; only it seals */
};

struct tls_ticket_keys *
tls_ticket_keys_new(const struct tls_ticket_keys *old, struct random *random)
{
	struct tls_ticket_keys *keys = mem_alloc(sizeof(*keys));

	atomic_init(&keys->references, 1);
	random_fill(random, &keys->keys[0], sizeof(keys->keys[0]));
	keys->count = 1;
	if (old)
		keys->keys[keys->count++] = old->keys[0];
	return keys;
}

struct tls_ticket_keys *
tls_ticket_keys_ref(struct tls_ticket_keys *keys)
{
	(void)atomic_fetch_add(&keys->references, 1);
	return keys;
}

void
tls_ticket_keys_unref(struct tls_ticket_keys **keys)
{
	struct tls_ticket_keys *k = *keys;

	*keys = NULL;
	if (!k || atomic_fetch_sub(&k->references, 1) != 1)
		return;
	mem_wipe(k->keys, sizeof(k->keys));
	mem_free(&k);
}

static const struct ticket_key *
key_by_name(const struct tls_ticket_keys *keys, const unsigned char *name)
{
	for (size_t i = 0; i < keys->count; i++)
		if (memcmp(keys->keys[i].name, name, KEY_NAME_BYTES) == 0)
			return &keys->keys[i];
	return NULL;
}

static int
set_mac(EVP_MAC_CTX *mac, const struct ticket_key *key)
{
	char digest[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY,
		    (void *)(uintptr_t)key->mac, sizeof(key->mac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params);
}

/* OpenSSL's contract: -1 failure, 0 unknown key (a full handshake follows), 1 good, 2 renew it. */
static int
use_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
    EVP_MAC_CTX *mac, int sealing)
{
	const struct tls_ticket_keys *keys = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	const struct ticket_key *key;

	/* A handshake that was under way when tickets were switched off. */
	if (!keys)
		return 0;
	key = &keys->keys[0];
	if (sealing) {
		memcpy(name, key->name, KEY_NAME_BYTES);
		if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1 ||
		    EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv) != 1)
			return -1;
		return set_mac(mac, key) == 1 ? 1 : -1;
	}
	key = key_by_name(keys, name);
	if (!key)
		return 0;
	if (set_mac(mac, key) != 1 ||
	    EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv) != 1)
		return -1;
	return key == &keys->keys[0] ? 1 : 2;
}

void
tls_tickets_set_up(SSL_CTX *ctx, struct tls_ticket_keys *keys)
{
	(void)SSL_CTX_set_app_data(ctx, keys);
	if (!keys) {
		SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
		(void)SSL_CTX_set_num_tickets(ctx, 0);
		return;
	}
	SSL_CTX_clear_options(ctx, SSL_OP_NO_TICKET);
	(void)SSL_CTX_set_num_tickets(ctx, 1);
	(void)SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, use_ticket_key);
}
