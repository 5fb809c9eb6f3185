/*
 * One connection of a relay: the questions of the receiving engine, answered for mailboxes.
 * Everything on the thread of its worker.
 */
#ifndef MAILBOX_SESSION_H
#define MAILBOX_SESSION_H

#include "mailbox/delivery.h"
#include "relay/net/conn.h"
#include "relay/session/crew.h"

/* What the sessions of one worker thread share; the crew keeps it with the worker. */
struct session_place {
	struct delivery_place *delivery;        /* of the node */
	struct delivery_ids ids;
};

/* Takes the connection.  The door's application word is a struct mailbox_config. */
void session_start(struct session_place *place, struct crew_worker *worker,
		   const struct crew_door *door, struct conn *conn);

#endif
