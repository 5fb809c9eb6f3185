#include "relay/net/conn_private.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	IOV_MAX_HERE = 32,
	RECORD_BYTES = 16 << 10,        /* RFC 8446 section 5.1 */
};

/* Of what is behind STARTTLS no octet may leave in clear. */
static size_t
keep_first(struct iovec *iov, size_t iov_count, size_t octets)
{
	for (size_t i = 0; i < iov_count; i++) {
		if (octets <= iov[i].iov_len) {
			iov[i].iov_len = octets;
			return i + 1;
		}
		octets -= iov[i].iov_len;
	}
	return iov_count;
}

static ssize_t
write_clear(struct conn *conn)
{
	struct iovec iov[IOV_MAX_HERE];
	struct msghdr message = { .msg_iov = iov };

	message.msg_iovlen = (size_t)conn_output_front(&conn->output, iov, IOV_MAX_HERE);
	if (conn->tls_state == TLS_STATE_DUE)
		message.msg_iovlen = keep_first(iov, message.msg_iovlen, conn->clear_bytes);

	ssize_t written = sendmsg(conn->fd, &message, MSG_NOSIGNAL);

	if (written >= 0)
		return written;
	if (errno != EAGAIN && errno != EINTR)
		conn_end_by_errno(conn, "write");
	return -1;
}

/*
 * The octets of the next record: as they lie if the first piece fills one, else several small
 * pieces together.  A write that blocked is repeated with the same octets in front, as it must
 * be, for the queue only grows at its end.
 */
static struct span
gather_record(struct conn *conn)
{
	struct iovec iov[IOV_MAX_HERE];
	int count = conn_output_front(&conn->output, iov, IOV_MAX_HERE);
	size_t len = 0;

	if (count == 0)
		return SPAN("");
	if (count == 1 || iov[0].iov_len >= RECORD_BYTES)
		return span_make(iov[0].iov_base, iov[0].iov_len);
	for (int i = 0; i < count && len < RECORD_BYTES; i++) {
		size_t more = iov[i].iov_len < RECORD_BYTES - len ? iov[i].iov_len
		    : RECORD_BYTES - len;

		memcpy(conn->loop->scratch + len, iov[i].iov_base, more);
		len += more;
	}
	return span_make(conn->loop->scratch, len);
}

static ssize_t
write_tls(struct conn *conn)
{
	struct err err = { .kind = ERR_NONE };
	struct span record = gather_record(conn);
	size_t written = 0;

	if (record.len == 0)
		return 0;
	conn->write_blocked_on_read = false;
	switch (tls_stream_write(conn->tls, record, &written, &err)) {
	case TLS_STEP_DONE:
		return (ssize_t)written;
	case TLS_STEP_WANTS_READ:
		conn->write_blocked_on_read = true;
		return -1;
	case TLS_STEP_WANTS_WRITE:
		return -1;
	case TLS_STEP_ENDED:
	case TLS_STEP_FAILED:
		break;
	}
	conn_end(conn, CONN_END_TLS, &err);
	return -1;
}

/* All has left: what was to happen behind it. */
static void
output_is_empty(struct conn *conn)
{
	if (!conn->end_output_wanted || conn->output_ended)
		return;
	conn->output_ended = true;
	if (conn->tls_state == TLS_STATE_ON)
		tls_stream_shutdown(conn->tls);
	(void)shutdown(conn->fd, SHUT_WR);
	if (!conn->closing)
		return;
	if (conn->input_eof || conn->linger_ms == 0)
		conn_end(conn, CONN_END_FLUSHED, NULL);
	else
		loop_timer_start(conn->loop, &conn->progress, conn->linger_ms);
}

static void
watch_progress(struct conn *conn, bool progressed)
{
	if (conn->ended || conn->tls_state == TLS_STATE_HANDSHAKE || conn->output_ended)
		return;
	if (conn->output.bytes == 0)
		loop_timer_stop(conn->loop, &conn->progress);
	else if (progressed || !loop_timer_is_running(&conn->progress))
		loop_timer_start(conn->loop, &conn->progress, conn->settings.output_timeout_ms);
}

/* Output may leave now, in clear or under TLS. */
static bool
may_write(const struct conn *conn)
{
	switch (conn->tls_state) {
	case TLS_STATE_CLEAR:
	case TLS_STATE_ON:
		return true;
	case TLS_STATE_DUE:
		return conn->clear_bytes > 0;
	case TLS_STATE_HANDSHAKE:
	case TLS_STATE_OVER:
		return false;
	}
	must_not_reach();
}

/* The handshake begins, or, if the connection is to close, it never will. */
static void
step_towards_tls(struct conn *conn)
{
	if (conn->ended)
		return;
	if (conn->closing && (conn->tls_state == TLS_STATE_HANDSHAKE ||
	    (conn->tls_state == TLS_STATE_DUE && conn->clear_bytes == 0))) {
		conn->tls_state = TLS_STATE_OVER;
		conn->read_blocked_on_write = false;
		conn_output_clear(&conn->output);
		loop_timer_stop(conn->loop, &conn->progress);
	} else if (conn->tls_state == TLS_STATE_DUE && conn->clear_bytes == 0) {
		conn_begin_tls(conn);
	}
}

void
conn_flush(struct conn *conn)
{
	bool progressed = false;

	conn->write_blocked = false;
	while (!conn->ended && conn->output.first && may_write(conn)) {
		bool tls = conn->tls_state == TLS_STATE_ON;
		ssize_t written = tls ? write_tls(conn) : write_clear(conn);

		if (conn->ended)
			return;
		if (written < 0) {
			conn->write_blocked = true;
			break;
		}
		progressed = true;
		if (conn->tls_state == TLS_STATE_DUE)
			conn->clear_bytes -= (size_t)written;
		conn_output_consume(&conn->output, (size_t)written);
	}
	step_towards_tls(conn);
	watch_progress(conn, progressed);
	if (!conn->output.first && !conn->ended)
		output_is_empty(conn);
	if (!conn->ended && conn->was_full &&
	    conn->output.bytes <= conn->settings.output_low_bytes) {
		conn->was_full = false;
		conn->ops->drained(conn->ctx);
	}
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
	conn_update_interest(conn);
}

