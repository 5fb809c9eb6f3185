#include "relay/base/json.h"

#include <jansson.h>
#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

/* jansson has macros of these names for its own type. */
#undef json_is_object
#undef json_is_null

/*
 * A struct json is a json_t by another name: jansson's type stays in this file.
 * jansson reports a lack of memory, which ends the program as elsewhere.
 */

static json_t *
real(const struct json *json)
{
	return (json_t *)(uintptr_t)json;
}

static struct json *
named(json_t *json)
{
	must(json != NULL);
	return (struct json *)json;
}

struct json *
json_new_object(void)
{
	return named(json_object());
}

struct json *
json_new_list(void)
{
	return named(json_array());
}

void
json_free(struct json **json)
{
	json_decref(real(*json));
	*json = NULL;
}

/* Text with each byte that is no part of UTF-8 as U+FFFD; jansson refuses others. */
static json_t *
new_text(struct span value)
{
	static const char replacement[] = "\xef\xbf\xbd";
	json_t *json;

	if (span_is_utf8(value))
		return json_stringn(value.data ? value.data : "", value.len);

	struct buf clean;

	buf_init(&clean, value.len * (sizeof(replacement) - 1));
	while (value.len > 0) {
		size_t len = span_utf8_len(value);

		if (len > 0)
			(void)buf_append(&clean, span_first(value, len));
		else
			(void)buf_append_cstr(&clean, replacement);
		value = span_skip(value, len > 0 ? len : 1);
	}
	json = json_stringn(buf_cstr(&clean), buf_len(&clean));
	buf_fini(&clean);
	return json;
}

static void
put_new(struct json *object, const char *key, json_t *value)
{
	must(value != NULL);
	must(json_object_set_new(real(object), key, value) == 0);
}

void
json_put_text(struct json *object, const char *key, struct span value)
{
	put_new(object, key, new_text(value));
}

void
json_put_cstr(struct json *object, const char *key, const char *value)
{
	put_new(object, key, new_text(span_from_cstr(value)));
}

void
json_put_int(struct json *object, const char *key, int64_t value)
{
	put_new(object, key, json_integer(value));
}

void
json_put_bool(struct json *object, const char *key, bool value)
{
	put_new(object, key, json_boolean(value));
}

void
json_put_null(struct json *object, const char *key)
{
	put_new(object, key, json_null());
}

void
json_put(struct json *object, const char *key, struct json *value)
{
	put_new(object, key, real(value));
}

struct json *
json_put_object(struct json *object, const char *key)
{
	struct json *value = json_new_object();

	json_put(object, key, value);
	return value;
}

struct json *
json_put_list(struct json *object, const char *key)
{
	struct json *value = json_new_list();

	json_put(object, key, value);
	return value;
}

static void
add_new(struct json *list, json_t *value)
{
	must(value != NULL);
	must(json_array_append_new(real(list), value) == 0);
}

void
json_add_text(struct json *list, struct span value)
{
	add_new(list, new_text(value));
}

void
json_add_cstr(struct json *list, const char *value)
{
	add_new(list, new_text(span_from_cstr(value)));
}

void
json_add_int(struct json *list, int64_t value)
{
	add_new(list, json_integer(value));
}

void
json_add(struct json *list, struct json *value)
{
	add_new(list, real(value));
}

struct json *
json_add_object(struct json *list)
{
	struct json *value = json_new_object();

	json_add(list, value);
	return value;
}

static int
append_piece(const char *piece, size_t len, void *out)
{
	return buf_append(out, span_make(piece, len));
}

static int
print(const struct json *json, struct buf *out, size_t flags)
{
	size_t before = buf_len(out);

	if (json_dump_callback(real(json), append_piece, out, flags | JSON_ENCODE_ANY) == 0)
		return 0;
	buf_truncate(out, before);
	out->overflowed = true;
	return -1;
}

int
json_print(const struct json *json, struct buf *out)
{
	return print(json, out, JSON_COMPACT);
}

int
json_print_indented(const struct json *json, struct buf *out)
{
	return print(json, out, JSON_INDENT(2));
}

/*
 * jansson's own bound on nesting is 2048 calls deep; ours is found before it
 * starts, by counting brackets outside of texts.
 */
static bool
nests_too_deep(struct span line)
{
	bool in_text = false;
	size_t depth = 0;

	for (size_t i = 0; i < line.len; i++) {
		char c = line.data[i];

		if (in_text && c == '\\')
			i++;
		else if (c == '"')
			in_text = !in_text;
		else if (!in_text && (c == '{' || c == '['))
			depth++;
		else if (!in_text && (c == '}' || c == ']') && depth > 0)
			depth--;
		if (depth > JSON_DEPTH_MAX)
			return true;
	}
	return false;
}

int
json_parse(struct span line, struct json **json_out, struct err *err)
{
	json_error_t problem;

	*json_out = NULL;
	if (line.len > JSON_LINE_BYTES_MAX)
		return err_set(err, ERR_LIMIT, "json: more than %zu bytes", JSON_LINE_BYTES_MAX);
	if (nests_too_deep(line))
		return err_set(err, ERR_LIMIT, "json: nested deeper than %d", JSON_DEPTH_MAX);

	json_t *json = json_loadb(line.data ? line.data : "", line.len, JSON_REJECT_DUPLICATES,
	    &problem);

	if (!json)
		return err_set(err, ERR_FORMAT, "json: %s at byte %d", problem.text,
		    problem.position);
	*json_out = named(json);
	return 0;
}

const struct json *
json_get(const struct json *object, const char *key)
{
	return (const struct json *)json_object_get(real(object), key);
}

bool
json_get_text(const struct json *object, const char *key, struct span *value_out)
{
	return json_is_text(json_get(object, key), value_out);
}

bool
json_get_int(const struct json *object, const char *key, int64_t *value_out)
{
	return json_is_int(json_get(object, key), value_out);
}

bool
json_get_bool(const struct json *object, const char *key, bool *value_out)
{
	return json_is_bool(json_get(object, key), value_out);
}

const char *
json_get_cstr(const struct json *object, const char *key)
{
	return json_string_value(json_object_get(real(object), key));
}

bool
json_is_object(const struct json *json)
{
	return json && json_typeof(real(json)) == JSON_OBJECT;
}

bool
json_is_list(const struct json *json)
{
	return json && json_typeof(real(json)) == JSON_ARRAY;
}

bool
json_is_null(const struct json *json)
{
	return json && json_typeof(real(json)) == JSON_NULL;
}

bool
json_is_text(const struct json *json, struct span *value_out)
{
	if (!json || json_typeof(real(json)) != JSON_STRING)
		return false;
	*value_out = span_make(json_string_value(real(json)), json_string_length(real(json)));
	return true;
}

bool
json_is_int(const struct json *json, int64_t *value_out)
{
	if (!json || json_typeof(real(json)) != JSON_INTEGER)
		return false;
	*value_out = json_integer_value(real(json));
	return true;
}

bool
json_is_bool(const struct json *json, bool *value_out)
{
	if (!json)
		return false;

	json_type type = json_typeof(real(json));

	if (type != JSON_TRUE && type != JSON_FALSE)
		return false;
	*value_out = type == JSON_TRUE;
	return true;
}

size_t
json_count(const struct json *json)
{
	if (json_is_object(json))
		return json_object_size(real(json));
	return json_array_size(real(json));
}

const struct json *
json_at(const struct json *list, size_t index)
{
	return (const struct json *)json_array_get(real(list), index);
}

void
json_each(const struct json *object, json_visit *visit, void *ctx)
{
	const char *key;
	json_t *value;

	json_object_foreach(real(object), key, value)
		visit(ctx, key, (const struct json *)value);
}
