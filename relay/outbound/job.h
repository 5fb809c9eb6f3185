#ifndef RELAY_OUTBOUND_JOB_H
#define RELAY_OUTBOUND_JOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "queue/body.h"
#include "queue/queue.h"
#include "queue/retry.h"
#include "relay/mail/envelope.h"
#include "relay/mail/reply.h"
#include "relay/net/loop.h"
#include "relay/net/token.h"
#include "relay/outbound/way.h"
#include "relay/session/call.h"

/*
 * One attempt on its way between hub and worker: the question and, when it comes
 * back, the answer.  It is on one thread at a time, posted whole, and always comes
 * back exactly once.
 */
enum {
	JOB_HOST_COUNT_MAX = 16,
	JOB_PEER_BYTES = 200,
	JOB_WORDS_BYTES = 200,
	JOB_TLS_BYTES = 100,
};

struct pool;

enum job_end {
	JOB_TRIED,              /* outcomes and hosts say what became of it */
	JOB_NOT_STARTED,        /* no connection was to be had; no attempt */
	JOB_CUT,                /* ended by us before its end: outcomes hold what is known */
	JOB_GONE,               /* the queue does not have the message any more */
	JOB_DAMAGED,            /* it cannot be read back whole: nothing was sent */
	JOB_LOCAL,              /* trouble of our own: later */
};

enum job_host_state {
	JOB_HOST_UNUSED,
	JOB_HOST_GOOD,
	JOB_HOST_BAD,
};

struct job_host {
	uint8_t host;                           /* index into the way's and the destination's */
	uint16_t preference;
	enum job_host_state state;
	enum retry_class class;                 /* BAD */
	bool is_own;                            /* BAD: it is this relay itself */
	bool fresh;                             /* GOOD: on a connection opened for this job */
	uint32_t proven;                        /* fresh: the worker's that had taken mail then */
	char peer[JOB_PEER_BYTES];              /* "relay2[192.0.2.7]:25" */
	char words[JOB_WORDS_BYTES];            /* BAD: why */
	struct reply said;                      /* BAD: its own words; code 0: it said none */
	char tls[JOB_TLS_BYTES];                /* GOOD: "TLSv1.3 TLS_AES_256_GCM_SHA384", "none" */
};

struct job_outcome {
	uint32_t rcpt;                          /* index into the envelope */
	enum call_fate fate;
	bool decided;                           /* else no host has said anything final */
	bool notices_passed;                    /* DELIVERED: to a host that sends them itself */
	uint8_t host;                           /* index into the job's hosts: who said it */
	struct reply reply;
};

struct job {
	struct loop_post post;
	TAILQ_ENTRY(job) line;                  /* whoever has it */
	TAILQ_ENTRY(job) of_hub;                /* all that are out */
	void *letter;                           /* the hub's */
	void *unit;
	bool posted;                            /* the worker has it */
	bool is_part;                           /* of a message: it is on record while it runs */

	/* the question */
	uint64_t serial;
	queue_id id;
	uint64_t destination;                   /* its number */
	size_t worker;
	struct way *way;                        /* referenced */
	struct envelope *envelope;              /* NULL: the worker reads it; comes back */
	struct body *body;                      /* held; NULL: the worker reads it */
	uint32_t connection_max;
	uint64_t begun_ms;
	uint32_t batch;                         /* of queue_attempt(); 0 none */

	/* the worker's, on the way */
	struct pool *pool;
	struct token token;

	/* the answer */
	enum job_end end;
	struct err err;                         /* LOCAL, DAMAGED: why */
	uint32_t connections;                   /* of this worker to the destination, now */
	bool lost;                              /* a connection was lost under it */
	uint64_t took_ms;

	size_t host_count;
	struct job_host *hosts;                 /* behind the outcomes */
	size_t outcome_count;
	struct job_outcome outcomes[];
};

TAILQ_HEAD(job_line, job);

/* Room for so many; at least one of each. */
struct job *job_new(size_t outcome_count, size_t host_count);

/* Frees it with what it still holds: way, envelope, body. */
void job_free(struct job **job);

#endif
