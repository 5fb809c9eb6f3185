#include "relay/base/cursor.h"

#include <string.h>

#include "relay/base/must.h"

/* A number of up to ten bytes of seven bits. */
#define VARINT_BYTES_MAX 10

struct cursor
cursor_init(struct span bytes)
{
	const char *data = bytes.data ? bytes.data : "";

	return (struct cursor){ .at = data, .end = data + bytes.len };
}

/* Where `len` bytes stand, or NULL when there are fewer. */
static const char *
advance(struct cursor *in, size_t len)
{
	if (in->failed || len > (size_t)(in->end - in->at)) {
		in->failed = true;
		return NULL;
	}

	const char *at = in->at;

	in->at += len;
	return at;
}

uint8_t
cursor_u8(struct cursor *in)
{
	const char *at = advance(in, 1);

	return at ? (uint8_t)*at : 0;
}

uint16_t
cursor_u16(struct cursor *in)
{
	const char *at = advance(in, 2);

	return at ? cursor_load_u16(at) : 0;
}

uint32_t
cursor_u32(struct cursor *in)
{
	const char *at = advance(in, 4);

	return at ? cursor_load_u32(at) : 0;
}

uint64_t
cursor_u64(struct cursor *in)
{
	const char *at = advance(in, 8);

	return at ? cursor_load_u64(at) : 0;
}

int64_t
cursor_i64(struct cursor *in)
{
	return (int64_t)cursor_u64(in);
}

uint64_t
cursor_varint(struct cursor *in)
{
	uint64_t value = 0;

	for (unsigned int i = 0; i < VARINT_BYTES_MAX; i++) {
		uint8_t byte = cursor_u8(in);

		if (in->failed)
			return 0;
		if ((i == VARINT_BYTES_MAX - 1 && byte > 1) || (i > 0 && byte == 0))
			break;                  /* above 64 bits, or a needless byte */
		value |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (!(byte & 0x80))
			return value;
	}
	in->failed = true;
	return 0;
}

struct span
cursor_take(struct cursor *in, size_t len)
{
	const char *at = advance(in, len);

	return at ? span_make(at, len) : span_make("", 0);
}

struct span
cursor_take_u16(struct cursor *in)
{
	return cursor_take(in, cursor_u16(in));
}

struct span
cursor_take_u32(struct cursor *in)
{
	return cursor_take(in, cursor_u32(in));
}

struct span
cursor_take_varint(struct cursor *in)
{
	uint64_t len = cursor_varint(in);

	return cursor_take(in, len > SIZE_MAX ? SIZE_MAX : (size_t)len);
}

void
cursor_copy(struct cursor *in, void *out, size_t len)
{
	const char *at = advance(in, len);

	if (at)
		memcpy(out, at, len);
	else
		memset(out, 0, len);
}

void
cursor_skip(struct cursor *in, size_t len)
{
	(void)advance(in, len);                 /* a failure sticks */
}

void
cursor_fail(struct cursor *in)
{
	in->failed = true;
}

/* The appends below may fail: the buf's sticky mark is the one check. */

void
cursor_put_u8(struct buf *out, uint8_t value)
{
	(void)buf_append_byte(out, (char)value);
}

void
cursor_put_u16(struct buf *out, uint16_t value)
{
	char bytes[2];

	cursor_store_u16(bytes, value);
	(void)buf_append(out, span_make(bytes, sizeof(bytes)));
}

void
cursor_put_u32(struct buf *out, uint32_t value)
{
	char bytes[4];

	cursor_store_u32(bytes, value);
	(void)buf_append(out, span_make(bytes, sizeof(bytes)));
}

void
cursor_put_u64(struct buf *out, uint64_t value)
{
	char bytes[8];

	cursor_store_u64(bytes, value);
	(void)buf_append(out, span_make(bytes, sizeof(bytes)));
}

void
cursor_put_i64(struct buf *out, int64_t value)
{
	cursor_put_u64(out, (uint64_t)value);
}

void
cursor_put_varint(struct buf *out, uint64_t value)
{
	char bytes[VARINT_BYTES_MAX];
	size_t len = 0;

	while (value >= 0x80) {
		bytes[len++] = (char)(value | 0x80);
		value >>= 7;
	}
	bytes[len++] = (char)value;
	(void)buf_append(out, span_make(bytes, len));
}

void
cursor_put(struct buf *out, struct span bytes)
{
	(void)buf_append(out, bytes);
}

void
cursor_put_span_u16(struct buf *out, struct span bytes)
{
	if (bytes.len > UINT16_MAX) {
		out->overflowed = true;
		return;
	}
	cursor_put_u16(out, (uint16_t)bytes.len);
	cursor_put(out, bytes);
}

void
cursor_put_span_u32(struct buf *out, struct span bytes)
{
	if (bytes.len > UINT32_MAX) {
		out->overflowed = true;
		return;
	}
	cursor_put_u32(out, (uint32_t)bytes.len);
	cursor_put(out, bytes);
}

void
cursor_put_span_varint(struct buf *out, struct span bytes)
{
	cursor_put_varint(out, bytes.len);
	cursor_put(out, bytes);
}

void
cursor_patch_u32(struct buf *out, size_t at, uint32_t value)
{
	must(at <= buf_len(out) && buf_len(out) - at >= 4);
	cursor_store_u32(out->data + out->start + at, value);
}

void
cursor_patch_u64(struct buf *out, size_t at, uint64_t value)
{
	must(at <= buf_len(out) && buf_len(out) - at >= 8);
	cursor_store_u64(out->data + out->start + at, value);
}

static void
store(void *to, uint64_t value, unsigned int bytes)
{
	unsigned char *b = to;

	for (unsigned int i = 0; i < bytes; i++)
		b[i] = (unsigned char)(value >> (8 * i));
}

static uint64_t
load(const void *from, unsigned int bytes)
{
	const unsigned char *b = from;
	uint64_t value = 0;

	for (unsigned int i = 0; i < bytes; i++)
		value |= (uint64_t)b[i] << (8 * i);
	return value;
}

void
cursor_store_u16(void *to, uint16_t value)
{
	store(to, value, 2);
}

void
cursor_store_u32(void *to, uint32_t value)
{
	store(to, value, 4);
}

void
cursor_store_u64(void *to, uint64_t value)
{
	store(to, value, 8);
}

uint16_t
cursor_load_u16(const void *from)
{
	return (uint16_t)load(from, 2);
}

uint32_t
cursor_load_u32(const void *from)
{
	return (uint32_t)load(from, 4);
}

uint64_t
cursor_load_u64(const void *from)
{
	return load(from, 8);
}
