/* mboxrd quoting: tables, and every way to cut a text in three. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mailbox/mbox_quote.h"
#include "relay/base/buf.h"

static const struct { const char *name, *input, *expected; } quote_cases[] = {
	{ "leaves text alone",            "a\nb\n",               "a\nb\n" },
	{ "quotes at the start",          "From a\n",             ">From a\n" },
	{ "quotes in the middle",         "a\nFrom b\nc\n",       "a\n>From b\nc\n" },
	{ "adds one to one",              ">From a\n",            ">>From a\n" },
	{ "adds one to many",             "\n>>>>From a\n",       "\n>>>>>From a\n" },
	{ "not without the blank",        "From\nFrom:\nFroma\n", "From\nFrom:\nFroma\n" },
	{ "not inside a line",            "x From a\n> From\n",   "x From a\n> From\n" },
	{ "not by case",                  "from a\nFROM a\n",     "from a\nFROM a\n" },
	{ "not by a blank before",        " From a\n",            " From a\n" },
	{ "two in a row",                 "From \nFrom \n",       ">From \n>From \n" },
	{ "From inside From",             "FrFrom a\nFFrom \n",   "FrFrom a\nFFrom \n" },
	{ "ends in the middle of it",     "a\nFro",               "a\nFro" },
	{ "ends without the blank",       "a\n>From",             "a\n>From" },
	{ "ends with the blank",          "a\nFrom ",             "a\n>From " },
	{ "only brackets",                ">>>>\n>\n",            ">>>>\n>\n" },
	{ "empty lines",                  "\n\n\nFrom a",         "\n\n\n>From a" },
	{ "empty",                        "",                     "" },
};

static void
feed(struct mbox_quote *quote, struct span text, struct buf *out, size_t *added)
{
	while (text.len > 0) {
		struct span piece;
		size_t used = mbox_quote_next(quote, text, &piece);

		assert_true(used > 0 || piece.len > 0);
		assert_true(used <= text.len);
		*added += mbox_quote_is_added(piece);
		assert_int_equal(buf_append(out, piece), 0);
		text = span_skip(text, used);
	}
}

static void
check(const char *name, struct span input, size_t first_cut, size_t second_cut,
      const char *expected)
{
	struct mbox_quote quote;
	struct buf out;
	size_t added = 0;

	buf_init(&out, 4096);
	mbox_quote_init(&quote);
	feed(&quote, span_first(input, first_cut), &out, &added);
	feed(&quote, span_slice(input, first_cut, second_cut - first_cut), &out, &added);
	feed(&quote, span_skip(input, second_cut), &out, &added);
	(void)buf_append(&out, mbox_quote_end(&quote));
	if (!span_equal_cstr(buf_span(&out), expected))
		print_error("%s, cut at %zu and %zu\n", name, first_cut, second_cut);
	assert_true(span_equal_cstr(buf_span(&out), expected));
	assert_int_equal(buf_len(&out) - input.len, added);
	buf_fini(&out);
}

static void
quotes_however_it_is_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(quote_cases) / sizeof(quote_cases[0]); i++) {
		struct span input = span_from_cstr(quote_cases[i].input);

		for (size_t first = 0; first <= input.len; first++)
			for (size_t second = first; second <= input.len; second++)
				check(quote_cases[i].name, input, first, second,
				      quote_cases[i].expected);
	}
}

/* What a reader does: one '>' less in every line of that form. */
static void
unquote(struct span text, struct buf *out)
{
	struct span line;

	while (text.len > 0) {
		size_t at, run = 0;
		bool whole = span_find_byte(text, '\n', &at);

		line = whole ? span_first(text, at + 1) : text;
		text = span_skip(text, line.len);
		while (run < line.len && line.data[run] == '>')
			run++;
		if (run > 0 && span_starts_with(span_skip(line, run), SPAN("From ")))
			line = span_skip(line, 1);
		(void)buf_append(out, line);
	}
}

/* All texts of six tokens: quoted they have no From_ line, unquoted they are as they were. */
static void
survives_the_way_there_and_back(void **state)
{
	static const char *const tokens[] = { "From ", "From", ">", "\n", "F", " ", "x" };
	enum { TOKENS = 7, LENGTH = 6 };
	size_t total = 1;

	(void)state;
	for (size_t i = 0; i < LENGTH; i++)
		total *= TOKENS;
	for (size_t n = 0; n < total; n++) {
		struct mbox_quote quote;
		struct buf in, out, back;
		size_t rest = n, added = 0, at;

		buf_init(&in, 256);
		buf_init(&out, 256);
		buf_init(&back, 256);
		for (size_t i = 0; i < LENGTH; i++, rest /= TOKENS)
			(void)buf_append_cstr(&in, tokens[rest % TOKENS]);
		mbox_quote_init(&quote);
		feed(&quote, buf_span(&in), &out, &added);
		(void)buf_append(&out, mbox_quote_end(&quote));
		assert_false(span_starts_with(buf_span(&out), SPAN("From ")));
		assert_false(span_find(buf_span(&out), SPAN("\nFrom "), &at));
		unquote(buf_span(&out), &back);
		assert_true(span_equal(buf_span(&back), buf_span(&in)));
		buf_fini(&in);
		buf_fini(&out);
		buf_fini(&back);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(quotes_however_it_is_cut),
		cmocka_unit_test(survives_the_way_there_and_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
