#include "relay/mail/xtext.h"

#include <stdint.h>

#include "relay/base/ascii.h"

static bool
is_xchar(char c)
{
	return ascii_is_graph(c) && c != '+' && c != '=';
}

static int
upper_hex_value(char c)
{
	return ascii_is_lower(c) ? -1 : ascii_hex_value(c);
}

/* The byte at the front of text; how many characters say it, 0 when they are wrong. */
static size_t
take_byte(struct span text, char *byte_out)
{
	if (is_xchar(text.data[0])) {
		*byte_out = text.data[0];
		return 1;
	}
	if (text.data[0] != '+' || text.len < 3)
		return 0;

	int high = upper_hex_value(text.data[1]);
	int low = upper_hex_value(text.data[2]);

	if (high < 0 || low < 0)
		return 0;
	*byte_out = (char)(high << 4 | low);
	return 3;
}

bool
xtext_is_valid(struct span text)
{
	char byte;

	while (text.len > 0) {
		size_t taken = take_byte(text, &byte);

		if (taken == 0)
			return false;
		text = span_skip(text, taken);
	}
	return true;
}

int
xtext_encode(struct span bytes, struct buf *out)
{
	size_t before = buf_len(out);

	for (size_t i = 0; i < bytes.len; i++) {
		char c = bytes.data[i];

		if ((is_xchar(c) ? buf_append_byte(out, c)
		     : buf_appendf(out, "+%02X", (unsigned char)c)) < 0) {
			buf_truncate(out, before);
			return -1;
		}
	}
	return 0;
}

int
xtext_decode(struct span text, struct buf *out)
{
	size_t before = buf_len(out);
	char byte;

	while (text.len > 0) {
		size_t taken = take_byte(text, &byte);

		if (taken == 0 || buf_append_byte(out, byte) < 0) {
			buf_truncate(out, before);
			return -1;
		}
		text = span_skip(text, taken);
	}
	return 0;
}

/* RFC 6533 section 3: "\x{HEXPOINT}", shortest form, for what ASCII has not. */
static size_t
take_hexpoint(struct span text, uint32_t *code_out)
{
	size_t end;
	uint64_t code;

	if (!span_starts_with(text, SPAN("\\x{")) ||
	    !span_find_byte(span_first(text, 10), '}', &end))
		return 0;
	/* Two to six digits, and no zero in front but that of a two-digit one. */
	if (end < 5 || end > 9 || (end > 5 && text.data[3] == '0'))
		return 0;
	for (size_t i = 3; i < end; i++)
		if (upper_hex_value(text.data[i]) < 0)
			return 0;
	if (!span_parse_hex(span_slice(text, 3, end - 3), &code))
		return 0;
	if (code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	*code_out = (uint32_t)code;
	return end + 1;
}

static int
append_utf8(struct buf *out, uint32_t code)
{
	char bytes[4];
	size_t len = 0;

	if (code < 0x80) {
		bytes[len++] = (char)code;
	} else if (code < 0x800) {
		bytes[len++] = (char)(0xc0 | code >> 6);
		bytes[len++] = (char)(0x80 | (code & 0x3f));
	} else if (code < 0x10000) {
		bytes[len++] = (char)(0xe0 | code >> 12);
		bytes[len++] = (char)(0x80 | (code >> 6 & 0x3f));
		bytes[len++] = (char)(0x80 | (code & 0x3f));
	} else {
		bytes[len++] = (char)(0xf0 | code >> 18);
		bytes[len++] = (char)(0x80 | (code >> 12 & 0x3f));
		bytes[len++] = (char)(0x80 | (code >> 6 & 0x3f));
		bytes[len++] = (char)(0x80 | (code & 0x3f));
	}
	return buf_append(out, span_make(bytes, len));
}

/* One character of a utf-8 address in any of its three forms; 0 when it is wrong. */
static size_t
take_utf8_char(struct span text, struct buf *out)
{
	size_t taken = span_utf8_len(text);
	uint32_t code;
	char byte;

	if (taken > 1)
		return buf_append(out, span_first(text, taken)) < 0 ? 0 : taken;
	if (taken == 0)
		return 0;
	if (text.data[0] == '\\') {
		taken = take_hexpoint(text, &code);
		if (taken == 0 || append_utf8(out, code) < 0)
			return 0;
		return taken;
	}
	taken = take_byte(text, &byte);
	if (taken == 0 || ascii_is_foreign(byte) || buf_append_byte(out, byte) < 0)
		return 0;
	return taken;
}

static int
decode_utf8_address(struct span text, struct buf *out)
{
	size_t before = buf_len(out);

	while (text.len > 0) {
		size_t taken = take_utf8_char(text, out);

		if (taken == 0) {
			buf_truncate(out, before);
			return -1;
		}
		text = span_skip(text, taken);
	}
	return 0;
}

/* RFC 3461 section 4.2: addr-type is an atom. */
static bool
is_type(struct span type)
{
	for (size_t i = 0; i < type.len; i++)
		if (!ascii_is_alnum(type.data[i]) && type.data[i] != '-')
			return false;
	return type.len > 0;
}

static bool
is_utf8_type(struct span type)
{
	return span_equal_nocase(type, SPAN("utf-8"));
}

bool
xtext_parse_orcpt(struct span text, struct span *type_out, struct span *address_out)
{
	struct buf meant;
	bool is_good;

	if (!span_split(text, ';', type_out, address_out) || !is_type(*type_out) ||
	    address_out->len == 0)
		return false;
	if (!is_utf8_type(*type_out))
		return xtext_is_valid(*address_out);
	buf_init(&meant, address_out->len);
	is_good = decode_utf8_address(*address_out, &meant) == 0;
	buf_fini(&meant);
	return is_good;
}

int
xtext_decode_orcpt(struct span text, struct buf *out)
{
	struct span type, address;

	if (!span_split(text, ';', &type, &address) || !is_type(type) || address.len == 0)
		return -1;
	return is_utf8_type(type) ? decode_utf8_address(address, out) : xtext_decode(address, out);
}
