/*
 * Connecting to the first of several addresses that answers.  An address that nobody
 * answers is a listener whose queue is full: the kernel drops what knocks there.
 */
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/clock.h"
#include "relay/net/dial.h"
#include "tests/unit/net/net_fixture.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { KNOCKERS = 8 };

/* What stands at an address. */
enum house {
	OPEN,           /* somebody listens */
	OPEN6,          /* the same on IPv6 */
	CLOSED,         /* refused */
	HOLE,           /* no answer */
	NOWHERE,        /* fails at once: an address of no family that sockets have */
};

struct place {
	struct endpoint address;
	int fd;
	int knockers[KNOCKERS];
};

static socklen_t
address_of(const struct endpoint *endpoint, struct sockaddr_storage *storage)
{
	struct sockaddr_in *in4 = (struct sockaddr_in *)storage;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)storage;

	*storage = (struct sockaddr_storage){ 0 };
	if (endpoint->family == ENDPOINT_IPV4) {
		in4->sin_family = AF_INET;
		in4->sin_port = htons(endpoint->port);
		memcpy(&in4->sin_addr, endpoint->ip, 4);
		return sizeof(*in4);
	}
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(endpoint->port);
	memcpy(&in6->sin6_addr, endpoint->ip, 16);
	return sizeof(*in6);
}

/* False when the machine has no such family. */
static bool
place_open(struct place *place, enum house house, unsigned number)
{
	struct sockaddr_storage storage;
	struct sockaddr_in *in4 = (struct sockaddr_in *)&storage;
	char text[32];
	socklen_t len;
	struct err err;

	*place = (struct place){ .fd = -1 };
	memset(place->knockers, 0xff, sizeof(place->knockers));
	(void)snprintf(text, sizeof(text), "127.9.1.%u:0", number + 1);
	if (house == OPEN6)
		(void)snprintf(text, sizeof(text), "[::1]:0");
	assert_int_equal(endpoint_parse(span_from_cstr(text), 0, &place->address, &err), 0);
	len = address_of(&place->address, &storage);
	place->fd = socket(storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (place->fd < 0 || bind(place->fd, (struct sockaddr *)&storage, len) < 0)
		return false;
	assert_int_equal(getsockname(place->fd, (struct sockaddr *)&storage, &len), 0);
	place->address.port = ntohs(in4->sin_port);     /* in6 has it at the same place */
	if (house == OPEN || house == OPEN6) {
		assert_int_equal(listen(place->fd, 8), 0);
	} else if (house == HOLE) {
		assert_int_equal(listen(place->fd, 0), 0);
		for (int i = 0; i < KNOCKERS; i++) {
			place->knockers[i] = socket(AF_INET,
			    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
			(void)connect(place->knockers[i], (struct sockaddr *)&storage, len);
		}
	} else if (house == NOWHERE) {
		/* The broadcast address takes no stream. */
		memset(place->address.ip, 0xff, 4);
	}
	return true;
}

static void
place_close(struct place *place)
{
	for (int i = 0; i < KNOCKERS; i++)
		if (place->knockers[i] >= 0)
			(void)close(place->knockers[i]);
	if (place->fd >= 0)
		(void)close(place->fd);
}

struct heard {
	size_t count, winner, attempts;
	bool connected;
	struct conn *conn;
	struct dial_attempt of[DIAL_ADDRESS_COUNT_MAX];
	struct err err;
};

static void
dialled(void *ctx, const struct dial_result *result)
{
	struct heard *heard = ctx;

	heard->count++;
	heard->connected = result->conn != NULL;
	heard->conn = result->conn;
	heard->winner = result->winner;
	heard->attempts = result->attempt_count;
	assert_true(result->attempt_count <= DIAL_ADDRESS_COUNT_MAX);
	for (size_t i = 0; i < result->attempt_count; i++)
		heard->of[i] = result->attempts[i];
	if (result->err)
		heard->err = *result->err;
}

static struct loop *
new_loop(void)
{
	struct err err;
	struct loop *loop = loop_new(clock_system(), &err);

	assert_non_null(loop);
	return loop;
}

static const struct {
	const char *name;
	enum house houses[4];
	size_t count;
	uint64_t stagger_ms, address_ms, total_ms;
	/* expected */
	bool connected;
	size_t winner, attempts;
	uint64_t least_ms, most_ms;
	const char *error;              /* within the line that sums up; NULL: any */
} dial_cases[] = {
	{ "the first answers", { OPEN, OPEN }, 2, 200, 0, 0, true, 0, 1, 0, 150, NULL },
	{ "the first refuses", { CLOSED, OPEN }, 2, 2000, 0, 0, true, 1, 2, 0, 1000, NULL },
	{ "the first fails at once", { NOWHERE, OPEN }, 2, 2000, 0, 0, true, 1, 2, 0, 1000, NULL },
	{ "the first is a black hole", { HOLE, OPEN }, 2, 150, 0, 0, true, 1, 2, 140, 1500, NULL },
	{ "two black holes", { HOLE, HOLE, OPEN }, 3, 100, 0, 0, true, 2, 3, 180, 1500, NULL },
	{ "IPv6 refused, IPv4 answers", { CLOSED, OPEN6 }, 2, 2000, 0, 0, true, 1, 2, 0, 1000,
	    NULL },
	{ "a hole, one that refuses, one that answers", { HOLE, CLOSED, OPEN }, 3, 100, 0, 0, true,
	    2, 3, 90, 1000, NULL },
	{ "all refuse", { CLOSED, CLOSED }, 2, 2000, 0, 0, false, 0, 2, 0, 1000,
	    "connect: Connection refused; 127.9.1.2:" },
	{ "all fail at once", { NOWHERE, NOWHERE }, 2, 2000, 0, 0, false, 0, 2, 0, 1000,
	    "255.255.255.255:" },
	{ "each has its time", { HOLE, HOLE }, 2, 50, 200, 0, false, 0, 2, 190, 1500,
	    "no answer in time; 127.9.1.2:" },
	{ "all of it has its time", { HOLE, HOLE, HOLE, OPEN }, 4, 120, 5000, 200, false, 0, 2,
	    190, 1000, "no answer in time" },
	{ "nobody to ask", { OPEN }, 0, 0, 0, 0, false, 0, 0, 0, 1000, "no address" },
};

static void
test_dial(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(dial_cases); i++) {
		struct loop *loop = new_loop();
		struct heard heard = { 0 };
		struct place places[4];
		struct endpoint addresses[4];
		bool possible = true;

		print_message("%s\n", dial_cases[i].name);
		for (size_t j = 0; j < dial_cases[i].count; j++) {
			possible &= place_open(&places[j], dial_cases[i].houses[j], (unsigned)j);
			addresses[j] = places[j].address;
		}
		loop_turn(loop, 0);
		uint64_t begun_ms = loop_now_ms(loop), took_ms;
		struct dial *dial = dial_start(loop, &(struct dial_settings){
			.addresses = addresses, .address_count = dial_cases[i].count,
			.stagger_ms = dial_cases[i].stagger_ms,
			.address_timeout_ms = dial_cases[i].address_ms,
			.timeout_ms = dial_cases[i].total_ms,
		}, dialled, &heard);

		assert_non_null(dial);
		assert_int_equal(heard.count, 0);       /* never from inside the call */
		assert_true(RUN_UNTIL(loop, heard.count));
		took_ms = loop_now_ms(loop) - begun_ms;
		if (!possible)
			print_message("  without IPv6 on this machine\n");
		else if (heard.connected != dial_cases[i].connected ||
		    (heard.connected && heard.winner != dial_cases[i].winner) ||
		    heard.attempts != dial_cases[i].attempts ||
		    took_ms < dial_cases[i].least_ms || took_ms > dial_cases[i].most_ms ||
		    (dial_cases[i].error && !strstr(heard.err.text, dial_cases[i].error)))
			fail_msg("connected %d winner %zu attempts %zu in %zu ms: %s",
			    heard.connected, heard.winner, heard.attempts, (size_t)took_ms,
			    heard.err.text);
		if (heard.conn)
			conn_free(&heard.conn);
		for (int turn = 0; turn < 5; turn++)
			loop_turn(loop, 1);
		assert_int_equal(heard.count, 1);
		for (size_t j = 0; j < dial_cases[i].count; j++)
			place_close(&places[j]);
		loop_free(&loop);
	}
}

static void
test_cancel(void **state)
{
	(void)state;
	/* Before the first try, while it waits for an answer, and as its answer is there. */
	for (int turns = 0; turns < 3; turns++) {
		struct loop *loop = new_loop();
		struct heard heard = { 0 };
		struct place place;
		struct dial *dial;

		assert_true(place_open(&place, turns == 2 ? OPEN : HOLE, 0));
		dial = dial_start(loop, &(struct dial_settings){
			.addresses = &place.address, .address_count = 1, .address_timeout_ms = 50,
		}, dialled, &heard);
		for (int turn = 0; turn < turns && heard.count == 0; turn++)
			loop_turn(loop, 0);
		if (heard.count == 0)
			dial_cancel(&dial);
		else
			conn_free(&heard.conn);
		size_t before = heard.count;

		for (int turn = 0; turn < 10; turn++)
			loop_turn(loop, 10);
		assert_int_equal(heard.count, before);
		place_close(&place);
		loop_free(&loop);
	}
}

/* The source is ours to choose, and what cannot be bound is said. */
static void
test_source(void **state)
{
	struct endpoint source, stranger;
	struct loop *loop = new_loop();
	struct heard heard = { 0 };
	struct place place;
	struct err err;

	(void)state;
	assert_int_equal(endpoint_parse(SPAN("127.9.7.7:0"), 0, &source, &err), 0);
	assert_int_equal(endpoint_parse(SPAN("192.0.2.1:0"), 0, &stranger, &err), 0);
	assert_true(place_open(&place, OPEN, 0));
	(void)dial_start(loop, &(struct dial_settings){
		.addresses = &place.address, .address_count = 1, .source_ipv4 = &source,
	}, dialled, &heard);
	assert_true(RUN_UNTIL(loop, heard.count));
	assert_true(heard.connected);
	assert_true(endpoint_same_ip(conn_local(heard.conn), &source));
	conn_free(&heard.conn);
	heard = (struct heard){ 0 };
	(void)dial_start(loop, &(struct dial_settings){
		.addresses = &place.address, .address_count = 1, .source_ipv4 = &stranger,
	}, dialled, &heard);
	assert_true(RUN_UNTIL(loop, heard.count));
	assert_false(heard.connected);
	assert_non_null(strstr(heard.err.text, "127.9.1.1:"));
	place_close(&place);
	loop_free(&loop);
}

/* As many as the limit says are tried, and the line that sums up is cut, not broken. */
static void
test_many_addresses(void **state)
{
	struct endpoint addresses[DIAL_ADDRESS_COUNT_MAX + 8];
	struct loop *loop = new_loop();
	struct heard heard = { 0 };
	struct place place;

	(void)state;
	assert_true(place_open(&place, CLOSED, 0));
	for (size_t i = 0; i < COUNT(addresses); i++)
		addresses[i] = place.address;
	(void)dial_start(loop, &(struct dial_settings){
		.addresses = addresses, .address_count = COUNT(addresses),
	}, dialled, &heard);
	assert_true(RUN_UNTIL(loop, heard.count));
	assert_false(heard.connected);
	assert_int_equal(heard.attempts, DIAL_ADDRESS_COUNT_MAX);
	assert_int_equal(heard.err.kind, heard.of[0].kind);
	assert_true(strlen(heard.err.text) < sizeof(heard.err.text));
	place_close(&place);
	loop_free(&loop);
}

static const struct {
	const char *name, *given, *expected;
} order_cases[] = {
	{ "one family stays as it is", "444", "444" },
	{ "IPv6 first, then in turn", "4466", "6464" },
	{ "what is left over goes last", "446", "644" },
	{ "more of IPv6", "66646", "64666" },
	{ "nothing", "", "" },
};

static void
test_order(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(order_cases); i++) {
		struct endpoint addresses[8];
		size_t count = strlen(order_cases[i].given);
		uint16_t last[2] = { 0, 0 };

		for (size_t j = 0; j < count; j++)
			addresses[j] = (struct endpoint){
				.family = order_cases[i].given[j] == '6' ? ENDPOINT_IPV6
				    : ENDPOINT_IPV4,
				.port = (uint16_t)(j + 1),
			};
		dial_order(addresses, count);
		for (size_t j = 0; j < count; j++) {
			bool is6 = addresses[j].family == ENDPOINT_IPV6;

			if (is6 != (order_cases[i].expected[j] == '6'))
				fail_msg("%s: at %zu", order_cases[i].name, j);
			/* Within a family they keep their order. */
			assert_true(addresses[j].port > last[is6]);
			last[is6] = addresses[j].port;
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dial),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_source),
		cmocka_unit_test(test_many_addresses),
		cmocka_unit_test(test_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
