/* Whose turn it is inside a destination: senders, and notifications beside them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/mem.h"
#include "relay/outbound/destination.h"
#include "relay/outbound/dispatch.h"

enum { BULK = 5000, OTHERS = 300, NOTICES = 50 };

struct letter {
	struct message message;
	struct unit unit;
};

static struct letter *
add(struct destination *destination, struct letter *letter, uint32_t sender, bool notice)
{
	letter->message.flow = sender;
	letter->message.is_notification = notice;
	letter->unit.message = &letter->message;
	destination_add(destination, &letter->unit, false);
	return letter;
}

/* One who sends thousands delays nobody who sends one, whatever their hashes have in common. */
static void
senders_take_turns(void **state)
{
	struct destination destination = {0};
	struct letter *bulk = mem_alloc_array(BULK, sizeof(*bulk));
	struct letter *others = mem_alloc_array(OTHERS, sizeof(*others));
	size_t last = 0, count = 0;
	struct unit *unit;

	(void)state;
	destination_init(&destination, 1);
	for (size_t i = 0; i < BULK; i++)
		add(&destination, &bulk[i], 7, false);
	for (size_t i = 0; i < OTHERS; i++)
		add(&destination, &others[i], (uint32_t)(7 + 16 * (i + 1)), false);
	while ((unit = destination_take(&destination))) {
		count++;
		if (unit->message->flow != 7)
			last = count;
	}
	assert_int_equal(count, BULK + OTHERS);
	assert_true(last <= OTHERS + 1);
	destination_fini(&destination);
	mem_free(&bulk);
	mem_free(&others);
}

/* Each sender's own letters keep their order, and two with the same number of letters share. */
static void
each_in_order(void **state)
{
	struct destination destination = {0};
	struct letter letters[20];
	size_t taken[2] = {0};

	(void)state;
	memset(letters, 0, sizeof(letters));
	destination_init(&destination, 1);
	for (size_t i = 0; i < 20; i++)
		add(&destination, &letters[i], i < 10 ? 1 : 2, false);
	for (size_t i = 0; i < 20; i++) {
		struct unit *unit = destination_take(&destination);
		size_t who = unit->message->flow - 1;

		assert_ptr_equal(unit, &letters[10 * who + taken[who]].unit);
		taken[who]++;
		assert_in_range(taken[0] + 1, taken[1], taken[1] + 2);
	}
	assert_null(destination_take(&destination));
	destination_fini(&destination);
}

/* Every fourth turn is a notification's: neither they nor mail wait for the others to end. */
static void
notifications_have_a_lane(void **state)
{
	struct destination destination = {0};
	struct letter *mail = mem_alloc_array(BULK, sizeof(*mail));
	struct letter *notices = mem_alloc_array(NOTICES, sizeof(*notices));
	size_t told = 0;

	(void)state;
	destination_init(&destination, 1);
	for (size_t i = 0; i < BULK; i++)
		add(&destination, &mail[i], (uint32_t)(i % 3), false);
	for (size_t i = 0; i < NOTICES; i++)
		add(&destination, &notices[i], 1, true);
	for (size_t turn = 1; turn <= 4 * NOTICES; turn++) {
		told += destination_take(&destination)->message->is_notification;
		assert_in_range(told, turn / 4, turn / 4 + 1);
	}
	assert_int_equal(told, NOTICES);
	while (destination_take(&destination))
		;
	destination_fini(&destination);
	mem_free(&mail);
	mem_free(&notices);
}

/* Whoever comes back goes first among his own; whoever is taken away leaves no gap. */
static void
comes_back_and_goes_away(void **state)
{
	struct destination destination = {0};
	struct letter letters[3];
	struct unit *unit;

	(void)state;
	memset(letters, 0, sizeof(letters));
	destination_init(&destination, 1);
	for (size_t i = 0; i < 3; i++)
		add(&destination, &letters[i], 1, false);
	unit = destination_take(&destination);
	destination_add(&destination, unit, true);
	assert_ptr_equal(destination_take(&destination), unit);
	destination_remove(&destination, &letters[1].unit);
	assert_ptr_equal(destination_take(&destination), &letters[2].unit);
	assert_null(destination_take(&destination));
	assert_int_equal(destination.ready_count, 0);
	destination_fini(&destination);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(senders_take_turns),
		cmocka_unit_test(each_in_order),
		cmocka_unit_test(notifications_have_a_lane),
		cmocka_unit_test(comes_back_and_goes_away),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
