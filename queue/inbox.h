#ifndef QUEUE_INBOX_H
#define QUEUE_INBOX_H

#include <stdatomic.h>
#include <stdbool.h>

#include "relay/net/loop.h"

/*
 * Messages to one loop that end with the queue: first in, first out between two
 * threads, many items a wake-up.  At the end, when no thread sends any more,
 * inbox_close() runs what is left by hand, so nothing leaks and nothing comes
 * later; only the wake-up itself may still be on its way, and it frees the inbox.
 */
struct inbox_item {
	struct inbox_item *next;
	void (*run)(struct inbox_item *item);   /* takes the item */
};

struct inbox {
	struct loop *loop;
	_Atomic(struct inbox_item *) newest;
	atomic_bool posted;
	bool closed;
	struct loop_post post;
};

struct inbox *inbox_new(struct loop *loop);

/* Any thread. */
void inbox_send(struct inbox *inbox, struct inbox_item *item);

/* The loop's thread, or when that has ended: runs what is there now. */
void inbox_drain(struct inbox *inbox);

/* Drains, until nothing is left, and frees. */
void inbox_close(struct inbox **inbox);

#endif
