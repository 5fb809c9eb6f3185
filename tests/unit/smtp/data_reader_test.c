/*
 * The end of data and nothing else ends data: every string over {CR, LF, '.', 'a'} up to eight
 * octets, in the place of the end of data, against a reference that is too simple to be wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/smtp/data_reader.h"
#include "relay/smtp/data_writer.h"

enum { STRING_LEN_MAX = 8, TEXT_MAX = 64 };

enum verdict { VERDICT_MORE, VERDICT_END, VERDICT_FAULT };

struct result {
	enum verdict verdict;
	char text[TEXT_MAX];
	size_t len;
	size_t read;
};

/*
 * The reference: line by line.  A line is what stands before the first CRLF; a CR or LF in it is
 * a fault; "." alone is the end; a dot in front goes away.
 */
static struct result
reference(struct span input)
{
	struct result result = { 0 };
	struct span rest = input;
	size_t end, at;

	while (span_find(rest, SPAN("\r\n"), &end)) {
		struct span line = span_first(rest, end);

		if (span_find_byte(line, '\r', &at) || span_find_byte(line, '\n', &at))
			break;
		rest = span_skip(rest, end + 2);
		result.read = input.len - rest.len;
		if (span_equal(line, SPAN("."))) {
			result.verdict = VERDICT_END;
			return result;
		}
		line = span_skip(line, line.len && line.data[0] == '.');
		memcpy(result.text + result.len, line.data, line.len);
		memcpy(result.text + result.len + line.len, "\r\n", 2);
		result.len += line.len + 2;
	}
	/* A bare one in what is left is a fault; a CR at the very end may still get its LF. */
	for (size_t i = 0; i < rest.len; i++)
		if ((rest.data[i] == '\n' && (i == 0 || rest.data[i - 1] != '\r')) ||
		    (rest.data[i] == '\r' && i + 1 < rest.len && rest.data[i + 1] != '\n'))
			result.verdict = VERDICT_FAULT;
	return result;
}

/* The reader, shown at most STEP octets at a time. */
static struct result
read_by(struct span input, size_t step)
{
	struct result result = { 0 };
	struct data_reader reader;

	data_reader_init(&reader, DATA_FRAMED_BY_DOT, 0);
	while (result.read < input.len) {
		enum data_event event;
		struct span piece;
		size_t read = data_reader_next(&reader, span_slice(input, result.read, step),
		    &event,
		    &piece);

		if (event == DATA_BARE || event == DATA_NUL || event == DATA_LINE_TOO_LONG) {
			result.verdict = VERDICT_FAULT;
			return result;
		}
		assert_true(read > 0);
		result.read += read;
		memcpy(result.text + result.len, piece.data, piece.len);
		result.len += piece.len;
		if (event == DATA_END) {
			result.verdict = VERDICT_END;
			return result;
		}
	}
	return result;
}

static void
agrees_with_the_reference(struct span input)
{
	struct result expected = reference(input);

	const size_t steps[] = { 1, 2, 3, input.len };

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct result found = read_by(input, steps[i]);

		assert_int_equal(found.verdict, expected.verdict);
		if (expected.verdict == VERDICT_END) {
			assert_int_equal(found.read, expected.read);
			assert_int_equal(found.len, expected.len);
			assert_memory_equal(found.text, expected.text, expected.len);
		}
	}
}

static void
no_string_smuggles(void **state)
{
	static const char letters[] = "\r\n.a";
	static const struct span before[] = { SPAN(""), SPAN("a\r\n"), SPAN("a") };
	static const struct span after[] = { SPAN(""), SPAN("b\r\n.\r\n") };
	size_t count = 0;

	(void)state;
	for (size_t len = 0; len <= STRING_LEN_MAX; len++) {
		for (uint32_t number = 0; number < 1u << 2 * len; number++) {
			for (size_t frame = 0; frame < 6; frame++) {
				char text[TEXT_MAX];
				struct span head = before[frame % 3], tail = after[frame / 3];
				size_t size = head.len;

				memcpy(text, head.data, head.len);
				for (size_t i = 0; i < len; i++)
					text[size++] = letters[number >> 2 * i & 3];
				memcpy(text + size, tail.data, tail.len);
				size += tail.len;
				if (size)
					agrees_with_the_reference(span_make(text, size));
				count++;
			}
		}
	}
	assert_int_equal(count, 87381 * 6);
}

/* What the writer sends, the reader reads back; what the reader would refuse is never sent. */
static void
writer_and_reader_agree(void **state)
{
	static const char letters[] = "\r\n.a";

	(void)state;
	for (size_t len = 1; len <= STRING_LEN_MAX; len++) {
		for (uint32_t number = 0; number < 1u << 2 * len; number++) {
			char body[TEXT_MAX], wire[4 * TEXT_MAX];
			size_t sent = 0, size = 0;
			bool good = true;
			struct data_writer writer;

			for (size_t i = 0; i < len; i++)
				body[i] = letters[number >> 2 * i & 3];
			data_writer_init(&writer);
			while (sent < len && good) {
				struct span piece;
				size_t octets;

				/* In pieces of one to three octets, or whole. */
				size_t shown = 1 + (number + sent) % 4;

				if (shown > len - sent || number % 5 == 0)
					shown = len - sent;
				good = data_writer_next(&writer, span_make(body + sent, shown),
				    &piece, &octets);
				if (!good)
					break;
				memcpy(wire + size, piece.data, piece.len);
				size += piece.len;
				sent += octets;
			}

			struct span end = good ? data_writer_end(&writer) : (struct span){ 0 };
			struct data_reader check;
			bool clean = true;

			data_reader_init(&check, DATA_FRAMED_BY_COUNT, 0);
			for (size_t read = 0; read < len && clean;) {
				enum data_event event;
				struct span piece;

				read += data_reader_next(&check, span_make(body + read, len - read),
				    &event, &piece);
				clean = event == DATA_OCTETS;
			}
			clean = clean && data_reader_finish(&check);
			assert_int_equal(clean, end.len > 0);
			if (!clean)
				continue;
			memcpy(wire + size, end.data, end.len);
			size += end.len;

			struct result found = read_by(span_make(wire, size), size);
			bool completed = len < 2 || memcmp(body + len - 2, "\r\n", 2) != 0;

			assert_int_equal(found.verdict, VERDICT_END);
			assert_int_equal(found.read, size);
			assert_int_equal(found.len, len + (completed ? 2 : 0));
			assert_memory_equal(found.text, body, len);
		}
	}
}

static void
faults_and_facts(void **state)
{
	static const struct {
		const char *name;
		struct span input;
		size_t line_bytes_max;
		enum data_event expected;
		bool has_8bit, header_has_8bit;
	} cases[] = {
		{ "a nul", SPAN("a\0b\r\n"), 0, DATA_NUL, false, false },
		{ "a line of just the limit", SPAN("12345678\r\n.\r\n"), 10, DATA_END, false,
		    false },
		{ "a line over the limit", SPAN("123456789\r\n.\r\n"), 10, DATA_LINE_TOO_LONG,
		    false, false },
		{ "a stuffed dot does not count", SPAN("..2345678\r\n.\r\n"), 10, DATA_END, false,
		    false },
		{ "8 bit in the header", SPAN("S: \xc3\xa9\r\n\r\n.\r\n"), 0, DATA_END, true,
		    true },
		{ "8 bit in the body", SPAN("S: e\r\n\r\n\xc3\xa9\r\n.\r\n"), 0, DATA_END, true,
		    false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		enum data_event event = DATA_OCTETS;
		struct data_reader reader;
		struct span piece;

		print_message("%s\n", cases[i].name);
		data_reader_init(&reader, DATA_FRAMED_BY_DOT, cases[i].line_bytes_max);
		for (size_t at = 0; event == DATA_OCTETS && at < cases[i].input.len;)
			at += data_reader_next(&reader, span_skip(cases[i].input, at), &event,
			    &piece);
		assert_int_equal(event, cases[i].expected);
		assert_int_equal(reader.has_8bit, cases[i].has_8bit);
		assert_int_equal(reader.header_has_8bit, cases[i].header_has_8bit);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_string_smuggles),
		cmocka_unit_test(writer_and_reader_agree),
		cmocka_unit_test(faults_and_facts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
