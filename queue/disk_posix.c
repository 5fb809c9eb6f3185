#include "queue/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "relay/base/container_of.h"
#include "relay/base/mem.h"

/* The only file of this room that makes system calls.  A file is a descriptor. */
struct disk_posix {
	struct disk disk;
	int directory;
	char *place;
};

static int
directory_of(struct disk *disk)
{
	return container_of(disk, struct disk_posix, disk)->directory;
}

static bool
name_is_plain(const char *name)
{
	return name[0] != '\0' && name[0] != '.' && !strchr(name, '/') &&
	    strlen(name) < DISK_NAME_BYTES_MAX;
}

static int
posix_open(struct disk *disk, const char *name, enum disk_open how, int *file_out)
{
	int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;

	if (!name_is_plain(name))
		return EINVAL;
	switch (how) {
	case DISK_OPEN_READ:
		flags |= O_RDONLY;
		break;
	case DISK_OPEN_WRITE:
		flags |= O_RDWR;
		break;
	case DISK_OPEN_CREATE:
		flags |= O_RDWR | O_CREAT | O_EXCL;
		break;
	}
	int fd = openat(directory_of(disk), name, flags, 0600);
	struct stat status;

	if (fd < 0)
		return errno;
	/* No devices, no FIFOs, and nothing that has another name somewhere else: EPERM. */
	int error = fstat(fd, &status) < 0 ? errno : 0;

	if (!error && (!S_ISREG(status.st_mode) || status.st_nlink != 1))
		error = EPERM;
	if (error) {
		(void)close(fd);
		return error;
	}
	*file_out = fd;
	return 0;
}

static int
posix_close(struct disk *disk, int file)
{
	(void)disk;
	return close(file) < 0 ? errno : 0;
}

static int
posix_size(struct disk *disk, int file, uint64_t *size_out)
{
	struct stat status;

	(void)disk;
	if (fstat(file, &status) < 0)
		return errno;
	*size_out = (uint64_t)status.st_size;
	return 0;
}

static int
posix_read(struct disk *disk, int file, void *data, size_t size, uint64_t offset, size_t *got_out)
{
	ssize_t got = pread(file, data, size, (off_t)offset);

	(void)disk;
	if (got < 0)
		return errno;
	*got_out = (size_t)got;
	return 0;
}

static int
posix_write(struct disk *disk, int file, const struct iovec *vectors, int vector_count,
    uint64_t offset, enum disk_write how, size_t *written_out)
{
	int flags = how == DISK_WRITE_SYNC ? RWF_DSYNC : 0;
	ssize_t written = pwritev2(file, vectors, vector_count, (off_t)offset, flags);

	(void)disk;
	if (written < 0 && errno == EOPNOTSUPP && flags) {
		written = pwritev(file, vectors, vector_count, (off_t)offset);
		if (written >= 0 && fdatasync(file) < 0)
			return errno;
	}
	if (written < 0)
		return errno;
	*written_out = (size_t)written;
	return 0;
}

static int
posix_sync(struct disk *disk, int file)
{
	(void)disk;
	return fdatasync(file) < 0 ? errno : 0;
}

static int
posix_rename(struct disk *disk, const char *from, const char *to)
{
	int directory = directory_of(disk);

	if (!name_is_plain(from) || !name_is_plain(to))
		return EINVAL;
	return renameat(directory, from, directory, to) < 0 ? errno : 0;
}

static int
posix_remove(struct disk *disk, const char *name)
{
	if (!name_is_plain(name))
		return EINVAL;
	return unlinkat(directory_of(disk), name, 0) < 0 ? errno : 0;
}

static int
posix_sync_dir(struct disk *disk)
{
	return fsync(directory_of(disk)) < 0 ? errno : 0;
}

static int
posix_list(struct disk *disk, void (*each)(void *ctx, const char *name), void *ctx)
{
	int fd = openat(directory_of(disk), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd < 0 ? NULL : fdopendir(fd);

	if (!directory) {
		int error = errno;

		if (fd >= 0)
			(void)close(fd);
		return error;
	}
	for (;;) {
		errno = 0;
		const struct dirent *entry = readdir(directory);

		if (!entry)
			break;
		if (name_is_plain(entry->d_name))
			each(ctx, entry->d_name);
	}
	int error = errno;

	(void)closedir(directory);
	return error;
}

static int
posix_space(struct disk *disk, uint64_t *free_out, uint64_t *total_out)
{
	struct statvfs status;

	if (fstatvfs(directory_of(disk), &status) < 0)
		return errno;
	*free_out = (uint64_t)status.f_bavail * status.f_frsize;
	*total_out = (uint64_t)status.f_blocks * status.f_frsize;
	return 0;
}

static int
posix_lock(struct disk *disk, const char *name, int *lock_out)
{
	int fd = openat(directory_of(disk), name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return errno;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int error = errno;

		(void)close(fd);
		return error;
	}
	*lock_out = fd;
	return 0;
}

static int
posix_unlock(struct disk *disk, int lock)
{
	(void)disk;
	return close(lock) < 0 ? errno : 0;
}

static int
posix_kind(struct disk *disk, enum disk_kind *kind_out)
{
	struct statfs status;

	if (fstatfs(directory_of(disk), &status) < 0)
		return errno;
	switch ((unsigned long)status.f_type) {
	case TMPFS_MAGIC:
	case RAMFS_MAGIC:
		*kind_out = DISK_KIND_TMPFS;
		break;
	case OVERLAYFS_SUPER_MAGIC:
		*kind_out = DISK_KIND_OVERLAY;
		break;
	default:
		*kind_out = DISK_KIND_STABLE;
		break;
	}
	return 0;
}

static void
posix_read_ahead(struct disk *disk, int file, uint64_t offset, uint64_t size)
{
	(void)disk;
	(void)posix_fadvise(file, (off_t)offset, (off_t)size, POSIX_FADV_WILLNEED);
}

static const struct disk_ops posix_ops = {
	.open = posix_open,
	.close = posix_close,
	.size = posix_size,
	.read = posix_read,
	.write = posix_write,
	.sync = posix_sync,
	.rename = posix_rename,
	.remove = posix_remove,
	.sync_dir = posix_sync_dir,
	.list = posix_list,
	.space = posix_space,
	.lock = posix_lock,
	.unlock = posix_unlock,
	.kind = posix_kind,
	.read_ahead = posix_read_ahead,
};

/* A new directory is there after a crash only when its parent was synced. */
static int
make_directory(const char *path, struct err *err)
{
	if (mkdir(path, 0700) < 0)
		return errno == EEXIST ? 0 : err_set_errno(err, "%s", path);
	char *parent = mem_format("%s/..", path);
	int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int result = 0;

	if (fd < 0 || fsync(fd) < 0)
		result = err_set_errno(err, "%s", parent);
	if (fd >= 0)
		(void)close(fd);
	mem_free(&parent);
	return result;
}

static int
check_directory(int fd, const char *path, struct err *err)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return err_set_errno(err, "%s", path);
	if (status.st_uid != geteuid())
		return err_set(err, ERR_DENIED, "%s: belongs to uid %u, we are %u", path,
		    (unsigned int)status.st_uid, (unsigned int)geteuid());
	if (status.st_mode & (S_IWGRP | S_IWOTH))
		return err_set(err, ERR_DENIED, "%s: others may write into it (mode %04o)", path,
		    (unsigned int)(status.st_mode & 07777));
	return 0;
}

struct disk *
disk_posix_open(const char *directory, struct err *err)
{
	if (make_directory(directory, err) < 0)
		return NULL;
	int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0) {
		(void)err_set_errno(err, "%s", directory);
		return NULL;
	}
	if (check_directory(fd, directory, err) < 0) {
		(void)close(fd);
		return NULL;
	}
	struct disk_posix *posix = mem_alloc(sizeof(*posix));

	posix->place = mem_dup_cstr(directory);
	posix->directory = fd;
	posix->disk = (struct disk){ .ops = &posix_ops, .place = posix->place };
	return &posix->disk;
}

void
disk_posix_close(struct disk **disk)
{
	if (!*disk)
		return;
	struct disk_posix *posix = container_of(*disk, struct disk_posix, disk);

	(void)close(posix->directory);
	mem_free(&posix->place);
	mem_free(&posix);
	*disk = NULL;
}
