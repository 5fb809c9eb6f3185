#include "relay/smtp/reply_reader.h"

#include "relay/base/ascii.h"
#include "relay/smtp/smtp_line.h"

void
reply_reader_init(struct reply_reader *reader)
{
	reader->reply = (struct reply){ .code = 0 };
	reader->line_count = 0;
}

static size_t
line_bytes_max(struct span input)
{
	return span_starts_with(input, SPAN("334")) ? REPLY_CHALLENGE_BYTES_MAX
						    : REPLY_LINE_BYTES_MAX;
}

static enum reply_event
bad(struct err *err, const char *what)
{
	(void)err_set(err, ERR_FORMAT, "peer: %s", what);
	return REPLY_BAD;
}

/* RFC 5321 section 4.2: Reply-code = %x32-35 %x30-35 %x30-39; the second digit is seen wider. */
static unsigned int
parse_code(struct span line)
{
	if (line.len < 3 || line.data[0] < '2' || line.data[0] > '5' ||
	    !ascii_is_digit(line.data[1]) || !ascii_is_digit(line.data[2]))
		return 0;
	return (unsigned int)(line.data[0] - '0') * 100 +
	       (unsigned int)(line.data[1] - '0') * 10 + (unsigned int)(line.data[2] - '0');
}

static void
keep_text(struct reply_reader *reader, unsigned int code, struct span text)
{
	const struct span status = reply_take_status((uint16_t)code, &text);

	if (reader->line_count == 0)
		reply_set_foreign(&reader->reply, (uint16_t)code, status, text);
	else
		reply_add_foreign(&reader->reply, text);
}

enum reply_event
reply_reader_next(struct reply_reader *reader, struct span input, size_t *consumed_out,
		  struct span *text_out, struct err *err)
{
	struct span line;
	enum smtp_line_fault fault;
	const enum parse parse = smtp_line_find(input, &line, &fault);

	*consumed_out = 0;
	*text_out = span_first(input, 0);
	if (line.len + 2 > line_bytes_max(input))
		return bad(err, "a reply line is too long");
	if (parse == PARSE_MORE)
		return REPLY_MORE;
	if (parse == PARSE_BAD)
		return bad(err, fault == SMTP_LINE_FAULT_NUL ? "a NUL in a reply"
							     : "a bare CR or LF in a reply");

	const unsigned int code = parse_code(line);

	if (code == 0)
		return bad(err, "a reply line does not begin with a code");
	if (line.len > 3 && line.data[3] != ' ' && line.data[3] != '-')
		return bad(err, "no space behind the code of a reply");
	if (reader->line_count > 0 && code != reader->reply.code)
		return bad(err, "the lines of a reply differ in their code");
	if (reader->line_count == REPLY_LINE_COUNT_MAX)
		return bad(err, "a reply has too many lines");

	*text_out = span_skip(line, 4);
	*consumed_out = line.len + 2;
	keep_text(reader, code, *text_out);
	if (line.len > 3 && line.data[3] == '-') {
		reader->line_count++;
		return REPLY_LINE;
	}
	reader->line_count = 0;
	return REPLY_LAST;
}
