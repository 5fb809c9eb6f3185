#ifndef RELAY_NET_CONN_H
#define RELAY_NET_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/err.h"
#include "relay/base/span.h"
#include "relay/net/endpoint.h"
#include "relay/net/loop.h"
#include "relay/net/tls.h"

/*
 * A connection: a bounded, timed, pausable stream of bytes, in clear or under
 * TLS, that the user of it sees alike.  It holds buffers only while bytes wait
 * in them.
 *
 * Life: listener or dial gives a conn that is silent.  conn_start() ties it to
 * a loop and to the callbacks.  closed() is the last callback; the user then,
 * or at any moment before, calls conn_free(), after which no callback comes.
 * The memory goes at the end of the turn, so every call here is allowed in
 * every callback.  No callback comes from inside a call to this header.
 */
struct conn;

enum conn_end {
	CONN_END_FLUSHED,       /* conn_close_after_output() is complete */
	CONN_END_PEER,          /* the peer closed or reset it */
	CONN_END_TLS,           /* handshake or TLS record failed; err says why */
	CONN_END_TIMEOUT,       /* the peer did not take our output, or no handshake, in time */
	CONN_END_LIMIT,         /* the input buffer is full and nobody could consume it */
	CONN_END_ERROR,         /* the socket failed; err says why */
};

struct conn_ops {
	/*
	 * Input has come.  Borrowed until the return, which says how many bytes
	 * were consumed; the rest is offered again with what follows it.  Not
	 * called while input is paused.  If it consumed less than all and did
	 * not pause, it is called again when more bytes came.
	 */
	size_t (*input)(void *ctx, struct span input);
	/*
	 * May be NULL.  Asked before each read while no unconsumed input waits: a
	 * place for the bytes to go without a copy, *len_out bytes long, or NULL to
	 * get them by input().  filled() follows before any other input callback.
	 */
	char *(*space)(void *ctx, size_t *len_out);
	void (*filled)(void *ctx, size_t len);
	/* The peer sends no more (half close).  May be NULL: then the end is closed(). */
	void (*input_ended)(void *ctx);
	/* Output was at the high mark or above and is now at the low mark or below. */
	void (*drained)(void *ctx);
	/* The TLS handshake is done: conn_tls() is valid. */
	void (*secured)(void *ctx);
	/* The deadline of conn_set_deadline() has passed.  The conn goes on living. */
	void (*expired)(void *ctx);
	/* The last callback.  The err is valid during the call. */
	void (*closed)(void *ctx, enum conn_end end, const struct err *err);
};

struct conn_settings {
	size_t input_bytes_max;         /* unconsumed input; 0: 16 kB */
	size_t output_high_bytes;       /* 0: 64 kB */
	size_t output_low_bytes;        /* 0: a quarter of the high mark */
	uint64_t output_timeout_ms;     /* no progress of waiting output; 0: 5 minutes */
};

/* The settings are copied.  Only on the thread of the loop, from here on. */
void conn_start(struct conn *conn, struct loop *loop, const struct conn_settings *settings,
    const struct conn_ops *ops, void *ctx);

/* Changes who gets the callbacks (a pooled connection changes hands). */
void conn_set_ops(struct conn *conn, const struct conn_ops *ops, void *ctx);

/* Ends it now, if it has not ended; no callback comes any more.  Started or not. */
void conn_free(struct conn **conn);

const struct endpoint *conn_peer(const struct conn *conn);
const struct endpoint *conn_local(const struct conn *conn);
struct loop *conn_loop(const struct conn *conn);

/*
 * The owner says how much it can take: while paused nothing is read (but the
 * handshake), and the peer meets TCP's own back-pressure.  After resume what
 * waits is offered at the end of this turn.
 */
void conn_pause_input(struct conn *conn);
void conn_resume_input(struct conn *conn);
bool conn_input_is_paused(const struct conn *conn);
size_t conn_input_bytes(const struct conn *conn);

/* In clear: the peer has sent what nobody has read yet. */
bool conn_input_waits(const struct conn *conn);

/*
 * Tell the peer now that its octets have come.  For an owner who has nothing to write, and to
 * whom more is owed at once: the kernel tells it up to 40 ms later, and a peer that collects small
 * writes (RFC 896) keeps the rest back until then.
 */
void conn_acknowledge(struct conn *conn);

/*
 * Output.  conn_write() copies.  conn_write_segment() borrows: the segment and
 * its bytes stay untouched until released() is called, once, when they are
 * sent or never will be (on the loop's thread; also during conn_free()).  All
 * output of a turn leaves in one call at its end.  Output after the end of
 * the connection is dropped.
 */
struct conn_segment {
	struct conn_segment *next;
	struct span bytes;
	void (*released)(void *ctx);    /* may be NULL */
	void *ctx;
};

void conn_write(struct conn *conn, struct span bytes);
void conn_write_segment(struct conn *conn, struct conn_segment *segment);
size_t conn_output_bytes(const struct conn *conn);

/* At the high mark or above: stop writing until drained(). */
bool conn_output_is_full(const struct conn *conn);

/*
 * One deadline for what the owner now waits for (a whole line, a whole reply):
 * bytes that trickle in do not move it.  Setting replaces; expired() follows.
 */
void conn_set_deadline(struct conn *conn, uint64_t delay_ms);
void conn_clear_deadline(struct conn *conn);

/*
 * Starts TLS after all output written so far has left in clear.  From the call
 * on no byte is read but by the handshake, which has its own deadline.  If any
 * input waits unconsumed (bytes behind STARTTLS) the connection ends with
 * CONN_END_TLS.  The contexts and the peer are kept, or copied, as needed.
 * Once started there is no way back to clear: when TLS ends the conn ends.
 */
void conn_start_tls_server(struct conn *conn, struct tls_context *context);
void conn_start_tls_client(struct conn *conn, struct tls_context *context,
    const struct tls_peer *peer);

/* What the handshake found; NULL in clear or before secured(). */
const struct tls_info *conn_tls(const struct conn *conn);

/* Sends the rest of the output, then our direction is closed; input goes on. */
void conn_end_output(struct conn *conn);

/*
 * Sends the rest of the output, closes our direction and waits a moment for
 * the peer to close its own, so that a last reply is not lost to a reset.
 * Input is discarded.  closed(CONN_END_FLUSHED) follows, bounded by linger_ms
 * after the output left, or another end.
 */
void conn_close_after_output(struct conn *conn, uint64_t linger_ms);

const char *conn_end_name(enum conn_end end);

#endif
