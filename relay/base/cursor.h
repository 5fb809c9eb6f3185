#ifndef RELAY_BASE_CURSOR_H
#define RELAY_BASE_CURSOR_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/base/buf.h"
#include "relay/base/span.h"

/*
 * A bounded reader of our binary formats: little-endian, no alignment.  A read
 * past the end gives zeros and an empty span and makes the cursor fail for good,
 * so that a record is read straight down and checked once.
 */
struct cursor {
	const char *at;
	const char *end;
	bool failed;
};

struct cursor cursor_init(struct span bytes);

uint8_t cursor_u8(struct cursor *in);
uint16_t cursor_u16(struct cursor *in);
uint32_t cursor_u32(struct cursor *in);
uint64_t cursor_u64(struct cursor *in);
int64_t cursor_i64(struct cursor *in);

/* Seven bits a byte, low ones first, at most 10 bytes, no needless bytes. */
uint64_t cursor_varint(struct cursor *in);

/* `len` bytes, borrowed from what the cursor reads. */
struct span cursor_take(struct cursor *in, size_t len);

/* A length (u16, u32 or varint) and as many bytes. */
struct span cursor_take_u16(struct cursor *in);
struct span cursor_take_u32(struct cursor *in);
struct span cursor_take_varint(struct cursor *in);

/* Fill memory of the caller's; zeros on failure. */
void cursor_copy(struct cursor *in, void *out, size_t len);

void cursor_skip(struct cursor *in, size_t len);

/* For the caller's own checks: a value that makes no sense. */
void cursor_fail(struct cursor *in);

static inline bool
cursor_failed(const struct cursor *in)
{
	return in->failed;
}

static inline size_t
cursor_left(const struct cursor *in)
{
	return in->failed ? 0 : (size_t)(in->end - in->at);
}

/* Everything read and nothing wrong: a record that must fill its space. */
static inline bool
cursor_ended_well(const struct cursor *in)
{
	return !in->failed && in->at == in->end;
}

/*
 * The writer of the same formats appends to a buf, whose sticky `overflowed` is
 * the one check at the end.
 */
void cursor_put_u8(struct buf *out, uint8_t value);
void cursor_put_u16(struct buf *out, uint16_t value);
void cursor_put_u32(struct buf *out, uint32_t value);
void cursor_put_u64(struct buf *out, uint64_t value);
void cursor_put_i64(struct buf *out, int64_t value);
void cursor_put_varint(struct buf *out, uint64_t value);
void cursor_put(struct buf *out, struct span bytes);

/* Length and bytes.  A span longer than the length can say counts as overflow. */
void cursor_put_span_u16(struct buf *out, struct span bytes);
void cursor_put_span_u32(struct buf *out, struct span bytes);
void cursor_put_span_varint(struct buf *out, struct span bytes);

/* Write over what stands at `at` (counted from the start of the content). */
void cursor_patch_u32(struct buf *out, size_t at, uint32_t value);
void cursor_patch_u64(struct buf *out, size_t at, uint64_t value);

/* The same numbers in plain memory. */
void cursor_store_u16(void *to, uint16_t value);
void cursor_store_u32(void *to, uint32_t value);
void cursor_store_u64(void *to, uint64_t value);
uint16_t cursor_load_u16(const void *from);
uint32_t cursor_load_u32(const void *from);
uint64_t cursor_load_u64(const void *from);

#endif
