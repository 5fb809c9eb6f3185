#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/inbound/rate.h"

enum { SLOTS = 4096, DAY_MS = 24 * 3600 * 1000 };

static struct span
key_of(uint32_t number, char text_out[24])
{
	(void)snprintf(text_out, 24, "client %u", number);
	return span_from_cstr(text_out);
}

static unsigned
take_many(struct rate_table *table, struct span key, const struct rate_limit *limit,
    uint64_t now_ms, unsigned count)
{
	unsigned taken = 0;

	for (unsigned i = 0; i < count; i++)
		taken += rate_take(table, RATE_ADDRESS, key, limit, now_ms);
	return taken;
}

/* A burst, then the even pace, then rest gives the burst back: in virtual time. */
static void
keeps_the_pace(void **state)
{
	static const struct rate_limit limit = { .minute_count = 60, .burst_count = 5 };
	static const struct rate_limit none = { 0 };
	struct rate_table *table = rate_table_new(SLOTS, 1);
	uint64_t now = DAY_MS;

	(void)state;
	assert_int_equal(take_many(table, SPAN("a"), &limit, now, 100), 5);
	assert_int_equal(rate_wait_ms(table, RATE_ADDRESS, SPAN("a"), &limit, now), 1000);
	assert_int_equal(take_many(table, SPAN("a"), &limit, now + 999, 100), 0);
	assert_int_equal(take_many(table, SPAN("a"), &limit, now + 1000, 100), 1);
	for (unsigned second = 2; second < 3600; second++)
		assert_int_equal(take_many(table, SPAN("A"), &limit, now + second * 1000, 3), 1);
	assert_int_equal(take_many(table, SPAN("a"), &limit, now + 2 * DAY_MS, 100), 5);
	assert_int_equal(take_many(table, SPAN("a"), &none, now, 1000), 1000);
	/* Kinds are apart. */
	assert_true(rate_take(table, RATE_USER, SPAN("a"), &limit, now + 2 * DAY_MS));
	rate_table_free(&table);
}

/* Who asked too often is not let in sooner for asking on. */
static void
refusals_cost_nothing(void **state)
{
	static const struct rate_limit limit = { .minute_count = 1 };
	struct rate_table *table = rate_table_new(SLOTS, 2);

	(void)state;
	assert_int_equal(take_many(table, SPAN("a"), &limit, 0, 1000), 1);
	assert_int_equal(take_many(table, SPAN("a"), &limit, 59999, 1000), 0);
	assert_int_equal(take_many(table, SPAN("a"), &limit, 60000, 1000), 1);
	rate_table_free(&table);
}

static void
counts_those_who_are_here(void **state)
{
	struct rate_table *table = rate_table_new(SLOTS, 3);

	(void)state;
	assert_true(rate_enter(table, RATE_NETWORK, SPAN("n"), 2, 0));
	assert_true(rate_enter(table, RATE_NETWORK, SPAN("n"), 2, 0));
	assert_false(rate_enter(table, RATE_NETWORK, SPAN("n"), 2, DAY_MS));
	assert_int_equal(rate_count(table, RATE_NETWORK, SPAN("n")), 2);
	rate_leave(table, RATE_NETWORK, SPAN("n"));
	assert_true(rate_enter(table, RATE_NETWORK, SPAN("n"), 2, DAY_MS));
	rate_leave(table, RATE_NETWORK, SPAN("n"));
	rate_leave(table, RATE_NETWORK, SPAN("n"));
	rate_leave(table, RATE_NETWORK, SPAN("n"));     /* of one that was not written down */
	assert_int_equal(rate_count(table, RATE_NETWORK, SPAN("n")), 0);
	rate_table_free(&table);
}

/*
 * A million names that come once each: those who are here stay counted, a heavy hitter
 * stays limited, and an honest newcomer has his whole burst at any moment of it.
 */
static void
withstands_a_flood_of_names(void **state)
{
	static const struct rate_limit limit = { .minute_count = 60, .burst_count = 10 };
	struct rate_table *table = rate_table_new(SLOTS, 4);
	char text[24];
	uint64_t now = DAY_MS;
	unsigned heavy_taken = 0;

	(void)state;
	for (uint32_t i = 0; i < 100; i++)
		assert_true(rate_enter(table, RATE_NETWORK, key_of(i, text), 1, now));
	for (uint32_t i = 0; i < 1000000; i++) {
		now = DAY_MS + i / 100;         /* 100,000 a second */
		(void)rate_take(table, RATE_ADDRESS, key_of(1000 + i, text), &limit, now);
		if (i % 50 == 0)
			heavy_taken += rate_take(table, RATE_ADDRESS, SPAN("heavy"), &limit, now);
		if (i % 100000 == 99999)
			assert_int_equal(take_many(table, key_of(5000000 + i, text), &limit, now,
			    10), 10);
	}
	/* Ten seconds: a burst of ten and one a second. */
	assert_in_range(heavy_taken, 10, 21);
	for (uint32_t i = 0; i < 100; i++) {
		assert_int_equal(rate_count(table, RATE_NETWORK, key_of(i, text)), 1);
		assert_false(rate_enter(table, RATE_NETWORK, key_of(i, text), 1, now));
	}
	rate_table_free(&table);
}

/* More who are here than there are places: the rest come in without being written down. */
static void
is_bounded(void **state)
{
	struct rate_table *table = rate_table_new(64, 5);
	char text[24];
	unsigned written = 0;

	(void)state;
	for (uint32_t i = 0; i < 10000; i++)
		assert_true(rate_enter(table, RATE_NETWORK, key_of(i, text), 1, 0));
	for (uint32_t i = 0; i < 10000; i++)
		written += rate_count(table, RATE_NETWORK, key_of(i, text));
	assert_int_equal(written, 64);
	for (uint32_t i = 0; i < 10000; i++)
		rate_leave(table, RATE_NETWORK, key_of(i, text));
	assert_true(rate_enter(table, RATE_NETWORK, SPAN("new"), 1, 0));
	assert_false(rate_enter(table, RATE_NETWORK, SPAN("new"), 1, 0));
	rate_table_free(&table);
}

static void
networks_are_24_and_56(void **state)
{
	uint8_t v4[16] = { [10] = 0xff, [11] = 0xff, 192, 0, 2, 7 };
	uint8_t v4_near[16] = { [10] = 0xff, [11] = 0xff, 192, 0, 2, 255 };
	uint8_t v4_far[16] = { [10] = 0xff, [11] = 0xff, 192, 0, 3, 7 };
	uint8_t v6[16] = { 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0x11, 0x22, 1 };
	uint8_t v6_near[16] = { 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0x11, 0x33, 9 };
	uint8_t v6_far[16] = { 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0x12, 0x22, 1 };

	(void)state;
	assert_true(span_equal(rate_network_key(v4), rate_network_key(v4_near)));
	assert_false(span_equal(rate_network_key(v4), rate_network_key(v4_far)));
	assert_true(span_equal(rate_network_key(v6), rate_network_key(v6_near)));
	assert_false(span_equal(rate_network_key(v6), rate_network_key(v6_far)));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_the_pace),
		cmocka_unit_test(refusals_cost_nothing),
		cmocka_unit_test(counts_those_who_are_here),
		cmocka_unit_test(withstands_a_flood_of_names),
		cmocka_unit_test(is_bounded),
		cmocka_unit_test(networks_are_24_and_56),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
