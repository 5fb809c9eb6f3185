/*
 * The receiving side of SMTP and LMTP: bytes in, bytes out, and questions to the application.
 *
 * The engine has no socket, clock or file.  The session feeds it what was read, writes what it
 * puts out, and does what smtp_server_wants() says.  The application answers the questions of
 * struct smtp_server_ops at once (STEP_REPLY) or later (STEP_PARK, then smtp_server_answer());
 * while a question is open the engine reads nothing.
 *
 *	smtp_server_open(s);
 *	loop:
 *		consumed = smtp_server_feed(s, input);       keep what was not consumed
 *		write smtp_server_output(s), consume it there
 *		switch (smtp_server_wants(s)) ...
 *
 * After smtp_server_answer(), _resume(), _tls_done() and after output was drained, feed again
 * with what is left of the input.  Input is parsed in place: nothing is copied but the addresses
 * and parameters that the application keeps.  The session's input buffer must be able to hold
 * SMTP_SERVER_INPUT_BYTES_MIN.
 *
 * RFC 5321, 1870, 2033, 2034, 2920, 3030, 3207, 3461, 4954, 6152, 6531, 9422.
 * One thread at a time.
 */
#ifndef RELAY_SMTP_SMTP_SERVER_H
#define RELAY_SMTP_SMTP_SERVER_H

#include "relay/base/buf.h"
#include "relay/base/span.h"
#include "relay/mail/reply.h"
#include "relay/smtp/smtp_capability.h"
#include "relay/smtp/smtp_param.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct smtp_server;

enum {
	/* RFC 4954 section 4: a line of a SASL exchange; every other line is shorter. */
	SMTP_SERVER_INPUT_BYTES_MIN = 12288 + 2,
	/* Room that is free in the output before a command is read: the longest answer to EHLO. */
	SMTP_SERVER_REPLY_BYTES_MAX = 2048,
	SMTP_SERVER_OUTPUT_BYTES_MAX = 16384,
};

/* Borrowed, and must not change, as long as the server lives: a snapshot may serve many. */
struct smtp_server_settings {
	struct span hostname;           /* in banner and EHLO */
	bool lmtp;                      /* RFC 2033: LHLO, one reply a recipient */
	uint32_t offered;               /* set of enum smtp_capability; STARTTLS only if wanted */
	uint64_t size_max;              /* octets of a message; 0: no limit */
	size_t rcpt_count_max;          /* a transaction: then 452 4.5.3; 0: no limit */
	size_t mail_count_max;          /* transactions a connection: then 421; 0: no limit */
	size_t error_count_max;         /* replies 5yz to commands: then 421; 0: no limit */
	/* commands since the last message that lead to none; 0: no limit */
	size_t useless_count_max;
	size_t text_line_bytes_max;     /* RFC 5321 4.5.3.1.6 says 1000, with CRLF; 0: no limit */
	uint64_t swallow_bytes_max;     /* of a refused body, before the connection ends; 0: none */
};

/* Good values for all but the hostname. */
void smtp_server_settings_init(struct smtp_server_settings *settings);

/* What an operation says. */
enum step {
	STEP_REPLY,             /* the reply was filled */
	STEP_PARK,              /* smtp_server_answer() will follow; never from inside the call */
	STEP_CHALLENGE,         /* only from auth(): the challenge was filled */
	STEP_CUT,               /* end the connection at once and without a word */
};

struct smtp_hello {
	struct span name;       /* the argument, up to 255 printable octets */
	bool extended;          /* EHLO or LHLO */
	bool is_domain;         /* it has the form that RFC 5321 section 4.1.1.1 asks */
};

/* What was seen in a body. */
struct smtp_body_facts {
	uint64_t octets;                /* unstuffed */
	bool has_8bit;                  /* an octet above 127 */
	bool header_has_8bit;           /* and one of them before the first empty line */
};

struct smtp_auth_step {
	struct span mechanism;
	struct span response;           /* decoded */
	bool has_response;              /* "=" is an empty one, and none at all is another thing */
};

/* Why a transaction ended without end() having been answered. */
enum smtp_reset {
	SMTP_RESET_BY_CLIENT,   /* RSET, or HELO, EHLO, LHLO */
	/* the engine refused the body; the client has been told, or will be */
	SMTP_RESET_REFUSED,
	/* the connection is over; an open question needs no answer any more */
	SMTP_RESET_LOST,
};

/*
 * The questions.  Spans are valid during the call.  A reply of 421 ends the connection after it
 * was sent.  What the reply's code must be is said at each; another one is our own bug.
 */
struct smtp_server_ops {
	/*
	 * A connection: 220 (the text is the engine's, give any), 421 or another code to refuse it
	 * and end it, 554 to refuse it and wait for QUIT.
	 */
	enum step (*open)(void *ctx, struct reply *reply);

	/*
	 * 250, or a refusal.  The application may call smtp_server_offer() and
	 * smtp_server_set_mechanisms() here, before it answers.
	 */
	enum step (*hello)(void *ctx, const struct smtp_hello *hello, struct reply *reply);

	/*
	 * A transaction begins: 250 (or 355, RFC 1845), or a refusal.  From a positive answer, or
	 * from STEP_PARK, the transaction is open until end() is answered, reset() is called, or
	 * this question is answered with a refusal.
	 */
	enum step (*mail)(void *ctx, const struct smtp_mail *mail, struct reply *reply);

	/* 250, or a refusal. */
	enum step (*rcpt)(void *ctx, const struct smtp_rcpt *rcpt, struct reply *reply);

	/*
	 * May the body come?  354, or a refusal.  There is at least one recipient.  Asked at DATA
	 * and at the first BDAT, where 354 is not sent.  After a refusal of DATA the transaction
	 * is still open, and the client may add recipients or ask again.
	 */
	enum step (*data)(void *ctx, struct reply *reply);

	/*
	 * Octets of the body, unstuffed and checked, never none.  Returns how many were taken;
	 * with fewer the engine waits for smtp_server_resume() and offers the rest again.  An
	 * application that cannot go on calls smtp_server_refuse_body() here or later.
	 */
	size_t (*body)(void *ctx, struct span octets);

	/*
	 * The whole body was taken.  SMTP: 250, or a refusal; the transaction is over with the
	 * answer.  LMTP: any reply says that outcome() may be asked.
	 */
	enum step (*end)(void *ctx, const struct smtp_body_facts *facts, struct reply *reply);

	/* LMTP only, after end(): the fate of the accepted recipient INDEX, asked in order. */
	void (*outcome)(void *ctx, size_t index, struct reply *reply);

	/* An open transaction ended otherwise; called exactly once for it. */
	void (*reset)(void *ctx, enum smtp_reset reason);

	/*
	 * One step of a SASL exchange.  The first has the mechanism (one of those set, upper case)
	 * and perhaps an initial response; the following have an empty mechanism.  STEP_CHALLENGE
	 * with the octets in CHALLENGE (the engine does base64), or a final reply: 235, or a
	 * refusal (535, 454, 534).  NULL where no mechanisms are set.
	 */
	enum step (*auth)(void *ctx, const struct smtp_auth_step *auth_step, struct buf *challenge,
			  struct reply *reply);

	/* The client gave the SASL exchange up, or it was malformed.  NULL as above. */
	void (*auth_cancelled)(void *ctx);

	/*
	 * The last call, exactly once, from smtp_server_free(); after the reset() of an open
	 * transaction.  An open question needs no answer any more.
	 */
	void (*closed)(void *ctx);
};

struct smtp_server *
smtp_server_new(const struct smtp_server_settings *settings, const struct smtp_server_ops *ops,
		void *ctx);

/* Ends whatever is open by reset(SMTP_RESET_LOST), then closed().  Not from inside an operation. */
void smtp_server_free(struct smtp_server **server);

/* Ask open() and put out the banner.  With implicit TLS call smtp_server_tls_done() before. */
void smtp_server_open(struct smtp_server *server);

/*
 * Read INPUT as far as that is possible now; returns how many bytes were.  The rest is offered
 * again, from its beginning, in the next call.  Bytes before the banner, behind STARTTLS, and
 * behind a command that must be the last of its group (RFC 2920 section 3.1) while its reply has
 * not been drained, end the connection.
 */
size_t smtp_server_feed(struct smtp_server *server, struct span input);

/* What has to be written.  The session consumes what it wrote. */
struct buf *smtp_server_output(struct smtp_server *server);

/* What the engine waits for.  Output is to be written in every case but CUT. */
enum smtp_server_wants {
	SMTP_SERVER_WANTS_INPUT,        /* more bytes */
	SMTP_SERVER_WANTS_DRAIN,        /* the output to be drained; then feed again */
	SMTP_SERVER_WANTS_ANSWER,       /* smtp_server_answer() */
	SMTP_SERVER_WANTS_ROOM,         /* smtp_server_resume(): body() took less than there was */
	SMTP_SERVER_WANTS_TLS,          /* the output drained, then the handshake */
	SMTP_SERVER_WANTS_CLOSE,        /* the output drained, then the end */
	SMTP_SERVER_WANTS_CUT,          /* the end, now */
};

enum smtp_server_wants smtp_server_wants(const struct smtp_server *server);

/* What the client is expected to do: each has a deadline of its own (RFC 5321 4.5.3.2). */
enum smtp_server_stage {
	SMTP_SERVER_STAGE_COMMAND,
	SMTP_SERVER_STAGE_BODY,         /* octets of DATA or of a BDAT chunk, taken or swallowed */
	SMTP_SERVER_STAGE_AUTH,         /* a line of a SASL exchange */
};

enum smtp_server_stage smtp_server_stage(const struct smtp_server *server);

/* How many whole commands were read: a deadline for a whole line starts anew when it changes. */
uint64_t smtp_server_command_count(const struct smtp_server *server);

/*
 * The answer to the open question.  For mail(), rcpt() and the others as STEP_REPLY would be.
 * Feed again afterwards.  Ignored when the connection is ending: what the client did, or
 * smtp_server_hang_up(), may have made the question void, and nobody had to be told.
 */
void smtp_server_answer(struct smtp_server *server, const struct reply *reply);

/* The answer STEP_CHALLENGE to a parked auth(). */
void smtp_server_challenge(struct smtp_server *server, struct span challenge);

/* The answer STEP_CUT to the open question, or at any other time: wants CUT from here on. */
void smtp_server_cut(struct smtp_server *server);

/* There is room for body octets again.  Harmless when nothing waits for it. */
void smtp_server_resume(struct smtp_server *server);

/*
 * Refuse the body that is coming in.  What is still to come is swallowed and REPLY, 4yz or 5yz,
 * is given at its end (in LMTP to every recipient).  reset(SMTP_RESET_REFUSED) follows at once,
 * or on return from body().  Only between data() and end().
 */
void smtp_server_refuse_body(struct smtp_server *server, const struct reply *reply);

/*
 * The handshake is done: everything learned in clear is forgotten (RFC 3207 section 4.2), the
 * client has to say EHLO again.  Set the mechanisms and offers that hold under TLS now.
 */
void smtp_server_tls_done(struct smtp_server *server);

/* SASL mechanisms to offer, "PLAIN SCRAM-SHA-256", upper case; "" for none.  Copied. */
void smtp_server_set_mechanisms(struct smtp_server *server, struct span mechanisms);

/* Add capabilities for this client (an own node) to those of the settings. */
void smtp_server_offer(struct smtp_server *server, uint32_t capabilities);

/*
 * End the connection with a word, a 421: a deadline has passed, the node is overloaded.  An open
 * question needs no answer any more; an open transaction gets its reset(SMTP_RESET_LOST).
 */
void smtp_server_hang_up(struct smtp_server *server, const struct reply *reply);

/*
 * The same, but only when no transaction is open; else as soon as it is over.  For shutdown.
 * STATUS and TEXT are borrowed as long as the server lives.
 */
void smtp_server_drain(struct smtp_server *server, const char *status, const char *text);

bool smtp_server_has_transaction(const struct smtp_server *server);

/* 554 stood in the place of the banner, and QUIT is all that is waited for. */
bool smtp_server_was_refused(const struct smtp_server *server);

/* In a body, or between two chunks of one. */
bool smtp_server_has_body(const struct smtp_server *server);

bool smtp_server_is_tls(const struct smtp_server *server);
bool smtp_server_is_extended(const struct smtp_server *server);      /* greeted by EHLO or LHLO */
bool smtp_server_is_authenticated(const struct smtp_server *server);

/* Recipients accepted in the open transaction. */
size_t smtp_server_rcpt_count(const struct smtp_server *server);

/* The verb of the command that was read last, for the log: "RCPT"; "" before the first. */
const char *smtp_server_last_verb(const struct smtp_server *server);

#endif
