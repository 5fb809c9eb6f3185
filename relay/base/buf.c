#include "relay/base/buf.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

#define BUF_FIRST_BYTES 256

void
buf_init(struct buf *buf, size_t bytes_max)
{
	/* One byte stays free for the NUL of buf_cstr(). */
	must(bytes_max < SIZE_MAX / 2);
	*buf = (struct buf){ .bytes_max = bytes_max };
}

void
buf_init_at(struct buf *buf, char *memory, size_t size)
{
	must(size > 0);
	*buf = (struct buf){ .data = memory, .capacity = size, .bytes_max = size - 1 };
}

void
buf_fini(struct buf *buf)
{
	mem_free(&buf->data);
	buf_init(buf, buf->bytes_max);
}

void
buf_wipe(struct buf *buf)
{
	if (buf->data)
		mem_wipe(buf->data, buf->capacity);
	buf_fini(buf);
}

/*
 * Make room for count bytes behind the content and one more.  New memory is
 * taken rather than grown in place when bytes were consumed, so that what was
 * consumed is not copied along.
 */
static void
make_room(struct buf *buf, size_t count)
{
	size_t len = buf_len(buf);
	size_t needed = len + count + 1;

	if (buf->capacity - buf->end > count && buf->data)
		return;
	/* Moving is worth it when at most half is content: its cost is paid for. */
	if (needed <= buf->capacity && len <= buf->capacity / 2) {
		memmove(buf->data, buf->data + buf->start, len);
		buf->start = 0;
		buf->end = len;
		return;
	}

	size_t capacity = buf->capacity ? 2 * buf->capacity : BUF_FIRST_BYTES;

	while (capacity < needed)
		capacity *= 2;
	if (capacity > buf->bytes_max + 1)
		capacity = buf->bytes_max + 1;
	if (capacity <= buf->capacity) {        /* at the ceiling: only moving is left */
		memmove(buf->data, buf->data + buf->start, len);
		buf->start = 0;
		buf->end = len;
		return;
	}
	if (buf->start == 0) {
		buf->data = mem_resize_array(buf->data, capacity, 1);
	} else {
		char *data = mem_resize_array(NULL, capacity, 1);

		memcpy(data, buf->data + buf->start, len);
		mem_free(&buf->data);
		buf->data = data;
		buf->start = 0;
		buf->end = len;
	}
	buf->capacity = capacity;
}

static bool
fits(struct buf *buf, size_t count)
{
	if (count <= buf_room(buf))
		return true;
	buf->overflowed = true;
	return false;
}

int
buf_append(struct buf *buf, struct span bytes)
{
	if (!fits(buf, bytes.len))
		return -1;
	if (bytes.len == 0)
		return 0;
	make_room(buf, bytes.len);
	memcpy(buf->data + buf->end, bytes.data, bytes.len);
	buf->end += bytes.len;
	return 0;
}

int
buf_append_cstr(struct buf *buf, const char *text)
{
	return buf_append(buf, span_from_cstr(text));
}

int
buf_append_byte(struct buf *buf, char byte)
{
	return buf_append(buf, span_make(&byte, 1));
}

int
buf_append_repeat(struct buf *buf, char byte, size_t count)
{
	if (!fits(buf, count))
		return -1;
	if (count == 0)
		return 0;
	make_room(buf, count);
	memset(buf->data + buf->end, byte, count);
	buf->end += count;
	return 0;
}

int
buf_appendf(struct buf *buf, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	int result = buf_vappendf(buf, format, args);
	va_end(args);
	return result;
}

int
buf_vappendf(struct buf *buf, const char *format, va_list args)
{
	va_list again;

	va_copy(again, args);
	int len = vsnprintf(NULL, 0, format, again);
	va_end(again);
	must(len >= 0);
	if (!fits(buf, (size_t)len))
		return -1;
	make_room(buf, (size_t)len);
	(void)vsnprintf(buf->data + buf->end, (size_t)len + 1, format, args);
	buf->end += (size_t)len;
	return 0;
}

void
buf_consume(struct buf *buf, size_t count)
{
	must(count <= buf_len(buf));
	buf->start += count;
	if (buf->start == buf->end)
		buf->start = buf->end = 0;
}

void
buf_truncate(struct buf *buf, size_t len)
{
	must(len <= buf_len(buf));
	buf->end = buf->start + len;
	if (len == 0)
		buf->start = buf->end = 0;
}

void
buf_clear(struct buf *buf)
{
	buf->start = buf->end = 0;
	buf->overflowed = false;
}

void
buf_release_if_empty(struct buf *buf)
{
	if (!buf_is_empty(buf))
		return;

	bool overflowed = buf->overflowed;

	buf_fini(buf);
	buf->overflowed = overflowed;
}

char *
buf_reserve(struct buf *buf, size_t wanted, size_t *room_out)
{
	size_t room = buf_room(buf);

	if (wanted > room)
		wanted = room;
	*room_out = wanted;
	if (wanted == 0)
		return NULL;
	make_room(buf, wanted);
	return buf->data + buf->end;
}

void
buf_commit(struct buf *buf, size_t count)
{
	must(buf->data || count == 0);
	must(count == 0 || count < buf->capacity - buf->end);
	buf->end += count;
}

const char *
buf_cstr(struct buf *buf)
{
	make_room(buf, 0);
	buf->data[buf->end] = '\0';
	return buf->data + buf->start;
}

char *
buf_take(struct buf *buf, size_t *len_out)
{
	char *data;

	*len_out = buf_len(buf);
	if (buf->start == 0) {
		(void)buf_cstr(buf);            /* for its NUL */
		data = buf->data;
		buf->data = NULL;
	} else {
		data = mem_dup_text(buf->data + buf->start, buf_len(buf));
	}
	buf_fini(buf);
	return data;
}

void
buf_swap(struct buf *a, struct buf *b)
{
	struct buf other = *a;

	*a = *b;
	*b = other;
}
