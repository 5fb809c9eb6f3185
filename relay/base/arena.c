#include "relay/base/arena.h"

#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "relay/base/mem.h"

#define ARENA_BLOCK_BYTES ((size_t)2048)

struct arena_block {
	struct arena_block *older;
	size_t used;
	size_t capacity;
	alignas(max_align_t) char data[];
};

void
arena_init(struct arena *arena, size_t bytes_max)
{
	*arena = (struct arena){ .bytes_max = bytes_max };
}

static void
free_blocks(struct arena_block *block)
{
	while (block) {
		struct arena_block *older = block->older;

		mem_free(&block);
		block = older;
	}
}

void
arena_fini(struct arena *arena)
{
	free_blocks(arena->newest);
	arena_init(arena, arena->bytes_max);
}

void
arena_reset(struct arena *arena)
{
	struct arena_block *block = arena->newest;

	/* Keep a small one: a large one was for something rare. */
	if (block && block->capacity > 4 * ARENA_BLOCK_BYTES) {
		arena_fini(arena);
		return;
	}
	if (block) {
		free_blocks(block->older);
		block->older = NULL;
		memset(block->data, 0, block->used);
		block->used = 0;
	}
	arena->bytes = 0;
}

/* A new block, a little larger each time, so that many pieces cost few blocks. */
static struct arena_block *
add_block(struct arena *arena, size_t size)
{
	size_t capacity = ARENA_BLOCK_BYTES - sizeof(struct arena_block);

	if (arena->newest && arena->newest->capacity < 32 * ARENA_BLOCK_BYTES)
		capacity = arena->newest->capacity * 2;
	else if (arena->newest)
		capacity = 32 * ARENA_BLOCK_BYTES;
	if (capacity < size)
		capacity = size;

	struct arena_block *block = mem_alloc(sizeof(*block) + capacity);

	block->capacity = capacity;
	block->older = arena->newest;
	arena->newest = block;
	return block;
}

/* NULL when the ceiling is in the way.  The memory behind `used` is zero. */
static void *
take_piece(struct arena *arena, size_t size, size_t alignment)
{
	if (arena->bytes_max && size > arena->bytes_max - arena->bytes)
		return NULL;

	struct arena_block *block = arena->newest;
	size_t at = block ? (block->used + alignment - 1) & ~(alignment - 1) : 0;

	if (!block || at > block->capacity || block->capacity - at < size) {
		block = add_block(arena, size);
		at = 0;
	}
	block->used = at + size;
	arena->bytes += size;
	return block->data + at;
}

void *
arena_alloc(struct arena *arena, size_t size)
{
	return take_piece(arena, size ? size : 1, alignof(max_align_t));
}

void *
arena_alloc_array(struct arena *arena, size_t count, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes))
		bytes = SIZE_MAX;
	return arena_alloc(arena, bytes);
}

struct span
arena_dup(struct arena *arena, struct span bytes)
{
	char *copy = take_piece(arena, bytes.len + 1, 1);

	if (!copy)
		return span_make(NULL, 0);
	if (bytes.len > 0)
		memcpy(copy, bytes.data, bytes.len);
	return span_make(copy, bytes.len);
}

char *
arena_dup_cstr(struct arena *arena, const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = take_piece(arena, size, 1);

	if (copy)
		memcpy(copy, text, size);
	return copy;
}

size_t
arena_held_bytes(const struct arena *arena)
{
	size_t bytes = 0;

	for (const struct arena_block *block = arena->newest; block; block = block->older)
		bytes += sizeof(*block) + block->capacity;
	return bytes;
}
