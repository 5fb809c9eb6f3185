#ifndef QUEUE_QUEUE_H
#define QUEUE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/body.h"
#include "queue/disk.h"
#include "queue/reason.h"
#include "queue/retry.h"
#include "relay/base/err.h"
#include "relay/base/random.h"
#include "relay/base/span.h"
#include "relay/mail/envelope.h"
#include "relay/mail/reply.h"
#include "relay/net/loop.h"
#include "relay/net/token.h"

/*
 * The queue: where a message is from the moment it is answered with 250 until
 * every recipient is settled.  This is the face (DECISIONS.md 13); the log in
 * spool.h is its first implementation, others follow, and nothing above may
 * know which one it talks to: no file names, no offsets.
 *
 * Threads.  One struct queue belongs to the hub's loop.  Every thread that
 * receives or reads mail (the hub too) has a struct queue_port, bound to its
 * loop and used on its thread only.
 *
 * Completion.  A call that takes a callback reports by it exactly once, on the
 * loop of the port (or of the hub, for calls on struct queue), never before the
 * call returned.  It returns a token; after queue_cancel() the callback never
 * comes, though the work goes on.  Callbacks may call the queue again.
 *
 * Results.  An outcome that is not known is never reported as a failure.
 */
enum queue_result {
	QUEUE_DONE,             /* durable; or what was asked for is given */
	QUEUE_FAILED,           /* certainly did not happen: 4yz, try again later */
	QUEUE_UNKNOWN,          /* may have happened (R7): cut own peers, 451 to strangers */
	QUEUE_FULL,             /* as FAILED; below the floor: 452 4.3.1 */
	QUEUE_NOT_FOUND,        /* no such message (any more) */
	QUEUE_DAMAGED,          /* it is there and cannot be read back whole */
	QUEUE_CONFLICT,         /* the state of the message does not allow it */
};

/* "done", "failed", ...: the fixed word of a result. */
const char *queue_result_name(enum queue_result result);

/* A queue id: ordered by time, never used again.  Printed as 13 characters. */
typedef uint64_t queue_id;

#define QUEUE_ID_CHARS 13
#define QUEUE_ID_BYTES (QUEUE_ID_CHARS + 1)

void queue_id_print(queue_id id, char text_out[QUEUE_ID_BYTES]);
bool queue_id_parse(struct span text, queue_id *id_out);

/* Wall time (milliseconds since 1970) at which the id was made, to the second. */
int64_t queue_id_wall_ms(queue_id id);

struct queue;
struct queue_port;
struct queue_draft;
struct queue_body_reader;

/* ---- events, on the hub ------------------------------------------------- */

enum queue_pressure {
	PRESSURE_NONE,
	PRESSURE_REFUSE,        /* no room, or a fresh segment not proven yet: 452 4.3.1 at MAIL */
	/* nothing can be recorded: 421, no delivery; stay up for relayctl */
	PRESSURE_NO_LOG,
};

/* One recipient as the hub sees it: what scheduling needs, without the envelope. */
struct queue_rcpt {
	struct span domain;             /* lower case; borrowed until the message goes */
	uint32_t domain_id;             /* the same number for the same domain, while it is used */
	enum rcpt_state state;
	enum retry_class class;
	enum queue_reason reason;
	uint32_t attempt_count;
	uint32_t class_attempt_count;   /* in a row with this class */
	/* the hub's monotonic time; 0 or past: now; may be negative */
	int64_t due_ms;
};

/*
 * A message as the hub sees it, copied from the index.  The spans are valid
 * until the message changes or goes; copy what you keep.
 */
struct queue_item {
	queue_id id;
	uint64_t body_bytes;
	int64_t arrival_wall_ms;
	uint64_t age_ms;                /* elapsed time in the queue, downtime included */
	struct span sender;             /* "" is the null sender */
	struct span sender_domain;
	struct span client;             /* client address; "" for our own */
	uint32_t rcpt_count;            /* all of them, settled ones too */
	uint32_t open_count;            /* waiting or uncertain */
	enum queue_reason reason;       /* the message's: that of its recipient next in time */
	int64_t due_ms;                 /* earliest of the open recipients, as in queue_rcpt */
	bool held;
	bool is_notification;           /* of our own: it has a parent */
	bool found_at_start;            /* possibly sent before: a known retry */
	bool damaged;
	bool delay_notice_sent;
	uint32_t revision;              /* grows with every durable change */
	void *user;                     /* of the hub's scheduler; see queue_set_user() */
};

struct queue_events {
	/*
	 * A message is there to be delivered: just committed, or found at start, or
	 * released from hold.  envelope is given when it is still in memory: the
	 * receiver takes it by setting *envelope to NULL, else it is freed.  For
	 * one found at start it is NULL: queue_read_envelope() fetches it.  The body
	 * may still be in memory: queue_body_in_memory().
	 */
	void (*offered)(void *ctx, const struct queue_item *item, struct envelope **envelope);

	/* It is gone (all settled, removed) or may not be delivered now (held). */
	void (*revoked)(void *ctx, queue_id id, void *user);

	/* Something but the scheduler changed it: a due time set by hand, recipients removed. */
	void (*changed)(void *ctx, const struct queue_item *item);

	void (*pressure)(void *ctx, enum queue_pressure pressure, const char *why);
};

/* ---- birth and death ---------------------------------------------------- */

struct queue_settings {
	struct disk *disk;              /* borrowed for the life of the queue */
	struct loop *hub;
	struct random *random;          /* used on the hub's thread only */
	struct queue_events events;
	void *ctx;

	struct span hostname;           /* for the log line and for exports */
	uint8_t machine_id[16];         /* zeros: not known */
	bool allow_volatile;            /* tmpfs and overlay are no error */
	bool adopt;                     /* take a spool that another machine made */
	bool adopt_new_node_id;         /* and give it a new node id */

	size_t port_count_max;          /* default 64 */
	size_t reader_count;            /* threads that read; default 2 */
	/* how long a batch waits where several messages came at a time; 0: never; default 2 */
	uint32_t gather_ms;
	uint64_t segment_bytes;         /* default 64 MiB; at least 64 KiB */
	size_t body_memory_bytes;       /* all bodies in memory; default 64 MiB */
	size_t body_cache_bytes;        /* of these, kept for sending; default half */
	uint64_t message_bytes_max;     /* default 100 MiB */
	uint64_t floor_bytes;           /* free space below which mail is refused; default 64 MiB */
	uint64_t reserve_bytes;         /* kept for outcomes; default 8 MiB */
	uint32_t pool_segments_max;     /* free slots kept for use again; default 8 */
	/* share of the disk's time for moving survivors; default 20, 0 never */
	uint32_t move_percent;
	uint32_t move_after_ms;         /* a sealed segment's peace before; default 10 s */
	uint64_t scrub_bytes_second;    /* 0: no scrub; default 4 MiB */
};

/* Fills in the defaults; disk, hub, random and events are the caller's to set. */
void queue_settings_init(struct queue_settings *settings);

/* What a start found, for the log's first line and for `status`. */
struct queue_found {
	char node_id[17];               /* hex */
	uint64_t format_version;
	uint64_t segment_count;
	uint64_t footer_count;          /* of these, read by their index */
	uint64_t message_count;
	uint64_t message_bytes;
	uint64_t suspect_count;         /* records of unvouched batches, copied forward */
	uint64_t damaged_count;         /* records set aside */
	uint64_t torn_bytes;            /* tail of a batch that never ended */
	uint64_t elapsed_ms;
	bool volatile_disk;
	bool foreign_machine;           /* another machine made it: starts held (DECISIONS.md 20) */
};

/*
 * Opens, or makes, the spool on the disk: locks it, recovers, and starts the
 * committer and the readers (relay/net/work.h).  Blocks; call it before the
 * hub's loop runs.  Messages found are offered from the loop, in slices, once
 * queue_start() was called.
 */
struct queue *queue_open(const struct queue_settings *settings, struct queue_found *found_out,
    struct err *err);
void queue_start(struct queue *queue);

/*
 * Writes what is under way and ends the threads.  All ports must be closed, and
 * their loops must outlive this call: what was on its way to a port is run by
 * hand, but a wake-up that was posted to its loop frees its memory when the loop
 * takes it (at the latest in loop_free()).  No loop of a port may run meanwhile.
 * Callbacks not yet made never come.
 */
void queue_close(struct queue **queue);

/* A port for the thread of `loop`.  Made on the hub's thread before that thread runs. */
struct queue_port *queue_port_open(struct queue *queue, struct loop *loop);

/* On the port's thread; drafts are aborted, calls cancelled. */
void queue_port_close(struct queue_port **port);

/* Cancels a call; *token is emptied.  An empty or finished one is allowed. */
void queue_port_cancel(struct queue_port *port, struct token *token);
void queue_cancel(struct queue *queue, struct token *token);

/* ---- receiving, on the thread of a port --------------------------------- */

queue_id queue_new_id(struct queue_port *port);

/*
 * May mail be taken and given away at all now?  Asked before MAIL and before
 * the final dot of an outgoing message (a replicated backend may say no; the
 * log says yes unless it has no writable segment).  Any port's thread.
 */
bool queue_may_deliver(const struct queue_port *port);
enum queue_pressure queue_port_pressure(const struct queue_port *port);

struct queue_draft_events {
	/* queue_append() took less than it was given: now there is room again. */
	void (*room)(void *ctx);

	/* The first `offset` octets of the body survive a crash.  May be NULL. */
	void (*durable)(void *ctx, uint64_t offset);
};

struct queue_draft_terms {
	queue_id id;                    /* from queue_new_id() */
	uint64_t size_hint;             /* SIZE of MAIL; 0: not known */
	struct span transid;            /* RFC 1845, with owner; "" none.  Copied */
	struct span owner;              /* TLS or AUTH identity that owns the transid.  Copied */
};

/* A message being received.  Nothing of it is in the queue before queue_commit(). */
struct queue_draft *queue_begin(struct queue_port *port, const struct queue_draft_terms *terms,
    const struct queue_draft_events *events, void *ctx);

/*
 * Copies octets of the body (wire form: CRLF, not dot-stuffed).  Returns how
 * many it took: fewer than given means no room now, stop reading the client
 * until events.room; SIZE_MAX means that the draft failed (disk, or larger than
 * message_bytes_max) and can only be aborted: 451 or 452, see
 * queue_draft_result().
 */
size_t queue_append(struct queue_draft *draft, struct span bytes);
enum queue_result queue_draft_result(const struct queue_draft *draft);
uint64_t queue_draft_bytes(const struct queue_draft *draft);
queue_id queue_draft_id(const struct queue_draft *draft);

/* The first 64 bits of the digest of the octets so far. */
uint64_t queue_draft_digest64(const struct queue_draft *draft);

/* The reply that a repeated TRANSID gets again; part of the commit record. */
struct queue_commit_terms {
	struct span reply;              /* as sent, without CRLF; "" when there is no transid */
};

typedef void queue_done(void *ctx, enum queue_result result);

/*
 * Makes the message durable: envelope, reply and the end of the body are one
 * record, it is there wholly or not.  Takes draft and envelope in every case.
 * terms may be NULL.  A failed draft reports its failure.
 */
struct token queue_commit(struct queue_draft **draft, struct envelope **envelope,
    const struct queue_commit_terms *terms, queue_done *done, void *ctx);

/* Drops it.  Accepts an empty pointer and leaves one behind. */
void queue_abort(struct queue_draft **draft);

/*
 * The connection is gone: what is there is made durable at once and kept as a
 * partial for its TRANSID (24 h, listed, never delivered).  Without a transid
 * the same as queue_abort().
 */
void queue_park(struct queue_draft **draft);

/* What is known of a TRANSID of this owner. */
enum queue_transaction {
	TRANSACTION_NEW,
	TRANSACTION_PARTIAL,            /* `draft` goes on at queue_draft_bytes() */
	TRANSACTION_FINISHED,           /* `reply` is to be said again */
	TRANSACTION_BUSY,               /* another session has it: 4yz */
};

typedef void queue_resumed(void *ctx, enum queue_result result, enum queue_transaction what,
    struct queue_draft *draft, struct span reply);

struct token queue_resume(struct queue_port *port, const struct queue_draft_terms *terms,
    const struct queue_draft_events *events, queue_resumed *resumed, void *ctx);

/* The owner has settled every TRANSID below `lowest`: they may be forgotten. */
void queue_settle_below(struct queue_port *port, struct span owner, uint64_t lowest);

/* ---- reading, on the thread of a port ----------------------------------- */

/*
 * The envelope with the present state and last words of each recipient.  The
 * receiver takes the envelope (NULL unless QUEUE_DONE).
 */
typedef void queue_got_envelope(void *ctx, enum queue_result result, struct envelope *envelope);

struct token queue_read_envelope(struct queue_port *port, queue_id id,
    queue_got_envelope *got, void *ctx);

/*
 * Reads the body, from memory or disk, piece by piece.  After each piece the
 * reader stops until queue_body_next().  The span is valid until then or until
 * the close.  The digest is checked when the last piece was read: `ended` says
 * QUEUE_DONE only if every octet was right, so who sends a body must not send
 * the final dot before `ended`.  One of the two callbacks follows each
 * queue_body_next() (and the open); none after the close.
 */
struct queue_body_events {
	void (*piece)(void *ctx, struct span bytes);
	void (*ended)(void *ctx, enum queue_result result);
};

struct queue_body_reader *queue_body_open(struct queue_port *port, queue_id id,
    const struct queue_body_events *events, void *ctx);
void queue_body_next(struct queue_body_reader *reader);

/* Any time, also in its callbacks. */
void queue_body_close(struct queue_body_reader **reader);

/* ---- on the hub --------------------------------------------------------- */

/* The body if it is whole in memory, held for the caller (body_release()), else NULL. */
struct body *queue_body_in_memory(struct queue *queue, queue_id id);

/* A word of the scheduler with each message; given back in items and in revoked(). */
void queue_set_user(struct queue *queue, queue_id id, void *user);

/* Not durable: for lists and explain.  rcpt QUEUE_ALL_RCPTS sets it for the open ones. */
#define QUEUE_ALL_RCPTS UINT32_MAX
void queue_set_reason(struct queue *queue, queue_id id, uint32_t rcpt, enum queue_reason reason);

/* The message and its recipients from memory, at once.  False: no such message. */
bool queue_find(struct queue *queue, queue_id id, struct queue_item *item_out);
bool queue_find_rcpt(struct queue *queue, queue_id id, uint32_t rcpt,
    struct queue_rcpt *rcpt_out);

/*
 * An attempt begins: the record (recipients, host) is durable when done() says
 * so, and must be before the final dot (DECISIONS.md 3).  Where the batch is all
 * recipients of the message nothing is written and done() comes all the same.
 * batch is the number for TRANSID, stable for the same set of recipients while
 * the outcome is not known.
 */
typedef void queue_attempt_begun(void *ctx, enum queue_result result, uint32_t batch);

struct token queue_attempt(struct queue *queue, queue_id id, const uint32_t *rcpts,
    size_t rcpt_count, struct span host, queue_attempt_begun *begun, void *ctx);

/* What became of one recipient. */
struct queue_outcome {
	uint32_t rcpt;                  /* its place in the envelope */
	enum rcpt_state state;          /* RCPT_WAITING: deferred */
	enum queue_reason reason;       /* of a deferred or uncertain one */
	/* 0: it waits for a host, and its class and place in a schedule stay what they were. */
	int64_t due_ms;                 /* of a deferred one: the hub's monotonic time */
	enum retry_class class;
	bool tried;                     /* counts as an attempt */
	struct reply reply;             /* the peer's words, or ours; code 0: keep the last ones */
	struct span host;               /* "mx1.example.net[192.0.2.7]:25"; copied */
};

struct queue_change {
	const struct queue_outcome *outcomes;   /* copied */
	size_t outcome_count;
	uint32_t batch;                         /* of queue_attempt(), closed by this; 0 none */
	bool delay_notice_sent;                 /* mark it so */

	/*
	 * A notification owed for these outcomes, complete: its commit and the marks
	 * are one record (DECISIONS.md 17).  Taken over; NULL for none.  The draft is
	 * one of the hub's own port.
	 */
	struct queue_draft **notice;
	struct envelope **notice_envelope;
};

/*
 * One atomic change of a message's recipients.  In memory it counts at once (a
 * recipient settled is never offered again); done() says when it is durable.
 * A message whose last recipient is settled is revoked when that is durable.
 * QUEUE_UNKNOWN: it will be written again by the queue, nothing needs be done.
 */
struct token queue_update(struct queue *queue, queue_id id, const struct queue_change *change,
    queue_done *done, void *ctx);

/* Steering.  why is kept with the message (bounded) and shown; "" none. */
struct token queue_hold(struct queue *queue, queue_id id, struct span why, queue_done *done,
    void *ctx);
struct token queue_release(struct queue *queue, queue_id id, queue_done *done, void *ctx);

/* Nobody is told; open attempts end as uncertain. */
struct token queue_remove(struct queue *queue, queue_id id, queue_done *done, void *ctx);

/* Due now (or at due_ms): `changed` tells the scheduler.  Not durable. */
bool queue_make_due(struct queue *queue, queue_id id, int64_t due_ms);

/*
 * Lists from a cursor on, at most item_count_max of them by each().  What was
 * there throughout is listed exactly once; what came or went meanwhile may or
 * may not be.  Roughly oldest first.  more_out: whether to call again.
 */
struct queue_cursor {
	uint64_t place;                 /* 0: from the start */
};

typedef void queue_listed(void *ctx, const struct queue_item *item);

bool queue_list(struct queue *queue, struct queue_cursor *cursor, size_t item_count_max,
    queue_listed *each, void *ctx);

/* Records that could not be read back, for `relayctl`. */
struct queue_damage {
	uint64_t segment;
	uint64_t offset;
	queue_id id;                    /* 0: not known */
	char what[80];
};

bool queue_list_damage(struct queue *queue, size_t at, struct queue_damage *damage_out);

struct queue_stats {
	uint64_t message_count, message_bytes, held_count, open_rcpt_count;
	uint64_t accepted_count, settled_count;         /* since the start */
	uint64_t batch_count, batch_message_count;      /* group commit: messages a sync */
	uint64_t written_bytes, sync_us_total, sync_us_max;
	uint64_t segment_live_count, segment_pool_count, segment_bytes;
	uint64_t live_bytes, moved_bytes;
	uint64_t disk_free_bytes;
	uint64_t damaged_count, sync_failed_count;
	uint64_t scrubbed_bytes, scrub_damaged_count;
	uint64_t body_memory_bytes, body_cache_bytes, index_bytes;
	uint64_t partial_count, transaction_count;
	enum queue_pressure pressure;
	char pressure_why[80];
	char place[128];                /* where it is, for people */
	char node_id[17];
};

void queue_stats(const struct queue *queue, struct queue_stats *stats_out);

/*
 * The loop of the thread that makes things durable, to see whether it turns; NULL where a
 * backend has none.  It lives as long as the queue.
 */
struct loop *queue_writer_loop(const struct queue *queue);

/* The queue's node id (random, kept in the spool), for TRANSID and origin ids. */
uint64_t queue_node_id(const struct queue *queue);

/* The hub's own port. */
struct queue_port *queue_hub_port(struct queue *queue);

#endif
