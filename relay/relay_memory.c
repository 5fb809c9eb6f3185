#include "relay/relay_private.h"

#include "relay/base/log.h"
#include "relay/base/mem.h"

/*
 * The file "destinations" beside the queue: what outbound knows of the ways out, over a
 * restart.  Written by the helper's thread, whole, under another name first; what is lost
 * with the last second before a crash costs a probe, or a suspension said again.
 */
#define MEMORY_NAME "destinations"
#define MEMORY_NEW_NAME "destinations.new"

enum {
	MEMORY_BYTES_MAX = 4 << 20,
	MEMORY_DELAY_MS = 200,          /* what changes together is written together */
};

static int
write_text(struct disk *disk, struct span text, struct err *err)
{
	struct iovec vector = {
		.iov_base = (char *)(uintptr_t)text.data,
		.iov_len = text.len,
	};
	int file = -1, result;

	/* One that was left by a crash. */
	(void)disk->ops->remove(disk, MEMORY_NEW_NAME);
	if (disk_open(disk, MEMORY_NEW_NAME, DISK_OPEN_CREATE, &file, err) < 0)
		return -1;
	result = disk_write(disk, file, &vector, 1, 0, DISK_WRITE_SYNC, err);
	disk_close(disk, &file);
	if (result < 0 || disk_rename(disk, MEMORY_NEW_NAME, MEMORY_NAME, err) < 0)
		return -1;
	return disk_sync_dir(disk, err);
}

/* On the helper's thread. */
static void
write_memory(void *ctx)
{
	struct relay *relay = ctx;
	struct relay_memory *memory = &relay->memory;

	memory->err = (struct err){ 0 };
	(void)write_text(relay->disk, buf_span(&memory->text), &memory->err);
}

static void
submit(struct relay *relay)
{
	struct relay_memory *memory = &relay->memory;
	struct err err;

	if (memory->is_writing) {
		memory->is_due = true;
		return;
	}
	memory->is_due = false;
	buf_fini(&memory->text);
	buf_init(&memory->text, MEMORY_BYTES_MAX);
	outbound_memory(relay->outbound, &memory->text);
	if (buf_overflowed(&memory->text) ||
	    work_submit(relay->helper, relay->hub, &memory->job, &err) < 0) {
		log_warn("%s: what is known of destinations cannot be written now", MEMORY_NAME);
		return;
	}
	memory->is_writing = true;
}

static void
is_written(void *ctx)
{
	struct relay *relay = ctx;
	struct relay_memory *memory = &relay->memory;

	memory->is_writing = false;
	if (memory->err.kind != ERR_NONE)
		log_warn("%s: %s", MEMORY_NAME, memory->err.text);
	if (memory->is_due && relay->outbound)
		submit(relay);
}

static void
delay_is_over(void *ctx)
{
	submit(ctx);
}

void
relay_memory_changed(void *ctx)
{
	struct relay *relay = ctx;

	if (!loop_timer_is_running(&relay->memory.delay))
		loop_timer_start(relay->hub, &relay->memory.delay, MEMORY_DELAY_MS);
}

void
relay_memory_flush(struct relay *relay)
{
	if (!relay->outbound || !loop_timer_is_running(&relay->memory.delay))
		return;
	loop_timer_stop(relay->hub, &relay->memory.delay);
	submit(relay);
}

void
relay_memory_read(struct relay *relay)
{
	uint64_t size;
	size_t got;
	int file;
	struct err err;

	if (disk_open(relay->disk, MEMORY_NAME, DISK_OPEN_READ, &file, &err) < 0)
		return;
	if (disk_size(relay->disk, file, &size, &err) == 0 && size <= MEMORY_BYTES_MAX) {
		char *bytes = mem_alloc(size + 1);

		if (disk_read(relay->disk, file, bytes, size, 0, &got, &err) == 0)
			outbound_remember(relay->outbound, span_make(bytes, got));
		mem_free(&bytes);
	}
	disk_close(relay->disk, &file);
}

void
relay_memory_init(struct relay *relay)
{
	work_job_init(&relay->memory.job, write_memory, is_written, NULL, relay);
	loop_timer_init(&relay->memory.delay, delay_is_over, relay);
	buf_init(&relay->memory.text, MEMORY_BYTES_MAX);
}

void
relay_memory_fini(struct relay *relay)
{
	if (relay->hub)
		loop_timer_stop(relay->hub, &relay->memory.delay);
	buf_fini(&relay->memory.text);
}
