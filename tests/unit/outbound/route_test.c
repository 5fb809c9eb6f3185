#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/outbound/route.h"

static const struct route_host one_host = {
	.at = { .host = "mbox1", .port = 2424 }, .weight = ROUTE_WEIGHT_DEFAULT,
};

static void
set_for(struct route_settings *route, const char *const *patterns, size_t count)
{
	route->recipients = patterns;
	route->recipient_count = count;
}

/* Routes, in order, as an operator of a small site might have them. */
static struct route_table *
make_table(void)
{
	static struct network inside;
	static const char *const users[] = { "boss@example.net", "abuse@" };
	static const char *const site[] = { "example.net", "*.example.net" };
	static const char *const partner[] = { "partner.example" };
	static const char *const tuned[] = { "big.example" };
	static const char *const open_for[] = { "open.example" };
	static const char *const closed_for[] = { "closed.example" };
	static const char *const all[] = { "*" };
	static const char *const from_us[] = { "example.net", "<>" };
	static const char *const submission[] = { "submission" };
	struct route_settings routes[8] = { 0 };
	struct route_table *table = NULL;
	struct err err;

	assert_int_equal(network_parse(SPAN("192.0.2.0/24"), &inside, &err), 0);
	for (size_t i = 0; i < 8; i++) {
		routes[i].via = ROUTE_VIA_LMTP;
		routes[i].hosts = &one_host;
		routes[i].host_count = 1;
	}
	routes[0].name = "people";
	set_for(&routes[0], users, 2);
	routes[1].name = "partner";
	set_for(&routes[1], partner, 1);
	routes[1].senders = from_us;
	routes[1].sender_count = 2;
	routes[2].name = "site";
	set_for(&routes[2], site, 2);
	routes[3].name = "tuned";
	set_for(&routes[3], tuned, 1);
	routes[3].via = ROUTE_VIA_MX;
	routes[3].hosts = NULL;
	routes[3].host_count = 0;
	routes[4].name = "open";
	set_for(&routes[4], open_for, 1);
	routes[4].via = ROUTE_VIA_MX;
	routes[4].ours = ROUTE_OURS_YES;
	routes[4].hosts = NULL;
	routes[4].host_count = 0;
	routes[5].name = "closed";
	set_for(&routes[5], closed_for, 1);
	routes[5].ours = ROUTE_OURS_NO;
	routes[6].name = "inside";
	set_for(&routes[6], all, 1);
	routes[6].clients = &inside;
	routes[6].client_count = 1;
	routes[6].listeners = submission;
	routes[6].listener_count = 1;
	routes[7].name = "onward";
	set_for(&routes[7], all, 1);
	if (route_table_new(routes, 8, &table, &err) < 0)
		fail_msg("%s", err.text);
	return table;
}

static const struct {
	const char *name, *recipient, *sender, *client, *listener;
	const char *route;      /* expected; NULL: none */
	const char *pattern;
	bool ours;
} match_cases[] = {
	{ "a domain", "a@example.net", "x@y", "", "mx", "site", "example.net", true },
	{ "case of the domain", "A@EXAMPLE.net", "x@y", "", "mx", "site", "example.net", true },
	{ "below a domain", "a@b.c.example.net", "x@y", "", "mx", "site", "*.example.net", true },
	{ "not beside it", "a@notexample.net", "x@y", "", "mx", "onward", "*", false },
	{ "an address before its domain", "Boss@example.net", "x@y", "", "mx", "people",
	    "boss@example.net", true },
	{ "a local part anywhere", "abuse@far.example", "x@y", "", "mx", "people", "abuse@", true },
	{ "the sender is meant", "a@partner.example", "me@example.net", "", "mx", "partner",
	    "partner.example", false },
	{ "the null sender is meant", "a@partner.example", "", "", "mx", "partner",
	    "partner.example", false },
	{ "the sender is not meant", "a@partner.example", "x@y", "", "mx", "onward", "*", false },
	{ "a tuned foreign domain is no open relay", "a@big.example", "x@y", "", "mx", "tuned",
	    "big.example", false },
	{ "unless that is said", "a@open.example", "x@y", "", "mx", "open", "open.example", true },
	{ "and the other way round", "a@closed.example", "x@y", "", "mx", "closed",
	    "closed.example", false },
	{ "client and listener", "a@far.example", "x@y", "192.0.2.9", "submission", "inside", "*",
	    false },
	{ "client alone is not enough", "a@far.example", "x@y", "192.0.2.9", "mx", "onward", "*",
	    false },
	{ "listener alone is not enough", "a@far.example", "x@y", "198.51.100.1", "submission",
	    "onward", "*", false },
	{ "no client at all", "a@far.example", "x@y", "", "submission", "onward", "*", false },
	{ "an address literal", "a@[192.0.2.1]", "x@y", "", "mx", "onward", "*", false },
	{ "no domain at all", "postmaster", "x@y", "", "mx", "onward", "*", false },
	{ "an @ in the local part", "\"a@example.net\"@far.example", "x@y", "", "mx", "onward",
	    "*", false },
};

static void
test_match(void **state)
{
	struct route_table *table = make_table();

	(void)state;
	for (size_t i = 0; i < sizeof(match_cases) / sizeof(*match_cases); i++) {
		struct route_question question = {
			.recipient = span_from_cstr(match_cases[i].recipient),
			.sender = span_from_cstr(match_cases[i].sender),
			.client_address = span_from_cstr(match_cases[i].client),
			.listener = span_from_cstr(match_cases[i].listener),
		};
		struct route_match match = route_table_match(table, &question);

		print_message("match: %s\n", match_cases[i].name);
		assert_non_null(match.route);
		assert_false(match.needs_address);
		assert_true(span_equal_cstr(match.route->name, match_cases[i].route));
		assert_true(span_equal_cstr(match.pattern, match_cases[i].pattern));
		assert_int_equal(route_table_is_ours(table, &question), match_cases[i].ours);
	}
	route_table_unref(&table);
}

static void
test_by_domain_alone(void **state)
{
	static const struct {
		const char *name, *domain;
		const char *route;      /* NULL: the address is needed */
	} cases[] = {
		/* "abuse@" is in the very first route: nothing is settled without the address. */
		{ "a local part could match", "example.net", NULL },
		{ "everywhere", "far.example", NULL },
	};
	static const char *const site[] = { "example.net", "ann@partner.example" };
	static const char *const all[] = { "*" };
	struct route_settings routes[2] = {
		{ .name = "site", .recipients = site, .recipient_count = 2,
		    .via = ROUTE_VIA_LMTP, .hosts = &one_host, .host_count = 1 },
		{ .name = "onward", .recipients = all, .recipient_count = 1,
		    .via = ROUTE_VIA_LMTP, .hosts = &one_host, .host_count = 1 },
	};
	struct route_table *table = make_table();
	struct route_match match;
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		match = route_table_match(table, &(struct route_question){
			.domain = span_from_cstr(cases[i].domain) });
		print_message("domain alone: %s\n", cases[i].name);
		assert_int_equal(match.needs_address, cases[i].route == NULL);
	}
	route_table_unref(&table);

	assert_int_equal(route_table_new(routes, 2, &table, &err), 0);
	match = route_table_match(table, &(struct route_question){ .domain = SPAN("Example.net") });
	assert_false(match.needs_address);
	assert_true(span_equal_cstr(match.route->name, "site"));
	match = route_table_match(table, &(struct route_question){ .domain = SPAN("far.example") });
	assert_true(span_equal_cstr(match.route->name, "onward"));
	match = route_table_match(table,
	    &(struct route_question){ .domain = SPAN("partner.example") });
	assert_true(match.needs_address);
	assert_null(match.route);
	route_table_unref(&table);
}

static void
test_no_route(void **state)
{
	static const char *const site[] = { "example.net" };
	struct route_settings route = { .name = "site", .recipients = site, .recipient_count = 1,
	    .via = ROUTE_VIA_LMTP, .hosts = &one_host, .host_count = 1 };
	struct route_question question = { .recipient = SPAN("a@far.example") };
	struct route_table *table;
	struct err err;

	(void)state;
	assert_int_equal(route_table_new(&route, 1, &table, &err), 0);
	assert_null(route_table_match(table, &question).route);
	assert_false(route_table_is_ours(table, &question));
	assert_int_equal(route_table_at(table, 0)->retry.lifetime_ms, 5ull * 24 * 3600 * 1000);
	route_table_unref(&table);
}

static void
test_refusals(void **state)
{
	static const char *const all[] = { "*" };
	static const char *const bad[] = { "not a domain" };
	static const char *const no_local[] = { "@example.net" };
	static const char *const null_path[] = { "<>" };
	static const char *const star_inside[] = { "a.*.example" };
	const struct route_settings good = { .name = "a", .recipients = all, .recipient_count = 1,
	    .via = ROUTE_VIA_SMTP, .hosts = &one_host, .host_count = 1 };
	struct route_settings routes[2];
	static const struct {
		const char *name, *says;
	} cases[] = {
		{ "no pattern", "no pattern" },
		{ "no domain", "neither a domain" },
		{ "no local part", "before the @" },
		{ "null recipient", "no recipient" },
		{ "a star inside", "neither a domain" },
		{ "no hosts", "needs hosts" },
		{ "hosts with mx", "finds its own" },
		{ "no name", "no name" },
		{ "two of a name", "two of this name" },
		{ "an open relay", "anybody could send anywhere" },
		{ "a fingerprint is missing", "needs a fingerprint" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct route_table *table = NULL;
		struct err err = { 0 };

		routes[0] = routes[1] = good;
		routes[1].name = "b";
		switch (i) {
		case 0: routes[1].recipient_count = 0; break;
		case 1: routes[1].recipients = bad; break;
		case 2: routes[1].recipients = no_local; break;
		case 3: routes[1].recipients = null_path; break;
		case 4: routes[1].recipients = star_inside; break;
		case 5: routes[1].host_count = 0; break;
		case 6: routes[1].via = ROUTE_VIA_MX; break;
		case 7: routes[1].name = ""; break;
		case 8: routes[1].name = "a"; break;
		case 9: routes[1].ours = ROUTE_OURS_YES; break;
		case 10: routes[1].tls.level = TLS_LEVEL_FINGERPRINT; break;
		}
		print_message("refusal: %s\n", cases[i].name);
		assert_int_equal(route_table_new(routes, 2, &table, &err), -1);
		assert_null(table);
		assert_int_equal(err.kind, ERR_CONFIG);
		if (!strstr(err.text, cases[i].says))
			fail_msg("\"%s\" does not say \"%s\"", err.text, cases[i].says);
	}
}

static void
test_hosts(void **state)
{
	static const struct {
		const char *name, *text;
		int result;
		const char *host;
		uint16_t port, preference, weight;
	} cases[] = {
		{ "name and port", "mbox1:2424", 0, "mbox1", 2424, 0, 10 },
		{ "default port", "Relay2.Example.net", 0, "relay2.example.net", 25, 0, 10 },
		{ "address", "192.0.2.1:26", 0, "192.0.2.1", 26, 0, 10 },
		{ "preference and weight", "a:1 preference=20 weight=3", 0, "a", 1, 20, 3 },
		{ "fallback", "a:1 fallback", 0, "a", 1, ROUTE_FALLBACK_PREFERENCE, 10 },
		{ "nothing", "  ", -1, "", 0, 0, 0 },
		{ "an unknown word", "a:1 fast", -1, "", 0, 0, 0 },
		{ "no number", "a:1 weight=x", -1, "", 0, 0, 0 },
		{ "too large a number", "a:1 weight=70000", -1, "", 0, 0, 0 },
		{ "no port", "a:", -1, "", 0, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct route_host host;
		struct err err;

		print_message("host: %s\n", cases[i].name);
		assert_int_equal(route_host_parse(span_from_cstr(cases[i].text), 25, &host, &err),
		    cases[i].result);
		if (cases[i].result < 0)
			continue;
		assert_string_equal(host.at.host, cases[i].host);
		assert_int_equal(host.at.port, cases[i].port);
		assert_int_equal(host.preference, cases[i].preference);
		assert_int_equal(host.weight, cases[i].weight);
	}
}

/* A list of ten thousand domains costs a look-up, and the last of them is found. */
static void
test_many_domains(void **state)
{
	enum { COUNT = 10000 };
	static char texts[COUNT][24];
	static const char *patterns[COUNT];
	struct route_settings route = { .name = "many", .recipients = patterns,
	    .recipient_count = COUNT, .via = ROUTE_VIA_SMTP, .hosts = &one_host,
	    .host_count = 1 };
	struct route_table *table;
	struct err err;

	(void)state;
	for (size_t i = 0; i < COUNT; i++) {
		snprintf(texts[i], sizeof(texts[i]), "d%zu.example", i);
		patterns[i] = texts[i];
	}
	assert_int_equal(route_table_new(&route, 1, &table, &err), 0);
	for (size_t i = 0; i < COUNT; i++) {
		char address[64];

		snprintf(address, sizeof(address), "a@d%zu.example", i);
		assert_non_null(route_table_match(table, &(struct route_question){
			.recipient = span_from_cstr(address) }).route);
	}
	assert_null(route_table_match(table, &(struct route_question){
		.recipient = SPAN("a@d10000.example") }).route);
	route_table_unref(&table);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_match),
		cmocka_unit_test(test_by_domain_alone),
		cmocka_unit_test(test_no_route),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_many_domains),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
