#ifndef RELAY_BASE_SPAN_H
#define RELAY_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/*
 * Borrowed bytes: a pointer and a length, no NUL at the end, no ownership.
 * The empty span may have any pointer, NULL too.  Case-blind functions fold
 * ASCII only, as the mail RFCs ask.
 */
struct span {
	const char *data;
	size_t len;
};

/* A span over a string literal, usable as an initialiser too. */
#define SPAN(literal) ((struct span){ "" literal, sizeof(literal) - 1 })

/* For printf's "%.*s".  Not for foreign bytes in logs: they go by typed fields. */
#define SPAN_ARGS(span) (int)(span).len, (span).data ? (span).data : ""

static inline struct span
span_make(const void *data, size_t len)
{
	return (struct span){ .data = data, .len = len };
}

/* NULL gives the empty span. */
static inline struct span
span_from_cstr(const char *text)
{
	return (struct span){ .data = text, .len = text ? strlen(text) : 0 };
}

static inline bool
span_is_empty(struct span s)
{
	return s.len == 0;
}

/* The part behind the first `count` bytes; empty when there are fewer. */
static inline struct span
span_skip(struct span s, size_t count)
{
	if (count > s.len)
		count = s.len;
	return (struct span){ .data = s.data ? s.data + count : NULL, .len = s.len - count };
}

/* The first `count` bytes, or all when there are fewer. */
static inline struct span
span_first(struct span s, size_t count)
{
	return (struct span){ .data = s.data, .len = count < s.len ? count : s.len };
}

static inline struct span
span_slice(struct span s, size_t at, size_t count)
{
	return span_first(span_skip(s, at), count);
}

bool span_equal(struct span a, struct span b);
bool span_equal_cstr(struct span a, const char *b);
bool span_equal_nocase(struct span a, struct span b);
bool span_equal_nocase_cstr(struct span a, const char *b);

/* As memcmp does, and a shorter one that begins the same comes first. */
int span_compare(struct span a, struct span b);
int span_compare_nocase(struct span a, struct span b);

/* Takes the same time wherever the difference is; only the length may leak. */
bool span_equal_secret(struct span a, struct span b);

bool span_starts_with(struct span s, struct span prefix);
bool span_starts_with_nocase(struct span s, struct span prefix);
bool span_ends_with(struct span s, struct span suffix);
bool span_ends_with_nocase(struct span s, struct span suffix);

/* Where the first or the last such byte is, or the first such needle. */
bool span_find_byte(struct span s, char byte, size_t *at_out);
bool span_find_last_byte(struct span s, char byte, size_t *at_out);
bool span_find(struct span s, struct span needle, size_t *at_out);

/* Without blanks, CR and LF at both ends. */
struct span span_trim(struct span s);

/*
 * Split at the first (or last) separator, which belongs to neither part.
 * Without a separator: false, before is all of s and after is empty.
 */
bool span_split(struct span s, char separator, struct span *before_out, struct span *after_out);
bool span_split_last(struct span s, char separator, struct span *before_out,
    struct span *after_out);

/*
 * Take the next piece off the front of rest.  span_take_part splits at each
 * separator ("a,,b" has an empty piece); span_take_word splits at runs of
 * blanks.  False when rest had nothing left.
 */
bool span_take_part(struct span *rest, char separator, struct span *part_out);
bool span_take_word(struct span *rest, struct span *word_out);

/*
 * The whole span as one number: digits only (and one '-' for i64), no blanks,
 * no overflow, at most max.  On false nothing is written.
 */
bool span_parse_u64(struct span s, uint64_t max, uint64_t *value_out);
bool span_parse_u32(struct span s, uint32_t max, uint32_t *value_out);
bool span_parse_i64(struct span s, int64_t min, int64_t max, int64_t *value_out);
bool span_parse_hex(struct span s, uint64_t *value_out);

/* Every byte below 0x80. */
bool span_is_ascii(struct span s);

/* Well-formed UTF-8: shortest forms, no surrogates, nothing above U+10FFFF. */
bool span_is_utf8(struct span s);

/* Bytes of the well-formed UTF-8 character that s begins with; 0 if there is none. */
size_t span_utf8_len(struct span s);

/* A byte below 0x20 or 0x7f is in it. */
bool span_has_control(struct span s);

/* A hash for tables of one process; not for anything kept or sent. */
uint64_t span_hash(struct span s, uint64_t seed);
uint64_t span_hash_nocase(struct span s, uint64_t seed);

#endif
