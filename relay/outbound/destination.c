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
	for (size_t i = 0; i < DESTINATION_FLOW_COUNT; i++)
		TAILQ_INIT(&destination->flows[i]);
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

static struct unit_line *
line_of(struct destination *destination, const struct unit *unit)
{
	if (unit->message->is_notification)
		return &destination->notices;
	return &destination->flows[unit->message->flow % DESTINATION_FLOW_COUNT];
}

void
destination_add(struct destination *destination, struct unit *unit, bool in_front)
{
	struct unit_line *line = line_of(destination, unit);

	if (in_front)
		TAILQ_INSERT_HEAD(line, unit, line);
	else
		TAILQ_INSERT_TAIL(line, unit, line);
	destination->ready_count++;
	if (unit->message->is_notification)
		destination->notice_count++;
	else
		destination->flow_bits |= 1u << (unit->message->flow % DESTINATION_FLOW_COUNT);
}

void
destination_remove(struct destination *destination, struct unit *unit)
{
	struct unit_line *line = line_of(destination, unit);

	TAILQ_REMOVE(line, unit, line);
	destination->ready_count--;
	if (unit->message->is_notification)
		destination->notice_count--;
	else if (TAILQ_EMPTY(line))
		destination->flow_bits &= ~(1u << (unit->message->flow % DESTINATION_FLOW_COUNT));
}

struct unit *
destination_take(struct destination *destination)
{
	struct unit *unit;
	uint32_t bits = destination->flow_bits;

	if (destination->notice_count > 0 &&
	    (bits == 0 || destination->turn % DESTINATION_NOTICE_TURN == 0)) {
		unit = TAILQ_FIRST(&destination->notices);
	} else if (bits != 0) {
		uint32_t later = bits & (UINT32_MAX << destination->flow_next);
		uint32_t flow = (uint32_t)__builtin_ctz(later ? later : bits);

		unit = TAILQ_FIRST(&destination->flows[flow]);
		destination->flow_next = (flow + 1) % DESTINATION_FLOW_COUNT;
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
