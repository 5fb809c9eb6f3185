#include "relay/base/heap.h"

#include "relay/base/mem.h"
#include "relay/base/must.h"

/* Places count from 1, so that 0 says "in no heap"; nodes[0] is never used. */

void
heap_init(struct heap *heap, heap_before *before)
{
	*heap = (struct heap){ .before = before };
}

void
heap_fini(struct heap *heap)
{
	for (size_t place = 1; place <= heap->count; place++)
		heap->nodes[place]->place = 0;
	mem_free(&heap->nodes);
	heap_init(heap, heap->before);
}

static void
put(struct heap *heap, struct heap_node *node, size_t place)
{
	heap->nodes[place] = node;
	node->place = place;
}

static void
sift_up(struct heap *heap, struct heap_node *node, size_t place)
{
	while (place > 1 && heap->before(node, heap->nodes[place / 2])) {
		put(heap, heap->nodes[place / 2], place);
		place /= 2;
	}
	put(heap, node, place);
}

static void
sift_down(struct heap *heap, struct heap_node *node, size_t place)
{
	for (;;) {
		size_t child = 2 * place;

		if (child > heap->count)
			break;
		if (child < heap->count && heap->before(heap->nodes[child + 1], heap->nodes[child]))
			child++;
		if (!heap->before(heap->nodes[child], node))
			break;
		put(heap, heap->nodes[child], place);
		place = child;
	}
	put(heap, node, place);
}

void
heap_add(struct heap *heap, struct heap_node *node)
{
	must(node->place == 0);
	if (heap->count + 1 >= heap->capacity) {
		heap->capacity = heap->capacity ? 2 * heap->capacity : 16;
		heap->nodes = mem_resize_array(heap->nodes, heap->capacity, sizeof(heap->nodes[0]));
	}
	heap->count++;
	sift_up(heap, node, heap->count);
}

void
heap_update(struct heap *heap, struct heap_node *node)
{
	size_t place = node->place;

	must(place > 0 && place <= heap->count && heap->nodes[place] == node);
	if (place > 1 && heap->before(node, heap->nodes[place / 2]))
		sift_up(heap, node, place);
	else
		sift_down(heap, node, place);
}

void
heap_remove(struct heap *heap, struct heap_node *node)
{
	size_t place = node->place;

	if (place == 0)
		return;
	must(place <= heap->count && heap->nodes[place] == node);
	node->place = 0;

	struct heap_node *last = heap->nodes[heap->count--];

	if (last == node)
		return;
	put(heap, last, place);
	heap_update(heap, last);
}

struct heap_node *
heap_first(const struct heap *heap)
{
	return heap->count > 0 ? heap->nodes[1] : NULL;
}

struct heap_node *
heap_take_first(struct heap *heap)
{
	struct heap_node *node = heap_first(heap);

	if (node)
		heap_remove(heap, node);
	return node;
}
