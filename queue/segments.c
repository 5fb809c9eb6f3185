#include "queue/segments.h"

#include "queue/mutant.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

void
segments_init(struct segments *segments)
{
	*segments = (struct segments){ 0 };
}

void
segments_fini(struct segments *segments)
{
	for (uint32_t i = 0; i < segments->slot_count; i++)
		mem_free(&segments->slots[i].dead);
	mem_free(&segments->slots);
}

struct segment *
segments_add(struct segments *segments, uint32_t slot, int file, struct segment_mark mark,
    uint64_t capacity)
{
	if (slot >= segments->slot_count) {
		segments->slots = mem_resize_array(segments->slots, slot + 1,
		    sizeof(segments->slots[0]));
		for (uint32_t i = segments->slot_count; i <= slot; i++)
			segments->slots[i] = (struct segment){ .file = -1 };
		segments->slot_count = slot + 1;
	}
	struct segment *segment = &segments->slots[slot];

	must(segment->state == SEGMENT_NONE);
	*segment = (struct segment){
		.state = SEGMENT_OPEN,
		.file = file,
		.mark = mark,
		.capacity = capacity,
		.end = RECORD_BLOCK_BYTES,
	};
	segments->live_count++;
	return segment;
}

struct segment *
segments_at(struct segments *segments, uint32_t slot)
{
	must(slot < segments->slot_count && segments->slots[slot].state != SEGMENT_NONE);
	return &segments->slots[slot];
}

void
segments_drop(struct segments *segments, uint32_t slot)
{
	struct segment *segment = segments_at(segments, slot);

	must((segment->live_count == 0 || mutant(MUTANT_FREE_WITH_SURVIVORS)) &&
	    segment->pin_count == 0);
	mem_free(&segment->dead);
	*segment = (struct segment){ .file = -1 };
	segments->live_count--;
}

uint64_t
segment_chunk_cost(const struct entry *entry)
{
	return entry->chunk_count ? record_bytes(entry->body_bytes / entry->chunk_count) : 0;
}

void
segments_use(struct segments *segments, struct place place, uint64_t cost)
{
	struct segment *segment = segments_at(segments, place.slot);

	segment->live_count++;
	segment->live_bytes += cost;
	segments->live_bytes += cost;
}

void
segments_unuse(struct segments *segments, struct place place, uint64_t cost)
{
	struct segment *segment = segments_at(segments, place.slot);

	must(segment->live_count > 0 && segment->live_bytes >= cost);
	segment->live_count--;
	segment->live_bytes -= cost;
	segments->live_bytes -= cost;
}

void
segments_pin(struct segments *segments, uint32_t slot)
{
	segments_at(segments, slot)->pin_count++;
}

void
segments_unpin(struct segments *segments, uint32_t slot)
{
	struct segment *segment = segments_at(segments, slot);

	must(segment->pin_count > 0);
	segment->pin_count--;
}

static void
grow_dead(struct segment *segment, uint32_t ordinal)
{
	uint32_t capacity = segment->dead_capacity ? segment->dead_capacity : 64;

	if (ordinal < segment->dead_capacity)
		return;
	must(ordinal < UINT32_MAX / 4);
	while (capacity <= ordinal)
		capacity *= 2;
	segment->dead = mem_resize_array(segment->dead, capacity / 8, 1);
	memset(segment->dead + segment->dead_capacity / 8, 0,
	    (capacity - segment->dead_capacity) / 8);
	segment->dead_capacity = capacity;
}

void
segment_set_dead(struct segment *segment, uint32_t ordinal, uint64_t mark_number)
{
	grow_dead(segment, ordinal);
	segment->dead[ordinal / 8] |= (uint8_t)(1u << ordinal % 8);
	if (segment->mark_oldest == 0 || mark_number < segment->mark_oldest)
		segment->mark_oldest = mark_number;
	if (segment->mark_since == 0 || mark_number < segment->mark_since)
		segment->mark_since = mark_number;
}

void
segment_begin_marks(struct segment *segment)
{
	segment->mark_since = 0;
}

void
segment_end_marks(struct segment *segment, uint64_t mark_number)
{
	bool is_older = segment->mark_since != 0 && segment->mark_since < mark_number;

	segment->mark_oldest = is_older ? segment->mark_since : mark_number;
}

bool
segment_is_dead(const struct segment *segment, uint32_t ordinal)
{
	return ordinal < segment->dead_capacity &&
	    (segment->dead[ordinal / 8] & 1u << ordinal % 8) != 0;
}

void
segment_add_dead(struct segment *segment, struct span bits, uint32_t bit_count,
    uint64_t mark_number)
{
	for (uint32_t i = 0; i < bit_count; i++) {
		if ((uint8_t)bits.data[i / 8] & 1u << i % 8)
			segment_set_dead(segment, i, mark_number);
	}
}

bool
segment_is_done(const struct segment *segment)
{
	uint32_t survivor_count = mutant(MUTANT_FREE_WITH_SURVIVORS) ? 2 : 0;

	return segment->state == SEGMENT_SEALED && segment->live_count <= survivor_count &&
	    segment->pin_count == 0 && !segment->has_damage;
}
