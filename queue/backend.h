#ifndef QUEUE_BACKEND_H
#define QUEUE_BACKEND_H

#include "queue/queue.h"

/*
 * What stands behind the face.  A backend embeds these heads in its own structs
 * and fills one table; queue.c only passes calls on.  The log is one backend
 * (spool.c), the tests have one in memory that delays, reorders and fails, and
 * one on a replicated database may come.  The contract is in queue.h, and
 * tests/unit/queue/contract.c holds every backend to it.
 */
struct queue {
	const struct queue_backend *backend;
};

struct queue_port {
	const struct queue_backend *backend;
};

struct queue_draft {
	const struct queue_backend *backend;
};

struct queue_body_reader {
	const struct queue_backend *backend;
};

struct queue_backend {
	void (*start)(struct queue *queue);
	void (*close)(struct queue *queue);
	struct queue_port *(*port_open)(struct queue *queue, struct loop *loop);
	void (*port_close)(struct queue_port *port);
	void (*cancel)(struct queue_port *port, struct token *token);
	struct queue_port *(*hub_port)(struct queue *queue);

	queue_id (*new_id)(struct queue_port *port);
	bool (*may_deliver)(const struct queue_port *port);
	enum queue_pressure (*pressure)(const struct queue_port *port);

	struct queue_draft *(*begin)(struct queue_port *port,
	    const struct queue_draft_terms *terms, const struct queue_draft_events *events,
	    void *ctx);
	size_t (*append)(struct queue_draft *draft, struct span bytes);
	enum queue_result (*draft_result)(const struct queue_draft *draft);
	uint64_t (*draft_bytes)(const struct queue_draft *draft);
	queue_id (*draft_id)(const struct queue_draft *draft);
	uint64_t (*draft_digest64)(const struct queue_draft *draft);
	struct token (*commit)(struct queue_draft *draft, struct envelope *envelope,
	    const struct queue_commit_terms *terms, queue_done *done, void *ctx);
	void (*abort)(struct queue_draft *draft);
	void (*park)(struct queue_draft *draft);
	struct token (*resume)(struct queue_port *port, const struct queue_draft_terms *terms,
	    const struct queue_draft_events *events, queue_resumed *resumed, void *ctx);
	void (*settle_below)(struct queue_port *port, struct span owner, uint64_t lowest);

	struct token (*read_envelope)(struct queue_port *port, queue_id id,
	    queue_got_envelope *got, void *ctx);
	struct queue_body_reader *(*body_open)(struct queue_port *port, queue_id id,
	    const struct queue_body_events *events, void *ctx);
	void (*body_next)(struct queue_body_reader *reader);
	void (*body_close)(struct queue_body_reader *reader);

	struct body *(*body_in_memory)(struct queue *queue, queue_id id);
	void (*set_user)(struct queue *queue, queue_id id, void *user);
	void (*set_reason)(struct queue *queue, queue_id id, uint32_t rcpt,
	    enum queue_reason reason);
	bool (*find)(struct queue *queue, queue_id id, struct queue_item *item_out);
	bool (*find_rcpt)(struct queue *queue, queue_id id, uint32_t rcpt,
	    struct queue_rcpt *rcpt_out);
	struct token (*attempt)(struct queue *queue, queue_id id, const uint32_t *rcpts,
	    size_t rcpt_count, struct span host, queue_attempt_begun *begun, void *ctx);
	struct token (*update)(struct queue *queue, queue_id id,
	    const struct queue_change *change, queue_done *done, void *ctx);
	struct token (*hold)(struct queue *queue, queue_id id, struct span why, queue_done *done,
	    void *ctx);
	struct token (*release)(struct queue *queue, queue_id id, queue_done *done, void *ctx);
	struct token (*remove)(struct queue *queue, queue_id id, queue_done *done, void *ctx);
	bool (*make_due)(struct queue *queue, queue_id id, int64_t due_ms);
	bool (*list)(struct queue *queue, struct queue_cursor *cursor, size_t item_count_max,
	    queue_listed *each, void *ctx);
	bool (*list_damage)(struct queue *queue, size_t at, struct queue_damage *damage_out);
	void (*stats)(const struct queue *queue, struct queue_stats *stats_out);
	struct loop *(*writer_loop)(const struct queue *queue);         /* or NULL */
	uint64_t (*node_id)(const struct queue *queue);
};

#endif
