/*
 * Replies of a peer, who is hostile (RFC 5321 section 4.2).  Lines, their number and their
 * length are bounded, every line must carry the same code, and the words are made safe.
 * A plain value; one thread at a time.
 */
#ifndef RELAY_SMTP_REPLY_READER_H
#define RELAY_SMTP_REPLY_READER_H

#include "relay/base/err.h"
#include "relay/base/span.h"
#include "relay/mail/reply.h"

#include <stdbool.h>
#include <stddef.h>

enum {
	/* RFC 5321 4.5.3.1.5 says 512; some say more, and none needs 4 kB but a SASL challenge. */
	REPLY_LINE_BYTES_MAX = 4096,
	REPLY_CHALLENGE_BYTES_MAX = 12288,      /* RFC 4954 section 4 */
	REPLY_LINE_COUNT_MAX = 128,
};

enum reply_event {
	REPLY_MORE,             /* no whole line yet */
	REPLY_LINE,             /* a line of a multi-line reply, and not the last */
	REPLY_LAST,             /* the reply is complete */
	REPLY_BAD,              /* no reply at all; end the connection */
};

struct reply_reader {
	struct reply reply;             /* complete at REPLY_LAST */
	unsigned int line_count;        /* private */
};

void reply_reader_init(struct reply_reader *reader);

/*
 * Read at most one line off INPUT.  CONSUMED_OUT says how many bytes were read, TEXT_OUT is what
 * stands behind code and separator, unsafe as it came, valid as long as the input.  After
 * REPLY_LAST the next call begins a new reply.  REPLY_BAD fills ERR.
 */
enum reply_event
reply_reader_next(struct reply_reader *reader, struct span input, size_t *consumed_out,
		  struct span *text_out, struct err *err);

#endif
