#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/clock.h"
#include "relay/base/mem.h"
#include "relay/net/loop.h"
#include "relay/net/token.h"
#include "relay/net/work.h"
#include "tests/unit/net/net_fixture.h"

static struct loop *
new_loop(void)
{
	struct loop *loop = loop_new(clock_system(), NULL);

	assert_non_null(loop);
	return loop;
}

/* ---- timers: what fired, in order, as letters */

struct diary {
	struct loop *loop;
	char text[64];
	size_t len;
	struct loop_timer timers[4];
	struct loop_task tasks[4];
	int again;
};

struct entry {
	struct diary *diary;
	char letter;
};

static void
write_letter(void *ctx)
{
	struct entry *entry = ctx;

	assert_true(entry->diary->len + 1 < sizeof(entry->diary->text));
	entry->diary->text[entry->diary->len++] = entry->letter;
}

static void
timers_fire_by_time_then_by_start(void **state)
{
	struct diary diary = { .loop = new_loop() };
	struct entry entries[4];
	static const uint64_t delays[4] = { 20, 5, 5, 0 };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		entries[i] = (struct entry){ &diary, (char)('a' + i) };
		loop_timer_init(&diary.timers[i], write_letter, &entries[i]);
		loop_timer_start(diary.loop, &diary.timers[i], delays[i]);
		assert_true(loop_timer_is_running(&diary.timers[i]));
	}
	assert_true(RUN_UNTIL(diary.loop, diary.len == 4));
	assert_string_equal(diary.text, "dbca");
	assert_false(loop_timer_is_running(&diary.timers[0]));
	loop_free(&diary.loop);
}

static void
timers_stop_and_move(void **state)
{
	struct diary diary = { .loop = new_loop() };
	struct entry entries[3];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		entries[i] = (struct entry){ &diary, (char)('a' + i) };
		loop_timer_init(&diary.timers[i], write_letter, &entries[i]);
		loop_timer_start(diary.loop, &diary.timers[i], i);
	}
	loop_timer_stop(diary.loop, &diary.timers[1]);
	loop_timer_stop(diary.loop, &diary.timers[1]);
	loop_timer_start(diary.loop, &diary.timers[0], 30);
	assert_true(RUN_UNTIL(diary.loop, diary.len == 2));
	assert_string_equal(diary.text, "ca");
	loop_free(&diary.loop);
}

static void
a_timer_is_never_early(void **state)
{
	struct diary diary = { .loop = new_loop() };
	struct entry entry = { &diary, 'x' };
	uint64_t before_ms = clock_monotonic_ms(clock_system());

	(void)state;
	loop_timer_init(&diary.timers[0], write_letter, &entry);
	loop_timer_start(diary.loop, &diary.timers[0], 30);
	assert_true(RUN_UNTIL(diary.loop, diary.len == 1));
	assert_true(clock_monotonic_ms(clock_system()) - before_ms >= 29);
	loop_free(&diary.loop);
}

static void
start_again(void *ctx)
{
	struct diary *diary = ctx;

	diary->again++;
	loop_timer_start(diary->loop, &diary->timers[0], 0);
}

static void
a_timer_of_no_time_does_not_keep_the_turn(void **state)
{
	struct diary diary = { .loop = new_loop() };

	(void)state;
	loop_timer_init(&diary.timers[0], start_again, &diary);
	loop_timer_start(diary.loop, &diary.timers[0], 0);
	for (int i = 1; i <= 3; i++) {
		loop_turn(diary.loop, 0);
		assert_int_equal(diary.again, i);
	}
	loop_timer_stop(diary.loop, &diary.timers[0]);
	loop_free(&diary.loop);
}

/* ---- tasks and deferred frees */

static void
tasks_run_once_in_order_at_the_end(void **state)
{
	struct diary diary = { .loop = new_loop() };
	struct entry entries[4], timer_entry = { &diary, 't' };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		entries[i] = (struct entry){ &diary, (char)('a' + i) };
		loop_task_init(&diary.tasks[i], write_letter, &entries[i]);
	}
	loop_timer_init(&diary.timers[0], write_letter, &timer_entry);
	loop_timer_start(diary.loop, &diary.timers[0], 0);
	loop_at_turn_end(diary.loop, &diary.tasks[2]);
	loop_at_turn_end(diary.loop, &diary.tasks[0]);
	loop_at_turn_end(diary.loop, &diary.tasks[3]);
	loop_at_turn_end(diary.loop, &diary.tasks[0]);
	loop_task_cancel(diary.loop, &diary.tasks[3]);
	loop_at_turn_end(diary.loop, &diary.tasks[1]);
	loop_task_cancel(diary.loop, &diary.tasks[2]);
	loop_task_cancel(diary.loop, &diary.tasks[2]);
	loop_turn(diary.loop, 0);
	assert_string_equal(diary.text, "tab");
	loop_turn(diary.loop, 0);
	assert_string_equal(diary.text, "tab");
	loop_free(&diary.loop);
}

struct canceller {
	struct diary *diary;
	size_t victim;
};

static void
cancel_other(void *ctx)
{
	struct canceller *canceller = ctx;

	loop_task_cancel(canceller->diary->loop, &canceller->diary->tasks[canceller->victim]);
}

static void
a_task_may_cancel_a_later_one(void **state)
{
	for (size_t victim = 1; victim < 4; victim++) {
		struct diary diary = { .loop = new_loop() };
		struct canceller canceller = { &diary, victim };
		struct entry entries[4];

		(void)state;
		loop_task_init(&diary.tasks[0], cancel_other, &canceller);
		loop_at_turn_end(diary.loop, &diary.tasks[0]);
		for (size_t i = 1; i < 4; i++) {
			entries[i] = (struct entry){ &diary, (char)('0' + i) };
			loop_task_init(&diary.tasks[i], write_letter, &entries[i]);
			loop_at_turn_end(diary.loop, &diary.tasks[i]);
		}
		loop_turn(diary.loop, 0);
		assert_int_equal(diary.len, 2);
		assert_null(strchr(diary.text, (int)('0' + victim)));
		loop_at_turn_end(diary.loop, &diary.tasks[victim]);
		loop_turn(diary.loop, 0);
		assert_int_equal(diary.len, 3);
		loop_free(&diary.loop);
	}
}

static void
freed(void *object)
{
	write_letter(object);
}

static void
defer_free(void *ctx)
{
	struct entry *entry = ctx;

	loop_defer_free(entry->diary->loop, freed, entry);
	write_letter(&(struct entry){ entry->diary, '(' });
}

static void
frees_wait_for_the_end_of_the_turn(void **state)
{
	struct diary diary = { .loop = new_loop() };
	struct entry entry = { &diary, 'f' }, later = { &diary, 't' };

	(void)state;
	loop_timer_init(&diary.timers[0], defer_free, &entry);
	loop_timer_start(diary.loop, &diary.timers[0], 0);
	loop_task_init(&diary.tasks[0], write_letter, &later);
	loop_at_turn_end(diary.loop, &diary.tasks[0]);
	loop_turn(diary.loop, 0);
	assert_string_equal(diary.text, "(tf");
	loop_free(&diary.loop);
}

/* ---- posts */

enum { SENDERS = 4, POSTS_EACH = 20000 };

struct parcel {
	struct loop_post post;
	struct mailroom *mailroom;
	size_t sender, number;
};

struct mailroom {
	struct loop *loop;
	size_t next[SENDERS], arrived;
	bool in_order;
};

struct sender {
	struct mailroom *mailroom;
	struct parcel *parcels;
	size_t number;
};

static void
parcel_arrives(void *ctx)
{
	struct parcel *parcel = ctx;
	struct mailroom *mailroom = parcel->mailroom;

	if (mailroom->next[parcel->sender]++ != parcel->number)
		mailroom->in_order = false;
	if (++mailroom->arrived == (size_t)SENDERS * POSTS_EACH)
		loop_stop(mailroom->loop);
}

static void
send_parcels(void *ctx)
{
	struct sender *sender = ctx;

	for (size_t i = 0; i < POSTS_EACH; i++) {
		struct parcel *parcel = &sender->parcels[i];

		*parcel = (struct parcel){
			.mailroom = sender->mailroom, .sender = sender->number, .number = i,
		};
		loop_post_init(&parcel->post, parcel_arrives, parcel);
		loop_post(sender->mailroom->loop, &parcel->post);
	}
}

static void
posts_from_threads_all_come_in_order(void **state)
{
	struct mailroom mailroom = { .loop = new_loop(), .in_order = true };
	struct sender senders[SENDERS];
	struct work_thread *threads[SENDERS];
	struct work_thread *receiver = work_loop_start("receiver", mailroom.loop, NULL);

	(void)state;
	assert_non_null(receiver);
	for (size_t i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){
			&mailroom, mem_alloc_array(POSTS_EACH, sizeof(struct parcel)), i,
		};
		threads[i] = work_service_start("sender", send_parcels, &senders[i], NULL);
		assert_non_null(threads[i]);
	}
	for (size_t i = 0; i < SENDERS; i++)
		work_join(&threads[i]);
	work_join(&receiver);
	assert_int_equal(mailroom.arrived, SENDERS * POSTS_EACH);
	assert_true(mailroom.in_order);
	loop_free(&mailroom.loop);
	for (size_t i = 0; i < SENDERS; i++)
		mem_free(&senders[i].parcels);
}

/* A lost wake-up would leave both asleep: each round trip needs two of them. */
struct player {
	struct loop *loop, *other_loop;
	struct loop_post ball;
	struct player *other;
	unsigned rounds;
};

static void
ball_arrives(void *ctx)
{
	struct player *player = ctx;

	if (player->rounds-- == 0) {
		loop_stop(player->loop);
		return;
	}
	loop_post_init(&player->other->ball, ball_arrives, player->other);
	loop_post(player->other_loop, &player->other->ball);
}

static void
no_wake_up_is_lost(void **state)
{
	struct player left = { .loop = new_loop(), .rounds = 20000 };
	struct player right = { .loop = new_loop(), .rounds = 20000 };
	struct work_thread *threads[2];

	(void)state;
	left.other = &right;
	left.other_loop = right.loop;
	right.other = &left;
	right.other_loop = left.loop;
	threads[0] = work_loop_start("left", left.loop, NULL);
	threads[1] = work_loop_start("right", right.loop, NULL);
	loop_post_init(&left.ball, ball_arrives, &left);
	loop_post(left.loop, &left.ball);
	work_join(&threads[0]);
	work_loop_stop(threads[1]);
	work_join(&threads[1]);
	assert_true(left.rounds == UINT32_MAX);
	loop_free(&left.loop);
	loop_free(&right.loop);
}

struct last_word {
	struct loop *loop;
	struct loop_post post;
	bool came;
};

static void
word_comes(void *ctx)
{
	((struct last_word *)ctx)->came = true;
}

static void
say_it(void *ctx)
{
	struct last_word *word = ctx;

	loop_post(word->loop, &word->post);
}

/* The poster may still be inside loop_post() when its post has run; it must not miss the loop. */
static void
a_loop_goes_when_the_last_post_has_run(void **state)
{
	(void)state;
	for (int round = 0; round < 300; round++) {
		struct last_word word = { .loop = loop_new(clock_system(), NULL) };
		struct work_thread *thread;

		loop_post_init(&word.post, word_comes, &word);
		thread = work_service_start("speaker", say_it, &word, NULL);
		assert_non_null(thread);
		while (!word.came)
			loop_turn(word.loop, 10);
		loop_free(&word.loop);
		work_join(&thread);
	}
}

static void
a_stopped_loop_delivers_what_was_posted(void **state)
{
	struct diary diary = { .loop = new_loop() };
	struct entry entry = { &diary, 'p' };
	struct loop_post post;

	(void)state;
	struct work_thread *thread = work_loop_start("stopping", diary.loop, NULL);

	loop_post_init(&post, write_letter, &entry);
	loop_post(diary.loop, &post);
	work_loop_stop(thread);
	work_join(&thread);
	assert_string_equal(diary.text, "p");
	loop_free(&diary.loop);
}

/* ---- watches */

static void
pipe_ready(void *ctx, unsigned events)
{
	unsigned *seen = ctx;

	*seen = events;
}

static void
a_watch_tells_and_stops(void **state)
{
	struct loop *loop = new_loop();
	unsigned seen = 0;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	struct loop_watch *watch = loop_watch_new(loop, fds[0], LOOP_READ, pipe_ready, &seen);

	loop_turn(loop, 0);
	assert_int_equal(seen, 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_true(RUN_UNTIL(loop, seen == LOOP_READ));
	loop_watch_set(watch, 0);
	seen = 0;
	loop_turn(loop, 0);
	assert_int_equal(seen, 0);
	loop_watch_set(watch, LOOP_READ);
	assert_true(RUN_UNTIL(loop, seen == LOOP_READ));
	loop_watch_free(&watch);
	assert_null(watch);
	loop_turn(loop, 0);
	(void)close(fds[0]);
	(void)close(fds[1]);
	loop_free(&loop);
}

/* ---- tokens */

static void
tokens_find_their_asker_once(void **state)
{
	struct token_table table;
	int askers[40];
	struct token tokens[40];

	(void)state;
	token_table_init(&table, 40);
	for (size_t i = 0; i < 40; i++) {
		tokens[i] = token_issue(&table, &askers[i]);
		assert_false(token_is_empty(tokens[i]));
	}
	assert_true(token_is_empty(token_issue(&table, &askers[0])));
	assert_ptr_equal(token_find(&table, tokens[7]), &askers[7]);
	assert_ptr_equal(token_take(&table, tokens[7]), &askers[7]);
	assert_null(token_take(&table, tokens[7]));

	struct token again = token_issue(&table, &askers[1]);

	assert_int_equal(again.slot, tokens[7].slot);
	assert_null(token_find(&table, tokens[7]));
	assert_ptr_equal(token_take(&table, again), &askers[1]);

	struct token old = tokens[9];

	token_cancel(&table, &tokens[9]);
	assert_true(token_is_empty(tokens[9]));
	token_cancel(&table, &tokens[9]);
	assert_null(token_take(&table, old));
	assert_null(token_take(&table, (struct token){ .slot = 4000, .generation = 1 }));
	assert_null(token_take(&table, (struct token){ 0 }));
	token_table_fini(&table);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers_fire_by_time_then_by_start),
		cmocka_unit_test(timers_stop_and_move),
		cmocka_unit_test(a_timer_is_never_early),
		cmocka_unit_test(a_timer_of_no_time_does_not_keep_the_turn),
		cmocka_unit_test(tasks_run_once_in_order_at_the_end),
		cmocka_unit_test(a_task_may_cancel_a_later_one),
		cmocka_unit_test(frees_wait_for_the_end_of_the_turn),
		cmocka_unit_test(posts_from_threads_all_come_in_order),
		cmocka_unit_test(no_wake_up_is_lost),
		cmocka_unit_test(a_loop_goes_when_the_last_post_has_run),
		cmocka_unit_test(a_stopped_loop_delivers_what_was_posted),
		cmocka_unit_test(a_watch_tells_and_stops),
		cmocka_unit_test(tokens_find_their_asker_once),
	};

	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
