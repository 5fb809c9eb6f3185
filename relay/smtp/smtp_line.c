#include "relay/smtp/smtp_line.h"

#include <stdbool.h>

enum parse
smtp_line_find(struct span input, struct span *line_out, enum smtp_line_fault *fault_out)
{
	size_t end = 0;
	bool has_end = span_find_byte(input, '\n', &end);
	struct span line = span_first(input, has_end ? end : input.len);
	size_t at;

	*fault_out = SMTP_LINE_FAULT_NONE;
	if (span_find_byte(line, '\0', &at)) {
		*fault_out = SMTP_LINE_FAULT_NUL;
		return PARSE_BAD;
	}
	/* A CR may only be the last octet, where its LF follows or may still come. */
	if (span_find_byte(line, '\r', &at) ? at + 1 != line.len : has_end) {
		*fault_out = SMTP_LINE_FAULT_BARE;
		return PARSE_BAD;
	}
	if (!has_end)
		return PARSE_MORE;
	*line_out = span_first(line, at);
	return PARSE_DONE;
}
