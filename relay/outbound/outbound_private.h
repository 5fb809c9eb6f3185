#ifndef RELAY_OUTBOUND_OUTBOUND_PRIVATE_H
#define RELAY_OUTBOUND_OUTBOUND_PRIVATE_H

#include <sys/queue.h>

#include "relay/base/arena.h"
#include "relay/outbound/bounce.h"
#include "relay/outbound/dispatch.h"
#include "relay/outbound/history.h"
#include "relay/outbound/job.h"
#include "relay/outbound/outbound.h"
#include "relay/outbound/pool.h"

/*
 * Between the files of the hub's part only:
 *
 *	outbound.c              birth, workers, time, the end
 *	outbound_config.c       what a reload changes
 *	outbound_letter.c       messages come, are placed, go
 *	outbound_job.c          attempts begin and come back
 *	outbound_outcome.c      what became of recipients
 *	outbound_domain.c       mail domains are looked up
 *	outbound_failure.c      what senders are told of
 *	outbound_telling.c      who is told of which recipients
 *	outbound_memory.c       what is known over a restart
 *	outbound_steer.c        verbs
 *	outbound_view.c         lists and explanations
 */
enum {
	/* Envelopes of waiting mail kept in memory; of the others the worker reads them again. */
	OUTBOUND_ENVELOPES_MAX = 4096,
	OUTBOUND_TURN_MAX = 2000,       /* starts and deadlines in one turn */
	OUTBOUND_PLACE_MAX = 500,       /* letters routed anew in one turn */
	OUTBOUND_RATE_COUNT = 256,
	/* Parts of one message under way at a time; the queue has room for 64 records of them. */
	OUTBOUND_BATCHES_MAX = 48,
};

/* What is to happen to a message when nothing of it is under way any more. */
enum letter_wish {
	WISH_NONE,
	WISH_HOLD,
	WISH_DROP,
	WISH_BOUNCE,
};

struct letter {
	struct message message;                 /* must be first */
	struct outbound *outbound;
	TAILQ_ENTRY(letter) of_all;
	TAILQ_ENTRY(letter) of_kept;            /* while `envelope` is not NULL */
	/* while is_pending: something to tell at turn's end */
	TAILQ_ENTRY(letter) of_pending;
	struct envelope *envelope;
	int64_t arrived_ms;                     /* monotonic; may be negative */
	uint64_t body_bytes;
	uint32_t rcpt_count;
	uint32_t epoch;                         /* of the routes it was placed by */
	bool null_sender;
	bool notice_sent;                       /* the delay notice, or none is owed */
	bool notice_due;
	bool is_pending;
	bool revoked;                           /* the queue has let it go */
	bool offered_again;                     /* meanwhile */
	bool is_fetching;                       /* its envelope, to be placed by it */
	bool was_fetched;                       /* once, for these routes */
	struct token fetch_token;
	struct telling *telling;                /* a notification is being made */
	struct job_line waiting;                /* jobs for which no batch is free */
	uint32_t batch_count;                   /* of parts of it, under way */
	STAILQ_HEAD(, failing) failing;         /* settling units that wait for a notification */
	enum letter_wish wish;
	struct verb *verb;                      /* of the wish, until it is granted */
	bool is_steered;                        /* the queue has been asked for the wish */
};

/* Recipients whose sender is to be told, with the words; their unit is SETTLING. */
struct failing {
	STAILQ_ENTRY(failing) next;
	struct unit *unit;
	enum dsn_action action;                 /* FAILED, or what the sender asked to hear of */
	bool expired;
	bool tried;                             /* by an attempt that is counted and logged here */
	size_t count;
	struct failed_rcpt {
		uint32_t rcpt;
		struct reply reply;             /* code 0: the last words of the envelope */
		char host[JOB_PEER_BYTES];
	} rcpts[];
};

struct worker {
	struct outbound *outbound;
	size_t number;
	struct loop *loop;
	struct pool *pool;
	bool stopped;                           /* the hub's word */
	struct loop_post stop_post;             /* there */
	struct loop_post stopped_post;          /* and back */
	uint64_t grace_ms;
};

struct tls_set {
	char *name;
	struct tls_context **contexts;          /* of each worker */
};

struct outbound {
	struct outbound_settings settings;
	struct loop *hub;
	struct queue *queue;
	struct dispatch dispatch;
	struct resolver_client *resolver;
	struct stats_cells *cells;
	struct worker *workers;
	size_t worker_count;

	/* the configuration in force */
	struct route_table *routes;
	struct destination **named;             /* of the routes with named hosts, when known */
	uint32_t epoch;
	struct outbound_config config;          /* numbers and endpoints; texts below */
	char *hostname;
	char *postmaster;
	struct tls_set *tls;
	size_t tls_count;
	struct endpoint source_ipv4, source_ipv6;
	struct endpoint *own_addresses;
	struct retry_policy retry_without_route;

	TAILQ_HEAD(letter_list, letter) letters;        /* placed by old routes in front */
	TAILQ_HEAD(, letter) kept;
	TAILQ_HEAD(, letter) pending;
	TAILQ_HEAD(, letter) zombies;           /* revoked while something of them is under way */
	size_t kept_count;
	TAILQ_HEAD(, verb) verbs;               /* the queue is being asked for them */
	SLIST_HEAD(, remembered) remembered;    /* suspensions of the life before, not used yet */
	struct job_line jobs;                   /* out with the workers, or about to be */
	uint64_t job_serial;
	struct history_words *words;

	struct loop_timer timer;
	struct loop_timer sweep;
	struct loop_task turn_end;
	bool stopping;
	bool no_log;                            /* the queue can record nothing */
	void (*stopped)(void *ctx);
	void *stopped_ctx;

	struct notice_rate {                    /* by a hash of the sender */
		uint64_t minute;
		uint32_t count;
	} notice_rates[OUTBOUND_RATE_COUNT];
};

enum outbound_stat {
	OUTBOUND_STAT_ATTEMPTS,
	OUTBOUND_STAT_DELIVERED,
	OUTBOUND_STAT_DEFERRED,
	OUTBOUND_STAT_FAILED,
	OUTBOUND_STAT_EXPIRED,
	OUTBOUND_STAT_UNCERTAIN,
	OUTBOUND_STAT_DISCARDED,
	OUTBOUND_STAT_NOTICES,
	OUTBOUND_STAT_BREAKER_OPENED,
	OUTBOUND_STAT_BREAKER_CLOSED,
	OUTBOUND_STAT_COUNT
};

static inline uint64_t
outbound_now(const struct outbound *outbound)
{
	return loop_now_ms(outbound->hub);
}

static inline struct letter *
letter_of(const struct unit *unit)
{
	return (struct letter *)(void *)unit->message;
}

/* Wall time of a moment of the hub's monotonic time; 0 for never. */
int64_t outbound_wall_of(const struct outbound *outbound, int64_t at_ms);

/* Something changed: act at the end of the turn. */
void outbound_wake(struct outbound *outbound);

/* ---- outbound_config.c ---- */

void outbound_drop_config(struct outbound *outbound);
void outbound_release_named(struct outbound *outbound);

/* The destination of a route with named hosts. */
struct destination *outbound_named_destination(struct outbound *outbound,
    const struct route *route);

/* One with these hosts; `table` is the one that `route` is in. */
struct destination *outbound_destination(struct outbound *outbound, const char *key,
    const char *name, const struct route *route, struct route_table *table,
    const struct way_host *hosts, const struct dispatch_host *places, size_t host_count);
void outbound_destination_dropped(void *ctx, struct destination *destination);

/* ---- outbound_letter.c ---- */

/* Route all units that are not under way anew. */
void letter_place(struct letter *letter);
void letter_reroute(void *ctx, struct unit *unit);
void letter_rebound(void *ctx, struct unit *unit, const struct host *was);
void letter_keep_envelope(struct letter *letter, struct envelope *envelope);
struct envelope *letter_take_envelope(struct letter *letter);

/* Something of it has come to an end: go on with what waited for that; may free it. */
void letter_settled(struct letter *letter);

/* Frees it with its units; nothing of it is under way. */
void letter_free(struct letter *letter);
const struct retry_policy *letter_policy(const struct outbound *outbound,
    const struct unit *unit);
uint64_t letter_age_ms(const struct letter *letter, uint64_t now_ms);

/* Route letters anew that were placed by old routes; true: there are more. */
bool letters_place_some(struct outbound *outbound);

/* ---- outbound_steer.c ---- */

/* Nothing of it is under way: hold it or remove it now. */
void letter_grant_wish(struct letter *letter);

void outbound_free_verbs(struct outbound *outbound);

/* The message is gone before its wish was granted: the caller is told. */
void letter_forget_verb(struct letter *letter);

/* ---- outbound_memory.c ---- */

void memory_changed(struct outbound *outbound);

/* A destination is there now that was known in the life before. */
void memory_apply(struct outbound *outbound, struct destination *destination);
void memory_free(struct outbound *outbound);

/* ---- outbound_job.c ---- */

void job_start(void *ctx, struct unit *unit, const struct dispatch_order *order);
void job_cancel_all(struct outbound *outbound, struct letter *letter);
void job_post_back(struct outbound *outbound, struct job *job);

/* ---- outbound_outcome.c ---- */

/* Record what a job that was tried or cut says, and place what is left of the unit. */
void outcome_apply(struct outbound *outbound, struct job *job, struct unit *unit);

/* Nothing was tried: a batch that was recorded for it is closed again. */
void outcome_close_batch(struct outbound *outbound, struct job *job);

/* ---- outbound_domain.c ---- */

void domain_resolve(void *ctx, struct domain *domain);
void domain_cancel_all(struct outbound *outbound);

/* ---- outbound_failure.c ---- */

/*
 * The unit has failed: its recipients and words.  Takes `failing`; the unit must not
 * be under way.  The notification is made at the end of the turn, or later when
 * more of the message is under way.
 */
void failure_add(struct outbound *outbound, struct unit *unit, struct failing *failing);
struct failing *failing_new(struct unit *unit, size_t rcpt_count);
void failure_expire(void *ctx, struct unit *unit);
void failure_notice(void *ctx, struct unit *unit);

/* All that can be begun now. */
void failure_run_pending(struct outbound *outbound);

/* Something of the message has come to an end: a notification that waited may begin. */
void failure_go_on(struct letter *letter);

/* The message goes: whatever is being made for it is given up. */
void failure_abandon(struct letter *letter);

#endif
