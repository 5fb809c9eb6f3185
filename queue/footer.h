#ifndef QUEUE_FOOTER_H
#define QUEUE_FOOTER_H

#include <stdbool.h>
#include <stdint.h>

#include "queue/disk.h"
#include "queue/record.h"
#include "relay/base/buf.h"

/*
 * The index of a segment, written as its last batch when it is sealed: all its
 * records but for bodies, so that a start reads a fraction of the segment.  It is
 * used only when the manifest vouches for it and all of it is right; else the
 * segment is scanned.  For the format see footer.c.
 */
#define FOOTER_PART_BYTES_MAX ((size_t)1 << 20)

struct footer {
	struct buf items;
	uint32_t item_count;
	bool is_off;                    /* this segment will have none */
};

void footer_init(struct footer *footer, uint64_t bytes_max);
void footer_fini(struct footer *footer);

/* A new segment. */
void footer_begin(struct footer *footer);

/* Octets of the batch, were this record (payload_bytes and type) added too. */
uint64_t footer_bytes_with(const struct footer *footer, enum record_type type,
    uint32_t payload_bytes);

void footer_add(struct footer *footer, const struct record_header *header, const char *payload,
    uint64_t offset);

/* Fills in the head.  The segment's records end at `end`, where the footer begins. */
struct span footer_end(struct footer *footer, uint64_t end);

/*
 * Reads the footer at `offset` and calls record() for each item in order.  False,
 * before any call, when it is not right.  end is where the manifest says that the
 * segment ends.
 */
bool footer_read(struct disk *disk, int file, struct segment_mark mark, uint64_t offset,
    uint64_t end, void (*record)(void *ctx, uint64_t offset, const struct record_header *header,
    struct span payload), void *ctx);

#endif
