#include "relay/base/base32.h"

#include "relay/base/ascii.h"

static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

void
base32_print_u64(uint64_t value, char text_out[BASE32_U64_BYTES])
{
	for (int i = BASE32_U64_CHARS - 1; i >= 0; i--) {
		text_out[i] = digits[value & 31];
		value >>= 5;
	}
	text_out[BASE32_U64_CHARS] = '\0';
}

static int
digit_value(char c)
{
	c = ascii_upper(c);
	if (c == 'O')
		return 0;
	if (c == 'I' || c == 'L')
		return 1;
	for (int value = 0; value < 32; value++)
		if (digits[value] == c)
			return value;
	return -1;
}

bool
base32_parse_u64(struct span text, uint64_t *value_out)
{
	uint64_t value = 0;

	if (text.len != BASE32_U64_CHARS)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		int digit = digit_value(text.data[i]);

		/* 13 characters hold 65 bits: the first has four. */
		if (digit < 0 || (i == 0 && digit > 15))
			return false;
		value = value << 5 | (uint64_t)digit;
	}
	*value_out = value;
	return true;
}
