#ifndef QUEUE_NAMES_H
#define QUEUE_NAMES_H

#include <stddef.h>
#include <stdint.h>

#include "relay/base/span.h"

/*
 * Texts that many messages share (senders, domains, clients), kept once and
 * counted.  A number names the same text while it is held; 0 is the empty text.
 * One thread.
 */
struct names {
	struct name **by_number;
	uint32_t number_count, number_capacity;
	uint32_t free_first;            /* a list through the unused numbers */
	uint32_t *table;                /* open addressing; 0 is an empty place */
	uint32_t table_bits, used_count;
	size_t bytes;
};

void names_init(struct names *names);
void names_fini(struct names *names);

/* Holds the text once more.  Copies it when it is new. */
uint32_t names_hold(struct names *names, struct span text);
void names_release(struct names *names, uint32_t number);

/* Valid while the name is held. */
struct span names_text(const struct names *names, uint32_t number);

/* Of memory, for the accounts. */
size_t names_bytes(const struct names *names);

#endif
