#include "tests/unit/queue/memory_backend_private.h"

#include <string.h>

/* ---- messages ----------------------------------------------------------------------- */

struct message *
memory_find(struct memory_queue *queue, queue_id id)
{
	struct message *message;

	TAILQ_FOREACH(message, &queue->store->messages, next) {
		if (message->id == id)
			return message;
	}
	return NULL;
}

void
memory_message_free(struct message *message)
{
	for (uint32_t i = 0; i < message->batch_count; i++)
		mem_free(&message->open_batch[i].data);
	mem_free(&message->open_batch);
	mem_free(&message->rcpts);
	buf_fini(&message->body);
	envelope_free(&message->envelope);
	mem_free(&message);
}

static uint32_t
open_count(const struct message *message)
{
	uint32_t count = 0;

	for (size_t i = 0; i < message->envelope->rcpt_count; i++)
		count += message->rcpts[i].state <= RCPT_UNCERTAIN;
	return count;
}

static void
fill_item(const struct message *message, struct queue_item *item)
{
	*item = (struct queue_item){
		.id = message->id,
		.body_bytes = buf_len(&message->body),
		.sender = message->envelope->sender,
		.rcpt_count = (uint32_t)message->envelope->rcpt_count,
		.open_count = open_count(message),
		.held = message->held,
		.is_notification = message->is_notification,
		.found_at_start = message->found_at_start,
		.delay_notice_sent = message->delay_notice_sent,
		.revision = message->revision,
		.user = message->user,
	};
}

static void
offer(struct memory_queue *queue, struct message *message)
{
	struct queue_item item;
	struct envelope *envelope = message->found_at_start ? NULL :
	    envelope_copy(message->envelope);

	message->offered = true;
	fill_item(message, &item);
	queue->settings.events.offered(queue->settings.ctx, &item, &envelope);
	envelope_free(&envelope);
}

static void
revoke(struct memory_queue *queue, struct message *message)
{
	if (message->offered)
		queue->settings.events.revoked(queue->settings.ctx, message->id, message->user);
	message->offered = false;
}

static void
message_end(struct memory_queue *queue, struct message *message)
{
	revoke(queue, message);
	queue->settled++;
	TAILQ_REMOVE(&queue->store->messages, message, next);
	memory_message_free(message);
}

/* ---- later ---------------------------------------------------------------------------- */

static void
later_fired(void *ctx)
{
	struct later *later = ctx;
	bool asked = token_take(&later->port->calls, later->token) != NULL;

	LIST_REMOVE(later, link);
	later->run(later, asked);
	mem_free(&later);
}

struct later *
memory_later(struct memory_port *port, void (*run)(struct later *later, bool asked), queue_id id)
{
	struct later *later = mem_alloc(sizeof(*later));

	later->port = port;
	later->run = run;
	later->id = id;
	later->token = token_issue(&port->calls, later);
	loop_timer_init(&later->timer, later_fired, later);
	LIST_INSERT_HEAD(&port->queue->laters, later, link);
	return later;
}

struct token
memory_later_start(struct later *later)
{
	loop_timer_start(later->port->loop, &later->timer,
	    random_below(later->port->queue->settings.random, DELAY_MS_MAX));
	return later->token;
}

/* A change of a message comes after the one before it. */
static struct token
later_start_change(struct later *later, struct message *message)
{
	struct loop *loop = later->port->loop;
	uint64_t due_ms = loop_now_ms(loop) +
	    random_below(later->port->queue->settings.random, DELAY_MS_MAX);

	if (due_ms < message->last_due_ms)
		due_ms = message->last_due_ms;
	message->last_due_ms = due_ms;
	message->changes_waiting++;
	later->changes = true;
	loop_timer_start_at(loop, &later->timer, due_ms);
	return later->token;
}

void
memory_later_drop(struct later *later)
{
	loop_timer_stop(later->port->loop, &later->timer);
	LIST_REMOVE(later, link);
	if (later->arriving)
		memory_message_free(later->arriving);
	if (later->notice)
		memory_message_free(later->notice);
	mem_free(&later);
}

void
memory_answer(struct later *later, bool asked)
{
	if (asked && later->done)
		later->done(later->ctx, later->result);
}

bool
memory_take_unknown(struct memory_store *store)
{
	bool unknown = store->unknown_next;

	store->unknown_next = false;
	return unknown;
}

void
memory_look_after_pressure(struct memory_queue *queue)
{
	enum queue_pressure pressure = queue->store->is_full ? PRESSURE_REFUSE : PRESSURE_NONE;

	if (pressure == queue->pressure)
		return;
	queue->pressure = pressure;
	queue->settings.events.pressure(queue->settings.ctx, pressure, "full");
}

static void
offer_later(struct later *later, bool asked)
{
	struct message *message = memory_find(later->port->queue, later->id);

	(void)asked;
	if (message && !message->held && !message->offered && open_count(message) > 0)
		offer(later->port->queue, message);
}

void
memory_arrive(struct memory_queue *queue, struct message *message)
{
	queue->accepted++;
	TAILQ_INSERT_TAIL(&queue->store->messages, message, next);
	(void)memory_later_start(memory_later(queue->hub_port, offer_later, message->id));
}

/* ---- on the hub ---------------------------------------------------------------------------- */

static void
apply(struct message *message, const struct queue_outcome *outcome)
{
	struct queue_rcpt *rcpt = &message->rcpts[outcome->rcpt];
	struct envelope_rcpt *kept = &message->envelope->rcpts[outcome->rcpt];

	rcpt->attempt_count += outcome->tried;
	rcpt->state = outcome->state;
	rcpt->class = outcome->class;
	rcpt->reason = outcome->reason;
	rcpt->due_ms = outcome->due_ms;
	if (outcome->reply.code)
		kept->last = outcome->reply;
	kept->last_host = envelope_keep(message->envelope, outcome->host);
}

static void
change_later(struct later *later, bool asked)
{
	struct memory_queue *queue = later->port->queue;
	struct message *message = memory_find(queue, later->id);

	if (later->notice)
		memory_arrive(queue, later->notice);
	later->notice = NULL;
	if (!message) {
		later->result = QUEUE_NOT_FOUND;
	} else {
		message->changes_waiting--;
		message->revision++;
		if (message->changes_waiting == 0 && (later->removes || open_count(message) == 0))
			message_end(queue, message);
	}
	memory_answer(later, asked);
}

static struct later *
ask(struct memory_queue *queue, queue_id id, queue_done *done, void *ctx)
{
	struct later *later = memory_later(queue->hub_port, change_later, id);

	later->done = done;
	later->ctx = ctx;
	later->result = memory_take_unknown(queue->store) ? QUEUE_UNKNOWN : QUEUE_DONE;
	return later;
}

static struct message *
find_open(struct memory_queue *queue, queue_id id)
{
	struct message *message = memory_find(queue, id);

	return message && open_count(message) > 0 ? message : NULL;
}

static struct token
start(struct later *later, struct message *message)
{
	return message ? later_start_change(later, message) : memory_later_start(later);
}

static struct token
memory_update(struct queue *face, queue_id id, const struct queue_change *change,
    queue_done *done, void *ctx)
{
	struct memory_queue *queue = memory_queue_of(face);
	struct message *message = find_open(queue, id);
	struct later *later = ask(queue, id, done, ctx);

	for (size_t i = 0; message && i < change->outcome_count; i++)
		apply(message, &change->outcomes[i]);
	if (message)
		message->delay_notice_sent |= change->delay_notice_sent;
	if (change->notice) {
		later->notice = memory_message_of_draft(*change->notice,
		    *change->notice_envelope);
		later->notice->is_notification = true;
		*change->notice = NULL;
		*change->notice_envelope = NULL;
		if (!message) {
			memory_message_free(later->notice);
			later->notice = NULL;
		}
	}
	return start(later, message);
}

static void
attempt_later(struct later *later, bool asked)
{
	struct message *message = memory_find(later->port->queue, later->id);

	if (asked)
		later->begun(later->ctx, message ? QUEUE_DONE : QUEUE_NOT_FOUND, later->batch);
}

/* The number of this set of recipients, given at its first attempt. */
static uint32_t
batch_of(struct message *message, struct span set)
{
	for (uint32_t i = 0; i < message->batch_count; i++) {
		if (span_equal(message->open_batch[i], set))
			return i + 1;
	}
	message->open_batch = mem_resize_array(message->open_batch, message->batch_count + 1,
	    sizeof(message->open_batch[0]));
	message->open_batch[message->batch_count++] = span_make(mem_dup(set.data, set.len),
	    set.len);
	return message->batch_count;
}

static struct token
memory_attempt(struct queue *face, queue_id id, const uint32_t *rcpts, size_t rcpt_count,
    struct span host, queue_attempt_begun *begun, void *ctx)
{
	struct memory_queue *queue = memory_queue_of(face);
	struct message *message = memory_find(queue, id);
	struct later *later = memory_later(queue->hub_port, attempt_later, id);

	(void)host;
	later->begun = begun;
	later->ctx = ctx;
	if (message)
		later->batch = batch_of(message, span_make((const char *)rcpts,
		    rcpt_count * sizeof(rcpts[0])));
	return memory_later_start(later);
}

static struct token
memory_hold(struct queue *face, queue_id id, struct span why, queue_done *done, void *ctx)
{
	struct memory_queue *queue = memory_queue_of(face);
	struct message *message = find_open(queue, id);
	struct later *later = ask(queue, id, done, ctx);

	(void)why;
	if (message) {
		message->held = true;
		revoke(queue, message);
	}
	return start(later, message);
}

static struct token
memory_release(struct queue *face, queue_id id, queue_done *done, void *ctx)
{
	struct memory_queue *queue = memory_queue_of(face);
	struct message *message = find_open(queue, id);
	struct later *later = ask(queue, id, done, ctx);

	if (message) {
		message->held = false;
		(void)memory_later_start(memory_later(queue->hub_port, offer_later, id));
	}
	return start(later, message);
}

static struct token
memory_remove(struct queue *face, queue_id id, queue_done *done, void *ctx)
{
	struct memory_queue *queue = memory_queue_of(face);
	struct message *message = find_open(queue, id);
	struct later *later = ask(queue, id, done, ctx);

	for (size_t i = 0; message && i < message->envelope->rcpt_count; i++) {
		if (message->rcpts[i].state <= RCPT_UNCERTAIN)
			message->rcpts[i].state = RCPT_REMOVED;
	}
	later->removes = message != NULL;
	return start(later, message);
}

static bool
memory_make_due(struct queue *face, queue_id id, int64_t due_ms)
{
	struct memory_queue *queue = memory_queue_of(face);
	struct message *message = find_open(queue, id);
	struct queue_item item;

	if (!message)
		return false;
	for (size_t i = 0; i < message->envelope->rcpt_count; i++)
		message->rcpts[i].due_ms = due_ms;
	fill_item(message, &item);
	queue->settings.events.changed(queue->settings.ctx, &item);
	return true;
}

/* ---- from memory ---------------------------------------------------------------------------- */

static struct body *
memory_body_in_memory(struct queue *face, queue_id id)
{
	(void)face;
	(void)id;
	return NULL;
}

static void
memory_set_user(struct queue *face, queue_id id, void *user)
{
	struct message *message = memory_find(memory_queue_of(face), id);

	if (message)
		message->user = user;
}

static void
memory_set_reason(struct queue *face, queue_id id, uint32_t rcpt, enum queue_reason reason)
{
	struct message *message = memory_find(memory_queue_of(face), id);

	for (size_t i = 0; message && i < message->envelope->rcpt_count; i++) {
		if (rcpt == QUEUE_ALL_RCPTS || rcpt == i)
			message->rcpts[i].reason = reason;
	}
}

static bool
memory_find_item(struct queue *face, queue_id id, struct queue_item *item_out)
{
	struct message *message = memory_find(memory_queue_of(face), id);

	if (message)
		fill_item(message, item_out);
	return message != NULL;
}

static bool
memory_find_rcpt(struct queue *face, queue_id id, uint32_t rcpt, struct queue_rcpt *rcpt_out)
{
	struct message *message = memory_find(memory_queue_of(face), id);

	if (!message || rcpt >= message->envelope->rcpt_count)
		return false;
	*rcpt_out = message->rcpts[rcpt];
	return true;
}

/* The place is the id listed last; ids of new messages are greater. */
static bool
memory_list(struct queue *face, struct queue_cursor *cursor, size_t item_count_max,
    queue_listed *each, void *ctx)
{
	struct memory_queue *queue = memory_queue_of(face);

	for (size_t i = 0; i < item_count_max; i++) {
		struct message *message, *first = NULL;
		struct queue_item item;

		TAILQ_FOREACH(message, &queue->store->messages, next) {
			if (message->id > cursor->place && (!first || message->id < first->id))
				first = message;
		}
		if (!first)
			return false;
		cursor->place = first->id;
		fill_item(first, &item);
		each(ctx, &item);
	}
	return true;
}

static bool
memory_list_damage(struct queue *face, size_t at, struct queue_damage *damage_out)
{
	(void)face;
	(void)at;
	(void)damage_out;
	return false;
}

static void
memory_stats(const struct queue *face, struct queue_stats *stats_out)
{
	const struct memory_queue *queue = memory_queue_of(face);
	const struct message *message;

	*stats_out = (struct queue_stats){
		.accepted_count = queue->accepted,
		.settled_count = queue->settled,
		.pressure = queue->pressure,
	};
	TAILQ_FOREACH(message, &queue->store->messages, next) {
		stats_out->message_count++;
		stats_out->message_bytes += buf_len(&message->body);
		stats_out->held_count += message->held;
		stats_out->open_rcpt_count += open_count(message);
	}
}

static uint64_t
memory_node_id(const struct queue *face)
{
	(void)face;
	return 1;
}

/* ---- birth and death ------------------------------------------------------------------------- */

static void
memory_start(struct queue *face)
{
	struct memory_queue *queue = memory_queue_of(face);
	struct message *message;

	TAILQ_FOREACH(message, &queue->store->messages, next)
		(void)memory_later_start(memory_later(queue->hub_port, offer_later, message->id));
}

static void
memory_close(struct queue *face)
{
	struct memory_queue *queue = memory_queue_of(face);
	struct message *message, *next;

	queue->store->queue = NULL;
	while (!LIST_EMPTY(&queue->laters))
		memory_later_drop(LIST_FIRST(&queue->laters));
	queue->backend.port_close(&queue->hub_port->face);
	/* What was settled in memory stays settled. */
	for (message = TAILQ_FIRST(&queue->store->messages); message; message = next) {
		next = TAILQ_NEXT(message, next);
		if (open_count(message) == 0) {
			TAILQ_REMOVE(&queue->store->messages, message, next);
			memory_message_free(message);
		}
	}
	mem_free(&queue);
}

static struct queue_port *
memory_hub_port(struct queue *face)
{
	return &memory_queue_of(face)->hub_port->face;
}

static const struct queue_backend hub_functions = {
	.start = memory_start,
	.close = memory_close,
	.hub_port = memory_hub_port,
	.body_in_memory = memory_body_in_memory,
	.set_user = memory_set_user,
	.set_reason = memory_set_reason,
	.find = memory_find_item,
	.find_rcpt = memory_find_rcpt,
	.attempt = memory_attempt,
	.update = memory_update,
	.hold = memory_hold,
	.release = memory_release,
	.remove = memory_remove,
	.make_due = memory_make_due,
	.list = memory_list,
	.list_damage = memory_list_damage,
	.stats = memory_stats,
	.node_id = memory_node_id,
};

struct queue *
memory_backend_open(struct memory_store *store, const struct queue_settings *settings)
{
	struct memory_queue *queue = mem_alloc(sizeof(*queue));
	struct message *message;

	queue->backend = hub_functions;
	memory_port_fill(&queue->backend);
	queue->face.backend = &queue->backend;
	queue->store = store;
	store->queue = queue;
	queue->settings = *settings;
	LIST_INIT(&queue->laters);
	queue->hub_port = memory_port_of(queue_port_open(&queue->face, settings->hub));
	TAILQ_FOREACH(message, &store->messages, next) {
		message->found_at_start = true;
		message->offered = false;
		message->changes_waiting = 0;
		message->last_due_ms = 0;
		message->user = NULL;
	}
	return &queue->face;
}

static void
pressure_later(struct later *later, bool asked)
{
	(void)asked;
	memory_look_after_pressure(later->port->queue);
}

void
memory_store_set_full(struct memory_store *store, bool full)
{
	store->is_full = full;
	if (store->queue)
		(void)memory_later_start(memory_later(store->queue->hub_port, pressure_later, 0));
}
