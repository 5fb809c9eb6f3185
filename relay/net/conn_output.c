#include "relay/net/conn_output.h"

#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

enum { CHUNK_BYTES_MIN = 512, CHUNK_BYTES_MAX = 16 << 10 };

struct out_chunk {
	struct out_chunk *next;
	struct conn_segment *segment;   /* lent, or NULL for octets of our own */
	size_t start, end, capacity;
	char data[];
};

void
conn_output_init(struct conn_output *output)
{
	*output = (struct conn_output){ 0 };
	output->tail = &output->first;
}

static void
drop_first(struct conn_output *output)
{
	struct out_chunk *chunk = output->first;
	struct conn_segment *segment = chunk->segment;

	output->first = chunk->next;
	if (!output->first) {
		output->tail = &output->first;
		output->last = NULL;
	}
	mem_free(&chunk);
	if (segment && segment->released)
		segment->released(segment->ctx);
}

void
conn_output_clear(struct conn_output *output)
{
	output->bytes = 0;
	while (output->first)
		drop_first(output);
}

static struct out_chunk *
add_chunk(struct conn_output *output, size_t capacity)
{
	struct out_chunk *chunk = mem_alloc(sizeof(*chunk) + capacity);

	chunk->capacity = capacity;
	*output->tail = chunk;
	output->tail = &chunk->next;
	output->last = chunk;
	return chunk;
}

void
conn_output_copy(struct conn_output *output, struct span bytes)
{
	struct out_chunk *chunk = output->last;

	output->bytes += bytes.len;
	while (bytes.len) {
		if (!chunk || chunk->segment || chunk->end == chunk->capacity) {
			size_t capacity = bytes.len > CHUNK_BYTES_MIN ? bytes.len : CHUNK_BYTES_MIN;

			chunk = add_chunk(output, capacity < CHUNK_BYTES_MAX ? capacity
			    : CHUNK_BYTES_MAX);
		}

		size_t len = chunk->capacity - chunk->end;

		if (len > bytes.len)
			len = bytes.len;
		memcpy(chunk->data + chunk->end, bytes.data, len);
		chunk->end += len;
		bytes = span_skip(bytes, len);
	}
}

void
conn_output_lend(struct conn_output *output, struct conn_segment *segment)
{
	struct out_chunk *chunk = add_chunk(output, 0);

	chunk->segment = segment;
	chunk->end = segment->bytes.len;
	output->bytes += segment->bytes.len;
}

int
conn_output_front(const struct conn_output *output, struct iovec *iov, int iov_max)
{
	int count = 0;

	for (struct out_chunk *chunk = output->first; chunk && count < iov_max;
	    chunk = chunk->next) {
		const char *data = chunk->segment ? chunk->segment->bytes.data : chunk->data;

		/* writev(2) does not write to what it is given. */
		iov[count].iov_base = (void *)(uintptr_t)(data + chunk->start);
		iov[count].iov_len = chunk->end - chunk->start;
		count++;
	}
	return count;
}

void
conn_output_consume(struct conn_output *output, size_t octets)
{
	must(octets <= output->bytes);
	output->bytes -= octets;
	while (output->first) {
		struct out_chunk *chunk = output->first;
		size_t len = chunk->end - chunk->start;

		if (octets < len) {
			chunk->start += octets;
			return;
		}
		octets -= len;
		drop_first(output);
	}
}
