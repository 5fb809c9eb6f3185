#ifndef RELAY_SESSION_SERVE_H
#define RELAY_SESSION_SERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/err.h"
#include "relay/base/span.h"
#include "relay/mail/reply.h"
#include "relay/net/conn.h"
#include "relay/net/endpoint.h"
#include "relay/net/loop.h"
#include "relay/net/tls.h"
#include "relay/smtp/smtp_server.h"

/*
 * One connection of a client: the socket with its TLS and its deadlines on one side,
 * the receiving engine on the other.  The application answers the engine's questions
 * (struct smtp_server_ops) and asks here for what it knows of the client.
 *
 * On one loop's thread.  The operations are called from this file only, never from
 * inside a call to it but for those marked "may call the operations".
 */
struct serve;

struct serve_settings {
	struct smtp_server_settings engine;     /* copied; its spans stay borrowed */
	struct tls_context *tls;                /* referenced; NULL: no TLS at all */
	bool tls_implicit;                      /* from the first byte */
	uint64_t command_timeout_ms;            /* a whole command line; 0: 5 minutes */
	uint64_t data_timeout_ms;               /* no progress of a body; 0: 3 minutes */
	/*
	 * A body must come faster than this on the average, once the grace is over, counted
	 * while we read; 0: however slowly it likes.
	 */
	uint64_t body_bytes_second_min;
	uint64_t body_grace_ms;                 /* 0: 30 s */
	uint64_t session_timeout_ms;            /* all of it; 0: none */
	uint64_t refused_timeout_ms;            /* for QUIT, after 554; 0: 10 seconds */
};

/* Why a session ended, for the log. */
enum serve_end {
	SERVE_END_QUIT,         /* in order: QUIT, or a last reply was sent */
	SERVE_END_LOST,         /* the client or the network closed it */
	SERVE_END_TLS,          /* handshake or record */
	SERVE_END_TIMEOUT,
	SERVE_END_CUT,          /* by us, without a word */
};

struct serve_ops {
	struct smtp_server_ops engine;
	/*
	 * After the handshake (also implicit TLS, then before open()).  May be NULL.  The
	 * place for smtp_server_offer() and _set_mechanisms() that hold under TLS.
	 */
	void (*secured)(void *ctx, const struct tls_info *info);
	/*
	 * The last callback, after the engine's closed(): the application frees what it has
	 * and forgets the serve, which is freed by itself.
	 */
	void (*ended)(void *ctx, enum serve_end end, const struct err *err);
};

/* Takes the connection.  The banner leaves at once, or after the handshake. */
struct serve *serve_start(struct loop *loop, struct conn *conn,
    const struct serve_settings *settings, const struct serve_ops *ops, void *ctx);

struct smtp_server *serve_engine(const struct serve *serve);
const struct endpoint *serve_peer(const struct serve *serve);
const struct endpoint *serve_local(const struct serve *serve);

/* NULL in clear. */
const struct tls_info *serve_tls(const struct serve *serve);

/* The answer to an open question; may call the operations. */
void serve_answer(struct serve *serve, const struct reply *reply);
void serve_challenge(struct serve *serve, struct span challenge);

/* body() took less than it was given: there is room again.  May call the operations. */
void serve_resume(struct serve *serve);

/* Refuse the body under way, from outside of body().  May call the operations. */
void serve_refuse_body(struct serve *serve, const struct reply *reply);

/* The time for a command line from now on, and at most for the one that is waited for. */
void serve_set_command_timeout(struct serve *serve, uint64_t timeout_ms);

/* End without a word; ended() follows from the loop. */
void serve_cut(struct serve *serve);

/* End with 421 as soon as no transaction is open.  May call the operations. */
void serve_drain(struct serve *serve);

/* End it now; closed() and ended() come during the call. */
void serve_end_now(struct serve *serve);

const char *serve_end_name(enum serve_end end);

#endif
