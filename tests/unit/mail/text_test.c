#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/mail/message_id.h"
#include "relay/mail/reply.h"
#include "relay/mail/xtext.h"

/* reply, xtext, message_id: the small texts. */

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void
makes_foreign_words_safe(void **state)
{
	struct reply reply;
	char longest[REPLY_TEXT_BYTES_MAX + 10];

	(void)state;
	reply_set_foreign(&reply, 550, SPAN("5.1.1"),
	    SPAN("  no\r\n\tsuch\x01 \xc3\xa9 \xff user "));
	assert_string_equal(reply.text, "no?? such? \xc3\xa9 ? user");
	assert_string_equal(reply.status, "5.1.1");
	reply_add_foreign(&reply, SPAN("second"));
	assert_string_equal(reply.text, "no?? such? \xc3\xa9 ? user second");

	memset(longest, 'a', sizeof(longest));
	reply_set_foreign(&reply, 450, SPAN("4.4.4444444444444"), span_make(longest,
	    sizeof(longest)));
	assert_int_equal(strlen(reply.text), REPLY_TEXT_BYTES_MAX);
	assert_string_equal(reply.status, "");
	reply_add_foreign(&reply, SPAN("more"));
	assert_int_equal(strlen(reply.text), REPLY_TEXT_BYTES_MAX);

	/* No half of a character at the end. */
	reply_set_foreign(&reply, 450, SPAN(""), span_make(longest, REPLY_TEXT_BYTES_MAX - 2));
	reply_add_foreign(&reply, SPAN("\xc3\xa9"));
	assert_int_equal(strlen(reply.text), REPLY_TEXT_BYTES_MAX - 1);
	assert_true(span_is_utf8(span_from_cstr(reply.text)));

	/* U+0085 is a line's end to some. */
	reply_set_foreign(&reply, 450, SPAN(""), SPAN("a\xc2\x85" "b"));
	assert_string_equal(reply.text, "a?b");
}

static const struct {
	const char *name;
	uint16_t code;
	const char *text, *status, *rest;
} status_cases[] = {
	{ "a status", 250, "2.1.5 ok", "2.1.5", "ok" },
	{ "three digits", 550, "5.123.999 x", "5.123.999", "x" },
	{ "nothing behind it", 550, "5.1.1", "5.1.1", "" },
	{ "no status", 250, "ok", "", "ok" },
	{ "another class", 250, "5.1.1 ok", "", "5.1.1 ok" },
	{ "four digits", 550, "5.1234.1 x", "", "5.1234.1 x" },
	{ "two numbers", 550, "5.12345 x", "", "5.12345 x" },
	{ "four numbers", 550, "5.1.1.1 x", "", "5.1.1.1 x" },
	{ "an empty number", 550, "5..11 x", "", "5..11 x" },
	{ "a sign", 550, "5.-1.1 x", "", "5.-1.1 x" },
	{ "nothing", 550, "", "", "" },
};

static void
takes_the_status_off(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(status_cases); i++) {
		struct span text = span_from_cstr(status_cases[i].text);
		struct span status = reply_take_status(status_cases[i].code, &text);

		if (!span_equal_cstr(status, status_cases[i].status) ||
		    !span_equal_cstr(text, status_cases[i].rest))
			fail_msg("%s", status_cases[i].name);
	}
}

static void
knows_the_classes_of_replies(void **state)
{
	struct reply reply;

	(void)state;
	reply_set(&reply, 452, "", "%s", "later");
	assert_true(reply_is_transient(&reply));
	assert_false(reply_is_permanent(&reply) || reply_is_positive(&reply));
	assert_string_equal(reply_status_or_default(&reply), "4.0.0");
	reply_set(&reply, 550, "5.7.1", "no");
	assert_true(reply_is_permanent(&reply));
	assert_string_equal(reply_status_or_default(&reply), "5.7.1");
	reply_set(&reply, 354, "", "go");
	assert_true(reply_is_intermediate(&reply));
	reply_set(&reply, 0, "", "%s", "");
	assert_false(reply_is_positive(&reply));
}

static const struct {
	const char *name, *text, *meaning;
} xtext_cases[] = {
	{ "plain", "abc", "abc" },
	{ "a plus", "a+2Bb", "a+b" },
	{ "a byte", "+C3+A9", "\xc3\xa9" },
	{ "a blank", "+20", " " },
	{ "empty", "", "" },
	{ "lower case", "+2b", NULL },
	{ "half", "+2", NULL },
	{ "a plus at the end", "a+", NULL },
	{ "an equals sign", "a=b", NULL },
	{ "a blank in plain", "a b", NULL },
	{ "a foreign byte", "\xc3\xa9", NULL },
	{ "no digits", "+XY", NULL },
};

static void
reads_and_writes_xtext(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 64);
	for (size_t i = 0; i < COUNT(xtext_cases); i++) {
		struct span text = span_from_cstr(xtext_cases[i].text);
		bool is_good = xtext_cases[i].meaning != NULL;

		buf_clear(&out);
		if (xtext_is_valid(text) != is_good || (xtext_decode(text, &out) == 0) != is_good)
			fail_msg("%s", xtext_cases[i].name);
		if (!is_good) {
			assert_int_equal(buf_len(&out), 0);
			continue;
		}
		assert_string_equal(buf_cstr(&out), xtext_cases[i].meaning);
		buf_clear(&out);
		assert_int_equal(xtext_encode(span_from_cstr(xtext_cases[i].meaning), &out), 0);
		assert_string_equal(buf_cstr(&out), xtext_cases[i].text);
	}
	buf_fini(&out);
	buf_init(&out, 4);
	assert_int_equal(xtext_encode(SPAN("ab+"), &out), -1);
	assert_int_equal(buf_len(&out), 0);
	buf_fini(&out);
}

static const struct {
	const char *name, *text, *meaning;
} orcpt_cases[] = {
	{ "rfc822", "rfc822;a+2Bb@x.y", "a+b@x.y" },
	{ "another type", "x-400;c+3Da", "c=a" },
	{ "utf-8 in xtext", "utf-8;\\x{E9}@x.y", "\xc3\xa9@x.y" },
	{ "utf-8 as it is", "UTF-8;\xc3\xa9@x.y", "\xc3\xa9@x.y" },
	{ "utf-8, large", "utf-8;\\x{1F600}", "\xf0\x9f\x98\x80" },
	{ "utf-8, three bytes", "utf-8;\\x{20AC}", "\xe2\x82\xac" },
	{ "a surrogate", "utf-8;\\x{D800}", NULL },
	{ "too large", "utf-8;\\x{110000}", NULL },
	{ "zero in front", "utf-8;\\x{0E9}", NULL },
	{ "no digits", "utf-8;\\x{}", NULL },
	{ "open", "utf-8;\\x{E9", NULL },
	{ "a byte by xtext", "utf-8;+C3+A9", NULL },
	{ "broken utf-8", "utf-8;\xff", NULL },
	{ "foreign in rfc822", "rfc822;\xc3\xa9", NULL },
	{ "no type", ";a@b", NULL },
	{ "no address", "rfc822;", NULL },
	{ "no semicolon", "rfc822", NULL },
	{ "a blank in the type", "rfc 822;a", NULL },
};

static void
reads_orcpt(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 64);
	for (size_t i = 0; i < COUNT(orcpt_cases); i++) {
		struct span text = span_from_cstr(orcpt_cases[i].text);
		struct span type, address;
		bool is_good = orcpt_cases[i].meaning != NULL;

		buf_clear(&out);
		if (xtext_parse_orcpt(text, &type, &address) != is_good ||
		    (xtext_decode_orcpt(text, &out) == 0) != is_good)
			fail_msg("%s", orcpt_cases[i].name);
		assert_string_equal(buf_cstr(&out), is_good ? orcpt_cases[i].meaning : "");
	}
	buf_fini(&out);
}

static void
makes_and_finds_message_ids(void **state)
{
	struct buf out;
	struct span id;

	(void)state;
	buf_init(&out, 128);
	assert_int_equal(message_id_make(1, 255, SPAN("h.example"), &out), 0);
	assert_string_equal(buf_cstr(&out), "<0000000000001.ff@h.example>");
	buf_fini(&out);

	assert_true(message_id_find(SPAN(" \r\n <a@b> (comment)"), &id));
	assert_true(span_equal_cstr(id, "<a@b>"));
	assert_false(message_id_find(SPAN("a@b"), &id));
	assert_false(message_id_find(SPAN("<a b>"), &id));
	assert_false(message_id_find(SPAN("<a\nb>"), &id));
	assert_false(message_id_find(SPAN("<>"), &id));
	assert_false(message_id_find(SPAN("<a"), &id));
	assert_false(message_id_find(SPAN(""), &id));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(makes_foreign_words_safe),
		cmocka_unit_test(takes_the_status_off),
		cmocka_unit_test(knows_the_classes_of_replies),
		cmocka_unit_test(reads_and_writes_xtext),
		cmocka_unit_test(reads_orcpt),
		cmocka_unit_test(makes_and_finds_message_ids),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
