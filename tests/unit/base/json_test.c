#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/json.h"
#include "relay/base/random.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void
prints_one_line(void **state)
{
	struct json *object = json_new_object();
	struct json *list = json_put_list(object, "list");
	struct buf out;

	(void)state;
	json_put_text(object, "text", SPAN("a\"b\n\xff\xc3\xa9"));
	json_put_int(object, "int", INT64_MIN);
	json_put_bool(object, "yes", true);
	json_put_null(object, "none");
	json_add_int(list, 1);
	json_add_cstr(list, "two");
	json_put_int(json_add_object(list), "three", 3);
	json_put_cstr(object, "text2", "x");
	json_put_cstr(object, "text2", "y");
	buf_init(&out, 4096);
	assert_int_equal(json_print(object, &out), 0);
	assert_string_equal(buf_cstr(&out), "{\"list\":[1,\"two\",{\"three\":3}],"
	    "\"text\":\"a\\\"b\\n\xef\xbf\xbd\xc3\xa9\",\"int\":-9223372036854775808,\"yes\":true,"
	    "\"none\":null,\"text2\":\"y\"}");
	buf_fini(&out);
	buf_init(&out, 20);
	assert_int_equal(json_print(object, &out), -1);
	assert_int_equal(buf_len(&out), 0);
	buf_fini(&out);
	json_free(&object);
	assert_null(object);
	json_free(&object);
}

static void
reads_by_type(void **state)
{
	struct json *json;
	struct span text;
	int64_t number;
	bool flag;

	(void)state;
	assert_int_equal(json_parse(
	    SPAN("{\"a\":\"x\",\"n\":-5,\"f\":1.5,\"b\":false,\"l\":[1,[]]}"),
	    &json, NULL), 0);
	assert_true(json_get_text(json, "a", &text) && span_equal_cstr(text, "x"));
	assert_string_equal(json_get_cstr(json, "a"), "x");
	assert_true(json_get_int(json, "n", &number) && number == -5);
	assert_true(json_get_bool(json, "b", &flag) && !flag);
	assert_false(json_get_int(json, "f", &number));
	assert_false(json_get_int(json, "a", &number));
	assert_false(json_get_text(json, "n", &text));
	assert_null(json_get_cstr(json, "n"));
	assert_false(json_get_bool(json, "nothing", &flag));
	assert_int_equal(json_count(json), 5);
	assert_true(json_is_object(json));
	assert_true(json_is_list(json_get(json, "l")));
	assert_int_equal(json_count(json_get(json, "l")), 2);
	assert_true(json_is_int(json_at(json_get(json, "l"), 0), &number) && number == 1);
	assert_null(json_at(json_get(json, "l"), 2));
	assert_null(json_get(NULL, "a"));
	json_free(&json);
}

static const struct {
	const char *name, *text;
} bad_cases[] = {
	{ "nothing", "" },
	{ "half", "{\"a\":1" },
	{ "two documents", "{} {}" },
	{ "duplicate keys", "{\"a\":1,\"a\":2}" },
	{ "a nul in a text", "{\"a\":\"\\u0000\"}" },
	{ "broken utf-8", "{\"a\":\"\xff\"}" },
	{ "a number too large", "{\"a\":99999999999999999999}" },
	{ "a number alone", "5" },
	{ "a trailing comma", "[1,]" },
	{ "single quotes", "{'a':1}" },
	{ "a half surrogate", "[\"\\ud800\"]" },
};

static void
refuses_what_is_no_document(void **state)
{
	char deep[3 * JSON_DEPTH_MAX];
	struct json *json;
	struct err err;

	(void)state;
	for (size_t i = 0; i < COUNT(bad_cases); i++)
		if (json_parse(span_from_cstr(bad_cases[i].text), &json, &err) == 0 || json)
			fail_msg("%s", bad_cases[i].name);
	memset(deep, '[', JSON_DEPTH_MAX);
	memset(deep + JSON_DEPTH_MAX, ']', JSON_DEPTH_MAX);
	assert_int_equal(json_parse(span_make(deep, (size_t)2 * JSON_DEPTH_MAX), &json, &err), 0);
	json_free(&json);
	memset(deep, '[', sizeof(deep));
	assert_int_equal(json_parse(span_make(deep, sizeof(deep)), &json, &err), -1);
	assert_int_equal(err.kind, ERR_LIMIT);
}

static void
survives_noise(void **state)
{
	static const char bytes[] = "{}[]\",:\\u0123456789abcdeftrulsn \xc3\xa9\xff-.";
	struct random_seeded random;

	(void)state;
	random_init_seeded(&random, 6);
	for (int round = 0; round < 100000; round++) {
		char text[40];
		size_t len = random_below(&random.random, sizeof(text));
		struct json *json;

		for (size_t i = 0; i < len; i++)
			text[i] = bytes[random_below(&random.random, sizeof(bytes))];
		if (json_parse(span_make(text, len), &json, NULL) == 0)
			json_free(&json);
		assert_null(json);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prints_one_line),
		cmocka_unit_test(reads_by_type),
		cmocka_unit_test(refuses_what_is_no_document),
		cmocka_unit_test(survives_noise),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
