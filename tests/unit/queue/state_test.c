#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "queue/envelope_codec.h"
#include "queue/retry.h"
#include "queue/state.h"
#include "tests/unit/queue/rig.h"

/* ---- states ------------------------------------------------------------------ */

static struct message_state *
busy_state(void)
{
	struct message_state *state = state_new(5);
	static const uint32_t some[] = { 0, 2 };

	for (uint32_t i = 0; i < 5; i++) {
		struct queue_outcome outcome = {
			.rcpt = i,
			.state = i == 1 ? RCPT_DELIVERED : RCPT_WAITING,
			.class = RETRY_DNS,
			.reason = REASON_WAITING_RETRY,
			.due_ms = 1000 + i,
			.tried = true,
			.host = SPAN("mx.example.net"),
		};

		reply_set(&outcome.reply, 451, "4.4.3", i < 3 ? "later" : "much later");
		state_apply(state, &outcome, 1, 99);
	}
	assert_int_equal(state_begin_attempt(state, some, 2, SPAN("h")), 1);
	state->held = true;
	return state;
}

static void
states_come_back(void **unused)
{
	struct message_state *state = busy_state(), *read;
	struct buf out;

	(void)unused;
	buf_init(&out, STATE_BYTES_MAX);
	state_encode(state, &out);
	read = state_decode(buf_span(&out));
	assert_non_null(read);
	assert_true(read->held);
	assert_int_equal(read->rcpt_count, 5);
	assert_int_equal(read->word_count, 2);          /* shared by who was told the same */
	assert_int_equal(read->rcpts[4].due_ms, 1004);
	assert_int_equal(read->rcpts[1].state, RCPT_DELIVERED);
	assert_int_equal(read->attempt_count, 1);
	assert_int_equal(read->attempts[0].rcpts[1], 2);
	/* The same open set has the same number, another one another. */
	assert_int_equal(state_begin_attempt(read, (const uint32_t[]){ 0, 2 }, 2, SPAN("x")), 1);
	assert_int_equal(state_begin_attempt(read, (const uint32_t[]){ 3 }, 1, SPAN("x")), 2);
	state_free(&read);
	for (size_t len = 0; len < buf_len(&out); len++) {
		read = state_decode(span_first(buf_span(&out), len));
		assert_null(read);
	}
	buf_fini(&out);
	state_free(&state);
}

/* Whatever octets there are: they are refused or make a state, and nothing else happens. */
static void
wrong_octets_do_no_harm(void **unused)
{
	struct message_state *state = busy_state();
	struct buf out;

	(void)unused;
	buf_init(&out, STATE_BYTES_MAX);
	state_encode(state, &out);
	for (size_t bit = 0; bit < 8 * buf_len(&out); bit++) {
		out.data[out.start + bit / 8] ^= (char)(1 << bit % 8);
		struct message_state *read = state_decode(buf_span(&out));

		state_free(&read);
		out.data[out.start + bit / 8] ^= (char)(1 << bit % 8);
	}
	buf_fini(&out);
	state_free(&state);
}

static void
shortened_states_keep_what_counts(void **unused)
{
	struct message_state *state = busy_state(), *read;
	struct buf out;

	(void)unused;
	state_shorten(state);
	buf_init(&out, STATE_BYTES_MAX);
	state_encode(state, &out);
	assert_true(buf_len(&out) <= state_bytes_max(5));
	read = state_decode(buf_span(&out));
	assert_non_null(read);
	assert_int_equal(read->word_count, 0);
	assert_int_equal(read->rcpts[3].attempt_count, 1);
	assert_int_equal(read->rcpts[1].state, RCPT_DELIVERED);
	assert_int_equal(read->attempt_count, 1);
	assert_true(read->held);
	state_free(&read);
	buf_fini(&out);
	state_free(&state);
}

static void
apply(struct message_state *state, enum retry_class class, int64_t due_ms)
{
	state_apply(state, &(struct queue_outcome){ .state = RCPT_WAITING, .class = class,
	    .due_ms = due_ms, .tried = true }, 1, 99);
}

/*
 * Attempts that end because the host is down leave the time to the host: they are counted, and
 * take the recipient no further along the schedule of a class.
 */
static void
a_host_that_is_down_is_no_step_of_a_schedule(void **unused)
{
	struct message_state *state = state_new(1);
	const struct state_rcpt *rcpt = &state->rcpts[0];

	(void)unused;
	for (int i = 0; i < 8; i++)
		apply(state, RETRY_GREYLISTED, 0);
	assert_int_equal(rcpt->attempt_count, 8);
	assert_int_equal(rcpt->class_attempt_count, 0);
	apply(state, RETRY_GREYLISTED, 1000);
	assert_int_equal(rcpt->class_attempt_count, 1);
	apply(state, RETRY_CONNECT, 0);
	assert_int_equal(rcpt->class, RETRY_GREYLISTED);
	assert_int_equal(rcpt->class_attempt_count, 1);
	apply(state, RETRY_GREYLISTED, 2000);
	assert_int_equal(rcpt->class_attempt_count, 2);
	apply(state, RETRY_OTHER, 3000);
	assert_int_equal(rcpt->class_attempt_count, 1);
	assert_int_equal(rcpt->attempt_count, 12);
	state_free(&state);
}

/* ---- envelopes ------------------------------------------------------------------ */

static void
envelopes_come_back(void **unused)
{
	struct envelope *envelope = rig_envelope("a@example.org", "b@x.net,c@y.net"), *read;
	struct envelope_summary summary;
	struct span domain;
	struct buf out;

	(void)unused;
	envelope->body_bytes = 4711;
	envelope->origin = envelope_keep(envelope, SPAN("origin"));
	buf_init(&out, ENVELOPE_BYTES_MAX);
	envelope_encode(envelope, &out);
	read = envelope_decode(buf_span(&out));
	assert_non_null(read);
	assert_int_equal(read->rcpt_count, 2);
	assert_true(span_equal_cstr(read->rcpts[1].address, "c@y.net"));
	assert_true(span_equal_cstr(read->rcpts[1].domain, "y.net"));
	assert_true(span_equal_cstr(read->origin, "origin"));
	envelope_free(&read);
	assert_true(envelope_summarize(&summary, buf_span(&out)));
	assert_true(envelope_summary_next(&summary, &domain));
	assert_true(span_equal_cstr(domain, "x.net"));
	assert_true(envelope_summary_next(&summary, &domain));
	for (size_t len = 0; len < buf_len(&out); len++) {
		read = envelope_decode(span_first(buf_span(&out), len));
		assert_null(read);
	}
	buf_fini(&out);
	envelope_free(&envelope);
}

/* ---- retries --------------------------------------------------------------------- */

static const struct {
	const char *name;
	unsigned int code;
	const char *status, *text;
	enum retry_class expected;
} reply_cases[] = {
	{ "a full mailbox by its status", 452, "4.2.2", "whatever", RETRY_MAILBOX_FULL },
	{ "greylisting by its words", 450, "4.2.0", "Greylisted, see you", RETRY_GREYLISTED },
	{ "greylisting as RFC 6647 has it", 451, "4.7.1", "come back", RETRY_GREYLISTED },
	{ "dns by its status", 451, "4.4.3", "lookup failed", RETRY_DNS },
	{ "tls by its code", 454, "", "TLS not available", RETRY_TLS },
	{ "rate by its words", 421, "4.7.0", "Too many connections", RETRY_RATE },
	{ "reputation by its words", 451, "4.7.0", "listed at Spamhaus", RETRY_REPUTATION },
	{ "nothing in particular", 451, "4.3.0", "oops", RETRY_OTHER },
	{ "a status without detail", 451, "4", "oops", RETRY_OTHER },
	{ "no reply at all", 0, "", "", RETRY_PROTOCOL },
	{ "a code that is none", 999, "", "", RETRY_PROTOCOL },
};

static void
replies_have_a_class(void **unused)
{
	(void)unused;
	for (size_t i = 0; i < sizeof(reply_cases) / sizeof(reply_cases[0]); i++) {
		enum retry_class class = retry_class_of_reply(reply_cases[i].code,
		    span_from_cstr(reply_cases[i].status), span_from_cstr(reply_cases[i].text));

		if (class != reply_cases[i].expected)
			fail_msg("%s: %s", reply_cases[i].name, retry_class_name(class));
	}
	for (unsigned int i = 0; i < RETRY_CLASS_COUNT; i++) {
		enum retry_class class;

		assert_true(retry_class_parse(span_from_cstr(retry_class_name(
		    (enum retry_class)i)), &class));
		assert_int_equal(class, i);
	}
}

/* Five days of retries in a moment: they grow, end with the lifetime, and have a last try. */
static void
five_days_of_retries(void **unused)
{
	struct retry_policy policy;
	struct random_seeded random;

	(void)unused;
	random_init_seeded(&random, 3);
	retry_policy_init(&policy);
	for (unsigned int class = 0; class < RETRY_CLASS_COUNT; class++) {
		uint64_t age_ms = 0;
		uint32_t count = 0;

		while (!retry_is_over(&policy, age_ms)) {
			uint64_t wait_ms = retry_interval_ms(&policy, (enum retry_class)class,
			    ++count, age_ms, &random.random);

			assert_true(wait_ms > 0);
			age_ms += wait_ms;
		}
		assert_int_equal(age_ms, policy.lifetime_ms);
		assert_in_range(count, 20, 2000);
	}
	assert_false(retry_delay_notice_is_due(&policy, policy.delay_notice_ms - 1));
	assert_true(retry_delay_notice_is_due(&policy, policy.delay_notice_ms));
	policy.delay_notice_ms = 0;
	assert_false(retry_delay_notice_is_due(&policy, UINT64_MAX));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(states_come_back),
		cmocka_unit_test(wrong_octets_do_no_harm),
		cmocka_unit_test(shortened_states_keep_what_counts),
		cmocka_unit_test(a_host_that_is_down_is_no_step_of_a_schedule),
		cmocka_unit_test(envelopes_come_back),
		cmocka_unit_test(replies_have_a_class),
		cmocka_unit_test(five_days_of_retries),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
