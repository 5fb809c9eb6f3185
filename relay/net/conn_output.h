#ifndef RELAY_NET_CONN_OUTPUT_H
#define RELAY_NET_CONN_OUTPUT_H

#include <stddef.h>
#include <sys/uio.h>

#include "relay/base/span.h"
#include "relay/net/conn.h"

/*
 * What waits to be written, in order: octets of our own and segments that are
 * lent.  For conn.c.
 */
struct conn_output {
	struct out_chunk *first;
	struct out_chunk **tail;
	struct out_chunk *last;
	size_t bytes;
};

void conn_output_init(struct conn_output *output);

/* Lets everything go; lent segments are released. */
void conn_output_clear(struct conn_output *output);

void conn_output_copy(struct conn_output *output, struct span bytes);
void conn_output_lend(struct conn_output *output, struct conn_segment *segment);

/* The front, as much as fits into iov; returns the count of parts. */
int conn_output_front(const struct conn_output *output, struct iovec *iov, int iov_max);

/* So many octets of the front are written. */
void conn_output_consume(struct conn_output *output, size_t octets);

#endif
