#include "tests/unit/mailbox/rig.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/container_of.h"
#include "relay/base/file.h"
#include "relay/base/mem.h"

/* --------------------------------------------------------------------- the fault disk */

static struct box_disk *
below(void)
{
	return box_disk_posix();
}

/* Does this call fail? */
static bool
fails(struct box_disk *disk, enum fault_call which, int *error_out)
{
	struct fault_disk *fault = container_of(disk, struct fault_disk, disk);

	if (fault->which != which)
		return false;
	fault->count++;
	if (fault->count != fault->at && !(fault->for_ever && fault->count > fault->at))
		return false;
	fault->hit = true;
	*error_out = fault->error;
	return fault->error != 0;
}

static int
fault_open_dir(struct box_disk *disk, const char *path, int *dir_out)
{
	(void)disk;
	return below()->ops->open_dir(below(), path, dir_out);
}

static int
fault_make_dir(struct box_disk *disk, int dir, const char *name, uint32_t mode)
{
	(void)disk;
	return below()->ops->make_dir(below(), dir, name, mode);
}

static int
fault_open_dir_at(struct box_disk *disk, int dir, const char *name, int *dir_out)
{
	(void)disk;
	return below()->ops->open_dir_at(below(), dir, name, dir_out);
}

static int
fault_open(struct box_disk *disk, int dir, const char *name, enum box_open how, int *file_out)
{
	int error;

	if (fails(disk, FAULT_OPEN, &error))
		return error;
	return below()->ops->open(below(), dir, name, how, file_out);
}

static void
fault_close(struct box_disk *disk, int file)
{
	(void)disk;
	below()->ops->close(below(), file);
}

static int
fault_stat(struct box_disk *disk, int file, struct box_stat *stat_out)
{
	int error;

	if (fails(disk, FAULT_STAT, &error))
		return error;
	return below()->ops->stat(below(), file, stat_out);
}

static int
fault_stat_at(struct box_disk *disk, int dir, const char *name, struct box_stat *stat_out)
{
	int error;

	if (fails(disk, FAULT_STAT, &error))
		return error;
	return below()->ops->stat_at(below(), dir, name, stat_out);
}

static int
fault_read(struct box_disk *disk, int file, void *data, size_t size, uint64_t offset,
	   size_t *got_out)
{
	int error;

	if (fails(disk, FAULT_READ, &error))
		return error;
	return below()->ops->read(below(), file, data, size, offset, got_out);
}

static int
fault_write(struct box_disk *disk, int file, const struct iovec *vectors, int vector_count,
	    uint64_t offset, size_t *written_out)
{
	struct fault_disk *fault = container_of(disk, struct fault_disk, disk);
	struct iovec part;
	int error = 0;
	bool hit = fault->hit;

	*written_out = 0;
	if (fault->before_write != NULL)
		fault->before_write(fault->ctx);
	if (fails(disk, FAULT_WRITE, &error))
		return error;
	part = vectors[0];
	if (fault->write_bytes_max > 0 && part.iov_len > fault->write_bytes_max) {
		part.iov_len = fault->write_bytes_max;
		return below()->ops->write(below(), file, &part, 1, offset, written_out);
	}
	if (fault->which == FAULT_WRITE && fault->error == 0 && fault->hit && !hit &&
	    part.iov_len > 1) {
		part.iov_len /= 2;
		return below()->ops->write(below(), file, &part, 1, offset, written_out);
	}
	return below()->ops->write(below(), file, vectors, vector_count, offset, written_out);
}

static void
fault_begin_sync(struct box_disk *disk, int file)
{
	(void)disk;
	below()->ops->begin_sync(below(), file);
}

static int
fault_sync(struct box_disk *disk, int file, enum box_sync how)
{
	struct fault_disk *fault = container_of(disk, struct fault_disk, disk);
	int error;

	fault->syncs++;
	if (fails(disk, FAULT_SYNC, &error))
		return error;
	return fault->syncs_nothing ? 0 : below()->ops->sync(below(), file, how);
}

static int
fault_sync_dir(struct box_disk *disk, int dir)
{
	struct fault_disk *fault = container_of(disk, struct fault_disk, disk);
	int error;

	if (fails(disk, FAULT_SYNC_DIR, &error))
		return error;
	return fault->syncs_nothing ? 0 : below()->ops->sync_dir(below(), dir);
}

static int
fault_truncate(struct box_disk *disk, int file, uint64_t size)
{
	int error;

	if (fails(disk, FAULT_TRUNCATE, &error))
		return error;
	return below()->ops->truncate(below(), file, size);
}

static int
fault_lock(struct box_disk *disk, int file)
{
	struct fault_disk *fault = container_of(disk, struct fault_disk, disk);
	int error;

	if (fault->before_lock != NULL)
		fault->before_lock(fault->ctx);
	if (fails(disk, FAULT_LOCK, &error))
		return error;
	return below()->ops->lock(below(), file);
}

static int
fault_link(struct box_disk *disk, int dir, const char *from, int to_dir, const char *to)
{
	int error;

	if (fails(disk, FAULT_LINK, &error))
		return error;
	return below()->ops->link(below(), dir, from, to_dir, to);
}

static int
fault_rename(struct box_disk *disk, int dir, const char *from, int to_dir, const char *to)
{
	(void)disk;
	return below()->ops->rename(below(), dir, from, to_dir, to);
}

static int
fault_remove(struct box_disk *disk, int dir, const char *name)
{
	int error;

	if (fails(disk, FAULT_REMOVE, &error))
		return error;
	return below()->ops->remove(below(), dir, name);
}

static int
fault_list(struct box_disk *disk, int dir, void (*each)(void *ctx, const char *name), void *ctx)
{
	(void)disk;
	return below()->ops->list(below(), dir, each, ctx);
}

void
fault_disk_init(struct fault_disk *fault)
{
	static const struct box_disk_ops ops = {
		.open_dir = fault_open_dir,
		.make_dir = fault_make_dir,
		.open_dir_at = fault_open_dir_at,
		.open = fault_open,
		.close = fault_close,
		.stat = fault_stat,
		.stat_at = fault_stat_at,
		.read = fault_read,
		.write = fault_write,
		.begin_sync = fault_begin_sync,
		.sync = fault_sync,
		.sync_dir = fault_sync_dir,
		.truncate = fault_truncate,
		.lock = fault_lock,
		.link = fault_link,
		.rename = fault_rename,
		.remove = fault_remove,
		.list = fault_list,
	};

	*fault = (struct fault_disk){ .disk = { .ops = &ops } };
}

/* ----------------------------------------------------------------------------- the rig */

void
rig_init(struct rig *rig)
{
	*rig = (struct rig){ .directory = "/tmp/chapar-mailbox-XXXXXX" };
	assert_non_null(mkdtemp(rig->directory));
	(void)snprintf(rig->path, sizeof(rig->path), "%s/box", rig->directory);
	rig->budget.bytes_max = (size_t)64 << 20;
	lock_owner_self(&rig->self, 0x1234567890abcdef);
	fault_disk_init(&rig->fault);
	rig->settings = (struct mbox_settings){
		.lock = {
			.disk = &rig->fault.disk,
			.self = &rig->self,
			.witness = lock_witness_system(),
			.dot_lock = true,
		},
		.path = rig->path,
		.uid = geteuid(),
		.create = true,
	};
}

void
rig_fini(struct rig *rig)
{
	DIR *stream = opendir(rig->directory);
	const struct dirent *entry;

	assert_non_null(stream);
	while ((entry = readdir(stream)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd(stream), entry->d_name, 0) < 0)
			(void)unlinkat(dirfd(stream), entry->d_name, AT_REMOVEDIR);
	}
	(void)closedir(stream);
	assert_int_equal(rmdir(rig->directory), 0);
	assert_int_equal(rig->budget.bytes, 0);
}

struct letter *
rig_letter(struct rig *rig, const char *text)
{
	struct letter *letter = letter_new(&rig->budget);
	struct span rest = span_from_cstr(text), line;

	while (rest.len > 0) {
		bool has_end = span_split(rest, '\n', &line, &rest);

		assert_int_equal(letter_append(letter, line), line.len);
		if (has_end)
			assert_int_equal(letter_append(letter, SPAN("\r\n")), 2);
	}
	letter_seal(letter);
	return letter;
}

void
rig_read(struct rig *rig, const char *path, struct buf *out)
{
	struct err err;

	(void)rig;
	buf_clear(out);
	assert_int_equal(file_read_whole(path, out, &err), 0);
}

void
rig_write_span(const char *path, struct span text)
{
	/* Not O_TRUNC, behind which ext4 waits for the disk. */
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	struct err err;

	assert_true(fd >= 0);
	assert_int_equal(file_write_all(fd, text, &err), 0);
	assert_int_equal(ftruncate(fd, (off_t)text.len), 0);
	(void)close(fd);
}

void
rig_write(const char *path, const char *text)
{
	rig_write_span(path, span_from_cstr(text));
}

bool
rig_exists(const char *path)
{
	struct stat status;

	return lstat(path, &status) == 0;
}

enum mbox_append_result
rig_append(struct rig *rig, const struct mbox_message *messages, size_t count, struct arena *arena,
	   struct intent *intent_out, struct err *err)
{
	struct mbox mbox;
	struct intent intent;
	enum mbox_append_result result = MBOX_UNDONE;

	if (mbox_open(&mbox, &rig->settings, err) != MBOX_OPENED)
		return MBOX_UNDONE;
	if (mbox_plan(&mbox, messages, count, 0, arena, &intent, err) == 0) {
		result = mbox_append(&mbox, &intent, messages, count, err);
		if (intent_out != NULL)
			*intent_out = intent;
	}
	mbox_close(&mbox);
	return result;
}
