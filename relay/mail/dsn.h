#ifndef RELAY_MAIL_DSN_H
#define RELAY_MAIL_DSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/buf.h"
#include "relay/base/span.h"
#include "relay/mail/envelope.h"
#include "relay/mail/reply.h"

/*
 * Notifications about a message: multipart/report of RFC 3464 and RFC 6522, one
 * for several recipients of one message; RFC 6533's forms when an address needs
 * UTF-8.  The composer takes no time and draws no number: the same input gives
 * the same bytes, so that making one again is harmless.
 */
enum dsn_action {
	DSN_FAILED,
	DSN_DELAYED,
	DSN_DELIVERED,
	DSN_RELAYED,            /* to a host that cannot tell what becomes of it */
	DSN_EXPANDED,
};

struct dsn_rcpt {
	struct span address;            /* canonical */
	struct span orcpt;              /* as given, in xtext; "" if none */
	enum dsn_action action;
	bool expired;                   /* failed because its time was over */
	const struct reply *reply;      /* the last words; NULL if there were none */
	struct span remote_host;        /* who said them; "" if none or if we did */
	int64_t last_attempt_ms;        /* 0 if there was none */
	int64_t retry_until_ms;         /* delayed: until when we try; 0 if not known */
};

struct dsn {
	struct span hostname;           /* ours: Reporting-MTA, From */
	struct span postmaster;         /* where people may ask; "" means postmaster@hostname */
	uint64_t id;                    /* of the notification: Message-ID and boundary */
	struct span original_id;        /* printed queue id of the message it is about */
	struct span sender;             /* to whom it goes: the sender of the message */
	struct span envid;              /* as given, in xtext; "" if none */
	int64_t arrival_ms;             /* of the message */
	int64_t now_ms;
	enum envelope_ret ret;
	bool original_is_8bit;          /* header or body have bytes above 127 */
	bool smtputf8;                  /* the message came with SMTPUTF8 */
	const struct dsn_rcpt *rcpts;
	size_t rcpt_count;
};

/*
 * Whether the original's body goes into the notification, RFC 3461 section 4.3:
 * with RET=FULL a failure returns all of it up to size_max; anything else
 * returns the header.
 */
bool dsn_returns_body(const struct dsn *dsn, uint64_t body_bytes, uint64_t size_max);

/*
 * The notification around the original: dsn_compose_head() appends everything in
 * front of it, dsn_compose_tail() what follows.  Between them the caller puts the
 * original's header (or the whole, with returns_body).  -1 when out is full.
 */
int dsn_compose_head(const struct dsn *dsn, bool returns_body, struct buf *out);
int dsn_compose_tail(const struct dsn *dsn, struct buf *out);

/* All of it, for an original in memory; header_bytes() cuts it as needed. */
int dsn_compose(const struct dsn *dsn, struct span original, bool returns_body, struct buf *out);

/* Bytes above 127, or UTF-8 addresses: the notification needs 8BITMIME or SMTPUTF8. */
bool dsn_needs_8bit(const struct dsn *dsn);
bool dsn_needs_utf8(const struct dsn *dsn);

/*
 * Whether the sender is to hear of this outcome, RFC 3461 section 4.1: failures
 * unless NOTIFY says otherwise, delays likewise, successes only when asked.
 */
bool dsn_is_wanted(uint8_t notify, enum dsn_action action);

const char *dsn_action_name(enum dsn_action action);

#endif
