/*
 * The two faces of the simulated file system.  A file's handle is its inode, a directory's stands
 * behind all inodes.
 */
#include <errno.h>
#include <string.h>

#include "relay/base/container_of.h"
#include "relay/base/must.h"
#include "tests/crash/mailbox/sim_fs_private.h"

/* A long write may be cut short between its vectors. */
static void
write_vectors(struct sim_fs *fs, int file, const struct iovec *vectors, int count,
	      uint64_t offset, size_t *written)
{
	*written = 0;
	for (int i = 0; i < count; i++) {
		sim_touch(fs);
		sim_write(&fs->inodes[file], vectors[i].iov_base, vectors[i].iov_len,
			  offset + *written);
		*written += vectors[i].iov_len;
	}
}

/* --------------------------------------------------------------- the journal's face */

static struct sim_fs *
of_disk(struct disk *disk)
{
	return container_of(disk, struct sim_fs, disk);
}

static int
disk_open_op(struct disk *disk, const char *name, enum disk_open how, int *file_out)
{
	return sim_open(of_disk(disk), SIM_JOURNAL, name, how == DISK_OPEN_CREATE, file_out);
}

static int
disk_close_op(struct disk *disk, int file)
{
	(void)disk;
	(void)file;
	return 0;
}

static int
disk_size_op(struct disk *disk, int file, uint64_t *size_out)
{
	*size_out = of_disk(disk)->inodes[file].size;
	return 0;
}

static int
disk_read_op(struct disk *disk, int file, void *data, size_t size, uint64_t offset, size_t *got)
{
	*got = sim_read(&of_disk(disk)->inodes[file], data, size, offset);
	return 0;
}

static int
disk_write_op(struct disk *disk, int file, const struct iovec *vectors, int count,
	      uint64_t offset, enum disk_write how, size_t *written)
{
	struct sim_fs *fs = of_disk(disk);

	write_vectors(fs, file, vectors, count, offset, written);
	return how == DISK_WRITE_SYNC ? sim_sync_file(fs, file) : 0;
}

static int
disk_sync_op(struct disk *disk, int file)
{
	return sim_sync_file(of_disk(disk), file);
}

static int
disk_rename_op(struct disk *disk, const char *from, const char *to)
{
	return sim_rename(of_disk(disk), SIM_JOURNAL, from, SIM_JOURNAL, to);
}

static int
disk_remove_op(struct disk *disk, const char *name)
{
	return sim_remove(of_disk(disk), SIM_JOURNAL, name);
}

static int
disk_sync_dir_op(struct disk *disk)
{
	return sim_sync_names(of_disk(disk), SIM_JOURNAL);
}

static int
disk_list_op(struct disk *disk, void (*each)(void *ctx, const char *name), void *ctx)
{
	const struct sim_names *names = &of_disk(disk)->dirs[SIM_JOURNAL].now;

	for (size_t i = 0; i < names->count; i++)
		each(ctx, names->rows[i].name);
	return 0;
}

static int
disk_lock_op(struct disk *disk, const char *name, int *lock_out)
{
	(void)disk;
	(void)name;
	*lock_out = 0;
	return 0;
}

static int
disk_unlock_op(struct disk *disk, int lock)
{
	(void)disk;
	(void)lock;
	return 0;
}

const struct disk_ops *
sim_disk_ops(void)
{
	static const struct disk_ops ops = {
		.open = disk_open_op, .close = disk_close_op, .size = disk_size_op,
		.read = disk_read_op, .write = disk_write_op, .sync = disk_sync_op,
		.rename = disk_rename_op, .remove = disk_remove_op,
		.sync_dir = disk_sync_dir_op, .list = disk_list_op, .lock = disk_lock_op,
		.unlock = disk_unlock_op,
	};

	return &ops;
}

/* ------------------------------------------------------------------- the boxes' face */

static struct sim_fs *
of_boxes(struct box_disk *disk)
{
	return container_of(disk, struct sim_fs, boxes);
}

static int
handle_of(enum sim_dir dir)
{
	return SIM_INODES_MAX + (int)dir;
}

static enum sim_dir
dir_of(int handle)
{
	must(handle >= SIM_INODES_MAX && handle < SIM_INODES_MAX + (int)SIM_DIRS);
	return (enum sim_dir)(handle - SIM_INODES_MAX);
}

static int
box_open_dir_op(struct box_disk *disk, const char *path, int *dir_out)
{
	(void)disk;
	must(strcmp(path, "/boxes") == 0);
	*dir_out = handle_of(SIM_BOXES);
	return 0;
}

/* The Maildir and its parts were there before. */
static int
box_open_dir_at_op(struct box_disk *disk, int dir, const char *name, int *dir_out)
{
	static const struct {
		enum sim_dir above, dir;
		const char *name;
	} known[] = {
		{ SIM_BOXES, SIM_MAILDIR, "m" },
		{ SIM_MAILDIR, SIM_TMP, "tmp" },
		{ SIM_MAILDIR, SIM_NEW, "new" },
		{ SIM_MAILDIR, SIM_CUR, "cur" },
	};

	(void)disk;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].above == dir_of(dir) && strcmp(known[i].name, name) == 0) {
			*dir_out = handle_of(known[i].dir);
			return 0;
		}
	return ENOENT;
}

static int
box_open_op(struct box_disk *disk, int dir, const char *name, enum box_open how, int *file_out)
{
	return sim_open(of_boxes(disk), dir_of(dir), name, how == BOX_OPEN_CREATE, file_out);
}

static void
box_close_op(struct box_disk *disk, int file)
{
	(void)disk;
	(void)file;
}

static int
box_stat_op(struct box_disk *disk, int file, struct box_stat *stat_out)
{
	bool is_dir = file >= SIM_INODES_MAX;

	*stat_out = (struct box_stat){
		.kind = is_dir ? BOX_KIND_DIRECTORY : BOX_KIND_FILE,
		.device = 1,
		.inode = (uint64_t)file + 1,
		.size = is_dir ? 0 : of_boxes(disk)->inodes[file].size,
		.link_count = 1,
		.mode = 0600,
	};
	return 0;
}

static int
box_stat_at_op(struct box_disk *disk, int dir, const char *name, struct box_stat *stat_out)
{
	int file;

	if (sim_open(of_boxes(disk), dir_of(dir), name, false, &file) != 0)
		return ENOENT;
	return box_stat_op(disk, file, stat_out);
}

static int
box_read_op(struct box_disk *disk, int file, void *data, size_t size, uint64_t offset,
	    size_t *got)
{
	*got = sim_read(&of_boxes(disk)->inodes[file], data, size, offset);
	return 0;
}

static int
box_write_op(struct box_disk *disk, int file, const struct iovec *vectors, int count,
	     uint64_t offset, size_t *written)
{
	write_vectors(of_boxes(disk), file, vectors, count, offset, written);
	return 0;
}

static void
box_begin_sync_op(struct box_disk *disk, int file)
{
	(void)disk;
	(void)file;
}

static int
box_sync_op(struct box_disk *disk, int file, enum box_sync how)
{
	(void)how;
	return sim_sync_file(of_boxes(disk), file);
}

static int
box_sync_dir_op(struct box_disk *disk, int dir)
{
	return sim_sync_names(of_boxes(disk), dir_of(dir));
}

static int
box_truncate_op(struct box_disk *disk, int file, uint64_t size)
{
	sim_touch(of_boxes(disk));
	sim_set_size(&of_boxes(disk)->inodes[file], size);
	return 0;
}

static int
box_lock_op(struct box_disk *disk, int file)
{
	(void)disk;
	(void)file;
	return 0;
}

static int
box_rename_op(struct box_disk *disk, int dir, const char *from, int to_dir, const char *to)
{
	return sim_rename(of_boxes(disk), dir_of(dir), from, dir_of(to_dir), to);
}

static int
box_remove_op(struct box_disk *disk, int dir, const char *name)
{
	return sim_remove(of_boxes(disk), dir_of(dir), name);
}

static int
box_list_op(struct box_disk *disk, int dir, void (*each)(void *ctx, const char *name), void *ctx)
{
	const struct sim_names *names = &of_boxes(disk)->dirs[dir_of(dir)].now;

	for (size_t i = 0; i < names->count; i++)
		each(ctx, names->rows[i].name);
	return 0;
}

const struct box_disk_ops *
sim_box_ops(void)
{
	static const struct box_disk_ops ops = {
		.open_dir = box_open_dir_op, .open_dir_at = box_open_dir_at_op,
		.open = box_open_op, .close = box_close_op,
		.stat = box_stat_op, .stat_at = box_stat_at_op, .read = box_read_op,
		.write = box_write_op, .begin_sync = box_begin_sync_op, .sync = box_sync_op,
		.sync_dir = box_sync_dir_op,
		.truncate = box_truncate_op, .lock = box_lock_op,
		.rename = box_rename_op, .remove = box_remove_op, .list = box_list_op,
	};

	return &ops;
}
