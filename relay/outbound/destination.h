#ifndef RELAY_OUTBOUND_DESTINATION_H
#define RELAY_OUTBOUND_DESTINATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uthash.h>

#include "queue/retry.h"
#include "relay/base/heap.h"
#include "relay/base/span.h"
#include "relay/outbound/breaker.h"
#include "relay/outbound/window.h"

/*
 * A next hop as the network sees it, with the units that could be sent to it now.
 * Pure: who owns it is the dispatcher, on the hub.
 *
 * Hosts are shared: two destinations with one host in common have one breaker.
 */
struct unit;
struct route;
struct route_table;
struct way;

enum {
	HOST_ERROR_BYTES = 200,
	HOST_TLS_BYTES = 100,
	DESTINATION_HOST_COUNT_MAX = 32,
};

struct host {
	UT_hash_handle hh;
	char *name;                     /* "relay2.example.net:25" */
	char *key;                      /* the name, and how it is to be reached */
	struct breaker breaker;
	LIST_HEAD(, destination_host) places;
	uint64_t bound_count;           /* units that may go to no other */
	bool is_own;                    /* as it was last looked up: this relay itself */
	enum retry_class error_class;   /* of the last failure */
	char last_error[HOST_ERROR_BYTES];
	char tls[HOST_TLS_BYTES];       /* of the last good connection */
};

struct destination_host {
	struct host *host;
	struct destination *destination;
	uint16_t preference;
	uint16_t weight;
	LIST_ENTRY(destination_host) of_host;
};

TAILQ_HEAD(unit_line, unit);

/* The ready units of one sender. */
struct flow {
	UT_hash_handle hh;
	uint32_t sender;                /* a hash of him */
	struct unit_line units;
	TAILQ_ENTRY(flow) turn;
};

/* What one worker has of it. */
struct destination_worker {
	uint32_t running;               /* jobs */
	uint32_t connections;           /* as it last said */
	uint32_t proven;                /* of them had taken mail, since the last failure */
};

struct destination {
	UT_hash_handle hh;
	char *key;
	char *name;                     /* for people */
	uint64_t number;                /* never used again */
	const struct route *route;      /* within table */
	struct route_table *table;      /* referenced */
	struct way *way;                /* how workers reach it; referenced */
	uint32_t epoch;                 /* of the configuration that route and way are from */
	struct destination_host *hosts;
	size_t host_count;
	struct destination_worker *workers;
	size_t worker_count;

	struct window window;
	uint32_t running_count;
	uint64_t rate_us;               /* the next attempt is not before, less what may burst */
	uint64_t attempt_count;         /* jobs that came back tried, since it is known */
	uint64_t waiting_count;         /* units that wait for a time of their own */
	uint64_t domain_count;          /* domains whose mail goes here */
	uint64_t used_ms;               /* when it last had something to do */

	bool suspended;
	int64_t suspend_until_ms;       /* INT64_MAX: until resumed */
	char *suspend_reason;

	/* Ready units: notifications, and the others in a flow for each sender who has some. */
	struct unit_line notices;
	struct flow *flows;
	TAILQ_HEAD(, flow) turns;       /* whose turn is next stands in front */
	uint32_t turn;
	uint64_t ready_count;
	uint64_t notice_count;

	/* The dispatcher's: on the line of those that can start, or in the heap by wake_ms. */
	bool is_active;
	TAILQ_ENTRY(destination) active;
	struct heap_node wake;
	int64_t wake_ms;

	uint64_t delivered_count;
	uint64_t deferred_count;
	uint64_t failed_count;
	uint64_t uncertain_count;
};

/* Sets up lines and counters of zeroed memory. */
void destination_init(struct destination *destination, size_t worker_count);

/* Frees what hangs on it; its lines must be empty. */
void destination_fini(struct destination *destination);

/* In at the end, or at the front when it only comes back. */
void destination_add(struct destination *destination, struct unit *unit, bool in_front);
void destination_remove(struct destination *destination, struct unit *unit);

/*
 * The next in fair order: senders take turns, and every fourth turn is a
 * notification's; neither waits for the other to end.  NULL when there is none.
 */
struct unit *destination_take(struct destination *destination);

/*
 * A host that mail may go to: one that is better than this relay, if this relay is among them.
 * We ourselves may be looked up again, since the name may lead elsewhere one day.
 */
bool destination_may_use(const struct destination *destination, size_t host);

/* Some host's breaker is closed. */
bool destination_is_open_for_mail(const struct destination *destination);

/* A worker has PROVEN connections now: those of all workers together. */
uint32_t destination_proven(struct destination *destination, size_t worker, uint32_t proven);

/* A failure, or a new beginning: what was proven is so no more. */
void destination_forget_proven(struct destination *destination);

/* When a host may be tried: 0 now, INT64_MAX not before something comes back. */
int64_t destination_allowed_ms(const struct destination *destination, uint64_t now_ms);

/*
 * When its rate allows an attempt; NOW or before: now.  rate_minute attempts a minute, evenly,
 * and not more than those of one second at once.
 */
int64_t destination_rate_ms(const struct destination *destination);
void destination_rate_take(struct destination *destination, uint64_t now_ms);

/* The attempt did not begin. */
void destination_rate_give_back(struct destination *destination);

/* Jobs it may have at a time. */
uint32_t destination_capacity(const struct destination *destination);

#endif
