#include "relay/outbound/destination.h"

#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/outbound/dispatch.h"
#include "relay/outbound/route.h"

/*
 * Jobs handed to a worker for each connection that works: while one is answered
 * the next is there already, and the hub's round trip costs nothing.
 */
enum {
	DESTINATION_JOBS_PER_CONNECTION = 4,
	DESTINATION_NOTICE_TURN = 4,
};

void
destination_init(struct destination *destination, size_t worker_count)
{
	TAILQ_INIT(&destination->notices);
	TAILQ_INIT(&destination->turns);
	destination->workers = mem_alloc_array(worker_count, sizeof(*destination->workers));
	destination->worker_count = worker_count;
}

void
destination_fini(struct destination *destination)
{
	must(destination->ready_count == 0);
	for (size_t i = 0; i < destination->host_count; i++)
		LIST_REMOVE(&destination->hosts[i], of_host);
	mem_free(&destination->hosts);
	mem_free(&destination->workers);
	mem_free(&destination->suspend_reason);
	mem_free(&destination->name);
	mem_free(&destination->key);
}

/* The flow of a unit's sender, made where there is none. */
static struct flow *
flow_of(struct destination *destination, const struct unit *unit)
{
	uint32_t sender = unit->message->flow;
	struct flow *flow;

	HASH_FIND(hh, destination->flows, &sender, sizeof(sender), flow);
	if (flow)
		return flow;
	flow = mem_alloc(sizeof(*flow));
	flow->sender = sender;
	TAILQ_INIT(&flow->units);
	HASH_ADD(hh, destination->flows, sender, sizeof(flow->sender), flow);
	TAILQ_INSERT_TAIL(&destination->turns, flow, turn);
	return flow;
}

static void
drop_if_empty(struct destination *destination, struct flow *flow)
{
	if (!TAILQ_EMPTY(&flow->units))
		return;
	HASH_DEL(destination->flows, flow);
	TAILQ_REMOVE(&destination->turns, flow, turn);
	mem_free(&flow);
}

void
destination_add(struct destination *destination, struct unit *unit, bool in_front)
{
	bool is_notice = unit->message->is_notification;
	struct unit_line *line = is_notice ? &destination->notices :
	    &flow_of(destination, unit)->units;

	if (in_front)
		TAILQ_INSERT_HEAD(line, unit, line);
	else
		TAILQ_INSERT_TAIL(line, unit, line);
	destination->ready_count++;
	destination->notice_count += is_notice;
}

void
destination_remove(struct destination *destination, struct unit *unit)
{
	destination->ready_count--;
	if (unit->message->is_notification) {
		TAILQ_REMOVE(&destination->notices, unit, line);
		destination->notice_count--;
		return;
	}

	struct flow *flow = flow_of(destination, unit);

	TAILQ_REMOVE(&flow->units, unit, line);
	drop_if_empty(destination, flow);
}

struct unit *
destination_take(struct destination *destination)
{
	struct flow *flow = TAILQ_FIRST(&destination->turns);
	struct unit *unit;

	if (destination->notice_count > 0 &&
	    (!flow || destination->turn % DESTINATION_NOTICE_TURN == 0)) {
		unit = TAILQ_FIRST(&destination->notices);
	} else if (flow) {
		/* The next turn is another's. */
		TAILQ_REMOVE(&destination->turns, flow, turn);
		TAILQ_INSERT_TAIL(&destination->turns, flow, turn);
		unit = TAILQ_FIRST(&flow->units);
	} else {
		return NULL;
	}
	destination->turn++;
	destination_remove(destination, unit);
	return unit;
}

bool
destination_may_use(const struct destination *destination, size_t host)
{
	const struct destination_host *place = &destination->hosts[host];

	for (size_t i = 0; !place->host->is_own && i < destination->host_count; i++)
		if (destination->hosts[i].host->is_own &&
		    destination->hosts[i].preference <= place->preference)
			return false;
	return true;
}

bool
destination_is_open_for_mail(const struct destination *destination)
{
	for (size_t i = 0; i < destination->host_count; i++)
		if (destination->hosts[i].host->breaker.state == BREAKER_CLOSED &&
		    destination_may_use(destination, i))
			return true;
	return false;
}

int64_t
destination_allowed_ms(const struct destination *destination, uint64_t now_ms)
{
	int64_t earliest = INT64_MAX;

	for (size_t i = 0; i < destination->host_count; i++) {
		const struct breaker *breaker = &destination->hosts[i].host->breaker;

		if (!destination_may_use(destination, i))
			continue;
		if (breaker_allows(breaker, now_ms))
			return 0;
		if (breaker->state == BREAKER_OPEN && (int64_t)breaker->probe_ms < earliest)
			earliest = (int64_t)breaker->probe_ms;
	}
	return earliest;
}

uint32_t
destination_proven(struct destination *destination, size_t worker, uint32_t proven)
{
	uint32_t total = 0;

	destination->workers[worker].proven = proven;
	for (size_t i = 0; i < destination->worker_count; i++)
		total += destination->workers[i].proven;
	return total;
}

void
destination_forget_proven(struct destination *destination)
{
	for (size_t i = 0; i < destination->worker_count; i++)
		destination->workers[i].proven = 0;
}

#define DESTINATION_SECOND_US ((uint64_t)1000 * 1000)

static uint64_t
rate_interval_us(const struct destination *destination)
{
	uint32_t rate = destination->route ? destination->route->rate_minute : 0;

	return rate ? 60 * DESTINATION_SECOND_US / rate : 0;
}

int64_t
destination_rate_ms(const struct destination *destination)
{
	uint64_t interval_us = rate_interval_us(destination);
	uint64_t burst_us = interval_us < DESTINATION_SECOND_US ?
	    DESTINATION_SECOND_US - interval_us : 0;

	if (interval_us == 0 || destination->rate_us <= burst_us)
		return 0;
	return (int64_t)((destination->rate_us - burst_us + 999) / 1000);
}

void
destination_rate_take(struct destination *destination, uint64_t now_ms)
{
	uint64_t now_us = now_ms * 1000;

	if (destination->rate_us < now_us)
		destination->rate_us = now_us;
	destination->rate_us += rate_interval_us(destination);
}

void
destination_rate_give_back(struct destination *destination)
{
	uint64_t interval_us = rate_interval_us(destination);

	destination->rate_us -= interval_us < destination->rate_us ? interval_us :
	    destination->rate_us;
}

uint32_t
destination_capacity(const struct destination *destination)
{
	uint32_t depth = destination->window.proven ? DESTINATION_JOBS_PER_CONNECTION : 1;

	return destination->window.size * depth;
}
