#ifndef RELAY_OUTBOUND_DISPATCH_H
#define RELAY_OUTBOUND_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <uthash.h>

#include "queue/queue.h"
#include "queue/reason.h"
#include "queue/retry.h"
#include "relay/base/heap.h"
#include "relay/base/random.h"
#include "relay/outbound/destination.h"

/*
 * The dispatcher: which unit is tried when, on which hosts, by which worker.
 * Pure: time and chance are arguments, deeds are operations of its owner, so
 * that days of retries are a test of seconds.  One thread: the hub.
 *
 * A unit is those recipients of one message that go to one destination together.
 * It is always in exactly one state, and leaves RUNNING by exactly one of the
 * calls dispatch_ready(), dispatch_defer(), dispatch_settle().
 */
enum unit_state {
	UNIT_NEW,               /* not placed yet */
	UNIT_RESOLVING,         /* in the line of its domain */
	UNIT_READY,             /* in the line of its destination */
	UNIT_WAITING,           /* deferred until due_ms */
	UNIT_RUNNING,           /* an attempt is under way */
	UNIT_SETTLING,          /* its end is being recorded */
};

struct unit {
	struct message *message;
	TAILQ_ENTRY(unit) of_message;
	struct destination *destination;        /* NULL while not known */
	struct domain *domain;                  /* NULL for named hosts */
	TAILQ_ENTRY(unit) line;
	struct heap_node deadline;
	int64_t deadline_ms;                    /* the next thing that time does to it */
	int64_t due_ms;                         /* WAITING: not before */
	int64_t expire_ms;
	int64_t notice_ms;                      /* delay notice; INT64_MAX: none or given */
	int64_t state_ms;                       /* since when */
	struct host *bound;                     /* may have it already: only this host, */
	int64_t bound_ms;                       /* until then */
	enum unit_state state;
	enum retry_class class;                 /* of the last deferral */
	uint32_t class_count;                   /* deferrals in a row with it */
	uint32_t attempt_count;
	uint8_t lost_count;                     /* connections lost under it, in a row */
	bool tried;                             /* since this start */
	void *history;                          /* the owner's */
	uint32_t rcpt_count;
	uint32_t rcpts[];
};

/* The part of a message that the dispatcher looks at; the owner's struct has it first. */
struct message {
	queue_id id;
	TAILQ_HEAD(, unit) units;
	uint32_t unit_count;
	uint32_t running_count;
	uint32_t flow;                          /* a hash of the sender */
	bool is_notification;
	bool found_at_start;
};

/* The exchangers of a mail domain, as long as they are known. */
enum domain_state {
	DOMAIN_UNKNOWN,
	DOMAIN_RESOLVING,
	DOMAIN_KNOWN,
};

struct domain {
	UT_hash_handle hh;
	char *key;                              /* "route domain" */
	char *name;                             /* within key */
	const struct route *route;
	struct route_table *table;              /* referenced */
	enum domain_state state;
	struct destination *destination;        /* KNOWN */
	int64_t expires_ms;
	struct unit_line waiting;
	uint64_t unit_count;                    /* that name it, in whatever state */
	void *question;                         /* the owner's */
};

/* How an attempt is to be made. */
struct dispatch_order {
	uint8_t hosts[DESTINATION_HOST_COUNT_MAX];      /* indices into the destination's */
	size_t host_count;
	size_t worker;
	uint32_t connection_max;                /* of this worker for this destination */
};

struct dispatch_ops {
	/* Begin an attempt.  Its end comes later, never from inside. */
	void (*start)(void *ctx, struct unit *unit, const struct dispatch_order *order);

	/* Find the exchangers; dispatch_resolved() or the owner's own end for each unit. */
	void (*resolve)(void *ctx, struct domain *domain);

	/* Its time is over: the unit is SETTLING, the owner records it and settles it. */
	void (*expire)(void *ctx, struct unit *unit);

	/* It has waited without a route: place it again, or defer it. */
	void (*reroute)(void *ctx, struct unit *unit);

	/*
	 * The host that may have it had its time: from here it may go elsewhere.  May be NULL.
	 * Said only where there is another host.
	 */
	void (*rebound)(void *ctx, struct unit *unit, const struct host *was);

	/* The sender is owed a word that it takes long.  Once for each unit that waits. */
	void (*notice)(void *ctx, struct unit *unit);
};

struct dispatch_settings {
	struct random *random;
	const struct dispatch_ops *ops;
	void *ctx;
	size_t worker_count;
	size_t running_max;             /* jobs at a time, all together */
	size_t host_max;                /* hosts in one attempt */
	struct breaker_settings breaker;        /* of foreign hosts */
	uint64_t probe_own_ms;                  /* longest backoff of own nodes */
};

struct dispatch {
	struct dispatch_settings settings;
	struct heap deadlines;          /* units */
	struct heap wakes;              /* destinations whose hosts are all down */
	TAILQ_HEAD(, destination) active;
	struct host *hosts;
	struct destination *destinations;
	struct domain *domains;
	uint64_t destination_number;
	size_t *worker_running;         /* jobs of each worker */
	size_t running_count;
	size_t unit_count;
	size_t message_count;
	bool paused;                    /* nothing is started */
};

void dispatch_init(struct dispatch *dispatch, const struct dispatch_settings *settings);

/* All messages must be gone. */
void dispatch_fini(struct dispatch *dispatch);

/* ---- destinations and domains ---- */

struct dispatch_host {
	const char *name;               /* "relay2.example.net:25" */
	uint16_t preference;
	uint16_t weight;
};

/* Found by key, or made with these hosts.  *created_out says which. */
struct destination *dispatch_destination(struct dispatch *dispatch, const char *key,
    const char *name, const struct route *route, const struct dispatch_host *hosts,
    size_t host_count, uint64_t now_ms, bool *created_out);

/*
 * The host of that name, reached as ROUTE wants it, known or made.  Without a route NAME is the key
 * of one.
 */
struct host *dispatch_host(struct dispatch *dispatch, const char *name, const struct route *route,
    uint64_t now_ms);

/*
 * Those that an operator calls NAME, one after the other: by their own name, which several have
 * whose first exchanger is the same, or by key; if there is none, those of the route of that name.
 */
struct destination *dispatch_next_destination(const struct dispatch *dispatch, struct span name,
    const struct destination *last);

/* Gives up destinations and domains that nothing needs; drop() frees the owner's parts. */
void dispatch_sweep(struct dispatch *dispatch, uint64_t idle_ms, uint64_t now_ms,
    void (*drop)(void *ctx, struct destination *destination), void *ctx);

struct domain *dispatch_domain(struct dispatch *dispatch, struct span name,
    const struct route *route, struct route_table *table);
void dispatch_resolved(struct dispatch *dispatch, struct domain *domain,
    struct destination *destination, uint64_t ttl_ms, uint64_t now_ms);

/* The answer was of no use: the domain is unknown again; take the units one by one. */
void dispatch_unresolved(struct dispatch *dispatch, struct domain *domain);
struct unit *dispatch_take_unresolved(struct dispatch *dispatch, struct domain *domain);

void dispatch_suspend(struct dispatch *dispatch, struct destination *destination,
    struct span reason, int64_t until_ms, uint64_t now_ms);
void dispatch_resume(struct dispatch *dispatch, struct destination *destination,
    uint64_t now_ms);
void dispatch_hurry(struct dispatch *dispatch, struct destination *destination,
    uint64_t now_ms);
void dispatch_hurry_host(struct dispatch *dispatch, struct host *host, uint64_t now_ms);

/* ---- messages and units ---- */

void dispatch_add_message(struct dispatch *dispatch, struct message *message);

/* Without units. */
void dispatch_remove_message(struct dispatch *dispatch, struct message *message);

/* A unit in state NEW with room for RCPT_COUNT recipients, which the caller fills in. */
struct unit *dispatch_add_unit(struct dispatch *dispatch, struct message *message,
    uint32_t rcpt_count);

/*
 * A second unit beside this one, with the same destination, times and counts, and
 * room for so many recipients: recipients of one unit part.  State NEW.
 */
struct unit *dispatch_part_unit(struct dispatch *dispatch, const struct unit *unit,
    uint32_t rcpt_count);

/* Frees it; it must not be RUNNING. */
void dispatch_settle(struct dispatch *dispatch, struct unit *unit);

/*
 * Give it its place, before or after an attempt: due now by domain or by
 * destination, or later.  `domain` is NULL for named hosts.  With neither of them it
 * waits for its due time, and is then the owner's to reroute.
 */
void dispatch_place(struct dispatch *dispatch, struct unit *unit, struct domain *domain,
    struct destination *destination, uint64_t now_ms);

/* Back into the line (in front if the attempt did not even begin). */
void dispatch_ready(struct dispatch *dispatch, struct unit *unit, bool in_front,
    uint64_t now_ms);
void dispatch_defer(struct dispatch *dispatch, struct unit *unit, int64_t due_ms,
    uint64_t now_ms);

/* Its end is being recorded: out of all lines. */
void dispatch_settling(struct dispatch *dispatch, struct unit *unit, uint64_t now_ms);

/* It may be at this host already: no other until then.  NULL unties it. */
void dispatch_bind(struct unit *unit, struct host *host, int64_t until_ms);

/* Changed expire_ms or notice_ms: set its deadline anew. */
void dispatch_update_deadline(struct dispatch *dispatch, struct unit *unit);

/* ---- attempts ---- */

/* The job of this unit came back: counters of destination and worker. */
void dispatch_returned(struct dispatch *dispatch, struct unit *unit, size_t worker,
    uint32_t connections, uint64_t now_ms);
void dispatch_connections(struct dispatch *dispatch, struct destination *destination,
    size_t worker, uint32_t connections);

/*
 * Each host of the order gets one of these three, before dispatch_returned().
 * In front of good() and bad(): whether it was found to be this relay itself.
 * PROVEN as window_success() wants it.  True: the breaker closed, or opened, by it.
 */
void dispatch_host_is_own(struct dispatch *dispatch, struct host *host, bool is_own);
bool dispatch_host_good(struct dispatch *dispatch, struct destination *destination,
    size_t host, uint32_t proven, uint64_t now_ms);
bool dispatch_host_bad(struct dispatch *dispatch, struct destination *destination,
    size_t host, enum retry_class class, struct span error, uint64_t begun_ms,
    uint64_t now_ms);

/* It was in the order and was not reached. */
void dispatch_host_unused(struct dispatch *dispatch, struct destination *destination,
    size_t host, uint64_t now_ms);

/* ---- time ---- */

/*
 * Does what time asks for and starts what can be started, at most COUNT_MAX of
 * both.  True: there is more to do now.
 */
bool dispatch_run(struct dispatch *dispatch, size_t count_max, uint64_t now_ms);

/* When dispatch_run() has something to do again; INT64_MAX: never. */
int64_t dispatch_next_ms(const struct dispatch *dispatch);

/* ---- looking ---- */

/* What a deferral of this class waits for. */
enum queue_reason dispatch_class_reason(enum retry_class class);

/* Why it waits, now. */
enum queue_reason dispatch_reason(const struct dispatch *dispatch, const struct unit *unit,
    uint64_t now_ms);
enum queue_reason dispatch_destination_reason(const struct dispatch *dispatch,
    const struct destination *destination, uint64_t now_ms);

/* The earliest next attempt; 0: as soon as there is room; INT64_MAX: not known. */
int64_t dispatch_unit_next_ms(const struct dispatch *dispatch, const struct unit *unit,
    uint64_t now_ms);

#endif
