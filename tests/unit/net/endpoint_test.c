/* Addresses of the network as text and back, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/net/endpoint.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A literal may hold a NUL. */
#define T(literal) SPAN(literal)

static const struct {
	const char *name;
	struct span text;
	uint16_t default_port;
	const char *expected;           /* printed; NULL: refused */
} parse_cases[] = {
	{ "IPv4 with a port", T("192.0.2.1:25"), 0, "192.0.2.1:25" },
	{ "IPv4 with the default port", T("192.0.2.1"), 25, "192.0.2.1:25" },
	{ "a port wins over the default", T("192.0.2.1:2525"), 25, "192.0.2.1:2525" },
	{ "port 0", T("127.0.0.1:0"), 0, "127.0.0.1:0" },
	{ "the highest port", T("127.0.0.1:65535"), 0, "127.0.0.1:65535" },
	{ "IPv6 in brackets", T("[2001:DB8::1]:25"), 0, "[2001:db8::1]:25" },
	{ "IPv6 in brackets without a port", T("[::1]"), 25, "[::1]:25" },
	{ "bare IPv6", T("::1"), 25, "[::1]:25" },
	{ "any", T("[::]:25"), 0, "[::]:25" },
	{ "IPv4 mapped into IPv6 is IPv4", T("[::ffff:192.0.2.1]:25"), 0, "192.0.2.1:25" },
	{ "the same in hexadecimal", T("[::ffff:c000:201]:25"), 0, "192.0.2.1:25" },
	{ "an interface by number", T("[fe80::1%1]:25"), 0, "[fe80::1%1]:25" },
	{ "an interface by name", T("[fe80::1%lo]:25"), 0, "[fe80::1%1]:25" },
	{ "a unix socket", T("unix:/run/x.sock"), 0, "unix:/run/x.sock" },
	{ "nothing", T(""), 25, NULL },
	{ "no port, and no default", T("192.0.2.1"), 0, NULL },
	{ "an empty port", T("192.0.2.1:"), 25, NULL },
	{ "a port of letters", T("192.0.2.1:smtp"), 25, NULL },
	{ "a port with a sign", T("192.0.2.1:+25"), 0, NULL },
	{ "a negative port", T("192.0.2.1:-1"), 0, NULL },
	{ "a port too high", T("192.0.2.1:65536"), 0, NULL },
	{ "a port that wraps around", T("192.0.2.1:4294967321"), 0, NULL },
	{ "a blank before", T(" 192.0.2.1:25"), 0, NULL },
	{ "a blank behind", T("192.0.2.1:25 "), 0, NULL },
	{ "three numbers", T("192.0.2:25"), 0, NULL },
	{ "five numbers", T("192.0.2.1.1:25"), 0, NULL },
	{ "a number too high", T("192.0.2.256:25"), 0, NULL },
	{ "octal, which readers disagree about", T("192.0.2.010:25"), 0, NULL },
	{ "hexadecimal", T("0x7f000001:25"), 0, NULL },
	{ "a NUL in the address", T("192.0.2.1\0.evil:25"), 0, NULL },
	{ "a NUL behind the port", T("192.0.2.1:25\0"), 0, NULL },
	{ "a NUL in a path", T("unix:/run/x\0y"), 0, NULL },
	{ "a name", T("localhost:25"), 0, NULL },
	{ "brackets that stay open", T("[::1:25"), 25, NULL },
	{ "brackets around nothing", T("[]:25"), 0, NULL },
	{ "a word behind the brackets", T("[::1]x:25"), 0, NULL },
	{ "two pairs of brackets", T("[[::1]]:25"), 0, NULL },
	{ "too many groups", T("[1:2:3:4:5:6:7:8:9]:25"), 0, NULL },
	{ "two gaps", T("[1::2::3]:25"), 0, NULL },
	{ "an empty interface", T("[fe80::1%]:25"), 0, NULL },
	{ "interface 0", T("[fe80::1%0]:25"), 0, NULL },
	{ "an interface that is not there", T("[fe80::1%nosuchif0]:25"), 0, NULL },
	{ "an interface of IPv4", T("192.0.2.1%lo:25"), 0, NULL },
	{ "a mapped address on an interface", T("[::ffff:192.0.2.1%lo]:25"), 0, NULL },
	{ "an interface with a long name", T("[fe80::1%aaaaaaaaaaaaaaaaaaaaaaaaaaaaa]:25"), 0,
	    NULL },
	{ "unix without a path", T("unix:"), 0, NULL },
	{ "unix with a path too long", T("unix:/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), 0, NULL },
};

static void
test_parse(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(parse_cases); i++) {
		struct endpoint endpoint;
		char text[ENDPOINT_TEXT_BYTES_MAX];
		struct err err = { .kind = ERR_NONE };
		int result = endpoint_parse(parse_cases[i].text, parse_cases[i].default_port,
		    &endpoint, &err);

		if ((result == 0) != (parse_cases[i].expected != NULL))
			fail_msg("%s: %s", parse_cases[i].name, result ? err.text : "taken");
		if (result < 0) {
			assert_true(err.text[0] != '\0');
			continue;
		}
		if (strcmp(endpoint_print(&endpoint, text), parse_cases[i].expected) != 0)
			fail_msg("%s: %s", parse_cases[i].name, text);
		/* What is printed is read as the same. */
		struct endpoint again;

		assert_int_equal(endpoint_parse(span_from_cstr(text), 0, &again, &err), 0);
		assert_int_equal(endpoint_compare(&endpoint, &again), 0);
	}
}

static const struct {
	const char *name;
	struct span text;
	const char *host;               /* NULL: refused */
	uint16_t port;
	bool is_endpoint;
} host_cases[] = {
	{ "a name with a port", T("mbox1:2424"), "mbox1", 2424, false },
	{ "a name alone", T("mbox1"), "mbox1", 25, false },
	{ "in lower case, without the last dot", T("Mx.Example.NET.:26"), "mx.example.net", 26,
	    false },
	{ "an underscore", T("_smtp.example"), "_smtp.example", 25, false },
	{ "digits and letters", T("1a.2b"), "1a.2b", 25, false },
	{ "an IPv4 address", T("192.0.2.1:26"), "192.0.2.1", 26, true },
	{ "an IPv6 address", T("[2001:DB8::1]"), "2001:db8::1", 25, true },
	{ "nothing", T(""), NULL, 0, false },
	{ "a port alone", T(":25"), NULL, 0, false },
	{ "port 0", T("mbox1:0"), NULL, 0, false },
	{ "a dot", T("."), NULL, 0, false },
	{ "a dot first", T(".example"), NULL, 0, false },
	{ "two dots", T("a..b"), NULL, 0, false },
	{ "two dots at the end", T("a.."), NULL, 0, false },
	{ "a hyphen first", T("-a.example"), NULL, 0, false },
	{ "a hyphen last", T("a-.example"), NULL, 0, false },
	{ "a blank", T("a b"), NULL, 0, false },
	{ "a slash", T("a/b"), NULL, 0, false },
	{ "an octet above 127", T("caf\xc3\xa9.example"), NULL, 0, false },
	{ "a NUL", T("a\0b"), NULL, 0, false },
	{ "a line break", T("a\nb"), NULL, 0, false },
	/* A misspelt address would be sought in DNS for ever. */
	{ "an address that is none", T("192.0.2.256"), NULL, 0, false },
	{ "a number", T("2130706433"), NULL, 0, false },
	{ "a label too long",
	    T("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example"), NULL, 0,
	    false },
};

static void
test_host_port(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(host_cases); i++) {
		struct host_port got;
		struct err err = { .kind = ERR_NONE };
		int result = host_port_parse(host_cases[i].text, 25, &got, &err);

		if ((result == 0) != (host_cases[i].host != NULL))
			fail_msg("%s: %s", host_cases[i].name, result ? err.text : "taken");
		if (result < 0)
			continue;
		assert_string_equal(got.host, host_cases[i].host);
		assert_int_equal(got.port, host_cases[i].port);
		assert_int_equal(got.is_endpoint, host_cases[i].is_endpoint);
	}
}

static void
test_host_too_long(void **state)
{
	char name[300];
	struct host_port got;
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(name); i++)
		name[i] = i % 2 ? '.' : 'a';
	assert_int_equal(host_port_parse(span_make(name, 253), 25, &got, &err), 0);
	assert_int_equal(host_port_parse(span_make(name, 255), 25, &got, &err), -1);
}

static struct endpoint
of(const char *text)
{
	struct endpoint endpoint;
	struct err err;

	assert_int_equal(endpoint_parse(span_from_cstr(text), 25, &endpoint, &err), 0);
	return endpoint;
}

static const struct {
	const char *a, *b;
	bool same, same_ip;
} compare_cases[] = {
	{ "192.0.2.1:25", "192.0.2.1:25", true, true },
	{ "192.0.2.1:25", "192.0.2.1:26", false, true },
	{ "192.0.2.1:25", "192.0.2.2:25", false, false },
	{ "192.0.2.1:25", "[::c000:201]:25", false, false },
	{ "192.0.2.1:25", "[::ffff:192.0.2.1]:25", true, true },
	{ "[fe80::1%1]:25", "[fe80::1%2]:25", false, false },
	{ "unix:/a", "unix:/a", true, false },
	{ "unix:/a", "unix:/ab", false, false },
	{ "unix:/a", "192.0.2.1:25", false, false },
};

static void
test_compare(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(compare_cases); i++) {
		struct endpoint a = of(compare_cases[i].a), b = of(compare_cases[i].b);
		int there = endpoint_compare(&a, &b), back = endpoint_compare(&b, &a);

		if ((there == 0) != compare_cases[i].same || (there < 0) != (back > 0) ||
		    endpoint_same_ip(&a, &b) != compare_cases[i].same_ip)
			fail_msg("%s and %s", compare_cases[i].a, compare_cases[i].b);
	}
}

static const struct {
	const char *address;
	bool loopback, unspecified;
	const char *network;            /* /24 or /56, as its first address; NULL: none */
} kind_cases[] = {
	{ "127.0.0.1:1", true, false, "127.0.0.0:1" },
	{ "127.255.0.9:1", true, false, "127.255.0.0:1" },
	{ "[::1]:1", true, false, "[::]:1" },
	{ "0.0.0.0:1", false, true, "0.0.0.0:1" },
	{ "[::]:1", false, true, "[::]:1" },
	{ "192.0.2.77:1", false, false, "192.0.2.0:1" },
	{ "[2001:db8:1:2ff:3::4]:1", false, false, "[2001:db8:1:200::]:1" },
	{ "unix:/x", true, false, NULL },
};

static void
test_kinds(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(kind_cases); i++) {
		struct endpoint endpoint = of(kind_cases[i].address), first;
		struct network network = { .prefix_bits = 0 };
		uint8_t ip[16];

		if (endpoint_is_loopback(&endpoint) != kind_cases[i].loopback ||
		    endpoint_is_unspecified(&endpoint) != kind_cases[i].unspecified)
			fail_msg("%s", kind_cases[i].address);
		assert_int_equal(endpoint_network(&endpoint, 24, 56, &network),
		    kind_cases[i].network != NULL);
		if (!kind_cases[i].network)
			continue;
		first = of(kind_cases[i].network);
		assert_true(endpoint_ip16(&first, ip));
		assert_memory_equal(ip, network.bytes, sizeof(ip));
		assert_true(endpoint_is_in(&endpoint, &network));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_host_port),
		cmocka_unit_test(test_host_too_long),
		cmocka_unit_test(test_compare),
		cmocka_unit_test(test_kinds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
