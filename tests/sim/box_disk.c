/*
 * mailbox/box_disk.h on a simulated store.  There is one directory for everything, so a file is
 * its last name; nobody else is at the mailboxes here.
 */
#include <errno.h>
#include <unistd.h>

#include "tests/sim/store.h"

enum { DIRECTORY = 1 << 20 };           /* the number of the only one */

static int
open_dir(struct box_disk *disk, const char *path, int *dir_out)
{
	(void)path;
	*dir_out = DIRECTORY;
	return store_is_dead(sim_store_of_boxes(disk)) ? EIO : 0;
}

static int
make_dir(struct box_disk *disk, int dir, const char *name, uint32_t mode)
{
	(void)disk;
	(void)dir;
	(void)name;
	(void)mode;
	return EEXIST;
}

static int
open_dir_at(struct box_disk *disk, int dir, const char *name, int *dir_out)
{
	(void)dir;
	return open_dir(disk, name, dir_out);
}

static int
box_open(struct box_disk *disk, int dir, const char *name, enum box_open how, int *file_out)
{
	(void)dir;
	return store_open(sim_store_of_boxes(disk), name, how == BOX_OPEN_CREATE, file_out);
}

static void
box_close(struct box_disk *disk, int file_or_dir)
{
	(void)disk;
	(void)file_or_dir;
}

static int
describe(struct sim_store *store, int inode, struct box_stat *stat_out)
{
	*stat_out = (struct box_stat){
		.kind = BOX_KIND_FILE,
		.device = 1,
		.inode = (uint64_t)inode + 1,
		.link_count = store_link_count(store, inode),
		.uid = geteuid(),
		.mode = 0600,
		.modified_ms = store_modified_ms(store, inode),
	};
	return store_size(store, inode, &stat_out->size);
}

static int
box_stat(struct box_disk *disk, int file_or_dir, struct box_stat *stat_out)
{
	if (file_or_dir != DIRECTORY)
		return describe(sim_store_of_boxes(disk), file_or_dir, stat_out);
	*stat_out = (struct box_stat){ .kind = BOX_KIND_DIRECTORY, .device = 1, .inode = DIRECTORY,
	    .link_count = 2, .uid = geteuid(), .mode = 0700 };
	return store_is_dead(sim_store_of_boxes(disk)) ? EIO : 0;
}

static int
box_stat_at(struct box_disk *disk, int dir, const char *name, struct box_stat *stat_out)
{
	int inode;

	(void)dir;
	if (!store_find(sim_store_of_boxes(disk), name, &inode))
		return ENOENT;
	return describe(sim_store_of_boxes(disk), inode, stat_out);
}

static int
box_read(struct box_disk *disk, int file, void *data, size_t size, uint64_t offset, size_t *got_out)
{
	return store_read(sim_store_of_boxes(disk), file, data, size, offset, got_out);
}

static int
box_write(struct box_disk *disk, int file, const struct iovec *vectors, int vector_count,
    uint64_t offset, size_t *written_out)
{
	return store_write(sim_store_of_boxes(disk), file, vectors, vector_count, offset, false,
	    written_out);
}

static int
box_sync(struct box_disk *disk, int file, enum box_sync how)
{
	(void)how;
	return store_sync(sim_store_of_boxes(disk), file);
}

static void
box_begin_sync(struct box_disk *disk, int file)
{
	(void)disk;
	(void)file;
}

static int
box_sync_dir(struct box_disk *disk, int dir)
{
	(void)dir;
	return store_sync_dir(sim_store_of_boxes(disk));
}

static int
box_truncate(struct box_disk *disk, int file, uint64_t size)
{
	return store_truncate(sim_store_of_boxes(disk), file, size);
}

static int
box_lock(struct box_disk *disk, int file)
{
	(void)file;
	return store_is_dead(sim_store_of_boxes(disk)) ? EIO : 0;
}

static int
box_link(struct box_disk *disk, int dir, const char *from, int to_dir, const char *to)
{
	(void)dir;
	(void)to_dir;
	return store_link(sim_store_of_boxes(disk), from, to);
}

static int
box_rename(struct box_disk *disk, int dir, const char *from, int to_dir, const char *to)
{
	(void)dir;
	(void)to_dir;
	return store_rename(sim_store_of_boxes(disk), from, to);
}

static int
box_remove(struct box_disk *disk, int dir, const char *name)
{
	(void)dir;
	return store_remove(sim_store_of_boxes(disk), name);
}

static int
box_list(struct box_disk *disk, int dir, void (*each)(void *ctx, const char *name), void *ctx)
{
	(void)dir;
	return store_list(sim_store_of_boxes(disk), each, ctx);
}

const struct box_disk_ops *
sim_boxes_ops(void)
{
	static const struct box_disk_ops ops = {
		.open_dir = open_dir, .make_dir = make_dir, .open_dir_at = open_dir_at,
		.open = box_open, .close = box_close, .stat = box_stat, .stat_at = box_stat_at,
		.read = box_read, .write = box_write, .begin_sync = box_begin_sync,
		.sync = box_sync, .sync_dir = box_sync_dir,
		.truncate = box_truncate, .lock = box_lock, .link = box_link,
		.rename = box_rename, .remove = box_remove, .list = box_list,
	};

	return &ops;
}
