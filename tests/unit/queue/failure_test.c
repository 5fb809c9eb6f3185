#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/queue/rig.h"

/* The disk fails (R7): what was said stays true, what happened is not forgotten. */
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
fail_syncs(struct rig *rig, int count)
{
	rig->disk.sync_error = EIO;
	rig->disk.error_count = count;
}

static void
heal(struct rig *rig)
{
	rig->disk.sync_error = rig->disk.write_error = rig->disk.read_error = 0;
	rig->disk.error_count = rig->disk.error_skip = 0;
	for (int i = 0; i < 4; i++) {
		clock_manual_advance_ms(&rig->clock, 1000);
		rig_run(rig);
	}
}

static enum queue_pressure
last_pressure(const struct rig *rig)
{
	for (size_t i = rig->event_count; i-- > 0;) {
		if (rig->events[i].kind == 'p')
			return rig->events[i].pressure;
	}
	return PRESSURE_NONE;
}

static void
mail_of_a_failed_sync_is_unknown(void **state)
{
	struct rig *rig = *state;
	enum queue_result result;
	queue_id before = rig_send(rig, "a@example.org", "b@example.net", 100, NULL);

	fail_syncs(rig, 1);
	(void)rig_send(rig, "a@example.org", "b@example.net", 100, &result);
	assert_int_equal(result, QUEUE_UNKNOWN);
	queue_id after = rig_send(rig, "a@example.org", "b@example.net", 100, NULL);

	assert_int_equal(last_pressure(rig), PRESSURE_NONE);
	rig_crash(rig);
	assert_int_equal(rig_listed(rig), 2);
	assert_int_equal(rig_read(rig, before, 100), QUEUE_DONE);
	assert_int_equal(rig_read(rig, after, 100), QUEUE_DONE);
}

static void
outcomes_of_a_failed_sync_are_written_again(void **state)
{
	struct rig *rig = *state;
	queue_id id = rig_send(rig, "a@example.org", "b@example.net,c@example.net", 100, NULL);
	struct queue_rcpt rcpt;

	fail_syncs(rig, 1);
	assert_int_equal(rig_outcome(rig, id, 0, RCPT_DELIVERED, "ok"), QUEUE_DONE);
	rig_crash(rig);
	assert_true(queue_find_rcpt(rig->queue, id, 0, &rcpt));
	assert_int_equal(rcpt.state, RCPT_DELIVERED);
	fail_syncs(rig, 1);
	assert_int_equal(rig_outcome(rig, id, 1, RCPT_DELIVERED, "ok"), QUEUE_DONE);
	rig_crash(rig);
	assert_int_equal(rig_listed(rig), 0);
}

/* Two segments fail one after the other: nothing can be recorded, until it can. */
static void
without_a_log_nothing_is_forgotten(void **state)
{
	struct rig *rig = *state;
	queue_id ids[3];
	enum queue_result result;

	for (size_t i = 0; i < 3; i++)
		ids[i] = rig_send(rig, "a@example.org", "b@x.net,c@y.net", 100, NULL);
	fail_syncs(rig, -1);
	assert_int_equal(rig_outcome(rig, ids[0], 0, RCPT_DELIVERED, "ok"), QUEUE_UNKNOWN);
	assert_int_equal(last_pressure(rig), PRESSURE_NO_LOG);
	assert_false(queue_may_deliver(rig->port));
	assert_int_equal(rig_outcome(rig, ids[1], 0, RCPT_DELIVERED, "ok"), QUEUE_UNKNOWN);
	(void)rig_send(rig, "a@example.org", "b@example.net", 100, &result);
	assert_int_not_equal(result, QUEUE_DONE);
	heal(rig);
	assert_int_equal(last_pressure(rig), PRESSURE_NONE);
	assert_true(queue_may_deliver(rig->port));
	rig_crash(rig);
	for (size_t i = 0; i < 3; i++) {
		struct queue_rcpt rcpt;

		assert_true(queue_find_rcpt(rig->queue, ids[i], 0, &rcpt));
		assert_int_equal(rcpt.state, i < 2 ? RCPT_DELIVERED : RCPT_WAITING);
	}
}

static struct rig_answer *
fail_with_notice(struct rig *rig, queue_id id, queue_id *notice_out)
{
	static struct rig_answer answer;
	struct queue_port *port = queue_hub_port(rig->queue);
	struct queue_draft_terms terms = { .id = queue_new_id(port) };
	struct queue_draft *draft = queue_begin(port, &terms, NULL, NULL);
	struct envelope *envelope = rig_envelope("", "a@example.org");
	struct queue_outcome outcome = { .rcpt = 0, .state = RCPT_FAILED, .tried = true };
	struct queue_change change = { &outcome, 1, 0, false, &draft, &envelope };

	answer = (struct rig_answer){ 0 };
	*notice_out = terms.id;
	for (size_t at = 0; at < 2000; at++) {
		char octet = rig_octet(terms.id, at);

		assert_int_equal(queue_append(draft, span_make(&octet, 1)), 1);
	}
	(void)queue_update(rig->queue, id, &change, rig_done, &answer);
	rig_run(rig);
	assert_int_equal(answer.count, 1);
	return &answer;
}

static void
a_notice_waits_for_the_log_with_its_mark(void **state)
{
	struct rig *rig = *state;
	queue_id id = rig_send(rig, "a@example.org", "b@example.net", 100, NULL), notice;

	fail_syncs(rig, -1);
	assert_int_equal(fail_with_notice(rig, id, &notice)->result, QUEUE_UNKNOWN);
	clock_manual_advance_ms(&rig->clock, 1000);
	rig_run(rig);
	heal(rig);
	assert_non_null(rig_find(rig, 'r', id));
	assert_non_null(rig_find(rig, 'o', notice));
	rig_crash(rig);
	assert_int_equal(rig_listed(rig), 1);
	assert_int_equal(rig_read(rig, notice, 2000), QUEUE_DONE);
}

/* An attempt of all recipients writes nothing, and yet may not begin without a log. */
static void
no_attempt_without_a_log(void **state)
{
	struct rig *rig = *state;
	queue_id id = rig_send(rig, "a@example.org", "b@example.net", 100, NULL);
	static const uint32_t all[] = { 0 };
	struct rig_answer answer = { 0 };
	enum queue_result result;

	fail_syncs(rig, -1);
	(void)rig_send(rig, "a@example.org", "b@example.net", 100, &result);
	(void)rig_send(rig, "a@example.org", "b@example.net", 100, &result);
	(void)queue_attempt(rig->queue, id, all, 1, SPAN("h"), rig_begun, &answer);
	rig_run(rig);
	assert_int_equal(answer.result, QUEUE_FAILED);
	heal(rig);
}

/* Half a body that cannot be written: the message is certainly not there. */
static void
a_failed_chunk_fails_its_message(void **state)
{
	struct rig *rig = *state;
	enum queue_result result;

	fail_syncs(rig, 1);
	(void)rig_send(rig, "a@example.org", "b@example.net", 1000000, &result);
	assert_int_equal(result, QUEUE_FAILED);
	rig_crash(rig);
	assert_int_equal(rig_listed(rig), 0);
}

/* On a full disk mail is refused and outcomes are still recorded. */
static void
a_full_disk_takes_outcomes(void **state)
{
	struct rig *rig = *state;
	queue_id ids[100];
	size_t count = 0;
	enum queue_result result = QUEUE_DONE;

	/* A reserve in which each outcome may have a block of its own. */
	rig_fini(rig);
	rig_init(rig);
	rig->settings.reserve_bytes = 192 << 10;
	rig->disk.bytes_max = 2 << 20;
	rig_open(rig);
	while (count < 100) {
		ids[count] = rig_send(rig, "a@example.org", "b@x.net,c@y.net", 50000, &result);
		if (result != QUEUE_DONE)
			break;
		count++;
	}
	assert_int_equal(result, QUEUE_FULL);
	assert_int_equal(last_pressure(rig), PRESSURE_REFUSE);
	assert_true(count > 10);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(rig_outcome(rig, ids[i], 0, RCPT_DELIVERED, "ok"), QUEUE_DONE);
	rig_crash(rig);
	assert_int_equal(rig_listed(rig), count);
	for (size_t i = 0; i < 5; i++) {
		struct queue_rcpt rcpt;

		assert_true(queue_find_rcpt(rig->queue, ids[i], 0, &rcpt));
		assert_int_equal(rcpt.state, RCPT_DELIVERED);
	}
	/* Half of it goes, and mail is taken again. */
	for (size_t i = 0; i < count / 2; i++) {
		(void)rig_outcome(rig, ids[i], 0, RCPT_DELIVERED, "ok");
		assert_int_equal(rig_outcome(rig, ids[i], 1, RCPT_DELIVERED, "ok"), QUEUE_DONE);
	}
	heal(rig);
	assert_int_equal(last_pressure(rig), PRESSURE_NONE);
	(void)rig_send(rig, "a@example.org", "b@x.net", 50000, NULL);
}

/* Words that would not fit into a segment give way to what must be recorded. */
static void
a_state_too_large_loses_its_words(void **state)
{
	struct rig *rig = *state;
	enum { RCPTS = 200 };
	char rcpts[RCPTS * 16] = "", words[200];
	struct queue_rcpt rcpt;

	rig_fini(rig);
	rig_init(rig);
	rig->settings.segment_bytes = 64 << 10;
	rig_open(rig);
	for (int i = 0; i < RCPTS; i++)
		strcat(rcpts, i ? ",bb@example.net" : "bb@example.net");
	queue_id id = rig_send(rig, "a@example.org", rcpts, 100, NULL);

	for (uint32_t i = 0; i < RCPTS; i++) {
		memset(words, 'a' + (int)(i % 26), sizeof(words) - 1);
		words[sizeof(words) - 1] = '\0';
		words[0] = (char)('A' + i / 26);
		assert_int_equal(rig_outcome(rig, id, i, RCPT_WAITING, words), QUEUE_DONE);
		rig_forget_events(rig);
	}
	rig_crash(rig);
	for (uint32_t i = 0; i < RCPTS; i++) {
		assert_true(queue_find_rcpt(rig->queue, id, i, &rcpt));
		assert_int_equal(rcpt.attempt_count, 1);
	}
}

/* The disk fails at any call of a start: it says so, and leaves nothing behind. */
static void
a_start_may_fail_at_any_call(void **state)
{
	struct rig *rig = *state;
	struct memory_disk image;
	size_t failed_count = 0;

	rig_fini(rig);
	rig_init(rig);
	rig->settings.segment_bytes = 64 << 10;
	rig->settings.move_after_ms = 0;
	rig_open(rig);
	for (int i = 0; i < 40; i++) {
		queue_id id = rig_send(rig, "a@example.org", "b@example.net", 9000, NULL);

		if (i % 4)
			(void)rig_outcome(rig, id, 0, RCPT_DELIVERED, "ok");
	}
	memory_disk_copy(&image, &rig->disk);
	rig_close(rig);
	for (int skip = 0; skip < 60; skip++) {
		struct err err;

		memory_disk_fini(&rig->disk);
		memory_disk_copy(&rig->disk, &image);
		rig->disk.error_skip = skip / 3;
		rig->disk.error_count = -1;
		*(skip % 3 == 0 ? &rig->disk.write_error : skip % 3 == 1 ?
		    &rig->disk.sync_error : &rig->disk.read_error) = EIO;
		rig->hub = loop_new(&rig->clock.clock, &err);
		rig->settings.hub = rig->hub;
		rig->queue = queue_open(&rig->settings, &rig->found, &err);
		failed_count += rig->queue == NULL;
		queue_close(&rig->queue);
		loop_free(&rig->hub);
	}
	assert_true(failed_count > 5);
	memory_disk_fini(&rig->disk);
	rig->disk = image;
	rig_forget_events(rig);
	rig_open(rig);
	assert_int_equal(rig_listed(rig), 10);
}

/* ---- each call in turn ----------------------------------------------------------- */

enum {
	SCRIPT_MESSAGES = 6,
};

struct script {
	queue_id ids[SCRIPT_MESSAGES];
	enum queue_result sent[SCRIPT_MESSAGES];
	bool is_settled[SCRIPT_MESSAGES];
	queue_id notice;
};

static void
play(struct rig *rig, struct script *script)
{
	for (size_t i = 0; i < SCRIPT_MESSAGES; i++)
		script->ids[i] = rig_send(rig, "a@example.org", "b@example.net",
		    i == 2 ? 400000 : 5000, &script->sent[i]);
	for (size_t i = 0; i < SCRIPT_MESSAGES; i++) {
		struct queue_item item;

		if (!queue_find(rig->queue, script->ids[i], &item))
			continue;
		if (i % 3 == 0) {
			(void)rig_outcome(rig, script->ids[i], 0, RCPT_DELIVERED, "ok");
			script->is_settled[i] = true;
		} else if (i == 1) {
			(void)fail_with_notice(rig, script->ids[i], &script->notice);
			script->is_settled[i] = true;
		} else {
			(void)rig_outcome(rig, script->ids[i], 0, RCPT_WAITING, "later");
		}
	}
}

static void
check_script(struct rig *rig, const struct script *script)
{
	for (size_t i = 0; i < SCRIPT_MESSAGES; i++) {
		struct queue_item item;
		bool is_there = queue_find(rig->queue, script->ids[i], &item);

		if (script->is_settled[i])
			assert_false(is_there);
		else if (script->sent[i] == QUEUE_DONE)
			assert_true(is_there);
		else if (script->sent[i] == QUEUE_FULL || script->sent[i] == QUEUE_FAILED)
			assert_false(is_there);
		if (is_there)
			assert_int_equal(rig_read(rig, script->ids[i], i == 2 ? 400000 : 5000),
			    QUEUE_DONE);
	}
	if (script->is_settled[1])
		assert_int_equal(rig_read(rig, script->notice, 2000), QUEUE_DONE);
}

static void
play_with_failure(int skip, int count, bool of_sync, int error)
{
	static struct rig rig;
	struct script script = { 0 };

	rig_init(&rig);
	rig.settings.segment_bytes = 128 << 10;
	rig_open(&rig);
	rig.disk.error_skip = skip;
	rig.disk.error_count = count;
	*(of_sync ? &rig.disk.sync_error : &rig.disk.write_error) = error;
	play(&rig, &script);
	heal(&rig);
	check_script(&rig, &script);
	rig_crash(&rig);
	assert_int_equal(rig.found.damaged_count, 0);
	check_script(&rig, &script);
	rig_fini(&rig);
}

static void
each_call_may_fail(void **state)
{
	static const int errors[] = { EIO, ENOSPC, EROFS };

	(void)state;
	for (int skip = 0; skip < 25; skip++) {
		for (size_t i = 0; i < 3; i++) {
			play_with_failure(skip, 1, true, errors[i]);
			play_with_failure(skip, 1, false, errors[i]);
			play_with_failure(skip, 2, true, errors[i]);
			play_with_failure(skip, -1, true, errors[i]);
			play_with_failure(skip, -1, false, errors[i]);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(mail_of_a_failed_sync_is_unknown, setup, teardown),
		cmocka_unit_test_setup_teardown(outcomes_of_a_failed_sync_are_written_again, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(without_a_log_nothing_is_forgotten, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(a_notice_waits_for_the_log_with_its_mark, setup,
		    teardown),
		cmocka_unit_test_setup_teardown(no_attempt_without_a_log, setup, teardown),
		cmocka_unit_test_setup_teardown(a_failed_chunk_fails_its_message, setup, teardown),
		cmocka_unit_test_setup_teardown(a_full_disk_takes_outcomes, setup, teardown),
		cmocka_unit_test_setup_teardown(a_state_too_large_loses_its_words, setup, teardown),
		cmocka_unit_test_setup_teardown(a_start_may_fail_at_any_call, setup, teardown),
		cmocka_unit_test(each_call_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
