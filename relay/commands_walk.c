/*
 * list, count, retry, hold, release, drop and bounce: sets of messages, walked over in slices.
 *
 * What an action needs to be durable is under way for many messages at once, so that a
 * large set shares the flushes of the queue.  The walk outlives its request while an
 * action is under way: what was begun is never left half-told to the queue.
 */
#include "relay/commands_private.h"

#include "relay/base/mem.h"

enum {
	SLICE_ITEMS = CONTROL_ITEMS_A_TURN,
	ACTIONS_MAX = 256,              /* under way at once */
	DRY_RUN_SHOWN = 10,
	LIST_RCPTS_SHOWN = 20,
};

enum walk_verb {
	WALK_LIST,
	WALK_COUNT,
	WALK_RETRY,
	WALK_HOLD,
	WALK_RELEASE,
	WALK_DROP,
	WALK_BOUNCE,
};

struct walk {
	struct relay *relay;
	struct control_request *request;        /* NULL: its session is gone */
	enum walk_verb verb;
	struct commands_filter filter;
	bool dry_run;
	uint64_t limit;
	struct queue_cursor cursor;
	bool slice_is_last;
	queue_id ids[SLICE_ITEMS];              /* the slice, matched without envelopes */
	size_t id_count;
	size_t id_next;
	struct token token;                     /* an envelope is being read */
	size_t running;                         /* actions under way */
	uint64_t matched;
	uint64_t bytes;
	uint64_t done;
	uint64_t failed;
	char why[ERR_TEXT_BYTES];               /* the first failure */
};

static void
walk_free_if_over(struct walk *walk)
{
	if (!walk->request && walk->running == 0)
		mem_free(&walk);
}

static void
walk_release(void *state)
{
	struct walk *walk = state;

	queue_port_cancel(queue_hub_port(relay_queue(walk->relay)), &walk->token);
	walk->request = NULL;
	walk_free_if_over(walk);
}

/* ------------------------------------------------------------------ one message */

static void
action_done(void *ctx, const struct err *err)
{
	struct walk *walk = ctx;

	walk->running--;
	if (!err) {
		walk->done++;
	} else {
		if (walk->failed++ == 0)
			memcpy(walk->why, err->text, sizeof(walk->why));
	}
	if (walk->request)
		control_go_on(walk->request);
	else
		walk_free_if_over(walk);
}

static void
act(struct walk *walk, queue_id id)
{
	struct outbound *outbound = relay_outbound(walk->relay);

	switch (walk->verb) {
	case WALK_LIST:
	case WALK_COUNT:
		return;
	case WALK_RETRY:
		/* One that is not with the scheduler (held, or under way) is left as it is. */
		if (outbound_retry(outbound, id))
			walk->done++;
		return;
	case WALK_HOLD:
		walk->running++;
		outbound_hold(outbound, id, action_done, walk);
		return;
	case WALK_RELEASE:
		walk->running++;
		outbound_release(outbound, id, action_done, walk);
		return;
	case WALK_DROP:
		walk->running++;
		outbound_drop(outbound, id, action_done, walk);
		return;
	case WALK_BOUNCE:
		walk->running++;
		outbound_bounce(outbound, id, action_done, walk);
		return;
	}
}

static void
take(struct walk *walk, queue_id id, const struct envelope *envelope)
{
	struct queue_item item;

	if (!queue_find(relay_queue(walk->relay), id, &item))
		return;
	/* What is held already, or is not, is not among those that this changes. */
	if ((walk->verb == WALK_RELEASE && !item.held) || (walk->verb == WALK_HOLD && item.held))
		return;
	walk->matched++;
	walk->bytes += item.body_bytes;
	if (walk->verb == WALK_LIST || (walk->dry_run && walk->matched <= DRY_RUN_SHOWN))
		control_item(walk->request, commands_item(walk->relay, &item, envelope,
		    LIST_RCPTS_SHOWN));
	if (!walk->dry_run)
		act(walk, id);
}

static bool
needs_envelope(const struct walk *walk)
{
	return walk->filter.needs_envelope || walk->verb == WALK_LIST ||
	    (walk->dry_run && walk->matched < DRY_RUN_SHOWN);
}

static void
got_envelope(void *ctx, enum queue_result result, struct envelope *envelope)
{
	struct walk *walk = ctx;
	queue_id id = walk->ids[walk->id_next++];

	walk->token = (struct token){ 0 };
	/* Without its envelope a message still shows, and can be dropped, if no one asks for it. */
	if (result == QUEUE_DONE ? commands_filter_matches_envelope(&walk->filter, envelope)
	    : !walk->filter.needs_envelope)
		take(walk, id, envelope);
	envelope_free(&envelope);
	control_go_on(walk->request);
}

/* ------------------------------------------------------------------ the walk */

static void
collect(void *ctx, const struct queue_item *item)
{
	struct walk *walk = ctx;
	struct commands_facts facts;

	commands_facts(walk->relay, item, &facts);
	if (walk->id_count < SLICE_ITEMS && commands_filter_matches(&walk->filter, &facts))
		walk->ids[walk->id_count++] = item->id;
}

static void
next_slice(struct walk *walk)
{
	struct queue *queue = relay_queue(walk->relay);
	struct queue_item item;
	queue_id only;

	walk->id_count = 0;
	walk->id_next = 0;
	if (commands_filter_only_id(&walk->filter, &only)) {
		walk->slice_is_last = true;
		if (queue_find(queue, only, &item))
			collect(walk, &item);
		return;
	}
	walk->slice_is_last = !queue_list(queue, &walk->cursor, SLICE_ITEMS, collect, walk);
}

static void
put_totals(struct walk *walk)
{
	struct json *fields = control_end_fields(walk->request);
	struct outbound_totals totals;
	struct queue_stats stats;

	json_put_int(fields, "matched", (int64_t)walk->matched);
	json_put_int(fields, "bytes", (int64_t)walk->bytes);
	json_put_int(fields, "done", (int64_t)walk->done);
	json_put_int(fields, "failed", (int64_t)walk->failed);
	json_put_bool(fields, "dry_run", walk->dry_run);
	queue_stats(relay_queue(walk->relay), &stats);
	outbound_totals(relay_outbound(walk->relay), &totals);
	json_put_int(fields, "queued", (int64_t)stats.message_count);
	json_put_int(fields, "held", (int64_t)stats.held_count);
	json_put_int(fields, "active", (int64_t)totals.running_count);
}

static enum control_pace
finish(struct walk *walk)
{
	put_totals(walk);
	if (walk->failed > 0)
		control_fail(walk->request, CONTROL_TRY_AGAIN, "%llu of %llu failed: %s",
		    (unsigned long long)walk->failed, (unsigned long long)walk->matched, walk->why);
	else if (walk->matched == 0 && walk->verb != WALK_COUNT)
		control_end(walk->request, CONTROL_NO_MATCH);
	else
		control_end(walk->request, CONTROL_OK);
	return CONTROL_ENDED;
}

static enum control_pace
walk_more(void *state, struct control_request *request)
{
	struct walk *walk = state;

	if (!token_is_empty(walk->token))
		return CONTROL_WAIT;            /* an action reported while an envelope is read */
	for (;;) {
		bool at_limit = walk->limit > 0 && walk->matched >= walk->limit;

		if (at_limit || (walk->id_next == walk->id_count && walk->slice_is_last))
			return walk->running > 0 ? CONTROL_WAIT : finish(walk);
		if (walk->id_next == walk->id_count) {
			next_slice(walk);
			return CONTROL_AGAIN;
		}
		if (walk->running >= ACTIONS_MAX)
			return CONTROL_WAIT;
		if (control_is_full(request))
			return CONTROL_AGAIN;
		queue_id id = walk->ids[walk->id_next];

		if (needs_envelope(walk)) {
			struct queue_port *port = queue_hub_port(relay_queue(walk->relay));

			walk->token = queue_read_envelope(port, id, got_envelope, walk);
			return CONTROL_WAIT;
		}
		walk->id_next++;
		take(walk, id, NULL);
	}
}

static void
walk_start(struct relay *relay, struct control_request *request, enum walk_verb verb)
{
	static const struct control_hold_ops hold_ops = {
		.more = walk_more,
		.release = walk_release,
	};
	const struct json *args = control_args(request);
	struct walk *walk = mem_alloc(sizeof(*walk));
	bool changes = verb != WALK_LIST && verb != WALK_COUNT;
	bool all = false;
	int64_t limit = 0;
	struct err err;

	walk->relay = relay;
	walk->request = request;
	walk->verb = verb;
	(void)json_get_bool(args, "dry_run", &walk->dry_run);
	(void)json_get_bool(args, "all", &all);
	if (json_get_int(args, "limit", &limit) && limit > 0)
		walk->limit = (uint64_t)limit;
	walk->dry_run = walk->dry_run && changes;
	if (commands_filter_read(&walk->filter, json_get(args, "filters"), &err) < 0) {
		control_fail(request, CONTROL_USAGE, "%s", err.text);
		mem_free(&walk);
		return;
	}
	if (changes && walk->filter.term_count == 0 && !all) {
		control_fail(request, CONTROL_USAGE,
		    "without a filter this would be every message: "
		    "say --all if you mean that");
		mem_free(&walk);
		return;
	}
	control_hold(request, &hold_ops, walk);
}

void
commands_list(void *ctx, struct control_request *request)
{
	walk_start(ctx, request, WALK_LIST);
}

void
commands_count(void *ctx, struct control_request *request)
{
	walk_start(ctx, request, WALK_COUNT);
}

void
commands_retry(void *ctx, struct control_request *request)
{
	walk_start(ctx, request, WALK_RETRY);
}

void
commands_hold(void *ctx, struct control_request *request)
{
	walk_start(ctx, request, WALK_HOLD);
}

void
commands_release(void *ctx, struct control_request *request)
{
	walk_start(ctx, request, WALK_RELEASE);
}

void
commands_drop(void *ctx, struct control_request *request)
{
	walk_start(ctx, request, WALK_DROP);
}

void
commands_bounce(void *ctx, struct control_request *request)
{
	walk_start(ctx, request, WALK_BOUNCE);
}
