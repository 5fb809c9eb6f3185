#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "queue/index.h"
#include "relay/base/random.h"

enum {
	IDS = 5000,
	MANY = 200000,
	BYTES_A_MESSAGE_MAX = 192,      /* the issue */
};

static void
names_are_shared_and_counted(void **state)
{
	struct names names;
	uint32_t numbers[1000];

	(void)state;
	names_init(&names);
	size_t empty_bytes = names_bytes(&names);

	assert_int_equal(names_hold(&names, SPAN("")), 0);
	for (uint32_t round = 0; round < 3; round++) {
		for (uint32_t i = 0; i < 1000; i++) {
			char text[32];
			int len = snprintf(text, sizeof(text), "host%u.example", i);

			uint32_t number = names_hold(&names, span_make(text, (size_t)len));

			assert_true(round == 0 || number == numbers[i]);
			numbers[i] = number;
			assert_true(span_equal(names_text(&names, number),
			    span_make(text, (size_t)len)));
		}
	}
	for (uint32_t i = 0; i < 1000; i += 2) {
		for (int round = 0; round < 3; round++)
			names_release(&names, numbers[i]);
	}
	for (uint32_t i = 1; i < 1000; i += 2) {
		char text[32];
		int len = snprintf(text, sizeof(text), "host%u.example", i);

		assert_int_equal(names_hold(&names, span_make(text, (size_t)len)), numbers[i]);
		names_release(&names, numbers[i]);
	}
	/* Numbers that nobody holds are given again. */
	assert_true(names_hold(&names, SPAN("new.example")) <= 1001);
	assert_true(names_bytes(&names) > empty_bytes);
	names_fini(&names);
}

static void
finds_what_it_has(void **state)
{
	struct index index;
	struct random_seeded random;
	static bool is_there[IDS];
	size_t count = 0;

	(void)state;
	memset(is_there, 0, sizeof(is_there));
	random_init_seeded(&random, 5);
	index_init(&index);
	for (int i = 0; i < 60000; i++) {
		uint64_t at = random_below(&random.random, IDS);
		uint64_t id = (at % 7) << 34 | (at + 1);
		struct entry *entry = index_find(&index, id);

		assert_int_equal(entry != NULL, is_there[at]);
		if (entry) {
			index_remove(&index, entry);
			count--;
		} else {
			entry = index_add(&index, id);
			index_set_rcpt_count(&index, entry, 1 + (uint32_t)(at % 3));
			index_set_chunk_count(&index, entry, (uint32_t)(at % 4));
			count++;
		}
		is_there[at] = !is_there[at];
		assert_int_equal(index.entry_count, count);
	}
	uint64_t at = 0;
	size_t walked = 0;

	while (index_next(&index, &at))
		walked++;
	assert_int_equal(walked, count);
	index_fini(&index);
}

static void
chunks_are_kept_when_there_are_more(void **state)
{
	struct index index;

	(void)state;
	index_init(&index);
	struct entry *entry = index_add(&index, 1);

	for (uint32_t count = 1; count < 9; count++) {
		index_set_chunk_count(&index, entry, count);
		*entry_chunk(entry, count - 1) = place_make(count, 8 * (uint64_t)count);
		for (uint32_t i = 0; i < count; i++) {
			assert_int_equal(entry_chunk(entry, i)->slot, i + 1);
			assert_int_equal(place_offset(*entry_chunk(entry, i)), 8 * (i + 1));
		}
	}
	index_fini(&index);
}

/* As the issue has it: one recipient, everything that lists and scheduling need. */
static void
a_message_is_small(void **state)
{
	struct index index;

	(void)state;
	index_init(&index);
	for (uint64_t i = 0; i < MANY; i++) {
		struct entry *entry = index_add(&index, i + 1);
		char text[64];
		int len = snprintf(text, sizeof(text), "user%lu@example%lu.org",
		    (unsigned long)(i % 5000), (unsigned long)(i % 5000));

		entry->sender = names_hold(&index.names, span_make(text, (size_t)len));
		entry->client = names_hold(&index.names, SPAN("192.0.2.1"));
		index_set_rcpt_count(&index, entry, 1);
		index_set_chunk_count(&index, entry, 1);
		len = snprintf(text, sizeof(text), "d%lu.example.net", (unsigned long)(i % 5000));
		entry_rcpt(entry, 0)->domain = names_hold(&index.names,
		    span_make(text, (size_t)len));
	}
	print_message("%.1f octets a message\n", (double)index_bytes(&index) / MANY);
	assert_true(index_bytes(&index) <= (size_t)MANY * BYTES_A_MESSAGE_MAX);
	index_fini(&index);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_shared_and_counted),
		cmocka_unit_test(finds_what_it_has),
		cmocka_unit_test(chunks_are_kept_when_there_are_more),
		cmocka_unit_test(a_message_is_small),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
