/*
 * The world of dispatch_sim_test.c: kinds of destinations, letters, and what is looked for.
 */
#ifndef TESTS_UNIT_OUTBOUND_DISPATCH_SIM_H
#define TESTS_UNIT_OUTBOUND_DISPATCH_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/retry.h"
#include "relay/base/clock.h"
#include "relay/base/container_of.h"
#include "relay/base/heap.h"
#include "relay/base/mem.h"
#include "relay/base/random.h"
#include "relay/outbound/dispatch.h"
#include "relay/outbound/route.h"

enum {
	SECOND = 1000,
	MINUTE = 60 * SECOND,
	HOUR = 60 * MINUTE,
	SERVICE_MS = 50,
	CONNECT_TIMEOUT_MS = 5 * SECOND,
};

#define DAY ((int64_t)24 * HOUR)

enum kind {
	HEALTHY,
	DEAD,
	FLAPPING,               /* ten minutes up, ten minutes down */
	SLOW,                   /* twenty times slower than others */
	GREYLISTING,            /* the first attempt of each message is deferred */
	BACK_AFTER_A_DAY,
};

struct letter {
	struct message message;
	struct site *site;
	uint32_t attempts;
	int64_t arrived_ms;
	int64_t not_before_ms;
	bool noticed;
	bool ended;
};

struct site {
	enum kind kind;
	struct route *route;
	struct destination *destination;
	uint64_t delivered, expired, noticed;
	int64_t last_delivery_ms;
	int64_t first_after_return_ms;
	uint32_t in_flight, in_flight_max;
};

struct flight {
	struct heap_node place;
	int64_t at_ms;
	uint64_t sequence;
	struct unit *unit;
	struct dispatch_order order;
	uint64_t begun_ms;
	bool fresh;
	bool will_work;
};

struct sim {
	struct dispatch dispatch;
	struct random_seeded random;
	struct retry_policy policy;
	struct route_table *table;
	struct site *sites;
	size_t site_count;
	struct letter *letters;
	size_t letter_count;
	struct heap flights;
	uint64_t sequence;
	int64_t now_ms;
	uint64_t started, ended, too_early, late_ends;
};

#endif
