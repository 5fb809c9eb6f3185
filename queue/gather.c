#include "queue/gather.h"

#include <string.h>

#include "queue/mutant.h"
#include "relay/base/crc32c.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

static const char zeros[RECORD_BLOCK_BYTES];

void
gather_init(struct gather *gather)
{
	*gather = (struct gather){ .scratch = mem_alloc(GATHER_SCRATCH_BYTES) };
}

void
gather_fini(struct gather *gather)
{
	mem_free(&gather->scratch);
}

static void
lend(struct gather *gather, const char *data, size_t size)
{
	if (size == 0)
		return;
	must(gather->vector_count < GATHER_VECTOR_COUNT_MAX + 2);
	gather->vectors[gather->vector_count++] = (struct iovec){
		.iov_base = (char *)(uintptr_t)data,    /* writev takes no const */
		.iov_len = size,
	};
	gather->bytes += size;
}

/* Room in the scratch, joined to the last vector when that ends there. */
static char *
take_scratch(struct gather *gather, size_t size)
{
	must(size <= GATHER_SCRATCH_BYTES - gather->scratch_used);
	char *at = gather->scratch + gather->scratch_used;

	gather->scratch_used += size;
	if (gather->vector_count > 0) {
		struct iovec *last = &gather->vectors[gather->vector_count - 1];

		if ((char *)last->iov_base + last->iov_len == at) {
			last->iov_len += size;
			gather->bytes += size;
			return at;
		}
	}
	lend(gather, at, size);
	return at;
}

void
gather_begin(struct gather *gather)
{
	gather->scratch_used = 0;
	gather->vector_count = 0;
	gather->bytes = 0;
	gather->record_count = 0;
	(void)take_scratch(gather, BATCH_RECORD_BYTES);
}

bool
gather_has_room(const struct gather *gather, size_t payload_bytes)
{
	size_t copied = payload_bytes <= GATHER_COPY_BYTES_MAX ? payload_bytes : 0;

	return gather->vector_count + 3 < GATHER_VECTOR_COUNT_MAX &&
	    GATHER_SCRATCH_BYTES - gather->scratch_used >
	    RECORD_HEADER_BYTES + copied + RECORD_ALIGN + RECORD_BLOCK_BYTES;
}

uint64_t
gather_add(struct gather *gather, const struct record_header *header, struct segment_mark mark,
    const char *payload)
{
	uint64_t offset = gather->bytes;
	size_t size = header->payload_bytes;
	size_t padding = (size_t)(record_bytes(size) - RECORD_HEADER_BYTES - size);

	record_header_write(header, mark, take_scratch(gather, RECORD_HEADER_BYTES));
	if (size > GATHER_COPY_BYTES_MAX)
		lend(gather, payload, size);
	else if (size > 0)
		memcpy(take_scratch(gather, size), payload, size);
	if (padding > 0)
		memset(take_scratch(gather, padding), 0, padding);
	gather->record_count++;
	return offset;
}

void
gather_end(struct gather *gather, struct batch *batch, struct segment_mark mark)
{
	uint64_t aligned = mutant(MUTANT_UNALIGNED_BATCH) ? gather->bytes :
	    record_block_align(gather->bytes);
	char payload[BATCH_PAYLOAD_BYTES];

	lend(gather, zeros, (size_t)(aligned - gather->bytes));
	batch->bytes = (uint32_t)aligned;
	batch->record_count = gather->record_count;
	batch_write(batch, payload);
	struct record_header header = {
		.type = RECORD_BATCH,
		.payload_bytes = BATCH_PAYLOAD_BYTES,
		.payload_crc = crc32c(0, payload, sizeof(payload)),
	};

	record_header_write(&header, mark, gather->scratch);
	memcpy(gather->scratch + RECORD_HEADER_BYTES, payload, sizeof(payload));
}
