#include "relay/base/base64.h"

#include <stdint.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int
base64_encode(struct span bytes, struct buf *out)
{
	size_t text_len = (bytes.len / 3 + (bytes.len % 3 != 0)) * 4;

	if (text_len > buf_room(out)) {
		out->overflowed = true;
		return -1;
	}
	for (size_t i = 0; i < bytes.len; i += 3) {
		size_t count = bytes.len - i < 3 ? bytes.len - i : 3;
		uint32_t group = 0;
		char text[4];

		for (size_t k = 0; k < 3; k++)
			group = group << 8 | (k < count ? (unsigned char)bytes.data[i + k] : 0);
		for (size_t k = 0; k < 4; k++)
			text[k] = k <= count ? digits[group >> (18 - 6 * k) & 63] : '=';
		(void)buf_append(out, span_make(text, 4));      /* it was seen to fit */
	}
	return 0;
}

static int
digit_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	return c == '/' ? 63 : -1;
}

/* Four characters to up to three bytes; -1 when they are none. */
static int
decode_group(const char *text, bool is_last, char bytes_out[3])
{
	int padding = is_last ? (text[3] == '=') + (text[3] == '=' && text[2] == '=') : 0;
	uint32_t group = 0;

	for (int k = 0; k < 4; k++) {
		int value = k < 4 - padding ? digit_value(text[k]) : 0;

		if (value < 0)
			return -1;
		group = group << 6 | (uint32_t)value;
	}
	if (group & ((1U << (8 * padding)) - 1))
		return -1;                      /* bits that no byte has */
	for (int k = 0; k < 3; k++)
		bytes_out[k] = (char)(group >> (16 - 8 * k));
	return 3 - padding;
}

int
base64_decode(struct span text, struct buf *out, struct err *err)
{
	size_t before = buf_len(out);

	if (text.len % 4 != 0)
		return err_set(err, ERR_FORMAT, "base64: not a multiple of four characters");
	for (size_t i = 0; i < text.len; i += 4) {
		char bytes[3];
		int count = decode_group(text.data + i, i + 4 == text.len, bytes);

		if (count < 0) {
			buf_truncate(out, before);
			return err_set(err, ERR_FORMAT, "base64: a character that has no place");
		}
		if (buf_append(out, span_make(bytes, (size_t)count)) < 0) {
			buf_truncate(out, before);
			return err_set(err, ERR_LIMIT, "base64: too long");
		}
	}
	return 0;
}
