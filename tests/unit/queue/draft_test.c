#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/queue/rig.h"

/* Receiving with bounded memory. */
struct fixture {
	struct rig rig;
	int room_count;
	uint64_t durable;
};

static int
setup(void **state)
{
	static struct fixture fixture;

	memset(&fixture, 0, sizeof(fixture));
	rig_init(&fixture.rig);
	fixture.rig.settings.segment_bytes = 1 << 20;
	fixture.rig.settings.body_memory_bytes = 1 << 20;
	fixture.rig.settings.body_cache_bytes = 512 << 10;
	fixture.rig.settings.message_bytes_max = 3 << 20;
	rig_open(&fixture.rig);
	*state = &fixture;
	return 0;
}

static int
teardown(void **state)
{
	rig_fini(&((struct fixture *)*state)->rig);
	return 0;
}

static void
room(void *ctx)
{
	((struct fixture *)ctx)->room_count++;
}

static void
durable(void *ctx, uint64_t offset)
{
	((struct fixture *)ctx)->durable = offset;
}

static const struct queue_draft_events events = { room, durable };

static struct queue_draft *
begin(struct fixture *fixture, queue_id *id_out)
{
	struct queue_draft_terms terms = { .id = queue_new_id(fixture->rig.port) };

	*id_out = terms.id;
	return queue_begin(fixture->rig.port, &terms, &events, fixture);
}

/* Appends up to a total; returns how many octets it took in all. */
static size_t
append_to(struct queue_draft *draft, queue_id id, size_t total)
{
	static char piece[8192];
	size_t at = (size_t)queue_draft_bytes(draft);

	while (at < total) {
		size_t count = total - at < sizeof(piece) ? total - at : sizeof(piece);

		for (size_t i = 0; i < count; i++)
			piece[i] = rig_octet(id, at + i);
		size_t taken = queue_append(draft, span_make(piece, count));

		if (taken == SIZE_MAX)
			return SIZE_MAX;
		at += taken;
		if (taken < count)
			break;
	}
	return at;
}

static uint64_t
memory_of(struct fixture *fixture)
{
	struct queue_stats stats;

	queue_stats(fixture->rig.queue, &stats);
	return stats.body_memory_bytes;
}

static void
a_large_body_takes_little_memory(void **state)
{
	struct fixture *fixture = *state;
	queue_id id;
	struct queue_draft *draft = begin(fixture, &id);
	struct envelope *envelope = rig_envelope("a@example.org", "b@example.net");
	struct rig_answer answer = { 0 };
	size_t at = 0, stops = 0;

	while (at < (3 << 20)) {
		at = append_to(draft, id, 3 << 20);
		assert_int_not_equal(at, SIZE_MAX);
		assert_true(memory_of(fixture) <= (1 << 20));
		if (at < (3 << 20)) {
			stops++;
			rig_run(&fixture->rig);
			assert_int_equal(fixture->room_count, stops);
		}
		assert_true(stops < 20);
	}
	assert_true(stops > 0);
	rig_run(&fixture->rig);
	assert_true(fixture->durable > (2 << 20));
	(void)queue_commit(&draft, &envelope, NULL, rig_done, &answer);
	rig_run(&fixture->rig);
	assert_int_equal(answer.result, QUEUE_DONE);
	assert_int_equal(memory_of(fixture), 0);
	assert_int_equal(rig_read(&fixture->rig, id, 3 << 20), QUEUE_DONE);
}

static void
what_is_too_large_fails(void **state)
{
	struct fixture *fixture = *state;
	queue_id id;
	struct queue_draft *draft = begin(fixture, &id);
	size_t at = 0;

	for (int i = 0; i < 20 && at < (3 << 20); i++) {
		at = append_to(draft, id, 3 << 20);
		rig_run(&fixture->rig);
	}
	assert_int_equal(at, 3 << 20);
	assert_int_equal(queue_append(draft, SPAN("x")), SIZE_MAX);
	assert_int_equal(queue_draft_result(draft), QUEUE_FAILED);
	queue_abort(&draft);
	rig_run(&fixture->rig);
	assert_int_equal(memory_of(fixture), 0);
	assert_int_equal(rig_listed(&fixture->rig), 0);
}

/* Several at once share the budget; who waits is woken when another one ends. */
static void
drafts_share_the_memory(void **state)
{
	struct fixture *fixture = *state;
	struct queue_draft *drafts[8];
	queue_id ids[8];
	size_t waiting = 0;

	for (size_t i = 0; i < 8; i++) {
		drafts[i] = begin(fixture, &ids[i]);
		waiting += append_to(drafts[i], ids[i], 240 << 10) < (240 << 10);
	}
	assert_true(waiting > 0);
	assert_true(memory_of(fixture) <= (1 << 20));
	for (size_t i = 0; i < 8; i++) {
		rig_run(&fixture->rig);
		(void)append_to(drafts[i], ids[i], 240 << 10);
		queue_abort(&drafts[i]);
	}
	rig_run(&fixture->rig);
	assert_true(fixture->room_count > 0);
	assert_int_equal(memory_of(fixture), 0);
}

/*
 * Somebody who sends half a letter and no more must not hold memory that others need: before
 * there is none left, what drafts hold goes to the disk, also that of the silent ones.
 */
static void
silent_drafts_hold_no_memory(void **state)
{
	struct fixture *fixture = *state;
	struct queue_draft *drafts[12];
	struct envelope *envelope;
	queue_id ids[12];

	for (size_t i = 0; i < 12; i++) {
		drafts[i] = begin(fixture, &ids[i]);
		assert_int_equal(append_to(drafts[i], ids[i], 200 << 10), 200 << 10);
		rig_run(&fixture->rig);
		assert_true(memory_of(fixture) <= (1 << 20) / 10 * 9);
	}
	assert_int_equal(fixture->room_count, 0);
	/* All at once, so that memory is scarce before any of it is on the disk. */
	for (size_t total = 210 << 10; total <= 250 << 10; total += 10 << 10)
		for (size_t i = 0; i < 12; i++)
			(void)append_to(drafts[i], ids[i], total);
	for (int round = 0; round < 20; round++) {
		rig_run(&fixture->rig);
		for (size_t i = 0; i < 12; i++)
			(void)append_to(drafts[i], ids[i], 250 << 10);
	}
	rig_run(&fixture->rig);
	assert_true(memory_of(fixture) <= (1 << 20) / 8 * 5);
	for (size_t i = 0; i < 12; i++) {
		struct rig_answer answer = { 0 };

		assert_int_equal(append_to(drafts[i], ids[i], 300 << 10), 300 << 10);
		rig_run(&fixture->rig);
		envelope = rig_envelope("a@example.org", "b@example.net");
		(void)queue_commit(&drafts[i], &envelope, NULL, rig_done, &answer);
		rig_run(&fixture->rig);
		assert_int_equal(answer.result, QUEUE_DONE);
	}
	for (size_t i = 0; i < 12; i++)
		assert_int_equal(rig_read(&fixture->rig, ids[i], 300 << 10), QUEUE_DONE);
}

static void
the_cache_is_bounded(void **state)
{
	struct fixture *fixture = *state;
	struct queue_stats stats;
	queue_id first = 0, last = 0;

	for (int i = 0; i < 60; i++) {
		last = rig_send(&fixture->rig, "a@example.org", "b@example.net", 30000, NULL);
		if (i == 0)
			first = last;
		queue_stats(fixture->rig.queue, &stats);
		assert_true(stats.body_cache_bytes <= (512 << 10));
		assert_true(stats.body_memory_bytes <= (1 << 20));
	}
	struct body *body = queue_body_in_memory(fixture->rig.queue, last);

	assert_non_null(body);
	assert_int_equal(body->bytes, 30000);
	body_release(&body);
	assert_null(queue_body_in_memory(fixture->rig.queue, first));
	assert_int_equal(rig_read(&fixture->rig, first, 30000), QUEUE_DONE);
	assert_int_equal(rig_read(&fixture->rig, last, 30000), QUEUE_DONE);
}

/* A port that closes takes its drafts with it, also those that wait. */
static void
a_closing_port_leaves_nothing(void **state)
{
	struct fixture *fixture = *state;
	queue_id id;

	for (int i = 0; i < 6; i++) {
		struct queue_draft *draft = begin(fixture, &id);

		(void)append_to(draft, id, 400 << 10);
	}
	queue_port_close(&fixture->rig.port);
	rig_run(&fixture->rig);
	assert_int_equal(memory_of(fixture), 0);
	assert_int_equal(rig_listed(&fixture->rig), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_large_body_takes_little_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_too_large_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(drafts_share_the_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(silent_drafts_hold_no_memory, setup, teardown),
		cmocka_unit_test_setup_teardown(the_cache_is_bounded, setup, teardown),
		cmocka_unit_test_setup_teardown(a_closing_port_leaves_nothing, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
