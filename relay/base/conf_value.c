#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "relay/base/conf_private.h"
#include "relay/base/must.h"
#include "relay/base/units.h"

bool
conf_type_is_list(enum conf_type type)
{
	return type == CONF_STRING_LIST || type == CONF_ENUM_LIST || type == CONF_NETWORK_LIST;
}

static int
append_bounds(const struct conf_option *option, struct buf *out)
{
	char min[UNITS_TEXT_BYTES];
	char max[UNITS_TEXT_BYTES];

	if (option->type == CONF_DURATION) {
		units_print_duration((uint64_t)option->min, min);
		units_print_duration((uint64_t)option->max, max);
	} else if (option->type == CONF_SIZE) {
		units_print_size((uint64_t)option->min, min);
		units_print_size((uint64_t)option->max, max);
	} else {
		(void)snprintf(min, sizeof(min), "%" PRId64, option->min);
		(void)snprintf(max, sizeof(max), "%" PRId64, option->max);
	}
	if (option->max != 0)
		return buf_appendf(out, " from %s to %s", min, max);
	if (option->min != 0)
		return buf_appendf(out, " of at least %s", min);
	return 0;
}

int
conf_print_expected(const struct conf_option *option, struct buf *out)
{
	const char *const *choice = option->choices;

	switch (option->type) {
	case CONF_BOOL:
		return buf_append_cstr(out, "yes or no");
	case CONF_INT:
		return buf_append_cstr(out, "a number") < 0 ? -1 : append_bounds(option, out);
	case CONF_SIZE:
		return buf_append_cstr(out, "a size") < 0 ? -1 : append_bounds(option, out);
	case CONF_DURATION:
		return buf_append_cstr(out, "a duration") < 0 ? -1 : append_bounds(option, out);
	case CONF_STRING:
	case CONF_STRING_LIST:
		return buf_append_cstr(out, "a text");
	case CONF_ENUM:
	case CONF_ENUM_LIST:
		if (buf_append_cstr(out, "one of ") < 0)
			return -1;
		for (; *choice; choice++)
			if (buf_appendf(out, "%s%s", choice == option->choices ? "" : ", ",
			    *choice) < 0)
				return -1;
		return 0;
	case CONF_NETWORK:
	case CONF_NETWORK_LIST:
		return buf_append_cstr(out, "an address or a range of addresses");
	}
	must_not_reach();
}

static int
fail_expected(const struct conf_option *option, struct span text, struct err *err)
{
	struct buf expected;

	buf_init(&expected, ERR_TEXT_BYTES);
	(void)conf_print_expected(option, &expected);   /* cut at worst */
	(void)err_set(err, ERR_CONFIG, "expected %s, not \"%.*s\"", buf_cstr(&expected),
	    SPAN_ARGS(span_first(text, 60)));
	buf_fini(&expected);
	return -1;
}

static bool
parse_bool(struct span text, int64_t *number_out)
{
	static const char *const words[] = { "no", "yes", "false", "true", "off", "on", "0", "1" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (span_equal_nocase_cstr(text, words[i])) {
			*number_out = (int64_t)(i & 1);
			return true;
		}
	}
	return false;
}

static bool
parse_choice(const struct conf_option *option, struct span text, int64_t *number_out)
{
	for (size_t i = 0; option->choices[i]; i++) {
		if (span_equal_cstr(text, option->choices[i])) {
			*number_out = (int64_t)i;
			return true;
		}
	}
	return false;
}

/* Wrap what a parser said with the text it said it of. */
static int
fail_with(struct span text, struct err *err)
{
	char said[ERR_TEXT_BYTES];

	if (!err)
		return -1;
	memcpy(said, err->text, sizeof(said));
	return err_set(err, ERR_CONFIG, "%s, not \"%.*s\"", said, SPAN_ARGS(span_first(text, 60)));
}

static bool
is_in_bounds(const struct conf_option *option, int64_t number)
{
	return number >= option->min && (option->max == 0 || number <= option->max);
}

int
conf_item_parse(const struct conf_option *option, struct span text, struct conf_item *item_out,
    struct err *err)
{
	uint64_t magnitude = 0;

	switch (option->type) {
	case CONF_BOOL:
		if (!parse_bool(text, &item_out->number))
			return fail_expected(option, text, err);
		break;
	case CONF_INT:
		if (!span_parse_i64(text, INT64_MIN, INT64_MAX, &item_out->number) ||
		    !is_in_bounds(option, item_out->number))
			return fail_expected(option, text, err);
		break;
	case CONF_SIZE:
	case CONF_DURATION:
		if ((option->type == CONF_SIZE ? units_parse_size(text, &magnitude, err)
		     : units_parse_duration(text, &magnitude, err)) < 0)
			return fail_with(text, err);
		item_out->number = (int64_t)magnitude;
		if (!is_in_bounds(option, item_out->number))
			return fail_expected(option, text, err);
		break;
	case CONF_STRING:
	case CONF_STRING_LIST:
		break;
	case CONF_ENUM:
	case CONF_ENUM_LIST:
		if (!parse_choice(option, text, &item_out->number))
			return fail_expected(option, text, err);
		break;
	case CONF_NETWORK:
	case CONF_NETWORK_LIST:
		if (network_parse(text, &item_out->network, err) < 0)
			return fail_with(text, err);
		break;
	}
	if (option->check && option->check(text, err) < 0)
		return fail_with(text, err);
	return 0;
}

static void
add_fallback_item(struct conf_value *value, struct span text, struct arena *arena)
{
	struct conf_item *item = &value->items[value->count++];

	item->text = arena_dup(arena, text).data;
	must(conf_item_parse(value->option, text, item, NULL) == 0);
}

void
conf_value_set_fallback(struct conf_value *value, struct arena *arena)
{
	struct span rest = span_from_cstr(value->option->fallback);
	struct span part;

	if (!value->option->fallback)
		return;
	value->is_set = true;
	if (!conf_type_is_list(value->option->type)) {
		value->items = arena_alloc(arena, sizeof(value->items[0]));
		add_fallback_item(value, rest, arena);
		return;
	}
	/* Each item has at least a byte and a comma: this many will do. */
	value->items = arena_alloc_array(arena, rest.len / 2 + 1, sizeof(value->items[0]));
	while (rest.len > 0 && span_take_part(&rest, ',', &part))
		add_fallback_item(value, span_trim(part), arena);
}

int
conf_value_check(const struct conf_value *value, struct err *err)
{
	const struct conf_option *option = value->option;
	int64_t count = (int64_t)value->count;

	if (option->required && !value->is_written)
		return err_set(err, ERR_CONFIG, "expected a value: this option must be there");
	if (!conf_type_is_list(option->type) || !value->is_written)
		return 0;
	if (count < option->min)
		return err_set(err, ERR_CONFIG, "expected at least %" PRId64 " items", option->min);
	if (option->max != 0 && count > option->max)
		return err_set(err, ERR_CONFIG, "expected at most %" PRId64 " items", option->max);
	return 0;
}
