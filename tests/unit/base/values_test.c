#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/base32.h"
#include "relay/base/base64.h"
#include "relay/base/clock.h"
#include "relay/base/crc32c.h"
#include "relay/base/digest.h"
#include "relay/base/network.h"
#include "relay/base/random.h"
#include "relay/base/units.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void
crc32c_has_the_known_values(void **state)
{
	char zeros[32] = { 0 };
	char ones[32];
	char noise[1024];
	struct random_seeded random;

	(void)state;
	/* RFC 3720 appendix B.4. */
	memset(ones, 0xff, sizeof(ones));
	assert_int_equal(crc32c(0, zeros, 32), 0x8a9136aa);
	assert_int_equal(crc32c(0, ones, 32), 0x62a8ab43);
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c_by_table(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(0, "", 0), 0);

	random_init_seeded(&random, 2);
	random_fill(&random.random, noise, sizeof(noise));
	for (size_t len = 0; len < 100; len++) {
		uint32_t whole = crc32c(0, noise, len + 50);

		assert_int_equal(whole, crc32c_by_table(0, noise, len + 50));
		assert_int_equal(whole, crc32c(crc32c(0, noise, len), noise + len, 50));
	}
}

static void
base32_orders_and_reads_ids(void **state)
{
	static const char *const bad[] = {
		"", "000000000000", "00000000000000", "G000000000000", "000000000000U",
		    "00000000000-0",
	};
	struct random_seeded random;
	char text[BASE32_U64_BYTES], other[BASE32_U64_BYTES];
	uint64_t value;

	(void)state;
	base32_print_u64(UINT64_MAX, text);
	assert_string_equal(text, "FZZZZZZZZZZZZ");
	assert_true(base32_parse_u64(SPAN("oOiIlL0000000"), &value));
	base32_print_u64(value, text);
	assert_string_equal(text, "0011110000000");
	random_init_seeded(&random, 1);
	for (int i = 0; i < 10000; i++) {
		uint64_t a = random_u64(&random.random) >> random_below(&random.random, 64);
		uint64_t b = random_u64(&random.random) >> random_below(&random.random, 64);

		base32_print_u64(a, text);
		base32_print_u64(b, other);
		assert_true(base32_parse_u64(span_from_cstr(text), &value) && value == a);
		assert_int_equal(strcmp(text, other) < 0, a < b);
	}
	for (size_t i = 0; i < COUNT(bad); i++)
		assert_false(base32_parse_u64(span_from_cstr(bad[i]), &value));
}

static void
base64_is_strict(void **state)
{
	static const struct { const char *plain, *text; } good[] = {    /* RFC 4648 section 10 */
		{ "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" },
		{ "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" },
	};
	static const char *const bad[] = {
		"Z", "Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "=", "====", "Z===", "Zg==Zg==", "Zm 9",
		"Zm9v\n", "Z-_9", "Zm9\xff",
	};
	struct buf out;

	(void)state;
	buf_init(&out, 64);
	for (size_t i = 0; i < COUNT(good); i++) {
		buf_clear(&out);
		assert_int_equal(base64_encode(span_from_cstr(good[i].plain), &out), 0);
		assert_string_equal(buf_cstr(&out), good[i].text);
		buf_clear(&out);
		assert_int_equal(base64_decode(span_from_cstr(good[i].text), &out, NULL), 0);
		assert_string_equal(buf_cstr(&out), good[i].plain);
	}
	buf_clear(&out);
	for (size_t i = 0; i < COUNT(bad); i++)
		if (base64_decode(span_from_cstr(bad[i]), &out, NULL) == 0 || buf_len(&out) != 0)
			fail_msg("accepted %s", bad[i]);
	buf_fini(&out);
	buf_init(&out, 3);
	assert_int_equal(base64_encode(SPAN("f"), &out), -1);
	assert_int_equal(base64_decode(SPAN("Zm9vYg=="), &out, NULL), -1);
	assert_int_equal(buf_len(&out), 0);
	buf_fini(&out);
}

static void
digest_is_sha256(void **state)
{
	static const char abc[] =
	    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
	static const char empty[] =
	    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
	uint8_t value[DIGEST_BYTES];
	char text[DIGEST_HEX_BYTES];
	struct digest digest;

	(void)state;
	digest_of(SPAN("abc"), value);
	digest_print_hex(value, text);
	assert_string_equal(text, abc);
	digest_init(&digest);
	digest_update(&digest, SPAN("a"));
	digest_peek(&digest, value);
	digest_update(&digest, SPAN("bc"));
	digest_final(&digest, value);
	digest_print_hex(value, text);
	assert_string_equal(text, abc);
	digest_update(&digest, SPAN("x"));
	digest_restart(&digest);
	digest_final(&digest, value);
	digest_print_hex(value, text);
	assert_string_equal(text, empty);
	digest_fini(&digest);
}

static const struct {
	const char *text;
	bool is_good;
	uint64_t value;
	const char *printed;
} duration_cases[] = {
	{ "0", true, 0, "0" },
	{ "250ms", true, 250, "250ms" },
	{ "90s", true, 90000, "1m30s" },
	{ "1d12h", true, 129600000, "1d12h" },
	{ "2w", true, 1209600000, "2w" },
	{ "15d", true, 1296000000, "15d" },
	{ "1m1ms", true, 60001, "1m1ms" },
	{ "5", false, 0, NULL },
	{ "", false, 0, NULL },
	{ "m", false, 0, NULL },
	{ "5 m", false, 0, NULL },
	{ "12h1d", false, 0, NULL },
	{ "1h1h", false, 0, NULL },
	{ "-1s", false, 0, NULL },
	{ "1.5h", false, 0, NULL },
	{ "5M", false, 0, NULL },
	{ "99999999999999999w", false, 0, NULL },
}, size_cases[] = {
	{ "0", true, 0, "0" },
	{ "512", true, 512, "512" },
	{ "1000", true, 1000, "1000" },
	{ "64k", true, 65536, "64k" },
	{ "64K", true, 65536, "64k" },
	{ "10MB", true, 10485760, "10M" },
	{ "10MiB", true, 10485760, "10M" },
	{ "3G", true, 3221225472, "3G" },
	{ "2T", true, 2199023255552, "2T" },
	{ "1024k", true, 1048576, "1M" },
	{ "10X", false, 0, NULL },
	{ "", false, 0, NULL },
	{ "k", false, 0, NULL },
	{ "1k2", false, 0, NULL },
	{ "-1", false, 0, NULL },
	{ "1 M", false, 0, NULL },
	{ "99999999999T", false, 0, NULL },
};

static void
units_read_and_write(void **state)
{
	char text[UNITS_TEXT_BYTES];
	struct err err;

	(void)state;
	for (size_t i = 0; i < COUNT(duration_cases); i++) {
		uint64_t value = 0;
		bool is_good = units_parse_duration(span_from_cstr(duration_cases[i].text), &value,
		    &err) == 0;

		if (is_good != duration_cases[i].is_good || value != duration_cases[i].value)
			fail_msg("%s", duration_cases[i].text);
		units_print_duration(value, text);
		if (is_good)
			assert_string_equal(text, duration_cases[i].printed);
	}
	for (size_t i = 0; i < COUNT(size_cases); i++) {
		uint64_t value = 0;
		bool is_good = units_parse_size(span_from_cstr(size_cases[i].text), &value,
		    &err) == 0;

		if (is_good != size_cases[i].is_good || value != size_cases[i].value)
			fail_msg("%s", size_cases[i].text);
		units_print_size(value, text);
		if (is_good)
			assert_string_equal(text, size_cases[i].printed);
	}
	units_print_duration_short(183600000, text);
	assert_string_equal(text, "2d 3h");
	units_print_duration_short(350, text);
	assert_string_equal(text, "350ms");
	units_print_duration_short(1999, text);
	assert_string_equal(text, "1s");
	units_print_size_short(10905190, text);
	assert_string_equal(text, "10.4 MB");
}

static void
units_print_what_they_read(void **state)
{
	struct random_seeded random;

	(void)state;
	random_init_seeded(&random, 4);
	for (int i = 0; i < 20000; i++) {
		uint64_t value = random_u64(&random.random) >> (1 + random_below(&random.random,
		    63));
		uint64_t again = 0;
		char text[UNITS_TEXT_BYTES];

		units_print_duration(value, text);
		assert_int_equal(units_parse_duration(span_from_cstr(text), &again, NULL), 0);
		assert_true(again == value);
		units_print_size(value, text);
		assert_int_equal(units_parse_size(span_from_cstr(text), &again, NULL), 0);
		assert_true(again == value);
	}
}

static const struct {
	const char *network, *address;
	bool has;
} network_cases[] = {
	{ "127.0.0.0/8", "127.255.255.255", true },
	{ "127.0.0.0/8", "128.0.0.0", false },
	{ "192.0.2.1", "192.0.2.1", true },
	{ "192.0.2.1", "192.0.2.2", false },
	{ "192.0.2.0/25", "192.0.2.127", true },
	{ "192.0.2.0/25", "192.0.2.128", false },
	{ "0.0.0.0/0", "203.0.113.9", true },
	{ "0.0.0.0/0", "2001:db8::1", false },
	{ "::/0", "2001:db8::1", true },
	{ "::/0", "203.0.113.9", false },
	{ "2001:db8::/33", "2001:db8:7fff::1", true },
	{ "2001:db8::/33", "2001:db8:8000::1", false },
	{ "::1", "::1", true },
};

static void
networks_have_addresses(void **state)
{
	static const char *const bad[] = {
		"", "/8", "1.2.3", "1.2.3.4/33", "::/129", "1.2.3.4/", "10.0.0.1/8", "x",
		    "1.2.3.4/-1",
		"2001:db8::1/32", "1.2.3.4/8/8", "[::1",
	};
	char text[NETWORK_TEXT_BYTES];
	struct network network, one;

	(void)state;
	for (size_t i = 0; i < COUNT(network_cases); i++) {
		assert_int_equal(network_parse(span_from_cstr(network_cases[i].network), &network,
		    NULL), 0);
		network_print(&network, text);
		assert_string_equal(text, network_cases[i].network);
		assert_int_equal(network_parse(span_from_cstr(network_cases[i].address), &one,
		    NULL), 0);
		if (network_has(&network, one.bytes) != network_cases[i].has)
			fail_msg("%s %s", network_cases[i].network, network_cases[i].address);
	}
	for (size_t i = 0; i < COUNT(bad); i++)
		if (network_parse(span_from_cstr(bad[i]), &network, NULL) == 0)
			fail_msg("accepted %s", bad[i]);
}

static void
clock_goes_when_told(void **state)
{
	struct clock_manual manual;
	char text[CLOCK_TEXT_BYTES];

	(void)state;
	clock_manual_init(&manual, 5, 1000);
	clock_manual_advance_ms(&manual, 10);
	clock_manual_step_wall_ms(&manual, -500);
	assert_int_equal(clock_monotonic_ms(&manual.clock), 15);
	assert_int_equal(clock_wall_ms(&manual.clock), 510);
	clock_print_iso(-1, text);
	assert_string_equal(text, "1970-01-01T00:00:00.999Z");
	clock_print_iso(INT64_MAX, text);
	assert_string_equal(text, "9999-12-31T23:59:59.807Z");
	clock_print_rfc5322(1709208000000, text);
	assert_string_equal(text, "Thu, 29 Feb 2024 12:00:00 +0000");

	uint64_t before = clock_monotonic_us(clock_system());

	assert_true(clock_monotonic_us(clock_system()) >= before);
	assert_true(clock_wall_ms(clock_system()) > 1600000000000);
}

static void
random_is_even_and_repeats(void **state)
{
	struct random_seeded one, two;
	struct random system;
	unsigned int counts[7] = { 0 };

	(void)state;
	random_init_seeded(&one, 0);
	random_init_seeded(&two, 0);
	for (int i = 0; i < 70000; i++) {
		uint64_t value = random_below(&one.random, 7);

		assert_true(value < 7);
		counts[value]++;
		assert_true(random_below(&two.random, 7) == value);
	}
	for (size_t i = 0; i < 7; i++)
		assert_in_range(counts[i], 9500, 10500);
	for (int i = 0; i < 1000; i++)
		assert_in_range(random_jitter(&one.random, 1000, 10), 900, 1100);
	assert_int_equal(random_jitter(&one.random, 1000, 0), 1000);
	assert_true(random_jitter(&one.random, UINT64_MAX, 10) > 0);
	random_init_system(&system);
	assert_true(random_u64(&system) != random_u64(&system));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc32c_has_the_known_values),
		cmocka_unit_test(base32_orders_and_reads_ids),
		cmocka_unit_test(base64_is_strict),
		cmocka_unit_test(digest_is_sha256),
		cmocka_unit_test(units_read_and_write),
		cmocka_unit_test(units_print_what_they_read),
		cmocka_unit_test(networks_have_addresses),
		cmocka_unit_test(clock_goes_when_told),
		cmocka_unit_test(random_is_even_and_repeats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
