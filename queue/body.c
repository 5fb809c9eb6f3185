#include "queue/body.h"

#include "relay/base/crc32c.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

void
body_budget_init(struct body_budget *budget, size_t bytes_max, void (*freed)(void *ctx), void *ctx)
{
	*budget = (struct body_budget){ .bytes_max = bytes_max, .freed = freed, .ctx = ctx };
}

bool
body_budget_has_room(const struct body_budget *budget, size_t bytes)
{
	size_t held = atomic_load(&budget->bytes);

	return held <= budget->bytes_max && bytes <= budget->bytes_max - held;
}

static size_t
charge_of(const struct body_chunk *chunk)
{
	return sizeof(*chunk) + chunk->capacity;
}

struct body_chunk *
body_chunk_new(struct body_budget *budget, size_t capacity)
{
	must(capacity > 0 && capacity <= UINT32_MAX - sizeof(struct body_chunk));
	/* Not zeroed octet by octet: the data is written before it is read. */
	struct body_chunk *chunk = mem_resize_array(NULL, 1, sizeof(*chunk) + capacity);

	*chunk = (struct body_chunk){
		.holders = 1,
		.capacity = (uint32_t)capacity,
		.budget = budget,
	};
	atomic_fetch_add_explicit(&budget->bytes, charge_of(chunk), memory_order_relaxed);
	return chunk;
}

struct body_chunk *
body_chunk_hold(struct body_chunk *chunk)
{
	atomic_fetch_add_explicit(&chunk->holders, 1, memory_order_relaxed);
	return chunk;
}

void
body_chunk_release(struct body_chunk **chunk_address)
{
	struct body_chunk *chunk = *chunk_address;

	*chunk_address = NULL;
	if (!chunk || atomic_fetch_sub_explicit(&chunk->holders, 1, memory_order_acq_rel) != 1)
		return;
	struct body_budget *budget = chunk->budget;

	/* Sequentially consistent with body_budget.wanted: a waiter sees the room or is woken. */
	atomic_fetch_sub(&budget->bytes, charge_of(chunk));
	mem_free(&chunk);
	if (atomic_load(&budget->wanted) && atomic_exchange(&budget->wanted, false))
		budget->freed(budget->ctx);
}

size_t
body_chunk_append(struct body_chunk *chunk, struct span bytes)
{
	size_t room = chunk->capacity - chunk->bytes;
	size_t count = bytes.len < room ? bytes.len : room;

	if (count > 0)
		memcpy(chunk->data + chunk->bytes, bytes.data, count);
	chunk->bytes += (uint32_t)count;
	return count;
}

void
body_chunk_seal(struct body_chunk *chunk)
{
	chunk->crc = crc32c(0, chunk->data, chunk->bytes);
}

struct body *
body_new(struct body_chunk *const *chunks, size_t chunk_count, uint64_t bytes,
    const uint8_t digest[DIGEST_BYTES])
{
	struct body *body = mem_alloc(sizeof(*body) + chunk_count * sizeof(chunks[0]));

	body->holders = 1;
	body->chunk_count = (uint32_t)chunk_count;
	body->bytes = bytes;
	memcpy(body->digest, digest, DIGEST_BYTES);
	for (size_t i = 0; i < chunk_count; i++)
		body->chunks[i] = chunks[i];
	return body;
}

struct body *
body_hold(struct body *body)
{
	atomic_fetch_add_explicit(&body->holders, 1, memory_order_relaxed);
	return body;
}

void
body_release(struct body **body_address)
{
	struct body *body = *body_address;

	*body_address = NULL;
	if (!body || atomic_fetch_sub_explicit(&body->holders, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < body->chunk_count; i++)
		body_chunk_release(&body->chunks[i]);
	mem_free(&body);
}
