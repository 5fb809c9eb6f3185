#include "relay/smtp/text_scan.h"

#include <stdint.h>
#include <string.h>

/* Sixteen octets at a time, in whatever vector registers the processor has. */
typedef unsigned char octets16 __attribute__((vector_size(16)));
typedef uint64_t words2 __attribute__((vector_size(16)));

static bool
is_special(char c)
{
	return c == '\r' || c == '\n' || c == '\0';
}

static bool
any_bit(octets16 octets)
{
	const words2 words = (words2)octets;

	return (words[0] | words[1]) != 0;
}

size_t
text_scan(struct span text, bool *has_8bit)
{
	octets16 seen = { 0 };
	size_t at = 0;

	while (text.len - at >= sizeof(seen)) {
		octets16 octets;

		memcpy(&octets, text.data + at, sizeof(octets));
		if (any_bit((octets16)(octets == '\r') | (octets16)(octets == '\n') |
			    (octets16)(octets == 0)))
			break;
		seen |= octets;
		at += sizeof(octets);
	}

	unsigned char last = 0;

	while (at < text.len && !is_special(text.data[at]))
		last |= (unsigned char)text.data[at++];
	if (last >= 0x80 || any_bit(seen & 0x80))
		*has_8bit = true;
	return at;
}
