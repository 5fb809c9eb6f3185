#ifndef RELAY_NET_CONN_PRIVATE_H
#define RELAY_NET_CONN_PRIVATE_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>

#include "relay/base/buf.h"
#include "relay/net/conn.h"
#include "relay/net/conn_output.h"
#include "relay/net/loop_private.h"
#include "relay/net/tls_stream.h"

/* For listener.c and dial.c: a silent connection.  Takes the fd, which must not block. */
struct conn *conn_new(int fd, const struct endpoint *peer, const struct endpoint *local);

/*
 * The inside of a connection, for its three files: conn.c (life, TLS, events), conn_input.c and
 * conn_flush.c.
 */
enum tls_state {
	TLS_STATE_CLEAR,
	TLS_STATE_DUE,                  /* when the output so far has left */
	TLS_STATE_HANDSHAKE,
	TLS_STATE_ON,
	TLS_STATE_OVER,                 /* given up before it began: nothing can be said any more */
};

struct conn {
	int fd;
	bool started, ended, freed;
	bool input_paused, input_eof;   /* the peer sends no more */
	bool read_blocked_on_write, write_blocked, write_blocked_on_read;
	bool was_full;
	bool end_output_wanted, output_ended, closing;
	enum tls_state tls_state;
	struct tls_stream *tls;
	struct loop *loop;
	struct conn_settings settings;
	const struct conn_ops *ops;
	void *ctx;
	struct endpoint peer, local;
	struct buf input;
	struct conn_output output;
	size_t clear_bytes;                     /* TLS_STATE_DUE: output that leaves in clear */
	uint64_t linger_ms;
	ev_io io;
	struct loop_timer deadline, progress;   /* the owner's; output, handshake or linger */
	struct loop_task task;                  /* flush, and offer what waits */
	struct err *late_err;                   /* found in a call, told at the turn's end */
};

/* Only from the loop's callbacks, never from inside a call of the owner. */
void conn_end(struct conn *conn, enum conn_end how, const struct err *err);
void conn_end_by_errno(struct conn *conn, const char *what);

/* The output that was to leave in clear has left. */
void conn_begin_tls(struct conn *conn);

/* The one place that starts or stops the watcher. */
void conn_update_interest(struct conn *conn);

/* Input may be given to the owner now. */
bool conn_may_offer(const struct conn *conn);
void conn_offer_waiting(struct conn *conn);
void conn_read_some(struct conn *conn);
void conn_flush(struct conn *conn);

#endif
