#include "relay/smtp/data_writer.h"

/*
 * The checks are the reader's: the body is read as a counted one, and a piece ends where a dot
 * stands at the start of a line, so that the stuffed dot goes out before it.
 */
void
data_writer_init(struct data_writer *writer)
{
	*writer = (struct data_writer){ .dot_is_due = true };
	data_reader_init(&writer->check, DATA_FRAMED_BY_COUNT, 0);
}

/*
 * Where the first line after the present one starts with a dot; the length if none does.  A CRLF
 * that two pieces share is gone to its end first, so that a dot behind it is seen at a line start.
 */
static size_t
before_next_dot(const struct data_writer *writer, struct span body)
{
	size_t at;

	if (writer->check.place == DATA_BEHIND_CR)
		return 1;
	return span_find(body, SPAN("\r\n."), &at) ? at + 2 : body.len;
}

bool
data_writer_next(struct data_writer *writer, struct span body, struct span *wire_out,
		 size_t *octets_out)
{
	if (writer->check.place == DATA_AT_LINE_START && body.data[0] == '.' &&
	    writer->dot_is_due) {
		writer->dot_is_due = false;
		*wire_out = SPAN(".");
		*octets_out = 0;
		return true;
	}

	struct span part = span_first(body, before_next_dot(writer, body)), piece;
	enum data_event event;
	size_t checked = 0;

	while (checked < part.len) {
		checked += data_reader_next(&writer->check, span_skip(part, checked), &event, &piece);
		if (event != DATA_OCTETS)
			return false;
	}
	writer->dot_is_due = true;
	*wire_out = part;
	*octets_out = part.len;
	return true;
}

struct span
data_writer_end(const struct data_writer *writer)
{
	if (!data_reader_finish(&writer->check))
		return (struct span){ 0 };
	return writer->check.place == DATA_AT_LINE_START ? SPAN(".\r\n") : SPAN("\r\n.\r\n");
}
