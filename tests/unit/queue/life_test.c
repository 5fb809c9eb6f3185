#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/random.h"
#include "tests/unit/queue/fake_loop.h"
#include "tests/unit/queue/rig.h"

/*
 * Random lives of a small spool with tiny segments, compared with a model: what
 * was answered is there, what was settled is gone, whatever happened between.
 * The process dies now and then between any two steps.
 */
enum {
	MESSAGES_MAX = 4000,
	RCPTS = 3,
	ROUNDS = 700,
};

struct letter {
	queue_id id;
	size_t bytes;
	bool is_sure;                   /* answered with QUEUE_DONE, or seen after a start */
	struct rig_answer sent;
	enum rcpt_state asked[RCPTS], known[RCPTS];
	struct rig_answer answers[RCPTS];
	bool removed;
	struct rig_answer removal;
};

struct life {
	struct rig rig;
	struct random_seeded random;
	struct letter letters[MESSAGES_MAX];
	size_t letter_count;
};

static uint64_t
below(struct life *life, uint64_t bound)
{
	return random_below(&life->random.random, bound);
}

static void
steps(struct life *life)
{
	uint64_t count = below(life, 40);

	for (uint64_t i = 0; i < count && fake_step(); i++)
		;
}

static void
send_one(struct life *life)
{
	struct rig *rig = &life->rig;
	struct letter *letter = &life->letters[life->letter_count++];
	struct queue_draft_terms terms = { .id = queue_new_id(rig->port) };
	struct queue_draft *draft = queue_begin(rig->port, &terms, NULL, NULL);
	struct envelope *envelope = rig_envelope("a@example.org", "b@x.net,c@y.net,d@z.net");
	static const size_t sizes[] = { 0, 10, 900, 4000, 12000, 40000, 280000 };

	/* An id that no record ever had may come again after a start. */
	for (struct letter *other = life->letters; other < letter; other++) {
		assert_true(other->id != terms.id || !other->is_sure);
		if (other->id == terms.id)
			other->id = 0;
	}
	letter->id = terms.id;
	letter->bytes = sizes[below(life, 20) == 0 ? 6 : below(life, 6)];
	for (size_t at = 0; at < letter->bytes; at++) {
		char octet = rig_octet(letter->id, at);

		assert_int_equal(queue_append(draft, span_make(&octet, 1)), 1);
	}
	(void)queue_commit(&draft, &envelope, NULL, rig_done, &letter->sent);
}

static struct letter *
pick(struct life *life)
{
	size_t back = life->letter_count < 60 ? life->letter_count : 60;

	if (life->letter_count == 0)
		return NULL;
	/* Most settle soon; some stay for long. */
	struct letter *letter = &life->letters[below(life, 8) == 0 ?
	    below(life, life->letter_count) : life->letter_count - 1 - below(life, back)];

	return letter->is_sure && !letter->removed ? letter : NULL;
}

static void
update_rcpt(struct life *life, struct letter *letter, size_t at, bool defer)
{
	if (letter->asked[at] != RCPT_WAITING || letter->answers[at].count > 0)
		return;
	struct queue_outcome outcome = {
		.rcpt = (uint32_t)at,
		.state = defer ? RCPT_WAITING : RCPT_DELIVERED,
		.reason = defer ? REASON_WAITING_RETRY : REASON_NONE,
		.tried = true,
	};
	struct queue_change change = { .outcomes = &outcome, .outcome_count = 1 };
	static struct rig_answer ignored;

	letter->asked[at] = outcome.state;
	(void)queue_update(life->rig.queue, letter->id, &change, rig_done,
	    defer ? &ignored : &letter->answers[at]);
}

/* Every ninth message is deferred for ever, so that survivors pile up. */
static void
update_one(struct life *life)
{
	struct letter *letter = pick(life);
	bool all = below(life, 2) == 0;

	if (!letter)
		return;
	bool defer = letter->id % 9 == 0 || below(life, 8) == 0;

	for (size_t i = 0; i < RCPTS; i++) {
		if (all || below(life, RCPTS) == 0)
			update_rcpt(life, letter, i, defer);
	}
}

static void
remove_one(struct life *life)
{
	struct letter *letter = pick(life);

	if (!letter)
		return;
	letter->removed = true;
	(void)queue_remove(life->rig.queue, letter->id, rig_done, &letter->removal);
}

static void
note_answers(struct life *life)
{
	for (size_t i = 0; i < life->letter_count; i++) {
		struct letter *letter = &life->letters[i];

		if (letter->sent.count == 1 && letter->sent.result == QUEUE_DONE)
			letter->is_sure = true;
		for (size_t j = 0; j < RCPTS; j++) {
			if (letter->answers[j].count == 1 &&
			    letter->answers[j].result == QUEUE_DONE)
				letter->known[j] = letter->asked[j];
		}
	}
}

static bool
must_be_gone(const struct letter *letter)
{
	bool settled = true;

	for (size_t i = 0; i < RCPTS; i++)
		settled &= letter->known[i] == RCPT_DELIVERED;
	return settled || (letter->removed && letter->removal.count == 1 &&
	    letter->removal.result == QUEUE_DONE);
}

static bool
may_be_gone(const struct letter *letter)
{
	bool settled = true;

	for (size_t i = 0; i < RCPTS; i++)
		settled &= letter->asked[i] == RCPT_DELIVERED;
	return settled || letter->removed;
}

static void
compare_one(struct life *life, struct letter *letter)
{
	struct queue_item item;
	struct queue_rcpt rcpt;

	if (!queue_find(life->rig.queue, letter->id, &item)) {
		assert_true(!letter->is_sure || may_be_gone(letter));
		letter->removed = true;
		letter->removal = (struct rig_answer){ .count = 1 };
		return;
	}
	assert_false(must_be_gone(letter));
	letter->is_sure = true;         /* what a start shows counts from then on */
	letter->removed = false;
	for (uint32_t i = 0; i < RCPTS; i++) {
		assert_true(queue_find_rcpt(life->rig.queue, letter->id, i, &rcpt));
		if (letter->known[i] == RCPT_DELIVERED)
			assert_int_equal(rcpt.state, RCPT_DELIVERED);
		letter->known[i] = letter->asked[i] = rcpt.state;
		letter->answers[i] = (struct rig_answer){ 0 };
	}
	assert_int_equal(rig_read(&life->rig, letter->id, letter->bytes), QUEUE_DONE);
}

static void
die(struct life *life)
{
	note_answers(life);
	rig_crash(&life->rig);
	assert_int_equal(life->rig.found.damaged_count, 0);
	for (size_t i = 0; i < life->letter_count; i++) {
		if (!must_be_gone(&life->letters[i]) || life->letter_count < 100 || i % 7 == 0)
			compare_one(life, &life->letters[i]);
	}
	/* Nothing that nobody sent. */
	size_t count = 0;

	for (size_t i = 0; i < life->letter_count; i++) {
		struct queue_item item;

		count += queue_find(life->rig.queue, life->letters[i].id, &item);
	}
	assert_int_equal(rig_listed(&life->rig), count);
}

static void
live(uint64_t seed)
{
	static struct life life;
	struct queue_stats stats;

	memset(&life, 0, sizeof(life));
	random_init_seeded(&life.random, seed);
	rig_init(&life.rig);
	life.rig.settings.segment_bytes = 64 << 10;
	life.rig.settings.move_after_ms = 0;
	life.rig.settings.pool_segments_max = 3;
	rig_open(&life.rig);
	for (int i = 0; i < ROUNDS; i++) {
		uint64_t what = below(&life, 100);

		if (what < 22)
			send_one(&life);
		else if (what < 94)
			update_one(&life);
		else if (what < 96)
			remove_one(&life);
		else if (what < 98)
			clock_manual_advance_ms(&life.rig.clock, 1000);
		else
			die(&life);
		steps(&life);
		if (below(&life, 4) == 0)
			note_answers(&life);
		rig_forget_events(&life.rig);
	}
	rig_run(&life.rig);
	queue_stats(life.rig.queue, &stats);
	if (getenv("LIFE_VERBOSE"))
		print_message("seed %lu: %lu messages, %lu segments, %lu live octets, %lu moved\n",
		    (unsigned long)seed, (unsigned long)stats.message_count,
		    (unsigned long)stats.segment_live_count, (unsigned long)stats.live_bytes,
		    (unsigned long)stats.moved_bytes);
	die(&life);
	rig_fini(&life.rig);
}

static void
lives_are_like_the_model(void **state)
{
	const char *only = getenv("LIFE_SEED");

	(void)state;
	if (only) {
		live(strtoull(only, NULL, 10));
		return;
	}
	for (uint64_t seed = 1; seed <= 12; seed++) {
		print_message("seed %lu\n", (unsigned long)seed);
		live(seed);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lives_are_like_the_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
