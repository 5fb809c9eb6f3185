#include "relay/mail/header.h"

#include "relay/base/ascii.h"

void
header_scan_init(struct header_scan *scan, struct span message)
{
	*scan = (struct header_scan){ .rest = message };
}

/* RFC 5322 section 3.6.8 ftext: printable ASCII but the colon. */
static bool
is_name_byte(char c)
{
	return ascii_is_graph(c) && c != ':';
}

/* Bytes of the first line with its end; 0 when the end is not there. */
static size_t
line_bytes(struct span text)
{
	size_t at;

	return span_find_byte(text, '\n', &at) ? at + 1 : 0;
}

/* A line without its end. */
static struct span
without_end(struct span line)
{
	if (line.len > 0 && line.data[line.len - 1] == '\n')
		line.len--;
	if (line.len > 0 && line.data[line.len - 1] == '\r')
		line.len--;
	return line;
}

/* The first line with the folded ones that follow; 0 when the last has no end. */
static size_t
field_bytes(struct span text)
{
	size_t bytes = line_bytes(text);

	while (bytes > 0 && bytes < text.len && ascii_is_blank(text.data[bytes])) {
		size_t more = line_bytes(span_skip(text, bytes));

		if (more == 0)
			return 0;
		bytes += more;
	}
	return bytes;
}

bool
header_scan_next(struct header_scan *scan, struct header_field *field_out)
{
	size_t name_len = 0;
	size_t colon;

	if (scan->ended)
		return false;

	size_t bytes = field_bytes(scan->rest);
	struct span whole = span_first(scan->rest, bytes);

	if (bytes == 0)
		return false;
	while (name_len < whole.len && is_name_byte(whole.data[name_len]))
		name_len++;
	colon = name_len;
	/* Blanks before the colon are obsolete, and still a field. */
	while (colon < whole.len && ascii_is_blank(whole.data[colon]))
		colon++;
	if (name_len == 0 || colon >= whole.len || whole.data[colon] != ':') {
		scan->ended = true;
		return false;
	}
	field_out->whole = whole;
	field_out->name = span_first(whole, name_len);
	field_out->value = without_end(span_skip(whole, colon + 1));
	scan->rest = span_skip(scan->rest, bytes);
	return true;
}

bool
header_find(struct span message, struct span name, struct span *value_out)
{
	struct header_scan scan;
	struct header_field field;

	header_scan_init(&scan, message);
	while (header_scan_next(&scan, &field)) {
		if (span_equal_nocase(field.name, name)) {
			*value_out = field.value;
			return true;
		}
	}
	return false;
}

size_t
header_count(struct span message, struct span name)
{
	struct header_scan scan;
	struct header_field field;
	size_t count = 0;

	header_scan_init(&scan, message);
	while (header_scan_next(&scan, &field))
		count += span_equal_nocase(field.name, name);
	return count;
}

size_t
header_bytes(struct span message)
{
	struct header_scan scan;
	struct header_field field;

	header_scan_init(&scan, message);
	while (header_scan_next(&scan, &field))
		;
	if (!scan.ended)
		return message.len;

	/* The empty line belongs to the header; a line that is no field does not. */
	struct span line = span_first(scan.rest, line_bytes(scan.rest));

	if (without_end(line).len == 0)
		scan.rest = span_skip(scan.rest, line.len);
	return message.len - scan.rest.len;
}

int
header_unfold(struct span value, struct buf *out)
{
	bool is_folding = false;

	value = span_trim(value);
	for (size_t i = 0; i < value.len; i++) {
		char c = value.data[i];

		if (c == '\r' || c == '\n' || (is_folding && ascii_is_blank(c))) {
			is_folding = true;
			continue;
		}
		if (is_folding && buf_append_byte(out, ' ') < 0)
			return -1;
		is_folding = false;
		if (buf_append_byte(out, c) < 0)
			return -1;
	}
	return 0;
}
