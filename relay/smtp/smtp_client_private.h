/*
 * The inside of the sending engine, shared by its files and nobody else.
 *
 *   smtp_client.c        life, input, output, the way to READY and out again
 *   smtp_client_mail.c   a transaction from MAIL to its last outcome
 *   smtp_client_body.c   its body, by DATA and by BDAT
 */
#ifndef RELAY_SMTP_CLIENT_PRIVATE_H
#define RELAY_SMTP_CLIENT_PRIVATE_H

#include "relay/smtp/data_writer.h"
#include "relay/smtp/reply_reader.h"
#include "relay/smtp/smtp_client.h"

/* What a reply answers.  Replies come in the order of commands: that is all of pipelining. */
enum expected_kind {
	EXPECTED_GREETING,
	EXPECTED_EHLO,
	EXPECTED_HELO,
	EXPECTED_STARTTLS,
	EXPECTED_AUTH,
	EXPECTED_RSET,
	EXPECTED_MAIL,
	EXPECTED_RCPT,
	EXPECTED_DATA,
	EXPECTED_CHUNK,                 /* a BDAT that is not the last */
	/* the final dot or BDAT LAST: all recipients, or RCPT in LMTP */
	EXPECTED_END,
	EXPECTED_EMPTY_END,             /* of a body that nobody is left to receive */
	EXPECTED_QUIT,
};

struct expected {
	enum expected_kind kind;
	size_t rcpt;
	uint64_t said_at;               /* octets of commands that leave before it may come */
};

enum client_state {
	CLIENT_OPENING,
	CLIENT_WAITS_TLS,
	CLIENT_READY,
	CLIENT_MAIL,                    /* a transaction is open */
	CLIENT_QUITTING,
	CLIENT_CLOSED,                  /* the end, politely */
	CLIENT_CUT,
};

enum rcpt_fate {
	RCPT_UNSENT,
	RCPT_SENT,
	RCPT_ACCEPTED,
	RCPT_SETTLED,                   /* its outcome was given */
};

enum body_state {
	BODY_NOT_YET,
	BODY_DUE,                       /* 354 came, or BDAT may begin */
	BODY_LEAVING,
	BODY_LEFT,                      /* the end was put out; its reply is waited for */
};

struct smtp_client {
	const struct smtp_client_settings *settings;
	const struct smtp_client_ops *ops;
	void *ctx;
	struct buf out;
	struct reply_reader reader;
	enum client_state state;
	bool tls, extended, quit_wanted, needs_rset, first_line;
	bool closing;                   /* 421 came: no further transaction */
	unsigned int challenge_count;
	struct span mechanism;          /* of the settings, the one in use */
	struct smtp_peer peer;
	struct reply greeting;
	uint64_t reply_count;
	uint64_t commands_wrote;        /* octets of them */

	struct expected *expected;      /* a ring */
	size_t expected_first, expected_count, expected_capacity;

	/* The transaction. */
	const struct smtp_client_mail *mail;
	enum rcpt_fate *fates;
	size_t fates_capacity, rcpt_next, accepted_count, answered_count, settled_count;
	bool mail_sent, data_sent, mail_refused, chunking;
	enum body_state body;
	bool waits_for_body, end_began;
	struct data_writer writer;      /* by DATA */
	struct data_reader check;       /* by BDAT */
	struct span piece;              /* of body(): what has not left yet */
	struct span wire;               /* the part that is being written */
	size_t wire_octets;             /* octets of the body that it stands for */
	struct span end;                /* the final dot */
	uint64_t body_sent, chunk_left;
	bool chunk_is_last;
};

void smtp_client_expect(struct smtp_client *c, enum expected_kind kind, size_t rcpt);
void smtp_client_fail(struct smtp_client *c, enum smtp_client_at at, const struct reply *reply,
		      bool from_peer, bool is_protocol_error, const char *why);

/* The next commands of the open transaction, as many as may be sent now. */
void smtp_client_advance(struct smtp_client *c);

/* A reply to something of the transaction. */
void smtp_client_mail_reply(struct smtp_client *c, struct expected what, const struct reply *reply);

/* No more replies will come: every recipient without an outcome gets one, then done(). */
void smtp_client_abandon(struct smtp_client *c, enum smtp_client_at at, const struct reply *reply,
			 bool from_peer);

void smtp_client_begin_chunk(struct smtp_client *c);

/* The next piece of the body to write; empty when there is none now. */
struct span smtp_client_body_output(struct smtp_client *c, bool *is_body_out);
void smtp_client_body_wrote(struct smtp_client *c, size_t octets);

/* The transaction is over: READY, QUIT if it is wanted, and the application may go on. */
void smtp_client_ready(struct smtp_client *c);

#endif
