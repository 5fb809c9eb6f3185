#include "relay/smtp/smtp_line.h"

#include "relay/smtp/text_scan.h"

enum parse
smtp_line_find(struct span input, struct span *line_out, enum smtp_line_fault *fault_out)
{
	bool has_8bit = false;
	const size_t len = text_scan(input, &has_8bit);

	*line_out = span_first(input, len);
	*fault_out = SMTP_LINE_FAULT_NONE;
	if (len == input.len)
		return PARSE_MORE;
	if (input.data[len] == '\0') {
		*fault_out = SMTP_LINE_FAULT_NUL;
		return PARSE_BAD;
	}
	if (input.data[len] == '\r' && len + 1 == input.len)
		return PARSE_MORE;
	if (input.data[len] == '\r' && input.data[len + 1] == '\n')
		return PARSE_DONE;
	*fault_out = SMTP_LINE_FAULT_BARE;
	return PARSE_BAD;
}
