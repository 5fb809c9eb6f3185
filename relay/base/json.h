#ifndef RELAY_BASE_JSON_H
#define RELAY_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/buf.h"
#include "relay/base/err.h"
#include "relay/base/span.h"

/*
 * JSON values for the control socket and for output: one document a line.
 * Texts are made valid UTF-8 on the way in: a foreign byte becomes U+FFFD.
 * A value belongs to its maker until it is put into another; then it lives and
 * dies with that one.  Not for two threads at once.
 */
struct json;

/* Nesting and size that json_parse() accepts. */
#define JSON_DEPTH_MAX 32
#define JSON_LINE_BYTES_MAX ((size_t)4 << 20)

struct json *json_new_object(void);
struct json *json_new_list(void);
void json_free(struct json **json);

/* Put under a key of an object; a key that is there is replaced. */
void json_put_text(struct json *object, const char *key, struct span value);
void json_put_cstr(struct json *object, const char *key, const char *value);
void json_put_int(struct json *object, const char *key, int64_t value);
void json_put_bool(struct json *object, const char *key, bool value);
void json_put_null(struct json *object, const char *key);

/* Take value over. */
void json_put(struct json *object, const char *key, struct json *value);

/* Make an empty object or list under the key and lend it. */
struct json *json_put_object(struct json *object, const char *key);
struct json *json_put_list(struct json *object, const char *key);

/* Add at the end of a list. */
void json_add_text(struct json *list, struct span value);
void json_add_cstr(struct json *list, const char *value);
void json_add_int(struct json *list, int64_t value);
void json_add(struct json *list, struct json *value);
struct json *json_add_object(struct json *list);

/* Append as one line without the line's end; -1 when out is full. */
int json_print(const struct json *json, struct buf *out);

/* Append with indentation, for people. */
int json_print_indented(const struct json *json, struct buf *out);

/* One whole document; duplicate keys, NULs and rests are refused. */
int json_parse(struct span line, struct json **json_out, struct err *err);

/* Reading: NULL or false when the key is absent or has another type. */
const struct json *json_get(const struct json *object, const char *key);
bool json_get_text(const struct json *object, const char *key, struct span *value_out);
bool json_get_int(const struct json *object, const char *key, int64_t *value_out);
bool json_get_bool(const struct json *object, const char *key, bool *value_out);

/* The text, ended by a NUL and borrowed from json, or NULL. */
const char *json_get_cstr(const struct json *object, const char *key);

bool json_is_object(const struct json *json);
bool json_is_list(const struct json *json);
bool json_is_null(const struct json *json);
bool json_is_text(const struct json *json, struct span *value_out);
bool json_is_int(const struct json *json, int64_t *value_out);
bool json_is_bool(const struct json *json, bool *value_out);

/* Members of a list or of an object. */
size_t json_count(const struct json *json);
const struct json *json_at(const struct json *list, size_t index);

/* Call visit for every key of an object, in the order they were put. */
typedef void json_visit(void *ctx, const char *key, const struct json *value);
void json_each(const struct json *object, json_visit *visit, void *ctx);

#endif
