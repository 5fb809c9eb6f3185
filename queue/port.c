#include "queue/spool.h"

#include "queue/id.h"
#include "relay/base/container_of.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

/* Ports, and the questions that are answered on them. */
enum {
	CALL_COUNT_MAX = 1 << 22,
};

static void
call_arrived(struct inbox_item *item)
{
	struct call *call = container_of(item, struct call, item);

	call->finish(call, token_take(&call->port->calls, call->token) != NULL);
}

struct token
call_begin(struct call *call, struct port *port, void (*finish)(struct call *call, bool asked))
{
	call->item.run = call_arrived;
	call->port = port;
	call->finish = finish;
	call->token = token_issue(&port->calls, call);
	must(!token_is_empty(call->token));     /* each asker has its own bound, far below ours */
	return call->token;
}

void
call_answer(struct call *call, enum queue_result result)
{
	call->result = result;
	inbox_send(call->port->inbox, &call->item);
}

static void
done_call_finish(struct call *call, bool asked)
{
	struct done_call *done = container_of(call, struct done_call, call);

	if (asked && done->done)
		done->done(done->ctx, call->result);
	mem_free(&done);
}

struct done_call *
done_call_new(struct port *port, queue_done *done, void *ctx, struct token *token_out)
{
	struct done_call *call = mem_alloc(sizeof(*call));

	call->done = done;
	call->ctx = ctx;
	*token_out = call_begin(&call->call, port, done_call_finish);
	return call;
}

struct queue_port *
port_open(struct queue *face, struct loop *loop)
{
	struct spool *spool = container_of(face, struct spool, face);
	struct port *port = mem_alloc(sizeof(*port));

	must(spool->port_count < spool->settings.port_count_max);
	port->face.backend = face->backend;
	port->spool = spool;
	port->loop = loop;
	port->inbox = inbox_new(loop);
	port->is_open = true;
	port->room_item.run = draft_room_arrived;
	token_table_init(&port->calls, CALL_COUNT_MAX);
	LIST_INIT(&port->drafts);
	LIST_INIT(&port->holding_much);
	LIST_INIT(&port->readers);
	STAILQ_INIT(&port->reads_waiting);
	TAILQ_INIT(&port->waiting);
	TAILQ_INIT(&port->waking);
	spool->ports[spool->port_count++] = port;
	return &port->face;
}

/* The struct stays until the queue closes: answers may be on their way. */
void
port_close(struct queue_port *face)
{
	struct port *port = container_of(face, struct port, face);
	struct draft *draft, *next;

	must(port->is_open);
	port->is_open = false;
	for (draft = LIST_FIRST(&port->drafts); draft; draft = next) {
		next = LIST_NEXT(draft, link);
		if (!draft->commit_call && !draft->aborted)
			draft_abort(&draft->face);
	}
	reading_close_all(port);
	token_table_fini(&port->calls);         /* nothing is found in it any more */
}

void
port_free(struct port *port)
{
	inbox_close(&port->inbox);
	must(LIST_EMPTY(&port->drafts) && LIST_EMPTY(&port->readers));
	token_table_fini(&port->calls);
	mem_free(&port);
}

void
port_cancel(struct queue_port *face, struct token *token)
{
	token_cancel(&container_of(face, struct port, face)->calls, token);
}

/* Any thread: memory was freed and a draft somewhere waits for it. */
void
ports_wake(void *ctx)
{
	struct spool *spool = ctx;

	for (size_t i = 0; i < spool->port_count; i++) {
		struct port *port = spool->ports[i];

		if (atomic_exchange(&port->waits_for_room, false) &&
		    !atomic_exchange(&port->room_sent, true))
			inbox_send(port->inbox, &port->room_item);
	}
}

queue_id
port_new_id(struct queue_port *face)
{
	struct port *port = container_of(face, struct port, face);
	struct spool *spool = port->spool;
	int64_t seconds = loop_wall_ms(port->loop) / 1000 - QUEUE_ID_EPOCH_SECONDS;

	if (seconds < 0)
		seconds = 0;
	uint64_t base = (uint64_t)seconds << QUEUE_ID_TIME_SHIFT |
	    spool->id_nonce << QUEUE_ID_NONCE_SHIFT;
	uint64_t last = atomic_load(&spool->id_last);
	uint64_t id;

	do {
		id = base > last ? base : last + 1;
	} while (!atomic_compare_exchange_weak(&spool->id_last, &last, id));
	return id;
}

bool
port_may_deliver(const struct queue_port *face)
{
	const struct port *port = container_of(face, const struct port, face);

	return spool_pressure(port->spool) != PRESSURE_NO_LOG;
}

enum queue_pressure
port_pressure(const struct queue_port *face)
{
	return spool_pressure(container_of(face, const struct port, face)->spool);
}

struct resume_call {
	struct call call;
	queue_resumed *resumed;
	void *ctx;
	struct queue_draft *draft;
};

static void
resume_finish(struct call *call, bool asked)
{
	struct resume_call *resume = container_of(call, struct resume_call, call);

	if (asked)
		resume->resumed(resume->ctx, QUEUE_DONE, TRANSACTION_NEW, resume->draft, SPAN(""));
	else if (call->port->is_open)
		draft_abort(resume->draft);
	mem_free(&resume);
}

/* The transactions of own nodes are not kept yet: every one is new. */
struct token
port_resume(struct queue_port *face, const struct queue_draft_terms *terms,
    const struct queue_draft_events *events, queue_resumed *resumed, void *ctx)
{
	struct port *port = container_of(face, struct port, face);
	struct resume_call *resume = mem_alloc(sizeof(*resume));

	resume->resumed = resumed;
	resume->ctx = ctx;
	resume->draft = draft_begin(face, terms, events, ctx);
	struct token token = call_begin(&resume->call, port, resume_finish);

	call_answer(&resume->call, QUEUE_DONE);
	return token;
}

/* Nothing is kept, so nothing is to be forgotten. */
void
port_settle_below(struct queue_port *face, struct span owner, uint64_t lowest)
{
	(void)face;
	(void)owner;
	(void)lowest;
}
