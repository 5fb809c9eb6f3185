#ifndef RELAY_MAIL_DSN_PRIVATE_H
#define RELAY_MAIL_DSN_PRIVATE_H

#include "relay/mail/dsn.h"

/* Between dsn.c (the whole and its words) and dsn_status.c (the part for programs). */

/* Of a host's name and address; the longest that are right have fewer octets. */
enum { DSN_HOST_BYTES_MAX = 400 };

/* The second part with its MIME header. */
void dsn_append_status(const struct dsn *dsn, struct buf *out);

/* Foreign text in one line: controls become '?'. */
void dsn_append_clean(struct buf *out, struct span text);

/* The same, and what is not ASCII becomes '?' too. */
void dsn_append_ascii(struct buf *out, struct span text);

#endif
