#include "relay/smtp/data_writer.h"

#include "relay/base/must.h"

void
data_writer_init(struct data_writer *writer)
{
	*writer = (struct data_writer){ .dot_is_due = true };
	data_reader_init(&writer->check, DATA_FRAMED_BY_DOT, 0);
}

bool
data_writer_next(struct data_writer *writer, struct span body, struct span *wire_out,
		 size_t *octets_out)
{
	enum data_event event;

	must(body.len > 0);
	if (writer->check.place == DATA_AT_LINE_START && body.data[0] == '.') {
		if (writer->dot_is_due) {
			writer->dot_is_due = false;
			*wire_out = SPAN(".");
			*octets_out = 0;
			return true;
		}
		/* Our own dot is out; for the reader this one is not at the start of a line. */
		writer->check.place = DATA_IN_LINE;
		writer->dot_is_due = true;
	}
	*octets_out = data_reader_next(&writer->check, body, &event, wire_out);
	return event == DATA_OCTETS;
}

struct span
data_writer_end(const struct data_writer *writer)
{
	if (writer->check.place == DATA_AT_LINE_START)
		return SPAN(".\r\n");
	if (writer->check.place == DATA_IN_LINE)
		return SPAN("\r\n.\r\n");
	return span_make(NULL, 0);
}
