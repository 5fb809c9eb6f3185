#ifndef TESTS_UNIT_QUEUE_MEMORY_BACKEND_H
#define TESTS_UNIT_QUEUE_MEMORY_BACKEND_H

#include "queue/queue.h"

/*
 * A backend in memory, for tests of what stands above the queue and of the
 * contract itself: every answer comes after a delay of its own, so that answers
 * overtake each other, and what is written may be told to fail.  All its loops
 * run on one thread.  Changes of one message keep their order.
 */
struct memory_store;

/* What outlives a queue: its messages. */
struct memory_store *memory_store_new(void);
void memory_store_free(struct memory_store **store);

struct queue *memory_backend_open(struct memory_store *store,
    const struct queue_settings *settings);

/* The next thing written has an unknown outcome: by chance it is kept or lost. */
void memory_store_make_unknown(struct memory_store *store);
void memory_store_set_full(struct memory_store *store, bool full);

#endif
