#include "relay/base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/must.h"

static _Noreturn void
out_of_memory(size_t size)
{
	fprintf(stderr, "out of memory: %zu bytes\n", size);
	abort();
}

static size_t
array_bytes(size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes))
		out_of_memory(SIZE_MAX);
	return bytes;
}

void *
mem_alloc(size_t size)
{
	void *data = calloc(1, size ? size : 1);

	if (!data)
		out_of_memory(size);
	return data;
}

void *
mem_alloc_array(size_t count, size_t size)
{
	return mem_alloc(array_bytes(count, size));
}

void *
mem_alloc_aligned(size_t alignment, size_t size)
{
	void *data = NULL;

	must(alignment >= sizeof(void *) && (alignment & (alignment - 1)) == 0);
	if (posix_memalign(&data, alignment, size ? size : 1) != 0)
		out_of_memory(size);
	memset(data, 0, size);
	return data;
}

void *
mem_resize_array(void *ptr, size_t count, size_t size)
{
	size_t bytes = array_bytes(count, size);
	void *data = realloc(ptr, bytes ? bytes : 1);

	if (!data)
		out_of_memory(bytes);
	return data;
}

void *
mem_dup(const void *data, size_t size)
{
	void *copy = mem_alloc(size);

	if (size > 0)
		memcpy(copy, data, size);
	return copy;
}

char *
mem_dup_cstr(const char *text)
{
	return mem_dup(text, strlen(text) + 1);
}

char *
mem_dup_text(const char *data, size_t len)
{
	must(len < SIZE_MAX);

	char *copy = mem_alloc(len + 1);

	if (len > 0)
		memcpy(copy, data, len);
	return copy;
}

char *
mem_format(const char *format, ...)
{
	va_list args;
	char *text = NULL;

	va_start(args, format);
	int len = vasprintf(&text, format, args);
	va_end(args);
	if (len < 0)
		out_of_memory(0);
	return text;
}

void
mem_free(void *pointer_address)
{
	/* Any pointer type may be behind it, so its bytes are copied, not its value. */
	void *data;

	memcpy(&data, pointer_address, sizeof(data));
	free(data);
	data = NULL;
	memcpy(pointer_address, &data, sizeof(data));
}

void
mem_wipe(void *data, size_t size)
{
	if (size > 0)
		explicit_bzero(data, size);
}
