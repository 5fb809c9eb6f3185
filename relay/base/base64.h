#ifndef RELAY_BASE_BASE64_H
#define RELAY_BASE_BASE64_H

#include "relay/base/buf.h"
#include "relay/base/err.h"
#include "relay/base/span.h"

/* RFC 4648 section 4, padded, no line breaks.  -1 when out is full. */
int base64_encode(struct span bytes, struct buf *out);

/* Strict: nothing but the alphabet, right padding, unused bits zero.  Adds to out. */
int base64_decode(struct span text, struct buf *out, struct err *err);

#endif
