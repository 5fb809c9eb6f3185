#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/mem.h"
#include "tests/unit/net/net_fixture.h"

static void
assert_input(const struct test_end *end, const char *expected)
{
	struct span got = buf_span(&end->input);

	assert_int_equal(got.len, strlen(expected));
	assert_memory_equal(got.data, expected, got.len);
}

static void
octets_go_both_ways(void **state)
{
	struct test_pair pair;

	(void)state;
	test_pair_init(&pair);
	test_pair_connect(&pair);
	assert_int_equal(conn_peer(pair.client.conn)->port, pair.address.port);
	assert_int_equal(endpoint_compare(conn_peer(pair.server.conn),
	    conn_local(pair.client.conn)), 0);
	assert_true(endpoint_is_loopback(conn_peer(pair.server.conn)));
	conn_write(pair.client.conn, SPAN("hel"));
	conn_write(pair.client.conn, SPAN("lo"));
	conn_write(pair.server.conn, SPAN("welcome"));
	assert_true(RUN_UNTIL(pair.loop, buf_len(&pair.server.input) == 5 &&
	    buf_len(&pair.client.input) == 7));
	assert_input(&pair.server, "hello");
	assert_input(&pair.client, "welcome");
	/* What is written in one turn leaves in one piece. */
	assert_int_equal(pair.server.input_count, 1);
	assert_null(conn_tls(pair.client.conn));
	test_pair_fini(&pair);
}

static void
one_octet_at_a_time(void **state)
{
	static const char text[] = "a line in single octets\r\n";
	struct test_pair pair;

	(void)state;
	test_pair_init(&pair);
	test_pair_connect(&pair);
	for (size_t i = 0; text[i]; i++) {
		conn_write(pair.client.conn, span_make(&text[i], 1));
		assert_true(RUN_UNTIL(pair.loop, buf_len(&pair.server.input) == i + 1));
	}
	assert_input(&pair.server, text);
	test_pair_fini(&pair);
}

static void
what_was_not_consumed_comes_again(void **state)
{
	struct test_pair pair;

	(void)state;
	test_pair_init(&pair);
	pair.server.consume_max = 1;
	test_pair_connect(&pair);
	conn_write(pair.client.conn, SPAN("abc"));
	assert_true(RUN_UNTIL(pair.loop, buf_len(&pair.server.input) == 3));
	assert_input(&pair.server, "abc");
	assert_int_equal(pair.server.input_count, 3);
	assert_int_equal(conn_input_bytes(pair.server.conn), 0);
	test_pair_fini(&pair);
}

static void
a_paused_end_is_not_read(void **state)
{
	struct test_pair pair;

	(void)state;
	test_pair_init(&pair);
	pair.server.pauses = true;
	pair.server.consume_max = 2;
	test_pair_connect(&pair);
	conn_write(pair.client.conn, SPAN("abcd"));
	assert_true(RUN_UNTIL(pair.loop, pair.server.input_count == 1));
	conn_write(pair.client.conn, SPAN("ef"));
	for (int i = 0; i < 20; i++)
		loop_turn(pair.loop, 1);
	assert_true(conn_input_is_paused(pair.server.conn));
	assert_int_equal(pair.server.input_count, 1);
	assert_int_equal(conn_input_bytes(pair.server.conn), 2);
	/* Resuming never calls back at once. */
	conn_resume_input(pair.server.conn);
	assert_int_equal(pair.server.input_count, 1);
	assert_true(RUN_UNTIL(pair.loop, pair.server.input_count == 2));
	pair.server.pauses = false;
	conn_resume_input(pair.server.conn);
	assert_true(RUN_UNTIL(pair.loop, buf_len(&pair.server.input) == 6));
	assert_input(&pair.server, "abcdef");
	test_pair_fini(&pair);
}

static size_t
consume_nothing(void *ctx, struct span input)
{
	(void)ctx;
	(void)input;
	return 0;
}

static void
note_closed(void *ctx, enum conn_end how, const struct err *err)
{
	struct test_end *end = ctx;

	end->closed_count++;
	end->how = how;
	end->err = *err;
}

static void
input_is_bounded(void **state)
{
	static const struct conn_ops greedy = { .input = consume_nothing, .closed = note_closed };
	static char many[4096];
	struct test_pair pair;

	(void)state;
	test_pair_init(&pair);
	pair.settings.input_bytes_max = 1000;
	test_pair_connect(&pair);
	conn_set_ops(pair.server.conn, &greedy, &pair.server);
	conn_write(pair.client.conn, span_make(many, 999));
	assert_true(RUN_UNTIL(pair.loop, conn_input_bytes(pair.server.conn) == 999));
	assert_int_equal(pair.server.closed_count, 0);
	conn_write(pair.client.conn, span_make(many, sizeof(many)));
	assert_true(RUN_UNTIL(pair.loop, pair.server.closed_count == 1));
	assert_int_equal(pair.server.how, CONN_END_LIMIT);
	test_pair_fini(&pair);
}

static void
space_is_filled_without_a_copy(void **state)
{
	static char space[64];
	struct test_pair pair;

	(void)state;
	test_pair_init(&pair);
	pair.server.space = space;
	pair.server.space_size = sizeof(space);
	test_pair_connect(&pair);
	for (int i = 0; i < 50; i++)
		conn_write(pair.client.conn, SPAN("0123456789"));
	assert_true(RUN_UNTIL(pair.loop, buf_len(&pair.server.input) == 500));
	assert_int_equal(pair.server.input_count, 0);
	assert_true(pair.server.filled_count >= 500 / sizeof(space));
	for (size_t i = 0; i < 500; i++)
		assert_int_equal(buf_span(&pair.server.input).data[i], '0' + (int)(i % 10));
	test_pair_fini(&pair);
}

/* ---- output */

struct lent {
	struct conn_segment segment;
	char *bytes;
	size_t released_count;
	size_t *order;
	size_t released_as;
};

static void
lent_released(void *ctx)
{
	struct lent *lent = ctx;

	lent->released_count++;
	lent->released_as = (*lent->order)++;
}

enum { LENT_COUNT = 6, LENT_BYTES = 300 * 1000 };

static void
lend(struct test_pair *pair, struct lent lent[LENT_COUNT], size_t *order)
{
	for (size_t i = 0; i < LENT_COUNT; i++) {
		lent[i] = (struct lent){ .bytes = mem_alloc(LENT_BYTES), .order = order };
		memset(lent[i].bytes, 'A' + (int)i, LENT_BYTES);
		lent[i].segment = (struct conn_segment){
			.bytes = span_make(lent[i].bytes, LENT_BYTES),
			.released = lent_released,
			.ctx = &lent[i],
		};
		conn_write(pair->client.conn, SPAN("<"));
		conn_write_segment(pair->client.conn, &lent[i].segment);
		conn_write(pair->client.conn, SPAN(">"));
	}
}

static void
segments_leave_in_order_and_are_given_back(void **state)
{
	struct test_pair pair;
	struct lent lent[LENT_COUNT];
	size_t order = 0;

	(void)state;
	test_pair_init(&pair);
	test_pair_connect(&pair);
	lend(&pair, lent, &order);
	assert_true(conn_output_is_full(pair.client.conn));
	assert_true(RUN_UNTIL(pair.loop,
	    buf_len(&pair.server.input) == LENT_COUNT * (LENT_BYTES + 2)));
	for (size_t i = 0; i < LENT_COUNT; i++) {
		struct span part = span_slice(buf_span(&pair.server.input),
		    i * (LENT_BYTES + 2), LENT_BYTES + 2);

		assert_int_equal(part.data[0], '<');
		assert_memory_equal(part.data + 1, lent[i].bytes, LENT_BYTES);
		assert_int_equal(part.data[LENT_BYTES + 1], '>');
		assert_int_equal(lent[i].released_count, 1);
		assert_int_equal(lent[i].released_as, i);
		mem_free(&lent[i].bytes);
	}
	assert_int_equal(pair.client.drained_count, 1);
	assert_int_equal(conn_output_bytes(pair.client.conn), 0);
	test_pair_fini(&pair);
}

static void
segments_are_given_back_when_it_ends(void **state)
{
	struct test_pair pair;
	struct lent lent[LENT_COUNT];
	size_t order = 0;

	(void)state;
	test_pair_init(&pair);
	test_pair_connect(&pair);
	conn_pause_input(pair.server.conn);
	lend(&pair, lent, &order);
	for (int turn = 0; turn < 3; turn++)
		loop_turn(pair.loop, 0);
	conn_free(&pair.client.conn);
	for (size_t i = 0; i < LENT_COUNT; i++) {
		assert_int_equal(lent[i].released_count, 1);
		mem_free(&lent[i].bytes);
	}
	test_pair_fini(&pair);
}

static void
who_does_not_read_is_given_up(void **state)
{
	static char block[64 * 1024];
	struct test_pair pair;
	size_t order = 0;
	struct lent lent[LENT_COUNT];

	(void)state;
	test_pair_init(&pair);
	pair.settings.output_timeout_ms = 50;
	test_pair_connect(&pair);
	conn_pause_input(pair.server.conn);
	for (int i = 0; i < 160; i++)          /* more than any socket takes */
		conn_write(pair.client.conn, span_make(block, sizeof(block)));
	lend(&pair, lent, &order);
	assert_true(RUN_UNTIL(pair.loop, pair.client.closed_count == 1));
	assert_int_equal(pair.client.how, CONN_END_TIMEOUT);
	assert_int_equal(pair.client.err.kind, ERR_TIMEOUT);
	conn_free(&pair.client.conn);
	for (size_t i = 0; i < LENT_COUNT; i++) {
		assert_int_equal(lent[i].released_count, 1);
		mem_free(&lent[i].bytes);
	}
	test_pair_fini(&pair);
}

/* ---- time and ends */

static void
a_deadline_is_not_moved_by_input(void **state)
{
	struct test_pair pair;

	(void)state;
	test_pair_init(&pair);
	test_pair_connect(&pair);
	uint64_t start_ms = loop_now_ms(pair.loop);

	conn_set_deadline(pair.server.conn, 60);
	while (!pair.server.expired_count) {
		conn_write(pair.client.conn, SPAN("x"));
		loop_turn(pair.loop, 5);
		assert_true(loop_now_ms(pair.loop) - start_ms < TEST_WAIT_MS);
	}
	assert_true(pair.server.input_count > 1);
	assert_true(loop_now_ms(pair.loop) - start_ms >= 60);
	assert_int_equal(pair.server.closed_count, 0);
	conn_set_deadline(pair.server.conn, 1);
	conn_clear_deadline(pair.server.conn);
	conn_set_deadline(pair.client.conn, 30);
	assert_true(RUN_UNTIL(pair.loop, pair.client.expired_count == 1));
	assert_int_equal(pair.server.expired_count, 1);
	test_pair_fini(&pair);
}

static void
the_peers_close_is_told_once(void **state)
{
	struct test_pair pair;

	(void)state;
	test_pair_init(&pair);
	test_pair_connect(&pair);
	conn_write(pair.client.conn, SPAN("bye"));
	loop_turn(pair.loop, 0);
	conn_free(&pair.client.conn);
	assert_null(pair.client.conn);
	assert_true(RUN_UNTIL(pair.loop, pair.server.closed_count == 1));
	assert_input(&pair.server, "bye");
	assert_int_equal(pair.server.how, CONN_END_PEER);
	for (int i = 0; i < 10; i++)
		loop_turn(pair.loop, 0);
	assert_int_equal(pair.server.closed_count, 1);
	assert_int_equal(pair.client.closed_count, 0);
	conn_write(pair.server.conn, SPAN("too late"));
	conn_close_after_output(pair.server.conn, 100);
	loop_turn(pair.loop, 0);
	assert_int_equal(pair.server.closed_count, 1);
	test_pair_fini(&pair);
}

static void
half_close_keeps_the_other_direction(void **state)
{
	struct test_pair pair;

	(void)state;
	test_pair_init(&pair);
	pair.server.keeps_open = true;
	test_pair_connect(&pair);
	conn_write(pair.client.conn, SPAN("question"));
	conn_end_output(pair.client.conn);
	conn_write(pair.client.conn, SPAN("dropped"));
	assert_true(RUN_UNTIL(pair.loop, pair.server.input_ended_count == 1));
	assert_input(&pair.server, "question");
	assert_int_equal(pair.server.closed_count, 0);
	conn_write(pair.server.conn, SPAN("answer"));
	conn_close_after_output(pair.server.conn, 1000);
	assert_true(RUN_UNTIL(pair.loop, pair.server.closed_count && pair.client.closed_count));
	assert_input(&pair.client, "answer");
	assert_int_equal(pair.server.how, CONN_END_FLUSHED);
	assert_int_equal(pair.client.how, CONN_END_PEER);
	test_pair_fini(&pair);
}

/* An owner that had no time for the input sees all of it before the end. */
static void
input_comes_before_its_end(void **state)
{
	struct test_pair pair;

	(void)state;
	test_pair_init(&pair);
	pair.server.keeps_open = true;
	pair.server.pauses = true;
	pair.server.consume_max = 3;
	test_pair_connect(&pair);
	conn_write(pair.client.conn, SPAN("onetwo"));
	conn_end_output(pair.client.conn);
	assert_true(RUN_UNTIL(pair.loop, pair.server.input_count == 1));
	for (int i = 0; i < 10; i++)
		loop_turn(pair.loop, 1);
	assert_int_equal(pair.server.input_ended_count, 0);
	conn_resume_input(pair.server.conn);
	assert_true(RUN_UNTIL(pair.loop, pair.server.input_ended_count == 1));
	assert_input(&pair.server, "onetwo");
	assert_int_equal(pair.server.input_at_end, 6);
	test_pair_fini(&pair);
}

/* The last reply must survive input that nobody reads any more. */
static void
the_last_words_arrive(void **state)
{
	static char noise[32 * 1024], got[64];
	struct test_pair pair;
	size_t len = 0;
	ssize_t more;

	(void)state;
	test_pair_init(&pair);
	int fd = test_raw_connect(&pair.address);

	assert_true(RUN_UNTIL(pair.loop, pair.server.conn));
	conn_pause_input(pair.server.conn);
	assert_int_equal(send(fd, noise, sizeof(noise), MSG_NOSIGNAL), sizeof(noise));
	conn_write(pair.server.conn, SPAN("421 closing\r\n"));
	conn_close_after_output(pair.server.conn, 5000);
	for (int i = 0; i < 5; i++)
		loop_turn(pair.loop, 1);
	assert_int_equal(pair.server.closed_count, 0);
	assert_int_equal(send(fd, noise, sizeof(noise), MSG_NOSIGNAL), sizeof(noise));
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_true(RUN_UNTIL(pair.loop, pair.server.closed_count == 1));
	assert_int_equal(pair.server.how, CONN_END_FLUSHED);
	conn_free(&pair.server.conn);
	loop_turn(pair.loop, 0);
	while ((more = recv(fd, got + len, sizeof(got) - len, 0)) > 0)
		len += (size_t)more;
	assert_int_equal(more, 0);
	assert_int_equal(len, 13);
	assert_memory_equal(got, "421 closing\r\n", len);
	(void)close(fd);
	test_pair_fini(&pair);
}

static void
lingering_is_bounded(void **state)
{
	struct test_pair pair;

	(void)state;
	test_pair_init(&pair);
	int fd = test_raw_connect(&pair.address);

	assert_true(RUN_UNTIL(pair.loop, pair.server.conn));
	conn_write(pair.server.conn, SPAN("bye\r\n"));
	conn_close_after_output(pair.server.conn, 30);
	assert_true(RUN_UNTIL(pair.loop, pair.server.closed_count == 1));
	assert_int_equal(pair.server.how, CONN_END_FLUSHED);
	(void)close(fd);
	test_pair_fini(&pair);
}

static void
a_reset_is_the_peers_end(void **state)
{
	struct test_pair pair;
	const struct linger now = { .l_onoff = 1, .l_linger = 0 };

	(void)state;
	test_pair_init(&pair);
	int fd = test_raw_connect(&pair.address);

	assert_true(RUN_UNTIL(pair.loop, pair.server.conn));
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	(void)close(fd);
	assert_true(RUN_UNTIL(pair.loop, pair.server.closed_count == 1));
	assert_int_equal(pair.server.how, CONN_END_PEER);
	assert_true(err_is_errno(&pair.server.err, ECONNRESET));
	test_pair_fini(&pair);
}

/* A client pipelines QUIT behind what the server had to park for. */
static void
an_end_closes_while_it_takes_what_waited(void **state)
{
	for (size_t consume_max = 0; consume_max < 3; consume_max++) {
		struct test_pair pair;

		(void)state;
		test_pair_init(&pair);
		pair.server.pauses = true;
		pair.server.consume_max = 1;
		test_pair_connect(&pair);
		conn_write(pair.client.conn, SPAN("abcdef"));
		assert_true(RUN_UNTIL(pair.loop, pair.server.input_count == 1));
		assert_int_equal(conn_input_bytes(pair.server.conn), 5);
		pair.server.pauses = false;
		pair.server.closes = true;
		pair.server.consume_max = consume_max;
		conn_resume_input(pair.server.conn);
		assert_true(RUN_UNTIL(pair.loop, pair.server.closed_count == 1));
		assert_int_equal(pair.server.how, CONN_END_FLUSHED);
		assert_int_equal(pair.server.input_count, 2);
		test_pair_fini(&pair);
	}
}

/* In whatever callback an end frees its connection: nothing is touched after. */
static void
free_in_any_callback(void **state)
{
	(void)state;
	for (int round = 0; round < 4; round++) {
		struct test_pair pair;

		test_pair_init(&pair);
		pair.settings.output_high_bytes = 10;
		pair.server.frees_itself = true;
		pair.server.keeps_open = round == 1;
		test_pair_connect(&pair);
		switch (round) {
		case 0:
			conn_write(pair.client.conn, SPAN("input"));
			break;
		case 1:
			conn_end_output(pair.client.conn);
			break;
		case 2:
			conn_set_deadline(pair.server.conn, 1);
			break;
		case 3:
			conn_write(pair.server.conn, SPAN("more than the high mark"));
			break;
		}
		assert_true(RUN_UNTIL(pair.loop, !pair.server.conn));
		assert_true(RUN_UNTIL(pair.loop, pair.client.closed_count == 1));
		assert_int_equal(pair.server.closed_count, 0);
		assert_int_equal(pair.server.expired_count, round == 2);
		assert_int_equal(pair.server.drained_count, round == 3);
		test_pair_fini(&pair);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(octets_go_both_ways),
		cmocka_unit_test(one_octet_at_a_time),
		cmocka_unit_test(what_was_not_consumed_comes_again),
		cmocka_unit_test(a_paused_end_is_not_read),
		cmocka_unit_test(input_is_bounded),
		cmocka_unit_test(space_is_filled_without_a_copy),
		cmocka_unit_test(segments_leave_in_order_and_are_given_back),
		cmocka_unit_test(segments_are_given_back_when_it_ends),
		cmocka_unit_test(who_does_not_read_is_given_up),
		cmocka_unit_test(a_deadline_is_not_moved_by_input),
		cmocka_unit_test(the_peers_close_is_told_once),
		cmocka_unit_test(half_close_keeps_the_other_direction),
		cmocka_unit_test(input_comes_before_its_end),
		cmocka_unit_test(the_last_words_arrive),
		cmocka_unit_test(lingering_is_bounded),
		cmocka_unit_test(a_reset_is_the_peers_end),
		cmocka_unit_test(an_end_closes_while_it_takes_what_waited),
		cmocka_unit_test(free_in_any_callback),
	};

	return cmocka_run_group_tests_name("conn", tests, NULL, NULL);
}
