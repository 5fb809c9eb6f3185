/*
 * xtext (RFC 3461 section 4): printable ASCII without '+' and '=', anything else as "+HH" in
 * upper case hexadecimal.  Any thread.
 */
#ifndef RELAY_SMTP_XTEXT_H
#define RELAY_SMTP_XTEXT_H

#include "relay/base/buf.h"
#include "relay/base/span.h"

#include <stdbool.h>

/* Well-formed xtext, which decodes to no NUL, CR or LF.  The empty text is not. */
bool smtp_xtext_is_valid(struct span text);

/* Append the decoded octets.  -1 when TEXT is malformed or OUT is full. */
int smtp_xtext_decode(struct span text, struct buf *out);

/* Append OCTETS in xtext.  -1 when OUT is full. */
int smtp_xtext_encode(struct span octets, struct buf *out);

#endif
