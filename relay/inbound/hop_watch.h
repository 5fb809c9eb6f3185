#ifndef RELAY_INBOUND_HOP_WATCH_H
#define RELAY_INBOUND_HOP_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/span.h"

/*
 * Finds mail that goes round: it watches the header while it arrives, piece by piece.
 *
 * A Received field of our own ("by HOSTNAME" with an id of our form) is a loop, and more
 * than 50 fields of anybody are one.
 */
enum {
	HOP_WATCH_RECEIVED_COUNT_MAX = 50,
	HOP_WATCH_FIELD_BYTES_MAX = 1024,
};

enum hop_loop {
	HOP_LOOP_NONE,
	HOP_LOOP_OWN,               /* we had it before */
	HOP_LOOP_TOO_LONG,          /* too many hops */
};

struct hop_watch {
	struct span hostname;                   /* borrowed */
	enum hop_loop found;
	uint32_t received_count;
	bool ended;                             /* the header is over */
	bool at_line_start;
	bool in_received;
	size_t len;
	char field[HOP_WATCH_FIELD_BYTES_MAX]; /* unfolded by the search, cut when longer */
};

void hop_watch_init(struct hop_watch *watch, struct span hostname);
enum hop_loop hop_watch_feed(struct hop_watch *watch, struct span piece);

#endif
