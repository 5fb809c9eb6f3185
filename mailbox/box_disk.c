#include "mailbox/box_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/must.h"

static int
posix_open_dir(struct box_disk *disk, const char *path, int *dir_out)
{
	(void)disk;
	*dir_out = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *dir_out < 0 ? errno : 0;
}

static int
posix_make_dir(struct box_disk *disk, int dir, const char *name, uint32_t mode)
{
	(void)disk;
	return mkdirat(dir, name, mode) < 0 ? errno : 0;
}

static int
posix_open_dir_at(struct box_disk *disk, int dir, const char *name, int *dir_out)
{
	(void)disk;
	*dir_out = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return *dir_out < 0 ? errno : 0;
}

static int
posix_open(struct box_disk *disk, int dir, const char *name, enum box_open how, int *file_out)
{
	/* O_APPEND: what a program that ignores locks adds meanwhile is never written over. */
	static const int flags[] = {
		[BOX_OPEN_READ] = O_RDONLY,
		[BOX_OPEN_WRITE] = O_RDWR | O_APPEND,
		[BOX_OPEN_UPDATE] = O_RDWR,
		[BOX_OPEN_CREATE] = O_RDWR | O_APPEND | O_CREAT | O_EXCL,
	};

	(void)disk;
	/* O_NONBLOCK: opening a FIFO or a device must not hang; files do not mind it. */
	*file_out = openat(dir, name,
			   flags[how] | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
	return *file_out < 0 ? errno : 0;
}

static void
posix_close(struct box_disk *disk, int file)
{
	(void)disk;
	/* What had to be durable was synced, and that is where failures are heard. */
	(void)close(file);
}

static void
translate(const struct stat *in, struct box_stat *out)
{
	*out = (struct box_stat){
		.kind = S_ISREG(in->st_mode) ? BOX_KIND_FILE
		      : S_ISDIR(in->st_mode) ? BOX_KIND_DIRECTORY
		      : S_ISLNK(in->st_mode) ? BOX_KIND_LINK : BOX_KIND_OTHER,
		.device = in->st_dev,
		.inode = in->st_ino,
		.size = in->st_size < 0 ? 0 : (uint64_t)in->st_size,
		.link_count = in->st_nlink,
		.uid = in->st_uid,
		.mode = in->st_mode & 07777,
		.modified_ms = (int64_t)in->st_mtim.tv_sec * 1000 +
			       in->st_mtim.tv_nsec / 1000000,
	};
}

static int
posix_stat(struct box_disk *disk, int file, struct box_stat *stat_out)
{
	struct stat status;

	(void)disk;
	if (fstat(file, &status) < 0)
		return errno;
	translate(&status, stat_out);
	return 0;
}

static int
posix_stat_at(struct box_disk *disk, int dir, const char *name, struct box_stat *stat_out)
{
	struct stat status;

	(void)disk;
	if (fstatat(dir, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return errno;
	translate(&status, stat_out);
	return 0;
}

static int
posix_read(struct box_disk *disk, int file, void *data, size_t size, uint64_t offset,
	   size_t *got_out)
{
	ssize_t got;

	(void)disk;
	*got_out = 0;
	do
		got = pread(file, data, size, (off_t)offset);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return errno;
	*got_out = (size_t)got;
	return 0;
}

static int
posix_write(struct box_disk *disk, int file, const struct iovec *vectors, int vector_count,
	    uint64_t offset, size_t *written_out)
{
	ssize_t written;

	(void)disk;
	*written_out = 0;
	do
		written = pwritev(file, vectors, vector_count, (off_t)offset);
	while (written < 0 && errno == EINTR);
	if (written < 0)
		return errno;
	*written_out = (size_t)written;
	return 0;
}

static void
posix_begin_sync(struct box_disk *disk, int file)
{
	(void)disk;
	/* A file system that cannot do it writes everything when it is synced. */
	(void)sync_file_range(file, 0, 0, SYNC_FILE_RANGE_WRITE);
}

static int
posix_sync(struct box_disk *disk, int file, enum box_sync how)
{
	(void)disk;
	return (how == BOX_SYNC_DATA ? fdatasync(file) : fsync(file)) < 0 ? errno : 0;
}

static int
posix_sync_dir(struct box_disk *disk, int dir)
{
	(void)disk;
	return fsync(dir) < 0 ? errno : 0;
}

static int
posix_truncate(struct box_disk *disk, int file, uint64_t size)
{
	(void)disk;
	return ftruncate(file, (off_t)size) < 0 ? errno : 0;
}

/*
 * A lock of the open file description: it meets the classic fcntl locks of other programs, and
 * it is ours alone, while a classic one would be lost when any other part of this process closed
 * the same file.
 */
static int
posix_lock(struct box_disk *disk, int file)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	(void)disk;
	if (fcntl(file, F_OFD_SETLK, &lock) == 0)
		return 0;
	return errno == EACCES ? EAGAIN : errno;
}

static int
posix_link(struct box_disk *disk, int dir, const char *from, int to_dir, const char *to)
{
	(void)disk;
	return linkat(dir, from, to_dir, to, 0) < 0 ? errno : 0;
}

static int
posix_rename(struct box_disk *disk, int dir, const char *from, int to_dir, const char *to)
{
	(void)disk;
	return renameat(dir, from, to_dir, to) < 0 ? errno : 0;
}

static int
posix_remove(struct box_disk *disk, int dir, const char *name)
{
	(void)disk;
	return unlinkat(dir, name, 0) < 0 ? errno : 0;
}

static int
posix_list(struct box_disk *disk, int dir, void (*each)(void *ctx, const char *name), void *ctx)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *stream = fd < 0 ? NULL : fdopendir(fd);
	int result = 0;

	(void)disk;
	if (stream == NULL) {
		result = errno;
		if (fd >= 0)
			(void)close(fd);
		return result;
	}
	for (;;) {
		errno = 0;

		const struct dirent *entry = readdir(stream);

		if (entry == NULL) {
			result = errno;
			break;
		}
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			each(ctx, entry->d_name);
	}
	(void)closedir(stream);
	return result;
}

struct box_disk *
box_disk_posix(void)
{
	static const struct box_disk_ops ops = {
		.open_dir = posix_open_dir,
		.make_dir = posix_make_dir,
		.open_dir_at = posix_open_dir_at,
		.open = posix_open,
		.close = posix_close,
		.stat = posix_stat,
		.stat_at = posix_stat_at,
		.read = posix_read,
		.write = posix_write,
		.begin_sync = posix_begin_sync,
		.sync = posix_sync,
		.sync_dir = posix_sync_dir,
		.truncate = posix_truncate,
		.lock = posix_lock,
		.link = posix_link,
		.rename = posix_rename,
		.remove = posix_remove,
		.list = posix_list,
	};
	static struct box_disk disk = { .ops = &ops };

	return &disk;
}

int
box_disk_fail(int error, const char *what, const char *name, struct err *err)
{
	must(error > 0);
	errno = error;
	return err_set_errno(err, "%s: %s", name, what);
}

int
box_disk_read_all(struct box_disk *disk, int file, void *data, size_t size, uint64_t offset,
		  struct err *err)
{
	size_t done = 0;

	while (done < size) {
		size_t got;
		int error = disk->ops->read(disk, file, (char *)data + done, size - done,
					    offset + done, &got);

		if (error != 0)
			return box_disk_fail(error, "reading", "mailbox", err);
		if (got == 0)
			return err_set(err, ERR_DAMAGED, "the mailbox ends before its size");
		done += got;
	}
	return 0;
}

int
box_disk_write_all(struct box_disk *disk, int file, struct iovec *vectors, int vector_count,
		   uint64_t offset, uint64_t *written_out, struct err *err)
{
	while (vector_count > 0) {
		size_t written;
		int error = disk->ops->write(disk, file, vectors, vector_count, offset, &written);

		if (error != 0)
			return box_disk_fail(error, "writing", "mailbox", err);
		*written_out += written;
		offset += written;
		if (written == 0 && vectors->iov_len > 0)
			return err_set(err, ERR_SYSTEM, "mailbox: writing makes no progress");
		while (vector_count > 0 && written >= vectors->iov_len) {
			written -= vectors->iov_len;
			vectors++;
			vector_count--;
		}
		if (written > 0) {
			vectors->iov_base = (char *)vectors->iov_base + written;
			vectors->iov_len -= written;
		}
	}
	return 0;
}

bool
box_disk_err_is_full(const struct err *err)
{
	return err_is_errno(err, ENOSPC) || err_is_errno(err, EDQUOT) || err_is_errno(err, EFBIG);
}
