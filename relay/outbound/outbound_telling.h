#ifndef RELAY_OUTBOUND_OUTBOUND_TELLING_H
#define RELAY_OUTBOUND_OUTBOUND_TELLING_H

#include "relay/outbound/outbound_private.h"

/* Between outbound_failure.c (how senders are told) and outbound_telling.c (who, and of what). */
struct telling {
	struct letter *letter;
	enum dsn_action action;                 /* the same of all but DELIVERED and RELAYED */
	STAILQ_HEAD(failing_line, failing) failing;     /* none for a delay */
	bool says_nothing;                      /* a success that nobody can be told of */
	struct envelope *envelope;
	struct token token;                     /* of the queue's call under way */
	bool is_reading;
	bool is_recording;
	struct bounce *bounce;
	struct dsn_rcpt *rcpts;
	size_t rcpt_count;
	struct span to;
	queue_id notice_id;
	struct loop_timer again;
	bool is_said;                           /* what becomes of each is in the log */
};

/* Fills the recipients that the notification names, and the log with the others. */
void telling_choose(struct telling *telling);

#endif
