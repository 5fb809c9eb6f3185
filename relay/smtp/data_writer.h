/*
 * The octets of a message as they go out by DATA: dot-stuffing and the final dot (RFC 5321
 * section 4.5.2), over spans and without copying: what has to be put in between comes as a piece
 * of its own.  A bare CR or LF or a NUL never leaves: it is a fault of what is in the spool.
 * A plain value; one thread at a time.
 */
#ifndef RELAY_SMTP_DATA_WRITER_H
#define RELAY_SMTP_DATA_WRITER_H

#include "relay/base/span.h"
#include "relay/smtp/data_reader.h"

#include <stdbool.h>
#include <stddef.h>

struct data_writer {
	struct data_reader check;       /* private: the line state, and what must not pass */
	bool dot_is_due;                /* private */
};

void data_writer_init(struct data_writer *writer);

/*
 * The next piece of the wire form of BODY, which must not be empty.  WIRE_OUT is a part of the
 * body or a constant; OCTETS_OUT says how many octets of the body are dealt with (0 for a
 * stuffed dot).  False when the body holds what must not be sent; then nothing more may be
 * written and the connection has to be cut.
 */
bool
data_writer_next(struct data_writer *writer, struct span body, struct span *wire_out,
		 size_t *octets_out);

/* The end of data: ".CRLF", before it a CRLF where the last line lacks its own.  NULL data and
 * length 0 when the body ended in a bare CR: cut the connection. */
struct span data_writer_end(const struct data_writer *writer);

#endif
