#ifndef TESTS_CRASH_MODEL_H
#define TESTS_CRASH_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "queue/queue.h"

/*
 * What somebody outside knows of the queue: which messages were given to it,
 * what it said about them, and so what a start may and must find.
 *
 * A message has snapshots: what it looks like after each change that was asked
 * for, in order.  Those up to `durable` were reported, so a start finds one from
 * there on.  It is plain memory, copied as a whole where a crash is explored.
 */
enum {
	MODEL_RCPTS_MAX = 3,
	MODEL_CHANGES_MAX = 10,
	MODEL_MESSAGES_MAX = 128,
	MODEL_NONE = -1,
};

struct snapshot {
	uint8_t states[MODEL_RCPTS_MAX];        /* enum rcpt_state */
	uint8_t attempts[MODEL_RCPTS_MAX];
	uint8_t words[MODEL_RCPTS_MAX];         /* change that said the newest; 0 none */
	bool held;
	bool settled;
	int16_t notice;                         /* message that this change makes, or NONE */
};

struct model_message {
	queue_id id;
	uint32_t bytes;
	uint8_t rcpt_count;
	uint8_t change_count;           /* snapshots[change_count] is the newest */
	uint8_t durable;
	bool acknowledged;              /* DONE was said, or a start has found it */
	bool refused;                   /* FAILED or FULL was said: it certainly is not there */
	bool gone;                      /* a start did not find it: it never comes back */
	bool is_listed;                 /* by the queue that is being checked ... */
	uint8_t matched;                /* ... in the state of this snapshot */
	bool is_forged;                 /* its octets on the disk are not what was given */
	int16_t parent;                 /* of a notification, else NONE */
	uint8_t parent_change;
	struct snapshot snapshots[MODEL_CHANGES_MAX + 1];
};

struct model {
	struct model_message messages[MODEL_MESSAGES_MAX];
	int count;
	queue_id id_high;               /* of all that were acknowledged */
	uint64_t version;               /* grows with what is known */
};

void model_init(struct model *model);

/* NONE when there is no room for more. */
int model_add(struct model *model, queue_id id, uint32_t bytes, uint8_t rcpt_count);
int model_find(const struct model *model, queue_id id);

static inline const struct snapshot *
model_newest(const struct model_message *message)
{
	return &message->snapshots[message->change_count];
}

/* A copy of the newest snapshot, to be changed.  The message has room for it. */
struct snapshot *model_change(struct model *model, int at);

/* What the queue said. */
void model_acknowledge(struct model *model, int at);
void model_refuse(struct model *model, int at);
void model_durable(struct model *model, int at, uint8_t change);

/* Known to be there, and nobody asked to have it settled. */
bool model_is_alive(const struct model *model, int at);

/* I1: a start that does not find it has lost it. */
bool model_must_be(const struct model_message *message);

/* I3: a start that finds it has brought it back from the dead. */
bool model_may_be(const struct model_message *message);

/* The octets of a body: a piece of a long pattern, a different one for each id. */
enum { MODEL_BODY_BYTES_MAX = 48 << 10 };

const char *model_body(queue_id id);

/* Addresses and words are functions of who and when. */
struct envelope *model_envelope(const struct model *model, int at);
void model_words(char *text_out, size_t size, queue_id id, uint8_t change);

/* For who replays a state. */
void model_print(const struct model *model);

/* False if the envelope is not the one that was given. */
bool model_envelope_is(const struct model_message *message, const struct envelope *envelope,
    const struct snapshot *snapshot);

#endif
