#include "relay/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/mem.h"

#define READ_BYTES ((size_t)64 << 10)

int
file_open_at(int dir_fd, const char *name, int flags, mode_t mode, struct err *err)
{
	int fd;

	do
		fd = openat(dir_fd, name, flags | O_CLOEXEC | O_NOCTTY, mode);
	while (fd < 0 && errno == EINTR);
	if (fd < 0)
		return err_set_errno(err, "%s", name);
	return fd;
}

int
file_open_read(const char *path, struct err *err)
{
	return file_open_at(AT_FDCWD, path, O_RDONLY, 0, err);
}

int
file_create_at(int dir_fd, const char *name, struct err *err)
{
	int fd = file_open_at(dir_fd, name, O_WRONLY | O_CREAT | O_EXCL, 0600, err);

	if (fd < 0 && errno == EEXIST)
		return err_set(err, ERR_EXISTS, "%s: exists already", name);
	return fd;
}

int
file_open_dir(const char *path, struct err *err)
{
	return file_open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0, err);
}

void
file_close(int *fd)
{
	/* Nothing to do about a failure here; who must know calls the other one. */
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

int
file_close_checked(int *fd, struct err *err)
{
	int result = *fd >= 0 ? close(*fd) : 0;

	*fd = -1;
	/* The descriptor is gone after EINTR as well, on Linux. */
	if (result < 0 && errno != EINTR)
		return err_set_errno(err, "close");
	return 0;
}

int
file_write_all(int fd, struct span bytes, struct err *err)
{
	while (bytes.len > 0) {
		ssize_t done = write(fd, bytes.data, bytes.len);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return err_set_errno(err, "write");
		bytes = span_skip(bytes, (size_t)done);
	}
	return 0;
}

int
file_write_all_at(int fd, struct span bytes, uint64_t offset, struct err *err)
{
	while (bytes.len > 0) {
		ssize_t done = pwrite(fd, bytes.data, bytes.len, (off_t)offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return err_set_errno(err, "write");
		bytes = span_skip(bytes, (size_t)done);
		offset += (uint64_t)done;
	}
	return 0;
}

int
file_read_all_at(int fd, void *data, size_t size, uint64_t offset, struct err *err)
{
	char *at = data;

	while (size > 0) {
		ssize_t got = pread(fd, at, size, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_set_errno(err, "read");
		if (got == 0)
			return err_set(err, ERR_CLOSED, "the file ends too early");
		at += got;
		size -= (size_t)got;
		offset += (uint64_t)got;
	}
	return 0;
}

int
file_read_whole_fd(int fd, struct buf *out, struct err *err)
{
	for (;;) {
		size_t room;
		char beyond;
		char *at = buf_reserve(out, READ_BYTES, &room);
		ssize_t got = read(fd, at ? at : &beyond, at ? room : 1);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return err_set_errno(err, "read");
		if (got == 0)
			return 0;
		if (!at)
			return err_set(err, ERR_LIMIT, "longer than the %zu bytes allowed",
			    out->bytes_max);
		buf_commit(out, (size_t)got);
	}
}

int
file_read_whole(const char *path, struct buf *out, struct err *err)
{
	int fd = file_open_read(path, err);

	if (fd < 0)
		return -1;

	int result = file_read_whole_fd(fd, out, err);

	if (result < 0)
		err_wrap(err, "%s", path);
	file_close(&fd);
	return result;
}

int
file_read_whole_private(const char *path, struct buf *out, struct err *err)
{
	struct stat status;
	int fd = file_open_read(path, err);
	int result;

	if (fd < 0)
		return -1;
	if (fstat(fd, &status) < 0)
		result = err_set_errno(err, "%s", path);
	else if ((status.st_mode & S_IRWXO) != 0)
		result = err_set(err, ERR_CONFIG, "%s: everybody may touch this file (mode %03o): "
		    "chmod o= it", path, (unsigned)(status.st_mode & 0777));
	else if ((result = file_read_whole_fd(fd, out, err)) < 0)
		err_wrap(err, "%s", path);
	file_close(&fd);
	return result;
}

int
file_sync(int fd, struct err *err)
{
	if (fsync(fd) < 0)
		return err_set_errno(err, "sync");
	return 0;
}

int
file_sync_data(int fd, struct err *err)
{
	if (fdatasync(fd) < 0)
		return err_set_errno(err, "sync");
	return 0;
}

int
file_truncate(int fd, uint64_t size, struct err *err)
{
	int result;

	do
		result = ftruncate(fd, (off_t)size);
	while (result < 0 && errno == EINTR);
	return result < 0 ? err_set_errno(err, "truncate") : 0;
}

int
file_size(int fd, uint64_t *size_out, struct err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_set_errno(err, "stat");
	*size_out = (uint64_t)st.st_size;
	return 0;
}

int
file_rename_at(int from_fd, const char *from, int to_fd, const char *to, struct err *err)
{
	if (renameat(from_fd, from, to_fd, to) < 0)
		return err_set_errno(err, "rename %s to %s", from, to);
	return 0;
}

int
file_link_at(int from_fd, const char *from, int to_fd, const char *to, struct err *err)
{
	if (linkat(from_fd, from, to_fd, to, 0) == 0)
		return 0;
	if (errno == EEXIST)
		return err_set(err, ERR_EXISTS, "%s: exists already", to);
	return err_set_errno(err, "link %s to %s", from, to);
}

int
file_remove_at(int dir_fd, const char *name, struct err *err)
{
	if (unlinkat(dir_fd, name, 0) < 0 && errno != ENOENT)
		return err_set_errno(err, "remove %s", name);
	return 0;
}

int
file_make_dir_at(int dir_fd, const char *name, mode_t mode, struct err *err)
{
	struct stat st;

	if (mkdirat(dir_fd, name, mode) == 0)
		return 0;
	if (errno != EEXIST)
		return err_set_errno(err, "%s", name);
	if (fstatat(dir_fd, name, &st, 0) < 0)
		return err_set_errno(err, "%s", name);
	if (!S_ISDIR(st.st_mode))
		return err_set(err, ERR_EXISTS, "%s: is no directory", name);
	return 0;
}

bool
file_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

int
file_replace_at(int dir_fd, const char *name, struct span content, mode_t mode, struct err *err)
{
	char *new_name = mem_format("%s.new.%ld", name, (long)getpid());
	int result = -1;
	int fd = file_open_at(dir_fd, new_name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode,
	    err);

	if (fd < 0)
		goto out;
	if (file_write_all(fd, content, err) == 0 && file_sync(fd, err) == 0 &&
	    file_close_checked(&fd, err) == 0 &&
	    file_rename_at(dir_fd, new_name, dir_fd, name, err) == 0)
		result = 0;
	else
		(void)unlinkat(dir_fd, new_name, 0);    /* the failure before it counts */
	file_close(&fd);
	if (result == 0 && dir_fd != AT_FDCWD)
		result = file_sync(dir_fd, err);
out:
	if (result < 0)
		err_wrap(err, "%s", name);
	mem_free(&new_name);
	return result;
}

int
file_list(int dir_fd, file_visit *visit, void *ctx, struct err *err)
{
	/* A descriptor of its own: closedir() closes it, and the position is private. */
	int own_fd = file_open_at(dir_fd, ".", O_RDONLY | O_DIRECTORY, 0, err);
	int result = 0;

	if (own_fd < 0)
		return -1;

	DIR *dir = fdopendir(own_fd);

	if (!dir) {
		err_set_errno(err, "list a directory");
		file_close(&own_fd);
		return -1;
	}
	for (;;) {
		errno = 0;

		struct dirent *entry = readdir(dir);

		if (!entry) {
			if (errno != 0)
				result = err_set_errno(err, "list a directory");
			break;
		}
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		result = visit(ctx, entry->d_name, err);
		if (result < 0)
			break;
	}
	(void)closedir(dir);                    /* it was only read */
	return result;
}

int
file_lock(int fd, struct err *err)
{
	if (flock(fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return err_set(err, ERR_BUSY, "another process has the lock");
	return err_set_errno(err, "lock");
}

char *
file_path_beside(const char *base, const char *path)
{
	const char *slash = strrchr(base, '/');

	if (path[0] == '/' || !slash)
		return mem_dup_cstr(path);
	return mem_format("%.*s/%s", (int)(slash - base), base, path);
}
