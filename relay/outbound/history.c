#include "relay/outbound/history.h"

#include <string.h>
#include <uthash.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

struct history_text {
	UT_hash_handle hh;
	size_t holders;
	size_t len;
	char bytes[];
};

struct history_words {
	struct history_text *texts;
};

struct history_words *
history_words_new(void)
{
	return mem_alloc(sizeof(struct history_words));
}

void
history_words_free(struct history_words **words)
{
	if (*words)
		must(!(*words)->texts);
	mem_free(words);
}

static struct history_text *
text_get(struct history_words *words, struct span bytes)
{
	struct history_text *text;

	bytes = bytes.len ? span_first(bytes, HISTORY_TEXT_BYTES_MAX) : SPAN("");
	HASH_FIND(hh, words->texts, bytes.data, bytes.len, text);
	if (!text) {
		text = mem_alloc(sizeof(*text) + bytes.len + 1);
		text->len = bytes.len;
		if (bytes.len)
			memcpy(text->bytes, bytes.data, bytes.len);
		HASH_ADD_KEYPTR(hh, words->texts, text->bytes, text->len, text);
	}
	text->holders++;
	return text;
}

static void
text_put(struct history_words *words, struct history_text *text)
{
	if (--text->holders > 0)
		return;
	HASH_DEL(words->texts, text);
	mem_free(&text);
}

static void
forget_oldest(struct history *history, struct history_words *words)
{
	text_put(words, history->entries[0].host);
	text_put(words, history->entries[0].words);
	history->count--;
	memmove(&history->entries[0], &history->entries[1],
	    history->count * sizeof(history->entries[0]));
}

struct history *
history_add(struct history *history, struct history_words *words, int64_t at_wall_ms,
    enum retry_class class, struct span host, struct span said)
{
	uint32_t capacity = history ? history->capacity : 0;

	if (history && history->count == HISTORY_COUNT_MAX)
		forget_oldest(history, words);
	if (!history || history->count == capacity) {
		uint32_t count = history ? history->count : 0;

		capacity = capacity ? 2 * capacity : 1;
		history = mem_resize_array(history, 1,
		    sizeof(*history) + capacity * sizeof(history->entries[0]));
		history->count = count;
		history->capacity = capacity;
	}
	history->entries[history->count++] = (struct history_entry){
		.at_wall_ms = at_wall_ms,
		.class = class,
		.host = text_get(words, host),
		.words = text_get(words, said),
	};
	return history;
}

void
history_free(struct history **history_pointer, struct history_words *words)
{
	struct history *history = *history_pointer;

	for (uint32_t i = 0; history && i < history->count; i++) {
		text_put(words, history->entries[i].host);
		text_put(words, history->entries[i].words);
	}
	mem_free(history_pointer);
}

struct history *
history_copy(const struct history *history)
{
	struct history *copy;

	if (!history)
		return NULL;
	copy = mem_dup(history,
	    sizeof(*history) + history->capacity * sizeof(history->entries[0]));
	for (uint32_t i = 0; i < copy->count; i++) {
		copy->entries[i].host->holders++;
		copy->entries[i].words->holders++;
	}
	return copy;
}

struct span
history_text(const struct history_text *text)
{
	return span_make(text->bytes, text->len);
}
