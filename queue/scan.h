#ifndef QUEUE_SCAN_H
#define QUEUE_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "queue/disk.h"
#include "queue/record.h"

/*
 * Walks a segment batch by batch and record by record, for the start, the
 * movers, the scrub and the offline tools.  Blocks; reads in large pieces.
 */
struct scan {
	struct disk *disk;
	int file;
	struct segment_mark mark;
	uint64_t end;                   /* nothing behind counts */

	/*
	 * Up to here a sync is known to have returned: what is not valid is damage.
	 * Behind it the first thing that is not valid is the end.
	 */
	uint64_t vouched_end;
	bool check_chunks;              /* the payload of vouched chunks too */
	uint64_t stop_at;               /* at the first batch from here on; 0: at the end */
	uint64_t stopped_at;            /* filled in: where the next run may go on */

	void (*batch)(void *ctx, uint64_t offset, const struct batch *batch);

	/* payload is empty for a chunk that was not to be checked. */
	void (*record)(void *ctx, uint64_t offset, const struct record_header *header,
	    struct span payload, bool is_vouched);
	void (*damage)(void *ctx, uint64_t offset, uint64_t id, const char *what);
	void *ctx;

	char *window;
	uint64_t window_offset;
	size_t window_bytes, window_capacity;
	bool read_failed;               /* the disk did not give something that was looked at */
	bool look_failed;               /* the last look was such a one */
};

/* The callbacks may be NULL.  Returns where the last good batch ends. */
uint64_t scan_run(struct scan *scan, uint64_t from);

/*
 * How much was written of a batch that never ended: `from` is where the last good
 * one did.  0 where nothing of this life of the slot is found behind it.
 */
uint64_t scan_torn(struct scan *scan, uint64_t from);

/* One batch header at this offset. */
bool scan_batch_at(struct scan *scan, uint64_t offset, struct batch *batch_out);
void scan_fini(struct scan *scan);

#endif
