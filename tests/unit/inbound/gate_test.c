#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/inbound/gate.h"
#include "relay/net/endpoint.h"

/* ---- the level of load */

static const struct {
	const char *name;
	struct load_gauges gauges;
	uint64_t now_ms;
	enum load_level level;
	const char *why;
} load_cases[] = {
	{ "nothing is used", { 0, 100, 0, 100, 0, 100, 1000, 10, 0 }, 0, LOAD_GREEN, "" },
	{ "just below amber", { 69, 100, 0, 0, 0, 0, 0, 0, 0 }, 0, LOAD_GREEN, "" },
	{ "amber at 70 %", { 70, 100, 0, 0, 0, 0, 0, 0, 0 }, 0, LOAD_AMBER, "connections" },
	{ "it stays until 65 %", { 66, 100, 0, 0, 0, 0, 0, 0, 0 }, 0, LOAD_AMBER, "connections" },
	{ "and goes below", { 64, 100, 0, 0, 0, 0, 0, 0, 0 }, 0, LOAD_GREEN, "" },
	{ "red at 90 %", { 0, 100, 90, 100, 0, 0, 0, 0, 0 }, 0, LOAD_RED, "descriptors" },
	{ "red until 85 %", { 0, 100, 85, 100, 0, 0, 0, 0, 0 }, 0, LOAD_RED, "descriptors" },
	{ "then amber", { 0, 100, 84, 100, 0, 0, 0, 0, 0 }, 0, LOAD_AMBER, "descriptors" },
	{ "the fullest decides", { 10, 100, 20, 100, 95, 100, 0, 0, 0 }, 0, LOAD_RED, "memory" },
	{ "green again", { 0, 100, 0, 100, 0, 100, 0, 0, 0 }, 0, LOAD_GREEN, "" },
	{ "disk near its floor", { 0, 0, 0, 0, 0, 0, 1250, 1000, 0 }, 0, LOAD_AMBER, "disk" },
	{ "disk at its floor", { 0, 0, 0, 0, 0, 0, 1000, 1000, 0 }, 0, LOAD_RED, "disk" },
	{ "disk full", { 0, 0, 0, 0, 0, 0, 0, 1000, 0 }, 0, LOAD_RED, "disk" },
	{ "room again", { 0, 0, 0, 0, 0, 0, 9000, 1000, 0 }, 0, LOAD_GREEN, "" },
	{ "commits of 250 ms", { 0, 0, 0, 0, 0, 0, 0, 0, 250 }, 1000, LOAD_GREEN, "" },
	{ "slower ones", { 0, 0, 0, 0, 0, 0, 0, 0, 251 }, 2000, LOAD_AMBER, "commits" },
	{ "a second", { 0, 0, 0, 0, 0, 0, 0, 0, 1500 }, 3000, LOAD_AMBER, "commits" },
	{ "for a while", { 0, 0, 0, 0, 0, 0, 0, 0, 1500 }, 7999, LOAD_AMBER, "commits" },
	{ "for five seconds", { 0, 0, 0, 0, 0, 0, 0, 0, 1500 }, 8000, LOAD_RED, "commits" },
	{ "one fast one ends it", { 0, 0, 0, 0, 0, 0, 0, 0, 1 }, 9000, LOAD_GREEN, "" },
	{ "and the five begin anew", { 0, 0, 0, 0, 0, 0, 0, 0, 1500 }, 10000, LOAD_AMBER,
	  "commits" },
	{ "commits do not hide connections", { 95, 100, 0, 0, 0, 0, 0, 0, 300 }, 11000, LOAD_RED,
	  "connections" },
};

static void
levels_follow_the_gauges(void **state)
{
	static const struct load_limits limits = { 0 };
	struct load load;

	(void)state;
	load_init(&load);
	for (size_t i = 0; i < sizeof(load_cases) / sizeof(load_cases[0]); i++) {
		enum load_level before = load.level;
		bool changed = load_update(&load, &limits, &load_cases[i].gauges,
		    load_cases[i].now_ms);

		if (load.level != load_cases[i].level ||
		    strcmp(load.why, load_cases[i].why) != 0 ||
		    changed != (before != load.level))
			fail_msg("%s: %s, %s", load_cases[i].name, load_level_name(load.level),
			    load.why);
	}
}

/* ---- who comes in */

static struct network own_network;
static const char *const own_listeners[] = { "internal" };

static struct gate_settings
settings(void)
{
	struct err err;

	assert_int_equal(network_parse(SPAN("198.51.100.0/24"), &own_network, &err), 0);
	return (struct gate_settings){
		.own_networks = &own_network, .own_network_count = 1,
		.own_listeners = own_listeners, .own_listener_count = 1,
		.address = { .minute_count = 60, .burst_count = 3 },
		.network = { .minute_count = 60, .burst_count = 5 },
		.network_connection_count_max = 4,
		.amber_network_connection_count_max = 2,
		.user = { .minute_count = 2 }, .sender = { .minute_count = 3 },
		.connection_count_max = 1000,
	};
}

struct visitor {
	uint8_t ip[16];
	struct gate_client client;
};

static struct gate_client *
visit(struct visitor *visitor, const char *ip, const char *listener, bool may_relay)
{
	struct endpoint endpoint;

	visitor->client = (struct gate_client){
		.listener = span_from_cstr(listener), .may_relay = may_relay,
	};
	if (ip) {
		assert_true(endpoint_parse_ip(span_from_cstr(ip), 0, &endpoint));
		assert_true(endpoint_ip16(&endpoint, visitor->ip));
		visitor->client.ip = visitor->ip;
	}
	return &visitor->client;
}

static const struct {
	const char *name, *ip, *listener;
	bool may_relay;
	enum load_level level;
	size_t connection_count;
	enum gate_answer answer;
} gate_cases[] = {
	{ "a stranger", "192.0.2.1", "mx", false, LOAD_GREEN, 0, GATE_ADMITTED },
	{ "again", "192.0.2.1", "mx", false, LOAD_GREEN, 0, GATE_ADMITTED },
	{ "a third time", "192.0.2.1", "mx", false, LOAD_GREEN, 0, GATE_ADMITTED },
	{ "too often", "192.0.2.1", "mx", false, LOAD_GREEN, 0, GATE_ADDRESS_RATE },
	{ "his neighbour", "192.0.2.2", "mx", false, LOAD_GREEN, 0, GATE_ADMITTED },
	{ "as many as may be here", "192.0.2.3", "mx", false, LOAD_GREEN, 0, GATE_NETWORK_COUNT },
	{ "the network too often", "192.0.2.4", "mx", false, LOAD_GREEN, 0, GATE_NETWORK_RATE },
	{ "another network", "203.0.113.1", "mx", false, LOAD_GREEN, 0, GATE_ADMITTED },
	{ "amber: a second of it", "203.0.113.2", "mx", false, LOAD_AMBER, 0, GATE_ADMITTED },
	{ "amber: no third", "203.0.113.3", "mx", false, LOAD_AMBER, 0, GATE_AMBER },
	{ "amber: a new network", "203.0.114.3", "mx", false, LOAD_AMBER, 0, GATE_ADMITTED },
	{ "amber by connections alone", "203.0.113.4", "mx", false, LOAD_GREEN, 700, GATE_AMBER },
	{ "known ones have no rates", "192.0.2.1", "mx", true, LOAD_AMBER, 0, GATE_ADMITTED },
	{ "a unix socket is known", NULL, "mx", false, LOAD_AMBER, 0, GATE_ADMITTED },
	{ "red: a stranger", "203.0.115.1", "mx", false, LOAD_RED, 0, GATE_RED },
	{ "red: a known one", "192.0.2.1", "mx", true, LOAD_RED, 0, GATE_RED },
	{ "red: a node of ours", "198.51.100.7", "mx", false, LOAD_RED, 999, GATE_ADMITTED },
	{ "red: by its listener", "192.0.2.1", "internal", false, LOAD_RED, 999, GATE_ADMITTED },
	{ "red by connections alone", "203.0.115.1", "mx", true, LOAD_GREEN, 900, GATE_RED },
};

static void
lets_in_and_turns_away(void **state)
{
	struct gate_settings it = settings();
	struct gate *gate = gate_new(7);

	(void)state;
	for (size_t i = 0; i < sizeof(gate_cases) / sizeof(gate_cases[0]); i++) {
		struct visitor visitor;
		const struct gate_client *client = visit(&visitor, gate_cases[i].ip,
		    gate_cases[i].listener, gate_cases[i].may_relay);
		enum gate_answer answer;

		gate_set_level(gate, gate_cases[i].level);
		answer = gate_enter(gate, &it, client, gate_cases[i].connection_count, 0);
		if (answer != gate_cases[i].answer)
			fail_msg("%s: %s", gate_cases[i].name, gate_answer_name(answer));
		if (answer != GATE_ADMITTED)
			assert_int_equal(gate_answer_status(answer)[0], '4');
	}
	assert_int_equal(gate_count(gate, GATE_RED), 3);
	assert_int_equal(gate_count(gate, GATE_AMBER), 2);
	gate_free(&gate);
}

/* Who goes makes room. */
static void
leaving_makes_room(void **state)
{
	struct gate_settings it = settings();
	struct gate *gate = gate_new(8);
	struct visitor visitor;
	struct gate_client *client = visit(&visitor, "192.0.2.1", "mx", false);

	(void)state;
	it.address.minute_count = it.network.minute_count = 0;
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(gate_enter(gate, &it, client, 0, 0), GATE_ADMITTED);
	assert_int_equal(gate_enter(gate, &it, client, 0, 0), GATE_NETWORK_COUNT);
	gate_leave(gate, client);
	assert_int_equal(gate_enter(gate, &it, client, 0, 0), GATE_ADMITTED);
	gate_free(&gate);
}

/* Load and rates are 4yz, whoever asks; our own nodes are not asked. */
static void
mail_has_rates(void **state)
{
	struct gate_settings it = settings();
	struct gate *gate = gate_new(9);
	struct reply reply;

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		assert_true(gate_mail(gate, &it, GATE_KNOWN, SPAN("ann"), SPAN("a@b"), 0, &reply));
	assert_false(gate_mail(gate, &it, GATE_KNOWN, SPAN("ann"), SPAN("c@d"), 0, &reply));
	assert_int_equal(reply.code, 450);
	assert_true(gate_mail(gate, &it, GATE_STRANGER, SPAN(""), SPAN("A@B"), 0, &reply));
	assert_false(gate_mail(gate, &it, GATE_STRANGER, SPAN(""), SPAN("a@b"), 0, &reply));
	assert_int_equal(reply.code, 450);
	assert_true(gate_mail(gate, &it, GATE_STRANGER, SPAN(""), SPAN("a@b"), 30000, &reply));
	for (unsigned i = 0; i < 100; i++) {
		assert_true(gate_mail(gate, &it, GATE_OWN, SPAN(""), SPAN("a@b"), 0, &reply));
		assert_true(gate_mail(gate, &it, GATE_STRANGER, SPAN(""), SPAN(""), 0, &reply));
	}
	gate_set_level(gate, LOAD_RED);
	assert_false(gate_mail(gate, &it, GATE_KNOWN, SPAN("bob"), SPAN("x@y"), 0, &reply));
	assert_int_equal(reply.code, 452);
	assert_true(gate_mail(gate, &it, GATE_OWN, SPAN(""), SPAN("a@b"), 0, &reply));
	gate_free(&gate);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(levels_follow_the_gauges),
		cmocka_unit_test(lets_in_and_turns_away),
		cmocka_unit_test(leaving_makes_room),
		cmocka_unit_test(mail_has_rates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
