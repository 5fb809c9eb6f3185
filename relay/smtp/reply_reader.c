#include "relay/smtp/reply_reader.h"

#include "relay/base/ascii.h"

void
reply_reader_init(struct reply_reader *reader)
{
	*reader = (struct reply_reader){ 0 };
}

static enum reply_event
bad(struct err *err, const char *what)
{
	(void)err_set(err, ERR_FORMAT, "the peer's reply is no SMTP: %s", what);
	return REPLY_BAD;
}

/* RFC 5321 section 4.2: the first digit 2 to 5, the second 0 to 5, the third any. */
static bool
parse_code(struct span line, uint16_t *code_out)
{
	if (line.len < 3 || line.data[0] < '2' || line.data[0] > '5' || line.data[1] < '0' ||
	    line.data[1] > '5' || !ascii_is_digit(line.data[2]))
		return false;
	*code_out = (uint16_t)((line.data[0] - '0') * 100 + (line.data[1] - '0') * 10 +
	    (line.data[2] - '0'));
	return true;
}

/* One whole line without its end: many servers end lines with a bare LF, and no harm is in that. */
static enum reply_event
take_line(struct reply_reader *reader, struct span line, struct span *text_out, struct err *err)
{
	uint16_t code;

	if (!parse_code(line, &code))
		return bad(err, "a line without a code");
	if (line.len > 3 && line.data[3] != ' ' && line.data[3] != '-')
		return bad(err, "no blank or hyphen behind the code");
	if (reader->line_count > 0 && code != reader->reply.code)
		return bad(err, "lines of one reply have different codes");
	if (reader->line_count >= REPLY_LINE_COUNT_MAX)
		return bad(err, "a reply of too many lines");

	bool last = line.len == 3 || line.data[3] == ' ';
	struct span text = span_skip(line, 4);
	struct span words = text;
	struct span status = reply_take_status(code, &words);

	*text_out = text;
	if (reader->line_count++ == 0)
		reply_set_foreign(&reader->reply, code, status, words);
	else
		reply_add_foreign(&reader->reply, words);
	return last ? REPLY_LAST : REPLY_LINE;
}

enum reply_event
reply_reader_next(struct reply_reader *reader, struct span input, size_t *consumed_out,
		  struct span *text_out, struct err *err)
{
	size_t end, line_bytes_max = REPLY_LINE_BYTES_MAX;

	*consumed_out = 0;
	*text_out = span_first(input, 0);
	if (reader->line_count == 0)
		reader->reply = (struct reply){ 0 };
	if (span_starts_with(input, SPAN("334")))
		line_bytes_max = REPLY_CHALLENGE_BYTES_MAX;
	if (!span_find_byte(span_first(input, line_bytes_max), '\n', &end)) {
		if (input.len >= line_bytes_max)
			return bad(err, "a line that does not end");
		return REPLY_MORE;
	}

	struct span line = span_first(input, end);

	if (line.len && line.data[line.len - 1] == '\r')
		line.len--;
	*consumed_out = end + 1;

	enum reply_event event = take_line(reader, line, text_out, err);

	if (event == REPLY_LAST)
		reader->line_count = 0;
	return event;
}
