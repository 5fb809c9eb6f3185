/* queue/disk.h on a simulated store: all files in one directory. */
#include <errno.h>

#include "tests/sim/store.h"

static int
spool_open(struct disk *disk, const char *name, enum disk_open how, int *file_out)
{
	return store_open(sim_store_of_spool(disk), name, how == DISK_OPEN_CREATE, file_out);
}

static int
spool_close(struct disk *disk, int file)
{
	(void)disk;
	(void)file;
	return 0;
}

static int
spool_size(struct disk *disk, int file, uint64_t *size_out)
{
	return store_size(sim_store_of_spool(disk), file, size_out);
}

static int
spool_read(struct disk *disk, int file, void *data, size_t size, uint64_t offset, size_t *got_out)
{
	return store_read(sim_store_of_spool(disk), file, data, size, offset, got_out);
}

static int
spool_write(struct disk *disk, int file, const struct iovec *vectors, int vector_count,
    uint64_t offset, enum disk_write how, size_t *written_out)
{
	return store_write(sim_store_of_spool(disk), file, vectors, vector_count, offset,
	    how == DISK_WRITE_SYNC, written_out);
}

static int
spool_sync(struct disk *disk, int file)
{
	return store_sync(sim_store_of_spool(disk), file);
}

static int
spool_rename(struct disk *disk, const char *from, const char *to)
{
	return store_rename(sim_store_of_spool(disk), from, to);
}

static int
spool_remove(struct disk *disk, const char *name)
{
	return store_remove(sim_store_of_spool(disk), name);
}

static int
spool_sync_dir(struct disk *disk)
{
	return store_sync_dir(sim_store_of_spool(disk));
}

static int
spool_list(struct disk *disk, void (*each)(void *ctx, const char *name), void *ctx)
{
	return store_list(sim_store_of_spool(disk), each, ctx);
}

static int
spool_space(struct disk *disk, uint64_t *free_out, uint64_t *total_out)
{
	(void)disk;
	*free_out = UINT64_C(1) << 33;
	*total_out = UINT64_C(1) << 34;
	return 0;
}

static int
spool_lock(struct disk *disk, const char *name, int *lock_out)
{
	(void)disk;
	(void)name;
	*lock_out = 0;
	return 0;
}

static int
spool_unlock(struct disk *disk, int lock)
{
	(void)disk;
	(void)lock;
	return 0;
}

static int
spool_kind(struct disk *disk, enum disk_kind *kind_out)
{
	(void)disk;
	*kind_out = DISK_KIND_STABLE;
	return 0;
}

static void
spool_read_ahead(struct disk *disk, int file, uint64_t offset, uint64_t size)
{
	(void)disk;
	(void)file;
	(void)offset;
	(void)size;
}

const struct disk_ops *
sim_spool_ops(void)
{
	static const struct disk_ops ops = {
		.open = spool_open, .close = spool_close, .size = spool_size, .read = spool_read,
		.write = spool_write, .sync = spool_sync, .rename = spool_rename,
		.remove = spool_remove, .sync_dir = spool_sync_dir, .list = spool_list,
		.space = spool_space, .lock = spool_lock, .unlock = spool_unlock,
		.kind = spool_kind, .read_ahead = spool_read_ahead,
	};

	return &ops;
}
