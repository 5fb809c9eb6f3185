/* What flows through a simulated connection, in and out. */
#include <string.h>

#include "relay/base/must.h"
#include "tests/sim/conn_private.h"

enum { HANDSHAKE_TIMEOUT_MS = 30 * 1000, PIECES_MAX = 32 };

static void conn_flush(struct conn *conn);

/* ---- input */

static bool
may_offer(const struct conn *conn)
{
	return !conn->ended && !conn->input_paused && !conn->closing &&
	    (conn->tls_state == TLS_CLEAR || conn->tls_state == TLS_ON);
}

static void
offer_waiting(struct conn *conn)
{
	while (may_offer(conn) && !buf_is_empty(&conn->input)) {
		size_t consumed = conn->ops->input(conn->ctx, buf_span(&conn->input));

		if (conn->ended || conn->closing)
			return;
		buf_consume(&conn->input, consumed);
		if (consumed == 0)
			return;
	}
}

static void
take_eof(struct conn *conn)
{
	conn->input_eof = true;
	if (conn->closing && conn->output_ended)
		sim_conn_end(conn, CONN_END_FLUSHED, NULL);
	else if (conn->closing)
		return;
	else if (conn->ops->input_ended && conn->tls_state != TLS_HANDSHAKE)
		conn->ops->input_ended(conn->ctx);
	else
		sim_conn_end(conn, CONN_END_PEER, NULL);
}

/* What lies at the front, into the owner's place, its hands or our buffer. */
static bool
take_data(struct conn *conn, struct sim_packet *packet)
{
	struct span bytes = span_make(packet->data + packet->taken, packet->len - packet->taken);
	size_t size = 0;
	char *space = NULL;

	if (conn->closing) {
		sim_wire_take(conn->wire, conn->side, bytes.len);
		return true;
	}
	if (conn->ops->space && buf_is_empty(&conn->input))
		space = conn->ops->space(conn->ctx, &size);
	if (conn->ended)
		return false;
	if (space && size > 0) {
		size = size < bytes.len ? size : bytes.len;
		memcpy(space, bytes.data, size);
		sim_wire_take(conn->wire, conn->side, size);
		conn->ops->filled(conn->ctx, size);
		return true;
	}
	size = buf_room(&conn->input) < bytes.len ? buf_room(&conn->input) : bytes.len;
	if (size == 0)
		return false;
	must(buf_append(&conn->input, span_first(bytes, size)) == 0);
	sim_wire_take(conn->wire, conn->side, size);
	offer_waiting(conn);
	if (!conn->ended && may_offer(conn) && buf_room(&conn->input) == 0)
		sim_conn_end_with(conn, CONN_END_LIMIT, ERR_LIMIT, "the input buffer is full");
	return true;
}

static void
tls_is_on(struct conn *conn)
{
	conn->tls_state = TLS_ON;
	loop_timer_stop(conn->loop, &conn->progress);
	loop_at_turn_end(conn->loop, &conn->task);
	if (conn->ops->secured)
		conn->ops->secured(conn->ctx);
}

/* The server's half of the handshake answers, the client's ends it. */
static void
take_handshake(struct conn *conn, struct sim_packet *packet)
{
	struct span bytes = span_make(packet->data, packet->len);
	struct buf answer;
	struct err err;
	int result;

	if (conn->tls_state != TLS_HANDSHAKE ||
	    (packet->kind == SIM_HELLO) != conn->tls_server) {
		sim_conn_end_with(conn, CONN_END_TLS, ERR_TLS, "not a time for a handshake");
		return;
	}
	buf_init(&answer, SIM_TLS_BYTES_MAX);
	result = conn->tls_server ? sim_tls_answer(&conn->tls, bytes, &answer, &err)
	    : sim_tls_check(&conn->tls, bytes, &err);
	sim_wire_take(conn->wire, conn->side, packet->len);
	if (result == 0 && conn->tls_server)
		sim_wire_send(conn->wire, conn->side, SIM_ANSWER, buf_span(&answer));
	buf_fini(&answer);
	if (result < 0)
		sim_conn_end(conn, CONN_END_TLS, &err);
	else
		tls_is_on(conn);
}

static bool
read_packet(struct conn *conn, struct sim_packet *packet)
{
	switch (packet->kind) {
	case SIM_DATA:
		if (conn->tls_state == TLS_HANDSHAKE) {
			sim_conn_end_with(conn, CONN_END_TLS, ERR_TLS,
			    "no handshake but words in clear");
			return false;
		}
		return (conn->closing || may_offer(conn)) && take_data(conn, packet);
	case SIM_HELLO:
	case SIM_ANSWER:
		if (conn->tls_state == TLS_CLEAR || conn->tls_state == TLS_DUE)
			return false;           /* it waits for conn_start_tls_...() */
		take_handshake(conn, packet);
		return true;
	case SIM_FIN:
		sim_wire_take(conn->wire, conn->side, 0);
		take_eof(conn);
		return true;
	case SIM_RESET:
		sim_wire_take(conn->wire, conn->side, 0);
		sim_conn_end_with(conn, CONN_END_PEER, ERR_CLOSED, "Connection reset by peer");
		return false;
	}
	must_not_reach();
}

static void
read_some(struct conn *conn)
{
	for (int i = 0; i < PIECES_MAX && !conn->ended; i++) {
		struct sim_packet *packet = sim_wire_first(conn->wire, conn->side);

		if (!packet)
			return;
		if (packet->kind == SIM_FIN && !buf_is_empty(&conn->input) && may_offer(conn))
			offer_waiting(conn);
		if (conn->ended || !read_packet(conn, packet))
			return;
	}
	if (!conn->ended && sim_wire_first(conn->wire, conn->side))
		sim_loop_ready(conn->loop, &conn->ready);
}

void
sim_conn_is_ready(void *ctx)
{
	struct conn *conn = ctx;

	read_some(conn);
	if (!conn->ended)
		conn_flush(conn);
}

void
sim_conn_arrived(struct conn *conn)
{
	if (conn->started && !conn->ended)
		sim_loop_ready(conn->loop, &conn->ready);
}

void
sim_conn_has_room(struct conn *conn)
{
	if (conn->started && !conn->ended && conn->output.first)
		sim_loop_ready(conn->loop, &conn->ready);
}

/* ---- output */

static void
output_is_empty(struct conn *conn)
{
	if (!conn->end_output_wanted || conn->output_ended)
		return;
	conn->output_ended = true;
	sim_wire_send(conn->wire, conn->side, SIM_FIN, SPAN(""));
	if (!conn->closing)
		return;
	if (conn->input_eof || conn->linger_ms == 0)
		sim_conn_end(conn, CONN_END_FLUSHED, NULL);
	else
		loop_timer_start(conn->loop, &conn->progress, conn->linger_ms);
}

static void
begin_tls(struct conn *conn)
{
	struct buf hello;

	conn->tls_state = TLS_HANDSHAKE;
	loop_timer_start(conn->loop, &conn->progress, HANDSHAKE_TIMEOUT_MS);
	if (conn->tls_server) {
		sim_loop_ready(conn->loop, &conn->ready);
		return;
	}
	buf_init(&hello, SIM_TLS_BYTES_MAX);
	sim_tls_hello(&conn->tls, &hello);
	sim_wire_send(conn->wire, conn->side, SIM_HELLO, buf_span(&hello));
	buf_fini(&hello);
}

static void
step_towards_tls(struct conn *conn)
{
	if (conn->closing && (conn->tls_state == TLS_HANDSHAKE ||
	    (conn->tls_state == TLS_DUE && conn->clear_bytes == 0))) {
		conn->tls_state = TLS_OVER;
		conn_output_clear(&conn->output);
		loop_timer_stop(conn->loop, &conn->progress);
	} else if (conn->tls_state == TLS_DUE && conn->clear_bytes == 0) {
		begin_tls(conn);
	}
}

static bool
may_write(const struct conn *conn)
{
	return conn->tls_state == TLS_CLEAR || conn->tls_state == TLS_ON ||
	    (conn->tls_state == TLS_DUE && conn->clear_bytes > 0);
}

static void
watch_progress(struct conn *conn, bool progressed)
{
	if (conn->ended || conn->tls_state == TLS_HANDSHAKE || conn->output_ended)
		return;
	if (conn->output.bytes == 0)
		loop_timer_stop(conn->loop, &conn->progress);
	else if (progressed || !loop_timer_is_running(&conn->progress))
		loop_timer_start(conn->loop, &conn->progress, conn->settings.output_timeout_ms);
}

static void
conn_flush(struct conn *conn)
{
	bool progressed = false;

	while (conn->output.first && may_write(conn)) {
		size_t room = sim_wire_room(conn->wire, conn->side);
		struct iovec piece;

		if (conn_output_front(&conn->output, &piece, 1) == 0 || room == 0)
			break;
		if (piece.iov_len < room)
			room = piece.iov_len;
		if (conn->tls_state == TLS_DUE && conn->clear_bytes < room)
			room = conn->clear_bytes;
		sim_wire_send(conn->wire, conn->side, SIM_DATA, span_make(piece.iov_base, room));
		if (conn->tls_state == TLS_DUE)
			conn->clear_bytes -= room;
		conn_output_consume(&conn->output, room);
		progressed = true;
	}
	step_towards_tls(conn);
	watch_progress(conn, progressed);
	if (!conn->output.first)
		output_is_empty(conn);
	if (!conn->ended && conn->was_full &&
	    conn->output.bytes <= conn->settings.output_low_bytes) {
		conn->was_full = false;
		conn->ops->drained(conn->ctx);
	}
}

/* At the end of a turn: what the owner wrote, what it can take again, what a call found. */
void
sim_conn_turn_ends(void *ctx)
{
	struct conn *conn = ctx;

	if (conn->late_err.kind != ERR_NONE) {
		sim_conn_end(conn, CONN_END_TLS, &conn->late_err);
		return;
	}
	conn_flush(conn);
	if (conn->ended)
		return;
	offer_waiting(conn);
	if (!conn->ended)
		read_some(conn);
	if (!conn->ended && conn->output.first)
		loop_at_turn_end(conn->loop, &conn->task);
	if (!conn->ended && conn->output.first && sim_wire_room(conn->wire, conn->side) == 0)
		loop_task_cancel(conn->loop, &conn->task);
}

static void
output_grew(struct conn *conn)
{
	if (conn->output.bytes >= conn->settings.output_high_bytes)
		conn->was_full = true;
	loop_at_turn_end(conn->loop, &conn->task);
}

void
conn_write(struct conn *conn, struct span bytes)
{
	if (conn->ended || conn->end_output_wanted || bytes.len == 0)
		return;
	must(conn->started);
	conn_output_copy(&conn->output, bytes);
	output_grew(conn);
}

void
conn_write_segment(struct conn *conn, struct conn_segment *segment)
{
	if (conn->ended || conn->end_output_wanted) {
		if (segment->released)
			segment->released(segment->ctx);
		return;
	}
	conn_output_lend(&conn->output, segment);
	output_grew(conn);
}

size_t
conn_output_bytes(const struct conn *conn)
{
	return conn->output.bytes;
}

bool
conn_output_is_full(const struct conn *conn)
{
	return conn->output.bytes >= conn->settings.output_high_bytes;
}

void
conn_end_output(struct conn *conn)
{
	conn->end_output_wanted = true;
	if (!conn->ended)
		loop_at_turn_end(conn->loop, &conn->task);
}

void
conn_close_after_output(struct conn *conn, uint64_t linger_ms)
{
	if (conn->ended)
		return;
	conn->closing = true;
	conn->linger_ms = linger_ms;
	buf_clear(&conn->input);
	conn_end_output(conn);
	sim_loop_ready(conn->loop, &conn->ready);
}
