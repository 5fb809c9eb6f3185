#ifndef QUEUE_ID_H
#define QUEUE_ID_H

#include <stdint.h>

/*
 * How ids are made: 32 bits of seconds since 2020, 16 of a nonce of this start,
 * 16 that count; so they are ordered by time, and two nodes hardly ever meet.
 * Above 65536 a second the count runs over into the nonce and then into the
 * time: still an id that this node never gave.
 */
#define QUEUE_ID_EPOCH_SECONDS INT64_C(1577836800)
#define QUEUE_ID_TIME_SHIFT 32
#define QUEUE_ID_NONCE_SHIFT 16

#endif
