#ifndef RELAY_MAIL_XTEXT_H
#define RELAY_MAIL_XTEXT_H

#include <stdbool.h>

#include "relay/base/buf.h"
#include "relay/base/span.h"

/*
 * xtext of RFC 3461 section 4: printable ASCII where '+', '=' and everything
 * else are written as "+" and two upper-case hexadecimal digits; and the
 * utf-8-addr forms of RFC 6533 section 3.
 */

/* Whether the text is xtext: also what decodes to controls, as the RFC allows. */
bool xtext_is_valid(struct span text);

/* Appends; -1 when out is full. */
int xtext_encode(struct span bytes, struct buf *out);

/* Appends what the text means; -1 when it is no xtext or out is full. */
int xtext_decode(struct span text, struct buf *out);

/*
 * An ORCPT value, "rfc822;" or "utf-8;" and the encoded address: split at the
 * semicolon.  False when the type is no atom or the address empty or no xtext
 * (for utf-8: RFC 6533's utf-8-addr-xtext, -unitext or utf-8-address).
 */
bool xtext_parse_orcpt(struct span text, struct span *type_out, struct span *address_out);

/* The address of an ORCPT in plain: appends; -1 when it is none or out is full. */
int xtext_decode_orcpt(struct span text, struct buf *out);

#endif
