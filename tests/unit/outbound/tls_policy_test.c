#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/outbound/tls_policy.h"

static const struct {
	const char *name;
	struct tls_policy policy;
	bool named;
	enum call_tls call;
	const char *wrong;      /* what check says; NULL: fine */
} cases[] = {
	{ "named hosts are verified", { 0 }, true, CALL_TLS_VERIFY, NULL },
	{ "strangers may", { 0 }, false, CALL_TLS_MAY, NULL },
	{ "none", { .level = TLS_LEVEL_NONE }, true, CALL_TLS_NONE, NULL },
	{ "may for a named host", { .level = TLS_LEVEL_MAY }, true, CALL_TLS_MAY, NULL },
	{ "require", { .level = TLS_LEVEL_REQUIRE }, false, CALL_TLS_REQUIRE, NULL },
	{ "verify for strangers", { .level = TLS_LEVEL_VERIFY }, false, CALL_TLS_VERIFY, NULL },
	{ "fingerprint", { .level = TLS_LEVEL_FINGERPRINT, .fingerprint_count = 1 }, true,
	    CALL_TLS_FINGERPRINT, NULL },
	{ "fingerprint without one", { .level = TLS_LEVEL_FINGERPRINT }, true,
	    CALL_TLS_FINGERPRINT, "needs a fingerprint" },
	{ "a fingerprint nobody looks at", { .fingerprint_count = 1 }, true, CALL_TLS_VERIFY,
	    "does not look at it" },
	{ "implicit and verified", { .implicit = true }, true, CALL_TLS_VERIFY, NULL },
	{ "implicit and may", { .implicit = true }, false, CALL_TLS_MAY, "first byte" },
	{ "implicit and none", { .implicit = true, .level = TLS_LEVEL_NONE }, true, CALL_TLS_NONE,
	    "first byte" },
	{ "another name", { .name = "mail.example" }, true, CALL_TLS_VERIFY, NULL },
	{ "a name nobody looks at", { .name = "mail.example", .level = TLS_LEVEL_REQUIRE }, true,
	    CALL_TLS_REQUIRE, "does not look at it" },
};

static void
test_policy(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct err err = { 0 };
		int result = tls_policy_check(&cases[i].policy, cases[i].named, &err);

		print_message("policy: %s\n", cases[i].name);
		assert_int_equal(tls_policy_call(&cases[i].policy, cases[i].named),
		    cases[i].call);
		assert_int_equal(result, cases[i].wrong ? -1 : 0);
		if (cases[i].wrong)
			assert_non_null(strstr(err.text, cases[i].wrong));
	}
}

static void
test_names(void **state)
{
	static const char *const words[] = { "default", "none", "may", "require", "verify",
	    "fingerprint" };
	enum tls_level level;

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++) {
		assert_true(tls_level_parse(span_from_cstr(words[i]), &level));
		assert_string_equal(tls_level_name(level), words[i]);
	}
	assert_true(tls_level_parse(SPAN("Verify"), &level));
	assert_false(tls_level_parse(SPAN("yes"), &level));
	assert_false(tls_level_parse(SPAN(""), &level));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_policy),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
