#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/outbound/mx.h"

/* "10 mx1, 20 mx2" becomes an answer; "." is the null MX. */
static size_t
parse(const char *text, struct resolver_mx *mx)
{
	struct span rest = span_from_cstr(text), part, preference, host;
	size_t count = 0;
	uint32_t number;

	while (span_take_part(&rest, ',', &part)) {
		part = span_trim(part);
		if (span_is_empty(part))
			continue;
		assert_true(span_split(part, ' ', &preference, &host));
		assert_true(span_parse_u32(preference, UINT16_MAX, &number));
		mx[count].preference = (uint16_t)number;
		memset(mx[count].host, 0, sizeof(mx[count].host));
		if (!span_equal_cstr(host, "."))
			memcpy(mx[count].host, host.data, host.len);
		count++;
	}
	return count;
}

static const struct {
	const char *name;
	enum resolver_status status;
	const char *answer;
	enum mx_verdict verdict;
	const char *hosts;      /* "mx1 mx2" */
} cases[] = {
	{ "one", RESOLVER_OK, "10 mx1.example", MX_HOSTS, "mx1.example" },
	{ "by preference, then by name", RESOLVER_OK, "20 c, 10 b, 10 a", MX_HOSTS, "a b c" },
	{ "twice the same", RESOLVER_OK, "20 a, 10 a, 10 b", MX_HOSTS, "a b" },
	{ "null MX", RESOLVER_OK, "0 .", MX_NULL, "" },
	{ "null MX beside others means nothing", RESOLVER_OK, "0 ., 10 a", MX_HOSTS, "a" },
	{ "our own name cuts", RESOLVER_OK, "5 a, 10 US.example, 20 b", MX_HOSTS, "a" },
	{ "also those beside us", RESOLVER_OK, "5 a, 10 b, 10 us.example", MX_HOSTS, "a" },
	{ "we are the best", RESOLVER_OK, "5 us.example, 10 b", MX_LOOP, "" },
	{ "we are the only one", RESOLVER_OK, "5 us.example", MX_LOOP, "" },
	{ "we stand in it twice", RESOLVER_OK, "5 a, 7 us.example, 3 us.example", MX_LOOP, "" },
	{ "localhost is nobody", RESOLVER_OK, "5 localhost, 10 a", MX_HOSTS, "a" },
	{ "nothing but localhost", RESOLVER_OK, "5 localhost", MX_TEMPORARY, "" },
	{ "no MX", RESOLVER_NODATA, "", MX_IMPLICIT, "" },
	{ "no domain, they say", RESOLVER_NXDOMAIN, "", MX_IMPLICIT, "" },
	{ "SERVFAIL, silence, lies", RESOLVER_TEMPORARY, "", MX_TEMPORARY, "" },
	{ "OK without any", RESOLVER_OK, "", MX_TEMPORARY, "" },
};

static void
test_choose(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct resolver_mx mx[RESOLVER_MX_COUNT_MAX];
		struct mx_host hosts[MX_HOST_COUNT_MAX];
		struct resolver_answer answer = { .status = cases[i].status, .exchangers = mx };
		char got[512] = "";
		size_t count;

		print_message("mx: %s\n", cases[i].name);
		answer.mx_count = parse(cases[i].answer, mx);
		assert_int_equal(mx_choose(&answer, SPAN("us.example"), hosts, &count),
		    cases[i].verdict);
		for (size_t j = 0; j < count; j++) {
			strncat(got, j ? " " : "", sizeof(got) - strlen(got) - 1);
			strncat(got, hosts[j].name, sizeof(got) - strlen(got) - 1);
		}
		assert_string_equal(got, cases[i].hosts);
	}
}

static void
test_many(void **state)
{
	struct resolver_mx mx[RESOLVER_MX_COUNT_MAX] = { 0 };
	struct mx_host hosts[MX_HOST_COUNT_MAX];
	struct resolver_answer answer = { .status = RESOLVER_OK, .exchangers = mx,
	    .mx_count = RESOLVER_MX_COUNT_MAX };
	size_t count;

	(void)state;
	for (size_t i = 0; i < RESOLVER_MX_COUNT_MAX; i++) {
		mx[i].preference = (uint16_t)(1000 - i);
		snprintf(mx[i].host, sizeof(mx[i].host), "mx%zu", i);
	}
	assert_int_equal(mx_choose(&answer, SPAN("us"), hosts, &count), MX_HOSTS);
	assert_int_equal(count, MX_HOST_COUNT_MAX);
	assert_string_equal(hosts[0].name, "mx63");
}

static void
test_implicit(void **state)
{
	static const struct {
		enum resolver_status status;
		bool vouched;
		enum mx_verdict verdict;
	} table[] = {
		{ RESOLVER_OK, true, MX_HOSTS },
		{ RESOLVER_NODATA, true, MX_NO_DOMAIN },
		{ RESOLVER_NODATA, false, MX_TEMPORARY },
		{ RESOLVER_NXDOMAIN, true, MX_NO_DOMAIN },
		{ RESOLVER_NXDOMAIN, false, MX_NO_DOMAIN },
		{ RESOLVER_TEMPORARY, true, MX_TEMPORARY },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		assert_int_equal(mx_choose_implicit(&(struct resolver_answer){
			.status = table[i].status,
			.vouched = table[i].vouched,
		    }), table[i].verdict);
}

static void
test_order(void **state)
{
	const uint16_t preferences[] = { 10, 0, 10, 0, 20, 10 };
	const uint16_t weights[] = { 10, 30, 0, 10, 10, 10 };
	struct random_seeded random;
	size_t first_by_weight = 0, zero_before_others = 0;

	(void)state;
	random_init_seeded(&random, 11);
	for (size_t round = 0; round < 10000; round++) {
		uint8_t order[] = { 0, 1, 2, 3, 4, 5 };
		bool seen[6] = { false };

		mx_order(order, 6, preferences, weights, &random.random);
		for (size_t i = 0; i < 6; i++) {
			assert_false(seen[order[i]]);
			seen[order[i]] = true;
			assert_true(i == 0 ||
			    preferences[order[i - 1]] <= preferences[order[i]]);
		}
		first_by_weight += order[0] == 1;
		zero_before_others += order[2] == 2 || order[3] == 2;
	}
	/* Three times the weight, three times as often; weight 0 always behind. */
	assert_in_range(first_by_weight, 7200, 7800);
	assert_int_equal(zero_before_others, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_choose),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_implicit),
		cmocka_unit_test(test_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
