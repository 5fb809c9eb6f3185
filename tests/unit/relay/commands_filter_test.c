/* Which messages an operator means: the grammar of filters and what they match. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/json.h"
#include "relay/commands_filter.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct {
	const char *pattern, *text;
	bool matches;
} glob_cases[] = {
	{ "", "", true },
	{ "", "a", false },
	{ "*", "", true },
	{ "*", "anything at all", true },
	{ "**", "", true },
	{ "?", "", false },
	{ "?", "a", true },
	{ "?", "ab", false },
	{ "a*", "a", true },
	{ "a*", "ba", false },
	{ "*a", "ba", true },
	{ "*a", "ab", false },
	{ "*@example.net", "ann@EXAMPLE.net", true },
	{ "*@example.net", "ann@example.net.evil", false },
	{ "a*b*c", "aXbXbXc", true },
	{ "a*b*c", "aXcXb", false },
	{ "a?c*", "abc", true },
	{ "*ab", "aab", true },
	{ "[a]", "a", false },
	{ "\\*", "*", false },
	/* Many stars cost no more than the lengths multiplied. */
	{ "a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
	    false },
};

static void
test_glob(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(glob_cases); i++)
		if (commands_glob(span_from_cstr(glob_cases[i].pattern),
		    span_from_cstr(glob_cases[i].text)) != glob_cases[i].matches)
			fail_msg("%s and %s", glob_cases[i].pattern, glob_cases[i].text);
}

/* The message that every filter below is asked about. */
static struct queue_item
make_item(void)
{
	struct queue_item item = { .id = 0 };

	assert_true(queue_id_parse(SPAN("0SY8VE461A000"), &item.id));
	item.sender = SPAN("Ann@Example.org");
	item.client = SPAN("192.0.2.7");
	item.age_ms = 2 * 3600 * 1000;
	item.body_bytes = 10 << 20;
	return item;
}

static const struct {
	const char *name, *filters;
	bool matches;
	bool asks_envelope;
} match_cases[] = {
	{ "nothing asked", "[]", true, false },
	{ "its id", "[\"id=0SY8VE461A000\"]", true, false },
	{ "another id", "[\"id=0SY8VE461A001\"]", false, false },
	{ "one of two ids", "[\"id=0SY8VE461A001\",\"id=0SY8VE461A000\"]", true, false },
	{ "its id, and another sender", "[\"id=0SY8VE461A000\",\"from=b@*\"]", false, false },
	{ "its sender in other case", "[\"from=ann@example.ORG\"]", true, false },
	{ "no empty sender", "[\"from=<>\"]", false, false },
	{ "no empty pattern", "[\"from=\"]", false, false },
	{ "its client", "[\"client=192.0.2.*\"]", true, false },
	{ "its destination", "[\"dest=mbox*\"]", true, false },
	{ "another destination", "[\"dest=box\"]", false, false },
	{ "its state", "[\"state=waiting\"]", true, false },
	{ "another state", "[\"state=held\"]", false, false },
	{ "its reason", "[\"reason=waiting-retry\"]", true, false },
	{ "older than an hour", "[\"age>1h\"]", true, false },
	{ "older than its age", "[\"age>2h\"]", false, false },
	{ "as old as it is", "[\"age=2h\"]", true, false },
	{ "younger", "[\"age<2h1s\"]", true, false },
	{ "between", "[\"age>1h\",\"age<3h\"]", true, false },
	{ "bigger", "[\"size>9M\"]", true, false },
	{ "its size", "[\"size=10M\"]", true, false },
	{ "smaller", "[\"size<10M\"]", false, false },
	{ "attempts", "[\"attempts>2\"]", true, false },
	{ "too many attempts", "[\"attempts>3\"]", false, false },
	{ "soon", "[\"next<6m\"]", true, false },
	{ "not so soon", "[\"next<5m\"]", false, false },
	{ "its recipient", "[\"to=bob@example.net\"]", true, true },
	{ "the domain of an open recipient", "[\"domain=example.net\"]", true, true },
	{ "one that has it already", "[\"to=carl@example.com\"]", false, true },
	{ "one that is not certain to have it", "[\"to=dora@*\"]", true, true },
	{ "both of one recipient", "[\"to=bob@*\",\"domain=example.com\"]", false, true },
};

static struct envelope *
make_envelope(void)
{
	struct envelope *envelope = envelope_new();
	struct envelope_rcpt *rcpt;

	(void)envelope_add_rcpt(envelope, SPAN("bob@example.net"));
	rcpt = envelope_add_rcpt(envelope, SPAN("carl@example.com"));
	rcpt->state = RCPT_DELIVERED;
	rcpt = envelope_add_rcpt(envelope, SPAN("dora@example.com"));
	rcpt->state = RCPT_UNCERTAIN;
	return envelope;
}

static void
test_matches(void **state)
{
	struct envelope *envelope = make_envelope();
	struct queue_item item = make_item();
	const struct commands_facts facts = {
		.item = &item, .state = commands_state(&item, REASON_WAITING_RETRY),
		.reason = REASON_WAITING_RETRY, .destination = SPAN("mbox1:2424"),
		.attempt_count = 3, .next_ms = 5 * 60 * 1000,
	};

	(void)state;
	for (size_t i = 0; i < COUNT(match_cases); i++) {
		struct commands_filter filter;
		struct json *filters;
		struct err err;

		assert_int_equal(json_parse(span_from_cstr(match_cases[i].filters), &filters,
		    &err), 0);
		if (commands_filter_read(&filter, filters, &err) < 0)
			fail_msg("%s: %s", match_cases[i].name, err.text);
		if ((commands_filter_matches(&filter, &facts) &&
		    commands_filter_matches_envelope(&filter, envelope)) !=
		    match_cases[i].matches || filter.needs_envelope !=
		    match_cases[i].asks_envelope)
			fail_msg("%s", match_cases[i].name);
		json_free(&filters);
	}
	envelope_free(&envelope);
}

static const struct {
	const char *name, *filters, *words;     /* of the error */
} bad_cases[] = {
	{ "no list", "{}", "a list of texts" },
	{ "a list of numbers", "[1]", "a list of texts" },
	{ "no sign", "[\"held\"]", "expected a filter like" },
	{ "an empty filter", "[\"\"]", "expected a filter like" },
	{ "an unknown key", "[\"subject=x\"]", "there is no such filter" },
	{ "a key in other case", "[\"From=x\"]", "there is no such filter" },
	{ "a text that is greater", "[\"from>x\"]", "expected from=" },
	{ "an id that is less", "[\"id<0SY8VE461A000\"]", "expected id=" },
	{ "an id too short", "[\"id=0SY8\"]", "13 characters" },
	{ "an unknown state", "[\"state=asleep\"]", "expected state=" },
	{ "an unknown reason", "[\"reason=why-not\"]", "there is no reason" },
	{ "an age without a unit of time", "[\"age>2x\"]", "age>2x" },
	{ "a negative age", "[\"age>-2h\"]", "age>-2h" },
	{ "a size of words", "[\"size>big\"]", "size>big" },
	{ "attempts of a half", "[\"attempts>1.5\"]", "expected a number" },
	{ "attempts without a number", "[\"attempts>\"]", "expected a number" },
	{ "two signs", "[\"age>=2h\"]", "age>=2h" },
};

static void
test_refuses(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(bad_cases); i++) {
		struct commands_filter filter;
		struct json *filters;
		struct err err = { .kind = ERR_NONE };

		assert_int_equal(json_parse(span_from_cstr(bad_cases[i].filters), &filters, &err),
		    0);
		if (commands_filter_read(&filter, filters, &err) == 0 ||
		    !strstr(err.text, bad_cases[i].words))
			fail_msg("%s: %s", bad_cases[i].name, err.text);
		json_free(&filters);
	}
}

static void
test_bounds(void **state)
{
	struct commands_filter filter;
	struct json *filters = json_new_list();
	char text[COMMANDS_FILTER_BYTES_MAX + 2];
	struct err err;

	(void)state;
	assert_int_equal(commands_filter_read(&filter, NULL, &err), 0);
	assert_int_equal(filter.term_count, 0);
	for (int i = 0; i < COMMANDS_FILTER_TERMS_MAX; i++)
		json_add_cstr(filters, "size>1");
	assert_int_equal(commands_filter_read(&filter, filters, &err), 0);
	json_add_cstr(filters, "size>1");
	assert_int_equal(commands_filter_read(&filter, filters, &err), -1);
	json_free(&filters);
	filters = json_new_list();
	memset(text, 'x', sizeof(text));
	memcpy(text, "from=", 5);
	json_add_text(filters, span_make(text, COMMANDS_FILTER_BYTES_MAX));
	assert_int_equal(commands_filter_read(&filter, filters, &err), 0);
	json_free(&filters);
	filters = json_new_list();
	json_add_text(filters, span_make(text, COMMANDS_FILTER_BYTES_MAX + 1));
	assert_int_equal(commands_filter_read(&filter, filters, &err), -1);
	json_free(&filters);
}

static const struct {
	const char *filters;
	bool only;
} only_cases[] = {
	{ "[\"id=0SY8VE461A000\"]", true },
	{ "[\"id=0SY8VE461A000\",\"age>1h\"]", true },
	{ "[\"id=0SY8VE461A000\",\"id=0SY8VE461A001\"]", false },
	{ "[\"age>1h\"]", false },
	{ "[]", false },
};

static void
test_only_id(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(only_cases); i++) {
		struct commands_filter filter;
		struct json *filters;
		struct err err;
		queue_id id;

		assert_int_equal(json_parse(span_from_cstr(only_cases[i].filters), &filters,
		    &err), 0);
		assert_int_equal(commands_filter_read(&filter, filters, &err), 0);
		assert_int_equal(commands_filter_only_id(&filter, &id), only_cases[i].only);
		json_free(&filters);
	}
}

static const struct {
	bool damaged, held;
	enum queue_reason reason;
	const char *state;
} state_cases[] = {
	{ false, false, REASON_NONE, "waiting" },
	{ false, false, REASON_RESOLVING, "active" },
	{ false, false, REASON_SETTLED, "active" },
	{ false, false, REASON_IN_FLIGHT, "active" },
	{ false, false, REASON_UNCERTAIN, "uncertain" },
	{ false, false, REASON_PARTIAL, "partial" },
	{ false, false, REASON_HELD, "held" },
	{ false, true, REASON_IN_FLIGHT, "held" },
	{ true, true, REASON_READY, "damaged" },
	{ false, false, REASON_DAMAGED, "damaged" },
};

static void
test_states(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(state_cases); i++) {
		const struct queue_item item = {
			.damaged = state_cases[i].damaged, .held = state_cases[i].held,
		};

		assert_string_equal(commands_state(&item, state_cases[i].reason),
		    state_cases[i].state);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_glob),
		cmocka_unit_test(test_matches),
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_only_id),
		cmocka_unit_test(test_states),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
