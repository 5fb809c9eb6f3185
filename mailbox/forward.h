/*
 * Handing copies back to a relay over SMTP, for aliases that lead to addresses elsewhere.
 *
 * Nothing is kept here: a copy counts as delivered when the relay has answered 250 for it, and its
 * recipient is answered only then; whatever else happens is the recipient's verdict, so that who
 * gave us the message keeps it.  One connection for all copies of a delivery, one transaction each,
 * so that no copy tells of another.
 *
 * On the loop of the delivery; letters that lie in files are read by the pool.
 */
#ifndef MAILBOX_FORWARD_H
#define MAILBOX_FORWARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mailbox/letter.h"
#include "relay/base/span.h"
#include "relay/mail/reply.h"
#include "relay/net/endpoint.h"
#include "relay/net/loop.h"
#include "relay/net/tls.h"
#include "relay/net/work.h"
#include "relay/session/call.h"

/* Where to; a part of the configuration. */
struct forward_route {
	const char *host;               /* the relay's name, for TLS and words */
	const struct endpoint *addresses;
	size_t address_count;           /* 0: nothing is forwarded */
	enum call_tls tls;
	struct tls_context *tls_context;        /* NULL only without TLS */
};

/* One copy; the caller's until done(). */
struct forward_copy {
	struct span to;
	struct span head;               /* trace fields, CRLF lines */
	struct reply reply;             /* the outcome; code 0: not decided yet */
};

struct forward_settings {
	const struct forward_route *route;
	const char *hostname;
	struct loop *loop;
	struct work_pool *pool;
	const struct letter *letter;    /* sealed */
	struct span sender;
	struct span origin;
	bool smtputf8;
};

struct forward;

/*
 * All is borrowed until done(), which comes once, never during the call; by then every copy has
 * its reply.
 */
struct forward *
forward_start(const struct forward_settings *settings, struct forward_copy *const *copies,
	      size_t copy_count, void (*done)(void *ctx), void *ctx);

#endif
