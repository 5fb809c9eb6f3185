#ifndef RELAY_BASE_BUF_H
#define RELAY_BASE_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "relay/base/span.h"

/*
 * Owned bytes with a ceiling given at birth.  Bytes are appended at the end and
 * consumed from the front at no cost.  Memory is taken on the first append and
 * grows as needed; it never passes the ceiling.
 *
 * An append that would pass the ceiling adds nothing, returns -1 and sets
 * `overflowed`, which stays until buf_clear(): a composer may append a hundred
 * times and ask once.
 *
 * Spans and pointers into a buf hold until its next change.
 */
struct buf {
	char *data;
	size_t start;           /* first byte not consumed */
	size_t end;             /* behind the last byte */
	size_t capacity;
	size_t bytes_max;
	bool overflowed;
};

void buf_init(struct buf *buf, size_t bytes_max);

/*
 * A short-lived one in memory of the caller: holds SIZE - 1 bytes, never allocates, and is simply
 * forgotten.  buf_fini() and buf_wipe() are not for it.
 */
void buf_init_at(struct buf *buf, char *memory, size_t size);

/* Frees the memory; the buf is empty then and may be used on. */
void buf_fini(struct buf *buf);

/* The same, with every byte it ever held overwritten first. */
void buf_wipe(struct buf *buf);

static inline size_t
buf_len(const struct buf *buf)
{
	return buf->end - buf->start;
}

static inline bool
buf_is_empty(const struct buf *buf)
{
	return buf->end == buf->start;
}

/* How many more bytes fit under the ceiling. */
static inline size_t
buf_room(const struct buf *buf)
{
	return buf->bytes_max - buf_len(buf);
}

static inline bool
buf_overflowed(const struct buf *buf)
{
	return buf->overflowed;
}

static inline struct span
buf_span(const struct buf *buf)
{
	return span_make(buf->data ? buf->data + buf->start : "", buf_len(buf));
}

int buf_append(struct buf *buf, struct span bytes);
int buf_append_cstr(struct buf *buf, const char *text);
int buf_append_byte(struct buf *buf, char byte);
int buf_append_repeat(struct buf *buf, char byte, size_t count);
int buf_appendf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
int buf_vappendf(struct buf *buf, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

/* Remove count bytes from the front; there must be as many. */
void buf_consume(struct buf *buf, size_t count);

/* Keep only the first len bytes; there must be as many. */
void buf_truncate(struct buf *buf, size_t len);

/* Forget content and overflow, keep the memory. */
void buf_clear(struct buf *buf);

/* Give the memory back when there is no content: for connections that idle. */
void buf_release_if_empty(struct buf *buf);

/*
 * Room to write into, straight behind the content: at most `wanted` bytes, less
 * near the ceiling.  Returns NULL and 0 when nothing fits.  What was written is
 * added with buf_commit().
 */
char *buf_reserve(struct buf *buf, size_t wanted, size_t *room_out);
void buf_commit(struct buf *buf, size_t count);

/* The content with a NUL behind it that is not counted.  Content may hold NULs. */
const char *buf_cstr(struct buf *buf);

/* The content as memory of the caller's, to be freed with mem_free(); NUL behind it. */
char *buf_take(struct buf *buf, size_t *len_out);

void buf_swap(struct buf *a, struct buf *b);

#endif
