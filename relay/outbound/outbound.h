#ifndef RELAY_OUTBOUND_OUTBOUND_H
#define RELAY_OUTBOUND_OUTBOUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/queue.h"
#include "queue/reason.h"
#include "queue/retry.h"
#include "relay/base/buf.h"
#include "relay/base/err.h"
#include "relay/base/random.h"
#include "relay/base/span.h"
#include "relay/base/stats.h"
#include "relay/mail/reply.h"
#include "relay/net/loop.h"
#include "relay/net/resolver.h"
#include "relay/net/tls.h"
#include "relay/outbound/breaker.h"
#include "relay/outbound/route.h"
#include "relay/outbound/window.h"

/*
 * The way out: takes the messages that the queue offers, finds out where they
 * go, delivers them through the workers and records what became of them.
 *
 * Everything here is called on the hub.  One object a relay; it owns the
 * destinations and what it keeps on the workers.
 */
struct outbound;

/* A worker as the relay's owner made it.  Both are borrowed and outlive the outbound. */
struct outbound_worker {
	struct loop *loop;
	struct queue_port *port;        /* the worker's own handle of the queue */
};

struct outbound_settings {
	struct loop *hub;
	struct queue *queue;
	struct resolver *resolver;
	struct random *random;          /* used on the hub only */
	struct stats *stats;
	const struct outbound_worker *workers;
	size_t worker_count;            /* at least 1 */
	/* What outbound_memory() prints has changed; may be NULL.  From inside, often. */
	void (*memory_changed)(void *ctx);
	void *ctx;
};

/* A `tls` section as far as going out needs it. */
struct outbound_tls {
	const char *name;
	struct tls_client_settings client;
};

/*
 * What a reload may change.  Strings, tables and settings are copied; the route
 * table is referenced.  0 takes the default everywhere.
 */
struct outbound_config {
	struct route_table *routes;
	const char *hostname;                   /* for EHLO and notifications */
	const struct outbound_tls *tls;         /* the first is for routes that name none */
	size_t tls_count;                       /* 0: the system's CAs, no certificate of ours */
	const char *postmaster;                 /* gets undeliverable notifications; NULL: none */
	const struct endpoint *source_ipv4;     /* of connections; NULL: the kernel's choice */
	const struct endpoint *source_ipv6;
	const struct endpoint *own_addresses;   /* of our listeners: MX that lead here are loops */
	size_t own_address_count;
	uint32_t connection_max;                /* all destinations together; 0: 1000 */
	uint32_t attempt_host_max;              /* hosts tried in one attempt; 0: 10 */
	uint64_t probe_own_ms;                  /* longest time between probes; 0: 10 s */
	uint64_t probe_ms;                      /* the same for foreign hosts; 0: 5 minutes */
	uint64_t notice_bytes_max;              /* full message returned up to this; 0: 50 kB */
	uint32_t notice_rate_max;               /* notifications a minute to one sender; 0: 60 */
	uint64_t uncertain_hold_ms;             /* bound to a host that may have it; 0: 4 hours */
	struct breaker_settings breaker;        /* its longest backoff is one of the two above */
};

/* outbound_configure() must follow before anything is offered. */
struct outbound *outbound_new(const struct outbound_settings *settings);

/*
 * Builds what the configuration needs (a TLS context a worker and `tls`
 * section), then changes over at once; on failure nothing has changed.  Waiting
 * mail is routed anew at its next attempt, attempts under way end as they began.
 */
int outbound_configure(struct outbound *outbound, const struct outbound_config *config,
    struct err *err);

/* The same check without a running relay, for `relayd -n`. */
int outbound_config_check(const struct outbound_config *config, struct err *err);

/*
 * What is worth more than one life of the process, as text for a file: suspensions, and hosts
 * that are down with the time of their next probe.  remember() is for what the life before
 * printed, after the first configure and before anything is offered; it believes nothing that
 * it does not understand.
 */
void outbound_memory(const struct outbound *outbound, struct buf *out);
void outbound_remember(struct outbound *outbound, struct span text);

/*
 * The end.  No new attempt begins; those under way have GRACE_MS, then they are
 * cut and their recipients deferred (or uncertain).  stopped() comes once, when
 * every outcome has been handed to the queue and nothing of ours runs on a
 * worker; the loops of hub and workers must run until then.
 */
void outbound_stop(struct outbound *outbound, uint64_t grace_ms, void (*stopped)(void *ctx),
    void *ctx);

/*
 * After stopped(), or when no worker loop runs any more; the queue is still open.
 * What the queue had not answered yet is not waited for.
 */
void outbound_free(struct outbound **outbound);

/* ------------------------------------------------------------------ from the queue */

/*
 * What struct queue_events says, handed on by the relay's owner.  The outbound owns
 * the queue's word for a message (queue_set_user()); nobody else may set it.
 */
void outbound_offered(struct outbound *outbound, const struct queue_item *item,
    struct envelope **envelope);
void outbound_revoked(struct outbound *outbound, queue_id id, void *user);
void outbound_changed(struct outbound *outbound, const struct queue_item *item);

/* PRESSURE_NO_LOG: no outcome can be recorded, so no attempt begins until it is over. */
void outbound_pressure(struct outbound *outbound, enum queue_pressure pressure);

/* ------------------------------------------------------------------ for the commands */

/* Which route would take it: `relayctl route`.  Borrowed until the next configure. */
struct route_match outbound_route(const struct outbound *outbound,
    const struct route_question *question);

/* The table in force, for inbound's workers: route_table_ref() it. */
struct route_table *outbound_routes(const struct outbound *outbound);

/*
 * Try now: what waits for its time is due, and the breakers of its hosts let a
 * probe pass.  False or 0 when there is no such thing.
 */
bool outbound_retry(struct outbound *outbound, queue_id id);
size_t outbound_retry_destination(struct outbound *outbound, struct span name);
size_t outbound_retry_all(struct outbound *outbound);

/*
 * Hold, release or drop (nobody is told) a message.  While an attempt is under
 * way its outcome counts first: it is asked to end, and what is not delivered
 * then is held or removed.  done() comes once, not before the return, when it
 * is durable, with NULL, or with what was wrong.
 */
typedef void outbound_verb_done(void *ctx, const struct err *err);
void outbound_hold(struct outbound *outbound, queue_id id, outbound_verb_done *done, void *ctx);
void outbound_release(struct outbound *outbound, queue_id id, outbound_verb_done *done, void *ctx);
void outbound_drop(struct outbound *outbound, queue_id id, outbound_verb_done *done, void *ctx);

/*
 * Give it up: whatever recipient is open fails, and its sender is told as of any failure.  Also
 * what is held.  done() says that this has begun: it goes on behind, at the pace of
 * notifications, and is forgotten if the program ends before.
 */
void outbound_bounce(struct outbound *outbound, queue_id id, outbound_verb_done *done, void *ctx);

/*
 * No attempts for a destination, until a time (0: until resumed), over a restart too; false: it
 * is not known.  One with named hosts is known by the name of its route from the start.
 */
bool outbound_suspend(struct outbound *outbound, struct span destination, struct span reason,
    int64_t until_wall_ms);
bool outbound_resume(struct outbound *outbound, struct span destination);

/* One attempt of the past.  Spans are borrowed. */
struct outbound_attempt {
	int64_t at_wall_ms;
	struct span host;               /* "relay2.example.net[192.0.2.7]:25", or its name */
	struct span words;              /* "451 4.7.1 greylisted", "connect timeout" */
	enum retry_class class;
};

/* Recipients of one message that go together: why they wait, until when, what ends it. */
struct outbound_unit {
	queue_id id;
	const uint32_t *rcpts;          /* indices into the envelope */
	size_t rcpt_count;
	enum queue_reason reason;
	struct span destination;        /* "" while not known */
	struct span route;
	struct span route_where;        /* "relayd.conf:17" */
	int64_t since_wall_ms;          /* of the reason; 0: not known */
	int64_t next_wall_ms;           /* the earliest next attempt; 0: as soon as there is room */
	int64_t expires_wall_ms;
	int64_t delay_notice_wall_ms;   /* 0: none or sent */
	uint64_t ready_before;          /* how many are ready at the destination, this one too */
	uint32_t attempt_count;
	struct span because;            /* in words, "" if there is nothing to add to the reason */
	const struct outbound_attempt *attempts;        /* the newest, oldest first */
	size_t attempt_count_kept;
};

typedef void outbound_visit_unit(void *ctx, const struct outbound_unit *unit);

/* False when the message is not here.  For list, show and explain. */
bool outbound_explain(const struct outbound *outbound, queue_id id, outbound_visit_unit *visit,
    void *ctx);

/* The one reason of a message for a list (of the unit that is tried next), cheap. */
struct outbound_summary {
	enum queue_reason reason;
	int64_t next_wall_ms;
	uint32_t attempt_count;
	struct span destination;
	size_t unit_count;
};

bool outbound_summary(const struct outbound *outbound, queue_id id,
    struct outbound_summary *summary_out);

struct outbound_host {
	struct span name;               /* "relay2:25" */
	enum breaker_state breaker;
	int64_t since_wall_ms;          /* of the state */
	int64_t probe_wall_ms;          /* the next one; 0 when closed */
	uint32_t failure_count;         /* in a row */
	struct span last_error;         /* "" if none */
	struct span tls;                /* "TLSv1.3 TLS_AES_256_GCM_SHA384", "none", or "" */
};

struct outbound_destination {
	struct span name;
	struct span route;
	struct span route_where;
	enum queue_reason reason;       /* what its ready mail waits for; REASON_READY if nothing */
	const struct outbound_host *hosts;
	size_t host_count;
	uint64_t ready_count;           /* units */
	uint64_t waiting_count;         /* units that wait for a time of their own */
	uint32_t running_count;         /* jobs */
	uint32_t connection_count;
	struct window window;
	uint64_t delivered_count;       /* recipients, since it is known */
	uint64_t deferred_count;
	uint64_t failed_count;
	uint64_t uncertain_count;
	struct span suspend_reason;     /* "" if not suspended */
	int64_t suspend_until_wall_ms;
};

typedef void outbound_visit_destination(void *ctx, const struct outbound_destination *it);

/* All that are known. */
void outbound_destinations(const struct outbound *outbound, outbound_visit_destination *visit,
    void *ctx);

/* A neighbour of ours has greeted us with EHLO: probe its hosts now, if they are down. */
void outbound_neighbour_seen(struct outbound *outbound, struct span hello_name);

struct outbound_totals {
	uint64_t message_count;
	uint64_t unit_count;
	uint64_t running_count;
	uint64_t connection_count;
	uint64_t by_reason[REASON_COUNT];
};

void outbound_totals(const struct outbound *outbound, struct outbound_totals *totals_out);

#endif
