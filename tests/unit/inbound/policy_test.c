#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/inbound/policy.h"
#include "relay/net/endpoint.h"

static const char fingerprint[] =
    "sha256:000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

static void
add(struct policy *policy, enum policy_rule rule, const char *text, unsigned line)
{
	struct err err;

	assert_int_equal(policy_add(policy, rule, span_from_cstr(text), line, &err), 0);
}

/* One policy for the whole table; the lines are given out of order on purpose. */
static void
fill(struct policy *policy)
{
	policy_init(policy);
	add(policy, POLICY_RELAY_CERTIFICATE, "*.relays.example", 6);
	add(policy, POLICY_RELAY_FINGERPRINT, fingerprint, 7);
	add(policy, POLICY_RELAY_NETWORK, "127.0.0.0/8", 1);
	add(policy, POLICY_RELAY_NETWORK, "2001:db8::/32", 2);
	add(policy, POLICY_REFUSE_RCPT, "nobody@", 5);
	add(policy, POLICY_REFUSE_SENDER, "*.spam.example", 4);
	add(policy, POLICY_REFUSE_CLIENT, "127.0.0.66", 3);
	add(policy, POLICY_RELAY_AUTHENTICATED, "*", 8);
	policy_seal(policy);
}

static const struct {
	const char *name;
	const char *ip;                 /* NULL: unix socket */
	const char *certificate;        /* NULL: clear; "-": TLS without */
	bool verified;
	bool has_fingerprint;
	const char *user;
	const char *rcpt;
	bool ours;
	enum policy_rule rule;
	uint16_t code;
} rcpt_cases[] = {
	{ "a neighbour may relay", "127.0.0.1", NULL, false, false, "", "a@far.example", false,
	  POLICY_RELAY_NETWORK, 0 },
	{ "by IPv6 too", "2001:db8::7", NULL, false, false, "", "a@far.example", false,
	  POLICY_RELAY_NETWORK, 0 },
	{ "a mapped address is the IPv4 one", "::ffff:127.0.0.9", NULL, false, false, "",
	  "a@far.example", false, POLICY_RELAY_NETWORK, 0 },
	{ "a stranger may not relay", "192.0.2.1", NULL, false, false, "", "a@far.example", false,
	  POLICY_NOT_OURS, 550 },
	{ "a stranger may send to ours", "192.0.2.1", NULL, false, false, "", "a@our.example",
	  true, POLICY_OURS, 0 },
	{ "beside the network is outside", "128.0.0.0", NULL, false, false, "", "a@far.example",
	  false, POLICY_NOT_OURS, 550 },
	{ "a verified certificate relays", "192.0.2.1", "r1.relays.example", true, false, "",
	  "a@far.example", false, POLICY_RELAY_CERTIFICATE, 0 },
	{ "the same name unverified does not", "192.0.2.1", "r1.relays.example", false, false, "",
	  "a@far.example", false, POLICY_NOT_OURS, 550 },
	{ "the parent is not below itself", "192.0.2.1", "relays.example", true, false, "",
	  "a@far.example", false, POLICY_NOT_OURS, 550 },
	{ "nor is a longer word", "192.0.2.1", "xrelays.example", true, false, "",
	  "a@far.example", false, POLICY_NOT_OURS, 550 },
	{ "a pinned certificate relays", "192.0.2.1", "who.example", false, true, "",
	  "a@far.example", false, POLICY_RELAY_FINGERPRINT, 0 },
	{ "a user relays", "192.0.2.1", "-", false, false, "ann", "a@far.example", false,
	  POLICY_RELAY_AUTHENTICATED, 0 },
	{ "a refused recipient beats relaying", "127.0.0.1", NULL, false, false, "",
	  "Nobody@our.example", true, POLICY_REFUSE_RCPT, 550 },
	{ "a unix socket has no network", NULL, NULL, false, false, "", "a@far.example", false,
	  POLICY_NOT_OURS, 550 },
};

static void
test_rcpt(void **state)
{
	struct policy policy;

	(void)state;
	fill(&policy);
	for (size_t i = 0; i < sizeof(rcpt_cases) / sizeof(rcpt_cases[0]); i++) {
		struct tls_info tls = {0};
		struct endpoint client;
		uint8_t ip[16];
		struct policy_facts facts = {
			.auth_user = span_from_cstr(rcpt_cases[i].user),
			.sender = SPAN("s@some.example"),
			.rcpt = span_from_cstr(rcpt_cases[i].rcpt),
			.rcpt_is_ours = rcpt_cases[i].ours,
		};
		struct policy_verdict verdict;

		if (rcpt_cases[i].ip) {
			assert_true(endpoint_parse_ip(span_from_cstr(rcpt_cases[i].ip), 25,
			    &client));
			assert_true(endpoint_ip16(&client, ip));
			facts.client_ip = ip;
		}
		if (rcpt_cases[i].certificate) {
			facts.tls = &tls;
			tls.peer_has_certificate = rcpt_cases[i].certificate[0] != '-';
			tls.peer_verified = rcpt_cases[i].verified;
			(void)snprintf(tls.peer_name, sizeof(tls.peer_name), "%s",
			    rcpt_cases[i].certificate);
			for (size_t j = 0; rcpt_cases[i].has_fingerprint && j < 32; j++)
				tls.peer_fingerprint[j] = (uint8_t)j;
			if (!rcpt_cases[i].has_fingerprint)
				memset(tls.peer_fingerprint, 0xff, 32);
		}
		verdict = policy_judge_rcpt(&policy, &facts);
		if (verdict.rule != rcpt_cases[i].rule ||
		    verdict.admitted != (rcpt_cases[i].code == 0) ||
		    (!verdict.admitted && verdict.reply.code != rcpt_cases[i].code))
			fail_msg("%s: %s", rcpt_cases[i].name, policy_rule_name(verdict.rule));
	}
	policy_fini(&policy);
}

static void
test_client_and_sender(void **state)
{
	static const struct {
		const char *sender;
		bool admitted;
	} senders[] = {
		{ "a@x.spam.example", false }, { "a@spam.example", true },
		{ "A@X.SPAM.Example", false }, { "", true },
	};
	struct policy policy;
	struct policy_facts facts = { .auth_user = SPAN(""), .rcpt = SPAN("") };
	struct endpoint client;
	uint8_t ip[16];

	(void)state;
	fill(&policy);
	for (size_t i = 0; i < 4; i++) {
		facts.sender = span_from_cstr(senders[i].sender);
		assert_int_equal(policy_judge_sender(&policy, &facts).admitted,
		    senders[i].admitted);
	}
	assert_true(endpoint_parse_ip(SPAN("127.0.0.66"), 0, &client));
	assert_true(endpoint_ip16(&client, ip));
	facts.client_ip = ip;

	struct policy_verdict verdict = policy_judge_client(&policy, &facts);

	assert_false(verdict.admitted);
	assert_int_equal(verdict.reply.code, 554);
	assert_int_equal(verdict.line->line, 3);
	ip[15] = 67;
	assert_true(policy_judge_client(&policy, &facts).admitted);
	policy_fini(&policy);
}

static const struct {
	const char *name, *user, *sender;
	unsigned line;                  /* that decided; 0: none */
	bool admitted;
} user_cases[] = {
	{ "ann as herself", "ann", "ann@our.example", 10, true },
	{ "without regard to case", "ann", "Ann@Our.Example", 10, true },
	{ "ann as her office", "ann", "sales@our.example", 10, true },
	{ "ann as bob", "ann", "bob@our.example", 10, false },
	{ "ann as nobody", "ann", "", 10, false },
	{ "a robot has no sender", "robot", "", 11, true },
	{ "and no other", "robot", "robot@our.example", 11, false },
	{ "anybody by the name of his account", "carl@our.example", "carl@our.example", 12, true },
	{ "at our domain", "carl", "carl@our.example", 12, true },
	{ "and not at another", "carl", "carl@far.example", 12, false },
	{ "nor with more behind it", "carl", "carl@our.example.far.example", 12, false },
	{ "nor as ann", "carl", "ann@our.example", 12, false },
	{ "a name is not a pattern", "*", "ann@our.example", 12, false },
	{ "names have case", "ANN", "sales@our.example", 12, false },
	{ "a refused sender is refused to users too", "ann", "x@y.spam.example", 4, false },
	{ "who is nobody is not asked", "", "ann@our.example", 0, true },
};

/* First match wins: ann's lines end before those of everybody. */
static void
test_users(void **state)
{
	struct policy policy;
	struct err err;

	(void)state;
	policy_init(&policy);
	assert_int_equal(policy_add_user(&policy, SPAN("ann"), SPAN("ann@our.example"), 10,
	    &err), 0);
	assert_int_equal(policy_add_user(&policy, SPAN("ann"), SPAN("sales@our.example"), 10,
	    &err), 0);
	policy_close_user(&policy, SPAN("ann"), 10);
	assert_int_equal(policy_add_user(&policy, SPAN("robot"), SPAN("<>"), 11, &err), 0);
	policy_close_user(&policy, SPAN("robot"), 11);
	assert_int_equal(policy_add_user(&policy, SPAN("*"), SPAN("self"), 12, &err), 0);
	assert_int_equal(policy_add_user(&policy, SPAN("*"), SPAN("self@our.example"), 12,
	    &err), 0);
	policy_close_user(&policy, SPAN("*"), 12);
	add(&policy, POLICY_REFUSE_SENDER, "*.spam.example", 4);
	assert_int_equal(policy_add_user(&policy, SPAN("x"), SPAN("@y"), 1, &err), -1);
	policy_seal(&policy);
	for (size_t i = 0; i < sizeof(user_cases) / sizeof(user_cases[0]); i++) {
		const struct policy_facts facts = {
			.auth_user = span_from_cstr(user_cases[i].user),
			.sender = span_from_cstr(user_cases[i].sender), .rcpt = SPAN(""),
		};
		struct policy_verdict verdict = policy_judge_sender(&policy, &facts);

		if (verdict.admitted != user_cases[i].admitted ||
		    (verdict.line ? verdict.line->line : 0) != user_cases[i].line ||
		    (!verdict.admitted && verdict.reply.code != 550))
			fail_msg("%s", user_cases[i].name);
	}
	policy_fini(&policy);
}

/* No line at all: nobody relays, what is ours comes in. */
static void
test_empty(void **state)
{
	struct policy policy;
	struct policy_facts facts = {
		.auth_user = SPAN("ann"), .sender = SPAN(""), .rcpt = SPAN("a@b"),
	};

	(void)state;
	policy_init(&policy);
	policy_seal(&policy);
	assert_int_equal(policy_judge_rcpt(&policy, &facts).rule, POLICY_NOT_OURS);
	facts.rcpt_is_ours = true;
	assert_int_equal(policy_judge_rcpt(&policy, &facts).rule, POLICY_OURS);
	policy_fini(&policy);
}

static const struct {
	const char *pattern;
	const char *address;
	bool matches;
} pattern_cases[] = {
	{ "*", "", true }, { "*", "a@b.example", true },
	{ "<>", "", true }, { "<>", "a@b.example", false },
	{ "b.example", "a@B.Example", true }, { "b.example", "a@c.b.example", false },
	{ "*.b.example", "a@c.b.example", true }, { "*.b.example", "a@d.c.b.example", true },
	{ "*.b.example", "a@b.example", false }, { "*.b.example", "a@xb.example", false },
	{ "a@", "a@b.example", true }, { "a@", "aa@b.example", false },
	{ "A@b.example", "a@b.example", true }, { "a@b.example", "a@c.example", false },
	{ "a@", "", false }, { "b.example", "", false },
};

static const char *const bad_patterns[] = {
	"", "@", "@b.example", "*.", "b..example", "a b@c.example x", "a@b..c",
};

static void
test_patterns(void **state)
{
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(pattern_cases) / sizeof(pattern_cases[0]); i++)
		if (policy_pattern_matches(span_from_cstr(pattern_cases[i].pattern),
		    span_from_cstr(pattern_cases[i].address)) != pattern_cases[i].matches)
			fail_msg("%s for %s", pattern_cases[i].pattern, pattern_cases[i].address);
	for (size_t i = 0; i < sizeof(bad_patterns) / sizeof(bad_patterns[0]); i++)
		if (policy_check_pattern(span_from_cstr(bad_patterns[i]), &err) == 0)
			fail_msg("\"%s\" is no pattern", bad_patterns[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rcpt),
		cmocka_unit_test(test_client_and_sender),
		cmocka_unit_test(test_users),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_patterns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
