#include "relay/net/conn_private.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	INPUT_BYTES_MAX = 16 << 10,
	OUTPUT_HIGH_BYTES = 64 << 10,
	OUTPUT_TIMEOUT_MS = 5 * 60 * 1000,
};

struct conn *
conn_new(int fd, const struct endpoint *peer, const struct endpoint *local)
{
	struct conn *conn = mem_alloc(sizeof(*conn));

	conn->fd = fd;
	conn->peer = *peer;
	conn->local = *local;
	conn_output_init(&conn->output);
	return conn;
}

/* ---- the end ------------------------------------------------------------- */

static void
stop(struct conn *conn)
{
	if (!conn->started || conn->ended)
		return;
	conn->ended = true;
	ev_io_stop(conn->loop->ev, &conn->io);
	loop_timer_stop(conn->loop, &conn->deadline);
	loop_timer_stop(conn->loop, &conn->progress);
	loop_task_cancel(conn->loop, &conn->task);
}

void
conn_end(struct conn *conn, enum conn_end how, const struct err *err)
{
	static const struct err no_err = { .kind = ERR_NONE };

	if (conn->ended)
		return;
	stop(conn);
	conn->ops->closed(conn->ctx, how, err ? err : &no_err);
}

void
conn_end_by_errno(struct conn *conn, const char *what)
{
	struct err err;
	bool peer = errno == ECONNRESET || errno == EPIPE;

	(void)err_set_errno(&err, "%s", what);
	conn_end(conn, peer ? CONN_END_PEER : CONN_END_ERROR, &err);
}

static void
release(void *object)
{
	struct conn *conn = object;

	conn_output_clear(&conn->output);
	tls_stream_free(&conn->tls);
	mem_free(&conn->late_err);
	buf_fini(&conn->input);
	(void)close(conn->fd);
	mem_free(&conn);
}

void
conn_free(struct conn **conn)
{
	struct conn *c = *conn;

	*conn = NULL;
	if (!c || c->freed)
		return;
	c->freed = true;
	if (!c->started) {
		release(c);
		return;
	}
	if (!c->ended && c->tls_state == TLS_STATE_ON)
		tls_stream_shutdown(c->tls);
	stop(c);
	conn_output_clear(&c->output);
	loop_defer_free(c->loop, release, c);
}

/* ---- TLS ------------------------------------------------------------------ */

static void
handshake(struct conn *conn)
{
	struct err err = { .kind = ERR_NONE };

	conn->read_blocked_on_write = false;
	switch (tls_stream_handshake(conn->tls, &err)) {
	case TLS_STEP_DONE:
		conn->tls_state = TLS_STATE_ON;
		loop_timer_stop(conn->loop, &conn->progress);
		loop_at_turn_end(conn->loop, &conn->task);
		conn->ops->secured(conn->ctx);
		return;
	case TLS_STEP_WANTS_READ:
		return;
	case TLS_STEP_WANTS_WRITE:
		conn->read_blocked_on_write = true;
		return;
	case TLS_STEP_ENDED:
		(void)err_set(&err, ERR_TLS, "the peer ended the TLS handshake");
		break;
	case TLS_STEP_FAILED:
		break;
	}
	conn_end(conn, CONN_END_TLS, &err);
}

/* The output before it has left: from here on every octet belongs to the handshake. */
void
conn_begin_tls(struct conn *conn)
{
	struct err err;

	if (!buf_is_empty(&conn->input)) {
		(void)err_set(&err, ERR_TLS, "octets in clear behind STARTTLS");
		conn_end(conn, CONN_END_TLS, &err);
		return;
	}
	conn->tls_state = TLS_STATE_HANDSHAKE;
	loop_timer_start(conn->loop, &conn->progress, tls_stream_timeout_ms(conn->tls));
	handshake(conn);
}

static void
start_tls(struct conn *conn, struct tls_context *context, const struct tls_peer *peer)
{
	must(conn->started && conn->tls_state == TLS_STATE_CLEAR);
	if (conn->ended)
		return;
	struct err err;

	conn->tls = tls_stream_new(context, conn->fd, peer, &err);
	if (!conn->tls)
		conn->late_err = mem_dup(&err, sizeof(err));
	conn->tls_state = TLS_STATE_DUE;
	conn->clear_bytes = conn->output.bytes;
	loop_at_turn_end(conn->loop, &conn->task);
	conn_update_interest(conn);
}

void
conn_start_tls_server(struct conn *conn, struct tls_context *context)
{
	start_tls(conn, context, NULL);
}

void
conn_start_tls_client(struct conn *conn, struct tls_context *context, const struct tls_peer *peer)
{
	start_tls(conn, context, peer);
}

const struct tls_info *
conn_tls(const struct conn *conn)
{
	return conn->tls_state == TLS_STATE_ON ? tls_stream_info(conn->tls) : NULL;
}

/* ---- events --------------------------------------------------------------- */

void
conn_update_interest(struct conn *conn)
{
	bool handshake = conn->tls_state == TLS_STATE_HANDSHAKE;
	bool wants_input = (conn_may_offer(conn) || conn->closing) && !conn->input_eof &&
	    (conn->closing || buf_room(&conn->input) > 0);
	int events = 0;

	if (conn->ended)
		return;
	if ((handshake && !conn->read_blocked_on_write) || (!handshake && wants_input) ||
	    conn->write_blocked_on_read)
		events |= EV_READ;
	if ((conn->write_blocked && !conn->write_blocked_on_read) || conn->read_blocked_on_write)
		events |= EV_WRITE;
	if (events == (conn->io.events & (EV_READ | EV_WRITE)) && ev_is_active(&conn->io))
		return;
	ev_io_stop(conn->loop->ev, &conn->io);
	ev_io_set(&conn->io, conn->fd, events);
	if (events)
		ev_io_start(conn->loop->ev, &conn->io);
}

static void
io_ready(struct ev_loop *ev, ev_io *io, int events)
{
	struct conn *conn = io->data;

	(void)ev;
	if (conn->tls_state == TLS_STATE_HANDSHAKE) {
		handshake(conn);
	} else {
		if (events & EV_WRITE || conn->write_blocked_on_read)
			conn_flush(conn);
		if (!conn->ended && (events & EV_READ || conn->read_blocked_on_write))
			conn_read_some(conn);
	}
	if (!conn->ended)
		conn_update_interest(conn);
}

static void
turn_ends(void *ctx)
{
	struct conn *conn = ctx;

	if (conn->tls_state == TLS_STATE_DUE && !conn->tls) {
		conn_end(conn, CONN_END_TLS, conn->late_err);
		return;
	}
	conn_offer_waiting(conn);
	if (!conn->ended)
		conn_flush(conn);
	if (!conn->ended && conn->tls_state == TLS_STATE_ON && tls_stream_has_pending(conn->tls) &&
	    conn_may_offer(conn))
		conn_read_some(conn);
	if (!conn->ended)
		conn_update_interest(conn);
}

static void
deadline_passed(void *ctx)
{
	struct conn *conn = ctx;

	conn->ops->expired(conn->ctx);
}

static void
progress_missing(void *ctx)
{
	struct conn *conn = ctx;
	struct err err;

	if (conn->output_ended && conn->closing) {
		conn_end(conn, CONN_END_FLUSHED, NULL);
		return;
	}
	(void)err_set(&err, ERR_TIMEOUT, "%s", conn->tls_state == TLS_STATE_HANDSHAKE
	    ? "no TLS handshake in time" : "the peer does not read");
	conn_end(conn, CONN_END_TIMEOUT, &err);
}

void
conn_start(struct conn *conn, struct loop *loop, const struct conn_settings *settings,
    const struct conn_ops *ops, void *ctx)
{
	static const struct conn_settings defaults = { 0 };

	must(!conn->started);
	conn->settings = settings ? *settings : defaults;
	if (!conn->settings.input_bytes_max)
		conn->settings.input_bytes_max = INPUT_BYTES_MAX;
	if (!conn->settings.output_high_bytes)
		conn->settings.output_high_bytes = OUTPUT_HIGH_BYTES;
	if (!conn->settings.output_low_bytes)
		conn->settings.output_low_bytes = conn->settings.output_high_bytes / 4;
	if (!conn->settings.output_timeout_ms)
		conn->settings.output_timeout_ms = OUTPUT_TIMEOUT_MS;
	conn->started = true;
	conn->loop = loop;
	conn->ops = ops;
	conn->ctx = ctx;
	buf_init(&conn->input, conn->settings.input_bytes_max);
	loop_timer_init(&conn->deadline, deadline_passed, conn);
	loop_timer_init(&conn->progress, progress_missing, conn);
	loop_task_init(&conn->task, turn_ends, conn);
	ev_io_init(&conn->io, io_ready, conn->fd, 0);
	conn->io.data = conn;
	conn_update_interest(conn);
}

void
conn_set_ops(struct conn *conn, const struct conn_ops *ops, void *ctx)
{
	conn->ops = ops;
	conn->ctx = ctx;
}

const struct endpoint *
conn_peer(const struct conn *conn)
{
	return &conn->peer;
}

const struct endpoint *
conn_local(const struct conn *conn)
{
	return &conn->local;
}

struct loop *
conn_loop(const struct conn *conn)
{
	return conn->loop;
}

void
conn_set_deadline(struct conn *conn, uint64_t delay_ms)
{
	if (!conn->ended)
		loop_timer_start(conn->loop, &conn->deadline, delay_ms);
}

void
conn_clear_deadline(struct conn *conn)
{
	if (!conn->ended)
		loop_timer_stop(conn->loop, &conn->deadline);
}

const char *
conn_end_name(enum conn_end end_kind)
{
	switch (end_kind) {
	case CONN_END_FLUSHED:	return "flushed";
	case CONN_END_PEER:	return "peer";
	case CONN_END_TLS:	return "tls";
	case CONN_END_TIMEOUT:	return "timeout";
	case CONN_END_LIMIT:	return "limit";
	case CONN_END_ERROR:	return "error";
	}
	must_not_reach();
}
