#include "mailbox/forward.h"

#include <string.h>

#include "relay/base/container_of.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/mail/envelope.h"

enum {
	/* Somebody waits for the answer, whose own patience ends after ten minutes. */
	CONNECT_TIMEOUT_MS = 10 * 1000,
	OPEN_TIMEOUT_MS = 60 * 1000,
	REPLY_TIMEOUT_MS = 60 * 1000,
	DOT_TIMEOUT_MS = 4 * 60 * 1000,
	WIRE_BYTES = 2 * LETTER_CHUNK_BYTES,    /* every octet of a piece may be a line end */
};

/* The body of one transaction: the head, then the letter, piece by piece in wire form. */
struct wire {
	struct body_source source;
	struct letter_reader reader;
	struct span head;
	char *room;
	struct span ready;              /* converted, and not given away yet */
	bool is_given;                  /* the connection still has the last piece */
	bool is_reading;
	bool has_ended;
	bool has_failed;
	bool is_over;                   /* the transaction is; only the job is left */
	struct work_job job;
	struct err err;
};

struct forward {
	struct forward_settings settings;
	struct forward_copy **copies;
	size_t copy_count;
	size_t at;
	struct envelope *envelope;
	struct call *call;
	struct wire wire;
	struct loop_task finish;
	void (*done)(void *ctx);
	void *ctx;
};

static void go_on(struct forward *forward);

/* ---------------------------------------------------------------------------- body */

static struct forward *
of_wire(struct wire *wire)
{
	return container_of(wire, struct forward, wire);
}

/* On the pool: the next piece, LF to CRLF. */
static void
read_run(void *ctx)
{
	struct wire *wire = ctx;
	struct span text;
	size_t len = 0;

	if (letter_read(&wire->reader, &text, &wire->err) < 0) {
		wire->has_failed = true;
		return;
	}
	wire->has_ended = text.len == 0;
	must(text.len <= WIRE_BYTES / 2);
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] == '\n')
			wire->room[len++] = '\r';
		wire->room[len++] = text.data[i];
	}
	wire->ready = span_make(wire->room, len);
}

static void
read_done(void *ctx)
{
	struct wire *wire = ctx;
	struct forward *forward = of_wire(wire);

	wire->is_reading = false;
	if (wire->is_over)
		go_on(forward);
	else
		call_body_ready(forward->call);
}

static enum body_step
pull(struct body_source *source, struct span *piece_out)
{
	struct wire *wire = container_of(source, struct wire, source);
	struct forward *forward = of_wire(wire);

	/* A connection that drains asks again; until read_done() the rest is the pool's. */
	if (wire->is_reading)
		return BODY_WAIT;
	if (wire->has_failed)
		return BODY_FAILED;
	if (wire->head.len > 0) {
		*piece_out = wire->head;
		wire->head = span_make("", 0);
		wire->is_given = true;
		return BODY_PIECE;
	}
	if (wire->ready.len > 0) {
		*piece_out = wire->ready;
		wire->ready = span_make("", 0);
		wire->is_given = true;
		return BODY_PIECE;
	}
	if (wire->has_ended)
		return BODY_END;
	if (!wire->is_given) {
		wire->is_reading = true;
		work_job_init(&wire->job, read_run, read_done, NULL, wire);
		must(work_submit(forward->settings.pool, forward->settings.loop, &wire->job,
				 NULL) == 0);
	}
	return BODY_WAIT;
}

/* The room is free again; the connection asks for more by itself, or waits to be told. */
static void
wake(void *ctx)
{
	struct forward *forward = ctx;

	if (forward->call != NULL && !forward->wire.is_over)
		call_body_ready(forward->call);
}

static void
release(struct body_source *source, struct span piece)
{
	struct wire *wire = container_of(source, struct wire, source);
	struct forward *forward = of_wire(wire);

	(void)piece;
	wire->is_given = false;
	if (!wire->is_over) {
		loop_task_init(&forward->finish, wake, forward);
		loop_at_turn_end(forward->settings.loop, &forward->finish);
	}
}

static void
wire_begin(struct forward *forward, struct span head)
{
	struct wire *wire = &forward->wire;
	char *room = wire->room;

	*wire = (struct wire){
		.source = { .pull = pull, .release = release },
		.head = head,
		.room = room != NULL ? room : mem_alloc(WIRE_BYTES),
		.ready = span_make("", 0),
	};
	letter_reader_init(&wire->reader, forward->settings.letter);
}

/* --------------------------------------------------------------------- transactions */

static struct span
domain_of(struct span address)
{
	struct span local, domain;

	return span_split_last(address, '@', &local, &domain) ? domain : span_make("", 0);
}

static void
begin_copy(struct forward *forward)
{
	static const size_t first = 0;
	struct forward_copy *copy = forward->copies[forward->at];
	struct envelope *envelope = envelope_new();
	struct envelope_rcpt *rcpt;
	struct call_message message = {
		.rcpts = &first, .rcpt_count = 1, .body = &forward->wire.source,
		.body_bytes = copy->head.len + letter_wire_bytes(forward->settings.letter),
	};

	envelope_free(&forward->envelope);
	forward->envelope = envelope;
	envelope->sender = envelope_keep(envelope, forward->settings.sender);
	envelope->origin = envelope_keep(envelope, forward->settings.origin);
	envelope->smtputf8 = forward->settings.smtputf8;
	envelope->needs_utf8 = forward->settings.smtputf8;
	envelope->body = BODY_8BITMIME;
	rcpt = envelope_add_rcpt(envelope, copy->to);
	rcpt->domain = domain_of(rcpt->address);
	envelope->body_bytes = message.body_bytes;
	message.envelope = envelope;
	wire_begin(forward, copy->head);
	call_send(forward->call, &message);
}

static void
tell(void *ctx)
{
	struct forward *forward = ctx;
	void (*done)(void *done_ctx) = forward->done;
	void *done_ctx = forward->ctx;

	call_free(&forward->call);
	envelope_free(&forward->envelope);
	mem_free(&forward->wire.room);
	mem_free(&forward->copies);
	mem_free(&forward);
	done(done_ctx);
}

/* The next copy; or all have their replies, once no job has anything of ours. */
static void
go_on(struct forward *forward)
{
	if (forward->wire.is_reading)
		return;
	letter_reader_fini(&forward->wire.reader);
	if (forward->at < forward->copy_count && forward->call != NULL) {
		if (call_is_ready(forward->call))
			begin_copy(forward);
		return;
	}
	loop_task_cancel(forward->settings.loop, &forward->finish);
	loop_task_init(&forward->finish, tell, forward);
	loop_at_turn_end(forward->settings.loop, &forward->finish);
}

static void
on_ready(void *ctx, struct call *call)
{
	(void)call;
	go_on(ctx);
}

/* The relay's words, if they are of the right kind; else ours. */
static void
set_reply(struct forward_copy *copy, const struct call_outcome *outcome)
{
	switch (outcome->fate) {
	case CALL_FATE_DELIVERED:
		reply_set(&copy->reply, 250, "2.0.0", "forwarded");
		return;
	case CALL_FATE_FAILED:
		if (outcome->reply.code >= 500)
			copy->reply = outcome->reply;
		else
			reply_set(&copy->reply, 550, "5.0.0", "the relay does not take it");
		return;
	case CALL_FATE_DEFERRED:
	case CALL_FATE_UNCERTAIN:
	case CALL_FATE_UNTRIED:
		if (reply_is_transient(&outcome->reply))
			copy->reply = outcome->reply;
		else
			reply_set(&copy->reply, 451, "4.4.0", "cannot be forwarded now");
		return;
	}
	must_not_reach();
}

static void
on_message_done(void *ctx, struct call *call, const struct call_outcome *outcomes,
		size_t outcome_count)
{
	struct forward *forward = ctx;

	(void)call;
	must(outcome_count == 1);
	loop_task_cancel(forward->settings.loop, &forward->finish);
	forward->wire.is_over = true;
	set_reply(forward->copies[forward->at++], &outcomes[0]);
	go_on(forward);
}

/* The connection is gone: what is not decided is for later. */
static void
on_closed(void *ctx, struct call *call, const struct call_result *result)
{
	struct forward *forward = ctx;

	(void)call;
	for (; forward->at < forward->copy_count; forward->at++) {
		struct forward_copy *copy = forward->copies[forward->at];

		if (reply_is_transient(&result->reply))
			copy->reply = result->reply;
		else
			reply_set(&copy->reply, 451, "4.4.1", "the relay cannot be reached now");
	}
	forward->wire.is_over = true;
	go_on(forward);
}

struct forward *
forward_start(const struct forward_settings *settings, struct forward_copy *const *copies,
	      size_t copy_count, void (*done)(void *ctx), void *ctx)
{
	static const struct call_ops ops = {
		.ready = on_ready, .message_done = on_message_done, .closed = on_closed,
	};
	struct forward *forward = mem_alloc(sizeof(*forward));
	const struct forward_route *route = settings->route;
	const struct call_settings call = {
		.host = span_from_cstr(route->host),
		.addresses = route->addresses,
		.address_count = route->address_count,
		.protocol = CALL_SMTP,
		.hello = span_from_cstr(settings->hostname),
		.tls = route->tls,
		.tls_context = route->tls_context,
		.connect_timeout_ms = CONNECT_TIMEOUT_MS,
		.open_timeout_ms = OPEN_TIMEOUT_MS,
		.greeting_timeout_ms = REPLY_TIMEOUT_MS,
		.hello_timeout_ms = REPLY_TIMEOUT_MS,
		.mail_timeout_ms = REPLY_TIMEOUT_MS,
		.data_timeout_ms = REPLY_TIMEOUT_MS,
		.body_timeout_ms = REPLY_TIMEOUT_MS,
		.dot_timeout_ms = DOT_TIMEOUT_MS,
	};

	must(copy_count > 0 && route->address_count > 0);
	forward->settings = *settings;
	forward->copies = mem_alloc_array(copy_count, sizeof(struct forward_copy *));
	memcpy(forward->copies, copies, copy_count * sizeof(struct forward_copy *));
	forward->copy_count = copy_count;
	forward->done = done;
	forward->ctx = ctx;
	loop_task_init(&forward->finish, tell, forward);
	forward->call = call_start(settings->loop, &call, &ops, forward);
	return forward;
}
