#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/queue/rig.h"

static int
setup(void **state)
{
	static struct rig rig;

	rig_init(&rig);
	rig_open(&rig);
	*state = &rig;
	return 0;
}

static int
teardown(void **state)
{
	rig_fini(*state);
	return 0;
}

static void
accepts_and_offers(void **state)
{
	struct rig *rig = *state;
	queue_id id = rig_send(rig, "a@example.org", "b@example.net", 10000, NULL);
	const struct rig_event *offer = rig_find(rig, 'o', id);

	assert_non_null(offer);
	assert_true(offer->had_envelope);
	assert_int_equal(offer->item.rcpt_count, 1);
	assert_int_equal(offer->item.open_count, 1);
	assert_int_equal(offer->item.body_bytes, 10000);
	assert_false(offer->item.found_at_start);
	assert_int_equal(rig_read(rig, id, 10000), QUEUE_DONE);
	assert_int_equal(rig_listed(rig), 1);
}

static void
takes_an_empty_body(void **state)
{
	struct rig *rig = *state;
	queue_id id = rig_send(rig, "", "b@example.net", 0, NULL);

	assert_int_equal(rig_read(rig, id, 0), QUEUE_DONE);
	rig_crash(rig);
	assert_int_equal(rig_read(rig, id, 0), QUEUE_DONE);
}

static void
survives_a_crash(void **state)
{
	struct rig *rig = *state;
	queue_id ids[20];

	for (size_t i = 0; i < 20; i++)
		ids[i] = rig_send(rig, "a@example.org", "b@example.net,c@example.com", 5000 * i,
		    NULL);
	rig_crash(rig);
	assert_int_equal(rig->found.message_count, 20);
	assert_int_equal(rig->found.damaged_count, 0);
	assert_int_equal(rig_count(rig, 'o'), 20);
	for (size_t i = 0; i < 20; i++) {
		const struct rig_event *offer = rig_find(rig, 'o', ids[i]);

		assert_non_null(offer);
		assert_true(offer->item.found_at_start);
		assert_int_equal(offer->item.rcpt_count, 2);
		assert_int_equal(rig_read(rig, ids[i], 5000 * i), QUEUE_DONE);
	}
}

static void
survives_many_crashes(void **state)
{
	struct rig *rig = *state;

	for (size_t i = 0; i < 30; i++) {
		(void)rig_send(rig, "a@example.org", "b@example.net", 1000, NULL);
		rig_crash(rig);
		assert_int_equal(rig_listed(rig), i + 1);
	}
}

static void
large_bodies_stream(void **state)
{
	struct rig *rig = *state;
	queue_id id;

	rig->settings.message_bytes_max = 64 << 20;
	id = rig_send(rig, "a@example.org", "b@example.net", 3000000, NULL);
	assert_int_equal(rig_read(rig, id, 3000000), QUEUE_DONE);
	rig_crash(rig);
	assert_int_equal(rig_read(rig, id, 3000000), QUEUE_DONE);
}

static void
settled_is_gone(void **state)
{
	struct rig *rig = *state;
	queue_id id = rig_send(rig, "a@example.org", "b@example.net", 100, NULL);

	assert_int_equal(rig_outcome(rig, id, 0, RCPT_DELIVERED, "ok"), QUEUE_DONE);
	assert_non_null(rig_find(rig, 'r', id));
	assert_int_equal(rig_listed(rig), 0);
	assert_int_equal(rig_read(rig, id, 100), QUEUE_NOT_FOUND);
	rig_crash(rig);
	assert_int_equal(rig->found.message_count, 0);
	assert_int_equal(rig_count(rig, 'o'), 0);
}

static void
deferral_survives(void **state)
{
	struct rig *rig = *state;
	queue_id id = rig_send(rig, "a@example.org", "b@example.net,c@example.com", 100, NULL);
	struct rig_answer answer = { 0 };
	struct queue_rcpt rcpt;

	assert_int_equal(rig_outcome(rig, id, 0, RCPT_DELIVERED, "ok"), QUEUE_DONE);
	assert_int_equal(rig_outcome(rig, id, 1, RCPT_WAITING, "greylisted"), QUEUE_DONE);
	assert_int_equal(rig_outcome(rig, id, 1, RCPT_WAITING, "greylisted again"), QUEUE_DONE);
	rig_crash(rig);
	assert_true(queue_find_rcpt(rig->queue, id, 0, &rcpt));
	assert_int_equal(rcpt.state, RCPT_DELIVERED);
	assert_true(queue_find_rcpt(rig->queue, id, 1, &rcpt));
	assert_int_equal(rcpt.state, RCPT_WAITING);
	assert_int_equal(rcpt.attempt_count, 2);
	assert_int_equal(rcpt.class_attempt_count, 2);
	assert_int_equal(rcpt.class, RETRY_GREYLISTED);
	assert_int_equal(rcpt.reason, REASON_WAITING_RETRY);
	assert_int_equal(rcpt.due_ms, (int64_t)loop_now_ms(rig->hub) + 60000);
	assert_int_equal(rcpt.domain.len, strlen("example.com"));
	(void)queue_read_envelope(rig->port, id, rig_got_envelope, &answer);
	rig_run(rig);
	assert_int_equal(answer.result, QUEUE_DONE);
	assert_string_equal(answer.envelope->rcpts[1].last.text, "greylisted again");
	assert_int_equal(answer.envelope->rcpts[1].last.code, 451);
	assert_int_equal(answer.envelope->rcpts[1].attempt_count, 2);
	assert_int_equal(answer.envelope->rcpts[0].state, RCPT_DELIVERED);
	assert_int_equal(answer.envelope->rcpts[1].last_host.len, 28);
	envelope_free(&answer.envelope);
}

/*
 * Hours in the queue before a machine starts again, whose own time begins anew: still, who waits
 * for a host has no time, and gets no further along a schedule.
 */
static void
waiting_for_a_host_is_no_time(void **state)
{
	struct rig *rig = *state;
	queue_id id = rig_send(rig, "a@example.org", "b@example.net", 100, NULL);
	struct queue_outcome outcome = { .state = RCPT_WAITING, .tried = true,
	    .reason = REASON_DESTINATION_BREAKER, .class = RETRY_GREYLISTED };
	struct queue_change change = { .outcomes = &outcome, .outcome_count = 1 };
	struct rig_answer answer = { 0 };
	struct queue_rcpt rcpt;

	assert_int_equal(rig_outcome(rig, id, 0, RCPT_WAITING, "greylisted"), QUEUE_DONE);
	clock_manual_step_wall_ms(&rig->clock, INT64_C(5) * 3600 * 1000);
	rig_crash(rig);
	reply_set(&outcome.reply, 451, "4.4.1", "refused");
	(void)queue_update(rig->queue, id, &change, rig_done, &answer);
	rig_run(rig);
	rig_crash(rig);
	assert_true(queue_find_rcpt(rig->queue, id, 0, &rcpt));
	assert_int_equal(rcpt.attempt_count, 2);
	assert_int_equal(rcpt.class_attempt_count, 1);
	assert_int_equal(rcpt.due_ms, 0);
}

static void
hold_survives(void **state)
{
	struct rig *rig = *state;
	queue_id id = rig_send(rig, "a@example.org", "b@example.net", 100, NULL);
	struct rig_answer answer = { 0 };
	struct queue_item item;

	(void)queue_hold(rig->queue, id, SPAN("looks odd"), rig_done, &answer);
	rig_run(rig);
	assert_int_equal(answer.result, QUEUE_DONE);
	assert_non_null(rig_find(rig, 'r', id));
	rig_crash(rig);
	assert_int_equal(rig_count(rig, 'o'), 0);
	assert_true(queue_find(rig->queue, id, &item));
	assert_true(item.held);
	assert_int_equal(item.reason, REASON_HELD);
	(void)queue_release(rig->queue, id, rig_done, &answer);
	rig_run(rig);
	assert_non_null(rig_find(rig, 'o', id));
	rig_crash(rig);
	assert_non_null(rig_find(rig, 'o', id));
}

static void
remove_is_for_good(void **state)
{
	struct rig *rig = *state;
	queue_id id = rig_send(rig, "a@example.org", "b@example.net", 100, NULL);
	struct rig_answer answer = { 0 };

	(void)queue_remove(rig->queue, id, rig_done, &answer);
	rig_run(rig);
	assert_int_equal(answer.result, QUEUE_DONE);
	assert_int_equal(rig_count(rig, 'r'), 1);
	(void)queue_remove(rig->queue, id, rig_done, &answer);
	rig_run(rig);
	assert_int_equal(answer.result, QUEUE_NOT_FOUND);
	rig_crash(rig);
	assert_int_equal(rig_listed(rig), 0);
}

static void
notice_and_mark_are_one(void **state)
{
	struct rig *rig = *state;
	queue_id id = rig_send(rig, "a@example.org", "b@example.net", 100, NULL);
	struct queue_port *port = queue_hub_port(rig->queue);
	struct queue_draft_terms terms = { .id = queue_new_id(port) };
	struct queue_draft *draft = queue_begin(port, &terms, NULL, NULL);
	struct envelope *envelope = rig_envelope("", "a@example.org");
	struct queue_outcome outcome = { .rcpt = 0, .state = RCPT_FAILED, .tried = true };
	struct queue_change change = { &outcome, 1, 0, false, &draft, &envelope };
	struct rig_answer answer = { 0 };
	char text[QUEUE_ID_BYTES];

	queue_id_print(id, text);
	envelope->parent = envelope_keep(envelope, span_from_cstr(text));
	assert_int_equal(queue_append(draft, SPAN("sorry\r\n")), 7);
	(void)queue_update(rig->queue, id, &change, rig_done, &answer);
	assert_null(draft);
	assert_null(envelope);
	rig_run(rig);
	assert_int_equal(answer.result, QUEUE_DONE);
	assert_non_null(rig_find(rig, 'r', id));
	const struct rig_event *offer = rig_find(rig, 'o', terms.id);

	assert_non_null(offer);
	assert_true(offer->item.is_notification);
	rig_crash(rig);
	assert_int_equal(rig_listed(rig), 1);
	offer = rig_find(rig, 'o', terms.id);
	assert_non_null(offer);
	assert_true(offer->item.is_notification);
}

static void
attempts_have_numbers(void **state)
{
	struct rig *rig = *state;
	queue_id id = rig_send(rig, "a@example.org", "b@x.net,c@y.net,d@z.net", 100, NULL);
	static const uint32_t all[] = { 0, 1, 2 }, some[] = { 2, 0 }, one[] = { 1 };
	struct rig_answer answer = { 0 };
	uint32_t first;

	(void)queue_attempt(rig->queue, id, all, 3, SPAN("h"), rig_begun, &answer);
	rig_run(rig);
	assert_int_equal(answer.result, QUEUE_DONE);
	assert_int_equal(answer.batch, 0);
	(void)queue_attempt(rig->queue, id, some, 2, SPAN("h"), rig_begun, &answer);
	rig_run(rig);
	first = answer.batch;
	assert_true(first > 0);
	(void)queue_attempt(rig->queue, id, one, 1, SPAN("h"), rig_begun, &answer);
	rig_run(rig);
	assert_true(answer.batch > first);
	rig_crash(rig);
	(void)queue_attempt(rig->queue, id, some, 2, SPAN("h"), rig_begun, &answer);
	rig_run(rig);
	assert_int_equal(answer.batch, first);
}

static void
cancelled_calls_stay_silent(void **state)
{
	struct rig *rig = *state;
	struct rig_answer answer = { 0 };
	queue_id id = rig_send(rig, "a@example.org", "b@example.net", 100, NULL);
	struct token token = queue_remove(rig->queue, id, rig_done, &answer);

	queue_cancel(rig->queue, &token);
	rig_run(rig);
	assert_int_equal(answer.count, 0);
	assert_int_equal(rig_listed(rig), 0);
}

static void
aborted_drafts_leave_nothing(void **state)
{
	struct rig *rig = *state;
	struct queue_draft_terms terms = { .id = queue_new_id(rig->port) };
	struct queue_draft *draft = queue_begin(rig->port, &terms, NULL, NULL);
	char piece[4096] = { 0 };

	for (int i = 0; i < 200; i++)
		assert_int_equal(queue_append(draft, span_make(piece, sizeof(piece))),
		    sizeof(piece));
	queue_abort(&draft);
	assert_null(draft);
	rig_run(rig);
	rig_crash(rig);
	assert_int_equal(rig_listed(rig), 0);
	assert_int_equal(rig->found.damaged_count, 0);
}

static void
space_comes_back(void **state)
{
	struct rig *rig = *state;
	struct queue_stats stats;

	for (int i = 0; i < 400; i++) {
		queue_id id = rig_send(rig, "a@example.org", "b@example.net", 20000, NULL);

		assert_int_equal(rig_outcome(rig, id, 0, RCPT_DELIVERED, "ok"), QUEUE_DONE);
	}
	queue_stats(rig->queue, &stats);
	assert_int_equal(stats.message_count, 0);
	assert_true(stats.segment_live_count <= 2);
	assert_int_equal(stats.live_bytes, 0);
	assert_true(rig->disk.file_count < 16);
	rig_crash(rig);
	assert_int_equal(rig_listed(rig), 0);
}

static void
marks_outlive_their_segment(void **state)
{
	struct rig *rig = *state;
	queue_id first = rig_send(rig, "a@example.org", "b@example.net", 50000, NULL);
	queue_id second = rig_send(rig, "a@example.org", "b@example.net", 1000, NULL);

	/* Fill segments, so that the mark of `first` is in another one than its message. */
	for (int i = 0; i < 10; i++) {
		queue_id id = rig_send(rig, "x@example.org", "b@example.net", 100000, NULL);

		assert_int_equal(rig_outcome(rig, id, 0, RCPT_DELIVERED, "ok"), QUEUE_DONE);
		if (i == 4)
			assert_int_equal(rig_outcome(rig, first, 0, RCPT_DELIVERED, "ok"),
			    QUEUE_DONE);
	}
	for (int i = 0; i < 40; i++) {
		queue_id id = rig_send(rig, "x@example.org", "b@example.net", 100000, NULL);

		assert_int_equal(rig_outcome(rig, id, 0, RCPT_DELIVERED, "ok"), QUEUE_DONE);
		if (i % 7 == 0) {
			rig_crash(rig);
			assert_int_equal(rig_listed(rig), 1);
		}
	}
	assert_null(rig_find(rig, 'o', first));
	assert_int_equal(rig_read(rig, second, 1000), QUEUE_DONE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(accepts_and_offers, setup, teardown),
		cmocka_unit_test_setup_teardown(takes_an_empty_body, setup, teardown),
		cmocka_unit_test_setup_teardown(survives_a_crash, setup, teardown),
		cmocka_unit_test_setup_teardown(survives_many_crashes, setup, teardown),
		cmocka_unit_test_setup_teardown(large_bodies_stream, setup, teardown),
		cmocka_unit_test_setup_teardown(settled_is_gone, setup, teardown),
		cmocka_unit_test_setup_teardown(deferral_survives, setup, teardown),
		cmocka_unit_test_setup_teardown(waiting_for_a_host_is_no_time, setup, teardown),
		cmocka_unit_test_setup_teardown(hold_survives, setup, teardown),
		cmocka_unit_test_setup_teardown(remove_is_for_good, setup, teardown),
		cmocka_unit_test_setup_teardown(notice_and_mark_are_one, setup, teardown),
		cmocka_unit_test_setup_teardown(attempts_have_numbers, setup, teardown),
		cmocka_unit_test_setup_teardown(cancelled_calls_stay_silent, setup, teardown),
		cmocka_unit_test_setup_teardown(aborted_drafts_leave_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(space_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(marks_outlive_their_segment, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
