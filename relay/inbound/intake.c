#include "relay/inbound/intake.h"

#include <inttypes.h>
#include <stdio.h>

#include "relay/base/buf.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/inbound/completion.h"
#include "relay/inbound/hop_watch.h"
#include "relay/mail/header.h"
#include "relay/mail/mail_log.h"

struct intake {
	LIST_ENTRY(intake) entry;
	struct intake_set *set;
	struct intake_ops ops;
	void *ctx;                      /* NULL: the session is gone */
	bool has_session;

	queue_id id;
	struct queue_draft *draft;      /* NULL once committed */
	struct envelope *envelope;
	/* of our Received field, what the queue has no room for yet */
	struct buf trace;
	struct hop_watch hops;
	struct completion completion;
	struct span hostname;           /* borrowed from the settings of the session */
	bool submitted;                 /* by a user, and not relayed: it is made complete */
	struct header_watch header;

	/* What the log line needs when the envelope is the queue's already. */
	struct envelope logged;
	struct arena arena;
	struct span tls;
};

void
intake_set_init(struct intake_set *set, struct queue_port *port, struct loop *loop,
    uint64_t node_id)
{
	set->port = port;
	set->loop = loop;
	set->node_id = node_id;
	LIST_INIT(&set->intakes);
}

static void
intake_free(struct intake *intake)
{
	LIST_REMOVE(intake, entry);
	queue_abort(&intake->draft);
	envelope_free(&intake->envelope);
	buf_fini(&intake->trace);
	arena_fini(&intake->arena);
	mem_free(&intake);
}

void
intake_set_fini(struct intake_set *set)
{
	while (!LIST_EMPTY(&set->intakes))
		intake_free(LIST_FIRST(&set->intakes));
}

/* ---- the beginning */

static void
intake_room(void *ctx)
{
	struct intake *intake = ctx;

	if (intake->has_session)
		intake->ops.room(intake->ctx);
}

static const struct queue_draft_events draft_events = {
	.room = intake_room,
};

/* The first of our own nodes gives the message its name for the whole way (DECISIONS.md 1). */
static void
intake_give_origin(struct intake *intake, const char *id)
{
	struct envelope *envelope = intake->envelope;
	struct buf origin;

	if (!span_is_empty(envelope->origin))
		return;
	buf_init(&origin, 64);
	(void)buf_appendf(&origin, "%016" PRIx64 ".%s", intake->set->node_id, id);
	envelope->origin = envelope_keep(envelope, buf_span(&origin));
	buf_fini(&origin);
}

/* Copies what mail_log_accepted() prints. */
static void
intake_keep_for_log(struct intake *intake, struct span tls)
{
	const struct envelope *from = intake->envelope;
	struct envelope *to = &intake->logged;
	struct arena *arena = &intake->arena;

	to->arena = arena;
	to->sender = arena_dup(arena, from->sender);
	to->origin = arena_dup(arena, from->origin);
	to->client_address = arena_dup(arena, from->client_address);
	to->client_hello = arena_dup(arena, from->client_hello);
	to->auth_user = arena_dup(arena, from->auth_user);
	to->listener = arena_dup(arena, from->listener);
	to->protocol = from->protocol;
	to->rcpt_count = from->rcpt_count;
	intake->tls = arena_dup(arena, tls);
}

static void
intake_make_trace(struct intake *intake, const struct trace_received *given, const char *id)
{
	struct trace_received trace = *given;
	const struct envelope *envelope = intake->envelope;

	trace.queue_id = span_from_cstr(id);
	trace.for_address = envelope->rcpt_count == 1 ? envelope->rcpts[0].address : SPAN("");
	trace.wall_ms = loop_wall_ms(intake->set->loop);
	/* bounded by its own limits */
	must(trace_fields_received(&trace, &intake->trace) == 0);
}

struct intake *
intake_begin(struct intake_set *set, struct envelope **envelope,
    const struct trace_received *trace, uint64_t size_hint, const struct intake_ops *ops,
    void *ctx)
{
	struct intake *intake = mem_alloc(sizeof(*intake));
	struct queue_draft_terms terms = { .size_hint = size_hint };
	char id[QUEUE_ID_BYTES];

	intake->set = set;
	intake->ops = *ops;
	intake->ctx = ctx;
	intake->has_session = true;
	intake->id = terms.id = queue_new_id(set->port);
	intake->envelope = *envelope;
	*envelope = NULL;
	queue_id_print(intake->id, id);
	arena_init(&intake->arena, 0);
	buf_init(&intake->trace, TRACE_FIELDS_BYTES_MAX);
	intake_give_origin(intake, id);
	intake_keep_for_log(intake, trace->tls_version);
	intake_make_trace(intake, trace, id);
	hop_watch_init(&intake->hops, trace->hostname);
	intake->hostname = trace->hostname;
	intake->submitted = !span_is_empty(intake->envelope->auth_user);
	completion_init(&intake->completion);
	header_watch_init(&intake->header, SPAN(""));
	intake->draft = queue_begin(set->port, &terms, &draft_events, intake);
	LIST_INSERT_HEAD(&set->intakes, intake, entry);
	return intake;
}

/* ---- the body */

static void
reply_for_result(struct reply *reply, enum queue_result result)
{
	if (result == QUEUE_FULL)
		reply_set(reply, 452, "4.3.1", "out of space, try again later");
	else
		reply_set(reply, 451, "4.3.0", "the message could not be stored, try again later");
}

static size_t
intake_refuse(struct intake *intake, struct reply *reply_out)
{
	reply_for_result(reply_out, queue_draft_result(intake->draft));
	return SIZE_MAX;
}

static bool
intake_is_loop(struct intake *intake, struct span taken, struct reply *reply_out)
{
	switch (hop_watch_feed(&intake->hops, taken)) {
	case HOP_LOOP_NONE:
		return false;
	case HOP_LOOP_OWN:
		reply_set(reply_out, 554, "5.4.6", "mail loop: this message was here before");
		return true;
	case HOP_LOOP_TOO_LONG:
		reply_set(reply_out, 554, "5.4.6", "mail loop: more than %d Received fields",
		    HOP_WATCH_RECEIVED_COUNT_MAX);
		return true;
	}
	must_not_reach();
}

/* The fields that the sender's program left out go by the way of our own. */
static void
intake_complete(struct intake *intake)
{
	struct buf *id = &intake->trace;
	size_t before = buf_len(id);
	struct span text;

	completion_fields(&intake->completion, intake->id, loop_wall_ms(intake->set->loop),
	    intake->hostname, &intake->trace);
	if (intake->completion.has_message_id)
		return;
	text = span_trim(span_skip(buf_span(id), before));
	if (span_find_last_byte(text, '<', &before))
		(void)snprintf(intake->header.message_id, sizeof(intake->header.message_id),
		    "%.*s", SPAN_ARGS(span_skip(text, before)));
}

/* Octets of the message, up to where fields of ours belong; those are pending then. */
static size_t
intake_append_some(struct intake *intake, struct span octets)
{
	struct completion completion = intake->completion;
	bool is_here = false;
	size_t took;

	if (intake->submitted && !completion.ended)
		octets = span_first(octets, completion_scan(&completion, octets, &is_here));
	took = octets.len > 0 ? queue_append(intake->draft, octets) : 0;
	if (took == SIZE_MAX)
		return SIZE_MAX;
	if (took == octets.len) {
		intake->completion = completion;
		if (is_here)
			intake_complete(intake);
	} else if (intake->submitted) {
		(void)completion_scan(&intake->completion, span_first(octets, took), &is_here);
	}
	return took;
}

/* Our own fields that the queue had no room for; false when it still has none. */
static bool
intake_append_trace(struct intake *intake, bool *failed_out)
{
	size_t took;

	*failed_out = false;
	if (buf_is_empty(&intake->trace))
		return true;
	took = queue_append(intake->draft, buf_span(&intake->trace));
	*failed_out = took == SIZE_MAX;
	if (*failed_out)
		return false;
	buf_consume(&intake->trace, took);
	return buf_is_empty(&intake->trace);
}

static bool
intake_watch(struct intake *intake, struct span taken, struct reply *reply_out)
{
	if (!intake->hops.ended && intake_is_loop(intake, taken, reply_out))
		return false;
	if (!intake->header.ended)
		header_watch_feed(&intake->header, taken);
	return true;
}

size_t
intake_append(struct intake *intake, struct span octets, struct reply *reply_out)
{
	size_t total = 0;
	bool failed;

	must(intake->draft);
	do {
		struct span rest = span_skip(octets, total);
		size_t took;

		if (!intake_append_trace(intake, &failed))
			return failed ? intake_refuse(intake, reply_out) : total;
		took = intake_append_some(intake, rest);
		if (took == SIZE_MAX)
			return intake_refuse(intake, reply_out);
		if (!intake_watch(intake, span_first(rest, took), reply_out))
			return SIZE_MAX;
		total += took;
	} while (!buf_is_empty(&intake->trace) && total < octets.len);
	return total;
}

/* ---- the end */

static void
intake_log(const struct intake *intake)
{
	const struct mail_log_accepted event = {
		.id = intake->id,
		.envelope = &intake->logged,
		.message_id = span_from_cstr(intake->header.message_id),
		.tls = intake->tls,
	};

	mail_log_accepted(&event);
}

static void
intake_done(void *ctx, enum queue_result result)
{
	struct intake *intake = ctx;
	char id[QUEUE_ID_BYTES];
	struct reply reply;

	if (result == QUEUE_DONE) {
		queue_id_print(intake->id, id);
		reply_set(&reply, 250, "2.0.0", "%s queued", id);
		intake_log(intake);
	} else {
		reply_for_result(&reply, result);
	}
	if (intake->has_session)
		intake->ops.done(intake->ctx, &reply);
	intake_free(intake);
}

/* A message without octets: the field of ours is still to be appended. */
static int
intake_append_rest(struct intake *intake)
{
	size_t took = queue_append(intake->draft, buf_span(&intake->trace));

	if (took != buf_len(&intake->trace))
		return -1;
	buf_consume(&intake->trace, took);
	return 0;
}

int
intake_commit(struct intake *intake, bool has_8bit, bool header_has_8bit,
    struct reply *reply_out)
{
	struct envelope *envelope = intake->envelope;

	must(intake->draft);
	if (intake->submitted && completion_at_end(&intake->completion))
		intake_complete(intake);
	if (!buf_is_empty(&intake->trace) && intake_append_rest(intake) < 0) {
		reply_for_result(reply_out, QUEUE_FAILED);
		return -1;
	}
	envelope->requires_8bit = has_8bit;
	envelope->needs_utf8 = envelope->needs_utf8 || (header_has_8bit && envelope->smtputf8);
	envelope->body_bytes = queue_draft_bytes(intake->draft);
	envelope->arrival_ms = loop_wall_ms(intake->set->loop);
	intake->logged.body_bytes = envelope->body_bytes;
	(void)queue_commit(&intake->draft, &intake->envelope, NULL, intake_done, intake);
	return 0;
}

void
intake_leave(struct intake **intake_address)
{
	struct intake *intake = *intake_address;

	*intake_address = NULL;
	if (!intake)
		return;
	intake->has_session = false;
	if (intake->draft)
		intake_free(intake);
}
