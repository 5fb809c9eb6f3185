#include "queue/names.h"

#include "relay/base/mem.h"
#include "relay/base/must.h"

struct name {
	uint32_t holder_count;
	uint32_t hash;
	uint32_t len;
	char text[];
};

enum {
	TABLE_BITS_FIRST = 6,
	TABLE_BITS_MAX = 31,
};

/* An unused number keeps the next unused one in place of a pointer. */
static struct name *
link_of(uint32_t next)
{
	return (struct name *)(uintptr_t)next;
}

void
names_init(struct names *names)
{
	*names = (struct names){ .table_bits = TABLE_BITS_FIRST, .number_count = 1 };
	names->table = mem_alloc_array((size_t)1 << names->table_bits, sizeof(names->table[0]));
	names->number_capacity = 16;
	names->by_number = mem_alloc_array(names->number_capacity, sizeof(names->by_number[0]));
}

static size_t
table_size(const struct names *names)
{
	return (size_t)1 << names->table_bits;
}

void
names_fini(struct names *names)
{
	for (size_t i = 0; i < table_size(names); i++) {
		if (names->table[i])
			mem_free(&names->by_number[names->table[i]]);
	}
	mem_free(&names->table);
	mem_free(&names->by_number);
}

static size_t
home_of(const struct names *names, uint32_t hash)
{
	return hash & (table_size(names) - 1);
}

static void
grow_table(struct names *names)
{
	size_t old_size = table_size(names);
	uint32_t *old = names->table;

	must(names->table_bits < TABLE_BITS_MAX);
	names->table_bits++;
	names->table = mem_alloc_array(table_size(names), sizeof(names->table[0]));
	for (size_t i = 0; i < old_size; i++) {
		if (!old[i])
			continue;
		size_t at = home_of(names, names->by_number[old[i]]->hash);

		while (names->table[at])
			at = (at + 1) & (table_size(names) - 1);
		names->table[at] = old[i];
	}
	mem_free(&old);
}

static size_t
name_bytes(const struct name *name)
{
	return sizeof(*name) + name->len;
}

static uint32_t
new_number(struct names *names)
{
	if (names->free_first) {
		uint32_t number = names->free_first;

		names->free_first = (uint32_t)(uintptr_t)names->by_number[number];
		return number;
	}
	if (names->number_count == names->number_capacity) {
		must(names->number_capacity < UINT32_MAX / 2);
		names->number_capacity *= 2;
		names->by_number = mem_resize_array(names->by_number, names->number_capacity,
		    sizeof(names->by_number[0]));
	}
	return names->number_count++;
}

uint32_t
names_hold(struct names *names, struct span text)
{
	if (span_is_empty(text))
		return 0;
	must(text.len < UINT32_MAX);
	uint32_t hash = (uint32_t)span_hash(text, 0);
	size_t at = home_of(names, hash);

	for (; names->table[at]; at = (at + 1) & (table_size(names) - 1)) {
		struct name *name = names->by_number[names->table[at]];

		if (name->hash == hash && span_equal(span_make(name->text, name->len), text)) {
			name->holder_count++;
			return names->table[at];
		}
	}
	struct name *name = mem_resize_array(NULL, 1, sizeof(*name) + text.len);
	uint32_t number = new_number(names);

	*name = (struct name){ .holder_count = 1, .hash = hash, .len = (uint32_t)text.len };
	memcpy(name->text, text.data, text.len);
	names->by_number[number] = name;
	names->table[at] = number;
	names->bytes += name_bytes(name);
	if (++names->used_count * 4 > table_size(names) * 3)
		grow_table(names);
	return number;
}

/* Linear probing without tombstones: what would no longer be found moves back. */
static void
table_remove(struct names *names, size_t at)
{
	size_t mask = table_size(names) - 1;
	size_t hole = at;

	for (size_t next = (hole + 1) & mask; names->table[next]; next = (next + 1) & mask) {
		size_t home = home_of(names, names->by_number[names->table[next]]->hash);

		if (((next - home) & mask) >= ((next - hole) & mask)) {
			names->table[hole] = names->table[next];
			hole = next;
		}
	}
	names->table[hole] = 0;
}

void
names_release(struct names *names, uint32_t number)
{
	if (number == 0)
		return;
	struct name *name = names->by_number[number];

	must(name->holder_count > 0);
	if (--name->holder_count > 0)
		return;
	size_t at = home_of(names, name->hash);

	while (names->table[at] != number)
		at = (at + 1) & (table_size(names) - 1);
	table_remove(names, at);
	names->used_count--;
	names->bytes -= name_bytes(name);
	mem_free(&name);
	names->by_number[number] = link_of(names->free_first);
	names->free_first = number;
}

struct span
names_text(const struct names *names, uint32_t number)
{
	if (number == 0)
		return SPAN("");
	return span_make(names->by_number[number]->text, names->by_number[number]->len);
}

size_t
names_bytes(const struct names *names)
{
	return names->bytes + names->number_capacity * sizeof(names->by_number[0]) +
	    table_size(names) * sizeof(names->table[0]);
}
