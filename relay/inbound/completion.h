#ifndef RELAY_INBOUND_COMPLETION_H
#define RELAY_INBOUND_COMPLETION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/buf.h"
#include "relay/base/span.h"

/*
 * What a submitted message lacks (RFC 6409 section 8): Date and Message-ID.  It watches the
 * header while it arrives and says where the missing fields belong: before the empty line.
 * A header that is none is left as it is.  A plain value; no I/O, no clock.
 */
enum { COMPLETION_NAME_BYTES_MAX = 16 };

struct completion {
	bool ended;             /* there is nothing to add any more */
	bool has_date;
	bool has_message_id;
	/* private */
	bool is_field;          /* a field was begun, which may go on in the next line */
	bool in_name;
	bool at_line_start;
	size_t name_len;
	char name[COMPLETION_NAME_BYTES_MAX];
};

void completion_init(struct completion *completion);

/*
 * How many of OCTETS stand before the end of the header: all of them, unless IS_HERE_OUT
 * says that the fields belong behind so many.  The octets behind it are not looked at.
 */
size_t completion_scan(struct completion *completion, struct span octets, bool *is_here_out);

/* The message is over; true when its header was all of it, and the fields belong at its end. */
bool completion_at_end(const struct completion *completion);

/* Append the fields that are missing, for a message of that id which came at that time. */
void completion_fields(const struct completion *completion, uint64_t queue_id, int64_t wall_ms,
    struct span hostname, struct buf *out);

#endif
