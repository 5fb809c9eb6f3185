/*
 * The envelope: everything about a message that is not the message.
 *
 * It is made by the inbound side while a transaction grows, stored by the queue in the commit
 * record, and read by the outbound side and by relayctl.  The original values (what the sender
 * said, when it came, from whom) never change after the commit; what becomes of a recipient is
 * kept in its `state` and `last` by the queue.
 *
 * An envelope owns an arena: every span in it points there and dies with it.  It lives on one
 * thread at a time; queue and workers hand it over whole.
 */
#ifndef RELAY_MAIL_ENVELOPE_H
#define RELAY_MAIL_ENVELOPE_H

#include "relay/base/arena.h"
#include "relay/base/span.h"
#include "relay/mail/reply.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* RFC 3461 section 4.1: what the sender wants to hear of.  A set; 0 means NOTIFY was not given. */
enum envelope_notify {
	NOTIFY_NEVER   = 1 << 0,        /* alone, or not at all */
	NOTIFY_SUCCESS = 1 << 1,
	NOTIFY_FAILURE = 1 << 2,
	NOTIFY_DELAY   = 1 << 3,
};

/* RFC 3461 section 4.3: how much of the message a notification returns. */
enum envelope_ret {
	RET_UNSPECIFIED,
	RET_FULL,
	RET_HEADERS,
};

/* RFC 6152 section 3: the BODY parameter. */
enum envelope_body {
	BODY_7BIT,
	BODY_8BITMIME,
};

/* Where a message came from, for its Received field (RFC 3848) and for policy at delivery. */
enum envelope_protocol {
	PROTOCOL_SMTP,
	PROTOCOL_ESMTP,
	PROTOCOL_ESMTPS,
	PROTOCOL_ESMTPA,
	PROTOCOL_ESMTPSA,
	PROTOCOL_LMTP,
	PROTOCOL_LMTPS,
	PROTOCOL_LMTPA,
	PROTOCOL_LMTPSA,
	PROTOCOL_LOCAL,                 /* a notification of our own, or an import */
};

/* What has become of a recipient.  Only waiting and uncertain ones are ever tried. */
enum rcpt_state {
	RCPT_WAITING,                   /* not tried yet, or tried and deferred */
	RCPT_UNCERTAIN,                 /* lost after the final dot; will be tried again */
	RCPT_DELIVERED,                 /* the next hop took responsibility (2yz) */
	RCPT_FAILED,                    /* permanently; the notification owed is in the queue */
	RCPT_EXPIRED,                   /* lifetime over; as FAILED */
	RCPT_REMOVED,                   /* an operator dropped it; nobody is told */
};

struct envelope_rcpt {
	struct span address;            /* canonical "local@domain" (address_print()) */
	struct span domain;             /* the part behind the last @, inside `address` */
	struct span orcpt;              /* ORCPT as given, "rfc822;..." in xtext; "" if none */
	uint8_t notify;                 /* set of enum envelope_notify */
	enum rcpt_state state;
	uint32_t attempt_count;
	struct reply last;              /* the newest words about it; code 0 before the first try */
	struct span last_host;          /* "mx1.example.net[192.0.2.7]:25"; "" if none */
};

/* One of its newest attempts, as it is recorded, for people. */
struct envelope_attempt {
	int64_t wall_ms;
	struct span words;              /* "451 4.2.1 come again" */
	struct span host;
	uint32_t rcpt_first, rcpt_count;
};

struct envelope {
	struct arena *arena;

	struct span sender;             /* canonical "local@domain"; "" is the null sender */
	struct envelope_rcpt *rcpts;
	size_t rcpt_count;
	size_t rcpt_capacity;

	struct span envid;              /* RFC 3461 ENVID, still in xtext; "" if none */
	enum envelope_ret ret;
	enum envelope_body body;
	bool smtputf8;                  /* the client gave SMTPUTF8 (RFC 6531 section 3.4) */
	bool needs_utf8;                /* an address or a header field really has UTF-8 */
	bool requires_8bit;             /* an octet above 127 was seen in the body */

	int64_t arrival_ms;             /* wall clock, UTC, when the message was committed */
	enum envelope_protocol protocol;
	struct span client_address;     /* "192.0.2.7" or "2001:db8::1"; "" for our own */
	struct span client_hello;       /* the argument of HELO, EHLO or LHLO */
	struct span auth_user;          /* authenticated identity, "" if none */
	struct span listener;           /* name of the listener it came through */
	struct span origin;             /* origin id, by the first own node; "" until known */
	struct span parent;             /* queue id of what this notification is about; "" */
	/* oldest first; only of an envelope that the queue has read */
	struct envelope_attempt *attempts;
	size_t attempt_count;
	uint64_t body_bytes;            /* CRLF lines, unstuffed, trace fields included */
};

/* An empty envelope with an arena of its own. */
struct envelope *envelope_new(void);
void envelope_free(struct envelope **envelope);

/* Copy TEXT into the envelope's arena. */
struct span envelope_keep(struct envelope *envelope, struct span text);

/*
 * Add a recipient; ADDRESS (canonical text) is copied.  The returned pointer is valid until the
 * next recipient is added.  The caller keeps the count in bounds.
 */
struct envelope_rcpt *
envelope_add_rcpt(struct envelope *envelope, struct span address);

/* A deep copy with an arena of its own. */
struct envelope *envelope_copy(const struct envelope *envelope);

bool envelope_sender_is_null(const struct envelope *envelope);

/* Recipients that are still to be tried: waiting or uncertain. */
size_t envelope_open_count(const struct envelope *envelope);

const char *rcpt_state_name(enum rcpt_state state);              /* "waiting", "delivered", ... */
const char *envelope_protocol_name(enum envelope_protocol protocol);  /* "ESMTPS", ... */

#endif
