#ifndef QUEUE_STATE_H
#define QUEUE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/queue.h"
#include "relay/base/arena.h"
#include "relay/base/buf.h"
#include "relay/base/span.h"
#include "relay/mail/envelope.h"

/*
 * Everything about a message that changes: what became of each recipient, the
 * peers' words, open attempts, the hold.  It is written as a whole with each
 * change, so the newest record says everything.  Only messages under change
 * have one in memory.  Pure; times are of the queue's own clock.
 */
#define STATE_BYTES_MAX ((size_t)8 << 20)
#define STATE_EVENT_COUNT_MAX 16
#define STATE_ATTEMPT_COUNT_MAX 64
#define STATE_WHY_BYTES_MAX 200

/* Words of a peer, shared by the recipients they were said about. */
struct state_words {
	uint16_t code;
	struct span status, text, host;
};

struct state_rcpt {
	enum rcpt_state state;
	enum queue_reason reason;
	enum retry_class class;
	uint32_t attempt_count, class_attempt_count;
	int64_t due_ms;
	uint32_t words;                 /* number from 1; 0 none */
};

/* An attempt whose outcome is not known yet (DECISIONS.md 3). */
struct state_attempt {
	uint32_t batch;
	struct span host;
	uint32_t *rcpts;
	uint32_t rcpt_count;
};

/* What happened lately, for people. */
struct state_event {
	int64_t wall_ms;
	uint32_t words;
	uint32_t rcpt_first, rcpt_count;
};

struct message_state {
	struct arena arena;
	bool held;
	bool delay_notice_sent;
	struct span why;                /* it is held */
	uint32_t batch_next;
	struct state_rcpt *rcpts;
	uint32_t rcpt_count;
	struct state_words *words;
	uint32_t word_count, word_capacity;
	struct state_attempt attempts[STATE_ATTEMPT_COUNT_MAX];
	uint32_t attempt_count;
	struct state_event events[STATE_EVENT_COUNT_MAX];      /* oldest first */
	uint32_t event_count;
};

/* The state of a message that nothing happened to yet. */
struct message_state *state_new(uint32_t rcpt_count);
void state_free(struct message_state **state);

void state_encode(const struct message_state *state, struct buf *out);

/*
 * Drops the words of peers, the events and the reason of a hold: all that is told
 * to people only.  Then the octets are at most this many.
 */
void state_shorten(struct message_state *state);
uint64_t state_bytes_max(uint32_t rcpt_count);

/* NULL when the octets are none. */
struct message_state *state_decode(struct span bytes);

/* One recipient's part of a state, without making one: for the index at start. */
bool state_peek(struct span bytes, uint32_t rcpt_count, bool *held_out, bool *delay_notice_out,
    void (*each)(void *ctx, uint32_t rcpt, const struct state_rcpt *state), void *ctx);

/* Outcomes with the due times already in the queue's clock. */
void state_apply(struct message_state *state, const struct queue_outcome *outcomes, size_t count,
    int64_t wall_ms);

/*
 * An attempt begins.  The same open set of recipients gets the same number
 * again.  0 when there are too many open ones.
 */
uint32_t state_begin_attempt(struct message_state *state, const uint32_t *rcpts,
    uint32_t rcpt_count, struct span host);
void state_end_attempt(struct message_state *state, uint32_t batch);

/* Writes states, counts and last words into the recipients of the envelope. */
void state_overlay(const struct message_state *state, struct envelope *envelope);

#endif
