#include "relay/net/token.h"

#include "relay/base/mem.h"
#include "relay/base/must.h"

struct token_slot {
	void *asker;            /* NULL: free */
	uint32_t generation;
	uint32_t free_next;
};

enum { NO_SLOT = UINT32_MAX };

void
token_table_init(struct token_table *table, size_t slot_count_max)
{
	must(slot_count_max < NO_SLOT);
	*table = (struct token_table){ .slot_count_max = slot_count_max, .free_first = NO_SLOT };
}

void
token_table_fini(struct token_table *table)
{
	mem_free(&table->slots);
	token_table_init(table, table->slot_count_max);
}

static bool
grow(struct token_table *table)
{
	size_t count = table->slot_count ? table->slot_count * 2 : 16;

	if (count > table->slot_count_max)
		count = table->slot_count_max;
	if (count == table->slot_count)
		return false;
	table->slots = mem_resize_array(table->slots, count, sizeof(*table->slots));
	for (size_t i = count; i-- > table->slot_count;) {
		table->slots[i] = (struct token_slot){ .free_next = table->free_first };
		table->free_first = (uint32_t)i;
	}
	table->slot_count = count;
	return true;
}

struct token
token_issue(struct token_table *table, void *asker)
{
	must(asker != NULL);
	if (table->free_first == NO_SLOT && !grow(table))
		return (struct token){ 0 };
	uint32_t at = table->free_first;
	struct token_slot *slot = &table->slots[at];

	table->free_first = slot->free_next;
	table->used_count++;
	slot->asker = asker;
	if (++slot->generation == 0)
		slot->generation = 1;
	return (struct token){ .slot = at, .generation = slot->generation };
}

static struct token_slot *
slot_of(const struct token_table *table, struct token token)
{
	if (token_is_empty(token) || token.slot >= table->slot_count)
		return NULL;
	struct token_slot *slot = &table->slots[token.slot];

	return slot->asker && slot->generation == token.generation ? slot : NULL;
}

void *
token_find(const struct token_table *table, struct token token)
{
	struct token_slot *slot = slot_of(table, token);

	return slot ? slot->asker : NULL;
}

void *
token_take(struct token_table *table, struct token token)
{
	struct token_slot *slot = slot_of(table, token);

	if (!slot)
		return NULL;
	void *asker = slot->asker;

	slot->asker = NULL;
	slot->free_next = table->free_first;
	table->free_first = token.slot;
	table->used_count--;
	return asker;
}

void
token_cancel(struct token_table *table, struct token *token)
{
	(void)token_take(table, *token);        /* nothing there is as good */
	*token = (struct token){ 0 };
}
