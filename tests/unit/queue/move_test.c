#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/mem.h"
#include "tests/unit/queue/fake_loop.h"
#include "tests/unit/queue/rig.h"

enum {
	GROUP = 20,
};

static int
setup(void **state)
{
	static struct rig rig;

	rig_init(&rig);
	rig.settings.move_after_ms = 0;
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

/* A group of messages that share a batch. */
static void
send_group(struct rig *rig, queue_id ids[GROUP], size_t body_bytes)
{
	struct rig_answer answers[GROUP] = { 0 };
	char *body = mem_alloc(body_bytes);

	for (size_t i = 0; i < GROUP; i++) {
		struct queue_draft_terms terms = {
			.id = queue_new_id(rig->port),
			.size_hint = body_bytes,
		};
		struct queue_draft *draft = queue_begin(rig->port, &terms, NULL, NULL);
		struct envelope *envelope = rig_envelope("a@example.org", "b@example.net");

		ids[i] = terms.id;
		for (size_t at = 0; at < body_bytes; at++)
			body[at] = rig_octet(terms.id, at);
		assert_int_equal(queue_append(draft, span_make(body, body_bytes)), body_bytes);
		(void)queue_commit(&draft, &envelope, NULL, rig_done, &answers[i]);
	}
	rig_run(rig);
	for (size_t i = 0; i < GROUP; i++)
		assert_int_equal(answers[i].result, QUEUE_DONE);
	mem_free(&body);
}

static void
settle_group(struct rig *rig, const queue_id *ids, size_t count, enum rcpt_state outcome_state)
{
	struct queue_outcome outcome = {
		.state = outcome_state,
		.reason = outcome_state == RCPT_WAITING ? REASON_WAITING_RETRY : REASON_NONE,
		.tried = true,
	};
	struct queue_change change = { .outcomes = &outcome, .outcome_count = 1 };
	static struct rig_answer ignored;

	reply_set(&outcome.reply, outcome_state == RCPT_WAITING ? 451 : 250, "", "as said");
	for (size_t i = 0; i < count; i++)
		(void)queue_update(rig->queue, ids[i], &change, rig_done, &ignored);
	rig_run(rig);
	rig_forget_events(rig);
}

static struct queue_stats
stats_of(struct rig *rig)
{
	struct queue_stats stats;

	queue_stats(rig->queue, &stats);
	return stats;
}

static void
survivors_leave_their_segments(void **state)
{
	struct rig *rig = *state;
	queue_id survivors[40], ids[GROUP];

	for (size_t i = 0; i < 40; i++) {
		send_group(rig, ids, 10000);
		survivors[i] = ids[i % GROUP];
		ids[i % GROUP] = ids[GROUP - 1];
		settle_group(rig, &survivors[i], 1, RCPT_WAITING);
		settle_group(rig, ids, GROUP - 1, RCPT_DELIVERED);
		clock_manual_advance_ms(&rig->clock, 1000);
		rig_run(rig);
	}
	/* 8 MB went through segments of 256 kB; 40 messages of 10 kB are left. */
	assert_int_equal(stats_of(rig).message_count, 40);
	assert_true(stats_of(rig).moved_bytes > 0);
	assert_in_range(stats_of(rig).segment_live_count, 2, 12);
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < 40; i++) {
			struct queue_rcpt rcpt;
			struct rig_answer answer = { 0 };

			assert_int_equal(rig_read(rig, survivors[i], 10000), QUEUE_DONE);
			assert_true(queue_find_rcpt(rig->queue, survivors[i], 0, &rcpt));
			assert_int_equal(rcpt.attempt_count, 1);
			(void)queue_read_envelope(rig->port, survivors[i], rig_got_envelope,
			    &answer);
			rig_run(rig);
			assert_int_equal(answer.result, QUEUE_DONE);
			assert_string_equal(answer.envelope->rcpts[0].last.text, "as said");
			envelope_free(&answer.envelope);
		}
		rig_crash(rig);
		assert_int_equal(rig->found.damaged_count, 0);
	}
	settle_group(rig, survivors, 40, RCPT_DELIVERED);
	rig_crash(rig);
	assert_int_equal(rig_listed(rig), 0);
}

/* The issue: at most twice the octets of bodies, with half of the messages deferred for long. */
static void
writes_at_most_twice(void **state)
{
	struct rig *rig = *state;
	enum { GROUPS = 60, BODY = 10000 };
	static queue_id late[GROUPS][GROUP / 2];
	queue_id ids[GROUP];
	uint64_t before = rig->disk.written_bytes;

	for (size_t i = 0; i < GROUPS; i++) {
		send_group(rig, ids, BODY);
		for (size_t j = 0; j < GROUP / 2; j++) {
			late[i][j] = ids[j];
			ids[j] = ids[GROUP - 1 - j];
		}
		settle_group(rig, ids, GROUP / 2, RCPT_DELIVERED);
		settle_group(rig, late[i], GROUP / 2, RCPT_WAITING);
		clock_manual_advance_ms(&rig->clock, 2000);
		rig_run(rig);
	}
	for (size_t i = 0; i < GROUPS; i++) {
		settle_group(rig, late[i], GROUP / 2, RCPT_DELIVERED);
		clock_manual_advance_ms(&rig->clock, 2000);
		rig_run(rig);
	}
	assert_int_equal(stats_of(rig).message_count, 0);
	assert_int_equal(stats_of(rig).live_bytes, 0);
	uint64_t bodies = (uint64_t)GROUPS * GROUP * BODY;

	print_message("written %.2f x bodies, moved %.2f x\n",
	    (double)(rig->disk.written_bytes - before) / (double)bodies,
	    (double)stats_of(rig).moved_bytes / (double)bodies);
	assert_true(rig->disk.written_bytes - before <= 2 * bodies);
}

/* More than one step for one message; outcomes come between. */
static void
large_survivors_move_in_steps(void **state)
{
	struct rig *rig = *state;
	queue_id ids[GROUP], large;

	rig_fini(rig);
	rig_init(rig);
	rig->settings.move_after_ms = 0;
	rig->settings.segment_bytes = 8 << 20;
	rig_open(rig);
	large = rig_send(rig, "a@example.org", "b@example.net,c@example.net", 1500000, NULL);
	for (int i = 0; i < 130; i++) {
		send_group(rig, ids, 10000);
		settle_group(rig, ids, GROUP, RCPT_DELIVERED);
		if (i == 100)
			assert_int_equal(rig_outcome(rig, large, 0, RCPT_DELIVERED, "ok"),
			    QUEUE_DONE);
	}
	assert_true(stats_of(rig).moved_bytes > 1500000);
	assert_int_equal(rig_read(rig, large, 1500000), QUEUE_DONE);
	rig_crash(rig);
	assert_int_equal(rig_read(rig, large, 1500000), QUEUE_DONE);
	assert_int_equal(rig_outcome(rig, large, 1, RCPT_DELIVERED, "ok"), QUEUE_DONE);
	rig_crash(rig);
	assert_int_equal(rig_listed(rig), 0);
}

/* A process dies after every step of a move: both copies are fine. */
static void
any_step_may_be_the_last(void **state)
{
	struct rig *rig = *state;

	for (int dies_at = 0; dies_at < 120; dies_at++) {
		queue_id survivors[8], ids[GROUP];

		rig_fini(rig);
		rig_init(rig);
		rig->settings.move_after_ms = 1000;
		rig_open(rig);
		for (size_t i = 0; i < 8; i++) {
			send_group(rig, ids, 10000);
			survivors[i] = ids[0];
			settle_group(rig, ids, 1, RCPT_WAITING);
			settle_group(rig, ids + 1, GROUP - 1, RCPT_DELIVERED);
		}
		clock_manual_advance_ms(&rig->clock, 3000);
		for (int step = 0; step < dies_at && fake_step(); step++)
			;
		rig_crash(rig);
		assert_int_equal(rig->found.damaged_count, 0);
		assert_int_equal(rig_listed(rig), 8);
		for (size_t i = 0; i < 8; i++)
			assert_int_equal(rig_read(rig, survivors[i], 10000), QUEUE_DONE);
		settle_group(rig, survivors, 8, RCPT_DELIVERED);
		rig_crash(rig);
		assert_int_equal(rig_listed(rig), 0);
	}
}

/* On a disk that is full up to the floor moving makes room for mail again. */
static void
moves_harder_on_a_full_disk(void **state)
{
	struct rig *rig = *state;
	size_t kept_count = 0, refused_count = 0;

	rig_fini(rig);
	rig_init(rig);
	rig->settings.move_after_ms = 1000 * 1000;
	rig->settings.reserve_bytes = 128 << 10;
	rig->disk.bytes_max = 3 << 20;
	rig_open(rig);
	for (int i = 0; i < 1200; i++) {
		enum queue_result result;
		queue_id id = rig_send(rig, "a@example.org", "b@example.net", 10000, &result);

		for (int retry = 0; result != QUEUE_DONE; retry++) {
			assert_int_equal(result, QUEUE_FULL);
			assert_true(retry < 5);
			refused_count++;
			clock_manual_advance_ms(&rig->clock, 1000);
			rig_run(rig);
			id = rig_send(rig, "a@example.org", "b@example.net", 10000, &result);
		}
		if (i % 20 == 0)
			kept_count++;
		else
			settle_group(rig, &id, 1, RCPT_DELIVERED);
	}
	assert_true(refused_count > 0);
	assert_true(stats_of(rig).moved_bytes > 0);
	rig_crash(rig);
	assert_int_equal(rig_listed(rig), kept_count);
	assert_int_equal(rig->found.damaged_count, 0);
}

/* What cannot be read stays where it is, and its segment with it. */
static void
damage_is_not_moved(void **state)
{
	struct rig *rig = *state;
	queue_id ids[GROUP], survivor = 0;
	struct memory_file *file = memory_disk_find(&rig->disk, "00000000.seg");
	struct queue_item item;
	struct queue_damage damage;

	for (int i = 0; i < 8; i++) {
		send_group(rig, ids, 10000);
		if (i == 0) {
			/* Wherever its body is. */
			char pattern[64];
			survivor = ids[0];
			for (size_t j = 0; j < sizeof(pattern); j++)
				pattern[j] = rig_octet(survivor, j + 5000);
			for (uint32_t slot = 0; slot < 4; slot++) {
				char name[DISK_NAME_BYTES_MAX] = "0000000x.seg";

				name[7] = (char)('0' + slot);
				file = memory_disk_find(&rig->disk, name);
				char *at = file ? memmem(file->data, file->size, pattern,
				    sizeof(pattern)) : NULL;

				if (at)
					at[3] ^= 1;
			}
			settle_group(rig, ids + 1, GROUP - 1, RCPT_DELIVERED);
			continue;
		}
		settle_group(rig, ids + 1, GROUP - 1, RCPT_DELIVERED);
	}
	assert_true(queue_find(rig->queue, survivor, &item));
	assert_true(item.damaged);
	assert_int_equal(item.reason, REASON_DAMAGED);
	assert_true(queue_list_damage(rig->queue, 0, &damage));
	assert_int_equal(damage.id, survivor);
	assert_int_equal(stats_of(rig).damaged_count, 1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(survivors_leave_their_segments, setup, teardown),
		cmocka_unit_test_setup_teardown(writes_at_most_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(large_survivors_move_in_steps, setup, teardown),
		cmocka_unit_test_setup_teardown(any_step_may_be_the_last, setup, teardown),
		cmocka_unit_test_setup_teardown(moves_harder_on_a_full_disk, setup, teardown),
		cmocka_unit_test_setup_teardown(damage_is_not_moved, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
