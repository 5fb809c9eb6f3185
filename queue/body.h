#ifndef QUEUE_BODY_H
#define QUEUE_BODY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/digest.h"
#include "relay/base/span.h"

/*
 * A message's octets in memory: immutable chunks with an atomic count of
 * holders, the one object that several threads hold at once (DECISIONS.md 8).
 * One thread fills a chunk and seals it; after the seal nobody writes; the last
 * holder frees.  The bytes are charged to a budget that all bodies of a queue
 * share, from the moment a chunk is made until it is freed.
 */
struct body_budget {
	atomic_size_t bytes;            /* held now */
	size_t bytes_max;
	atomic_bool wanted;             /* somebody waits for room; see budget_freed */
	void (*freed)(void *ctx);       /* any thread: room again, and wanted was set */
	void *ctx;
};

void body_budget_init(struct body_budget *budget, size_t bytes_max, void (*freed)(void *ctx),
    void *ctx);

/* Whether `bytes` more fit now. */
bool body_budget_has_room(const struct body_budget *budget, size_t bytes);

struct body_chunk {
	atomic_uint holders;
	uint32_t bytes;
	uint32_t capacity;
	uint32_t crc;                   /* CRC-32C of the bytes, once sealed */
	struct body_budget *budget;
	char data[];
};

/* Charges the budget, also above its end: who may go on is asked before. */
struct body_chunk *body_chunk_new(struct body_budget *budget, size_t capacity);
struct body_chunk *body_chunk_hold(struct body_chunk *chunk);
void body_chunk_release(struct body_chunk **chunk);

/* Takes what fits, returns how much. */
size_t body_chunk_append(struct body_chunk *chunk, struct span bytes);
void body_chunk_seal(struct body_chunk *chunk);

/* The whole body.  body_new() takes over the caller's hold on each chunk. */
struct body {
	atomic_uint holders;
	uint32_t chunk_count;
	uint64_t bytes;
	uint8_t digest[DIGEST_BYTES];
	struct body_chunk *chunks[];
};

struct body *body_new(struct body_chunk *const *chunks, size_t chunk_count, uint64_t bytes,
    const uint8_t digest[DIGEST_BYTES]);
struct body *body_hold(struct body *body);
void body_release(struct body **body);

static inline struct span
body_span(const struct body *body, size_t at)
{
	return span_make(body->chunks[at]->data, body->chunks[at]->bytes);
}

#endif
