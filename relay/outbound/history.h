#ifndef RELAY_OUTBOUND_HISTORY_H
#define RELAY_OUTBOUND_HISTORY_H

#include <stddef.h>
#include <stdint.h>

#include "queue/retry.h"
#include "relay/base/span.h"

/*
 * The newest attempts of a unit: when, by which host, with which words.  Words are
 * kept once for all units that heard the same: behind a host that is down a hundred
 * thousand messages hold one text.  One thread.
 */
enum {
	HISTORY_COUNT_MAX = 8,
	HISTORY_TEXT_BYTES_MAX = 160,   /* of host and of words; what is longer is cut */
};

struct history_words;

struct history_words *history_words_new(void);

/* When no history is left. */
void history_words_free(struct history_words **words);

struct history_entry {
	int64_t at_wall_ms;
	enum retry_class class;
	struct history_text *host;
	struct history_text *words;
};

/* As small as can be: it begins with one attempt and grows. */
struct history {
	uint32_t count;
	uint32_t capacity;
	struct history_entry entries[];         /* oldest first */
};

/* Adds an attempt and returns the history, which may have moved; NULL begins one. */
struct history *history_add(struct history *history, struct history_words *words,
    int64_t at_wall_ms, enum retry_class class, struct span host, struct span said);
void history_free(struct history **history, struct history_words *words);

/* The same for another unit: they part. */
struct history *history_copy(const struct history *history);

struct span history_text(const struct history_text *text);

#endif
