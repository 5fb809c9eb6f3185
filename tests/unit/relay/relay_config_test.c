#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/buf.h"
#include "relay/relay_config.h"

/* Lines 1 and 2, 3, 4 of every configuration below; a case adds its own from line 5 on. */
#define NODE "node {\n  hostname = \"relay1.example.net\" }\n"
#define LISTENER "listener \"mx\" { address = {\"127.0.0.1:0\"} }\n"
#define ROUTE "route \"site\" { for = {\"example.net\"} to = {\"mbox1:2424\"} via = lmtp }\n"
#define GOOD NODE LISTENER ROUTE

/* Each is wrong in one way: the line, and words of what was expected or found. */
static const struct {
	const char *name;
	const char *text;
	unsigned line;
	const char *words;
} broken[] = {
	{ "an unknown section", GOOD "listner \"x\" { }\n", 5, "listner" },
	{ "an unknown option", GOOD "accept {\n  relay_form = {\"127.0.0.0/8\"} }\n", 6,
	  "relay_form" },
	{ "no such network", GOOD "accept { relay_from = {\"127.0.0/8\"} }\n", 5, "relay_from" },
	{ "bits behind the prefix", GOOD "accept { relay_from = {\"10.0.0.1/8\"} }\n", 5,
	  "10.0.0.1/8" },
	{ "a bad unit", GOOD "limits {\n\n  data_timeout = \"3x\" }\n", 7, "data_timeout" },
	{ "a number without unit", GOOD "limits { data_timeout = 3 }\n", 5, "data_timeout" },
	{ "a bad size", GOOD "limits { message_size = \"much\" }\n", 5, "message_size" },
	{ "too few recipients", GOOD "limits { recipients = 5 }\n", 5, "recipients" },
	{ "a listener without address", GOOD "listener \"two\" { tls = none }\n", 5, "address" },
	{ "an address without port", GOOD "listener \"two\" { address = {\"127.0.0.1\"} }\n", 5,
	  "port" },
	{ "one address twice", GOOD "listener \"a\" { address = {\"127.0.0.1:2525\"} }\n"
	  "listener \"b\" { address = {\"127.0.0.1:2525\"} }\n", 6, "twice" },
	{ "two listeners of one name", GOOD "listener \"mx\" { address = {\"127.0.0.2:0\"} }\n", 5,
	  "mx" },
	{ "an unknown tls section", GOOD "listener \"two\" { address = {\"127.0.0.2:0\"}\n"
	  "  tls = starttls  tls_name = {\"none\"} }\n", 6, "none" },
	{ "tls without a certificate", GOOD "listener \"two\" { address = {\"127.0.0.2:0\"}\n"
	  "  tls = starttls }\n", 5, "expected" },
	{ "a certificate that is not there",
	    GOOD "tls \"t\" {\n  certificate = \"/nowhere/x.pem\" }\n",
	  6, "/nowhere/x.pem" },
	{ "a certificate that is none", GOOD "tls \"t\" {\n  certificate = \"/dev/null\" }\n", 6,
	  "/dev/null" },
	{ "a word that is no level", GOOD "route \"x\" { for = {\"a.example\"} to = {\"h:25\"}\n"
	  "  tls = always }\n", 6, "verify" },
	{ "a route without hosts", GOOD "route \"x\" { for = {\"a.example\"} }\n", 5, "host" },
	{ "a route without patterns", GOOD "route \"x\" { to = {\"h:25\"} }\n", 5, "for" },
	{ "a pattern that is none", GOOD "route \"x\" { for = {\"a..example\"} to = {\"h:25\"} }\n",
	  5, "a..example" },
	{ "a port that is none", GOOD "route \"x\" { for = {\"a.example\"} to = {\"h:99999\"} }\n",
	  5, "HOST[:PORT]" },
	{ "hosts where MX finds them",
	    GOOD "route \"x\" { for = {\"*\"} via = mx to = {\"h:25\"} }\n",
	  5, "expected no to" },
	{ "two routes of one name", GOOD ROUTE, 5, "line 4" },
	{ "an unknown retry section", GOOD "route \"x\" { for = {\"a.example\"} to = {\"h:25\"}\n"
	  "  retry = quick }\n", 6, "quick" },
	{ "a schedule that is none", GOOD "retry \"r\" { schedule = {\"1s\", \"soon\"} }\n", 5,
	  "30s" },
	{ "an unknown listener in a route", GOOD "route \"x\" { for = {\"a.example\"}\n"
	  "  to = {\"h:25\"}  listeners = {\"nil\"} }\n", 6, "nil" },
	{ "fingerprints that are missing", GOOD "route \"x\" { for = {\"a.example\"}\n"
	  "  to = {\"h:25\"}  tls = fingerprint }\n", 6, "fingerprint" },
	{ "a fingerprint that is none", GOOD "route \"x\" { for = {\"a.example\"} to = {\"h:25\"}\n"
	  "  tls = fingerprint  fingerprints = {\"12\"} }\n", 6, "64 hexadecimal" },
	{ "a source of the other family", GOOD "delivery {\n  source_ipv4 = \"::1\" }\n", 6,
	  "IPv4" },
	{ "a postmaster without a domain", GOOD "delivery { postmaster = \"root\" }\n", 5,
	  "user@example.net" },
	{ "more reserve than floor", GOOD "queue { floor = \"1M\"\n reserve = \"2M\" }\n", 5,
	  "reserve" },
	{ "no host name", LISTENER ROUTE "node { }\n", 3, "hostname" },
	{ "a host name that is none", "node { hostname = \"a b\" }\n" LISTENER ROUTE, 1,
	    "hostname" },
	{ "a bracket left open", GOOD "accept { relay_from = {\"127.0.0.0/8\"\n", 6, "" },
};

static struct relay_config *
load(const char *text, struct err *err)
{
	return relay_config_load_text(span_from_cstr(text), "relayd.conf", err);
}

static void
test_good(void **state)
{
	struct err err;
	struct relay_config *config = load(GOOD, &err);

	(void)state;
	if (!config)
		fail_msg("%s", err.text);
	assert_string_equal(config->node.hostname, "relay1.example.net");
	assert_int_equal(route_table_count(config->outbound.routes), 1);
	assert_string_equal(config->spool, "/var/spool/chapar");
	relay_config_free(&config);
}

static void
test_broken(void **state)
{
	size_t failures = 0;

	(void)state;
	assert_true(sizeof(broken) / sizeof(broken[0]) >= 20);
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		struct err err;
		struct relay_config *config = load(broken[i].text, &err);
		char place[64];

		if (config) {
			relay_config_free(&config);
			print_error("%s: taken for good\n", broken[i].name);
			failures++;
			continue;
		}
		(void)snprintf(place, sizeof(place), "relayd.conf:%u: ", broken[i].line);
		if (strncmp(err.text, place, strlen(place)) != 0 ||
		    !strstr(err.text, broken[i].words) || strchr(err.text, '\n')) {
			print_error("%s: %s\n", broken[i].name, err.text);
			failures++;
		}
	}
	assert_int_equal(failures, 0);
}

/* Each option of --example is right as it stands there, without its #. */
static void
test_example_is_right(void **state)
{
	struct buf example;
	struct conf *conf;
	struct err err;

	(void)state;
	buf_init(&example, 1 << 20);
	assert_int_equal(conf_print_example(relay_config_schema(), &example), 0);
	for (size_t i = example.start + 1; i < example.end; i++)
		if (example.data[i] == '#' && example.data[i - 1] == '\t' &&
		    example.data[i + 1] != ' ')
			example.data[i] = ' ';
	if (conf_parse_text(&conf, relay_config_schema(), buf_span(&example), "example", &err) < 0)
		fail_msg("%s", err.text);
	conf_free(&conf);
	buf_fini(&example);
}

/* What --dump prints is the same configuration. */
static void
test_dump_is_the_same(void **state)
{
	struct err err;
	struct relay_config *config = load(GOOD, &err);
	struct relay_config *again;
	struct buf text;

	(void)state;
	assert_non_null(config);
	buf_init(&text, 1 << 20);
	assert_int_equal(conf_dump(config->conf, &text), 0);
	again = load(buf_cstr(&text), &err);
	if (!again)
		fail_msg("%s", err.text);
	assert_null(relay_config_needs_restart(config, again));
	relay_config_free(&again);
	buf_fini(&text);
	relay_config_free(&config);
}

static void
test_restart(void **state)
{
	struct err err;
	struct relay_config *one = load(GOOD, &err);
	struct relay_config *two = load(GOOD "queue { segment = \"32M\" }\n", &err);
	struct relay_config *three = load(GOOD "limits { recipients = 200 }\n", &err);

	(void)state;
	assert_non_null(one);
	assert_non_null(two);
	assert_non_null(three);
	assert_string_equal(relay_config_needs_restart(one, two), "segment");
	assert_null(relay_config_needs_restart(one, three));
	relay_config_free(&one);
	relay_config_free(&two);
	relay_config_free(&three);
}

/* Every option stands in the manual, with its sentence. */
static void
test_manual(void **state)
{
	const struct conf_schema *schema = relay_config_schema();
	struct buf text;

	(void)state;
	buf_init(&text, 1 << 20);
	assert_int_equal(conf_print_manual(schema, &text), 0);
	for (size_t i = 0; i < schema->sections_count; i++)
		for (size_t j = 0; j < schema->sections[i].options_count; j++) {
			const struct conf_option *option = &schema->sections[i].options[j];

			if (!option->help || strlen(option->help) < 10)
				fail_msg("%s has no sentence", option->name);
			if (!strstr(buf_cstr(&text), option->name))
				fail_msg("%s is not in the manual", option->name);
		}
	buf_fini(&text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_example_is_right),
		cmocka_unit_test(test_dump_is_the_same),
		cmocka_unit_test(test_restart),
		cmocka_unit_test(test_manual),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
