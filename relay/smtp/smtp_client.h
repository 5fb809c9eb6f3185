/*
 * The sending side of SMTP and LMTP: bytes in, bytes out, and calls to the application.
 *
 * The engine has no socket, clock or file.  It greets, asks for TLS, authenticates, and then
 * carries transactions, one after another: MAIL, RCPTs and DATA in one write where the peer has
 * PIPELINING, BDAT where it has CHUNKING and that is wanted.  The peer is taken to be hostile.
 *
 *	smtp_client_feed(c, input)          as bytes come
 *	smtp_client_output(c, &is_body)     the next piece to write, until it is empty;
 *	smtp_client_wrote(c, octets)        after each
 *	smtp_client_wants(c)                what to do next
 *
 * Every operation below may be called from inside feed(), wrote(), output(), resume(), send() and
 * lost(), and may itself call anything here but smtp_client_free() and smtp_client_feed().
 *
 * RFC 5321, 1870, 2033, 2920, 3030, 3207, 3461, 4954, 6152, 6531, 9422.  One thread at a time.
 */
#ifndef RELAY_SMTP_SMTP_CLIENT_H
#define RELAY_SMTP_SMTP_CLIENT_H

#include "relay/base/buf.h"
#include "relay/base/err.h"
#include "relay/base/span.h"
#include "relay/mail/envelope.h"
#include "relay/mail/reply.h"
#include "relay/smtp/smtp_capability.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct smtp_client;

enum {
	SMTP_CLIENT_INPUT_BYTES_MIN = 12288,    /* the session's input buffer holds this much */
	SMTP_CLIENT_OUTPUT_BYTES_MAX = 16384,   /* commands that wait to be written */
};

/* STARTTLS.  Implicit TLS is the session's: it says smtp_client_tls_done() before all else. */
enum smtp_client_tls {
	SMTP_CLIENT_TLS_NEVER,
	SMTP_CLIENT_TLS_IF_OFFERED,
	SMTP_CLIENT_TLS_REQUIRED,       /* not offered: failed() at SMTP_CLIENT_AT_STARTTLS */
};

/* Borrowed as long as the client lives. */
struct smtp_client_settings {
	struct span hostname;           /* our name in EHLO */
	bool lmtp;                      /* RFC 2033 */
	enum smtp_client_tls tls;
	/* SASL mechanisms to use, upper case, the best first: "A B"; "" for no AUTH */
	struct span mechanism;
	bool auth_needs_tls;            /* and never without it: failed() at SMTP_CLIENT_AT_AUTH */
	bool use_chunking;              /* BDAT where it is offered */
	/* A body up to this size leaves by BDAT with its MAIL and RCPTs, before their replies. */
	uint64_t eager_bytes_max;
	uint64_t chunk_bytes_max;       /* of one BDAT; 0: the whole body in one */
	size_t pipeline_count_max;      /* commands without a reply yet; 0: 100 */
};

/* Where in the dialogue: what a reply answers, what a failure befell, what a deadline is for. */
enum smtp_client_at {
	SMTP_CLIENT_AT_GREETING,
	SMTP_CLIENT_AT_HELLO,
	SMTP_CLIENT_AT_STARTTLS,
	SMTP_CLIENT_AT_AUTH,
	SMTP_CLIENT_AT_READY,           /* between transactions */
	SMTP_CLIENT_AT_MAIL,
	SMTP_CLIENT_AT_RCPT,
	SMTP_CLIENT_AT_DATA,            /* DATA, until 354 */
	SMTP_CLIENT_AT_BODY,            /* octets are leaving */
	SMTP_CLIENT_AT_END,             /* the final dot or BDAT LAST has left: the reply to it */
	SMTP_CLIENT_AT_QUIT,
};

struct smtp_client_rcpt {
	struct span address;            /* canonical "local@domain" */
	struct span orcpt;              /* for DSN, as envelope_rcpt has it; "" if none */
	uint8_t notify;                 /* set of enum envelope_notify; 0: none */
};

/*
 * A transaction, borrowed until done().  What the peer does not offer is left out where that
 * does no harm (SIZE, DSN), and refused by us for all recipients where it would (5.6.3, 5.6.7).
 */
struct smtp_client_mail {
	struct span sender;             /* canonical; "" for the null sender */
	const struct smtp_client_rcpt *rcpts;
	size_t rcpt_count;              /* at least one */
	uint64_t body_bytes;            /* exactly what body() will give */
	bool needs_8bit;                /* there are octets above 127 in the body */
	bool needs_utf8;                /* there is UTF-8 in an address or in the header */
	enum envelope_ret ret;
	struct span envid;              /* in xtext; "" if none */
	struct span transid;            /* RFC 1845, without brackets; "" if none */
	struct span origin;             /* in xtext; "" if none */
};

/* The fate of one recipient. */
struct smtp_client_outcome {
	size_t rcpt;                    /* index into the rcpts of the transaction */
	/* the peer's words, or ours: always a code of 2yz, 4yz, 5yz */
	struct reply reply;
	enum smtp_client_at at;         /* what it answers; END for a delivery */
	bool from_peer;                 /* else we ourselves said it */
	/*
	 * The connection ended after the final dot, or all of BDAT LAST, began to leave: the peer
	 * may have the message.  The reply is a 4yz.
	 */
	bool uncertain;
};

/* Why the session is over; no transaction can be sent any more. */
struct smtp_client_failure {
	enum smtp_client_at at;
	bool is_protocol_error;         /* what the peer said is not SMTP */
	bool is_closing;                /* the peer said 421 */
	bool from_peer;                 /* the reply has the peer's words */
	struct reply reply;             /* always a 4yz or 5yz */
	struct err err;                 /* the reason in words */
};

/* What body() says. */
enum smtp_client_body {
	SMTP_CLIENT_BODY_PIECE,         /* *piece_out is the next one, not empty */
	SMTP_CLIENT_BODY_WAIT,          /* smtp_client_resume() will follow */
	SMTP_CLIENT_BODY_END,           /* that was all; the final dot may leave */
	/* it cannot be read: the connection is cut before the dot */
	SMTP_CLIENT_BODY_FAILED,
};

struct smtp_client_ops {
	/* A transaction may be sent: after the greeting, and after each done() unless failed. */
	void (*ready)(void *ctx);

	/*
	 * The next piece of the body, unstuffed.  It must stay as it is until all of it has been
	 * reported by smtp_client_wrote(), or the transaction is done.  When the end is asked for,
	 * the application may wait (SMTP_CLIENT_BODY_WAIT) for its own permission to send the
	 * final dot: nothing of it leaves before SMTP_CLIENT_BODY_END.  By BDAT a message is
	 * complete with its last octet: there the application waits before it gives the last piece
	 * (smtp_client_uses_chunking() tells).
	 */
	enum smtp_client_body (*body)(void *ctx, struct span *piece_out);

	/* The fate of a recipient: exactly once for each of the transaction. */
	void (*outcome)(void *ctx, const struct smtp_client_outcome *outcome);

	/* All outcomes were given; nothing is borrowed any more. */
	void (*done)(void *ctx);

	/*
	 * The session is over, for another reason than smtp_client_quit(); once.  Outcomes and
	 * done() of an open transaction come before it.
	 */
	void (*failed)(void *ctx, const struct smtp_client_failure *failure);

	/*
	 * One step of a SASL exchange: fill RESPONSE for CHALLENGE, both plain octets.  The first
	 * call has HAS_CHALLENGE false: an initial response, or -1 for none.  Later -1 gives the
	 * exchange up.  NULL where no mechanism is set.
	 */
	int (*auth)(void *ctx, bool has_challenge, struct span challenge, struct buf *response);

	/*
	 * The peer said 235.  False: it has not proven what the mechanism asks of it, and is not
	 * believed; the session fails.  May be NULL.
	 */
	bool (*auth_accepted)(void *ctx);
};

struct smtp_client *
smtp_client_new(const struct smtp_client_settings *settings, const struct smtp_client_ops *ops,
		void *ctx);

/* No operation is called: first smtp_client_lost() where outcomes are wanted. */
void smtp_client_free(struct smtp_client **client);

/*
 * Read INPUT; returns how many bytes were read.  The rest, less than one line, is offered again
 * together with what follows it.
 */
size_t smtp_client_feed(struct smtp_client *client, struct span input);

/*
 * The next piece to write; empty when there is none now.  IS_BODY_OUT: it lies within a piece
 * that body() gave, and may be borrowed from there; else it is valid until the next call here.
 */
struct span smtp_client_output(struct smtp_client *client, bool *is_body_out);

/* So many octets of that piece were taken: written, or borrowed for writing. */
void smtp_client_wrote(struct smtp_client *client, size_t octets);

enum smtp_client_wants {
	SMTP_CLIENT_WANTS_INPUT,        /* a reply */
	SMTP_CLIENT_WANTS_MAIL,         /* smtp_client_send() or smtp_client_quit() */
	SMTP_CLIENT_WANTS_BODY,         /* smtp_client_resume() */
	SMTP_CLIENT_WANTS_TLS,          /* the handshake; any input before it: smtp_client_feed() */
	SMTP_CLIENT_WANTS_CLOSE,        /* the end, politely: QUIT was answered, or 421 came */
	SMTP_CLIENT_WANTS_CUT,          /* the end, now */
};

enum smtp_client_wants smtp_client_wants(const struct smtp_client *client);

/* What a reply is waited for: each has a deadline of its own (RFC 5321 4.5.3.2). */
enum smtp_client_at smtp_client_at(const struct smtp_client *client);

/* How many whole replies were read: a deadline starts anew when it changes. */
uint64_t smtp_client_reply_count(const struct smtp_client *client);

/* Begin a transaction; only when WANTS_MAIL. */
void smtp_client_send(struct smtp_client *client, const struct smtp_client_mail *mail);

/* After SMTP_CLIENT_BODY_WAIT: there is more.  Harmless at other times. */
void smtp_client_resume(struct smtp_client *client);

/* After STARTTLS, or at once with implicit TLS. */
void smtp_client_tls_done(struct smtp_client *client);

/* Say QUIT when the transaction under way is done. */
void smtp_client_quit(struct smtp_client *client);

/*
 * The connection is over, or has to be: closed by the peer, reset, a deadline passed.  REPLY
 * (4yz) is our word for recipients without outcome.  Gives all outcomes, done() and failed();
 * wants CUT from here on.  Nothing follows a second call.
 */
void smtp_client_lost(struct smtp_client *client, const struct reply *reply);

/* The open transaction goes by BDAT. */
bool smtp_client_uses_chunking(const struct smtp_client *client);

bool smtp_client_is_tls(const struct smtp_client *client);

/* The mechanism that was chosen, from the first auth() on; "" before it. */
struct span smtp_client_mechanism(const struct smtp_client *client);

/* What the peer said to EHLO; nothing before it. */
const struct smtp_peer *smtp_client_peer(const struct smtp_client *client);

/* Its greeting, for log and explain; code 0 before it. */
const struct reply *smtp_client_greeting(const struct smtp_client *client);

const char *smtp_client_at_name(enum smtp_client_at at);        /* "rcpt" */

#endif
