#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/inbound/completion.h"

#define DATE "Date: Sun, 01 Mar 2026 12:00:00 +0000\r\n"
#define ID "Message-ID: <x@y>\r\n"
#define ADDED_DATE "Date: Thu, 01 Jan 1970 00:00:00 +0000\r\n"
#define ADDED_ID "Message-ID: <0000000000001.0@relay.example>\r\n"

static const struct {
	const char *name, *before, *after;
} cases[] = {
	{ "all is there", DATE ID "\r\nbody\r\n", DATE ID "\r\nbody\r\n" },
	{ "in another case and place", "message-id : <x@y>\r\nX: y\r\nDATE:\r\n now\r\n\r\n",
	  "message-id : <x@y>\r\nX: y\r\nDATE:\r\n now\r\n\r\n" },
	{ "nothing is there", "Subject: x\r\n\r\nbody\r\n",
	  "Subject: x\r\n" ADDED_DATE ADDED_ID "\r\nbody\r\n" },
	{ "only the date is", DATE "\r\nbody\r\n", DATE ADDED_ID "\r\nbody\r\n" },
	{ "only the id is", ID "\r\nbody\r\n", ID ADDED_DATE "\r\nbody\r\n" },
	{ "no header at all", "\r\nDate: in the body\r\n",
	  ADDED_DATE ADDED_ID "\r\nDate: in the body\r\n" },
	{ "nothing but a header", "Subject: x\r\n", "Subject: x\r\n" ADDED_DATE ADDED_ID },
	{ "nothing at all", "", "" },
	{ "in a fold it is text", "Subject: x\r\n Date: y\r\n\r\n",
	  "Subject: x\r\n Date: y\r\n" ADDED_DATE ADDED_ID "\r\n" },
	{ "names that only begin alike", "Date-X: y\r\nMessage-ID-X: z\r\nResent-Date: x\r\n\r\n",
	  "Date-X: y\r\nMessage-ID-X: z\r\nResent-Date: x\r\n" ADDED_DATE ADDED_ID "\r\n" },
	{ "a long name", "Message-ID-of-somebody-else-entirely: z\r\n\r\n",
	  "Message-ID-of-somebody-else-entirely: z\r\n" ADDED_DATE ADDED_ID "\r\n" },
	{ "a letter without header stays one", "Hello, Ann.\r\n\r\nbody\r\n",
	  "Hello, Ann.\r\n\r\nbody\r\n" },
	{ "a fold of nothing", " x\r\n\r\nbody\r\n", " x\r\n\r\nbody\r\n" },
	{ "an empty name", ": x\r\n\r\nbody\r\n", ": x\r\n\r\nbody\r\n" },
	{ "a line that is no field", "Subject: x\r\nwhat\r\n\r\n", "Subject: x\r\nwhat\r\n\r\n" },
	{ "8-bit in a name", "Caf\xc3\xa9: x\r\n\r\n", "Caf\xc3\xa9: x\r\n\r\n" },
};

static void
complete(struct span input, size_t piece, struct buf *out)
{
	struct completion completion;

	completion_init(&completion);
	while (input.len > 0) {
		struct span some = span_first(input, piece);
		bool is_here;
		size_t before = completion_scan(&completion, some, &is_here);

		(void)buf_append(out, span_first(some, before));
		if (is_here)
			completion_fields(&completion, 1, 0, SPAN("relay.example"), out);
		input = span_skip(input, before);
		if (before == 0 && !is_here)
			fail_msg("no octet was looked at");
	}
	if (completion_at_end(&completion))
		completion_fields(&completion, 1, 0, SPAN("relay.example"), out);
}

static void
test_cases(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t piece = 1; piece < 60; piece++) {
			buf_clear(&out);
			complete(span_from_cstr(cases[i].before), piece, &out);
			if (!span_equal_cstr(buf_span(&out), cases[i].after))
				fail_msg("%s, in pieces of %zu:\n%s", cases[i].name, piece,
				    buf_cstr(&out));
		}
	buf_fini(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
