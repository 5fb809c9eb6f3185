#ifndef QUEUE_ENVELOPE_CODEC_H
#define QUEUE_ENVELOPE_CODEC_H

#include <stdbool.h>

#include "relay/base/buf.h"
#include "relay/base/cursor.h"
#include "relay/base/span.h"
#include "relay/mail/envelope.h"

/* An envelope as octets: the original values, which never change.  Pure. */
#define ENVELOPE_BYTES_MAX ((size_t)8 << 20)

void envelope_encode(const struct envelope *envelope, struct buf *out);

/* NULL when the octets are none.  The envelope is the caller's. */
struct envelope *envelope_decode(struct span bytes);

/* What the index wants to know, without making an envelope.  Spans point into the octets. */
struct envelope_summary {
	struct span sender, client_address, parent;
	uint32_t rcpt_count;
	struct cursor rcpts;
};

bool envelope_summarize(struct envelope_summary *summary_out, struct span bytes);

/* The domain of the next recipient; false behind the last one or on bad octets. */
bool envelope_summary_next(struct envelope_summary *summary, struct span *domain_out);

#endif
