/*
 * The octets of a message as they come in: dot-unstuffing and the end of data for DATA, and the
 * checks that hold for DATA and BDAT alike (RFC 5321 sections 2.3.8, 4.1.1.4, 4.5.2, 4.5.3.1.6).
 *
 * Only CRLF.CRLF ends the data.  A bare CR or LF is a fault that the caller answers by ending
 * the connection.  No octet is copied or held back: what is passed on are pieces of the input.
 * A plain value; one thread at a time.
 */
#ifndef RELAY_SMTP_DATA_READER_H
#define RELAY_SMTP_DATA_READER_H

#include "relay/base/span.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum data_event {
	DATA_OCTETS,            /* a piece of the message; empty when only framing was read */
	DATA_END,               /* the final dot was read; nothing behind it was */
	DATA_BARE,              /* a CR without LF, or a LF without CR */
	DATA_NUL,               /* an octet 0 */
	DATA_LINE_TOO_LONG,
};

enum data_framing {
	DATA_FRAMED_BY_DOT,     /* DATA: stuffed, ends with the dot */
	DATA_FRAMED_BY_COUNT,   /* BDAT: the caller counts, a dot is an octet as any other */
};

enum data_place {               /* private: where in a line the next octet is */
	DATA_AT_LINE_START,
	DATA_IN_LINE,
	DATA_BEHIND_CR,
	DATA_BEHIND_DOT,
	DATA_BEHIND_DOT_CR,
};

struct data_reader {
	enum data_framing framing;
	enum data_place place;
	bool in_header;                 /* before the first empty line */
	bool has_8bit;                  /* an octet above 127 was seen */
	bool header_has_8bit;           /* and one of them before the first empty line */
	size_t line_bytes;              /* of the line so far, as in line_bytes_max */
	size_t line_bytes_max;          /* with CRLF, without a stuffed dot; 0: no limit */
};

void data_reader_init(struct data_reader *reader, enum data_framing framing,
		      size_t line_bytes_max);

/*
 * Read from the front of INPUT, which must not be empty, up to the next thing worth telling.
 * Returns how many octets of the input were read (at least one, but for a fault); PIECE_OUT, a
 * part of them, is what belongs to the message.  Octets before a fault or the end are told
 * first, by themselves.  After DATA_END or a fault the reader must be initialised again; but for
 * DATA_LINE_TOO_LONG, which may be met by setting line_bytes_max to 0 and going on.
 */
size_t
data_reader_next(struct data_reader *reader, struct span input, enum data_event *event_out,
		 struct span *piece_out);

/*
 * The body of the last BDAT chunk is over.  False when it ended in a CR without its LF.  It need
 * not end in CRLF: data_writer completes the line when the message is sent by DATA.
 */
bool data_reader_finish(const struct data_reader *reader);

#endif
