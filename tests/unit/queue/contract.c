#include "tests/unit/queue/contract_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int
setup(void **state)
{
	static struct contract world;

	contract_init(&world, *state);
	*state = &world;
	return 0;
}

static int
teardown(void **state)
{
	contract_fini(*state);
	return 0;
}

static void
ids_are_new_and_ordered(void **state)
{
	struct contract *world = *state;
	struct queue_port *hub_port = queue_hub_port(world->queue);
	queue_id last = 0;
	char text[QUEUE_ID_BYTES];

	for (int i = 0; i < 1000; i++) {
		queue_id id = queue_new_id(i % 2 ? world->port : hub_port), again;

		assert_true(id > last);
		last = id;
		queue_id_print(id, text);
		assert_true(queue_id_parse(span_from_cstr(text), &again));
		assert_int_equal(again, id);
	}
	contract_reopen(world);
	assert_true(queue_new_id(world->port) != last);
}

static void
commit_offers_once(void **state)
{
	struct contract *world = *state;
	queue_id id = contract_send(world, "a@example.net,b@example.com", 3000);
	const struct contract_event *offer = contract_find(world, 'o', id);
	struct queue_item item;

	assert_int_equal(contract_count(world, 'o', id), 1);
	assert_true(offer->had_envelope);
	assert_false(offer->found_at_start);
	assert_true(queue_find(world->queue, id, &item));
	assert_int_equal(item.rcpt_count, 2);
	assert_int_equal(item.open_count, 2);
	assert_int_equal(item.body_bytes, 3000);
	assert_true(span_equal(item.sender, SPAN("sender@example.org")));
	assert_int_equal(contract_read(world, id, 3000), QUEUE_DONE);
	struct envelope *envelope = contract_envelope_of(world, id);

	assert_int_equal(envelope->rcpt_count, 2);
	assert_true(span_equal(envelope->rcpts[1].address, SPAN("b@example.com")));
	assert_int_equal(envelope->rcpts[1].state, RCPT_WAITING);
	envelope_free(&envelope);
}

static void
bodies_of_all_sizes(void **state)
{
	static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, 65536, 300000 };
	struct contract *world = *state;

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		queue_id id = contract_send(world, "a@example.net", sizes[i]);

		assert_int_equal(contract_read(world, id, sizes[i]), QUEUE_DONE);
	}
}

static void
nothing_before_the_commit(void **state)
{
	struct contract *world = *state;
	queue_id id = queue_new_id(world->port);
	struct queue_draft *draft = contract_draft(world, world->port, id, 5000);
	struct queue_item item;

	contract_turns(world);
	assert_false(queue_find(world->queue, id, &item));
	assert_int_equal(contract_listed(world, 0), 0);
	queue_abort(&draft);
	assert_null(draft);
	queue_abort(&draft);
	contract_turns(world);
	assert_int_equal(contract_count(world, 'o', id), 0);
	assert_int_equal(contract_listed(world, 0), 0);
	contract_reopen(world);
	assert_int_equal(contract_listed(world, 0), 0);
}

static void
many_at_once_are_all_answered(void **state)
{
	enum { COUNT = 100 };
	struct contract *world = *state;
	struct contract_answer answers[COUNT];
	queue_id ids[COUNT];

	for (int i = 0; i < COUNT; i++) {
		struct envelope *envelope = contract_envelope("s@example.org", "a@example.net");

		ids[i] = queue_new_id(world->port);
		struct queue_draft *draft = contract_draft(world, world->port, ids[i], 100);

		answers[i] = contract_ask(world);
		(void)queue_commit(&draft, &envelope, NULL, contract_done, &answers[i]);
		contract_asked(world, &answers[i]);
	}
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(contract_wait(world, &answers[i]), QUEUE_DONE);
		contract_wait_event(world, 'o', ids[i]);
		assert_int_equal(contract_count(world, 'o', ids[i]), 1);
	}
	assert_int_equal(contract_listed(world, 0), COUNT);
}

static void
cancelled_calls_are_never_answered(void **state)
{
	struct contract *world = *state;
	queue_id id = queue_new_id(world->port);
	struct queue_draft *draft = contract_draft(world, world->port, id, 100);
	struct envelope *envelope = contract_envelope("s@example.org", "a@example.net");
	struct contract_answer committed = contract_ask(world), read, held;
	struct token token = queue_commit(&draft, &envelope, NULL, contract_done, &committed);

	queue_port_cancel(world->port, &token);
	assert_true(token_is_empty(token));
	queue_port_cancel(world->port, &token);
	contract_asked(world, &committed);
	/* The work goes on. */
	contract_wait_event(world, 'o', id);

	read = contract_ask(world);
	token = queue_read_envelope(world->port, id, contract_got, &read);
	queue_port_cancel(world->port, &token);
	held = contract_ask(world);
	token = queue_hold(world->queue, id, SPAN("why"), contract_done, &held);
	queue_cancel(world->queue, &token);
	contract_asked(world, &held);
	contract_wait_event(world, 'r', id);
	contract_turns(world);
	assert_int_equal(committed.count + read.count + held.count, 0);
}

static void
outcomes_count_at_once(void **state)
{
	struct contract *world = *state;
	queue_id id = contract_send(world, "a@example.net,b@example.com", 100);
	const struct queue_outcome outcome = { .state = RCPT_DELIVERED, .tried = true };
	const struct queue_change change = { .outcomes = &outcome, .outcome_count = 1 };
	struct contract_answer answer = contract_ask(world);
	struct queue_rcpt rcpt;
	struct queue_item item;

	(void)queue_update(world->queue, id, &change, contract_done, &answer);
	contract_asked(world, &answer);
	assert_true(queue_find_rcpt(world->queue, id, 0, &rcpt));
	assert_int_equal(rcpt.state, RCPT_DELIVERED);
	assert_int_equal(rcpt.attempt_count, 1);
	assert_true(queue_find(world->queue, id, &item));
	assert_int_equal(item.open_count, 1);
	assert_false(queue_find_rcpt(world->queue, id, 2, &rcpt));
	assert_int_equal(contract_wait(world, &answer), QUEUE_DONE);
	assert_int_equal(contract_count(world, 'r', id), 0);
}

static void
the_last_outcome_revokes(void **state)
{
	struct contract *world = *state;
	queue_id id = contract_send(world, "a@example.net,b@example.com", 100);
	int word;

	queue_set_user(world->queue, id, &word);
	assert_int_equal(contract_outcome(world, id, 1, RCPT_DELIVERED, "ok"), QUEUE_DONE);
	assert_int_equal(contract_count(world, 'r', id), 0);
	assert_int_equal(contract_outcome(world, id, 0, RCPT_FAILED, "no"), QUEUE_DONE);
	contract_wait_event(world, 'r', id);
	assert_int_equal(contract_count(world, 'r', id), 1);
	assert_ptr_equal(contract_find(world, 'r', id)->user, &word);
	struct queue_item item;

	assert_false(queue_find(world->queue, id, &item));
	assert_int_equal(contract_outcome(world, id, 0, RCPT_DELIVERED, "ok"), QUEUE_NOT_FOUND);
	contract_reopen(world);
	assert_int_equal(contract_listed(world, 0), 0);
	assert_int_equal(contract_count(world, 'o', id), 0);
}

static void
a_deferral_is_kept(void **state)
{
	struct contract *world = *state;
	queue_id id = contract_send(world, "a@example.net,b@example.com", 100);
	struct queue_rcpt rcpt;

	assert_int_equal(contract_outcome(world, id, 0, RCPT_WAITING, "later"), QUEUE_DONE);
	assert_int_equal(contract_outcome(world, id, 1, RCPT_DELIVERED, "ok"), QUEUE_DONE);
	contract_reopen(world);
	contract_wait_event(world, 'o', id);
	const struct contract_event *offer = contract_find(world, 'o', id);

	assert_int_equal(contract_count(world, 'o', id), 1);
	assert_true(offer->found_at_start);
	assert_false(offer->had_envelope);
	assert_true(queue_find_rcpt(world->queue, id, 0, &rcpt));
	assert_int_equal(rcpt.state, RCPT_WAITING);
	assert_int_equal(rcpt.attempt_count, 1);
	assert_int_equal(rcpt.class, RETRY_GREYLISTED);
	assert_true(queue_find_rcpt(world->queue, id, 1, &rcpt));
	assert_int_equal(rcpt.state, RCPT_DELIVERED);
	struct envelope *envelope = contract_envelope_of(world, id);

	assert_int_equal(envelope->rcpts[0].last.code, 451);
	assert_true(span_equal(envelope->rcpts[0].last_host,
	    SPAN("mx.example.net[192.0.2.9]:25")));
	envelope_free(&envelope);
	assert_int_equal(contract_read(world, id, 100), QUEUE_DONE);
}

static void
notice_and_outcome_are_one(void **state)
{
	struct contract *world = *state;
	queue_id id = contract_send(world, "a@example.net", 100);
	queue_id notice_id = queue_new_id(queue_hub_port(world->queue));
	struct queue_draft *notice = contract_draft(world, queue_hub_port(world->queue), notice_id,
	    500);
	struct envelope *envelope = contract_envelope("", "sender@example.org");
	const struct queue_outcome outcome = { .state = RCPT_FAILED, .tried = true };
	const struct queue_change change = { .outcomes = &outcome, .outcome_count = 1,
		.notice = &notice, .notice_envelope = &envelope };
	struct contract_answer answer = contract_ask(world);

	(void)queue_update(world->queue, id, &change, contract_done, &answer);
	assert_null(notice);
	assert_null(envelope);
	contract_asked(world, &answer);
	assert_int_equal(contract_wait(world, &answer), QUEUE_DONE);
	contract_wait_event(world, 'o', notice_id);
	contract_wait_event(world, 'r', id);
	contract_reopen(world);
	assert_int_equal(contract_listed(world, id), 0);
	assert_int_equal(contract_listed(world, notice_id), 1);
	assert_int_equal(contract_read(world, notice_id, 500), QUEUE_DONE);
}

static enum queue_result
steer(struct contract *world, queue_id id, char what)
{
	struct contract_answer answer = contract_ask(world);

	if (what == 'h')
		(void)queue_hold(world->queue, id, SPAN("why"), contract_done, &answer);
	else if (what == 'r')
		(void)queue_release(world->queue, id, contract_done, &answer);
	else
		(void)queue_remove(world->queue, id, contract_done, &answer);
	contract_asked(world, &answer);
	return contract_wait(world, &answer);
}

static void
hold_release_remove(void **state)
{
	struct contract *world = *state;
	queue_id id = contract_send(world, "a@example.net", 100);
	struct queue_item item;

	assert_int_equal(steer(world, id, 'h'), QUEUE_DONE);
	contract_wait_event(world, 'r', id);
	assert_true(queue_find(world->queue, id, &item));
	assert_true(item.held);
	contract_reopen(world);
	assert_true(queue_find(world->queue, id, &item));
	assert_true(item.held);
	assert_int_equal(contract_count(world, 'o', id), 0);
	assert_int_equal(steer(world, id, 'r'), QUEUE_DONE);
	contract_wait_event(world, 'o', id);
	assert_int_equal(steer(world, id, 'd'), QUEUE_DONE);
	contract_wait_event(world, 'r', id);
	assert_false(queue_find(world->queue, id, &item));
	for (const char *what = "hrd"; *what; what++)
		assert_int_equal(steer(world, id, *what), QUEUE_NOT_FOUND);
	contract_reopen(world);
	assert_int_equal(contract_listed(world, 0), 0);
}

static void
nothing_is_known_of_strangers(void **state)
{
	struct contract *world = *state;
	queue_id id = queue_new_id(world->port);
	struct contract_answer answer = contract_ask(world);
	const uint32_t rcpts[] = { 0 };
	struct queue_item item;

	(void)queue_read_envelope(world->port, id, contract_got, &answer);
	contract_asked(world, &answer);
	assert_int_equal(contract_wait(world, &answer), QUEUE_NOT_FOUND);
	assert_int_equal(contract_read(world, id, 0), QUEUE_NOT_FOUND);
	assert_false(queue_find(world->queue, id, &item));
	assert_false(queue_make_due(world->queue, id, 0));
	assert_null(queue_body_in_memory(world->queue, id));
	queue_set_user(world->queue, id, world);
	answer = contract_ask(world);
	(void)queue_attempt(world->queue, id, rcpts, 1, SPAN("host"), contract_begun, &answer);
	contract_asked(world, &answer);
	assert_int_equal(contract_wait(world, &answer), QUEUE_NOT_FOUND);
}

static uint32_t
attempt(struct contract *world, queue_id id, const uint32_t *rcpts, size_t count)
{
	struct contract_answer answer = contract_ask(world);

	(void)queue_attempt(world->queue, id, rcpts, count, SPAN("host"), contract_begun, &answer);
	contract_asked(world, &answer);
	assert_int_equal(contract_wait(world, &answer), QUEUE_DONE);
	return answer.batch;
}

static void
attempts_have_stable_numbers(void **state)
{
	struct contract *world = *state;
	queue_id id = contract_send(world, "a@example.net,b@example.com,c@example.com", 100);
	const uint32_t first[] = { 0 }, rest[] = { 1, 2 };
	uint32_t batch = attempt(world, id, first, 1);

	assert_int_not_equal(batch, attempt(world, id, rest, 2));
	assert_int_equal(batch, attempt(world, id, first, 1));
	contract_reopen(world);
	contract_wait_event(world, 'o', id);
	assert_int_equal(batch, attempt(world, id, first, 1));
}

static void
lists_what_stays_exactly_once(void **state)
{
	enum { COUNT = 60 };
	struct contract *world = *state;
	queue_id ids[COUNT];

	for (int i = 0; i < COUNT; i++)
		ids[i] = contract_send(world, "a@example.net", 10);
	for (int i = 0; i < COUNT; i += 3)
		assert_int_equal(steer(world, ids[i], 'd'), QUEUE_DONE);
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(contract_listed(world, ids[i]), i % 3 ? 1 : 0);
	assert_int_equal(contract_listed(world, 0), COUNT - COUNT / 3);
}

struct walk {
	queue_id ids[512];
	size_t count;
};

static void
walk_item(void *ctx, const struct queue_item *item)
{
	struct walk *walk = ctx;

	assert_true(walk->count < 512);
	walk->ids[walk->count++] = item->id;
}

static void
lists_while_it_changes(void **state)
{
	enum { COUNT = 60 };
	struct contract *world = *state;
	struct queue_cursor cursor = { 0 };
	static struct walk walk;
	queue_id ids[COUNT];
	int victim = 0;

	walk.count = 0;
	for (int i = 0; i < COUNT; i++)
		ids[i] = contract_send(world, "a@example.net", 10);
	/* Between two steps one goes and one comes. */
	while (queue_list(world->queue, &cursor, 5, walk_item, &walk) && victim < COUNT) {
		assert_int_equal(steer(world, ids[victim], 'd'), QUEUE_DONE);
		(void)contract_send(world, "a@example.net", 10);
		victim += 4;
	}
	for (int i = 0; i < COUNT; i++) {
		size_t count = 0;

		for (size_t j = 0; j < walk.count; j++)
			count += walk.ids[j] == ids[i];
		assert_true(count <= 1);
		if (i % 4 || i >= victim)
			assert_int_equal(count, 1);
	}
}

static void
counts_are_true(void **state)
{
	struct contract *world = *state;
	queue_id id = contract_send(world, "a@example.net,b@example.com", 700);
	struct queue_stats stats;

	(void)contract_send(world, "a@example.net", 300);
	assert_int_equal(contract_outcome(world, id, 0, RCPT_DELIVERED, "ok"), QUEUE_DONE);
	assert_int_equal(steer(world, id, 'h'), QUEUE_DONE);
	queue_stats(world->queue, &stats);
	assert_int_equal(stats.message_count, 2);
	assert_int_equal(stats.message_bytes, 1000);
	assert_int_equal(stats.held_count, 1);
	assert_int_equal(stats.open_rcpt_count, 2);
	assert_int_equal(stats.accepted_count, 2);
	assert_int_equal(stats.pressure, PRESSURE_NONE);
	assert_true(queue_may_deliver(world->port));
	assert_int_equal(queue_port_pressure(world->port), PRESSURE_NONE);
}

static void
made_due_is_told(void **state)
{
	struct contract *world = *state;
	queue_id id = contract_send(world, "a@example.net", 100);
	struct queue_rcpt rcpt;

	assert_int_equal(contract_outcome(world, id, 0, RCPT_WAITING, "later"), QUEUE_DONE);
	assert_true(queue_find_rcpt(world->queue, id, 0, &rcpt));
	assert_true(rcpt.due_ms > (int64_t)loop_now_ms(world->hub));
	assert_true(queue_make_due(world->queue, id, 0));
	contract_wait_event(world, 'c', id);
	assert_true(queue_find_rcpt(world->queue, id, 0, &rcpt));
	assert_true(rcpt.due_ms <= (int64_t)loop_now_ms(world->hub));
}

/* The outcome may be success; it may never be called a failure, and it is whole or not there. */
static void
unknown_is_no_failure(void **state)
{
	struct contract *world = *state;
	queue_id before = contract_send(world, "a@example.net", 100), ids[6];
	enum queue_result results[6];

	for (int i = 0; i < 6; i++) {
		world->factory->make_unknown(world->place);
		results[i] = contract_try_send(world, "a@example.net", 20000, &ids[i]);
		assert_true(results[i] == QUEUE_UNKNOWN || results[i] == QUEUE_DONE);
		contract_wait_event(world, 'o', contract_send(world, "a@example.net", 100));
	}
	contract_reopen(world);
	assert_int_equal(contract_listed(world, before), 1);
	for (int i = 0; i < 6; i++) {
		size_t there = contract_listed(world, ids[i]);

		assert_true(there == 1 || (there == 0 && results[i] == QUEUE_UNKNOWN));
		if (there)
			assert_int_equal(contract_read(world, ids[i], 20000), QUEUE_DONE);
	}
}

static void
an_unknown_outcome_is_written_again(void **state)
{
	struct contract *world = *state;
	queue_id id = contract_send(world, "a@example.net,b@example.com", 100);
	struct queue_rcpt rcpt;

	world->factory->make_unknown(world->place);
	enum queue_result result = contract_outcome(world, id, 0, RCPT_DELIVERED, "ok");

	assert_true(result == QUEUE_DONE || result == QUEUE_UNKNOWN);
	assert_true(queue_find_rcpt(world->queue, id, 0, &rcpt));
	assert_int_equal(rcpt.state, RCPT_DELIVERED);
	contract_turns(world);
	contract_reopen(world);
	assert_true(queue_find_rcpt(world->queue, id, 0, &rcpt));
	assert_int_equal(rcpt.state, RCPT_DELIVERED);
}

static void
full_refuses_mail_and_takes_outcomes(void **state)
{
	struct contract *world = *state;
	queue_id kept = contract_send(world, "a@example.net,b@example.com", 100), id = 0;
	enum queue_result result = QUEUE_DONE;

	world->factory->set_full(world->place, true);
	for (int i = 0; i < 40 && result == QUEUE_DONE; i++)
		result = contract_try_send(world, "a@example.net", 100000, &id);
	assert_int_equal(result, QUEUE_FULL);
	contract_wait_event(world, 'p', 0);
	assert_int_equal(queue_port_pressure(world->port), PRESSURE_REFUSE);
	assert_true(queue_may_deliver(world->port));
	assert_int_equal(contract_listed(world, id), 0);
	assert_int_equal(contract_outcome(world, kept, 0, RCPT_DELIVERED, "ok"), QUEUE_DONE);
	world->factory->set_full(world->place, false);
	contract_forget(world);
	contract_wait_event(world, 'p', 0);
	assert_int_equal(queue_port_pressure(world->port), PRESSURE_NONE);
	(void)contract_send(world, "a@example.net", 100);
	contract_reopen(world);
	assert_int_equal(contract_listed(world, id), 0);
	assert_int_equal(contract_listed(world, kept), 1);
}

static void
an_unknown_transaction_is_new(void **state)
{
	struct contract *world = *state;
	const struct queue_draft_terms terms = {
		.id = queue_new_id(world->port),
		.transid = SPAN("1.2@example.org"),
		.owner = SPAN("peer.example.org"),
	};
	struct contract_answer answer = contract_ask(world);

	(void)queue_resume(world->port, &terms, NULL, contract_resumed, &answer);
	contract_asked(world, &answer);
	assert_int_equal(contract_wait(world, &answer), QUEUE_DONE);
	assert_int_equal(answer.transaction, TRANSACTION_NEW);
	assert_non_null(answer.draft);
	queue_park(&answer.draft);
	queue_settle_below(world->port, SPAN("peer.example.org"), 1);
	contract_turns(world);
	assert_int_equal(contract_listed(world, 0), 0);
}

static void
closing_silences_everything(void **state)
{
	struct contract *world = *state;
	queue_id id = queue_new_id(world->port);
	struct queue_draft *open = contract_draft(world, world->port,
	    queue_new_id(world->port), 10);
	struct queue_draft *draft = contract_draft(world, world->port, id, 100);
	struct envelope *envelope = contract_envelope("s@example.org", "a@example.net");
	struct contract_answer answer = contract_ask(world);

	(void)open;
	(void)queue_commit(&draft, &envelope, NULL, contract_done, &answer);
	contract_asked(world, &answer);
	contract_reopen(world);
	assert_int_equal(answer.count, 0);
	assert_true(contract_listed(world, id) <= 1);
	assert_int_equal(contract_listed(world, 0), contract_listed(world, id));
}

int
contract_run(const struct contract_factory *factory)
{
#define CASE(name) { #name, name, setup, teardown, (void *)(uintptr_t)factory }
	const struct CMUnitTest tests[] = {
		CASE(ids_are_new_and_ordered), CASE(commit_offers_once),
		CASE(bodies_of_all_sizes), CASE(nothing_before_the_commit),
		CASE(many_at_once_are_all_answered), CASE(cancelled_calls_are_never_answered),
		CASE(outcomes_count_at_once), CASE(the_last_outcome_revokes),
		CASE(a_deferral_is_kept), CASE(notice_and_outcome_are_one),
		CASE(hold_release_remove), CASE(nothing_is_known_of_strangers),
		CASE(attempts_have_stable_numbers), CASE(lists_what_stays_exactly_once),
		CASE(lists_while_it_changes), CASE(counts_are_true), CASE(made_due_is_told),
		CASE(unknown_is_no_failure), CASE(an_unknown_outcome_is_written_again),
		CASE(full_refuses_mail_and_takes_outcomes), CASE(an_unknown_transaction_is_new),
		CASE(closing_silences_everything),
	};
#undef CASE

	return cmocka_run_group_tests_name(factory->name, tests, NULL, NULL);
}
