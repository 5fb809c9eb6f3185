#include "tests/bench/spool/raw.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <unistd.h>

#include "relay/base/clock.h"
#include "relay/base/file.h"
#include "relay/base/mem.h"
#include "relay/net/work.h"
#include "tests/bench/spool/meter.h"

/* The lock guards the counts; a message to one writer would be the spool itself. */
struct raw {
	pthread_mutex_t lock;
	pthread_cond_t synced_more;
	int fd;
	char *block;
	size_t size;
	uint64_t left, written, synced, sync_count;
	bool is_syncing, failed;
};

/* Has what was written so far synced, by this thread or another. */
static void
share_sync(struct raw *raw, uint64_t mine)
{
	while (raw->synced < mine && !raw->failed) {
		if (raw->is_syncing) {
			(void)pthread_cond_wait(&raw->synced_more, &raw->lock);
			continue;
		}
		raw->is_syncing = true;
		uint64_t upto = raw->written;

		(void)pthread_mutex_unlock(&raw->lock);
		bool good = fdatasync(raw->fd) == 0;

		(void)pthread_mutex_lock(&raw->lock);
		raw->is_syncing = false;
		raw->failed |= !good;
		raw->synced = upto;
		raw->sync_count++;
		(void)pthread_cond_broadcast(&raw->synced_more);
	}
}

static void
append_on(void *ctx)
{
	struct raw *raw = ctx;

	(void)pthread_mutex_lock(&raw->lock);
	while (raw->left > 0 && !raw->failed) {
		raw->left--;
		if (write(raw->fd, raw->block, raw->size) != (ssize_t)raw->size) {
			raw->failed = true;
			break;
		}
		share_sync(raw, ++raw->written);
	}
	(void)pthread_cond_broadcast(&raw->synced_more);
	(void)pthread_mutex_unlock(&raw->lock);
}

/* A new file that nobody else will find. */
static int
scratch_file(const char *directory, struct err *err)
{
	char *path = mem_format("%s/raw", directory);
	int fd = file_create_at(AT_FDCWD, path, err);

	if (fd >= 0 && unlink(path) < 0) {
		(void)err_set_errno(err, "%s", path);
		file_close(&fd);
	}
	mem_free(&path);
	return fd;
}

int
raw_run(const char *directory, size_t threads, size_t size, uint64_t count,
    struct raw_result *result_out, struct err *err)
{
	struct raw raw = { .size = size, .left = count };
	struct work_thread **running = mem_alloc_array(threads, sizeof(running[0]));
	size_t started = 0;

	raw.fd = scratch_file(directory, err);
	if (raw.fd < 0) {
		mem_free(&running);
		return -1;
	}
	raw.block = mem_alloc(size);
	(void)pthread_mutex_init(&raw.lock, NULL);
	(void)pthread_cond_init(&raw.synced_more, NULL);
	struct meter before = meter_now(directory);

	while (started < threads) {
		running[started] = work_service_start("raw", append_on, &raw, err);
		if (!running[started])
			break;
		started++;
	}
	for (size_t i = 0; i < started; i++)
		work_join(&running[i]);
	struct meter cost = meter_since(&before, directory);

	*result_out = (struct raw_result){ cost.us, cost.cpu_us, raw.written, raw.sync_count };
	(void)pthread_cond_destroy(&raw.synced_more);
	(void)pthread_mutex_destroy(&raw.lock);
	file_close(&raw.fd);
	mem_free(&raw.block);
	mem_free(&running);
	if (started < threads)
		return -1;
	return raw.failed ? err_set(err, ERR_SYSTEM, "%s: a write or sync failed", directory) : 0;
}

struct raw_lone {
	int fd;
	char *block;
	size_t size;
};

struct raw_lone *
raw_lone_open(const char *directory, size_t size, struct err *err)
{
	int fd = scratch_file(directory, err);

	if (fd < 0)
		return NULL;
	struct raw_lone *lone = mem_alloc(sizeof(*lone));

	*lone = (struct raw_lone){ fd, mem_alloc(size), size };
	return lone;
}

int
raw_lone_step(struct raw_lone *lone, uint64_t *us_out, struct err *err)
{
	uint64_t begun_us = clock_monotonic_us(clock_system());

	if (file_write_all(lone->fd, span_make(lone->block, lone->size), err) < 0 ||
	    file_sync_data(lone->fd, err) < 0)
		return -1;
	*us_out = clock_monotonic_us(clock_system()) - begun_us;
	return 0;
}

void
raw_lone_close(struct raw_lone **lone)
{
	if (!*lone)
		return;
	file_close(&(*lone)->fd);
	mem_free(&(*lone)->block);
	mem_free(lone);
}
