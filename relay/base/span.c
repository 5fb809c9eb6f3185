#include "relay/base/span.h"

#include <string.h>

#include "relay/base/ascii.h"

bool
span_equal(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool
span_equal_cstr(struct span a, const char *b)
{
	return span_equal(a, span_from_cstr(b));
}

bool
span_equal_nocase(struct span a, struct span b)
{
	return a.len == b.len && span_compare_nocase(a, b) == 0;
}

bool
span_equal_nocase_cstr(struct span a, const char *b)
{
	return span_equal_nocase(a, span_from_cstr(b));
}

static int
compare_lengths(size_t a, size_t b)
{
	return (a > b) - (a < b);
}

int
span_compare(struct span a, struct span b)
{
	size_t common = a.len < b.len ? a.len : b.len;
	int order = common > 0 ? memcmp(a.data, b.data, common) : 0;

	return order != 0 ? order : compare_lengths(a.len, b.len);
}

int
span_compare_nocase(struct span a, struct span b)
{
	size_t common = a.len < b.len ? a.len : b.len;

	for (size_t i = 0; i < common; i++) {
		unsigned char x = (unsigned char)ascii_lower(a.data[i]);
		unsigned char y = (unsigned char)ascii_lower(b.data[i]);

		if (x != y)
			return x < y ? -1 : 1;
	}
	return compare_lengths(a.len, b.len);
}

bool
span_equal_secret(struct span a, struct span b)
{
	volatile unsigned char difference = 0;

	if (a.len != b.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		difference = (unsigned char)(difference | (a.data[i] ^ b.data[i]));
	return difference == 0;
}

bool
span_starts_with(struct span s, struct span prefix)
{
	return s.len >= prefix.len && span_equal(span_first(s, prefix.len), prefix);
}

bool
span_starts_with_nocase(struct span s, struct span prefix)
{
	return s.len >= prefix.len && span_equal_nocase(span_first(s, prefix.len), prefix);
}

bool
span_ends_with(struct span s, struct span suffix)
{
	return s.len >= suffix.len && span_equal(span_skip(s, s.len - suffix.len), suffix);
}

bool
span_ends_with_nocase(struct span s, struct span suffix)
{
	return s.len >= suffix.len && span_equal_nocase(span_skip(s, s.len - suffix.len), suffix);
}

bool
span_find_byte(struct span s, char byte, size_t *at_out)
{
	const char *found = s.len > 0 ? memchr(s.data, byte, s.len) : NULL;

	if (!found)
		return false;
	*at_out = (size_t)(found - s.data);
	return true;
}

bool
span_find_last_byte(struct span s, char byte, size_t *at_out)
{
	const char *found = s.len > 0 ? memrchr(s.data, byte, s.len) : NULL;

	if (!found)
		return false;
	*at_out = (size_t)(found - s.data);
	return true;
}

bool
span_find(struct span s, struct span needle, size_t *at_out)
{
	if (needle.len == 0) {
		*at_out = 0;
		return true;
	}

	const char *found = s.len > 0 ? memmem(s.data, s.len, needle.data, needle.len) : NULL;

	if (!found)
		return false;
	*at_out = (size_t)(found - s.data);
	return true;
}

struct span
span_trim(struct span s)
{
	while (s.len > 0 && ascii_is_space(s.data[0]))
		s = span_skip(s, 1);
	while (s.len > 0 && ascii_is_space(s.data[s.len - 1]))
		s.len--;
	return s;
}

bool
span_split(struct span s, char separator, struct span *before_out, struct span *after_out)
{
	size_t at;

	if (!span_find_byte(s, separator, &at)) {
		*before_out = s;
		*after_out = span_skip(s, s.len);
		return false;
	}
	*before_out = span_first(s, at);
	*after_out = span_skip(s, at + 1);
	return true;
}

bool
span_split_last(struct span s, char separator, struct span *before_out, struct span *after_out)
{
	size_t at;

	if (!span_find_last_byte(s, separator, &at)) {
		*before_out = s;
		*after_out = span_skip(s, s.len);
		return false;
	}
	*before_out = span_first(s, at);
	*after_out = span_skip(s, at + 1);
	return true;
}

bool
span_take_part(struct span *rest, char separator, struct span *part_out)
{
	/*
	 * A separator at the very end is followed by one more, empty piece; NULL
	 * data marks the rest behind the last piece.
	 */
	if (rest->len == 0 && rest->data == NULL)
		return false;
	if (!span_split(*rest, separator, part_out, rest))
		*rest = span_make(NULL, 0);
	return true;
}

bool
span_take_word(struct span *rest, struct span *word_out)
{
	size_t len = 0;

	while (rest->len > 0 && ascii_is_blank(rest->data[0]))
		*rest = span_skip(*rest, 1);
	while (len < rest->len && !ascii_is_blank(rest->data[len]))
		len++;
	*word_out = span_first(*rest, len);
	*rest = span_skip(*rest, len);
	return len > 0;
}

bool
span_parse_u64(struct span s, uint64_t max, uint64_t *value_out)
{
	uint64_t value = 0;

	if (s.len == 0)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		if (!ascii_is_digit(s.data[i]))
			return false;
		if (__builtin_mul_overflow(value, (uint64_t)10, &value) ||
		    __builtin_add_overflow(value, (uint64_t)(s.data[i] - '0'), &value))
			return false;
	}
	if (value > max)
		return false;
	*value_out = value;
	return true;
}

bool
span_parse_u32(struct span s, uint32_t max, uint32_t *value_out)
{
	uint64_t value;

	if (!span_parse_u64(s, max, &value))
		return false;
	*value_out = (uint32_t)value;
	return true;
}

bool
span_parse_i64(struct span s, int64_t min, int64_t max, int64_t *value_out)
{
	bool negative = s.len > 0 && s.data[0] == '-';
	uint64_t magnitude;
	int64_t value;

	if (!span_parse_u64(span_skip(s, negative), (uint64_t)INT64_MAX + negative, &magnitude))
		return false;
	if (!negative)
		value = (int64_t)magnitude;
	else if (magnitude == 0)
		value = 0;
	else
		value = -(int64_t)(magnitude - 1) - 1;
	if (value < min || value > max)
		return false;
	*value_out = value;
	return true;
}

bool
span_parse_hex(struct span s, uint64_t *value_out)
{
	uint64_t value = 0;

	if (s.len == 0 || s.len > 16)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		int digit = ascii_hex_value(s.data[i]);

		if (digit < 0)
			return false;
		value = value << 4 | (uint64_t)digit;
	}
	*value_out = value;
	return true;
}

bool
span_is_ascii(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (ascii_is_foreign(s.data[i]))
			return false;
	return true;
}

size_t
span_utf8_len(struct span s)
{
	const unsigned char *b = (const unsigned char *)s.data;
	size_t len;
	uint32_t code, least;

	if (s.len == 0)
		return 0;
	if (b[0] < 0x80)
		return 1;
	if (b[0] >= 0xc2 && b[0] <= 0xdf)
		len = 2, code = b[0] & 0x1f, least = 0x80;
	else if (b[0] >= 0xe0 && b[0] <= 0xef)
		len = 3, code = b[0] & 0x0f, least = 0x800;
	else if (b[0] >= 0xf0 && b[0] <= 0xf4)
		len = 4, code = b[0] & 0x07, least = 0x10000;
	else
		return 0;
	if (s.len < len)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((b[i] & 0xc0) != 0x80)
			return 0;
		code = code << 6 | (b[i] & 0x3f);
	}
	if (code < least || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
		return 0;
	return len;
}

bool
span_is_utf8(struct span s)
{
	while (s.len > 0) {
		size_t len = span_utf8_len(s);

		if (len == 0)
			return false;
		s = span_skip(s, len);
	}
	return true;
}

bool
span_has_control(struct span s)
{
	for (size_t i = 0; i < s.len; i++)
		if (ascii_is_control(s.data[i]))
			return true;
	return false;
}

/* FNV-1a with a final mix, good enough for tables of one process. */
static uint64_t
hash_end(uint64_t hash)
{
	hash ^= hash >> 33;
	hash *= 0xff51afd7ed558ccdULL;
	hash ^= hash >> 33;
	return hash;
}

uint64_t
span_hash(struct span s, uint64_t seed)
{
	uint64_t hash = 0xcbf29ce484222325ULL ^ seed;

	for (size_t i = 0; i < s.len; i++)
		hash = (hash ^ (unsigned char)s.data[i]) * 0x100000001b3ULL;
	return hash_end(hash);
}

uint64_t
span_hash_nocase(struct span s, uint64_t seed)
{
	uint64_t hash = 0xcbf29ce484222325ULL ^ seed;

	for (size_t i = 0; i < s.len; i++)
		hash = (hash ^ (unsigned char)ascii_lower(s.data[i])) * 0x100000001b3ULL;
	return hash_end(hash);
}
