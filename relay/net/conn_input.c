#include "relay/net/conn_private.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

enum { READS_A_TURN = 4 };            /* then the others have their turn */

bool
conn_may_offer(const struct conn *conn)
{
	return !conn->ended && !conn->input_paused && !conn->closing &&
	    (conn->tls_state == TLS_STATE_CLEAR || conn->tls_state == TLS_STATE_ON);
}

void
conn_offer_waiting(struct conn *conn)
{
	while (conn_may_offer(conn) && !buf_is_empty(&conn->input)) {
		size_t consumed = conn->ops->input(conn->ctx, buf_span(&conn->input));

		if (conn->ended || conn->closing)
			return;                         /* closing has emptied the buffer */
		buf_consume(&conn->input, consumed);
		if (consumed == 0)
			return;
	}
	buf_release_if_empty(&conn->input);
}

/* What was just read, in front of everything: offered where it lies, and only the rest copied. */
static void
take_input(struct conn *conn, struct span bytes)
{
	if (conn->closing)
		return;
	if (buf_is_empty(&conn->input)) {
		while (conn_may_offer(conn) && bytes.len) {
			size_t consumed = conn->ops->input(conn->ctx, bytes);

			if (conn->ended || conn->closing)
				return;
			bytes = span_skip(bytes, consumed);
			if (consumed == 0)
				break;
		}
		if (bytes.len)
			must(buf_append(&conn->input, bytes) == 0);
	} else {
		must(buf_append(&conn->input, bytes) == 0);
		conn_offer_waiting(conn);
	}
	if (!conn->ended && conn_may_offer(conn) && buf_room(&conn->input) == 0) {
		struct err err;

		(void)err_set(&err, ERR_LIMIT, "the input buffer is full");
		conn_end(conn, CONN_END_LIMIT, &err);
	}
}

static void
take_eof(struct conn *conn)
{
	conn->input_eof = true;
	/* What came before the end is offered before the end is told. */
	conn_offer_waiting(conn);
	if (conn->ended)
		return;
	if (conn->closing && conn->output_ended)
		conn_end(conn, CONN_END_FLUSHED, NULL);
	else if (conn->closing)
		conn_update_interest(conn);     /* the last words leave first, then it ends */
	else if (conn->ops->input_ended && conn->tls_state != TLS_STATE_HANDSHAKE)
		conn->ops->input_ended(conn->ctx);
	else
		conn_end(conn, CONN_END_PEER, NULL);
}

/* One read into DATA; -1 when nothing came or the connection has ended. */
static ssize_t
read_once(struct conn *conn, char *data, size_t size)
{
	struct err err = { .kind = ERR_NONE };
	size_t got = 0;

	if (conn->tls_state != TLS_STATE_ON) {
		ssize_t result = recv(conn->fd, data, size, 0);

		if (result > 0)
			return result;
		if (result == 0)
			take_eof(conn);
		else if (errno != EAGAIN && errno != EINTR)
			conn_end_by_errno(conn, "read");
		return -1;
	}
	conn->read_blocked_on_write = false;
	switch (tls_stream_read(conn->tls, data, size, &got, &err)) {
	case TLS_STEP_DONE:
		return (ssize_t)got;
	case TLS_STEP_WANTS_READ:
		return -1;
	case TLS_STEP_WANTS_WRITE:
		conn->read_blocked_on_write = true;
		return -1;
	case TLS_STEP_ENDED:
		take_eof(conn);
		return -1;
	case TLS_STEP_FAILED:
		conn_end(conn, conn->closing ? CONN_END_FLUSHED : CONN_END_TLS, &err);
		return -1;
	}
	must_not_reach();
}

/* Into the owner's own place, where it has one; false when it has none now. */
static bool
read_into_space(struct conn *conn, bool *more_out)
{
	size_t size = 0;
	char *space;

	if (!conn->ops->space || conn->closing || !buf_is_empty(&conn->input))
		return false;
	space = conn->ops->space(conn->ctx, &size);
	if (!space || size == 0 || conn->ended)
		return false;

	ssize_t got = read_once(conn, space, size);

	*more_out = got == (ssize_t)size;
	if (got > 0 && !conn->ended)
		conn->ops->filled(conn->ctx, (size_t)got);
	return true;
}

void
conn_read_some(struct conn *conn)
{
	for (int i = 0; i < READS_A_TURN && !conn->ended && !conn->input_eof; i++) {
		bool more = false;

		if (!conn->closing && !conn_may_offer(conn))
			return;
		if (read_into_space(conn, &more)) {
			if (!more)
				return;
			continue;
		}

		size_t room = conn->closing ? LOOP_SCRATCH_BYTES : buf_room(&conn->input);
		size_t size = room < LOOP_SCRATCH_BYTES ? room : LOOP_SCRATCH_BYTES;

		if (conn->ended || size == 0)
			return;

		ssize_t got = read_once(conn, conn->loop->scratch, size);

		if (got <= 0)
			return;
		take_input(conn, span_make(conn->loop->scratch, (size_t)got));
		if ((size_t)got < size && conn->tls_state != TLS_STATE_ON)
			return;
	}
	/* What OpenSSL has already will not make the socket readable. */
	if (!conn->ended && conn->tls_state == TLS_STATE_ON && tls_stream_has_pending(conn->tls))
		loop_at_turn_end(conn->loop, &conn->task);
}

void
conn_pause_input(struct conn *conn)
{
	conn->input_paused = true;
	conn_update_interest(conn);
}

void
conn_resume_input(struct conn *conn)
{
	if (!conn->input_paused)
		return;
	conn->input_paused = false;
	if (conn->ended)
		return;
	loop_at_turn_end(conn->loop, &conn->task);
	conn_update_interest(conn);
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

bool
conn_input_waits(const struct conn *conn)
{
	char octet;

	if (conn->ended || conn->input_eof)
		return false;
	return !buf_is_empty(&conn->input) ||
	    recv(conn->fd, &octet, sizeof(octet), MSG_PEEK | MSG_DONTWAIT) > 0;
}

void
conn_acknowledge(struct conn *conn)
{
	const int on = 1;

	/* Linux forgets it after a while; a socket that is none of TCP's refuses it. */
	if (!conn->ended)
		(void)setsockopt(conn->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof(on));
}
