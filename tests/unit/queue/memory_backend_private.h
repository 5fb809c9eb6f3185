#ifndef TESTS_UNIT_QUEUE_MEMORY_BACKEND_PRIVATE_H
#define TESTS_UNIT_QUEUE_MEMORY_BACKEND_PRIVATE_H

#include <sys/queue.h>

#include "queue/backend.h"
#include "relay/base/buf.h"
#include "relay/base/container_of.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "tests/unit/queue/memory_backend.h"

/* What memory_backend.c (messages, steering) and memory_port.c (receiving, reading) share. */
enum {
	DELAY_MS_MAX = 4,
	BODY_BYTES_MAX = 64 << 20,
	PIECE_BYTES = 1000,
	CALL_COUNT_MAX = 1 << 16,
	FIRST_ID = 1 << 20,
};

struct message {
	TAILQ_ENTRY(message) next;
	queue_id id;
	struct buf body;
	struct envelope *envelope;
	struct queue_rcpt *rcpts;       /* domains borrowed from the envelope */
	struct span *open_batch;        /* the recipients of each number, as octets */
	uint32_t batch_count;
	bool held, found_at_start, offered, is_notification, delay_notice_sent;
	uint32_t revision;
	int changes_waiting;
	uint64_t last_due_ms;           /* of a change: the next comes no earlier */
	void *user;
};

TAILQ_HEAD(messages, message);

struct memory_store {
	struct messages messages;
	queue_id id_last;
	struct memory_queue *queue;     /* the one that is open */
	bool unknown_next, is_full;
};

struct memory_queue {
	struct queue face;
	struct queue_backend backend;
	struct memory_store *store;
	struct queue_settings settings;
	LIST_HEAD(, later) laters;
	struct memory_port *hub_port;
	uint64_t accepted, settled;
	enum queue_pressure pressure;
};

struct memory_port {
	struct queue_port face;
	struct memory_queue *queue;
	struct loop *loop;
	struct token_table calls;
	LIST_HEAD(, memory_draft) drafts;
	LIST_HEAD(, memory_reader) readers;
};

struct memory_draft {
	struct queue_draft face;
	LIST_ENTRY(memory_draft) link;
	struct memory_port *port;
	queue_id id;
	struct buf body;
	bool has_failed;
};

/* Something that happens later on a port's loop. */
struct later {
	LIST_ENTRY(later) link;
	struct loop_timer timer;
	struct memory_port *port;
	struct token token;
	void (*run)(struct later *later, bool asked);
	enum queue_result result;
	queue_id id;
	queue_done *done;
	queue_got_envelope *got;
	queue_attempt_begun *begun;
	queue_resumed *resumed;
	void *ctx;
	uint32_t batch;
	struct message *arriving, *notice;
	struct memory_draft *draft;
	struct memory_reader *reader;
	bool changes, removes;
};

struct memory_reader {
	struct queue_body_reader face;
	LIST_ENTRY(memory_reader) link;
	struct memory_port *port;
	queue_id id;
	size_t at;
	struct queue_body_events events;
	void *ctx;
	struct later *waiting;
};

static inline struct memory_queue *
memory_queue_of(const struct queue *face)
{
	return container_of(face, struct memory_queue, face);
}

static inline struct memory_port *
memory_port_of(const struct queue_port *face)
{
	return container_of(face, struct memory_port, face);
}

struct message *memory_find(struct memory_queue *queue, queue_id id);
void memory_message_free(struct message *message);
void memory_arrive(struct memory_queue *queue, struct message *message);
void memory_look_after_pressure(struct memory_queue *queue);
bool memory_take_unknown(struct memory_store *store);

/* Takes draft and envelope. */
struct message *memory_message_of_draft(struct queue_draft *face, struct envelope *envelope);

struct later *memory_later(struct memory_port *port, void (*run)(struct later *later, bool asked),
    queue_id id);
struct token memory_later_start(struct later *later);
void memory_later_drop(struct later *later);
void memory_answer(struct later *later, bool asked);

/* The functions of the face that belong to a port. */
void memory_port_fill(struct queue_backend *backend);

#endif
