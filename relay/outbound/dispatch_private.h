#ifndef RELAY_OUTBOUND_DISPATCH_PRIVATE_H
#define RELAY_OUTBOUND_DISPATCH_PRIVATE_H

#include "relay/outbound/dispatch.h"

/* Between dispatch.c and dispatch_destination.c only. */

/*
 * Something changed that decides whether the destination can start a job: puts it
 * on the line of active ones, into the heap of those that sleep, or nowhere.
 */
void dispatch_refresh(struct dispatch *dispatch, struct destination *destination,
    uint64_t now_ms);

/* The hosts of the next attempt, best first; begins probes.  False: none may be tried. */
bool dispatch_choose_hosts(struct dispatch *dispatch, struct destination *destination,
    const struct unit *unit, struct dispatch_order *order, uint64_t now_ms);

void dispatch_choose_worker(const struct dispatch *dispatch,
    const struct destination *destination, struct dispatch_order *order);

#endif
