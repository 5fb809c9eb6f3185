#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/arena.h"
#include "relay/base/buf.h"
#include "relay/base/cursor.h"
#include "relay/base/err.h"
#include "relay/base/heap.h"
#include "relay/base/mem.h"
#include "relay/base/random.h"
#include "relay/base/span.h"

/* span, buf, cursor, arena, heap, err: the things made of bytes. */

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void
splits_spans(void **state)
{
	struct span rest = SPAN("a,,b,"), part, before, after;
	size_t at;

	(void)state;
	assert_true(span_take_part(&rest, ',', &part) && span_equal_cstr(part, "a"));
	assert_true(span_take_part(&rest, ',', &part) && span_equal_cstr(part, ""));
	assert_true(span_take_part(&rest, ',', &part) && span_equal_cstr(part, "b"));
	assert_true(span_take_part(&rest, ',', &part) && span_equal_cstr(part, ""));
	assert_false(span_take_part(&rest, ',', &part));

	rest = SPAN(" \tone  two ");
	assert_true(span_take_word(&rest, &part) && span_equal_cstr(part, "one"));
	assert_true(span_take_word(&rest, &part) && span_equal_cstr(part, "two"));
	assert_false(span_take_word(&rest, &part));

	assert_true(span_split_last(SPAN("a@b@c"), '@', &before, &after));
	assert_true(span_equal_cstr(before, "a@b") && span_equal_cstr(after, "c"));
	assert_false(span_split(SPAN("abc"), '@', &before, &after));
	assert_true(span_equal_cstr(before, "abc") && span_is_empty(after));
	assert_true(span_find(SPAN("hello"), SPAN("llo"), &at) && at == 2);
	assert_false(span_find(SPAN("hello"), SPAN("hello!"), &at));
	assert_true(span_equal_cstr(span_trim(SPAN(" \r\n x y\t")), "x y"));
	assert_true(span_equal_cstr(span_slice(SPAN("hello"), 3, 99), "lo"));
	assert_true(span_is_empty(span_skip(SPAN("a"), 99)));
}

static void
compares_spans(void **state)
{
	(void)state;
	assert_true(span_compare(SPAN("a"), SPAN("ab")) < 0);
	assert_true(span_compare(SPAN("\xff"), SPAN("a")) > 0);
	assert_true(span_equal_nocase(SPAN("HeLLo"), SPAN("hEllO")));
	assert_false(span_equal_nocase(SPAN("\xc3\x89"), SPAN("\xc3\xa9")));
	assert_true(span_starts_with_nocase(SPAN("BODY=8"), SPAN("body=")));
	assert_true(span_ends_with(SPAN("a.conf"), SPAN(".conf")));
	assert_false(span_ends_with(SPAN("conf"), SPAN(".conf")));
	assert_true(span_equal_secret(SPAN("abc"), SPAN("abc")));
	assert_false(span_equal_secret(SPAN("abc"), SPAN("abd")));
	assert_int_equal(span_hash_nocase(SPAN("AbC"), 1), span_hash_nocase(SPAN("aBc"), 1));
	assert_int_not_equal(span_hash(SPAN("a"), 1), span_hash(SPAN("a"), 2));
}

static const struct {
	const char *name, *text;
	bool is_good;
	int64_t value;
} number_cases[] = {
	{ "zero", "0", true, 0 },
	{ "negative", "-17", true, -17 },
	{ "most", "9223372036854775807", true, INT64_MAX },
	{ "least", "-9223372036854775808", true, INT64_MIN },
	{ "above the most", "9223372036854775808", false, 0 },
	{ "below the least", "-9223372036854775809", false, 0 },
	{ "above 64 bits", "18446744073709551616", false, 0 },
	{ "far above", "99999999999999999999999", false, 0 },
	{ "empty", "", false, 0 },
	{ "a sign alone", "-", false, 0 },
	{ "two signs", "--1", false, 0 },
	{ "a plus", "+1", false, 0 },
	{ "a blank", " 1", false, 0 },
	{ "letters behind", "1a", false, 0 },
};

static void
parses_numbers(void **state)
{
	uint64_t value;

	(void)state;
	for (size_t i = 0; i < COUNT(number_cases); i++) {
		int64_t number = 0;
		bool is_good = span_parse_i64(span_from_cstr(number_cases[i].text), INT64_MIN,
		    INT64_MAX, &number);

		if (is_good != number_cases[i].is_good || number != number_cases[i].value)
			fail_msg("%s", number_cases[i].name);
	}
	assert_true(span_parse_u64(SPAN("18446744073709551615"), UINT64_MAX, &value));
	assert_false(span_parse_u64(SPAN("11"), 10, &value));
	assert_true(span_parse_hex(SPAN("ffffffffffffffff"), &value) && value == UINT64_MAX);
	assert_false(span_parse_hex(SPAN("10000000000000000"), &value));
}

static const struct {
	const char *name, *text;
	bool is_good;
} utf8_cases[] = {
	{ "ascii", "abc", true },
	{ "two bytes", "\xc3\xa9", true },
	{ "three bytes", "\xe2\x82\xac", true },
	{ "four bytes", "\xf0\x9f\x98\x80", true },
	{ "the last one", "\xf4\x8f\xbf\xbf", true },
	{ "above the last", "\xf4\x90\x80\x80", false },
	{ "surrogate", "\xed\xa0\x80", false },
	{ "overlong two", "\xc1\xbf", false },
	{ "overlong three", "\xe0\x9f\xbf", false },
	{ "overlong four", "\xf0\x8f\xbf\xbf", false },
	{ "cut", "\xe2\x82", false },
	{ "continuation first", "\x80", false },
	{ "five bytes", "\xf8\x88\x80\x80\x80", false },
};

static void
knows_utf8(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(utf8_cases); i++)
		if (span_is_utf8(span_from_cstr(utf8_cases[i].text)) != utf8_cases[i].is_good)
			fail_msg("%s", utf8_cases[i].name);
}

/* A buf and a plain array, through the same random steps. */
static void
buf_is_a_queue_of_bytes(void **state)
{
	enum { BYTES_MAX = 5000 };
	static char model[BYTES_MAX];
	struct random_seeded random;
	size_t len = 0;
	struct buf buf;

	(void)state;
	random_init_seeded(&random, 5);
	buf_init(&buf, BYTES_MAX);
	for (int step = 0; step < 50000; step++) {
		size_t count = random_below(&random.random, 700);
		char bytes[700];
		size_t room;

		random_fill(&random.random, bytes, count);
		switch (random_below(&random.random, 4)) {
		case 0:
		case 1:
			if (buf_append(&buf, span_make(bytes, count)) == 0) {
				memcpy(model + len, bytes, count);
				len += count;
			} else {
				assert_true(len + count > BYTES_MAX && buf_overflowed(&buf));
				buf.overflowed = false;
			}
			break;
		case 2:
			if (buf_reserve(&buf, count, &room)) {
				assert_true(room <= count);
				memcpy(buf_reserve(&buf, room, &room), bytes, room);
				memcpy(model + len, bytes, room);
				buf_commit(&buf, room);
				len += room;
			} else {
				assert_true(count == 0 || len == BYTES_MAX);
			}
			break;
		default:
			count = count > len ? len : count;
			buf_consume(&buf, count);
			memmove(model, model + count, len - count);
			len -= count;
		}
		assert_int_equal(buf_len(&buf), len);
		assert_memory_equal(buf_span(&buf).data, model, len);
	}
	buf_fini(&buf);
}

static void
buf_keeps_its_ceiling(void **state)
{
	struct buf buf;
	size_t len;

	(void)state;
	buf_init(&buf, 5);
	assert_int_equal(buf_appendf(&buf, "%d", 123), 0);
	assert_int_equal(buf_append_cstr(&buf, "abc"), -1);
	assert_true(buf_overflowed(&buf));
	assert_int_equal(buf_append_cstr(&buf, "ab"), 0);
	assert_true(buf_overflowed(&buf));
	assert_string_equal(buf_cstr(&buf), "123ab");
	assert_int_equal(buf_room(&buf), 0);
	buf_consume(&buf, 2);

	char *taken = buf_take(&buf, &len);

	assert_string_equal(taken, "3ab");
	assert_int_equal(len, 3);
	assert_true(buf_is_empty(&buf));
	mem_free(&taken);
	assert_null(taken);
	buf_fini(&buf);
}

static void
buf_lives_in_memory_of_the_caller(void **state)
{
	char memory[6];
	struct buf buf;

	(void)state;
	buf_init_at(&buf, memory, sizeof(memory));
	assert_int_equal(buf_append_cstr(&buf, "abcde"), 0);
	assert_int_equal(buf_append_byte(&buf, 'f'), -1);
	assert_string_equal(buf_cstr(&buf), "abcde");
	buf_consume(&buf, 4);
	assert_int_equal(buf_append_cstr(&buf, "wxyz"), 0);
	assert_int_equal(buf_append_byte(&buf, '!'), -1);
	assert_string_equal(buf_cstr(&buf), "ewxyz");
	assert_true(buf.data == memory);
}

static void
cursor_reads_what_was_put(void **state)
{
	static const uint64_t varints[] = { 0, 1, 127, 128, 16383, 16384, UINT64_MAX };
	struct buf out;

	(void)state;
	buf_init(&out, 1000);
	cursor_put_u8(&out, 0xfe);
	cursor_put_u16(&out, 0xfedc);
	cursor_put_u32(&out, 0xfedcba98);
	cursor_put_u64(&out, 0xfedcba9876543210);
	cursor_put_i64(&out, -2);
	cursor_put_span_u16(&out, SPAN("sixteen"));
	cursor_put_span_u32(&out, SPAN(""));
	cursor_put_span_varint(&out, SPAN("var"));
	for (size_t i = 0; i < COUNT(varints); i++)
		cursor_put_varint(&out, varints[i]);
	cursor_patch_u32(&out, 3, 7);
	assert_false(buf_overflowed(&out));

	struct cursor in = cursor_init(buf_span(&out));

	assert_int_equal(cursor_u8(&in), 0xfe);
	assert_int_equal(cursor_u16(&in), 0xfedc);
	assert_int_equal(cursor_u32(&in), 7);
	assert_true(cursor_u64(&in) == 0xfedcba9876543210);
	assert_int_equal(cursor_i64(&in), -2);
	assert_true(span_equal_cstr(cursor_take_u16(&in), "sixteen"));
	assert_true(span_equal_cstr(cursor_take_u32(&in), ""));
	assert_true(span_equal_cstr(cursor_take_varint(&in), "var"));
	for (size_t i = 0; i < COUNT(varints); i++)
		assert_true(cursor_varint(&in) == varints[i]);
	assert_true(cursor_ended_well(&in));
	assert_int_equal(cursor_u8(&in), 0);
	assert_true(cursor_failed(&in));
	buf_fini(&out);
}

/* Every cut of a record fails, and stays failed. */
static void
cursor_fails_for_good(void **state)
{
	static const char record[] = "\x05\x00hello\x01\x00\x00\x00";

	(void)state;
	for (size_t len = 0; len < sizeof(record) - 1; len++) {
		struct cursor in = cursor_init(span_make(record, len));

		(void)cursor_take_u16(&in);
		(void)cursor_u32(&in);
		assert_true(cursor_failed(&in));
		assert_int_equal(cursor_u8(&in), 0);
		assert_int_equal(cursor_left(&in), 0);
	}

	static const char *const bad[] = {
		"\x80", "\x80\x00", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
	};
	static const size_t lens[] = { 1, 2, 10, 11 };

	for (size_t i = 0; i < COUNT(bad); i++) {
		struct cursor in = cursor_init(span_make(bad[i], lens[i]));

		(void)cursor_varint(&in);
		assert_true(cursor_failed(&in));
	}

	struct cursor in = cursor_init(SPAN("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));

	(void)cursor_take_varint(&in);
	in = cursor_init(SPAN("abc"));
	(void)cursor_take(&in, SIZE_MAX);
	assert_true(cursor_failed(&in));
}

static void
arena_has_a_ceiling(void **state)
{
	struct arena arena;

	(void)state;
	arena_init(&arena, 1000);
	assert_non_null(arena_alloc(&arena, 600));
	assert_null(arena_alloc(&arena, 600));
	assert_null(arena_alloc(&arena, SIZE_MAX));
	assert_null(arena_alloc_array(&arena, SIZE_MAX / 2, 8));
	assert_non_null(arena_alloc(&arena, 100));
	arena_reset(&arena);

	char *piece = arena_alloc(&arena, 1000);

	for (size_t i = 0; i < 1000; i++)
		assert_int_equal(piece[i], 0);
	arena_fini(&arena);

	arena_init(&arena, 0);
	for (size_t i = 0; i < 3000; i++) {
		size_t *number = arena_alloc(&arena, sizeof(*number));
		struct span text = arena_dup(&arena, SPAN("odd"));

		assert_int_equal((uintptr_t)number % _Alignof(max_align_t), 0);
		assert_int_equal(*number, 0);
		assert_string_equal(text.data, "odd");
		*number = i;
	}
	assert_true(arena_held_bytes(&arena) >= arena.bytes);
	arena_fini(&arena);
}

struct item {
	int key;
	struct heap_node node;
};

static bool
item_before(const struct heap_node *a, const struct heap_node *b)
{
	const struct item *x = (const void *)((const char *)a - offsetof(struct item, node));
	const struct item *y = (const void *)((const char *)b - offsetof(struct item, node));

	return x->key < y->key;
}

static void
heap_gives_the_first(void **state)
{
	enum { ITEMS = 300 };
	static struct item items[ITEMS];
	struct random_seeded random;
	struct heap heap;

	(void)state;
	random_init_seeded(&random, 9);
	heap_init(&heap, item_before);
	for (int step = 0; step < 20000; step++) {
		struct item *item = &items[random_below(&random.random, ITEMS)];
		int least = INT32_MAX;

		if (!heap_has(&item->node)) {
			item->key = (int)random_below(&random.random, 1000);
			heap_add(&heap, &item->node);
		} else if (random_below(&random.random, 2) == 0) {
			heap_remove(&heap, &item->node);
			heap_remove(&heap, &item->node);
		} else {
			item->key = (int)random_below(&random.random, 1000);
			heap_update(&heap, &item->node);
		}
		for (int i = 0; i < ITEMS; i++)
			if (heap_has(&items[i].node) && items[i].key < least)
				least = items[i].key;
		if (heap_first(&heap))
			assert_int_equal(least, ((struct item *)(void *)((char *)heap_first(&heap) -
			    offsetof(struct item, node)))->key);
		else
			assert_int_equal(least, INT32_MAX);
	}
	while (heap_take_first(&heap))
		;
	assert_int_equal(heap.count, 0);
	heap_fini(&heap);
}

static void
err_keeps_the_cause(void **state)
{
	struct err err;

	(void)state;
	assert_int_equal(err_set(&err, ERR_LIMIT, "%s", "cause"), -1);
	assert_int_equal(err_wrap(&err, "file %d", 1), -1);
	assert_string_equal(err.text, "file 1: cause");
	assert_int_equal(err.kind, ERR_LIMIT);
	for (int i = 0; i < 100; i++)
		(void)err_wrap(&err, "a long context number %d around it", i);
	assert_true(strlen(err.text) < ERR_TEXT_BYTES);
	assert_non_null(strstr(err.text, "a long context number 99"));
	assert_int_equal(err_set(NULL, ERR_LIMIT, "nobody asks"), -1);
	assert_int_equal(err_wrap(NULL, "nobody"), -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(splits_spans),
		cmocka_unit_test(compares_spans),
		cmocka_unit_test(parses_numbers),
		cmocka_unit_test(knows_utf8),
		cmocka_unit_test(buf_is_a_queue_of_bytes),
		cmocka_unit_test(buf_keeps_its_ceiling),
		cmocka_unit_test(buf_lives_in_memory_of_the_caller),
		cmocka_unit_test(cursor_reads_what_was_put),
		cmocka_unit_test(cursor_fails_for_good),
		cmocka_unit_test(arena_has_a_ceiling),
		cmocka_unit_test(heap_gives_the_first),
		cmocka_unit_test(err_keeps_the_cause),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
