#ifndef RELAY_OUTBOUND_BODY_FEED_H
#define RELAY_OUTBOUND_BODY_FEED_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "queue/body.h"
#include "queue/queue.h"
#include "relay/session/call.h"

/*
 * A message's body as a call wants it, from memory or through the queue's readers.
 *
 * The last piece, which by BDAT ends the message, is given only when everything in
 * front of it is known to be right: the digest was verified and the queue says that
 * mail may be given away.  A body found damaged is therefore never sent whole.
 */
struct body_piece;

struct body_feed {
	struct body_source source;              /* what the call pulls */
	struct queue_port *port;
	void (*ready)(void *ctx);               /* after BODY_WAIT */
	void *ctx;

	struct body *body;                      /* from memory: borrowed; NULL: from the queue */
	size_t chunk;

	struct queue_body_reader *reader;
	STAILQ_HEAD(, body_piece) waiting;      /* read, not pulled yet */
	STAILQ_HEAD(, body_piece) lent;         /* pulled, not released yet */
	uint32_t piece_count;                   /* of both */
	bool asked;                             /* the reader will answer */
	bool ended;                             /* the reader has no more */
	enum queue_result result;               /* what it ended with */
	bool starved;                           /* BODY_WAIT was said */

	bool denied;                            /* the queue took back its leave to deliver */
	bool last_given;                        /* the peer may have the message from here on */
};

/* `body` may be NULL; it is borrowed until body_feed_stop(). */
void body_feed_start(struct body_feed *feed, struct queue_port *port, queue_id id,
    struct body *body, void (*ready)(void *ctx), void *ctx);

/* No callback comes any more; pieces lent must be back, or their user gone. */
void body_feed_stop(struct body_feed *feed);

/* After BODY_FAILED: QUEUE_DAMAGED, or QUEUE_FAILED for trouble that may pass. */
enum queue_result body_feed_result(const struct body_feed *feed);

#endif
