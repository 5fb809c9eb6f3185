#ifndef RELAY_OUTBOUND_POOL_PRIVATE_H
#define RELAY_OUTBOUND_POOL_PRIVATE_H

#include <sys/queue.h>
#include <uthash.h>

#include "relay/outbound/body_feed.h"
#include "relay/outbound/pool.h"

/*
 * Between pool.c, attempt.c and attempt_outcome.c only.
 *
 * A site is a destination as this worker sees it.  A link is one connection of it;
 * an attempt is one job that runs, with at most one link at a time.  A link that
 * no attempt has is idle or on its way out.
 */
struct attempt;

struct link {
	struct site *site;
	TAILQ_ENTRY(link) of_site;
	TAILQ_ENTRY(link) of_pool;      /* idle ones, the longest idle first */
	struct way *way;                /* referenced */
	struct call *call;
	struct attempt *attempt;        /* that uses it; NULL: idle or leaving */
	uint8_t host;
	bool idle;
	uint32_t message_count;
};

struct site {
	UT_hash_handle hh;
	uint64_t destination;
	struct pool *pool;
	struct way *way;                /* the newest; referenced */
	uint32_t connection_max;
	uint32_t link_count;
	uint32_t attempt_count;
	size_t rcpt_count_max;          /* recipients it took in one transaction; 0: all so far */
	TAILQ_HEAD(, link) links;
	struct job_line waiting;                /* with their envelopes: for a connection */
	bool is_starved;                /* on the pool's line: waits for room */
	TAILQ_ENTRY(site) starved;
};

struct attempt {
	struct pool *pool;
	struct site *site;
	TAILQ_ENTRY(attempt) of_pool;
	struct job *job;
	struct link *link;
	size_t at;                      /* of the job's hosts: the one being tried */
	bool opened;                    /* the link was opened for this attempt */
	bool again;                     /* this host is tried a second time: the first was stale */
	bool sending;
	struct resolver_question *question;
	struct body_feed feed;
	bool feeding;
	size_t *rcpts;                  /* still to be tried, indices into the envelope */
	size_t rcpt_count;
	size_t sent_count;              /* of rcpts: in the transaction under way */
	size_t *again_rcpts;            /* the peer wants them in a transaction of their own */
	size_t again_count;
};

struct pool {
	struct pool_settings settings;
	const struct pool_ops *ops;
	void *ctx;
	struct resolver_client *resolver;
	struct site *sites;
	TAILQ_HEAD(, attempt) attempts;
	TAILQ_HEAD(, link) idle;
	TAILQ_HEAD(, site) starved;
	struct job_line fetching;               /* jobs whose envelope is being read */
	uint32_t link_count;
	bool stopping;
	bool stopped;
	struct loop_timer grace;
	struct loop_task check_stop;
};

/* ---- attempt.c ---- */

/* Begins with this idle link, or without one; never ends before it returns. */
void attempt_start(struct site *site, struct job *job, struct link *link);

/* Ends it now; the job goes back with what is known. */
void attempt_cut(struct attempt *attempt, bool force);

/* ---- attempt_outcome.c ---- */

/* The unit's recipients are in ascending order. */
struct job_outcome *attempt_outcome_of(struct job *job, size_t rcpt);

/*
 * A transaction is over.  What is left to do is in attempt->again_rcpts, for another one
 * with this host, and in attempt->rcpts, for other hosts.
 */
void attempt_hear_all(struct attempt *attempt, const struct call_outcome *outcomes,
    size_t count);

/* ---- pool.c ---- */

/* An idle link of the site to that host, taken out of idleness; NULL: none. */
struct link *pool_take_idle(struct site *site, uint8_t host);

/* A new link that the attempt uses; its call is to be started. */
struct link *pool_add_link(struct attempt *attempt, uint8_t host);

/* It has taken as many messages as it takes. */
bool pool_link_is_spent(const struct link *link);

/* The attempt is through with it: next job, idle, or QUIT. */
void pool_release_link(struct link *link);

/* Its call has closed, or is given up now. */
void pool_drop_link(struct link *link);

/* The call of a link that no attempt uses has closed. */
void pool_idle_link_closed(struct link *link);

/* The attempt is over: its job goes back. */
void pool_finish(struct attempt *attempt);

#endif
