#ifndef RELAY_SESSION_CALL_PRIVATE_H
#define RELAY_SESSION_CALL_PRIVATE_H

#include "relay/net/dial.h"
#include "relay/session/call.h"
#include "relay/smtp/smtp_client.h"

/* Between call.c (opening, messages, face) and call_wire.c (engine, bytes, end) only. */
struct call {
	struct loop *loop;
	struct call_settings settings;          /* texts and addresses are our own copies */
	char *host;
	char *hello;
	struct endpoint *addresses;
	uint8_t (*fingerprints)[TLS_FINGERPRINT_BYTES];
	const struct call_ops *ops;
	void *ctx;

	struct dial *dial;
	struct conn *conn;
	struct smtp_client *client;
	struct endpoint peer;
	char peer_text[HOST_BYTES_MAX + ENDPOINT_TEXT_BYTES_MAX];
	struct loop_task tell;
	struct loop_task begin_tls;
	struct loop_task redial_task;
	struct sasl_client *sasl;               /* while we say who we are */
	struct smtp_client_settings client_settings;    /* the engine borrows it */
	struct smtp_client_mail mail;                   /* and this */
	struct endpoint source_ipv4, source_ipv6;
	struct loop_timer open_timer;
	struct loop_timer idle_timer;
	uint64_t reply_count;                   /* as the deadline has it */
	enum smtp_client_at at;
	bool has_deadline;
	bool in_clear;                          /* TLS was tried and failed: without it now */
	bool tls_began, secured;
	bool was_ready;                         /* ready() has come */
	bool ready_due;
	bool waits_for_drain;
	bool quitting;
	bool idle_over;                         /* quitting since nobody used it */
	bool redial;                            /* TLS failed: a new connection is due */
	bool ended;                             /* result says how */
	bool freed;
	struct call_result result;

	/* the message under way */
	bool sending;
	bool done_due;
	struct body_source *body;
	struct span piece;                      /* lent by the source, not all written yet */
	size_t piece_written;
	size_t *rcpts;
	size_t rcpt_count;
	struct smtp_client_rcpt *client_rcpts;
	struct call_outcome *outcomes;
	size_t outcome_count;
	size_t message_count;
};

/* ---- call_wire.c ---- */

extern const struct conn_ops call_conn_ops;
extern const struct smtp_client_ops call_client_ops;

/* Writes what the engine has and does what it wants. */
void call_pump(struct call *call);

/* The first to say why is heard; closed() follows at the end of the turn. */
void call_end(struct call *call, enum call_end end, const struct reply *reply,
    const struct err *err);

/* The same, and a message under way has its outcomes first. */
void call_end_with_message(struct call *call, enum call_end end, const struct reply *reply,
    const struct err *err);

/* The task of the turn's end: what the user has to hear. */
void call_tell(void *ctx);
void call_close_wire(struct call *call);
void call_release_piece(struct call *call);
void call_forget_message(struct call *call);

/* ---- call.c ---- */

/* TLS may be, and was not to be had: once more without it, at the end of the turn. */
void call_dial_again(struct call *call);

#endif
