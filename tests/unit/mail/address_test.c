#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/file.h"
#include "relay/base/json.h"
#include "relay/base/mem.h"
#include "relay/base/random.h"
#include "relay/mail/address.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define A64 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B63 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static const struct {
	const char *name, *text;
	enum address_syntax expected;
	const char *printed;
} mailbox_cases[] = {
	{ "plain", "a@example.net", ADDRESS_OK, "a@example.net" },
	{ "domain in lower case", "A.b@EXAMPLE.Net", ADDRESS_OK, "A.b@example.net" },
	{ "needless quotes", "\"foo\"@x.y", ADDRESS_OK, "foo@x.y" },
	{ "needless backslash", "\"f\\oo\"@x.y", ADDRESS_OK, "foo@x.y" },
	{ "needed quotes", "\"a b\"@x.y", ADDRESS_OK, "\"a b\"@x.y" },
	{ "an at in quotes", "\"a@b\"@x.y", ADDRESS_OK, "\"a@b\"@x.y" },
	{ "quote and backslash", "\"\\\"\\\\\"@x.y", ADDRESS_OK, "\"\\\"\\\\\"@x.y" },
	{ "empty quotes", "\"\"@x.y", ADDRESS_OK, "\"\"@x.y" },
	{ "a dot at the end in quotes", "\"a.\"@x.y", ADDRESS_OK, "\"a.\"@x.y" },
	{ "all of atext", "!#$%&'*+-/=?^_`{|}~@x.y", ADDRESS_OK, "!#$%&'*+-/=?^_`{|}~@x.y" },
	{ "ipv4 literal", "a@[192.0.2.1]", ADDRESS_OK, "a@[192.0.2.1]" },
	{ "ipv6 literal", "a@[ipv6:2001:DB8::1]", ADDRESS_OK, "a@[IPv6:2001:db8::1]" },
	{ "one label", "a@localhost", ADDRESS_OK, "a@localhost" },
	{ "utf-8", "\xc3\xa9@\xc3\xa9.x", ADDRESS_OK, "\xc3\xa9@\xc3\xa9.x" },
	{ "longest local part", A64 "@x.y", ADDRESS_OK, A64 "@x.y" },
	{ "longest label", "a@" B63 ".y", ADDRESS_OK, "a@" B63 ".y" },
	{ "nothing", "", ADDRESS_BAD, NULL },
	{ "no at", "a", ADDRESS_BAD, NULL },
	{ "no domain", "a@", ADDRESS_BAD, NULL },
	{ "no local part", "@x.y", ADDRESS_BAD, NULL },
	{ "two ats", "a@b@c", ADDRESS_BAD, NULL },
	{ "dot first", ".a@x.y", ADDRESS_BAD, NULL },
	{ "dot last", "a.@x.y", ADDRESS_BAD, NULL },
	{ "two dots", "a..b@x.y", ADDRESS_BAD, NULL },
	{ "a blank", "a b@x.y", ADDRESS_BAD, NULL },
	{ "open quotes", "\"a@x.y", ADDRESS_BAD, NULL },
	{ "a backslash at the end", "\"a\\", ADDRESS_BAD, NULL },
	{ "behind quotes", "\"a\"b@x.y", ADDRESS_BAD, NULL },
	{ "a tab in quotes", "\"a\tb\"@x.y", ADDRESS_BAD, NULL },
	{ "lf in quotes", "\"a\nb\"@x.y", ADDRESS_BAD, NULL },
	{ "cr behind a backslash", "\"a\\\rb\"@x.y", ADDRESS_BAD, NULL },
	{ "empty label", "a@x..y", ADDRESS_BAD, NULL },
	{ "dot at the end of a domain", "a@x.y.", ADDRESS_BAD, NULL },
	{ "dot at the start of a domain", "a@.x.y", ADDRESS_BAD, NULL },
	{ "hyphen first", "a@-x.y", ADDRESS_BAD, NULL },
	{ "hyphen last", "a@x-.y", ADDRESS_BAD, NULL },
	{ "a bracket", "a@x>.y", ADDRESS_BAD, NULL },
	{ "label too long", "a@b" B63 ".y", ADDRESS_BAD, NULL },
	{ "local part too long", "a" A64 "@x.y", ADDRESS_TOO_LONG, NULL },
	{ "domain too long", "a@" B63 "." B63 "." B63 "." B63 ".cc", ADDRESS_TOO_LONG, NULL },
	{ "literal without end", "a@[192.0.2.1", ADDRESS_BAD, NULL },
	{ "literal of nothing", "a@[]", ADDRESS_BAD, NULL },
	{ "literal of rubbish", "a@[1.2.3.999]", ADDRESS_BAD, NULL },
	{ "ipv6 without its tag", "a@[2001:db8::1]", ADDRESS_BAD, NULL },
	{ "broken utf-8", "\xc3@x.y", ADDRESS_BAD, NULL },
	{ "overlong utf-8", "\xc0\xaf@x.y", ADDRESS_BAD, NULL },
	{ "broken utf-8 in the domain", "a@\xff.y", ADDRESS_BAD, NULL },
};

static char *
printed(const struct address *address)
{
	struct buf text;
	size_t len;

	buf_init(&text, ADDRESS_TEXT_BYTES_MAX);
	address_print(address, &text);
	assert_false(buf_overflowed(&text));
	return buf_take(&text, &len);
}

static void
parses_mailboxes(void **state)
{
	struct arena arena;

	(void)state;
	arena_init(&arena, 0);
	for (size_t i = 0; i < COUNT(mailbox_cases); i++) {
		struct address address;
		enum address_syntax syntax = address_parse(&address,
		    span_from_cstr(mailbox_cases[i].text), true, &arena);

		if (syntax != mailbox_cases[i].expected)
			fail_msg("%s: %d", mailbox_cases[i].name, (int)syntax);
		if (syntax != ADDRESS_OK)
			continue;

		char *text = printed(&address);

		if (strcmp(text, mailbox_cases[i].printed) != 0)
			fail_msg("%s: printed %s", mailbox_cases[i].name, text);
		mem_free(&text);
	}
	arena_fini(&arena);
}

static const struct {
	const char *name, *path;
	bool is_forward;
	enum address_syntax expected;
	const char *printed;
} path_cases[] = {
	{ "null sender", "<>", false, ADDRESS_OK, "" },
	{ "null recipient", "<>", true, ADDRESS_BAD, NULL },
	{ "plain", "<a@b.c>", true, ADDRESS_OK, "a@b.c" },
	{ "postmaster", "<PostMaster>", true, ADDRESS_OK, "postmaster" },
	{ "postmaster as sender", "<postmaster>", false, ADDRESS_BAD, NULL },
	{ "source route", "<@x.y,@z:a@b.c>", true, ADDRESS_OK, "a@b.c" },
	{ "route over a literal", "<@[IPv6:::1]:a@b.c>", false, ADDRESS_OK, "a@b.c" },
	{ "route without a colon", "<@x.y>", true, ADDRESS_BAD, NULL },
	{ "route of nothing", "<@:a@b.c>", true, ADDRESS_BAD, NULL },
	{ "route without ats", "<@x,y:a@b.c>", true, ADDRESS_BAD, NULL },
	{ "route to nothing", "<@x.y:>", false, ADDRESS_BAD, NULL },
	{ "no brackets", "a@b.c", false, ADDRESS_BAD, NULL },
	{ "half a bracket", "<a@b.c", false, ADDRESS_BAD, NULL },
	{ "one bracket", "<", false, ADDRESS_BAD, NULL },
	{ "blank inside", "< a@b.c>", false, ADDRESS_BAD, NULL },
	{ "nested", "<<a@b.c>>", false, ADDRESS_BAD, NULL },
};

static void
parses_paths(void **state)
{
	struct arena arena;

	(void)state;
	arena_init(&arena, 0);
	for (size_t i = 0; i < COUNT(path_cases); i++) {
		struct address address;
		struct span path = span_from_cstr(path_cases[i].path);
		enum address_syntax syntax = path_cases[i].is_forward
		    ? address_parse_forward_path(&address, path, false, &arena)
		    : address_parse_reverse_path(&address, path, false, &arena);

		if (syntax != path_cases[i].expected)
			fail_msg("%s: %d", path_cases[i].name, (int)syntax);
		if (syntax != ADDRESS_OK)
			continue;

		char *text = printed(&address);

		assert_string_equal(text, path_cases[i].printed);
		assert_int_equal(address_is_null(&address), text[0] == '\0');
		mem_free(&text);
	}
	arena_fini(&arena);
}

static void
asks_for_smtputf8(void **state)
{
	static const char *const texts[] = { "\xc3\xa9@x.y", "\"\xc3\xa9\"@x.y", "a@\xc3\xa9.y" };
	struct arena arena;
	struct address address;

	(void)state;
	arena_init(&arena, 0);
	for (size_t i = 0; i < COUNT(texts); i++) {
		struct span text = span_from_cstr(texts[i]);

		assert_int_equal(address_parse(&address, text, false, &arena), ADDRESS_IS_UTF8);
		assert_int_equal(address_parse(&address, text, true, &arena), ADDRESS_OK);
		assert_true(address.needs_utf8);
	}
	assert_int_equal(address_parse(&address, SPAN("a@x.y"), true, &arena), ADDRESS_OK);
	assert_false(address.needs_utf8);
	arena_fini(&arena);
}

static void
compares(void **state)
{
	struct arena arena;
	struct address a, b, c;

	(void)state;
	arena_init(&arena, 0);
	assert_int_equal(address_parse(&a, SPAN("\"A\"@x.y"), false, &arena), ADDRESS_OK);
	assert_int_equal(address_parse(&b, SPAN("A@X.Y"), false, &arena), ADDRESS_OK);
	assert_int_equal(address_parse(&c, SPAN("a@x.y"), false, &arena), ADDRESS_OK);
	assert_true(address_equal(&a, &b));
	assert_false(address_equal(&b, &c));
	arena_fini(&arena);
}

static struct json *
read_table(const char *name)
{
	const char *top = getenv("top_srcdir");
	char *path = mem_format("%s/tests/unit/mail/data/%s", top ? top : CHAPAR_SOURCE_DIR, name);
	struct json *json;
	struct buf text;
	struct err err;

	size_t at;

	buf_init(&text, (size_t)1 << 20);
	if (file_read_whole(path, &text, &err) < 0)
		fail_msg("%s", err.text);
	/* Our JSON takes no NULs; another control has the same verdict. */
	for (size_t from = 0; span_find(span_skip(buf_span(&text), from), SPAN("\\u0000"), &at);) {
		from += at + 5;
		text.data[text.start + from] = '1';
	}
	if (json_parse(buf_span(&text), &json, &err) < 0)
		fail_msg("%s: %s", path, err.text);
	buf_fini(&text);
	mem_free(&path);
	return json;
}

/* Spellings collected by other projects; see data/SOURCES.md. */
static void
agrees_with_the_tables_of_peers(void **state)
{
	struct json *json = read_table("addresses.json");
	const struct json *cases = json_get(json, "cases");
	struct arena arena;
	size_t checked = 0;

	(void)state;
	arena_init(&arena, 0);
	for (size_t i = 0; i < json_count(cases); i++) {
		const struct json *one = json_at(cases, i);
		struct address address;
		struct span path;
		bool is_valid, utf8;

		assert_true(json_get_text(one, "path", &path));
		if (!json_get_bool(one, "valid", &is_valid))
			continue;               /* servers differ */
		assert_true(json_get_bool(one, "smtputf8", &utf8));

		enum address_syntax syntax =
		    address_parse_reverse_path(&address, path, utf8, &arena);

		if ((syntax == ADDRESS_OK) != is_valid)
			fail_msg("%.*s: %d", SPAN_ARGS(path), (int)syntax);
		checked++;
	}
	assert_true(checked > 30);
	arena_fini(&arena);
	json_free(&json);
}

static void
quotes_as_the_tables_of_peers(void **state)
{
	struct json *json = read_table("localpart-quoting.json");
	const struct json *cases = json_get(json, "cases");

	(void)state;
	assert_true(json_count(cases) > 5);
	for (size_t i = 0; i < json_count(cases); i++) {
		struct address address = { .domain = SPAN("x") };
		struct span wire;
		struct buf expected;

		assert_true(json_get_text(json_at(cases, i), "raw", &address.local));
		assert_true(json_get_text(json_at(cases, i), "wire", &wire));
		buf_init(&expected, ADDRESS_TEXT_BYTES_MAX);
		(void)buf_append(&expected, wire);
		(void)buf_append_cstr(&expected, "@x");

		char *text = printed(&address);

		assert_string_equal(text, buf_cstr(&expected));
		mem_free(&text);
		buf_fini(&expected);
	}
	json_free(&json);
}

/* What is accepted prints to what is accepted, and means the same. */
static void
prints_what_it_parses(void **state)
{
	static const char *const pieces[] = {
		"a", "b", "A", ".", "@", "@", "\"", "\"", "\\", " ", "<", "[", "]", ":", "-", "\t",
		"\xc3\xa9", "\xff", "[192.0.2.1]", "\"a b\"",
	};
	struct random_seeded random;
	size_t accepted = 0;

	(void)state;
	random_init_seeded(&random, 7);
	for (int round = 0; round < 200000; round++) {
		size_t count = random_below(&random.random, 8);
		struct address first, second;
		struct arena arena;
		struct buf text;

		buf_init(&text, 256);
		for (size_t i = 0; i < count; i++)
			(void)buf_append_cstr(&text,
			    pieces[random_below(&random.random, COUNT(pieces))]);
		arena_init(&arena, 0);
		if (address_parse(&first, buf_span(&text), true, &arena) == ADDRESS_OK) {
			struct span again = address_text(&first, &arena);

			accepted++;
			if (address_parse(&second, again, true, &arena) != ADDRESS_OK ||
			    !address_equal(&first, &second))
				fail_msg("seed 7 round %d: %.*s", round, SPAN_ARGS(again));
		}
		arena_fini(&arena);
		buf_fini(&text);
	}
	assert_true(accepted > 100);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_mailboxes),
		cmocka_unit_test(parses_paths),
		cmocka_unit_test(asks_for_smtputf8),
		cmocka_unit_test(compares),
		cmocka_unit_test(agrees_with_the_tables_of_peers),
		cmocka_unit_test(quotes_as_the_tables_of_peers),
		cmocka_unit_test(prints_what_it_parses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
