#ifndef RELAY_RELAYCTL_PRINT_H
#define RELAY_RELAYCTL_PRINT_H

#include "relay/base/buf.h"
#include "relay/base/json.h"

/*
 * What relayctl shows to people.  Widths are fixed and nothing here is meant for
 * programs, which read the JSON lines.  Texts come from strangers: whatever could steer
 * a terminal is shown as '?'.
 */
typedef void relayctl_print(struct buf *out, const struct json *value);

/* A message as two lines, with the words it waits for; the head and the foot of such a table. */
void relayctl_print_list_head(struct buf *out);
void relayctl_print_row(struct buf *out, const struct json *item);
void relayctl_print_list_end(struct buf *out, const struct json *end);

/* "3 messages (12.4 KB)", for count. */
void relayctl_print_count_end(struct buf *out, const struct json *end);

/* The foot of a changed set: "2 held". */
void relayctl_print_change_end(struct buf *out, const char *what, const struct json *end);

void relayctl_print_explain(struct buf *out, const struct json *item);
void relayctl_print_dest(struct buf *out, const struct json *item);

/* Any object, a field a line; objects and lists inside it indented. */
void relayctl_print_fields(struct buf *out, const struct json *item);

#endif
