/*
 * What the files of the crew share.
 */
#ifndef RELAY_SESSION_CREW_PRIVATE_H
#define RELAY_SESSION_CREW_PRIVATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "relay/base/random.h"
#include "relay/net/listener.h"
#include "relay/net/tls.h"
#include "relay/net/work.h"
#include "relay/session/crew.h"
#include "relay/session/crew_admission.h"

struct crew_plan {
	atomic_uint holders;
	const struct node_config *config;
	size_t worker_count;
	size_t listener_count;
	struct crew_door *doors;        /* worker by worker, in each listener by listener */
	void *app;
	void (*app_release)(void *app);
};

const struct crew_door *crew_plan_door(const struct crew_plan *plan, size_t worker,
    size_t listener);

/* An address as the crew listens on it. */
struct crew_address {
	struct endpoint asked;          /* as written: its port may be 0 */
	struct endpoint real;
	size_t listener;                /* its number in the plan */
	int inherited_fd;               /* -1; only until it is opened */
	bool one_acceptor;              /* the first worker hands connections out */
};

/* One of them on one worker. */
struct crew_socket {
	LIST_ENTRY(crew_socket) entry;
	struct crew_worker *worker;
	struct endpoint asked;
	size_t listener;                /* in the worker's current plan */
	size_t listener_next;           /* in the plan being changed to */
	bool one_acceptor;
	bool keep;                      /* the plan being changed to has it too */
	bool fresh;                     /* opened for the plan being changed to */
	struct listener *open;
};

LIST_HEAD(crew_sockets, crew_socket);
LIST_HEAD(crew_sessions, crew_session);

struct crew_worker {
	struct crew *crew;
	size_t number;
	char name[24];
	struct loop *loop;
	struct work_thread *thread;
	void *app;
	struct log_ring *ring;

	/* Touched on the worker's thread only, once it runs. */
	struct crew_plan *plan;
	struct crew_sockets sockets;
	struct crew_sessions sessions;
	struct crew_turned_away *turned_away;
	size_t turned_away_count;
	bool draining;
	bool drain_reported;
	struct loop_timer grace;
	uint64_t grace_ms;
	struct tls_ticket_keys *ticket_keys;    /* NULL: none */

	/* The hub's while tickets_are_sent is false, the worker's while it is true. */
	struct tls_ticket_keys *next_ticket_keys;
	atomic_bool tickets_are_sent;

	/* One each way for each kind of talk; the hub sends one at a time. */
	struct loop_post begin;
	struct loop_post change;
	struct loop_post changed;
	struct loop_post drain;
	struct loop_post hurry;
	struct loop_post drained;
	struct loop_post end;
	struct loop_post tickets;
	uint64_t hurry_ms;
	bool hurry_is_posted;
};

/* A change of plan on its way through the workers, one after the other. */
struct crew_change {
	bool running;
	bool commits;                   /* second round: put it in force; else: give it up */
	bool second_round;
	bool failed;
	size_t worker;                  /* whose turn it is */
	struct crew_plan *plan;
	struct crew_address *addresses;
	size_t address_count;
	struct err err;
	void (*done)(void *ctx, const struct err *err);
	void *ctx;
};

struct crew {
	struct crew_settings settings;
	struct crew_worker *workers;
	size_t worker_count;
	bool threads_run;
	struct crew_admission admission;

	struct crew_plan *plan;
	struct crew_address *addresses;
	size_t address_count;
	struct crew_change change;

	struct tls_ticket_keys *ticket_keys;
	uint64_t ticket_period_ms;
	struct loop_timer ticket_timer;
	struct random random;

	bool draining;
	size_t drained_count;
	void (*drained)(void *ctx);
	void *drained_ctx;
	size_t next_hand;               /* of the first worker: who gets the next connection */
};

/* ---- crew_worker.c, on the worker's thread (or before it runs) */

int crew_worker_init(struct crew_worker *worker, struct crew *crew, size_t number,
    struct err *err);
void crew_worker_fini(struct crew_worker *worker);

/*
 * Opens what the plan needs and the worker has not; fills in the real address.  A
 * socket that is there already is marked to be kept.
 */
int crew_worker_prepare(struct crew_worker *worker, struct crew_address *addresses,
    size_t address_count, struct err *err);
void crew_worker_commit(struct crew_worker *worker, struct crew_plan *plan);
void crew_worker_give_up(struct crew_worker *worker);
void crew_worker_drain(struct crew_worker *worker, uint64_t grace_ms);

/* Cuts all there is and closes all sockets. */
void crew_worker_clear(struct crew_worker *worker);

/* ---- crew.c */

/* Worker: the last session of a draining worker is gone. */
void crew_worker_is_empty(struct crew_worker *worker);

/* ---- crew_tickets.c */

void crew_tickets_init(struct crew *crew);
void crew_tickets_fini(struct crew *crew);

/* Hub: the plan that came into force may have another period. */
void crew_tickets_follow_plan(struct crew *crew);

/* Worker: puts the keys that it has into the contexts of the plan that came into force. */
void crew_worker_use_tickets(struct crew_worker *worker);
void crew_worker_init_tickets(struct crew_worker *worker);
void crew_worker_fini_tickets(struct crew_worker *worker);

/* ---- crew_away.c, on the worker's thread */

/* Tells a client so, 421 and why, if that can be said, and closes. */
void crew_turn_away(struct crew_worker *worker, const struct crew_door *door,
    struct conn *conn, const char *status, const char *words);
void crew_turn_away_end(struct crew_worker *worker);

#endif
