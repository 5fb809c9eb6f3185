#ifndef RELAY_SESSION_CREW_H
#define RELAY_SESSION_CREW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "relay/base/clock.h"
#include "relay/base/err.h"
#include "relay/base/log.h"
#include "relay/daemon/activation.h"
#include "relay/daemon/node_config.h"
#include "relay/net/conn.h"
#include "relay/net/endpoint.h"
#include "relay/net/loop.h"
#include "relay/net/tls.h"

/*
 * The workers of a daemon: threads, each with a loop, that accept connections and
 * serve them from the first byte to the last.  What a connection is served with is
 * the application's: the crew gives it the connection and the door it came through.
 *
 * The crew belongs to the hub's thread, where all its calls and reports are made but
 * for those marked "worker".  Hub and workers talk by loop_post().
 *
 * One address is one socket a worker (SO_REUSEPORT); a unix socket and one that was
 * inherited are accepted by the first worker, which hands connections out in turn.
 */
struct crew;
struct crew_worker;
struct crew_plan;

/* ------------------------------------------------------------------ what is served */

/* One listener section as one worker serves it.  Lives as long as its plan. */
struct crew_door {
	struct crew_plan *plan;
	const struct node_listener *listener;
	const struct node_limits *limits;
	const char *hostname;
	struct tls_context *tls;        /* the worker's own; NULL without TLS */
	void *app;                      /* of the plan */
};

struct crew_plan_settings {
	const struct node_config *config;       /* borrowed until app_release() */
	size_t worker_count;
	void *app;                              /* the application's own snapshot */
	void (*app_release)(void *app);         /* when the last holder lets go; any thread */
};

/*
 * A snapshot of everything that connections are served with: immutable, counted, for
 * every thread.  A session holds the one it began with.  Reads the certificates; on
 * failure app_release() is not called.
 */
struct crew_plan *crew_plan_new(const struct crew_plan_settings *settings, struct err *err);
struct crew_plan *crew_plan_ref(struct crew_plan *plan);
void crew_plan_unref(struct crew_plan **plan);
void *crew_plan_app(const struct crew_plan *plan);

/* ------------------------------------------------------------------ sessions (worker) */

/*
 * A session as the crew knows it, inside the application's own.  It holds the plan of
 * its door and counts against the limits from crew_session_begin() to _end().
 */
struct crew_session {
	LIST_ENTRY(crew_session) entry;
	struct crew_worker *worker;
	const struct crew_door *door;
	struct endpoint peer;
	void (*drain)(struct crew_session *session);    /* end when no mail is under way */
	void (*cut)(struct crew_session *session);      /* end now: crew_session_end() follows */
};

void crew_session_begin(struct crew_session *session, struct crew_worker *worker,
    const struct crew_door *door, const struct endpoint *peer);
void crew_session_end(struct crew_session *session);

struct loop *crew_worker_loop(const struct crew_worker *worker);
struct crew *crew_worker_crew(const struct crew_worker *worker);
size_t crew_worker_number(const struct crew_worker *worker);

/* A word of the application with each worker, set in worker_begin(). */
void *crew_worker_app(const struct crew_worker *worker);
void crew_worker_set_app(struct crew_worker *worker, void *app);

/* ------------------------------------------------------------------ the crew (hub) */

struct crew_ops {
	/* On the hub's thread, before the worker's runs: make what it needs. */
	int (*worker_begin)(void *ctx, struct crew_worker *worker, struct err *err);
	/* The counterpart, on the worker's thread, when its last session is gone. */
	void (*worker_end)(void *ctx, struct crew_worker *worker);
	/*
	 * Worker.  May be NULL.  Whether a client within the limits comes in; if not, "421"
	 * and these words are said to him, in clear, where that can be done.
	 */
	bool (*admit)(void *ctx, struct crew_worker *worker, const struct crew_door *door,
	    const struct endpoint *peer, const char **status_out, const char **words_out);
	/* Worker.  A connection, silent, that was admitted: takes it, begins a session. */
	void (*serve)(void *ctx, struct crew_worker *worker, const struct crew_door *door,
	    struct conn *conn);
};

struct crew_settings {
	struct loop *hub;
	const struct clock *clock;
	struct log *log;                /* each thread attaches itself; may be NULL */
	size_t worker_count;            /* at least 1 */
	struct crew_ops ops;
	void *ctx;
};

/* Makes the workers and calls worker_begin() for each; no thread runs yet. */
struct crew *crew_new(const struct crew_settings *settings, struct err *err);

/*
 * Opens every address of the plan (all or none) and starts the threads.  Takes over a
 * reference of the plan.  ACTIVATION may be NULL.  A failure says which address.
 */
int crew_start(struct crew *crew, struct crew_plan **plan, struct activation *activation,
    struct err *err);

/*
 * Changes to another plan: addresses that both have keep their sockets, new ones are
 * opened first, and only when all could be are the others closed, after what waits in
 * them was accepted.  done() comes once, with NULL or with what was wrong; then the
 * old plan is in force still.  Takes over a reference.  One at a time.
 */
void crew_reload(struct crew *crew, struct crew_plan **plan,
    void (*done)(void *ctx, const struct err *err), void *ctx);
bool crew_is_reloading(const struct crew *crew);

struct crew_plan *crew_current_plan(const struct crew *crew);

/* What is listened on, with the real port where 0 was asked for. */
size_t crew_address_count(const struct crew *crew);
const struct endpoint *crew_address(const struct crew *crew, size_t index,
    const struct node_listener **listener_out);

/*
 * Accept no more; sessions end when their mail is through; after GRACE_MS they are cut.
 * drained() comes once, when no session is left.  A second call with a shorter grace
 * hurries the first and has no drained() of its own.
 */
void crew_drain(struct crew *crew, uint64_t grace_ms, void (*drained)(void *ctx), void *ctx);

/* Sessions now, all workers; sessions since the start; those refused by a limit.  Any thread. */
size_t crew_session_count(const struct crew *crew);
uint64_t crew_session_total(const struct crew *crew);
uint64_t crew_refused_total(const struct crew *crew);

size_t crew_worker_count(const struct crew *crew);
struct crew_worker *crew_worker_at(const struct crew *crew, size_t number);

/*
 * Ends the threads: cuts what sessions are left, calls worker_end() on each worker and
 * waits for them.  Safe after a crew_new() alone; then worker_end() is called here.
 */
void crew_free(struct crew **crew);

#endif
