#include "tests/unit/queue/memory_backend_private.h"

/* ---- receiving -------------------------------------------------------------------------- */

static queue_id
memory_new_id(struct queue_port *face)
{
	return ++memory_port_of(face)->queue->store->id_last;
}

static bool
memory_may_deliver(const struct queue_port *face)
{
	(void)face;
	return true;
}

static enum queue_pressure
memory_pressure(const struct queue_port *face)
{
	return memory_port_of(face)->queue->pressure;
}

static struct queue_draft *
memory_begin(struct queue_port *face, const struct queue_draft_terms *terms,
    const struct queue_draft_events *events, void *ctx)
{
	struct memory_draft *draft = mem_alloc(sizeof(*draft));

	(void)events;
	(void)ctx;
	draft->face.backend = face->backend;
	draft->port = memory_port_of(face);
	draft->id = terms->id;
	buf_init(&draft->body, BODY_BYTES_MAX);
	LIST_INSERT_HEAD(&draft->port->drafts, draft, link);
	return &draft->face;
}

static struct memory_draft *
draft_of(const struct queue_draft *face)
{
	return container_of(face, struct memory_draft, face);
}

static size_t
memory_append(struct queue_draft *face, struct span bytes)
{
	struct memory_draft *draft = draft_of(face);

	draft->has_failed |= buf_append(&draft->body, bytes) < 0;
	return draft->has_failed ? SIZE_MAX : bytes.len;
}

static enum queue_result
memory_draft_result(const struct queue_draft *face)
{
	return draft_of(face)->has_failed ? QUEUE_FULL : QUEUE_DONE;
}

static uint64_t
memory_draft_bytes(const struct queue_draft *face)
{
	return buf_len(&draft_of(face)->body);
}

static queue_id
memory_draft_id(const struct queue_draft *face)
{
	return draft_of(face)->id;
}

static uint64_t
memory_draft_digest64(const struct queue_draft *face)
{
	(void)face;
	return 0;
}

static void
memory_abort(struct queue_draft *face)
{
	struct memory_draft *draft = draft_of(face);

	LIST_REMOVE(draft, link);
	buf_fini(&draft->body);
	mem_free(&draft);
}

/* Takes both. */
struct message *
memory_message_of_draft(struct queue_draft *face, struct envelope *envelope)
{
	struct memory_draft *draft = draft_of(face);
	struct message *message = mem_alloc(sizeof(*message));

	message->id = draft->id;
	message->body = draft->body;
	buf_init(&draft->body, 0);
	message->envelope = envelope;
	envelope->body_bytes = buf_len(&message->body);
	message->rcpts = mem_alloc_array(envelope->rcpt_count, sizeof(message->rcpts[0]));
	for (size_t i = 0; i < envelope->rcpt_count; i++)
		message->rcpts[i].domain = envelope->rcpts[i].domain;
	memory_abort(face);
	return message;
}

static void
commit_later(struct later *later, bool asked)
{
	struct memory_queue *queue = later->port->queue;

	memory_look_after_pressure(queue);
	if (later->arriving) {
		memory_arrive(queue, later->arriving);
		later->arriving = NULL;
	}
	memory_answer(later, asked);
}

static struct token
memory_commit(struct queue_draft *face, struct envelope *envelope,
    const struct queue_commit_terms *terms, queue_done *done, void *ctx)
{
	struct memory_port *port = draft_of(face)->port;
	struct memory_store *store = port->queue->store;
	struct later *later = memory_later(port, commit_later, draft_of(face)->id);
	struct message *message = memory_message_of_draft(face, envelope);
	bool unknown = memory_take_unknown(store);

	(void)terms;
	later->done = done;
	later->ctx = ctx;
	later->result = store->is_full ? QUEUE_FULL : unknown ? QUEUE_UNKNOWN : QUEUE_DONE;
	if (store->is_full || (unknown && random_below(port->queue->settings.random, 2)))
		memory_message_free(message);
	else
		later->arriving = message;
	return memory_later_start(later);
}

static void
resume_later(struct later *later, bool asked)
{
	if (asked)
		later->resumed(later->ctx, QUEUE_DONE, TRANSACTION_NEW, &later->draft->face,
		    SPAN(""));
	else
		memory_abort(&later->draft->face);
}

static struct token
memory_resume(struct queue_port *face, const struct queue_draft_terms *terms,
    const struct queue_draft_events *events, queue_resumed *resumed, void *ctx)
{
	struct later *later = memory_later(memory_port_of(face), resume_later, terms->id);

	later->resumed = resumed;
	later->ctx = ctx;
	later->draft = draft_of(memory_begin(face, terms, events, ctx));
	return memory_later_start(later);
}

static void
memory_settle_below(struct queue_port *face, struct span owner, uint64_t lowest)
{
	(void)face;
	(void)owner;
	(void)lowest;
}

/* ---- reading ----------------------------------------------------------------------------- */

static void
envelope_later(struct later *later, bool asked)
{
	struct message *message = memory_find(later->port->queue, later->id);

	if (!asked)
		return;
	if (!message) {
		later->got(later->ctx, QUEUE_NOT_FOUND, NULL);
		return;
	}
	for (size_t i = 0; i < message->envelope->rcpt_count; i++) {
		message->envelope->rcpts[i].state = message->rcpts[i].state;
		message->envelope->rcpts[i].attempt_count = message->rcpts[i].attempt_count;
	}
	later->got(later->ctx, QUEUE_DONE, envelope_copy(message->envelope));
}

static struct token
memory_read_envelope(struct queue_port *face, queue_id id, queue_got_envelope *got, void *ctx)
{
	struct later *later = memory_later(memory_port_of(face), envelope_later, id);

	later->got = got;
	later->ctx = ctx;
	return memory_later_start(later);
}

static void
piece_later(struct later *later, bool asked)
{
	struct memory_reader *reader = later->reader;
	struct message *message = memory_find(later->port->queue, later->id);

	(void)asked;
	reader->waiting = NULL;
	if (!message || reader->at == buf_len(&message->body)) {
		reader->events.ended(reader->ctx, message ? QUEUE_DONE : QUEUE_NOT_FOUND);
		return;
	}
	struct span piece = span_first(span_skip(buf_span(&message->body), reader->at),
	    PIECE_BYTES);

	reader->at += piece.len;
	reader->events.piece(reader->ctx, piece);
}

static void
memory_body_next(struct queue_body_reader *face)
{
	struct memory_reader *reader = container_of(face, struct memory_reader, face);

	must(!reader->waiting);
	reader->waiting = memory_later(reader->port, piece_later, reader->id);
	reader->waiting->reader = reader;
	loop_timer_start(reader->port->loop, &reader->waiting->timer, 0);
}

static struct queue_body_reader *
memory_body_open(struct queue_port *face, queue_id id, const struct queue_body_events *events,
    void *ctx)
{
	struct memory_reader *reader = mem_alloc(sizeof(*reader));

	reader->events = *events;
	reader->face.backend = face->backend;
	reader->port = memory_port_of(face);
	reader->id = id;
	reader->ctx = ctx;
	LIST_INSERT_HEAD(&reader->port->readers, reader, link);
	memory_body_next(&reader->face);
	return &reader->face;
}

/* Its callback may be what closes it. */
static void
reader_free(void *reader)
{
	mem_free(&reader);
}

static void
memory_body_close(struct queue_body_reader *face)
{
	struct memory_reader *reader = container_of(face, struct memory_reader, face);

	if (reader->waiting)
		memory_later_drop(reader->waiting);
	LIST_REMOVE(reader, link);
	loop_defer_free(reader->port->loop, reader_free, reader);
}

/* ---- ports ------------------------------------------------------------------------------- */

static struct queue_port *
memory_port_open(struct queue *face, struct loop *loop)
{
	struct memory_port *port = mem_alloc(sizeof(*port));

	port->face.backend = face->backend;
	port->queue = memory_queue_of(face);
	port->loop = loop;
	token_table_init(&port->calls, CALL_COUNT_MAX);
	LIST_INIT(&port->drafts);
	LIST_INIT(&port->readers);
	return &port->face;
}

static void
memory_port_close(struct queue_port *face)
{
	struct memory_port *port = memory_port_of(face);
	struct later *later, *next_later;

	for (later = LIST_FIRST(&port->queue->laters); later; later = next_later) {
		next_later = LIST_NEXT(later, link);
		if (later->port == port && !later->changes)
			memory_later_drop(later);
	}
	while (!LIST_EMPTY(&port->drafts))
		memory_abort(&LIST_FIRST(&port->drafts)->face);
	while (!LIST_EMPTY(&port->readers)) {
		struct memory_reader *reader = LIST_FIRST(&port->readers);

		LIST_REMOVE(reader, link);
		mem_free(&reader);
	}
	token_table_fini(&port->calls);
	mem_free(&port);
}

static void
memory_cancel(struct queue_port *face, struct token *token)
{
	token_cancel(&memory_port_of(face)->calls, token);
}

void
memory_port_fill(struct queue_backend *backend)
{
	backend->port_open = memory_port_open;
	backend->port_close = memory_port_close;
	backend->cancel = memory_cancel;
	backend->new_id = memory_new_id;
	backend->may_deliver = memory_may_deliver;
	backend->pressure = memory_pressure;
	backend->begin = memory_begin;
	backend->append = memory_append;
	backend->draft_result = memory_draft_result;
	backend->draft_bytes = memory_draft_bytes;
	backend->draft_id = memory_draft_id;
	backend->draft_digest64 = memory_draft_digest64;
	backend->commit = memory_commit;
	backend->abort = memory_abort;
	backend->park = memory_abort;
	backend->resume = memory_resume;
	backend->settle_below = memory_settle_below;
	backend->read_envelope = memory_read_envelope;
	backend->body_open = memory_body_open;
	backend->body_next = memory_body_next;
	backend->body_close = memory_body_close;
}

/* ---- what outlives a queue --------------------------------------------------------------- */

struct memory_store *
memory_store_new(void)
{
	struct memory_store *store = mem_alloc(sizeof(*store));

	TAILQ_INIT(&store->messages);
	store->id_last = FIRST_ID;
	return store;
}

void
memory_store_free(struct memory_store **store)
{
	struct message *message;

	while ((message = TAILQ_FIRST(&(*store)->messages)) != NULL) {
		TAILQ_REMOVE(&(*store)->messages, message, next);
		memory_message_free(message);
	}
	mem_free(store);
}

void
memory_store_make_unknown(struct memory_store *store)
{
	store->unknown_next = true;
}
