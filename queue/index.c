#include "queue/index.h"

#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	PAGE_ENTRIES = 1024,
	TABLE_BITS_FIRST = 8,
	TABLE_BITS_MAX = 31,
};

_Static_assert(sizeof(struct entry) <= 120, "the issue allows 192 octets a message");

void
index_init(struct index *index)
{
	*index = (struct index){ .table_bits = TABLE_BITS_FIRST };
	index->table = mem_alloc_array((size_t)1 << index->table_bits, sizeof(index->table[0]));
	names_init(&index->names);
}

static void
drop_rcpts(struct index *index, struct entry *entry)
{
	for (uint32_t i = 0; i < entry->rcpt_count; i++)
		names_release(&index->names, entry_rcpt(entry, i)->domain);
	if (entry->rcpt_count > 1) {
		index->array_bytes -= entry->rcpt_count * sizeof(entry->rcpts.many[0]);
		mem_free(&entry->rcpts.many);
	}
	entry->rcpt_count = 0;
	entry->rcpts.one = (struct entry_rcpt){ 0 };
}

static void
drop_chunks(struct index *index, struct entry *entry)
{
	if (entry->chunk_count > 1) {
		index->array_bytes -= entry->chunk_count * sizeof(entry->chunks.many[0]);
		mem_free(&entry->chunks.many);
	}
	entry->chunk_count = 0;
	entry->chunks.one = PLACE_NONE;
}

void
index_fini(struct index *index)
{
	uint64_t at = 0;

	for (struct entry *entry; (entry = index_next(index, &at)) != NULL;) {
		drop_rcpts(index, entry);
		drop_chunks(index, entry);
	}
	for (uint32_t i = 0; i < index->page_count; i++)
		mem_free(&index->pages[i]);
	mem_free(&index->pages);
	mem_free(&index->table);
	names_fini(&index->names);
}

static struct entry *
entry_at(const struct index *index, uint32_t handle)
{
	return &index->pages[handle / PAGE_ENTRIES][handle % PAGE_ENTRIES];
}

static size_t
table_mask(const struct index *index)
{
	return ((size_t)1 << index->table_bits) - 1;
}

/* Ids differ in their low bits, which are a counter, and in the time above. */
static size_t
home_of(const struct index *index, uint64_t id)
{
	return (size_t)((id * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - index->table_bits));
}

static size_t
table_find(const struct index *index, uint64_t id)
{
	size_t at = home_of(index, id);

	while (index->table[at] && entry_at(index, index->table[at] - 1)->id != id)
		at = (at + 1) & table_mask(index);
	return at;
}

struct entry *
index_find(const struct index *index, uint64_t id)
{
	size_t at = table_find(index, id);

	return index->table[at] ? entry_at(index, index->table[at] - 1) : NULL;
}

static void
grow_table(struct index *index)
{
	size_t old_size = table_mask(index) + 1;
	uint32_t *old = index->table;

	must(index->table_bits < TABLE_BITS_MAX);
	index->table_bits++;
	index->table = mem_alloc_array(table_mask(index) + 1, sizeof(index->table[0]));
	for (size_t i = 0; i < old_size; i++) {
		if (old[i])
			index->table[table_find(index, entry_at(index, old[i] - 1)->id)] = old[i];
	}
	mem_free(&old);
}

/* A new page's entries are chained so that the first handle is given first. */
static void
add_page(struct index *index)
{
	if (index->page_count == index->page_capacity) {
		index->page_capacity = index->page_capacity ? 2 * index->page_capacity : 16;
		index->pages = mem_resize_array(index->pages, index->page_capacity,
		    sizeof(index->pages[0]));
	}
	must(index->page_count < UINT32_MAX / PAGE_ENTRIES - 1);
	struct entry *page = mem_alloc_array(PAGE_ENTRIES, sizeof(page[0]));
	uint32_t first = index->page_count * PAGE_ENTRIES;

	index->pages[index->page_count++] = page;
	for (uint32_t i = PAGE_ENTRIES; i-- > 0;) {
		page[i].id = index->free_first;
		index->free_first = first + i + 1;
	}
}

struct entry *
index_add(struct index *index, uint64_t id)
{
	if (!index->free_first)
		add_page(index);
	uint32_t handle = index->free_first - 1;
	struct entry *entry = entry_at(index, handle);

	index->free_first = (uint32_t)entry->id;
	*entry = (struct entry){
		.id = id,
		.flags = ENTRY_USED,
		.message = PLACE_NONE,
		.state = PLACE_NONE,
		.chunks.one = PLACE_NONE,
	};
	size_t at = table_find(index, id);

	must(index->table[at] == 0);
	index->table[at] = handle + 1;
	if (++index->entry_count * UINT64_C(4) > (table_mask(index) + 1) * UINT64_C(3))
		grow_table(index);
	return entry;
}

/* Linear probing without tombstones: what would no longer be found moves back. */
static void
table_remove(struct index *index, size_t hole)
{
	size_t mask = table_mask(index);

	for (size_t next = (hole + 1) & mask; index->table[next]; next = (next + 1) & mask) {
		size_t home = home_of(index, entry_at(index, index->table[next] - 1)->id);

		if (((next - home) & mask) >= ((next - hole) & mask)) {
			index->table[hole] = index->table[next];
			hole = next;
		}
	}
	index->table[hole] = 0;
}

void
index_remove(struct index *index, struct entry *entry)
{
	must(entry->flags & ENTRY_USED);
	size_t at = table_find(index, entry->id);
	uint32_t handle = index->table[at] - 1;

	must(entry_at(index, handle) == entry);
	table_remove(index, at);
	names_release(&index->names, entry->sender);
	names_release(&index->names, entry->client);
	drop_rcpts(index, entry);
	drop_chunks(index, entry);
	*entry = (struct entry){ .id = index->free_first };
	index->free_first = handle + 1;
	index->entry_count--;
}

void
index_set_rcpt_count(struct index *index, struct entry *entry, uint32_t count)
{
	drop_rcpts(index, entry);
	entry->rcpt_count = count;
	if (count > 1) {
		entry->rcpts.many = mem_alloc_array(count, sizeof(entry->rcpts.many[0]));
		index->array_bytes += count * sizeof(entry->rcpts.many[0]);
	}
}

void
index_set_chunk_count(struct index *index, struct entry *entry, uint32_t count)
{
	struct place *many = NULL;

	if (count == entry->chunk_count)
		return;
	if (count > 1) {
		many = mem_alloc_array(count, sizeof(many[0]));
		index->array_bytes += count * sizeof(many[0]);
	}
	for (uint32_t i = 0; i < count && many; i++)
		many[i] = i < entry->chunk_count ? *entry_chunk(entry, i) : PLACE_NONE;
	struct place first = entry->chunk_count > 0 ? *entry_chunk(entry, 0) : PLACE_NONE;

	drop_chunks(index, entry);
	entry->chunk_count = count;
	if (many)
		entry->chunks.many = many;
	else
		entry->chunks.one = first;
}

bool
entry_rcpt_is_open(const struct entry_rcpt *rcpt)
{
	return rcpt->state == RCPT_WAITING || rcpt->state == RCPT_UNCERTAIN;
}

uint32_t
entry_open_count(struct entry *entry)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < entry->rcpt_count; i++)
		count += entry_rcpt_is_open(entry_rcpt(entry, i));
	return count;
}

struct entry *
index_next(const struct index *index, uint64_t *at)
{
	uint64_t handle_end = (uint64_t)index->page_count * PAGE_ENTRIES;

	for (uint64_t handle = *at; handle < handle_end; handle++) {
		struct entry *entry = entry_at(index, (uint32_t)handle);

		if (entry->flags & ENTRY_USED) {
			*at = handle + 1;
			return entry;
		}
	}
	*at = handle_end;
	return NULL;
}

size_t
index_bytes(const struct index *index)
{
	return (size_t)index->page_count * PAGE_ENTRIES * sizeof(struct entry) +
	    (table_mask(index) + 1) * sizeof(index->table[0]) + index->array_bytes +
	    names_bytes(&index->names);
}
