/*
 * The other end of the control socket, for tools: it blocks, with a bound on every wait.
 */
#ifndef RELAY_DAEMON_CONTROL_CLIENT_H
#define RELAY_DAEMON_CONTROL_CLIENT_H

#include "relay/base/err.h"
#include "relay/base/json.h"

#include <stdbool.h>
#include <stdint.h>

struct control_client;

/*
 * ERR_DENIED when the socket's mode forbids it, ERR_NOT_FOUND when there is no socket,
 * ERR_REFUSED when nobody listens.
 */
struct control_client *
control_client_open(const char *path, uint64_t timeout_ms, struct err *err);

void control_client_close(struct control_client **client);

/* Takes ARGS over; NULL for none. */
int
control_client_ask(struct control_client *client, const char *verb, struct json *args,
		   struct err *err);

enum control_client_line {
	CONTROL_CLIENT_ITEM,
	CONTROL_CLIENT_END,
};

/*
 * The next line of the answer.  VALUE_OUT gets what stands under "item" or "end", lent until the
 * next call.  -1 with ERR_CLOSED, ERR_TIMEOUT, ERR_FORMAT.
 */
int
control_client_next(struct control_client *client, enum control_client_line *line_out,
		    const struct json **value_out, struct err *err);

#endif
