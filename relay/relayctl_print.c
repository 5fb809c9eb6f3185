#include "relay/relayctl_print.h"

#include "relay/base/ascii.h"
#include "relay/base/units.h"

#include <inttypes.h>
#include <stdio.h>

enum {
	DEPTH_MAX = 8,
};

static void
put_safe(struct buf *out, struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];

		/* C1 controls in UTF-8 are C2 80 to C2 9F. */
		bool is_c1 = (unsigned char)c == 0xc2 && i + 1 < text.len &&
		    (unsigned char)text.data[i + 1] < 0xa0;

		(void)buf_append_byte(out, ascii_is_control(c) || is_c1 ? '?' : c);
		if (is_c1)
			i++;
	}
}

static struct span
text_of(const struct json *object, const char *key)
{
	struct span text = SPAN("");

	(void)json_get_text(object, key, &text);
	return text;
}

static int64_t
int_of(const struct json *object, const char *key)
{
	int64_t value = 0;

	(void)json_get_int(object, key, &value);
	return value;
}

/* "2h14m": the two largest units without a blank between. */
static void
print_duration(int64_t ms, char text_out[UNITS_TEXT_BYTES])
{
	char text[UNITS_TEXT_BYTES];
	size_t end = 0;

	/* Whole seconds say enough; what is left of one counts as one. */
	if (ms <= 0) {
		(void)snprintf(text_out, UNITS_TEXT_BYTES, "0s");
		return;
	}
	units_print_duration_short(((uint64_t)ms + 999) / 1000 * 1000, text);
	for (size_t i = 0; text[i]; i++)
		if (text[i] != ' ')
			text_out[end++] = text[i];
	text_out[end] = '\0';
}

void
relayctl_print_list_head(struct buf *out)
{
	(void)buf_appendf(out, "%-13s %7s %8s %3s %-9s %6s %-20s %s\n", "ID", "AGE", "SIZE", "TRY",
	    "STATE", "NEXT", "DEST", "FROM -> TO");
}

static void
put_padded(struct buf *out, struct span text, size_t width)
{
	size_t before = buf_len(out);

	put_safe(out, text);
	size_t put = buf_len(out) - before;

	(void)buf_append_repeat(out, ' ', put < width ? width - put + 1 : 1);
}

/* What the first recipient that waits was told last. */
static void
put_words(struct buf *out, const struct json *item)
{
	const struct json *rcpts = json_get(item, "recipients");
	struct span because = text_of(item, "because");
	struct span words = SPAN("");
	struct span host = SPAN("");

	for (size_t i = 0; rcpts && i < json_count(rcpts) && words.len == 0; i++) {
		words = text_of(json_at(rcpts, i), "delay_reason");
		host = text_of(json_at(rcpts, i), "host");
	}
	if (words.len == 0 && because.len == 0)
		return;
	(void)buf_append_repeat(out, ' ', 14);
	put_safe(out, text_of(item, "reason"));
	(void)buf_append_cstr(out, ": ");
	put_safe(out, words.len ? words : because);
	if (words.len && host.len) {
		(void)buf_append_cstr(out, " (");
		put_safe(out, host);
		(void)buf_append_byte(out, ')');
	}
	(void)buf_append_byte(out, '\n');
}

void
relayctl_print_row(struct buf *out, const struct json *item)
{
	const struct json *rcpts = json_get(item, "recipients");
	struct span sender = text_of(item, "sender");
	struct span rcpt = rcpts && json_count(rcpts) > 0
	    ? text_of(json_at(rcpts, 0), "address") : SPAN("?");
	int64_t more = int_of(item, "rcpt_count") - 1;
	char age[UNITS_TEXT_BYTES];
	char size[UNITS_TEXT_BYTES];
	char next[UNITS_TEXT_BYTES] = "now";

	print_duration(int_of(item, "age_ms"), age);
	units_print_size_short((uint64_t)int_of(item, "message_size"), size);
	if (int_of(item, "next_ms") > 0)
		print_duration(int_of(item, "next_ms"), next);
	if (!span_equal_cstr(text_of(item, "state"), "waiting"))
		next[0] = '\0';
	put_padded(out, text_of(item, "queue_id"), 13);
	(void)buf_appendf(out, "%7s %8s %3" PRId64 " ", age, size, int_of(item, "attempts"));
	put_padded(out, text_of(item, "state"), 9);
	(void)buf_appendf(out, "%6s ", next);
	put_padded(out, text_of(item, "destination"), 20);
	put_safe(out, sender.len ? sender : SPAN("<>"));
	(void)buf_append_cstr(out, " -> ");
	put_safe(out, rcpt);
	if (more > 0)
		(void)buf_appendf(out, " (+%" PRId64 ")", more);
	(void)buf_append_byte(out, '\n');
	put_words(out, item);
}

void
relayctl_print_list_end(struct buf *out, const struct json *end)
{
	(void)buf_appendf(out, "-- %" PRId64 " shown, %" PRId64 " queued, %" PRId64 " held\n",
	    int_of(end, "matched"), int_of(end, "queued"), int_of(end, "held"));
}

void
relayctl_print_count_end(struct buf *out, const struct json *end)
{
	char size[UNITS_TEXT_BYTES];

	units_print_size_short((uint64_t)int_of(end, "bytes"), size);
	(void)buf_appendf(out, "%" PRId64 " messages (%s)\n", int_of(end, "matched"), size);
}

void
relayctl_print_change_end(struct buf *out, const char *what, const struct json *end)
{
	bool dry_run = false;

	(void)json_get_bool(end, "dry_run", &dry_run);
	if (dry_run)
		(void)buf_appendf(out,
		    "-- %" PRId64 " would be %s; the first ten are shown, nothing "
		    "was changed\n", int_of(end, "matched"), what);
	else
		(void)buf_appendf(out, "%" PRId64 " %s\n", int_of(end, "done"), what);
}

/* ------------------------------------------------------------------ explain */

static void
put_line(struct buf *out, const char *label, struct span text)
{
	if (text.len == 0)
		return;
	(void)buf_appendf(out, "  %-10s ", label);
	put_safe(out, text);
	(void)buf_append_byte(out, '\n');
}

static void
put_unit(struct buf *out, struct span id, const struct json *unit)
{
	const struct json *rcpts = json_get(unit, "recipients");
	const struct json *tries = json_get(unit, "tries");

	put_safe(out, id);
	(void)buf_append_cstr(out, "  ");
	for (size_t i = 0; rcpts && i < json_count(rcpts) && i < 3; i++) {
		struct span address = SPAN("");

		(void)json_is_text(json_at(rcpts, i), &address);
		if (i > 0)
			(void)buf_append_cstr(out, ", ");
		put_safe(out, address);
	}
	if (int_of(unit, "rcpt_count") > 3)
		(void)buf_appendf(out, " (+%" PRId64 ")", int_of(unit, "rcpt_count") - 3);
	(void)buf_append_cstr(out, "  ");
	put_safe(out, text_of(unit, "reason"));
	(void)buf_append_byte(out, '\n');
	put_line(out, "because", text_of(unit, "because").len ? text_of(unit, "because")
							      : text_of(unit, "explanation"));
	put_line(out, "since", text_of(unit, "since"));
	put_line(out, "to", text_of(unit, "destination"));
	put_line(out, "route", text_of(unit, "route"));
	put_line(out, "defined", text_of(unit, "route_where"));
	put_line(out, "next try", text_of(unit, "next"));
	put_line(out, "gives up", text_of(unit, "expires"));
	put_line(out, "notice", text_of(unit, "delay_notice"));
	for (size_t i = 0; tries && i < json_count(tries); i++) {
		const struct json *try = json_at(tries, i);

		(void)buf_appendf(out, "  %-10s ", i == 0 ? "tries" : "");
		put_safe(out, text_of(try, "at"));
		(void)buf_append_cstr(out, "  ");
		put_safe(out, text_of(try, "words"));
		(void)buf_append_cstr(out, "  ");
		put_safe(out, text_of(try, "host"));
		(void)buf_append_byte(out, '\n');
	}
}

void
relayctl_print_explain(struct buf *out, const struct json *item)
{
	const struct json *units = json_get(item, "units");
	struct span id = text_of(item, "queue_id");

	for (size_t i = 0; units && i < json_count(units); i++)
		put_unit(out, id, json_at(units, i));
	if (units && json_count(units) > 0)
		return;
	put_safe(out, id);
	(void)buf_append_cstr(out, "  ");
	put_safe(out, text_of(item, "state"));
	(void)buf_append_byte(out, '\n');
	put_line(out, "because", text_of(item, "because"));
	if (span_equal_cstr(text_of(item, "state"), "held"))
		put_line(out, "ends", SPAN("with `relayctl release`"));
}

/* ------------------------------------------------------------------ destinations */

void
relayctl_print_dest(struct buf *out, const struct json *item)
{
	const struct json *hosts = json_get(item, "hosts");

	put_padded(out, text_of(item, "destination"), 28);
	put_safe(out, text_of(item, "reason"));
	(void)buf_appendf(out, "  ready %" PRId64 "  waiting %" PRId64 "  running %" PRId64
	    "  connections %" PRId64 " of %" PRId64 "\n", int_of(item, "ready"),
	    int_of(item, "waiting"), int_of(item, "running"), int_of(item, "connections"),
	    int_of(item, "window"));
	put_line(out, "suspended", text_of(item, "suspend_reason"));
	for (size_t i = 0; hosts && i < json_count(hosts); i++) {
		const struct json *host = json_at(hosts, i);

		(void)buf_append_cstr(out, "  ");
		put_padded(out, text_of(host, "name"), 26);
		put_safe(out, text_of(host, "breaker"));
		if (text_of(host, "tls").len) {
			(void)buf_append_cstr(out, "  ");
			put_safe(out, text_of(host, "tls"));
		}
		if (text_of(host, "last_error").len) {
			(void)buf_append_cstr(out, "  ");
			put_safe(out, text_of(host, "last_error"));
		}
		(void)buf_append_byte(out, '\n');
	}
}

/* ------------------------------------------------------------------ anything */

struct field_printer {
	struct buf *out;
	unsigned depth;
};

static void print_value(struct buf *out, unsigned depth, const struct json *value);

static void
print_field(void *ctx, const char *key, const struct json *value)
{
	struct field_printer *printer = ctx;
	struct buf *out = printer->out;

	(void)buf_append_repeat(out, ' ', 2 * (size_t)printer->depth);
	(void)buf_appendf(out, "%-*s ", (int)(18 - 2 * printer->depth), key);
	print_value(out, printer->depth + 1, value);
}

/* Ends the line.  The depth of what json_parse() accepts is bounded, and so is ours. */
static void
print_value(struct buf *out, unsigned depth, const struct json *value)
{
	struct field_printer printer = { out, depth };
	struct span text;
	int64_t number;
	bool truth;

	if (json_is_text(value, &text)) {
		put_safe(out, text);
	} else if (json_is_int(value, &number)) {
		(void)buf_appendf(out, "%" PRId64, number);
	} else if (json_is_bool(value, &truth)) {
		(void)buf_append_cstr(out, truth ? "yes" : "no");
	} else if (depth < DEPTH_MAX && json_is_object(value)) {
		(void)buf_append_byte(out, '\n');
		json_each(value, print_field, &printer);
		return;
	} else if (depth < DEPTH_MAX && json_is_list(value)) {
		for (size_t i = 0; i < json_count(value); i++) {
			(void)buf_append_byte(out, '\n');
			(void)buf_append_repeat(out, ' ', 2 * (size_t)depth);
			(void)buf_append_cstr(out, "- ");
			(void)json_print(json_at(value, i), out);
		}
	}
	(void)buf_append_byte(out, '\n');
}

void
relayctl_print_fields(struct buf *out, const struct json *item)
{
	struct field_printer printer = { out, 0 };

	json_each(item, print_field, &printer);
}
