#include "relay/outbound/outbound_private.h"

#include <stdio.h>

#include "relay/base/must.h"

/* ---- routes ---- */

struct route_match
outbound_route(const struct outbound *outbound, const struct route_question *question)
{
	return route_table_match(outbound->routes, question);
}

struct route_table *
outbound_routes(const struct outbound *outbound)
{
	return outbound->routes;
}

/* ---- messages ---- */

static const struct letter *
find_letter(const struct outbound *outbound, queue_id id)
{
	struct queue_item item;

	if (!queue_find(outbound->queue, id, &item))
		return NULL;
	return item.user;
}

static const struct route *
route_of(const struct unit *unit)
{
	if (unit->domain)
		return unit->domain->route;
	return unit->destination ? unit->destination->route : NULL;
}

/* The host that is down and comes back first, in words. */
static struct span
why_down(const struct destination *destination, char *room, size_t size)
{
	const struct host *first = NULL;
	int len;

	for (size_t i = 0; i < destination->host_count; i++) {
		const struct host *host = destination->hosts[i].host;

		if (host->breaker.state != BREAKER_CLOSED &&
		    (!first || host->breaker.probe_ms < first->breaker.probe_ms))
			first = host;
	}
	if (!first)
		return SPAN("");
	len = snprintf(room, size, "%s is down after %u failures: %s", first->name,
	    first->breaker.failure_count, first->last_error);
	if (len < 0)
		return SPAN("");
	return span_make(room, (size_t)len < size ? (size_t)len : size - 1);
}

static struct span
because(const struct unit *unit, enum queue_reason reason, char *room, size_t size)
{
	const struct history *history = unit->history;

	if (unit->state == UNIT_READY && unit->destination->suspended)
		return span_from_cstr(unit->destination->suspend_reason);
	if (unit->state == UNIT_READY && reason != REASON_READY &&
	    reason != REASON_CONCURRENCY_LIMIT)
		return why_down(unit->destination, room, size);
	if (history && history->count > 0)
		return history_text(history->entries[history->count - 1].words);
	return SPAN("");
}

static size_t
fill_attempts(const struct unit *unit, struct outbound_attempt *attempts)
{
	const struct history *history = unit->history;
	size_t count = history ? history->count : 0;

	for (size_t i = 0; i < count; i++) {
		const struct history_entry *entry = &history->entries[i];

		attempts[i] = (struct outbound_attempt){
			.at_wall_ms = entry->at_wall_ms,
			.host = history_text(entry->host),
			.words = history_text(entry->words),
			.class = entry->class,
		};
	}
	return count;
}

static void
show_unit(const struct outbound *outbound, const struct unit *unit, outbound_visit_unit *visit,
    void *ctx)
{
	struct outbound_attempt attempts[HISTORY_COUNT_MAX];
	const struct dispatch *dispatch = &outbound->dispatch;
	const struct route *route = route_of(unit);
	const struct destination *destination = unit->destination;
	uint64_t now_ms = outbound_now(outbound);
	enum queue_reason reason = dispatch_reason(dispatch, unit, now_ms);
	int64_t next_ms = dispatch_unit_next_ms(dispatch, unit, now_ms);
	char room[512];

	visit(ctx, &(struct outbound_unit){
		.id = unit->message->id,
		.rcpts = unit->rcpts,
		.rcpt_count = unit->rcpt_count,
		.reason = reason,
		.destination = span_from_cstr(destination ? destination->name :
		    unit->domain ? unit->domain->name : NULL),
		.route = route ? route->name : SPAN(""),
		.route_where = route ? route->where : SPAN(""),
		.since_wall_ms = outbound_wall_of(outbound, unit->state_ms),
		.next_wall_ms = next_ms > 0 ? outbound_wall_of(outbound, next_ms) : 0,
		.expires_wall_ms = outbound_wall_of(outbound, unit->expire_ms),
		.delay_notice_wall_ms = outbound_wall_of(outbound, unit->notice_ms),
		.ready_before = unit->state == UNIT_READY ? destination->ready_count : 0,
		.attempt_count = unit->attempt_count,
		.because = because(unit, reason, room, sizeof(room)),
		.attempts = attempts,
		.attempt_count_kept = fill_attempts(unit, attempts),
	});
}

bool
outbound_explain(const struct outbound *outbound, queue_id id, outbound_visit_unit *visit,
    void *ctx)
{
	const struct letter *letter = find_letter(outbound, id);
	const struct unit *unit;

	if (!letter)
		return false;
	TAILQ_FOREACH(unit, &letter->message.units, of_message)
		show_unit(outbound, unit, visit, ctx);
	return true;
}

/* What is under way says more than what waits, and what is tried next more than the rest. */
static int64_t
rank(const struct outbound *outbound, const struct unit *unit)
{
	switch (unit->state) {
	case UNIT_RUNNING:
	case UNIT_SETTLING:
		return INT64_MIN;
	case UNIT_WAITING:
		return unit->due_ms;
	case UNIT_READY:
	case UNIT_RESOLVING:
	case UNIT_NEW:
		return (int64_t)outbound_now(outbound);
	}
	must_not_reach();
}

bool
outbound_summary(const struct outbound *outbound, queue_id id,
    struct outbound_summary *summary_out)
{
	const struct letter *letter = find_letter(outbound, id);
	const struct unit *unit, *best = NULL;
	uint64_t now_ms = outbound_now(outbound);
	int64_t next_ms;

	if (!letter)
		return false;
	*summary_out = (struct outbound_summary){
		.reason = REASON_SETTLED,
		.unit_count = letter->message.unit_count,
	};
	TAILQ_FOREACH(unit, &letter->message.units, of_message)
		if (!best || rank(outbound, unit) < rank(outbound, best))
			best = unit;
	if (!best)
		return true;
	next_ms = dispatch_unit_next_ms(&outbound->dispatch, best, now_ms);
	summary_out->reason = dispatch_reason(&outbound->dispatch, best, now_ms);
	summary_out->next_wall_ms = next_ms > 0 ? outbound_wall_of(outbound, next_ms) : 0;
	summary_out->attempt_count = best->attempt_count;
	summary_out->destination = span_from_cstr(best->destination ? best->destination->name :
	    best->domain ? best->domain->name : NULL);
	return true;
}

/* ---- destinations ---- */

static size_t
fill_hosts(const struct outbound *outbound, const struct destination *destination,
    struct outbound_host *hosts)
{
	for (size_t i = 0; i < destination->host_count; i++) {
		const struct host *host = destination->hosts[i].host;
		const struct breaker *breaker = &host->breaker;

		hosts[i] = (struct outbound_host){
			.name = span_from_cstr(host->name),
			.breaker = breaker->state,
			.since_wall_ms = outbound_wall_of(outbound, (int64_t)breaker->since_ms),
			.probe_wall_ms = breaker->state == BREAKER_OPEN ?
			    outbound_wall_of(outbound, (int64_t)breaker->probe_ms) : 0,
			.failure_count = breaker->failure_count,
			.last_error = span_from_cstr(host->last_error),
			.tls = span_from_cstr(host->tls),
		};
	}
	return destination->host_count;
}

static uint32_t
connection_count(const struct outbound *outbound, const struct destination *destination)
{
	uint32_t count = 0;

	for (size_t i = 0; i < outbound->worker_count; i++)
		count += destination->workers[i].connections;
	return count;
}

static void
show_destination(const struct outbound *outbound, const struct destination *destination,
    outbound_visit_destination *visit, void *ctx)
{
	struct outbound_host hosts[DESTINATION_HOST_COUNT_MAX];

	visit(ctx, &(struct outbound_destination){
		.name = span_from_cstr(destination->name),
		.route = destination->route->name,
		.route_where = destination->route->where,
		.reason = dispatch_destination_reason(&outbound->dispatch, destination,
		    outbound_now(outbound)),
		.hosts = hosts,
		.host_count = fill_hosts(outbound, destination, hosts),
		.ready_count = destination->ready_count,
		.waiting_count = destination->waiting_count,
		.running_count = destination->running_count,
		.connection_count = connection_count(outbound, destination),
		.window = destination->window,
		.delivered_count = destination->delivered_count,
		.deferred_count = destination->deferred_count,
		.failed_count = destination->failed_count,
		.uncertain_count = destination->uncertain_count,
		.suspend_reason = span_from_cstr(destination->suspended ?
		    destination->suspend_reason : NULL),
		.suspend_until_wall_ms = destination->suspended ?
		    outbound_wall_of(outbound, destination->suspend_until_ms) : 0,
	});
}

void
outbound_destinations(const struct outbound *outbound, outbound_visit_destination *visit,
    void *ctx)
{
	for (const struct destination *it = outbound->dispatch.destinations; it;
	    it = it->hh.next)
		show_destination(outbound, it, visit, ctx);
}

void
outbound_totals(const struct outbound *outbound, struct outbound_totals *totals_out)
{
	const struct dispatch *dispatch = &outbound->dispatch;
	const struct letter *letter;
	const struct unit *unit;

	*totals_out = (struct outbound_totals){
		.message_count = dispatch->message_count,
		.unit_count = dispatch->unit_count,
		.running_count = dispatch->running_count,
	};
	for (const struct destination *it = dispatch->destinations; it; it = it->hh.next)
		totals_out->connection_count += connection_count(outbound, it);
	TAILQ_FOREACH(letter, &outbound->letters, of_all)
		TAILQ_FOREACH(unit, &letter->message.units, of_message)
			totals_out->by_reason[dispatch_reason(dispatch, unit,
			    outbound_now(outbound))]++;
}
