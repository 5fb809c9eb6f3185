#ifndef RELAY_INBOUND_INTAKE_H
#define RELAY_INBOUND_INTAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "queue/queue.h"
#include "relay/base/span.h"
#include "relay/mail/envelope.h"
#include "relay/mail/reply.h"
#include "relay/mail/trace_fields.h"
#include "relay/net/loop.h"

/*
 * One message on its way from a session into the queue: our Received field first, then
 * the octets as they come, then the commit.  It outlives its session when that is lost
 * after the commit began: the message is accepted then all the same, and is logged.
 *
 * On a worker's thread.
 */
struct intake;

/* Those of one worker. */
struct intake_set {
	struct queue_port *port;
	struct loop *loop;
	uint64_t node_id;
	LIST_HEAD(intake_list, intake) intakes;
};

void intake_set_init(struct intake_set *set, struct queue_port *port, struct loop *loop,
    uint64_t node_id);

/* Aborts what is not committed; of the rest nothing more is heard. */
void intake_set_fini(struct intake_set *set);

struct intake_ops {
	/* intake_append() took less than it was given: there is room again. */
	void (*room)(void *ctx);
	/* The commit is through: 250 with the queue id, or what went wrong. */
	void (*done)(void *ctx, const struct reply *reply);
};

/*
 * Begins.  Takes the envelope, whose recipients are complete.  TRACE lacks queue_id,
 * for_address and wall_ms, which are filled in.  An origin is made where none came.
 */
struct intake *intake_begin(struct intake_set *set, struct envelope **envelope,
    const struct trace_received *trace, uint64_t size_hint, const struct intake_ops *ops,
    void *ctx);

/*
 * How many octets were taken.  Fewer than given: room() follows.  SIZE_MAX: the message
 * cannot be taken; reply_out says why, and the intake is of use for intake_abort() only.
 */
size_t intake_append(struct intake *intake, struct span octets, struct reply *reply_out);

/*
 * All octets are there.  The intake goes by itself after done().  -1: the queue has no
 * room at the moment, reply_out says so, and intake_leave() is left to do.
 */
int intake_commit(struct intake *intake, bool has_8bit, bool header_has_8bit,
    struct reply *reply_out);

/* Before the commit: drops it.  After: done() never comes, the rest goes on. */
void intake_leave(struct intake **intake);

#endif
