/*
 * One line of a command or a reply, ended by CRLF and by nothing else (RFC 5321 section 2.3.8).
 * A bare CR, a bare LF and a NUL are refused and never repaired.  Any thread.
 */
#ifndef RELAY_SMTP_LINE_H
#define RELAY_SMTP_LINE_H

#include "relay/base/span.h"
#include "relay/smtp/parse.h"

#include <stddef.h>

enum smtp_line_fault {
	SMTP_LINE_FAULT_NONE,
	SMTP_LINE_FAULT_BARE,           /* a CR without LF, or a LF without CR */
	SMTP_LINE_FAULT_NUL,
};

/*
 * Find the first line of INPUT.  PARSE_DONE: LINE_OUT is the line without its CRLF, and
 * LINE_OUT->len + 2 bytes of the input were read.  PARSE_BAD: FAULT_OUT says why.  Nothing is
 * said of the length: the caller knows its limit and looks at a PARSE_MORE with that in mind.
 */
enum parse
smtp_line_find(struct span input, struct span *line_out, enum smtp_line_fault *fault_out);

#endif
