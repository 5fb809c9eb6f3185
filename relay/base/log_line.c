#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "relay/base/ascii.h"
#include "relay/base/base32.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"
#include "relay/base/log_private.h"
#include "relay/base/must.h"
#include "relay/base/units.h"

/* Kept free for the end of a line that was cut. */
#define LINE_END " cut=1\n"
#define LINE_ROOM (LOG_LINE_BYTES_MAX - (sizeof(LINE_END) - 1))

const char *
log_level_name(enum log_level level)
{
	switch (level) {
	case LOG_LEVEL_ERROR: return "error";
	case LOG_LEVEL_WARN: return "warn";
	case LOG_LEVEL_INFO: return "info";
	case LOG_LEVEL_DEBUG: return "debug";
	}
	must_not_reach();
}

bool
log_level_parse(struct span text, enum log_level *level_out)
{
	for (enum log_level level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
		if (span_equal_cstr(text, log_level_name(level))) {
			*level_out = level;
			return true;
		}
	}
	return false;
}

bool
log_wants(enum log_level level)
{
	const struct log_ring *ring = log_current();

	return level <= (ring ? log_ring_level(ring) : LOG_LEVEL_WARN);
}

/* All of bytes, or nothing and a mark. */
static bool
append(struct log_line *line, struct span bytes)
{
	if (bytes.len > LINE_ROOM - line->len) {
		line->cut = true;
		return false;
	}
	memcpy(line->text + line->len, bytes.data, bytes.len);
	line->len += bytes.len;
	return true;
}

static bool
is_plain(char c)
{
	return ascii_is_graph(c) && c != '"' && c != '\\' && c != '=';
}

static bool
is_plain_text(struct span value)
{
	for (size_t i = 0; i < value.len; i++)
		if (!is_plain(value.data[i]))
			return false;
	return value.len > 0;
}

/*
 * How the first character of value is written: bytes of it taken, and its text.
 * U+0080 to U+009F are controls as well and are not kept.
 */
static size_t
escape(struct span value, char text_out[8], size_t *text_len_out)
{
	char c = value.data[0];
	size_t len = span_utf8_len(value);
	bool is_c1 = len == 2 && (unsigned char)c == 0xc2 && (unsigned char)value.data[1] < 0xa0;

	if (len > 1 && !is_c1) {
		memcpy(text_out, value.data, len);
		*text_len_out = len;
		return len;
	}
	if (c == '"' || c == '\\') {
		text_out[0] = '\\';
		text_out[1] = c;
		*text_len_out = 2;
	} else if (ascii_is_print(c)) {
		text_out[0] = c;
		*text_len_out = 1;
	} else {
		*text_len_out = (size_t)snprintf(text_out, 8, "\\x%02x", (unsigned char)c);
	}
	return 1;
}

static void
append_quoted(struct log_line *line, struct span value)
{
	char text[8];
	size_t text_len;

	if (LINE_ROOM - line->len < 2) {
		line->cut = true;
		return;
	}
	line->text[line->len++] = '"';
	while (value.len > 0) {
		size_t taken = escape(value, text, &text_len);

		if (text_len + 1 > LINE_ROOM - line->len) {
			line->cut = true;
			break;
		}
		memcpy(line->text + line->len, text, text_len);
		line->len += text_len;
		value = span_skip(value, taken);
	}
	line->text[line->len++] = '"';
}

/* " key=", with room for a value; nothing when there is none. */
static bool
append_key(struct log_line *line, const char *key)
{
	size_t key_len = strlen(key);

	if (!line->wanted)
		return false;
	if (key_len + 2 + 2 > LINE_ROOM - line->len) {
		line->cut = true;
		return false;
	}
	if (line->len > 0)
		(void)append(line, SPAN(" "));
	(void)append(line, span_make(key, key_len));
	return append(line, SPAN("="));
}

static void
begin(struct log_line *line, enum log_level level, const char *event, bool is_mail)
{
	const struct log_ring *ring = log_current();
	const struct log_settings *settings = ring ? log_ring_settings(ring) : NULL;

	line->len = 0;
	line->cut = false;
	line->is_mail = is_mail;
	line->wanted = log_wants(level);
	if (!line->wanted)
		return;
	if (settings && !settings->without_time)
		log_time(line, "time", clock_wall_ms(settings->clock));
	log_cstr(line, "level", log_level_name(level));
	if (ring && log_ring_thread_name(ring))
		log_cstr(line, "thread", log_ring_thread_name(ring));
	if (event)
		log_cstr(line, "event", event);
}

void
log_begin(struct log_line *line, enum log_level level, const char *event)
{
	begin(line, level, event, false);
}

void
log_begin_mail(struct log_line *line, const char *event)
{
	begin(line, LOG_LEVEL_INFO, event, true);
}

void
log_span(struct log_line *line, const char *key, struct span value)
{
	if (!append_key(line, key))
		return;
	if (value.len <= LINE_ROOM - line->len && is_plain_text(value))
		(void)append(line, value);
	else
		append_quoted(line, value);
}

void
log_cstr(struct log_line *line, const char *key, const char *value)
{
	log_span(line, key, span_from_cstr(value));
}

void
log_u64(struct log_line *line, const char *key, uint64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRIu64, value);
	log_cstr(line, key, text);
}

void
log_i64(struct log_line *line, const char *key, int64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRId64, value);
	log_cstr(line, key, text);
}

void
log_bool(struct log_line *line, const char *key, bool value)
{
	log_cstr(line, key, value ? "yes" : "no");
}

void
log_time(struct log_line *line, const char *key, int64_t wall_ms)
{
	char text[CLOCK_TEXT_BYTES];

	clock_print_iso(wall_ms, text);
	log_cstr(line, key, text);
}

void
log_duration(struct log_line *line, const char *key, uint64_t ms)
{
	char text[UNITS_TEXT_BYTES];

	units_print_duration(ms, text);
	log_cstr(line, key, text);
}

void
log_id(struct log_line *line, const char *key, uint64_t id)
{
	char text[BASE32_U64_BYTES];

	base32_print_u64(id, text);
	log_cstr(line, key, text);
}

void
log_end(struct log_line *line)
{
	struct span end = line->cut ? SPAN(LINE_END) : SPAN("\n");

	if (!line->wanted)
		return;
	memcpy(line->text + line->len, end.data, end.len);
	line->len += end.len;
	line->wanted = false;
	log_put(log_current(), span_make(line->text, line->len), line->is_mail);
}

static void __attribute__((format(printf, 2, 0)))
log_text(enum log_level level, const char *format, va_list args)
{
	struct log_line line;
	char text[LOG_LINE_BYTES_MAX];

	if (!log_wants(level))
		return;
	(void)vsnprintf(text, sizeof(text), format, args);      /* cut when too long */
	log_begin(&line, level, NULL);
	log_cstr(&line, "msg", text);
	log_end(&line);
}

void
log_error(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_text(LOG_LEVEL_ERROR, format, args);
	va_end(args);
}

void
log_warn(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_text(LOG_LEVEL_WARN, format, args);
	va_end(args);
}

void
log_info(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_text(LOG_LEVEL_INFO, format, args);
	va_end(args);
}

void
log_debug(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_text(LOG_LEVEL_DEBUG, format, args);
	va_end(args);
}
