#ifndef RELAY_OUTBOUND_BOUNCE_H
#define RELAY_OUTBOUND_BOUNCE_H

#include <stddef.h>
#include <stdint.h>

#include "queue/queue.h"
#include "relay/base/err.h"
#include "relay/mail/dsn.h"
#include "relay/mail/envelope.h"

/*
 * One notification in the making: reads of the original what is to be returned,
 * composes (RFC 3464) and fills a draft of the queue, which the caller commits
 * together with the outcomes that owe it (queue_update()).  On the hub.
 */
struct bounce;

struct bounce_settings {
	struct queue *queue;
	queue_id about;                         /* the original */
	const struct envelope *envelope;        /* its envelope; borrowed until the end */
	struct span to;                         /* the original's sender, or a postmaster */
	struct span hostname;
	struct span postmaster;                 /* where people may ask; may be "" */
	const struct dsn_rcpt *rcpts;           /* borrowed until the end */
	size_t rcpt_count;
	uint64_t bytes_max;                     /* an original up to this is returned whole */
	int64_t now_wall_ms;
};

/*
 * Once, never before bounce_start() returned.  Without an error draft and envelope
 * are the callee's; with one both are NULL and it may be tried again later.
 */
typedef void bounce_done(void *ctx, struct queue_draft *draft, struct envelope *envelope,
    const struct err *err);

struct bounce *bounce_start(const struct bounce_settings *settings, bounce_done *done, void *ctx);

/* Gives it up: done() does not come.  After done() too; it frees what is left. */
void bounce_free(struct bounce **bounce);

/* The id the notification has in the queue. */
queue_id bounce_id(const struct bounce *bounce);

#endif
