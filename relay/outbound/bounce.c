#include "relay/outbound/bounce.h"

#include <inttypes.h>
#include <stdio.h>

#include "relay/base/buf.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/mail/header.h"

enum {
	BOUNCE_HEADER_BYTES_MAX = 64 << 10,     /* of the original that is returned */
	BOUNCE_WORDS_BYTES_MAX = 8 << 20,       /* all our own text, however many recipients */
};

struct bounce {
	struct bounce_settings settings;
	struct dsn dsn;
	char about_text[QUEUE_ID_BYTES];
	bounce_done *done;
	void *ctx;
	bool returns_body;
	struct queue_body_reader *reader;
	struct buf original;
	struct buf text;
	struct queue_draft *draft;
	struct envelope *envelope;
};

static void
end_well(struct bounce *bounce)
{
	struct queue_draft *draft = bounce->draft;
	struct envelope *envelope = bounce->envelope;

	bounce->draft = NULL;
	bounce->envelope = NULL;
	bounce->done(bounce->ctx, draft, envelope, NULL);
}

static void
end_badly(struct bounce *bounce, const char *what)
{
	struct err err;

	(void)err_set(&err, ERR_BUSY, "notification: %s", what);
	queue_abort(&bounce->draft);
	bounce->done(bounce->ctx, NULL, NULL, &err);
}

/* ---- into the queue ---- */

static void
append_text(struct bounce *bounce)
{
	while (buf_len(&bounce->text) > 0) {
		size_t taken = queue_append(bounce->draft, buf_span(&bounce->text));

		if (taken == SIZE_MAX) {
			end_badly(bounce, "the queue does not take it");
			return;
		}
		if (taken == 0)
			return;                 /* room() follows */
		buf_consume(&bounce->text, taken);
	}
	end_well(bounce);
}

static void
draft_has_room(void *ctx)
{
	append_text(ctx);
}

static const struct queue_draft_events draft_events = { .room = draft_has_room };

static struct envelope *
make_envelope(const struct bounce *bounce)
{
	const struct bounce_settings *settings = &bounce->settings;
	struct envelope *envelope = envelope_new();
	char id_text[QUEUE_ID_BYTES];
	char origin[80];
	struct envelope_rcpt *rcpt = envelope_add_rcpt(envelope, settings->to);

	rcpt->notify = NOTIFY_NEVER;
	queue_id_print(bounce->dsn.id, id_text);
	(void)snprintf(origin, sizeof(origin), "%016" PRIx64 ".%s",
	    queue_node_id(settings->queue), id_text);
	envelope->sender = envelope_keep(envelope, SPAN(""));
	envelope->origin = envelope_keep(envelope, span_from_cstr(origin));
	envelope->parent = envelope_keep(envelope, span_from_cstr(bounce->about_text));
	envelope->protocol = PROTOCOL_LOCAL;
	envelope->arrival_ms = settings->now_wall_ms;
	envelope->smtputf8 = envelope->needs_utf8 = dsn_needs_utf8(&bounce->dsn);
	envelope->requires_8bit = dsn_needs_8bit(&bounce->dsn);
	envelope->body = envelope->requires_8bit ? BODY_8BITMIME : BODY_7BIT;
	envelope->body_bytes = buf_len(&bounce->text);
	return envelope;
}

static void
compose(struct bounce *bounce)
{
	struct span original = buf_span(&bounce->original);

	if (!bounce->returns_body)
		original = span_first(original, header_bytes(original));
	/* What was really read decides, whatever the client had announced. */
	bounce->dsn.original_is_8bit = !span_is_ascii(original);
	if (dsn_compose(&bounce->dsn, original, bounce->returns_body, &bounce->text) < 0) {
		end_badly(bounce, "it would be too large");
		return;
	}
	buf_fini(&bounce->original);
	bounce->envelope = make_envelope(bounce);
	bounce->draft = queue_begin(queue_hub_port(bounce->settings.queue),
	    &(struct queue_draft_terms){
		.id = bounce->dsn.id,
		.size_hint = buf_len(&bounce->text),
	    }, &draft_events, bounce);
	append_text(bounce);
}

/* ---- the original ---- */

static bool
has_enough(const struct bounce *bounce)
{
	struct span original = buf_span(&bounce->original);
	size_t at;

	return !bounce->returns_body &&
	    (span_find(original, SPAN("\r\n\r\n"), &at) || buf_room(&bounce->original) == 0);
}

static void
original_piece(void *ctx, struct span bytes)
{
	struct bounce *bounce = ctx;
	size_t room = buf_room(&bounce->original);

	(void)buf_append(&bounce->original, span_first(bytes, room));
	if (!has_enough(bounce)) {
		queue_body_next(bounce->reader);
		return;
	}
	queue_body_close(&bounce->reader);
	compose(bounce);
}

/* Damaged or not: the sender learns of the failure, with what could be read. */
static void
original_ended(void *ctx, enum queue_result result)
{
	struct bounce *bounce = ctx;

	queue_body_close(&bounce->reader);
	if (result != QUEUE_DONE)
		bounce->returns_body = false;
	compose(bounce);
}

static const struct queue_body_events original_events = {
	.piece = original_piece,
	.ended = original_ended,
};

struct bounce *
bounce_start(const struct bounce_settings *settings, bounce_done *done, void *ctx)
{
	const struct envelope *envelope = settings->envelope;
	struct bounce *bounce = mem_alloc(sizeof(*bounce));
	uint64_t bytes_max;

	must(settings->rcpt_count > 0 && !span_is_empty(settings->to));
	bounce->settings = *settings;
	bounce->done = done;
	bounce->ctx = ctx;
	queue_id_print(settings->about, bounce->about_text);
	bounce->dsn = (struct dsn){
		.hostname = settings->hostname,
		.postmaster = settings->postmaster,
		.id = queue_new_id(queue_hub_port(settings->queue)),
		.original_id = span_from_cstr(bounce->about_text),
		.sender = settings->to,
		.envid = envelope->envid,
		.arrival_ms = envelope->arrival_ms,
		.now_ms = settings->now_wall_ms,
		.ret = envelope->ret,
		.smtputf8 = envelope->smtputf8,
		.rcpts = settings->rcpts,
		.rcpt_count = settings->rcpt_count,
	};
	bounce->returns_body = dsn_returns_body(&bounce->dsn, envelope->body_bytes,
	    settings->bytes_max);
	bytes_max = bounce->returns_body ? envelope->body_bytes : BOUNCE_HEADER_BYTES_MAX;
	buf_init(&bounce->original, bytes_max);
	buf_init(&bounce->text, bytes_max + BOUNCE_WORDS_BYTES_MAX);
	bounce->reader = queue_body_open(queue_hub_port(settings->queue), settings->about,
	    &original_events, bounce);
	return bounce;
}

void
bounce_free(struct bounce **bounce_pointer)
{
	struct bounce *bounce = *bounce_pointer;

	*bounce_pointer = NULL;
	if (!bounce)
		return;
	queue_body_close(&bounce->reader);
	queue_abort(&bounce->draft);
	envelope_free(&bounce->envelope);
	buf_fini(&bounce->original);
	buf_fini(&bounce->text);
	mem_free(&bounce);
}

queue_id
bounce_id(const struct bounce *bounce)
{
	return bounce->dsn.id;
}
