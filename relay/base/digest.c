#include "relay/base/digest.h"

#include <openssl/evp.h>

#include "relay/base/must.h"

/*
 * SHA-256 cannot fail once its context exists; that a context cannot be had
 * means there is no memory, or a libcrypto without SHA-256.
 */

void
digest_init(struct digest *digest)
{
	digest->context = EVP_MD_CTX_new();
	must(digest->context != NULL);
	must(EVP_DigestInit_ex2(digest->context, EVP_sha256(), NULL) == 1);
}

void
digest_fini(struct digest *digest)
{
	EVP_MD_CTX_free(digest->context);
	digest->context = NULL;
}

void
digest_update(struct digest *digest, struct span bytes)
{
	if (bytes.len > 0)
		must(EVP_DigestUpdate(digest->context, bytes.data, bytes.len) == 1);
}

void
digest_final(struct digest *digest, uint8_t value_out[DIGEST_BYTES])
{
	unsigned int size = 0;

	must(EVP_DigestFinal_ex(digest->context, value_out, &size) == 1);
	must(size == DIGEST_BYTES);
	digest_restart(digest);
}

void
digest_peek(const struct digest *digest, uint8_t value_out[DIGEST_BYTES])
{
	struct digest copy = { .context = EVP_MD_CTX_new() };
	unsigned int size = 0;

	must(copy.context != NULL);
	must(EVP_MD_CTX_copy_ex(copy.context, digest->context) == 1);
	must(EVP_DigestFinal_ex(copy.context, value_out, &size) == 1);
	must(size == DIGEST_BYTES);
	digest_fini(&copy);
}

void
digest_restart(struct digest *digest)
{
	/* No type: the one of digest_init() is kept, and nothing looked up again. */
	must(EVP_DigestInit_ex2(digest->context, NULL, NULL) == 1);
}

void
digest_of(struct span bytes, uint8_t value_out[DIGEST_BYTES])
{
	struct digest digest;

	digest_init(&digest);
	digest_update(&digest, bytes);
	digest_final(&digest, value_out);
	digest_fini(&digest);
}

void
digest_print_hex(const uint8_t value[DIGEST_BYTES], char text_out[DIGEST_HEX_BYTES])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < DIGEST_BYTES; i++) {
		text_out[2 * i] = digits[value[i] >> 4];
		text_out[2 * i + 1] = digits[value[i] & 15];
	}
	text_out[2 * DIGEST_BYTES] = '\0';
}
