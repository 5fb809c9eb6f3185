#ifndef RELAY_INBOUND_INBOUND_H
#define RELAY_INBOUND_INBOUND_H

#include <stdbool.h>
#include <stdint.h>

#include "queue/queue.h"
#include "relay/base/err.h"
#include "relay/base/span.h"
#include "relay/inbound/gate.h"
#include "relay/inbound/login.h"
#include "relay/inbound/policy.h"
#include "relay/net/conn.h"
#include "relay/session/crew.h"

/*
 * Receiving: answers the questions of the engine for the sessions of one worker, and
 * brings what is accepted into the queue.  250 leaves after the queue has said that
 * the message is durable.
 */
struct inbound_worker;

/* One recipient asked about. */
struct inbound_question {
	struct span rcpt;               /* canonical */
	struct span sender;
	struct span client_address;
	struct span listener;
};

/* What sessions go by: the `app` of a crew's plan.  Immutable; borrowed from it. */
struct inbound_config {
	const struct policy *policy;
	const struct gate_settings *gate;
	const struct login_config *login;       /* NULL: AUTH is nowhere offered */
	const char *postmaster;         /* whom mail for <postmaster> goes to; NULL: as it is */
	/* Does a route take this recipient from anybody?  Any thread. */
	bool (*is_ours)(void *ctx, const struct inbound_question *question);
	void *ctx;
};

/*
 * Port, loop, gate and helpers (for what takes its time; may be NULL) are borrowed and
 * outlive it.  Before the loop runs, or on its thread.
 */
struct inbound_worker *inbound_worker_new(struct queue_port *port, struct loop *loop,
    struct gate *gate, struct work_pool *helpers, uint64_t node_id);

struct queue_port *inbound_worker_port(const struct inbound_worker *worker);

/* When its last session is gone. */
void inbound_worker_free(struct inbound_worker **worker);

/*
 * For crew_ops.admit: false, with enhanced status and words for a 421, when there is no
 * place for this client now.  When true, inbound_serve() follows.
 */
bool inbound_admit(struct inbound_worker *worker, struct crew_worker *crew_worker,
    const struct crew_door *door, const struct endpoint *peer, const char **status_out,
    const char **words_out);

/* Takes the connection and serves it; for crew_ops.serve. */
void inbound_serve(struct inbound_worker *worker, struct crew_worker *crew_worker,
    const struct crew_door *door, struct conn *conn);

#endif
