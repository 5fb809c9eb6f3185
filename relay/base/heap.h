#ifndef RELAY_BASE_HEAP_H
#define RELAY_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>

/*
 * A binary heap of nodes that live inside the caller's structs: the one that
 * comes before all others is found at once, adding and removing take log n.
 * The heap owns only its array of pointers.  Among equals any may be first; an
 * order that must be stable needs a number in the caller's comparison.
 */
struct heap_node {
	size_t place;           /* 0 when it is in no heap */
};

typedef bool heap_before(const struct heap_node *a, const struct heap_node *b);

struct heap {
	struct heap_node **nodes;
	size_t count;
	size_t capacity;
	heap_before *before;
};

void heap_init(struct heap *heap, heap_before *before);

/* Nodes still in it are let go, not freed. */
void heap_fini(struct heap *heap);

/* The node must be in no heap. */
void heap_add(struct heap *heap, struct heap_node *node);

/* Does nothing when the node is in no heap. */
void heap_remove(struct heap *heap, struct heap_node *node);

/* The node's order has changed. */
void heap_update(struct heap *heap, struct heap_node *node);

/* NULL when empty. */
struct heap_node *heap_first(const struct heap *heap);
struct heap_node *heap_take_first(struct heap *heap);

static inline bool
heap_has(const struct heap_node *node)
{
	return node->place != 0;
}

#endif
