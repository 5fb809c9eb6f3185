#ifndef RELAY_BASE_ARENA_H
#define RELAY_BASE_ARENA_H

#include <stddef.h>

#include "relay/base/span.h"

struct arena_block;

/*
 * Memory with one lifetime: given out piece by piece, given back all at once.
 * With a ceiling (bytes_max above 0) arena_alloc() and its relatives return NULL
 * or a span with NULL data when a piece would pass it, and the caller turns that
 * into its own refusal; with bytes_max 0 they never do.  Not for two threads at
 * once; it may move from one to another as a whole.
 */
struct arena {
	struct arena_block *newest;
	size_t bytes;           /* given out */
	size_t bytes_max;
};

void arena_init(struct arena *arena, size_t bytes_max);
void arena_fini(struct arena *arena);

/* Forget all pieces and keep one block for the next use. */
void arena_reset(struct arena *arena);

/* Zeroed, aligned for anything. */
void *arena_alloc(struct arena *arena, size_t size);
void *arena_alloc_array(struct arena *arena, size_t count, size_t size);

/* A copy with a NUL behind it that the span does not count. */
struct span arena_dup(struct arena *arena, struct span bytes);
char *arena_dup_cstr(struct arena *arena, const char *text);

/* Bytes of memory held, for accounting. */
size_t arena_held_bytes(const struct arena *arena);

#endif
