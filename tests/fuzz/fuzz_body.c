/*
 * The octets of a message: the reader of DATA and BDAT against a reference that is too simple to
 * be wrong, in pieces of any size; then out again by the writer and in by the reader.
 */
#include "relay/base/buf.h"
#include "relay/base/must.h"
#include "relay/smtp/data_reader.h"
#include "relay/smtp/data_writer.h"
#include "tests/fuzz/fuzz.h"

enum { TEXT_BYTES_MAX = 1 << 20 };

struct outcome {
	enum data_event event;          /* DATA_OCTETS: nothing but octets so far */
	struct buf text;
	size_t read;
};

/* Octet by octet; the last four seen say all that matters. */
static void
reference(struct outcome *outcome, struct span input, bool dotted)
{
	bool at_start = true;

	for (size_t i = 0; i < input.len; i++) {
		char c = input.data[i];
		char before = i > 0 ? input.data[i - 1] : '\n';

		if (before == '\r' && i > 0 && c != '\n') {
			outcome->event = DATA_BARE;
			return;
		}
		if (c == '\0' || (c == '\n' && (i == 0 || before != '\r'))) {
			outcome->event = c == '\0' ? DATA_NUL : DATA_BARE;
			return;
		}
		if (dotted && at_start && c == '.') {
			struct span rest = span_skip(input, i + 1);

			if (span_starts_with(rest, SPAN("\r\n"))) {
				outcome->event = DATA_END;
				outcome->read = i + 3;
				return;
			}
			at_start = false;
			continue;       /* stuffed */
		}
		(void)buf_append_byte(&outcome->text, c);
		at_start = c == '\n';
	}
	outcome->read = input.len;
}

static void
read_all(struct outcome *outcome, struct span input, enum data_framing framing,
    struct fuzz_pieces pieces)
{
	struct data_reader reader;

	data_reader_init(&reader, framing, 0);
	while (outcome->read < input.len) {
		struct span rest = span_skip(input, outcome->read);
		struct span piece = SPAN("");
		enum data_event event;
		size_t read = data_reader_next(&reader,
		    span_first(rest, fuzz_piece(&pieces, rest.len)), &event, &piece);

		if (event == DATA_BARE || event == DATA_NUL) {
			outcome->event = event;
			return;
		}
		must(event == DATA_OCTETS || event == DATA_END);
		must(read > 0 && read <= rest.len);
		outcome->read += read;
		(void)buf_append(&outcome->text, piece);
		if (event == DATA_END) {
			outcome->event = event;
			return;
		}
	}
}

static void
outcome_init(struct outcome *outcome)
{
	*outcome = (struct outcome){ .event = DATA_OCTETS };
	buf_init(&outcome->text, TEXT_BYTES_MAX);
}

/* What is stored leaves as one message, and comes in as the same. */
static void
check_round_trip(struct span stored, struct fuzz_pieces pieces)
{
	struct outcome back;
	struct data_writer writer;
	struct span rest = stored;
	struct span end;
	struct buf wire;

	buf_init(&wire, 3 * TEXT_BYTES_MAX);
	data_writer_init(&writer);
	while (rest.len > 0) {
		struct span out;
		size_t octets;

		must(data_writer_next(&writer, span_first(rest, fuzz_piece(&pieces, rest.len)),
		    &out, &octets));
		must(buf_append(&wire, out) == 0);
		rest = span_skip(rest, octets);
	}
	end = data_writer_end(&writer);
	if (!end.data) {                /* it ends in a bare CR: never sent */
		buf_fini(&wire);
		return;
	}
	must(buf_append(&wire, end) == 0);
	outcome_init(&back);
	read_all(&back, buf_span(&wire), DATA_FRAMED_BY_DOT, pieces);
	must(back.event == DATA_END);
	must(back.read == buf_len(&wire));
	must(span_starts_with(buf_span(&back.text), stored));
	must(buf_len(&back.text) <= stored.len + 2);
	buf_fini(&back.text);
	buf_fini(&wire);
}

void
fuzz_body(struct span input)
{
	unsigned int choice = fuzz_choice(&input);
	bool dotted = choice & 1;
	struct fuzz_pieces pieces = fuzz_pieces_init(choice >> 1);
	struct outcome expected;
	struct outcome found;

	if (input.len > TEXT_BYTES_MAX / 2)
		return;
	outcome_init(&expected);
	outcome_init(&found);
	reference(&expected, input, dotted);
	read_all(&found, input, dotted ? DATA_FRAMED_BY_DOT : DATA_FRAMED_BY_COUNT, pieces);
	must(found.event == expected.event);
	if (found.event == DATA_END)
		must(found.read == expected.read);
	if (found.event == DATA_END || (found.event == DATA_OCTETS && !dotted)) {
		must(span_equal(buf_span(&found.text), buf_span(&expected.text)));
		check_round_trip(buf_span(&found.text), pieces);
	}
	buf_fini(&expected.text);
	buf_fini(&found.text);
}
