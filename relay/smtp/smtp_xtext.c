#include "relay/smtp/smtp_xtext.h"

#include "relay/base/ascii.h"

static bool
is_plain(char c)
{
	return ascii_is_graph(c) && c != '+' && c != '=';
}

/* The value of "+HH" at AT, or -1; lower case digits are no xtext. */
static int
escaped_octet(struct span text, size_t at)
{
	if (text.len - at < 3 || text.data[at] != '+')
		return -1;

	char high = text.data[at + 1], low = text.data[at + 2];

	if (ascii_is_lower(high) || ascii_is_lower(low) || ascii_hex_value(high) < 0 ||
	    ascii_hex_value(low) < 0)
		return -1;
	return ascii_hex_value(high) << 4 | ascii_hex_value(low);
}

bool
smtp_xtext_is_valid(struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (is_plain(text.data[i]))
			continue;

		int octet = escaped_octet(text, i);

		if (octet <= 0 || octet == '\r' || octet == '\n')
			return false;
		i += 2;
	}
	return text.len > 0;
}

int
smtp_xtext_decode(struct span text, struct buf *out)
{
	if (!smtp_xtext_is_valid(text))
		return -1;
	for (size_t i = 0; i < text.len; i++) {
		int octet = text.data[i] == '+' ? escaped_octet(text, i) : text.data[i];

		if (text.data[i] == '+')
			i += 2;
		if (buf_append_byte(out, (char)octet) < 0)
			return -1;
	}
	return 0;
}

int
smtp_xtext_encode(struct span octets, struct buf *out)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < octets.len; i++) {
		unsigned char octet = (unsigned char)octets.data[i];
		char escaped[3] = { '+', digits[octet >> 4], digits[octet & 15] };
		int result = is_plain(octets.data[i]) ? buf_append_byte(out, octets.data[i])
						      : buf_append(out, span_make(escaped, 3));

		if (result < 0)
			return -1;
	}
	return 0;
}
