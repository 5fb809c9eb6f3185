#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "relay/base/container_of.h"
#include "relay/base/file.h"
#include "relay/base/mem.h"
#include "tests/unit/queue/contract.h"

/* The log on a real directory, through a disk that fails when it is told to. */
struct place {
	struct disk disk;
	struct disk_ops ops;
	struct disk *real;
	char *directory;
	atomic_bool fail_sync, is_full;
};

static int
failing_write(struct disk *disk, int file, const struct iovec *vectors, int vector_count,
    uint64_t offset, enum disk_write how, size_t *written_out)
{
	struct place *place = container_of(disk, struct place, disk);
	int error = place->real->ops->write(place->real, file, vectors, vector_count, offset, how,
	    written_out);

	if (error == 0 && how == DISK_WRITE_SYNC && atomic_exchange(&place->fail_sync, false))
		return EIO;
	return error;
}

static int
failing_space(struct disk *disk, uint64_t *free_out, uint64_t *total_out)
{
	struct place *place = container_of(disk, struct place, disk);
	int error = place->real->ops->space(place->real, free_out, total_out);

	if (atomic_load(&place->is_full))
		*free_out = 0;
	return error;
}

/* The rest goes on to the real disk. */
#define PASS(name, parameters, ...)                                             \
	static int pass_##name parameters                                       \
	{                                                                       \
		struct disk *real = container_of(disk, struct place, disk)->real; \
		return real->ops->name(real, ##__VA_ARGS__);                    \
	}

PASS(open, (struct disk *disk, const char *name, enum disk_open how, int *file_out), name, how,
    file_out)
PASS(close, (struct disk *disk, int file), file)
PASS(size, (struct disk *disk, int file, uint64_t *size_out), file, size_out)
PASS(read, (struct disk *disk, int file, void *data, size_t size, uint64_t offset,
    size_t *got_out), file, data, size, offset, got_out)
PASS(sync, (struct disk *disk, int file), file)
PASS(rename, (struct disk *disk, const char *from, const char *to), from, to)
PASS(remove, (struct disk *disk, const char *name), name)
PASS(sync_dir, (struct disk *disk))
PASS(list, (struct disk *disk, void (*each)(void *ctx, const char *name), void *ctx), each, ctx)
PASS(lock, (struct disk *disk, const char *name, int *lock_out), name, lock_out)
PASS(unlock, (struct disk *disk, int lock), lock)
PASS(kind, (struct disk *disk, enum disk_kind *kind_out), kind_out)

static void
pass_read_ahead(struct disk *disk, int file, uint64_t offset, uint64_t size)
{
	struct disk *real = container_of(disk, struct place, disk)->real;

	real->ops->read_ahead(real, file, offset, size);
}

static void *
make_place(void)
{
	struct place *place = mem_alloc(sizeof(*place));
	const char *under = getenv("TMPDIR");
	struct err err;

	place->directory = mem_format("%s/chapar-contract-XXXXXX", under ? under : "/var/tmp");
	if (!mkdtemp(place->directory))
		return NULL;
	place->real = disk_posix_open(place->directory, &err);
	place->ops = (struct disk_ops){ pass_open, pass_close, pass_size, pass_read, failing_write,
		pass_sync, pass_rename, pass_remove, pass_sync_dir, pass_list, failing_space,
		pass_lock, pass_unlock, pass_kind, pass_read_ahead };
	place->disk = (struct disk){ &place->ops, place->directory };
	return place;
}

static int
remove_file(void *ctx, const char *name, struct err *err)
{
	return file_remove_at(*(const int *)ctx, name, err);
}

static void
destroy_place(void *ctx)
{
	struct place *place = ctx;
	struct err err;
	int fd = open(place->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	disk_posix_close(&place->real);
	(void)file_list(fd, remove_file, &fd, &err);
	file_close(&fd);
	(void)rmdir(place->directory);
	mem_free(&place->directory);
	mem_free(&place);
}

static struct queue *
open_place(void *ctx, const struct queue_settings *settings, struct err *err)
{
	struct place *place = ctx;
	struct queue_settings own = *settings;
	struct queue_found found;

	own.disk = &place->disk;
	return queue_open(&own, &found, err);
}

static void
make_unknown(void *ctx)
{
	atomic_store(&((struct place *)ctx)->fail_sync, true);
}

static void
set_full(void *ctx, bool full)
{
	atomic_store(&((struct place *)ctx)->is_full, full);
}

int
main(void)
{
	static const struct contract_factory factory = {
		.name = "log", .make = make_place, .destroy = destroy_place, .open = open_place,
		.make_unknown = make_unknown, .set_full = set_full,
	};

	return contract_run(&factory);
}
