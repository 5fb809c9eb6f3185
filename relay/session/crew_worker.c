#include "relay/session/crew_private.h"

#include <stdio.h>

#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

/* ---- sessions */

void
crew_session_begin(struct crew_session *session, struct crew_worker *worker,
    const struct crew_door *door, const struct endpoint *peer)
{
	must(session->drain && session->cut);
	session->worker = worker;
	session->door = door;
	session->peer = *peer;
	crew_plan_ref(door->plan);
	LIST_INSERT_HEAD(&worker->sessions, session, entry);
}

void
crew_session_end(struct crew_session *session)
{
	struct crew_worker *worker = session->worker;
	struct crew_plan *plan = session->door->plan;

	must(worker);
	LIST_REMOVE(session, entry);
	session->worker = NULL;
	session->door = NULL;
	crew_admission_leave(&worker->crew->admission, &session->peer);
	crew_plan_unref(&plan);
	if (worker->draining && LIST_EMPTY(&worker->sessions))
		crew_worker_is_empty(worker);
}

struct loop *
crew_worker_loop(const struct crew_worker *worker)
{
	return worker->loop;
}

struct crew *
crew_worker_crew(const struct crew_worker *worker)
{
	return worker->crew;
}

size_t
crew_worker_number(const struct crew_worker *worker)
{
	return worker->number;
}

void *
crew_worker_app(const struct crew_worker *worker)
{
	return worker->app;
}

void
crew_worker_set_app(struct crew_worker *worker, void *app)
{
	worker->app = app;
}

/* ---- connections */

static bool
crew_worker_admits(struct crew_worker *worker, const struct crew_door *door,
    const struct endpoint *peer, const char **status_out, const char **words_out)
{
	struct crew *crew = worker->crew;
	const struct node_limits *limits = door->limits;

	*status_out = "4.3.2";
	switch (crew_admission_enter(&crew->admission, peer, limits->connection_count_max,
	    limits->client_connection_count_max)) {
	case CREW_ADMITTED:
		break;
	case CREW_REFUSED_TOTAL:
		*words_out = "too many connections, try again later";
		return false;
	case CREW_REFUSED_CLIENT:
		*words_out = "too many connections from your address";
		return false;
	}
	if (!crew->settings.ops.admit || crew->settings.ops.admit(crew->settings.ctx, worker,
	    door, peer, status_out, words_out))
		return true;
	crew_admission_give_back(&crew->admission, peer);
	return false;
}

static void
crew_worker_serve(struct crew_worker *worker, const struct crew_plan *plan, size_t listener,
    struct conn *conn)
{
	struct crew *crew = worker->crew;
	const struct crew_door *door = crew_plan_door(plan, worker->number, listener);
	const char *status;
	const char *words;

	if (crew_worker_admits(worker, door, conn_peer(conn), &status, &words))
		crew->settings.ops.serve(crew->settings.ctx, worker, door, conn);
	else
		crew_turn_away(worker, door, conn, status, words);
}

/* A connection on its way from the worker that accepted it to the one that serves it. */
struct crew_hand {
	struct loop_post post;
	struct crew_worker *worker;
	struct conn *conn;
	struct crew_plan *plan;         /* of the giver; the number of the listener is its */
	size_t listener;
};

static void
crew_hand_arrives(void *ctx)
{
	struct crew_hand *hand = ctx;

	/* The taker may have changed its plan already, or not yet: the giver's counts. */
	if (hand->worker->draining)
		conn_free(&hand->conn);
	else
		crew_worker_serve(hand->worker, hand->plan, hand->listener, hand->conn);
	crew_plan_unref(&hand->plan);
	mem_free(&hand);
}

static void
crew_hand_out(struct crew_worker *giver, size_t listener, struct conn *conn)
{
	struct crew *crew = giver->crew;
	struct crew_worker *taker = &crew->workers[crew->next_hand++ % crew->worker_count];

	if (taker == giver) {
		crew_worker_serve(giver, giver->plan, listener, conn);
		return;
	}

	struct crew_hand *hand = mem_alloc(sizeof(*hand));

	hand->worker = taker;
	hand->conn = conn;
	hand->plan = crew_plan_ref(giver->plan);
	hand->listener = listener;
	loop_post_init(&hand->post, crew_hand_arrives, hand);
	loop_post(taker->loop, &hand->post);
}

static void
crew_socket_accepted(void *ctx, struct conn *conn)
{
	struct crew_socket *socket = ctx;

	if (socket->one_acceptor)
		crew_hand_out(socket->worker, socket->listener, conn);
	else
		crew_worker_serve(socket->worker, socket->worker->plan, socket->listener, conn);
}

static void
crew_socket_troubled(void *ctx, const struct err *err)
{
	(void)ctx;
	log_warn("accepting: %s", err->text);
}

/* A listener with proxies in front of it is for them alone. */
static enum listener_trust
crew_socket_trust(void *ctx, const struct endpoint *peer)
{
	const struct crew_socket *socket = ctx;
	const struct crew_worker *worker = socket->worker;
	const struct node_listener *listener =
	    crew_plan_door(worker->plan, worker->number, socket->listener)->listener;

	if (listener->proxy_count == 0)
		return LISTENER_CLIENT;
	for (size_t i = 0; i < listener->proxy_count; i++)
		if (endpoint_is_in(peer, &listener->proxies[i]))
			return LISTENER_PROXY;
	return LISTENER_STRANGER;
}

static void
crew_socket_distrusted(void *ctx, const struct endpoint *peer, const char *why)
{
	char text[ENDPOINT_TEXT_BYTES_MAX];
	struct log_line line;

	(void)ctx;
	log_begin(&line, LOG_LEVEL_WARN, "proxy_refused");
	log_cstr(&line, "client", endpoint_print(peer, text));
	log_cstr(&line, "why", why);
	log_end(&line);
}

static const struct listener_ops socket_ops = {
	.accepted = crew_socket_accepted,
	.trust = crew_socket_trust,
	.distrusted = crew_socket_distrusted,
	.troubled = crew_socket_troubled,
};

/* ---- sockets */

static struct crew_socket *
crew_worker_find(struct crew_worker *worker, const struct endpoint *asked)
{
	struct crew_socket *socket;

	LIST_FOREACH(socket, &worker->sockets, entry)
		if (!socket->keep && endpoint_compare(&socket->asked, asked) == 0)
			return socket;
	return NULL;
}

static int
crew_worker_open(struct crew_worker *worker, struct crew_address *address, struct err *err)
{
	struct crew_socket *socket = mem_alloc(sizeof(*socket));
	struct endpoint to_bind = worker->number == 0 ? address->asked : address->real;
	const int inherited_fd = address->inherited_fd;
	struct listener_settings settings = {
		.addresses = &to_bind,
		.address_count = inherited_fd >= 0 ? 0 : 1,
		.inherited_fds = &inherited_fd,
		.inherited_fd_count = inherited_fd >= 0 ? 1 : 0,
		.reuse_port = !address->one_acceptor,
	};

	socket->worker = worker;
	socket->asked = address->asked;
	socket->listener_next = address->listener;
	socket->one_acceptor = address->one_acceptor;
	socket->fresh = true;
	socket->keep = true;
	address->inherited_fd = -1;     /* the listener's from here on */
	socket->open = listener_open(worker->loop, &settings, &socket_ops, socket, err);
	if (!socket->open) {
		mem_free(&socket);
		return -1;
	}
	if (worker->number == 0)
		address->real = listener_address(socket->open, 0);
	listener_pause(socket->open);   /* until the plan is in force */
	LIST_INSERT_HEAD(&worker->sockets, socket, entry);
	return 0;
}

int
crew_worker_prepare(struct crew_worker *worker, struct crew_address *addresses,
    size_t address_count, struct err *err)
{
	for (size_t i = 0; i < address_count; i++) {
		struct crew_socket *socket = crew_worker_find(worker, &addresses[i].asked);

		if (worker->number > 0 && addresses[i].one_acceptor)
			continue;
		if (socket) {
			socket->keep = true;
			socket->listener_next = addresses[i].listener;
			addresses[i].one_acceptor = socket->one_acceptor;
			if (worker->number == 0)
				addresses[i].real = listener_address(socket->open, 0);
		} else if (crew_worker_open(worker, &addresses[i], err) < 0)
			return -1;
	}
	return 0;
}

static void
crew_socket_free(struct crew_socket *socket)
{
	LIST_REMOVE(socket, entry);
	mem_free(&socket);
}

/*
 * What waits in a socket that goes is still served by the plan it came for; what is
 * kept changes over without a client noticing.
 */
void
crew_worker_commit(struct crew_worker *worker, struct crew_plan *plan)
{
	struct crew_socket *socket = LIST_FIRST(&worker->sockets);

	while (socket) {
		struct crew_socket *next = LIST_NEXT(socket, entry);

		if (!socket->keep) {
			listener_close(&socket->open);
			crew_socket_free(socket);
		}
		socket = next;
	}
	crew_plan_unref(&worker->plan);
	worker->plan = crew_plan_ref(plan);
	crew_worker_use_tickets(worker);
	LIST_FOREACH(socket, &worker->sockets, entry) {
		socket->listener = socket->listener_next;
		socket->keep = false;
		if (socket->fresh)
			listener_resume(socket->open);
		socket->fresh = false;
	}
}

void
crew_worker_give_up(struct crew_worker *worker)
{
	struct crew_socket *socket = LIST_FIRST(&worker->sockets);

	while (socket) {
		struct crew_socket *next = LIST_NEXT(socket, entry);

		socket->keep = false;
		if (socket->fresh) {
			listener_abort(&socket->open);
			crew_socket_free(socket);
		}
		socket = next;
	}
}

/* ---- the end */

static void
crew_worker_cut_sessions(struct crew_worker *worker)
{
	while (!LIST_EMPTY(&worker->sessions)) {
		struct crew_session *session = LIST_FIRST(&worker->sessions);

		session->cut(session);
		must(LIST_FIRST(&worker->sessions) != session);
	}
}

static void
crew_worker_close_sockets(struct crew_worker *worker, bool serve_waiting)
{
	while (!LIST_EMPTY(&worker->sockets)) {
		struct crew_socket *socket = LIST_FIRST(&worker->sockets);

		if (serve_waiting)
			listener_close(&socket->open);
		else
			listener_abort(&socket->open);
		crew_socket_free(socket);
	}
}

static void
crew_worker_grace_is_over(void *ctx)
{
	crew_worker_cut_sessions(ctx);
}

void
crew_worker_drain(struct crew_worker *worker, uint64_t grace_ms)
{
	struct crew_session *session;
	struct crew_session *next;

	if (!worker->draining)
		crew_worker_close_sockets(worker, worker->plan != NULL);
	worker->draining = true;
	for (session = LIST_FIRST(&worker->sessions); session; session = next) {
		next = LIST_NEXT(session, entry);
		session->drain(session);
	}
	loop_timer_start(worker->loop, &worker->grace, grace_ms);
	if (LIST_EMPTY(&worker->sessions))
		crew_worker_is_empty(worker);
}

void
crew_worker_clear(struct crew_worker *worker)
{
	crew_worker_close_sockets(worker, false);
	crew_worker_cut_sessions(worker);
	crew_turn_away_end(worker);
	loop_timer_stop(worker->loop, &worker->grace);
	crew_plan_unref(&worker->plan);
}

int
crew_worker_init(struct crew_worker *worker, struct crew *crew, size_t number, struct err *err)
{
	worker->crew = crew;
	worker->number = number;
	(void)snprintf(worker->name, sizeof(worker->name), "worker%zu", number);
	LIST_INIT(&worker->sockets);
	LIST_INIT(&worker->sessions);
	worker->loop = loop_new(crew->settings.clock, err);
	if (!worker->loop)
		return -1;
	loop_timer_init(&worker->grace, crew_worker_grace_is_over, worker);
	return 0;
}

void
crew_worker_fini(struct crew_worker *worker)
{
	crew_worker_fini_tickets(worker);
	loop_free(&worker->loop);
}
