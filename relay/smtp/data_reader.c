#include "relay/smtp/data_reader.h"

#include "relay/base/must.h"

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

/*
 * The length of the run at the front that is neither CR, LF nor NUL, and whether an octet above
 * 127 is in it.  The compiler turns the inner loop into vector code.
 */
static size_t
plain_run(struct span input, bool *has_8bit_out)
{
	unsigned char all = 0;
	size_t at = 0;

	while (at < input.len) {
		unsigned char octet = (unsigned char)input.data[at];

		if (octet == '\r' || octet == '\n' || octet == '\0')
			break;
		all |= octet;
		at++;
	}
	*has_8bit_out = all & 0x80;
	return at;
}

/* What is to be told of one step; EVENT is DATA_OCTETS while nothing else is the matter. */
struct step_result {
	enum data_event event;
	size_t read;            /* octets of the input that this step reads */
	bool keeps;             /* they belong to the message */
};

static struct step_result
step_in_text(struct data_reader *reader, struct span input)
{
	bool has_8bit;
	size_t run = plain_run(input, &has_8bit);

	if (run == 0 && input.data[0] == '\n')
		return (struct step_result){ .event = DATA_BARE };
	if (run == 0 && input.data[0] == '\0')
		return (struct step_result){ .event = DATA_NUL };
	if (run == 0) {
		/* An empty line ends the header; its CR is the only octet before the LF. */
		if (reader->place == DATA_AT_LINE_START && reader->line_bytes == 0)
			reader->in_header = false;
		reader->place = DATA_BEHIND_CR;
		run = 1;
	} else {
		reader->has_8bit |= has_8bit;
		reader->header_has_8bit |= has_8bit && reader->in_header;
		reader->place = DATA_IN_LINE;
	}
	reader->line_bytes += run;
	/* The CR and LF that must still come count too. */
	size_t rest = reader->place == DATA_BEHIND_CR ? 1 : 2;

	if (reader->line_bytes_max && reader->line_bytes + rest > reader->line_bytes_max)
		return (struct step_result){ .event = DATA_LINE_TOO_LONG };
	return (struct step_result){ .event = DATA_OCTETS, .read = run, .keeps = true };
}

static struct step_result
step_line_start(struct data_reader *reader, struct span input)
{
	if (reader->framing == DATA_FRAMED_BY_COUNT || input.data[0] != '.')
		return step_in_text(reader, input);
	reader->place = DATA_BEHIND_DOT;
	return (struct step_result){ .event = DATA_OCTETS, .read = 1 };
}

static struct step_result
step_behind_cr(struct data_reader *reader, struct span input)
{
	if (input.data[0] != '\n')
		return (struct step_result){ .event = DATA_BARE };
	reader->place = DATA_AT_LINE_START;
	reader->line_bytes = 0;
	return (struct step_result){ .event = DATA_OCTETS, .read = 1, .keeps = true };
}

/* RFC 5321 section 4.5.2: the first dot of a line is not part of the message. */
static struct step_result
step_behind_dot(struct data_reader *reader, struct span input)
{
	if (input.data[0] == '\r') {
		reader->place = DATA_BEHIND_DOT_CR;
		return (struct step_result){ .event = DATA_OCTETS, .read = 1 };
	}
	reader->place = DATA_IN_LINE;
	return step_in_text(reader, input);
}

static struct step_result
step(struct data_reader *reader, struct span input)
{
	switch (reader->place) {
	case DATA_AT_LINE_START:
		return step_line_start(reader, input);
	case DATA_IN_LINE:
		return step_in_text(reader, input);
	case DATA_BEHIND_CR:
		return step_behind_cr(reader, input);
	case DATA_BEHIND_DOT:
		return step_behind_dot(reader, input);
	case DATA_BEHIND_DOT_CR:
		if (input.data[0] != '\n')
			return (struct step_result){ .event = DATA_BARE };
		return (struct step_result){ .event = DATA_END, .read = 1 };
	}
	must_not_reach();
}

size_t
data_reader_next(struct data_reader *reader, struct span input, enum data_event *event_out,
		 struct span *piece_out)
{
	size_t read = 0, kept_from = 0, kept = 0;

	must(input.len > 0);
	while (read < input.len) {
		struct data_reader before = *reader;
		struct step_result result = step(reader, span_skip(input, read));

		/* Framing, faults and the end are told by themselves, behind what came before. */
		if (kept > 0 && !(result.event == DATA_OCTETS && result.keeps)) {
			*reader = before;
			break;
		}
		if (result.event != DATA_OCTETS) {
			*event_out = result.event;
			*piece_out = span_first(input, 0);
			return read + result.read;
		}
		if (result.keeps && kept == 0)
			kept_from = read;
		if (result.keeps)
			kept += result.read;
		read += result.read;
	}
	*event_out = DATA_OCTETS;
	*piece_out = span_slice(input, kept_from, kept);
	return read;
}

bool
data_reader_finish(const struct data_reader *reader)
{
	return reader->place != DATA_BEHIND_CR;
}
