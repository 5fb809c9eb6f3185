/*
 * What the header of a message tells of the way it came, to see loops.  Pure.
 */
#ifndef MAILBOX_WAY_H
#define MAILBOX_WAY_H

#include <stdbool.h>
#include <stddef.h>

#include "relay/base/span.h"

enum { WAY_BOXES_MAX = 64 };

struct way {
	size_t received_count;
	struct span boxes[WAY_BOXES_MAX];       /* values of Delivered-To, borrowed */
	size_t box_count;
};

void way_read(struct way *way, struct span message);

/* Was it delivered to this address before? */
bool way_has_box(const struct way *way, struct span address);

#endif
