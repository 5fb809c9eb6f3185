/*
 * One transaction: a sender, recipients with their boxes, a body, and one verdict a recipient.
 *
 * It lives on the thread of its session, and while the body is spilled or delivered it is lent to
 * a thread of the pool or to the hub; during that time its owner only waits.  An owner that goes
 * away meanwhile says so, and the delivery ends itself when it comes back: what was accepted whole
 * is delivered, though nobody waits for the answer any more.
 */
#ifndef MAILBOX_DELIVERY_H
#define MAILBOX_DELIVERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mailbox/delivery_id.h"
#include "mailbox/letter.h"
#include "mailbox/mailbox_config.h"
#include "mailbox/worker.h"
#include "relay/mail/reply.h"
#include "relay/mail/trace_fields.h"
#include "relay/net/loop.h"

/* What all deliveries of a node share. */
struct delivery_place {
	struct loop *hub;
	struct worker *worker;
	struct letter_budget budget;
	int spool_fd;                   /* directory for letters that are spilled */
};

/* Of whom it is; all is copied. */
struct delivery_client {
	struct span hello;
	struct span address;
	struct span listener;
	enum envelope_protocol protocol;
	struct span tls_version;
	struct span tls_cipher;
	bool tls_verified;
};

struct delivery;

struct delivery_ops {
	/* The body may go on, or with a refusal it may not.  On the owner's loop. */
	void (*spilled)(void *ctx, const struct reply *refusal);

	/* Every recipient has its verdict.  On the owner's loop. */
	void (*decided)(void *ctx);
	/* An orphan has come back and is gone.  On the owner's loop. */
	void (*gone)(void *ctx);
};

/* The place is borrowed; the configuration is held. */
struct delivery *
delivery_new(struct delivery_place *place, struct loop *home, struct mailbox_config *config,
	     const struct delivery_client *client, const struct delivery_ops *ops, void *ctx);

/* Not while it is lent.  Accepts an empty pointer and leaves one behind. */
void delivery_free(struct delivery **delivery);
bool delivery_is_lent(const struct delivery *delivery);

/* Nobody waits any more.  It is lent: gone() follows, and nothing else. */
void delivery_orphan(struct delivery *delivery);

/* All are copied.  ORIGIN may be empty. */
void delivery_set_sender(struct delivery *delivery, struct span sender, struct span origin,
			 bool smtputf8);

struct span delivery_sender(const struct delivery *delivery);

/* Add a recipient as given (canonical text).  False when it has no box. */
bool delivery_add_rcpt(struct delivery *delivery, const struct address *address);
size_t delivery_rcpt_count(const struct delivery *delivery);

/*
 * Octets of the body, wire form.  Returns how many were taken; with fewer the delivery is lent,
 * and spilled() follows.
 */
size_t delivery_body(struct delivery *delivery, struct span octets);

/*
 * The body is whole.  True when it is lent, and decided() follows; false when every recipient has
 * its verdict already.
 */
bool delivery_finish(struct delivery *delivery, struct delivery_ids *ids);

/* The verdict of recipient INDEX. */
const struct reply *delivery_verdict(const struct delivery *delivery, size_t index);

#endif
