/*
 * A reply: the fate of a command or of a recipient, as SMTP states it.
 *
 * RFC 5321 section 4.2 gives the three digits, RFC 2034 and RFC 3463 the enhanced status.  The
 * text is one line: what a peer said in several lines is joined with a blank, what does not fit
 * is cut, and octets that are not printable ASCII or well-formed UTF-8 are replaced by '?', so
 * that a reply may be logged, stored and quoted in a notification as it is.
 *
 * A plain value: copy it by assignment.  Any thread.
 */
#ifndef RELAY_MAIL_REPLY_H
#define RELAY_MAIL_REPLY_H

#include "relay/base/span.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	REPLY_TEXT_BYTES_MAX = 500,     /* RFC 5321 4.5.3.1.5: a reply line is 512 octets at most */
	REPLY_STATUS_BYTES_MAX = 12,    /* "5.999.999", RFC 3463 section 2 */
};

struct reply {
	uint16_t code;                               /* 200 to 599; 0 is "no reply yet" */
	char status[REPLY_STATUS_BYTES_MAX];         /* "2.1.5"; "" where the peer gave none */
	char text[REPLY_TEXT_BYTES_MAX + 1];         /* without code, status and line end */
};

/* Fill a reply of our own.  STATUS may be "" (354 has none).  The text is cut to its bound. */
void
reply_set(struct reply *reply, uint16_t code, const char *status, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Fill a reply from foreign words: TEXT is made safe and cut to its bound. */
void
reply_set_foreign(struct reply *reply, uint16_t code, struct span status, struct span text);

/* Add one more line of a multi-line reply to the text, made safe; what does not fit is dropped. */
void
reply_add_foreign(struct reply *reply, struct span text);

bool reply_is_positive(const struct reply *reply);       /* 2yz */
bool reply_is_intermediate(const struct reply *reply);   /* 3yz */
bool reply_is_transient(const struct reply *reply);      /* 4yz */
bool reply_is_permanent(const struct reply *reply);      /* 5yz */

/*
 * Split the enhanced status off the front of TEXT ("2.1.5 ok"), RFC 2034 section 4.  Returns the
 * status, empty where there is none or where its class does not fit CODE; TEXT moves behind it.
 */
struct span
reply_take_status(uint16_t code, struct span *text);

/* The enhanced status to report where the peer gave none: "2.0.0", "4.0.0" or "5.0.0". */
const char *
reply_status_or_default(const struct reply *reply);

#endif
