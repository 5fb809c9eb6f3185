#include "relay/mail/reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "relay/base/ascii.h"

void
reply_set(struct reply *reply, uint16_t code, const char *status, const char *format, ...)
{
	va_list args;

	reply->code = code;
	(void)snprintf(reply->status, sizeof(reply->status), "%s", status);
	va_start(args, format);
	(void)vsnprintf(reply->text, sizeof(reply->text), format, args);  /* cut to its bound */
	va_end(args);
}

/*
 * Append what fits of foreign text, safe: whole UTF-8 characters and printable
 * ASCII; a tab is a blank, anything else a question mark.
 */
static void
append_safe(struct reply *reply, struct span text)
{
	size_t len = strnlen(reply->text, REPLY_TEXT_BYTES_MAX);

	while (text.len > 0) {
		size_t taken = span_utf8_len(text);
		char c = text.data[0];
		bool is_c1 = taken == 2 && (unsigned char)c == 0xc2 &&
		    (unsigned char)text.data[1] < 0xa0;

		if (taken > 1 && !is_c1) {
			if (taken > REPLY_TEXT_BYTES_MAX - len)
				break;
			memcpy(reply->text + len, text.data, taken);
			len += taken;
		} else {
			if (len == REPLY_TEXT_BYTES_MAX)
				break;
			if (taken == 0)
				taken = 1;
			reply->text[len++] = ascii_is_print(c) ? c : c == '\t' ? ' ' : '?';
		}
		text = span_skip(text, taken);
	}
	reply->text[len] = '\0';
}

void
reply_set_foreign(struct reply *reply, uint16_t code, struct span status, struct span text)
{
	*reply = (struct reply){ .code = code };
	if (status.len < sizeof(reply->status) && status.len > 0)
		memcpy(reply->status, status.data, status.len);
	append_safe(reply, span_trim(text));
}

void
reply_add_foreign(struct reply *reply, struct span text)
{
	text = span_trim(text);
	if (reply->text[0] != '\0' && text.len > 0)
		append_safe(reply, SPAN(" "));
	append_safe(reply, text);
}

bool
reply_is_positive(const struct reply *reply)
{
	return reply->code / 100 == 2;
}

bool
reply_is_intermediate(const struct reply *reply)
{
	return reply->code / 100 == 3;
}

bool
reply_is_transient(const struct reply *reply)
{
	return reply->code / 100 == 4;
}

bool
reply_is_permanent(const struct reply *reply)
{
	return reply->code / 100 == 5;
}

/* RFC 3463 section 2: class, subject and detail of one to three digits. */
struct span
reply_take_status(uint16_t code, struct span *text)
{
	struct span word, rest, part;
	struct span none = span_first(*text, 0);
	unsigned int parts = 0;
	uint32_t number;

	(void)span_split(*text, ' ', &word, &rest);
	if (word.len >= REPLY_STATUS_BYTES_MAX || word.len < 5)
		return none;
	if (word.data[0] != (char)('0' + code / 100) || word.data[1] != '.')
		return none;

	struct span numbers = word;

	while (span_take_part(&numbers, '.', &part)) {
		if (part.len > 3 || !span_parse_u32(part, 999, &number))
			return none;
		parts++;
	}
	if (parts != 3)
		return none;
	*text = span_trim(rest);
	return word;
}

const char *
reply_status_or_default(const struct reply *reply)
{
	if (reply->status[0] != '\0')
		return reply->status;
	if (reply_is_positive(reply))
		return "2.0.0";
	return reply_is_permanent(reply) ? "5.0.0" : "4.0.0";
}
