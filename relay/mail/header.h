#ifndef RELAY_MAIL_HEADER_H
#define RELAY_MAIL_HEADER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/buf.h"
#include "relay/base/span.h"

/*
 * Reading the header of a message, RFC 5322 section 2.2.  Lines end in CRLF; a
 * bare LF is taken as a line's end too, since mailboxes have such.  Nothing here
 * changes a message.
 */
struct header_field {
	struct span name;       /* "Received", as written */
	struct span value;      /* behind the colon, folds and all, without the last line end */
	struct span whole;      /* name to last line end */
};

struct header_scan {
	struct span rest;
	bool ended;             /* the empty line was met, or a line that is no field */
};

void header_scan_init(struct header_scan *scan, struct span message);

/*
 * The next field.  A line that is no field ends the header, as mail readers have
 * it.  False at the end, and when the last field's line is not all there.
 */
bool header_scan_next(struct header_scan *scan, struct header_field *field_out);

/* The value of the first field of that name, any case. */
bool header_find(struct span message, struct span name, struct span *value_out);

size_t header_count(struct span message, struct span name);

/*
 * Bytes of the header with its empty line: where the body begins.  All of the
 * span when it has no end of header.
 */
size_t header_bytes(struct span message);

/* Append value in one line: folds become one blank, ends trimmed. */
int header_unfold(struct span value, struct buf *out);

/*
 * A watcher that is fed a message piece by piece while it arrives and notes what
 * the relay needs of its header.  It keeps no bytes but the Message-ID.
 */
#define HEADER_WATCH_NAME_BYTES 32
#define HEADER_WATCH_ID_BYTES 256

struct header_watch {
	/* results */
	uint32_t received_count;
	bool has_date;
	bool has_from;
	bool has_message_id;
	bool has_utf8;          /* a byte above 127 in the header */
	bool ended;             /* nothing more to learn */
	bool is_own_loop;       /* a Received field names own_id; see header_watch_init() */
	uint64_t bytes;         /* of the header so far */
	char message_id[HEADER_WATCH_ID_BYTES]; /* with brackets; "" if none or too long */

	/* between pieces */
	struct span own_id;
	size_t own_id_matched;
	size_t name_len;
	char name[HEADER_WATCH_NAME_BYTES];
	size_t id_len;
	unsigned char state;     /* enum watch_state */
	unsigned char field;     /* enum watch_field */
};

/*
 * own_id, borrowed, is looked for in Received fields ("id=..." words of our own
 * node, or our host name after " by "); empty looks for nothing.
 */
void header_watch_init(struct header_watch *watch, struct span own_id);
void header_watch_feed(struct header_watch *watch, struct span piece);

#endif
