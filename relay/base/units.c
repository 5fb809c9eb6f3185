#include "relay/base/units.h"

#include <inttypes.h>
#include <stdio.h>

#include "relay/base/ascii.h"

struct unit {
	const char *name;
	uint64_t factor;
};

/* From large to small, and in this order in a text. */
static const struct unit duration_units[] = {
	{ "w", 7 * 86400000ULL },
	{ "d", 86400000 },
	{ "h", 3600000 },
	{ "m", 60000 },
	{ "s", 1000 },
	{ "ms", 1 },
};

static const struct unit size_units[] = {
	{ "T", 1ULL << 40 },
	{ "G", 1ULL << 30 },
	{ "M", 1ULL << 20 },
	{ "k", 1ULL << 10 },
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static int
duration_fails(struct err *err)
{
	return err_set(err, ERR_FORMAT, "expected a duration such as \"30s\", \"5m\" or \"1d12h\"");
}

/* The leading digits of rest as a number, and the letters that follow them. */
static bool
take_number(struct span *rest, uint64_t *value_out, struct span *letters_out)
{
	size_t digits = 0;
	size_t letters = 0;

	while (digits < rest->len && ascii_is_digit(rest->data[digits]))
		digits++;
	if (!span_parse_u64(span_first(*rest, digits), UINT64_MAX, value_out))
		return false;
	*rest = span_skip(*rest, digits);
	while (letters < rest->len && ascii_is_alpha(rest->data[letters]))
		letters++;
	*letters_out = span_first(*rest, letters);
	*rest = span_skip(*rest, letters);
	return true;
}

int
units_parse_duration(struct span text, uint64_t *ms_out, struct err *err)
{
	struct span rest = text;
	uint64_t total = 0;
	size_t next = 0;                /* the largest unit that may still come */

	if (span_equal(text, SPAN("0"))) {
		*ms_out = 0;
		return 0;
	}
	if (rest.len == 0)
		return duration_fails(err);
	while (rest.len > 0) {
		uint64_t value;
		struct span letters;

		if (!take_number(&rest, &value, &letters))
			return duration_fails(err);
		while (next < COUNT(duration_units) &&
		    !span_equal_cstr(letters, duration_units[next].name))
			next++;
		if (next == COUNT(duration_units))
			return duration_fails(err);
		if (__builtin_mul_overflow(value, duration_units[next].factor, &value) ||
		    __builtin_add_overflow(total, value, &total) || total > INT64_MAX)
			return err_set(err, ERR_LIMIT,
			    "expected a duration below 292 million years");
		next++;
	}
	*ms_out = total;
	return 0;
}

int
units_parse_size(struct span text, uint64_t *bytes_out, struct err *err)
{
	struct span rest = text;
	struct span letters;
	uint64_t value;
	uint64_t factor = 1;

	if (!take_number(&rest, &value, &letters) || rest.len > 0)
		return err_set(err, ERR_FORMAT,
		    "expected a size such as \"512\", \"64k\" or \"10M\"");

	for (size_t i = 0; letters.len > 0 && i < COUNT(size_units); i++) {
		if (ascii_lower(letters.data[0]) == ascii_lower(size_units[i].name[0])) {
			factor = size_units[i].factor;
			letters = span_skip(letters, 1);
			if (span_equal_nocase(letters, SPAN("ib")))
				letters = span_skip(letters, 2);
			break;
		}
	}
	if (span_equal_nocase(letters, SPAN("b")))
		letters = span_skip(letters, 1);
	if (letters.len > 0)
		return err_set(err, ERR_FORMAT, "expected a size in k, M, G or T");
	if (__builtin_mul_overflow(value, factor, &value) || value > INT64_MAX)
		return err_set(err, ERR_LIMIT, "expected a size below 8 exabytes");
	*bytes_out = value;
	return 0;
}

void
units_print_duration(uint64_t ms, char text_out[UNITS_TEXT_BYTES])
{
	int len = 0;

	(void)snprintf(text_out, UNITS_TEXT_BYTES, "0");
	for (size_t i = 0; i < COUNT(duration_units) && ms > 0; i++) {
		uint64_t count = ms / duration_units[i].factor;

		/* "2w" reads well, "1w6d" does not: days, unless it is all weeks. */
		if (i == 0 && ms % duration_units[0].factor != 0)
			continue;
		if (count == 0)
			continue;
		ms %= duration_units[i].factor;
		len += snprintf(text_out + len, UNITS_TEXT_BYTES - (size_t)len, "%" PRIu64 "%s",
		    count, duration_units[i].name);
	}
}

void
units_print_size(uint64_t bytes, char text_out[UNITS_TEXT_BYTES])
{
	for (size_t i = 0; i < COUNT(size_units) && bytes > 0; i++) {
		if (bytes % size_units[i].factor == 0) {
			(void)snprintf(text_out, UNITS_TEXT_BYTES, "%" PRIu64 "%s",
			    bytes / size_units[i].factor, size_units[i].name);
			return;
		}
	}
	(void)snprintf(text_out, UNITS_TEXT_BYTES, "%" PRIu64, bytes);
}

void
units_print_duration_short(uint64_t ms, char text_out[UNITS_TEXT_BYTES])
{
	/* i stops at seconds: below one second it is all milliseconds. */
	for (size_t i = 1; i + 1 < COUNT(duration_units); i++) {
		const struct unit *unit = &duration_units[i];
		const struct unit *smaller = &duration_units[i + 1];
		uint64_t count = ms / unit->factor;
		uint64_t rest = ms % unit->factor / smaller->factor;

		if (count == 0)
			continue;
		if (rest == 0 || smaller->factor == 1)
			(void)snprintf(text_out, UNITS_TEXT_BYTES, "%" PRIu64 "%s", count,
			    unit->name);
		else
			(void)snprintf(text_out, UNITS_TEXT_BYTES, "%" PRIu64 "%s %" PRIu64 "%s",
			    count, unit->name, rest, smaller->name);
		return;
	}
	(void)snprintf(text_out, UNITS_TEXT_BYTES, "%" PRIu64 "ms", ms);
}

void
units_print_size_short(uint64_t bytes, char text_out[UNITS_TEXT_BYTES])
{
	for (size_t i = 0; i < COUNT(size_units); i++) {
		if (bytes < size_units[i].factor)
			continue;

		uint64_t whole = bytes / size_units[i].factor;
		uint64_t tenths = bytes % size_units[i].factor / (size_units[i].factor / 10);

		(void)snprintf(text_out, UNITS_TEXT_BYTES, "%" PRIu64 ".%" PRIu64 " %cB", whole,
		    tenths > 9 ? 9 : tenths, size_units[i].name[0]);
		return;
	}
	(void)snprintf(text_out, UNITS_TEXT_BYTES, "%" PRIu64 " B", bytes);
}
