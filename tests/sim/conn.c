/* relay/net/conn.h in the simulation: a stream over a wire, in clear or under pretended TLS. */
#include "relay/net/conn.h"

#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "tests/sim/conn_private.h"

enum {
	INPUT_BYTES_MAX = 16 << 10,
	OUTPUT_HIGH_BYTES = 64 << 10,
	OUTPUT_TIMEOUT_MS = 5 * 60 * 1000,
};

struct conn *
sim_conn_new(struct sim_wire *wire, int side, const struct endpoint *peer,
    const struct endpoint *local)
{
	struct conn *conn = mem_alloc(sizeof(*conn));

	conn->wire = wire;
	conn->side = side;
	conn->peer = *peer;
	conn->local = *local;
	conn_output_init(&conn->output);
	sim_wire_tie(wire, side, conn);
	return conn;
}

/* ---- ends */

static void
let_go(struct conn *conn)
{
	if (conn->ended)
		return;
	conn->ended = true;
	sim_wire_leave(conn->wire, conn->side);
	conn->wire = NULL;
	if (conn->started) {
		sim_loop_not_ready(conn->loop, &conn->ready);
		loop_timer_stop(conn->loop, &conn->deadline);
		loop_timer_stop(conn->loop, &conn->progress);
		loop_task_cancel(conn->loop, &conn->task);
	}
	conn_output_clear(&conn->output);
	buf_fini(&conn->input);
}

void
sim_conn_end(struct conn *conn, enum conn_end how, const struct err *err)
{
	struct err none = { .kind = ERR_NONE };

	if (conn->ended)
		return;
	let_go(conn);
	conn->ops->closed(conn->ctx, how, err ? err : &none);
}

void
sim_conn_end_with(struct conn *conn, enum conn_end how, enum err_kind kind, const char *text)
{
	struct err err;

	(void)err_set(&err, kind, "%s", text);
	sim_conn_end(conn, how, &err);
}

static void
conn_release(void *object)
{
	struct conn *conn = object;

	mem_free(&conn);
}

void
conn_free(struct conn **conn_address)
{
	struct conn *conn = *conn_address;

	if (!conn)
		return;
	*conn_address = NULL;
	must(!conn->freed);
	conn->freed = true;
	let_go(conn);
	if (conn->loop)
		loop_defer_free(conn->loop, conn_release, conn);
	else
		mem_free(&conn);
}

/* ---- life */

static void
deadline_is_over(void *ctx)
{
	struct conn *conn = ctx;

	if (conn->ops->expired)
		conn->ops->expired(conn->ctx);
}

static void
progress_is_over(void *ctx)
{
	struct conn *conn = ctx;

	if (conn->closing && conn->output_ended)
		sim_conn_end(conn, CONN_END_FLUSHED, NULL);
	else
		sim_conn_end_with(conn, CONN_END_TIMEOUT, ERR_TIMEOUT, "no progress in time");
}

void
conn_start(struct conn *conn, struct loop *loop, const struct conn_settings *settings,
    const struct conn_ops *ops, void *ctx)
{
	struct conn_settings *own = &conn->settings;

	must(!conn->started);
	conn->started = true;
	conn->loop = loop;
	conn->ops = ops;
	conn->ctx = ctx;
	if (settings)
		*own = *settings;
	own->input_bytes_max = own->input_bytes_max ? own->input_bytes_max : INPUT_BYTES_MAX;
	own->output_high_bytes = own->output_high_bytes ? own->output_high_bytes
	    : OUTPUT_HIGH_BYTES;
	if (own->output_low_bytes == 0)
		own->output_low_bytes = own->output_high_bytes / 4;
	if (own->output_timeout_ms == 0)
		own->output_timeout_ms = OUTPUT_TIMEOUT_MS;
	buf_init(&conn->input, own->input_bytes_max);
	conn->ready = (struct sim_ready){ .run = sim_conn_is_ready, .ctx = conn };
	loop_timer_init(&conn->deadline, deadline_is_over, conn);
	loop_timer_init(&conn->progress, progress_is_over, conn);
	loop_task_init(&conn->task, sim_conn_turn_ends, conn);
	sim_loop_ready(loop, &conn->ready);
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
conn_pause_input(struct conn *conn)
{
	conn->input_paused = true;
}

void
conn_resume_input(struct conn *conn)
{
	if (!conn->input_paused)
		return;
	conn->input_paused = false;
	if (!conn->ended)
		loop_at_turn_end(conn->loop, &conn->task);
}

bool
conn_input_is_paused(const struct conn *conn)
{
	return conn->input_paused;
}

size_t
conn_input_bytes(const struct conn *conn)
{
	return buf_len(&conn->input);
}

/* The wire has no acknowledgements that anybody waits for. */
void
conn_acknowledge(struct conn *conn)
{
	(void)conn;
}

/* Whether it was read by our loop or waits on the wire is the same to the owner. */
bool
conn_input_waits(const struct conn *conn)
{
	struct sim_packet *packet;

	if (conn->ended || conn->input_eof)
		return false;
	packet = sim_wire_first(conn->wire, conn->side);
	return !buf_is_empty(&conn->input) || (packet && packet->kind == SIM_DATA);
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
	loop_timer_stop(conn->loop, &conn->deadline);
}

static void
start_tls(struct conn *conn)
{
	if (conn->ended)
		return;
	conn->tls_state = TLS_DUE;
	conn->clear_bytes = conn->output.bytes;
	if (!buf_is_empty(&conn->input))
		(void)err_set(&conn->late_err, ERR_TLS, "words in clear behind STARTTLS");
	loop_at_turn_end(conn->loop, &conn->task);
}

void
conn_start_tls_server(struct conn *conn, struct tls_context *context)
{
	conn->tls_server = true;
	sim_tls_begin(&conn->tls, context, NULL);
	start_tls(conn);
}

void
conn_start_tls_client(struct conn *conn, struct tls_context *context, const struct tls_peer *peer)
{
	sim_tls_begin(&conn->tls, context, peer);
	start_tls(conn);
}

const struct tls_info *
conn_tls(const struct conn *conn)
{
	return conn->tls_state == TLS_ON ? &conn->tls.info : NULL;
}

const char *
conn_end_name(enum conn_end end)
{
	static const char *const names[] = { "flushed", "peer", "tls", "timeout", "limit",
	    "error" };

	return names[end];
}
