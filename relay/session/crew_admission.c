#include "relay/session/crew_admission.h"

#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/base/span.h"

#define COUNT_MASK UINT64_C(0xffffffff)

void
crew_admission_init(struct crew_admission *admission, uint64_t seed)
{
	atomic_init(&admission->total, 0);
	atomic_init(&admission->admitted, 0);
	atomic_init(&admission->refused, 0);
	admission->seed = seed;
	admission->slots = mem_alloc_array(CREW_ADMISSION_SLOT_COUNT, sizeof(*admission->slots));
}

void
crew_admission_fini(struct crew_admission *admission)
{
	mem_free(&admission->slots);
}

/* Clients without an address (unix sockets) are counted in the total alone. */
static bool
client_hash(const struct crew_admission *admission, const struct endpoint *peer,
    uint64_t *hash_out)
{
	uint8_t ip[16];

	if (!endpoint_ip16(peer, ip))
		return false;
	*hash_out = span_hash(span_make(ip, sizeof(ip)), admission->seed);
	return true;
}

static atomic_uint_fast64_t *
slot_at(const struct crew_admission *admission, uint64_t hash, size_t probe)
{
	return &admission->slots[(hash + probe) % CREW_ADMISSION_SLOT_COUNT];
}

/* The slot that counts this client, or NULL. */
static atomic_uint_fast64_t *
slot_find(const struct crew_admission *admission, uint64_t hash)
{
	for (size_t i = 0; i < CREW_ADMISSION_PROBE_COUNT; i++) {
		atomic_uint_fast64_t *slot = slot_at(admission, hash, i);
		uint64_t word = atomic_load(slot);

		if ((word & COUNT_MASK) > 0 && word >> 32 == hash >> 32)
			return slot;
	}
	return NULL;
}

/* Counts one more in the client's slot; false when the slot is no longer the client's. */
static bool
slot_raise(atomic_uint_fast64_t *slot, uint64_t hash, uint32_t client_max, bool *full_out)
{
	uint64_t word = atomic_load(slot);

	for (;;) {
		uint64_t count = word & COUNT_MASK;

		if (count == 0 || word >> 32 != hash >> 32)
			return false;
		if (client_max > 0 && count >= client_max) {
			*full_out = true;
			return true;
		}
		if (atomic_compare_exchange_weak(slot, &word, word + 1))
			return true;
	}
}

static bool
slot_claim(const struct crew_admission *admission, uint64_t hash)
{
	for (size_t i = 0; i < CREW_ADMISSION_PROBE_COUNT; i++) {
		atomic_uint_fast64_t *slot = slot_at(admission, hash, i);
		uint64_t word = atomic_load(slot);

		if ((word & COUNT_MASK) == 0 &&
		    atomic_compare_exchange_strong(slot, &word, (hash >> 32 << 32) | 1))
			return true;
	}
	return false;
}

/*
 * Two threads that claim at the same moment may each take a slot for one client; then
 * its count is split until one of the two is empty again, and the limit is a little
 * higher for as long.
 */
static bool
client_enter(struct crew_admission *admission, uint64_t hash, uint32_t client_max)
{
	atomic_uint_fast64_t *slot = slot_find(admission, hash);
	bool full = false;

	if (slot && slot_raise(slot, hash, client_max, &full))
		return !full;
	(void)slot_claim(admission, hash);      /* no slot free: counted in the total alone */
	return true;
}

enum crew_admission_result
crew_admission_enter(struct crew_admission *admission, const struct endpoint *peer,
    uint32_t total_max, uint32_t client_max)
{
	uint64_t hash;

	if (atomic_fetch_add(&admission->total, 1) >= total_max && total_max > 0) {
		atomic_fetch_sub(&admission->total, 1);
		atomic_fetch_add(&admission->refused, 1);
		return CREW_REFUSED_TOTAL;
	}
	if (client_hash(admission, peer, &hash) && !client_enter(admission, hash, client_max)) {
		atomic_fetch_sub(&admission->total, 1);
		atomic_fetch_add(&admission->refused, 1);
		return CREW_REFUSED_CLIENT;
	}
	atomic_fetch_add(&admission->admitted, 1);
	return CREW_ADMITTED;
}

void
crew_admission_leave(struct crew_admission *admission, const struct endpoint *peer)
{
	uint64_t hash;
	size_t before = atomic_fetch_sub(&admission->total, 1);

	must(before > 0);
	if (!client_hash(admission, peer, &hash))
		return;

	atomic_uint_fast64_t *slot = slot_find(admission, hash);

	if (!slot)
		return;

	uint64_t word = atomic_load(slot);

	while ((word & COUNT_MASK) > 0 && word >> 32 == hash >> 32)
		if (atomic_compare_exchange_weak(slot, &word, word - 1))
			return;
}

void
crew_admission_give_back(struct crew_admission *admission, const struct endpoint *peer)
{
	crew_admission_leave(admission, peer);
	atomic_fetch_sub(&admission->admitted, 1);
	atomic_fetch_add(&admission->refused, 1);
}

uint32_t
crew_admission_count(const struct crew_admission *admission, const struct endpoint *peer)
{
	uint64_t hash;

	if (!client_hash(admission, peer, &hash))
		return 0;

	atomic_uint_fast64_t *slot = slot_find(admission, hash);

	return slot ? (uint32_t)(atomic_load(slot) & COUNT_MASK) : 0;
}
