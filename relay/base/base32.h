#ifndef RELAY_BASE_BASE32_H
#define RELAY_BASE_BASE32_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/base/span.h"

/*
 * Crockford's base32 for 64-bit numbers: 13 characters of 0-9 and A-Z without
 * I, L, O and U.  The texts sort as the numbers do.
 */
#define BASE32_U64_CHARS 13
#define BASE32_U64_BYTES (BASE32_U64_CHARS + 1)

/* Ends in a NUL. */
void base32_print_u64(uint64_t value, char text_out[BASE32_U64_BYTES]);

/*
 * Exactly 13 characters of either case; O reads as 0, I and L as 1.  False when
 * it is anything else or above 64 bits.
 */
bool base32_parse_u64(struct span text, uint64_t *value_out);

#endif
