#ifndef RELAY_BASE_DIGEST_H
#define RELAY_BASE_DIGEST_H

#include <stdint.h>

#include "relay/base/span.h"

/* SHA-256, fed piece by piece. */
#define DIGEST_BYTES 32
#define DIGEST_HEX_BYTES (2 * DIGEST_BYTES + 1)

struct digest {
	void *context;
};

void digest_init(struct digest *digest);
void digest_fini(struct digest *digest);

void digest_update(struct digest *digest, struct span bytes);

/* Ready for a new message afterwards. */
void digest_final(struct digest *digest, uint8_t value_out[DIGEST_BYTES]);

/* The value so far; the digest may be fed on. */
void digest_peek(const struct digest *digest, uint8_t value_out[DIGEST_BYTES]);

/* Forget what was fed. */
void digest_restart(struct digest *digest);

void digest_of(struct span bytes, uint8_t value_out[DIGEST_BYTES]);
void digest_print_hex(const uint8_t value[DIGEST_BYTES], char text_out[DIGEST_HEX_BYTES]);

#endif
