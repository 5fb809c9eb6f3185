#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/buf.h"
#include "relay/net/proxy_header.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define TEXT(text) { text, sizeof(text) - 1 }
#define IPV4 "\xc0\0\x02\x07\xc6\x33\x64\x01\xd4\x31\0\x19"
#define MAPPED "\0\0\0\0\0\0\0\0\0\0\xff\xff"
#define LONG_LINE "                                                                             "

/* Text of the client and the server; NULL and PROXY_DONE: the connection is what it is. */
static const struct {
	const char *name;
	struct span input;
	enum proxy_parse expected;
	const char *client, *server;
} cases[] = {
	{ "v1, IPv4", TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 54321 25\r\n"), PROXY_DONE,
	  "192.0.2.7:54321", "198.51.100.1:25" },
	{ "v1, IPv6", TEXT("PROXY TCP6 2001:db8::7 2001:db8::1 1 65535\r\n"), PROXY_DONE,
	  "[2001:db8::7]:1", "[2001:db8::1]:65535" },
	{ "v1, the longest", TEXT("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
	  "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"), PROXY_DONE,
	  "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
	  "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535" },
	{ "v1, IPv4 in IPv6", TEXT("PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.1 1 2\r\n"),
	  PROXY_DONE, "192.0.2.7:1", "192.0.2.1:2" },
	{ "v1, unknown", TEXT("PROXY UNKNOWN\r\n"), PROXY_DONE, NULL, NULL },
	{ "v1, unknown with words", TEXT("PROXY UNKNOWN ffff:: ffff:: 65535 65535\r\n"), PROXY_DONE,
	  NULL, NULL },
	{ "v1, half a line", TEXT("PROXY TCP4 192.0.2.7 198.51"), PROXY_MORE, NULL, NULL },
	{ "v1, all but the lf", TEXT("PROXY UNKNOWN\r"), PROXY_MORE, NULL, NULL },
	{ "v1, another family", TEXT("PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n"), PROXY_BAD,
	  NULL, NULL },
	{ "v1, IPv4 said to be IPv6", TEXT("PROXY TCP6 192.0.2.7 192.0.2.1 1 2\r\n"), PROXY_BAD,
	  NULL, NULL },
	{ "v1, two families", TEXT("PROXY TCP4 192.0.2.7 2001:db8::1 1 2\r\n"), PROXY_BAD, NULL,
	  NULL },
	{ "v1, UDP", TEXT("PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n"), PROXY_BAD, NULL, NULL },
	{ "v1, small letters", TEXT("proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n"), PROXY_BAD, NULL,
	  NULL },
	{ "v1, a port too large", TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 65536 2\r\n"), PROXY_BAD,
	  NULL, NULL },
	{ "v1, a port with a zero", TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n"), PROXY_BAD,
	  NULL, NULL },
	{ "v1, a port below zero", TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 -1 2\r\n"), PROXY_BAD,
	  NULL, NULL },
	{ "v1, no ports", TEXT("PROXY TCP4 192.0.2.7 198.51.100.1\r\n"), PROXY_BAD, NULL, NULL },
	{ "v1, a word too many", TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 1 2 3\r\n"), PROXY_BAD,
	  NULL, NULL },
	{ "v1, two blanks", TEXT("PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n"), PROXY_BAD, NULL,
	  NULL },
	{ "v1, a name", TEXT("PROXY TCP4 localhost 198.51.100.1 1 2\r\n"), PROXY_BAD, NULL, NULL },
	{ "v1, a short address", TEXT("PROXY TCP4 192.0.2 198.51.100.1 1 2\r\n"), PROXY_BAD, NULL,
	  NULL },
	{ "v1, a bare lf", TEXT("PROXY TCP4 192.0.2.7 198.51.100.1 1 2\nEHLO x\r\n"), PROXY_BAD,
	  NULL, NULL },
	{ "v1, a NUL", TEXT("PROXY TCP4 192.0.2.7\0 198.51.100.1 1 2\r\n"), PROXY_BAD, NULL, NULL },
	{ "v1, an endless line", TEXT("PROXY UNKNOWN " LONG_LINE LONG_LINE), PROXY_BAD, NULL,
	  NULL },
	{ "a client without proxy", TEXT("EHLO client.example\r\n"), PROXY_BAD, NULL, NULL },
	{ "TLS", TEXT("\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"), PROXY_BAD, NULL, NULL },
	{ "nearly", TEXT("POST / HTTP/1.1\r\n"), PROXY_BAD, NULL, NULL },
	{ "nothing", TEXT(""), PROXY_MORE, NULL, NULL },

	{ "v2, IPv4", TEXT(SIGNATURE "\x21\x11\0\x0c" IPV4), PROXY_DONE, "192.0.2.7:54321",
	  "198.51.100.1:25" },
	{ "v2, IPv4 and TLVs", TEXT(SIGNATURE "\x21\x11\0\x13" IPV4 "\x03\0\x04" "crc!"),
	  PROXY_DONE, "192.0.2.7:54321", "198.51.100.1:25" },
	{ "v2, broken TLVs are skipped too", TEXT(SIGNATURE "\x21\x11\0\x0f" IPV4 "\x03\xff\xff"),
	  PROXY_DONE, "192.0.2.7:54321", "198.51.100.1:25" },
	{ "v2, IPv6", TEXT(SIGNATURE "\x21\x21\0\x24\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07"
	  "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\0\x01\0\x02"), PROXY_DONE,
	  "[2001:db8::7]:1", "[2001:db8::1]:2" },
	{ "v2, IPv4 in IPv6", TEXT(SIGNATURE "\x21\x21\0\x24" MAPPED "\xc0\0\x02\x07" MAPPED
	  "\xc0\0\x02\x01\0\x01\0\x02"), PROXY_DONE, "192.0.2.7:1", "192.0.2.1:2" },
	{ "v2, local", TEXT(SIGNATURE "\x20\0\0\0"), PROXY_DONE, NULL, NULL },
	{ "v2, local with addresses", TEXT(SIGNATURE "\x20\x11\0\x0c" IPV4), PROXY_DONE, NULL,
	  NULL },
	{ "v2, unspecified", TEXT(SIGNATURE "\x21\0\0\x03" "abc"), PROXY_DONE, NULL, NULL },
	{ "v2, a unix socket", TEXT(SIGNATURE "\x21\x31\0\x02" "ab"), PROXY_DONE, NULL, NULL },
	{ "v2, half a head", TEXT(SIGNATURE "\x21\x11\0"), PROXY_MORE, NULL, NULL },
	{ "v2, half an address", TEXT(SIGNATURE "\x21\x11\0\x0c\xc0\0\x02"), PROXY_MORE, NULL,
	  NULL },
	{ "v2, too short for its family", TEXT(SIGNATURE "\x21\x11\0\x0b\xc0\0\x02\x07\xc6\x33\x64"
	  "\x01\xd4\x31\0"), PROXY_BAD, NULL, NULL },
	{ "v2, IPv6 too short", TEXT(SIGNATURE "\x21\x21\0\x0c" IPV4), PROXY_BAD, NULL, NULL },
	{ "v2, UDP", TEXT(SIGNATURE "\x21\x12\0\x0c" IPV4), PROXY_BAD, NULL, NULL },
	{ "v2, a family of tomorrow", TEXT(SIGNATURE "\x21\x41\0\x0c" IPV4), PROXY_BAD, NULL,
	  NULL },
	{ "v2, version 1", TEXT(SIGNATURE "\x11\x11\0\x0c" IPV4), PROXY_BAD, NULL, NULL },
	{ "v2, version 3", TEXT(SIGNATURE "\x31\x11\0\x0c" IPV4), PROXY_BAD, NULL, NULL },
	{ "v2, another command", TEXT(SIGNATURE "\x22\x11\0\x0c" IPV4), PROXY_BAD, NULL, NULL },
	{ "v2, longer than we read", TEXT(SIGNATURE "\x21\x11\xff\xff" IPV4), PROXY_BAD, NULL,
	  NULL },
	{ "v2, another signature", TEXT("\r\n\r\n\0\r\nQUIT\r\x21\x11\0\x0c" IPV4), PROXY_BAD,
	  NULL, NULL },
};

static void
check_endpoint(const char *name, const struct endpoint *endpoint, const char *expected)
{
	char text[ENDPOINT_TEXT_BYTES_MAX];

	if (strcmp(endpoint_print(endpoint, text), expected) != 0)
		fail_msg("%s: %s", name, text);
}

/* As a reader does it: never more than was wanted, and never anything behind the header. */
static enum proxy_parse
read_as_wanted(struct span input, struct proxy_header *header, size_t *read_out)
{
	size_t have = 0;

	for (;;) {
		enum proxy_parse parse = proxy_header_parse(span_first(input, have), header);

		*read_out = have;
		if (parse != PROXY_MORE)
			return parse;
		assert_true(header->wanted > 0);
		if (have == input.len)
			return PROXY_MORE;
		have += header->wanted < input.len - have ? header->wanted : input.len - have;
	}
}

static void
test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct proxy_header header;
		struct buf input;
		size_t read;

		if (read_as_wanted(cases[i].input, &header, &read) != cases[i].expected)
			fail_msg("%s: otherwise (%s)", cases[i].name, header.why ? header.why : "");
		if (cases[i].expected == PROXY_BAD)
			assert_non_null(header.why);
		if (cases[i].expected != PROXY_DONE)
			continue;
		assert_int_equal(read, cases[i].input.len);
		assert_int_equal(header.has_addresses, cases[i].client != NULL);
		if (cases[i].client) {
			check_endpoint(cases[i].name, &header.client, cases[i].client);
			check_endpoint(cases[i].name, &header.server, cases[i].server);
		}
		/* What stands behind it is not touched. */
		buf_init(&input, 4096);
		(void)buf_append(&input, cases[i].input);
		(void)buf_append(&input, SPAN("EHLO x\r\n"));
		assert_int_equal(read_as_wanted(buf_span(&input), &header, &read), PROXY_DONE);
		assert_int_equal(read, cases[i].input.len);
		buf_fini(&input);
	}
}

/* Every beginning of a good header wants more, and every octet changed is survived. */
static void
test_pieces_and_changes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct span whole = cases[i].input;
		char changed[256];
		struct proxy_header header;

		for (size_t len = 0; cases[i].expected == PROXY_DONE && len < whole.len; len++)
			if (proxy_header_parse(span_first(whole, len), &header) != PROXY_MORE ||
			    header.wanted > whole.len - len)
				fail_msg("%s: cut after %zu", cases[i].name, len);
		if (whole.len > sizeof(changed))
			continue;
		for (size_t at = 0; at < whole.len; at++)
			for (unsigned int octet = 0; octet < 256; octet++) {
				memcpy(changed, whole.data, whole.len);
				changed[at] = (char)octet;
				(void)proxy_header_parse(span_make(changed, whole.len), &header);
			}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_pieces_and_changes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
