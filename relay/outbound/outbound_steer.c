#include "relay/outbound/outbound_private.h"

#include <stdio.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

/* ---- try now ---- */

static struct letter *
find_letter(const struct outbound *outbound, queue_id id)
{
	struct queue_item item;

	if (!queue_find(outbound->queue, id, &item))
		return NULL;
	return item.user;
}

static void
retry_letter(struct outbound *outbound, struct letter *letter)
{
	uint64_t now_ms = outbound_now(outbound);
	struct unit *unit;

	TAILQ_FOREACH(unit, &letter->message.units, of_message) {
		if (unit->destination)
			dispatch_hurry(&outbound->dispatch, unit->destination, now_ms);
		if (unit->state != UNIT_WAITING)
			continue;
		unit->due_ms = INT64_MIN;
		dispatch_update_deadline(&outbound->dispatch, unit);
	}
	outbound_wake(outbound);
}

bool
outbound_retry(struct outbound *outbound, queue_id id)
{
	struct letter *letter = find_letter(outbound, id);

	if (!letter || letter->wish != WISH_NONE)
		return false;
	retry_letter(outbound, letter);
	return true;
}

static bool
goes_to(const struct letter *letter, const struct destination *destination)
{
	const struct unit *unit;

	TAILQ_FOREACH(unit, &letter->message.units, of_message)
		if (unit->destination == destination)
			return true;
	return false;
}

size_t
outbound_retry_destination(struct outbound *outbound, struct span name)
{
	struct destination *destination = NULL;
	struct letter *letter;
	size_t count = 0;

	while ((destination = dispatch_next_destination(&outbound->dispatch, name, destination))) {
		dispatch_hurry(&outbound->dispatch, destination, outbound_now(outbound));
		TAILQ_FOREACH(letter, &outbound->letters, of_all)
			if (letter->wish == WISH_NONE && goes_to(letter, destination)) {
				retry_letter(outbound, letter);
				count++;
			}
	}
	return count;
}

size_t
outbound_retry_all(struct outbound *outbound)
{
	struct letter *letter;
	size_t count = 0;

	TAILQ_FOREACH(letter, &outbound->letters, of_all)
		if (letter->wish == WISH_NONE) {
			retry_letter(outbound, letter);
			count++;
		}
	return count;
}

/* ---- hold, release, drop, bounce ---- */

/* A verb on its way: the word that is owed to its caller. */
struct verb {
	struct outbound *outbound;
	queue_id id;
	outbound_verb_done *done;
	void *ctx;
	struct token token;                     /* of the queue's call */
	TAILQ_ENTRY(verb) of_outbound;          /* while the queue is asked */
	struct loop_post post;
};

static void
asked(struct verb *verb, struct token token)
{
	verb->token = token;
	TAILQ_INSERT_TAIL(&verb->outbound->verbs, verb, of_outbound);
}

void
outbound_free_verbs(struct outbound *outbound)
{
	struct verb *verb;

	while ((verb = TAILQ_FIRST(&outbound->verbs))) {
		TAILQ_REMOVE(&outbound->verbs, verb, of_outbound);
		queue_cancel(outbound->queue, &verb->token);
		mem_free(&verb);
	}
}

static struct verb *
verb_new(struct outbound *outbound, queue_id id, outbound_verb_done *done, void *ctx)
{
	struct verb *verb = mem_alloc(sizeof(*verb));

	verb->outbound = outbound;
	verb->id = id;
	verb->done = done;
	verb->ctx = ctx;
	return verb;
}

static void
verb_recorded(void *ctx, enum queue_result result)
{
	struct verb *verb = ctx;
	struct letter *letter = find_letter(verb->outbound, verb->id);
	struct err err;

	TAILQ_REMOVE(&verb->outbound->verbs, verb, of_outbound);
	/* It did not happen: the message goes on. */
	if (letter && letter->is_steered) {
		letter->is_steered = false;
		letter->wish = WISH_NONE;
		letter_place(letter);
		outbound_wake(verb->outbound);
	}
	if (result == QUEUE_DONE || result == QUEUE_UNKNOWN) {
		verb->done(verb->ctx, NULL);
	} else {
		(void)err_set(&err, result == QUEUE_NOT_FOUND ? ERR_NOT_FOUND :
		    result == QUEUE_CONFLICT ? ERR_BUSY : ERR_SYSTEM,
		    "the queue says: %s", queue_result_name(result));
		verb->done(verb->ctx, &err);
	}
	mem_free(&verb);
}

static void
verb_refused(void *ctx)
{
	struct verb *verb = ctx;
	struct err err;

	(void)err_set(&err, ERR_BUSY, "another command for this message is under way");
	verb->done(verb->ctx, &err);
	mem_free(&verb);
}

static void
refuse(struct verb *verb)
{
	loop_post_init(&verb->post, verb_refused, verb);
	loop_post(verb->outbound->hub, &verb->post);
}

static void
verb_begun(void *ctx)
{
	struct verb *verb = ctx;

	verb->done(verb->ctx, NULL);
	mem_free(&verb);
}

/* Nothing of it is under way: each recipient that is open fails, by our own word. */
static void
give_up(struct letter *letter)
{
	struct outbound *outbound = letter->outbound;
	uint64_t now_ms = outbound_now(outbound);
	struct unit *unit;

	TAILQ_FOREACH(unit, &letter->message.units, of_message) {
		struct failing *failing = failing_new(unit, unit->rcpt_count);

		for (uint32_t i = 0; i < unit->rcpt_count; i++) {
			struct failed_rcpt *rcpt = &failing->rcpts[i];

			rcpt->rcpt = unit->rcpts[i];
			reply_set(&rcpt->reply, 554, "5.3.0", "given up by the operator");
			(void)snprintf(rcpt->host, sizeof(rcpt->host), "%s", outbound->hostname);
		}
		stats_add(outbound->cells, OUTBOUND_STAT_FAILED, unit->rcpt_count);
		dispatch_settling(&outbound->dispatch, unit, now_ms);
		failure_add(outbound, unit, failing);
	}
}

static void released_to_bounce(void *ctx, enum queue_result result);

static void
ask(struct outbound *outbound, queue_id id, enum letter_wish wanted, struct verb *verb)
{
	if (wanted == WISH_BOUNCE)
		asked(verb, queue_release(outbound->queue, id, released_to_bounce, verb));
	else if (wanted == WISH_HOLD)
		asked(verb, queue_hold(outbound->queue, id, SPAN(""), verb_recorded, verb));
	else
		asked(verb, queue_remove(outbound->queue, id, verb_recorded, verb));
}

void
letter_grant_wish(struct letter *letter)
{
	struct outbound *outbound = letter->outbound;
	struct verb *verb = letter->verb;

	if (letter->is_steered)
		return;
	letter->is_steered = true;
	letter->verb = NULL;
	if (letter->wish == WISH_BOUNCE) {
		give_up(letter);
		loop_post_init(&verb->post, verb_begun, verb);
		loop_post(outbound->hub, &verb->post);
		return;
	}
	ask(outbound, letter->message.id, letter->wish, verb);
}

/*
 * What is under way is asked to end, and what waits may not begin; when nothing is
 * under way any more, the queue is asked.
 */
static void
wish(struct outbound *outbound, struct letter *letter, enum letter_wish wanted,
    struct verb *verb)
{
	uint64_t now_ms = outbound_now(outbound);
	struct unit *unit;

	letter->wish = wanted;
	letter->verb = verb;
	TAILQ_FOREACH(unit, &letter->message.units, of_message)
		if (unit->state != UNIT_RUNNING && unit->state != UNIT_SETTLING)
			dispatch_defer(&outbound->dispatch, unit, INT64_MAX, now_ms);
	job_cancel_all(outbound, letter);
	letter_settled(letter);
	outbound_wake(outbound);
}

static void
steer(struct outbound *outbound, queue_id id, enum letter_wish wanted, struct verb *verb)
{
	struct letter *letter = find_letter(outbound, id);

	/* Who its recipients are is known in a moment: then it can be given up. */
	if (letter && (letter->wish != WISH_NONE ||
	    (letter->is_fetching && wanted == WISH_BOUNCE)))
		refuse(verb);
	else if (letter)
		wish(outbound, letter, wanted, verb);
	else
		ask(outbound, id, wanted, verb);
}

void
outbound_hold(struct outbound *outbound, queue_id id, outbound_verb_done *done, void *ctx)
{
	steer(outbound, id, WISH_HOLD, verb_new(outbound, id, done, ctx));
}

void
outbound_drop(struct outbound *outbound, queue_id id, outbound_verb_done *done, void *ctx)
{
	steer(outbound, id, WISH_DROP, verb_new(outbound, id, done, ctx));
}

/* What was held is back with us, and given up before it is tried. */
static void
released_to_bounce(void *ctx, enum queue_result result)
{
	struct verb *verb = ctx;
	struct letter *letter = find_letter(verb->outbound, verb->id);

	if (result != QUEUE_DONE || !letter) {
		verb_recorded(verb, result == QUEUE_DONE ? QUEUE_CONFLICT : result);
		return;
	}
	TAILQ_REMOVE(&verb->outbound->verbs, verb, of_outbound);
	steer(verb->outbound, verb->id, WISH_BOUNCE, verb);
}

void
outbound_bounce(struct outbound *outbound, queue_id id, outbound_verb_done *done, void *ctx)
{
	steer(outbound, id, WISH_BOUNCE, verb_new(outbound, id, done, ctx));
}

void
outbound_release(struct outbound *outbound, queue_id id, outbound_verb_done *done, void *ctx)
{
	struct verb *verb = verb_new(outbound, id, done, ctx);

	asked(verb, queue_release(outbound->queue, id, verb_recorded, verb));
}

void
letter_forget_verb(struct letter *letter)
{
	struct verb *verb = letter->verb;

	letter->verb = NULL;
	if (verb)
		refuse(verb);
}

/* ---- destinations ---- */

/* The first of those that are called so. */
static struct destination *
find_destination(struct outbound *outbound, struct span name)
{
	const struct route *route = route_table_find_name(outbound->routes, name);

	/* A route with named hosts is a destination, also before its first mail. */
	if (route && route->via != ROUTE_VIA_MX)
		(void)outbound_named_destination(outbound, route);
	return dispatch_next_destination(&outbound->dispatch, name, NULL);
}

bool
outbound_suspend(struct outbound *outbound, struct span name, struct span reason,
    int64_t until_wall_ms)
{
	struct dispatch *dispatch = &outbound->dispatch;
	struct destination *destination = find_destination(outbound, name);
	uint64_t now_ms = outbound_now(outbound);
	int64_t until_ms = INT64_MAX;

	if (!destination)
		return false;
	if (until_wall_ms)
		until_ms = (int64_t)now_ms + (until_wall_ms - loop_wall_ms(outbound->hub));
	for (; destination; destination = dispatch_next_destination(dispatch, name, destination))
		dispatch_suspend(dispatch, destination, reason, until_ms, now_ms);
	memory_changed(outbound);
	outbound_wake(outbound);
	return true;
}

bool
outbound_resume(struct outbound *outbound, struct span name)
{
	struct dispatch *dispatch = &outbound->dispatch;
	struct destination *destination = find_destination(outbound, name);
	bool any = false;

	for (; destination; destination = dispatch_next_destination(dispatch, name, destination)) {
		any = any || destination->suspended;
		dispatch_resume(dispatch, destination, outbound_now(outbound));
	}
	if (!any)
		return false;
	memory_changed(outbound);
	outbound_wake(outbound);
	return true;
}

void
outbound_neighbour_seen(struct outbound *outbound, struct span hello_name)
{
	struct dispatch *dispatch = &outbound->dispatch;
	uint64_t now_ms = outbound_now(outbound);

	for (struct host *host = dispatch->hosts; host; host = host->hh.next) {
		struct span name, port;

		if (host->breaker.state != BREAKER_OPEN)
			continue;
		(void)span_split_last(span_from_cstr(host->name), ':', &name, &port);
		if (span_equal_nocase(name, hello_name))
			dispatch_hurry_host(dispatch, host, now_ms);
	}
	outbound_wake(outbound);
}
