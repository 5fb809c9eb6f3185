/* What the files of the commands share: handlers, and how a message is shown. */
#ifndef RELAY_COMMANDS_PRIVATE_H
#define RELAY_COMMANDS_PRIVATE_H

#include "relay/base/json.h"
#include "relay/commands_filter.h"
#include "relay/daemon/control.h"
#include "relay/relay.h"

/* One message, which `id` in the arguments names. */
void commands_show(void *ctx, struct control_request *request);
void commands_cat(void *ctx, struct control_request *request);
void commands_explain(void *ctx, struct control_request *request);

void commands_route(void *ctx, struct control_request *request);
void commands_reload(void *ctx, struct control_request *request);

/* Sets. */
void commands_list(void *ctx, struct control_request *request);
void commands_count(void *ctx, struct control_request *request);
void commands_retry(void *ctx, struct control_request *request);
void commands_hold(void *ctx, struct control_request *request);
void commands_release(void *ctx, struct control_request *request);
void commands_drop(void *ctx, struct control_request *request);
void commands_bounce(void *ctx, struct control_request *request);

/* What is known of a message at once. */
void commands_facts(const struct relay *relay, const struct queue_item *item,
    struct commands_facts *facts_out);

/*
 * A message as JSON.  ENVELOPE may be NULL; at most RCPT_COUNT_MAX of its recipients are
 * shown.  The keys of Postfix's postqueue -j come first, with their meaning; then ours.
 */
struct json *commands_item(const struct relay *relay, const struct queue_item *item,
    const struct envelope *envelope, size_t rcpt_count_max);

/* The queue id under "id" of the arguments; false when the request was answered with 64. */
bool commands_take_id(struct control_request *request, queue_id *id_out);

void commands_put_id(struct json *object, const char *key, queue_id id);
void commands_put_time(struct json *object, const char *key, int64_t wall_ms);

/* What the queue's result means to the one who asked. */
void commands_fail_result(struct control_request *request, enum queue_result result);

#endif
