#ifndef RELAY_MAIL_MESSAGE_ID_H
#define RELAY_MAIL_MESSAGE_ID_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/base/buf.h"
#include "relay/base/span.h"

/* Longest Message-ID we look at, RFC 5322 section 2.1.1's line. */
#define MESSAGE_ID_BYTES_MAX 998

/*
 * Append "<QUEUEID.TIME@HOSTNAME>" for a message we make ourselves: unique since
 * queue ids are.  -1 when out is full.
 */
int message_id_make(uint64_t queue_id, int64_t wall_ms, struct span hostname, struct buf *out);

/*
 * The msg-id in the value of a Message-ID field: with its angle brackets, without
 * blanks and folds around it.  False when there is none that is well-formed
 * enough to be quoted (no controls, no blanks inside, brackets, bounded).
 */
bool message_id_find(struct span field_value, struct span *id_out);

#endif
