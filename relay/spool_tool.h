#ifndef RELAY_SPOOL_TOOL_H
#define RELAY_SPOOL_TOOL_H

#include "queue/queue.h"
#include "relay/base/json.h"

/*
 * A spool opened by hand, with the daemon off: one thread, and calls that wait for
 * their answers.  SPOOL_LOOK opens what is there over a disk that writes nothing.
 */
enum spool_access {
	SPOOL_LOOK,
	SPOOL_CHANGE,                   /* made if it is not there */
	SPOOL_ADOPT,                    /* and made this machine's */
	SPOOL_ADOPT_NEW_NODE,           /* with a new node id */
};

struct spool_tool;

/* ERR_BUSY while a daemon has it; ERR_NOT_FOUND when there is none to look at. */
struct spool_tool *spool_tool_open(const char *directory, enum spool_access access,
    struct err *err);
void spool_tool_close(struct spool_tool **tool);

struct queue *spool_tool_queue(struct spool_tool *tool);
const struct queue_found *spool_tool_found(const struct spool_tool *tool);

/* Calls each() for every message, oldest first; -1 ends it and is the result. */
typedef int spool_tool_each(void *ctx, const struct queue_item *item);

int spool_tool_walk(struct spool_tool *tool, spool_tool_each *each, void *ctx);

/* Waiting calls.  The envelope is the caller's. */
enum queue_result spool_tool_envelope(struct spool_tool *tool, queue_id id,
    struct envelope **envelope_out);

/* Writes the body to the descriptor, or nowhere with -1; its digest is verified. */
enum queue_result spool_tool_body(struct spool_tool *tool, queue_id id, int fd,
    struct err *err);

/* Takes the envelope; the body is read from the descriptor.  Durable when it returns. */
enum queue_result spool_tool_add(struct spool_tool *tool, queue_id id,
    struct envelope **envelope, int body_fd, struct err *err);
enum queue_result spool_tool_update(struct spool_tool *tool, queue_id id,
    const struct queue_outcome *outcomes, size_t count);
enum queue_result spool_tool_hold(struct spool_tool *tool, queue_id id);

/* The envelope file of an export: see relayctl(8). */
struct json *spool_json_write(const struct envelope *envelope, const struct queue_item *item);

struct spool_message {
	queue_id id;
	struct envelope *envelope;
	bool held;
	bool is_untouched;              /* nothing is known of any recipient yet */
};

int spool_json_read(const struct json *json, struct spool_message *message_out, struct err *err);

#endif
