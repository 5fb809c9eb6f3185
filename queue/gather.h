#ifndef QUEUE_GATHER_H
#define QUEUE_GATHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "queue/record.h"

/*
 * The vectors of one batch: small things are copied side by side, bodies are
 * lent.  Everything starts and ends on the alignment of records.
 */
#define GATHER_VECTOR_COUNT_MAX 1000
#define GATHER_SCRATCH_BYTES ((size_t)512 << 10)
#define GATHER_COPY_BYTES_MAX 1024

struct gather {
	char *scratch;
	size_t scratch_used;
	struct iovec vectors[GATHER_VECTOR_COUNT_MAX + 2];
	int vector_count;
	uint64_t bytes;
	uint32_t record_count;
};

void gather_init(struct gather *gather);
void gather_fini(struct gather *gather);

/* Empty, with room for the batch's own record at the front. */
void gather_begin(struct gather *gather);

/* Whether a record still has a place in vectors and scratch. */
bool gather_has_room(const struct gather *gather, size_t payload_bytes);

/* The payload is lent until the batch is written.  Returns its offset in the batch. */
uint64_t gather_add(struct gather *gather, const struct record_header *header,
    struct segment_mark mark, const char *payload);

/* Pads to the end of a block and fills in the batch's own record. */
void gather_end(struct gather *gather, struct batch *batch, struct segment_mark mark);

#endif
