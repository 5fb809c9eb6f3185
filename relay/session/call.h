#ifndef RELAY_SESSION_CALL_H
#define RELAY_SESSION_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/err.h"
#include "relay/base/span.h"
#include "relay/mail/envelope.h"
#include "relay/mail/reply.h"
#include "relay/net/conn.h"
#include "relay/net/endpoint.h"
#include "relay/net/loop.h"
#include "relay/net/tls.h"
#include "relay/session/call_login.h"

/*
 * One connection to a next hop: dial, greeting, EHLO or LHLO, STARTTLS where
 * the policy wants it, then messages one after another, QUIT.  It belongs to
 * one loop's thread.  It draws every conclusion about the connection and none
 * about the mail: what to try next, when and where is for the caller.
 *
 * No callback comes from inside a call to this header.
 */
struct call;

enum call_protocol {
	CALL_SMTP,
	CALL_LMTP,
};

enum call_tls {
	CALL_TLS_NONE,          /* never */
	/* if offered; if it fails, once more in clear on a new connection */
	CALL_TLS_MAY,
	CALL_TLS_REQUIRE,       /* encrypted, whoever it is */
	CALL_TLS_VERIFY,        /* the CA vouches for the host's name */
	CALL_TLS_FINGERPRINT,   /* the certificate is one of the pinned ones */
};

struct call_settings {
	struct span host;                       /* name of the next hop: SNI, verification, words */
	const struct endpoint *addresses;       /* of this host, in the order to try; copied */
	size_t address_count;
	const struct endpoint *source_ipv4;     /* NULL: the kernel's choice */
	const struct endpoint *source_ipv6;
	enum call_protocol protocol;
	struct span hello;                      /* our name, for EHLO */
	enum call_tls tls;
	bool tls_implicit;                      /* TLS from the first byte; not with MAY or NONE */
	struct tls_context *tls_context;        /* a client's; referenced; NULL only with NONE */
	const uint8_t (*fingerprints)[TLS_FINGERPRINT_BYTES];
	size_t fingerprint_count;
	/* Who we are there; NULL: nobody asks.  Counted; said under TLS only. */
	struct call_login *login;
	/* Times to wait; 0 takes the default, RFC 5321 section 4.5.3.2 where it has one. */
	uint64_t connect_timeout_ms;            /* one address; 30 s */
	uint64_t open_timeout_ms;               /* from the start to ready(); 5 minutes */
	uint64_t greeting_timeout_ms;           /* 5 minutes */
	uint64_t hello_timeout_ms;              /* 5 minutes */
	uint64_t mail_timeout_ms;               /* MAIL, RCPT; 5 minutes */
	uint64_t data_timeout_ms;               /* DATA; 2 minutes */
	uint64_t body_timeout_ms;               /* no progress of the body; 3 minutes */
	uint64_t dot_timeout_ms;                /* reply to the final dot; 10 minutes */
	uint64_t quit_timeout_ms;               /* 5 s */
	uint64_t idle_timeout_ms;               /* unused while ready; 30 s */
};

/* Why a call ended, or could not begin: the classes that retry schedules know. */
enum call_end {
	CALL_END_QUIT,          /* as asked, by call_quit() */
	CALL_END_IDLE,          /* nobody used it for the idle time */
	CALL_END_CONNECT,       /* no address answered */
	CALL_END_TLS,           /* not offered, handshake, certificate */
	/* the host turned us away: 4yz or 5yz to greeting or EHLO; or AUTH failed, always a 4yz */
	CALL_END_GREETING,
	CALL_END_PROTOCOL,      /* what it says is not SMTP */
	CALL_END_TIMEOUT,       /* it did not answer in time */
	CALL_END_LOST,          /* it closed the connection, or the network did */
	CALL_END_CLOSING,       /* it said 421 */
};

struct call_result {
	enum call_end end;
	struct reply reply;             /* the peer's words if any, else ours, as a 4yz or 5yz */
	bool from_peer;                 /* `reply` is what it said */
	struct err err;                 /* the reason in words; ERR_NONE after quit and idle */
	struct endpoint address;        /* of the last connection; family NONE if there was none */
	bool was_ready;                 /* ready() had come: the host had been good */
};

/* What became of one recipient in one transaction. */
enum call_fate {
	CALL_FATE_DELIVERED,    /* the peer took responsibility: 2yz */
	CALL_FATE_DEFERRED,     /* the peer said 4yz, for this recipient or the message */
	CALL_FATE_FAILED,       /* the peer said 5yz; or it lacks what the message needs */
	CALL_FATE_UNCERTAIN,    /* lost after the final dot began to leave: it may have it */
	CALL_FATE_UNTRIED,      /* the connection ended before: nothing of this was decided */
};

struct call_outcome {
	size_t rcpt;                    /* index into the envelope */
	enum call_fate fate;
	struct reply reply;             /* the peer's words; ours where it said nothing */
};

/*
 * Where a body comes from: pieces in order, wire form (CRLF lines, not
 * dot-stuffed).  The caller implements it; memory and disk look the same.
 */
enum body_step {
	BODY_PIECE,             /* *piece_out is the next one */
	BODY_WAIT,              /* none yet; call_body_ready() follows */
	BODY_END,               /* that was all */
	BODY_FAILED,            /* it cannot be read: the connection must be cut */
};

struct body_source {
	/*
	 * The next piece, never empty.  It stays as it is until release() is
	 * called for it; pieces are released in the order they were given.
	 */
	enum body_step (*pull)(struct body_source *source, struct span *piece_out);
	void (*release)(struct body_source *source, struct span piece);
};

struct call_message {
	const struct envelope *envelope;        /* borrowed until message_done() */
	const size_t *rcpts;                    /* indices into it; copied */
	size_t rcpt_count;
	struct body_source *body;               /* borrowed until message_done(), at its start */
	uint64_t body_bytes;                    /* for SIZE */
};

struct call_ops {
	/* The session is open: call_send() may follow.  Once for a call. */
	void (*ready)(void *ctx, struct call *call);
	/*
	 * A message is through, with one outcome for each of its recipients.  The
	 * call takes the next one unless closed() follows in the same turn: ask
	 * call_is_ready().
	 */
	void (*message_done)(void *ctx, struct call *call, const struct call_outcome *outcomes,
	    size_t outcome_count);
	/* The last callback.  message_done() of an unfinished message comes before it. */
	void (*closed)(void *ctx, struct call *call, const struct call_result *result);
};

struct call *call_start(struct loop *loop, const struct call_settings *settings,
    const struct call_ops *ops, void *ctx);

/* A pooled call changes hands. */
void call_set_ops(struct call *call, const struct call_ops *ops, void *ctx);

/* Ready for a message now. */
bool call_is_ready(const struct call *call);

/* The call must be ready.  message_done() follows, whatever happens. */
void call_send(struct call *call, const struct call_message *message);

/* After BODY_WAIT: pull again. */
void call_body_ready(struct call *call);

/* Ends politely, after the message under way; closed() follows. */
void call_quit(struct call *call);

/* Ends it now, in any callback or between; no callback comes any more. */
void call_free(struct call **call);

/*
 * "relay2.example.net[192.0.2.7]:25", for log and queue; without the address while none of
 * several has answered.  Valid while the call lives.
 */
const char *call_peer_text(const struct call *call);
const struct endpoint *call_peer(const struct call *call);

/* NULL in clear. */
const struct tls_info *call_tls_info(const struct call *call);

/*
 * The peer takes the sender's wishes for notices (RFC 3461) and answers for them from here
 * on.  Once ready.
 */
bool call_passes_notices(const struct call *call);

/* What the peer has said that it takes (RFC 9422); 0: nothing.  Once ready. */
struct call_limits {
	uint64_t rcpt_count_max;        /* recipients in a transaction */
	uint64_t message_count_max;     /* transactions on this connection */
};

struct call_limits call_limits(const struct call *call);

size_t call_message_count(const struct call *call);

const char *call_end_name(enum call_end end);
const char *call_fate_name(enum call_fate fate);

#endif
