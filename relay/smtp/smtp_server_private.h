/*
 * The inside of the receiving engine, shared by its files and nobody else.
 *
 *   smtp_server.c        life, the loop over input, answers
 *   smtp_server_reply.c  what is put out: replies, the answer to EHLO
 *   smtp_server_verbs.c  the table of verbs and what each does
 *   smtp_server_body.c   DATA and BDAT from the first octet to the last reply
 *   smtp_server_auth.c   the lines of a SASL exchange
 */
#ifndef RELAY_SMTP_SERVER_PRIVATE_H
#define RELAY_SMTP_SERVER_PRIVATE_H

#include "relay/base/arena.h"
#include "relay/smtp/data_reader.h"
#include "relay/smtp/smtp_server.h"

enum {
	/* RFC 5321 4.5.3.1.4 says 512; the parameters of MAIL and RCPT that we know add to it. */
	COMMAND_LINE_BYTES_MAX = 2048,
	/* Of a line that is too long, before the connection ends. */
	COMMAND_SKIP_BYTES_MAX = 64 << 10,
	AUTH_LINE_BYTES_MAX = 12288,    /* RFC 4954 section 4 */
	VERB_BYTES_MAX = 8,
	/* So many times the limit of recipients a client may name before it is held against him. */
	RCPT_OVER_TIMES_MAX = 9,
};

/* Where the dialogue is: a set of these says where a verb is allowed. */
enum phase {
	PHASE_START = 1 << 0,           /* before the banner */
	PHASE_GREETED = 1 << 1,         /* after it, no HELO yet */
	PHASE_READY = 1 << 2,
	PHASE_MAIL = 1 << 3,            /* a sender, no recipient */
	PHASE_RCPT = 1 << 4,            /* a recipient at least */
	PHASE_CHUNKS = 1 << 5,          /* between two BDATs of one message */
	PHASE_REFUSED = 1 << 6,         /* 554 in the place of the banner */
	PHASE_ANY = PHASE_GREETED | PHASE_READY | PHASE_MAIL | PHASE_RCPT | PHASE_CHUNKS,
};

/* The question that is open. */
enum question {
	QUESTION_NONE,
	QUESTION_OPEN,
	QUESTION_HELLO,
	QUESTION_MAIL,
	QUESTION_RCPT,
	QUESTION_DATA,
	QUESTION_CHUNK,                 /* data() at the first BDAT */
	QUESTION_END,
	QUESTION_AUTH,
};

enum stage {
	STAGE_COMMAND,
	STAGE_SKIP_LINE,                /* the rest of a command line that is too long */
	STAGE_DATA,
	STAGE_CHUNK,
	STAGE_OUTCOMES,                 /* LMTP: replies that still have to go out */
	STAGE_AUTH,
};

/* How the connection ends. */
enum ending {
	ENDING_NONE,
	ENDING_CLOSE,
	ENDING_CUT,
};

struct smtp_server {
	const struct smtp_server_settings *settings;
	const struct smtp_server_ops *ops;
	void *ctx;
	struct buf out;
	struct arena arena;             /* of the command that is being read */

	enum phase phase;
	enum stage stage;
	enum question question;
	enum ending ending;
	bool extended, tls, authenticated;
	bool wants_tls;                 /* STARTTLS was answered with 220 */
	bool group_ended;               /* no byte may come before the reply has left */
	bool spoke_early;               /* one came while its question was open */
	bool open;                      /* a transaction that the application knows of */
	bool asking;                    /* inside an operation of the application */
	bool wants_room;
	const char *drain_status;       /* the words of drain(); NULL before it */
	const char *drain_text;

	uint32_t offers;                /* beyond the settings */
	char *mechanisms;               /* NULL: AUTH is not offered */
	char last_verb[VERB_BYTES_MAX + 1];
	uint64_t command_count;
	size_t skipped_bytes;
	bool skips_auth;                /* the line that is skipped belongs to a SASL exchange */
	size_t mail_count, error_count, useless_count;

	/* The transaction. */
	bool smtputf8;
	size_t rcpt_count, rcpt_over_count;

	/* The body. */
	struct data_reader reader;
	uint64_t body_octets;
	uint64_t chunk_left;
	bool chunk_is_last, chunk_begun;
	bool refused;                   /* what comes is swallowed */
	bool discard_chunk;             /* a BDAT out of place: only its chunk is swallowed */
	struct reply *refusal;          /* made when it is needed: it is large, and rare */
	uint64_t swallowed_bytes;
	size_t outcome_next, outcome_count;
	bool outcomes_are_refusals;
};

/* A reply goes out; 5yz are counted, 421 ends the connection. */
void smtp_server_put_reply(struct smtp_server *s, const struct reply *reply);
void smtp_server_say(struct smtp_server *s, uint16_t code, const char *status, const char *text);

/* The reply, then the end. */
void smtp_server_close(struct smtp_server *s, uint16_t code, const char *status, const char *text);

/* The transaction is over; the application hears of it unless it has answered end(). */
void smtp_server_end_transaction(struct smtp_server *s, enum smtp_reset reason);
void smtp_server_forget_transaction(struct smtp_server *s);

/* The step that an operation returned: act on the reply, wait, or cut. */
void smtp_server_take_step(struct smtp_server *s, enum question question, enum step step,
			   const struct reply *reply);

uint32_t smtp_server_offered(const struct smtp_server *s);
void smtp_server_put_hello(struct smtp_server *s);

/* One command line without its CRLF. */
void smtp_server_command(struct smtp_server *s, struct span line);

/* Body: read from INPUT, return what was consumed; 0 when nothing can be now. */
size_t smtp_server_read_data(struct smtp_server *s, struct span input);
size_t smtp_server_read_chunk(struct smtp_server *s, struct span input);
void smtp_server_begin_data(struct smtp_server *s);
void smtp_server_begin_chunk(struct smtp_server *s, const struct reply *reply);
void smtp_server_finish_body(struct smtp_server *s, const struct reply *reply);
void smtp_server_put_outcomes(struct smtp_server *s);
enum step smtp_server_bdat(struct smtp_server *s, struct span args, struct reply *reply);

/* AUTH: the command, a further line, the answer. */
enum step smtp_server_auth(struct smtp_server *s, struct span args, struct reply *reply);
void smtp_server_auth_line(struct smtp_server *s, struct span line);
void smtp_server_auth_answered(struct smtp_server *s, const struct reply *reply);

#endif
