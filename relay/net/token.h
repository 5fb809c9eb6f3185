#ifndef RELAY_NET_TOKEN_H
#define RELAY_NET_TOKEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Tokens name questions that are on their way to another thread.  The asker
 * keeps the table and sends the token along; the answer brings it back, and
 * token_take() finds the asker, exactly once, or nothing if it was cancelled
 * meanwhile.  A slot used again has a new generation, so an old answer never
 * reaches a new asker.  One thread only.
 */
struct token {
	uint32_t slot;
	uint32_t generation;    /* 0: no token */
};

struct token_table {
	struct token_slot *slots;
	size_t slot_count;
	size_t slot_count_max;
	size_t used_count;
	uint32_t free_first;
};

void token_table_init(struct token_table *table, size_t slot_count_max);
void token_table_fini(struct token_table *table);

/* The empty token when the table is full: the asker has no credit and must wait. */
struct token token_issue(struct token_table *table, void *asker);

/* The asker, NULL if the token is empty, cancelled or was taken before. */
void *token_find(const struct token_table *table, struct token token);
void *token_take(struct token_table *table, struct token token);

/* After this the token finds nothing.  Empties *token; an empty one is allowed. */
void token_cancel(struct token_table *table, struct token *token);

static inline bool
token_is_empty(struct token token)
{
	return token.generation == 0;
}

#endif
