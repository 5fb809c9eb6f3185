#ifndef RELAY_COMMANDS_FILTER_H
#define RELAY_COMMANDS_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/queue.h"
#include "relay/base/err.h"
#include "relay/base/json.h"
#include "relay/base/span.h"
#include "relay/mail/envelope.h"

/*
 * Which messages an operator means: "from=*@example.net", "age>2h", "size<10M".  All of
 * the filters of a set must hold.  Pure.
 */
enum {
	COMMANDS_FILTER_TERMS_MAX = 64,
	COMMANDS_FILTER_BYTES_MAX = 600,
};

enum commands_key {
	COMMANDS_KEY_ID,
	COMMANDS_KEY_FROM,
	COMMANDS_KEY_TO,
	COMMANDS_KEY_DOMAIN,
	COMMANDS_KEY_DEST,
	COMMANDS_KEY_CLIENT,
	COMMANDS_KEY_STATE,
	COMMANDS_KEY_REASON,
	COMMANDS_KEY_AGE,
	COMMANDS_KEY_SIZE,
	COMMANDS_KEY_ATTEMPTS,
	COMMANDS_KEY_NEXT,
};

struct commands_term {
	enum commands_key key;
	char compare;                   /* '=', '<', '>' */
	struct span pattern;            /* of the keys that are text; borrowed from the arguments */
	uint64_t number;                /* of the others: milliseconds, bytes, a count, an id */
};

struct commands_filter {
	struct commands_term terms[COMMANDS_FILTER_TERMS_MAX];
	size_t term_count;
	bool needs_envelope;            /* a term asks for what only the envelope has */
};

/* What is known of a message without its envelope. */
struct commands_facts {
	const struct queue_item *item;
	const char *state;              /* commands_state() */
	enum queue_reason reason;
	struct span destination;
	uint32_t attempt_count;
	uint64_t next_ms;               /* from now; 0: now */
};

/* FILTERS is a list of texts, or NULL for none; the texts must outlive the filter. */
int commands_filter_read(struct commands_filter *filter, const struct json *filters,
    struct err *err);

/* Whether the terms that can be told without an envelope hold. */
bool commands_filter_matches(const struct commands_filter *filter,
    const struct commands_facts *facts);

/* Whether the others hold: `to` and `domain` of any recipient that is still open. */
bool commands_filter_matches_envelope(const struct commands_filter *filter,
    const struct envelope *envelope);

/* The only message that can be meant, when the set names one by its id. */
bool commands_filter_only_id(const struct commands_filter *filter, queue_id *id_out);

/* "waiting", "active", "held", "uncertain", "partial" or "damaged". */
const char *commands_state(const struct queue_item *item, enum queue_reason reason);

/* '*' stands for any octets, '?' for one; ASCII case does not matter. */
bool commands_glob(struct span pattern, struct span text);

#endif
