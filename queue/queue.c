#include "queue/backend.h"

#include "queue/id.h"
#include "relay/base/base32.h"
#include "relay/base/must.h"

_Static_assert(QUEUE_ID_CHARS == BASE32_U64_CHARS, "a queue id is printed as base32");

const char *
queue_result_name(enum queue_result result)
{
	switch (result) {
	case QUEUE_DONE:
		return "done";
	case QUEUE_FAILED:
		return "failed";
	case QUEUE_UNKNOWN:
		return "unknown";
	case QUEUE_FULL:
		return "full";
	case QUEUE_NOT_FOUND:
		return "not-found";
	case QUEUE_DAMAGED:
		return "damaged";
	case QUEUE_CONFLICT:
		return "conflict";
	}
	must_not_reach();
}

void
queue_id_print(queue_id id, char text_out[QUEUE_ID_BYTES])
{
	base32_print_u64(id, text_out);
}

bool
queue_id_parse(struct span text, queue_id *id_out)
{
	return base32_parse_u64(text, id_out);
}

int64_t
queue_id_wall_ms(queue_id id)
{
	return ((int64_t)(id >> QUEUE_ID_TIME_SHIFT) + QUEUE_ID_EPOCH_SECONDS) * 1000;
}

void
queue_start(struct queue *queue)
{
	queue->backend->start(queue);
}

void
queue_close(struct queue **queue)
{
	if (*queue)
		(*queue)->backend->close(*queue);
	*queue = NULL;
}

struct queue_port *
queue_port_open(struct queue *queue, struct loop *loop)
{
	return queue->backend->port_open(queue, loop);
}

void
queue_port_close(struct queue_port **port)
{
	if (*port)
		(*port)->backend->port_close(*port);
	*port = NULL;
}

void
queue_port_cancel(struct queue_port *port, struct token *token)
{
	port->backend->cancel(port, token);
}

void
queue_cancel(struct queue *queue, struct token *token)
{
	queue->backend->cancel(queue->backend->hub_port(queue), token);
}

struct queue_port *
queue_hub_port(struct queue *queue)
{
	return queue->backend->hub_port(queue);
}

queue_id
queue_new_id(struct queue_port *port)
{
	return port->backend->new_id(port);
}

bool
queue_may_deliver(const struct queue_port *port)
{
	return port->backend->may_deliver(port);
}

enum queue_pressure
queue_port_pressure(const struct queue_port *port)
{
	return port->backend->pressure(port);
}

struct queue_draft *
queue_begin(struct queue_port *port, const struct queue_draft_terms *terms,
    const struct queue_draft_events *events, void *ctx)
{
	return port->backend->begin(port, terms, events, ctx);
}

size_t
queue_append(struct queue_draft *draft, struct span bytes)
{
	return draft->backend->append(draft, bytes);
}

enum queue_result
queue_draft_result(const struct queue_draft *draft)
{
	return draft->backend->draft_result(draft);
}

uint64_t
queue_draft_bytes(const struct queue_draft *draft)
{
	return draft->backend->draft_bytes(draft);
}

queue_id
queue_draft_id(const struct queue_draft *draft)
{
	return draft->backend->draft_id(draft);
}

uint64_t
queue_draft_digest64(const struct queue_draft *draft)
{
	return draft->backend->draft_digest64(draft);
}

struct token
queue_commit(struct queue_draft **draft_address, struct envelope **envelope_address,
    const struct queue_commit_terms *terms, queue_done *done, void *ctx)
{
	struct queue_draft *draft = *draft_address;
	struct envelope *envelope = *envelope_address;

	must(envelope->rcpt_count > 0);
	*draft_address = NULL;
	*envelope_address = NULL;
	return draft->backend->commit(draft, envelope, terms, done, ctx);
}

void
queue_abort(struct queue_draft **draft)
{
	if (*draft)
		(*draft)->backend->abort(*draft);
	*draft = NULL;
}

void
queue_park(struct queue_draft **draft)
{
	if (*draft)
		(*draft)->backend->park(*draft);
	*draft = NULL;
}

struct token
queue_resume(struct queue_port *port, const struct queue_draft_terms *terms,
    const struct queue_draft_events *events, queue_resumed *resumed, void *ctx)
{
	return port->backend->resume(port, terms, events, resumed, ctx);
}

void
queue_settle_below(struct queue_port *port, struct span owner, uint64_t lowest)
{
	port->backend->settle_below(port, owner, lowest);
}

struct token
queue_read_envelope(struct queue_port *port, queue_id id, queue_got_envelope *got, void *ctx)
{
	return port->backend->read_envelope(port, id, got, ctx);
}

struct queue_body_reader *
queue_body_open(struct queue_port *port, queue_id id, const struct queue_body_events *events,
    void *ctx)
{
	return port->backend->body_open(port, id, events, ctx);
}

void
queue_body_next(struct queue_body_reader *reader)
{
	reader->backend->body_next(reader);
}

void
queue_body_close(struct queue_body_reader **reader)
{
	if (*reader)
		(*reader)->backend->body_close(*reader);
	*reader = NULL;
}

struct body *
queue_body_in_memory(struct queue *queue, queue_id id)
{
	return queue->backend->body_in_memory(queue, id);
}

void
queue_set_user(struct queue *queue, queue_id id, void *user)
{
	queue->backend->set_user(queue, id, user);
}

void
queue_set_reason(struct queue *queue, queue_id id, uint32_t rcpt, enum queue_reason reason)
{
	queue->backend->set_reason(queue, id, rcpt, reason);
}

bool
queue_find(struct queue *queue, queue_id id, struct queue_item *item_out)
{
	return queue->backend->find(queue, id, item_out);
}

bool
queue_find_rcpt(struct queue *queue, queue_id id, uint32_t rcpt, struct queue_rcpt *rcpt_out)
{
	return queue->backend->find_rcpt(queue, id, rcpt, rcpt_out);
}

struct token
queue_attempt(struct queue *queue, queue_id id, const uint32_t *rcpts, size_t rcpt_count,
    struct span host, queue_attempt_begun *begun, void *ctx)
{
	must(rcpt_count > 0);
	return queue->backend->attempt(queue, id, rcpts, rcpt_count, host, begun, ctx);
}

struct token
queue_update(struct queue *queue, queue_id id, const struct queue_change *change,
    queue_done *done, void *ctx)
{
	must((change->notice == NULL) == (change->notice_envelope == NULL));
	return queue->backend->update(queue, id, change, done, ctx);
}

struct token
queue_hold(struct queue *queue, queue_id id, struct span why, queue_done *done, void *ctx)
{
	return queue->backend->hold(queue, id, why, done, ctx);
}

struct token
queue_release(struct queue *queue, queue_id id, queue_done *done, void *ctx)
{
	return queue->backend->release(queue, id, done, ctx);
}

struct token
queue_remove(struct queue *queue, queue_id id, queue_done *done, void *ctx)
{
	return queue->backend->remove(queue, id, done, ctx);
}

bool
queue_make_due(struct queue *queue, queue_id id, int64_t due_ms)
{
	return queue->backend->make_due(queue, id, due_ms);
}

bool
queue_list(struct queue *queue, struct queue_cursor *cursor, size_t item_count_max,
    queue_listed *each, void *ctx)
{
	return queue->backend->list(queue, cursor, item_count_max, each, ctx);
}

bool
queue_list_damage(struct queue *queue, size_t at, struct queue_damage *damage_out)
{
	return queue->backend->list_damage(queue, at, damage_out);
}

void
queue_stats(const struct queue *queue, struct queue_stats *stats_out)
{
	queue->backend->stats(queue, stats_out);
}

struct loop *
queue_writer_loop(const struct queue *queue)
{
	return queue->backend->writer_loop ? queue->backend->writer_loop(queue) : NULL;
}

uint64_t
queue_node_id(const struct queue *queue)
{
	return queue->backend->node_id(queue);
}
