#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/clock.h"
#include "relay/net/tls.h"
#include "tests/unit/net/net_fixture.h"

static struct test_certificates files;

/* ---- contexts from files */

static struct tls_context *
server_context(const char *certificate, const char *key, enum tls_client_auth client_auth,
    struct err *err)
{
	const struct tls_identity identities[] = {
		{ certificate, key }, { files.second, files.second_key },
	};

	return tls_server_context_new(&(struct tls_server_settings){
		.identities = identities,
		.identity_count = 2,
		.ca_file = client_auth == TLS_CLIENT_AUTH_NONE ? NULL : files.ca,
		.client_auth = client_auth,
	}, err);
}

static void
contexts_say_what_is_wrong(void **state)
{
	const struct {
		const char *name, *certificate, *key, *words;
	} cases[] = {
		{ "is good", files.good, files.good_key, NULL },
		{ "no such certificate", "/nonexistent/c.pem", files.good_key,
		  "/nonexistent/c.pem" },
		{ "no such key", files.good, "/nonexistent/k.pem", "/nonexistent/k.pem" },
		{ "key of another", files.good, files.second_key, "does not belong" },
		{ "key for certificate", files.good_key, files.good_key, files.good_key },
		{ "certificate for key", files.good, files.good, files.good },
		{ "an empty file", "/dev/null", files.good_key, "/dev/null" },
		{ "a directory", files.directory, files.good_key, files.directory },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = { 0 };
		struct tls_context *context = server_context(cases[i].certificate, cases[i].key,
		    TLS_CLIENT_AUTH_NONE, &err);

		if (!!context != !cases[i].words || (context == NULL &&
		    !strstr(err.text, cases[i].words)))
			fail_msg("%s: %s", cases[i].name, err.text);
		tls_context_unref(&context);
	}
}

static void
contexts_need_sense(void **state)
{
	const struct tls_identity identity = { files.good, files.good_key };
	struct err err;

	(void)state;
	assert_null(tls_server_context_new(&(struct tls_server_settings){ 0 }, &err));
	assert_null(tls_server_context_new(&(struct tls_server_settings){
		.identities = &identity, .identity_count = 1,
		.client_auth = TLS_CLIENT_AUTH_REQUIRE,
	}, &err));
	assert_null(tls_client_context_new(&(struct tls_client_settings){
		.ca_file = files.good_key,
	}, &err));
	assert_non_null(strstr(err.text, files.good_key));
}

static void
validity_is_known(void **state)
{
	const struct { const char *certificate, *key, *warning; } cases[] = {
		{ files.good, files.good_key, NULL },
		{ files.expired, files.expired_key, "expired" },
		{ files.future, files.future_key, "not valid yet" },
	};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct err err;
		struct tls_context *context = server_context(cases[i].certificate, cases[i].key,
		    TLS_CLIENT_AUTH_NONE, &err);
		int64_t now_ms = clock_wall_ms(clock_system());

		assert_non_null(context);
		if (cases[i].warning)
			assert_non_null(strstr(tls_context_warning(context), cases[i].warning));
		else
			assert_null(tls_context_warning(context));
		assert_true((tls_context_not_after_ms(context) < now_ms) == (i == 1));
		assert_true(tls_context_not_after_ms(context) > now_ms - INT64_C(2) * 86400000);
		tls_context_unref(&context);
	}
}

static void
fingerprints_are_read(void **state)
{
	static const struct { const char *name, *text; bool good; } cases[] = {
		{ "plain", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		  true },
		{ "upper case", "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
		  true },
		{ "colons and name", "sha256:00:01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f:"
		  "10:11:12:13:14:15:16:17:18:19:1a:1b:1c:1d:1e:1f", true },
		{ "one short", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e",
		  false },
		{ "one long", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20",
		  false },
		{ "half a byte", "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1",
		  false },
		{ "not hexadecimal",
		  "g00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e",
		  false },
		{ "nothing", "", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t out[TLS_FINGERPRINT_BYTES];
		bool good = tls_fingerprint_parse(span_from_cstr(cases[i].text), out, NULL) == 0;

		if (good != cases[i].good)
			fail_msg("%s", cases[i].name);
		for (size_t n = 0; good && n < sizeof(out); n++)
			assert_int_equal(out[n], n);
	}
}

static int
set_up(void **state)
{
	(void)state;
	test_certificates_make(&files);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	test_certificates_remove(&files);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(contexts_say_what_is_wrong),
		cmocka_unit_test(contexts_need_sense),
		cmocka_unit_test(validity_is_known),
		cmocka_unit_test(fingerprints_are_read),
	};

	return cmocka_run_group_tests_name("tls context", tests, set_up, tear_down);
}
