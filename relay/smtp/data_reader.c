#include "relay/smtp/data_reader.h"

#include "relay/base/must.h"
#include "relay/smtp/text_scan.h"

void
data_reader_init(struct data_reader *reader, enum data_framing framing, size_t line_bytes_max)
{
	*reader = (struct data_reader){
		.framing = framing,
		.place = DATA_AT_LINE_START,
		.in_header = true,
		.line_bytes_max = line_bytes_max,
	};
}

/* One octet of framing, which belongs to no piece; false where INPUT does not begin with one. */
static bool
read_framing(struct data_reader *reader, char octet, enum data_event *event_out)
{
	if (reader->framing == DATA_FRAMED_BY_COUNT)
		return false;
	switch (reader->place) {
	case DATA_AT_LINE_START:
		if (octet != '.')
			return false;
		reader->place = DATA_BEHIND_DOT;
		return true;
	case DATA_BEHIND_DOT:
		/* RFC 5321 section 4.5.2: the dot is deleted if anything but CRLF follows it. */
		if (octet == '\r') {
			reader->place = DATA_BEHIND_DOT_CR;
			return true;
		}
		reader->place = DATA_IN_LINE;
		return false;
	case DATA_BEHIND_DOT_CR:
		*event_out = octet == '\n' ? DATA_END : DATA_BARE;
		return true;
	case DATA_IN_LINE:
	case DATA_BEHIND_CR:
		return false;
	}
	must_not_reach();
}

static void
end_line(struct data_reader *reader)
{
	/* A line of one stuffed dot has no octets either, but is not reached here. */
	if (reader->line_bytes == 0)
		reader->in_header = false;
	reader->line_bytes = 0;
	reader->place = DATA_AT_LINE_START;
}

/* Read octets of a line up to its CR, its limit, a fault, or the end of what there is. */
static size_t
read_in_line(struct data_reader *reader, struct span text)
{
	bool has_8bit = false;
	const size_t limit = reader->line_bytes_max;

	if (limit > 0)
		text = span_first(text, limit - 2 - reader->line_bytes);

	const size_t len = text_scan(text, &has_8bit);

	if (has_8bit) {
		reader->has_8bit = true;
		reader->header_has_8bit |= reader->in_header;
	}
	reader->line_bytes += len;
	return len;
}

/* What to do with an octet that ends a run; true when it belongs to the message. */
static bool
take_special(struct data_reader *reader, char octet, enum data_event *event_out)
{
	if (octet == '\r') {
		reader->place = DATA_BEHIND_CR;
		return true;
	}
	if (octet == '\n') {
		*event_out = DATA_BARE;
		return false;
	}
	*event_out = octet == '\0' ? DATA_NUL : DATA_LINE_TOO_LONG;
	return false;
}

/* The longest piece of the message at the front of INPUT. */
static size_t
read_piece(struct data_reader *reader, struct span input, enum data_event *event_out)
{
	size_t at = 0;

	while (at < input.len) {
		if (reader->place == DATA_BEHIND_CR) {
			if (input.data[at] != '\n') {
				*event_out = DATA_BARE;
				break;
			}
			end_line(reader);
			at++;
			continue;
		}
		if (reader->place == DATA_AT_LINE_START) {
			if (reader->framing == DATA_FRAMED_BY_DOT && input.data[at] == '.')
				break;
			reader->place = DATA_IN_LINE;
		}
		at += read_in_line(reader, span_skip(input, at));
		if (at == input.len || !take_special(reader, input.data[at], event_out))
			break;
		at++;
	}
	return at;
}

size_t
data_reader_next(struct data_reader *reader, struct span input, enum data_event *event_out,
		 struct span *piece_out)
{
	must(input.len > 0);
	*event_out = DATA_OCTETS;
	*piece_out = span_first(input, 0);
	if (read_framing(reader, input.data[0], event_out))
		return *event_out == DATA_BARE ? 0 : 1;

	const size_t len = read_piece(reader, input, event_out);

	*piece_out = span_first(input, len);
	if (len > 0)
		*event_out = DATA_OCTETS;       /* a fault behind it is met again, at its front */
	return len;
}

bool
data_reader_finish(const struct data_reader *reader)
{
	return reader->place != DATA_BEHIND_CR;
}
