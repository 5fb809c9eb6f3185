#include "queue/disk.h"

#include <errno.h>
#include <limits.h>

enum {
	VECTORS_A_CALL_MAX = IOV_MAX,
	INTERRUPTS_MAX = 100,           /* in a row; more is a disk that does not work */
};

static int
fail(struct disk *disk, int error, const char *what, const char *name, struct err *err)
{
	errno = error;
	return err_set_errno(err, "%s: %s%s%s", disk->place, what, name[0] ? " " : "", name);
}

int
disk_open(struct disk *disk, const char *name, enum disk_open how, int *file_out, struct err *err)
{
	int error = disk->ops->open(disk, name, how, file_out);

	return error ? fail(disk, error, how == DISK_OPEN_CREATE ? "create" : "open", name, err)
	    : 0;
}

void
disk_close(struct disk *disk, int *file)
{
	if (*file < 0)
		return;
	(void)disk->ops->close(disk, *file);    /* what had to be durable was synced before */
	*file = -1;
}

int
disk_size(struct disk *disk, int file, uint64_t *size_out, struct err *err)
{
	int error = disk->ops->size(disk, file, size_out);

	return error ? fail(disk, error, "size", "", err) : 0;
}

int
disk_read(struct disk *disk, int file, void *data, size_t size, uint64_t offset, size_t *got_out,
    struct err *err)
{
	int interrupt_count = 0;

	*got_out = 0;
	while (*got_out < size) {
		size_t got = 0;
		int error = disk->ops->read(disk, file, (char *)data + *got_out, size - *got_out,
		    offset + *got_out, &got);

		if (error == EINTR && ++interrupt_count <= INTERRUPTS_MAX)
			continue;
		if (error)
			return fail(disk, error, "read", "", err);
		interrupt_count = 0;
		if (got == 0)
			return 0;
		*got_out += got;
	}
	return 0;
}

int
disk_read_all(struct disk *disk, int file, void *data, size_t size, uint64_t offset,
    struct err *err)
{
	size_t got;

	if (disk_read(disk, file, data, size, offset, &got, err) < 0)
		return -1;
	if (got < size)
		return err_set(err, ERR_DAMAGED, "%s: file ends at %llu, wanted %zu more octets",
		    disk->place, (unsigned long long)(offset + got), size - got);
	return 0;
}

/* Takes `bytes` off the front; returns how many vectors are used up. */
static int
vectors_skip(struct iovec *vectors, int vector_count, size_t bytes)
{
	int at = 0;

	while (at < vector_count && bytes >= vectors[at].iov_len)
		bytes -= vectors[at++].iov_len;
	if (at < vector_count && bytes > 0) {
		vectors[at].iov_base = (char *)vectors[at].iov_base + bytes;
		vectors[at].iov_len -= bytes;
	}
	return at;
}

static size_t
vectors_bytes(const struct iovec *vectors, int vector_count)
{
	size_t bytes = 0;

	for (int i = 0; i < vector_count; i++)
		bytes += vectors[i].iov_len;
	return bytes;
}

/*
 * A synced write vouches for its own bytes only.  As soon as one call cannot
 * take everything the calls are plain and one sync follows them all.
 */
int
disk_write(struct disk *disk, int file, struct iovec *vectors, int vector_count, uint64_t offset,
    enum disk_write how, struct err *err)
{
	bool in_one = vector_count <= VECTORS_A_CALL_MAX;
	enum disk_write call_how = in_one ? how : DISK_WRITE_PLAIN;
	size_t left = vectors_bytes(vectors, vector_count);
	int interrupt_count = 0;

	while (left > 0) {
		int count = vector_count < VECTORS_A_CALL_MAX ? vector_count : VECTORS_A_CALL_MAX;
		size_t written = 0;
		int error = disk->ops->write(disk, file, vectors, count, offset, call_how,
		    &written);

		if (error == EINTR && ++interrupt_count <= INTERRUPTS_MAX)
			continue;
		if (error)
			return fail(disk, error, "write", "", err);
		interrupt_count = 0;
		if (written == 0)
			return fail(disk, EIO, "write of nothing", "", err);
		if (written < left) {
			call_how = DISK_WRITE_PLAIN;
			in_one = false;
		}
		int used = vectors_skip(vectors, vector_count, written);

		vectors += used;
		vector_count -= used;
		offset += written;
		left -= written;
	}
	if (how == DISK_WRITE_SYNC && !in_one)
		return disk_sync(disk, file, err);
	return 0;
}

int
disk_sync(struct disk *disk, int file, struct err *err)
{
	int error = disk->ops->sync(disk, file);

	return error ? fail(disk, error, "sync", "", err) : 0;
}

int
disk_sync_dir(struct disk *disk, struct err *err)
{
	int error = disk->ops->sync_dir(disk);

	return error ? fail(disk, error, "sync of the directory", "", err) : 0;
}

int
disk_rename(struct disk *disk, const char *from, const char *to, struct err *err)
{
	int error = disk->ops->rename(disk, from, to);

	return error ? fail(disk, error, "rename to", to, err) : 0;
}

int
disk_remove(struct disk *disk, const char *name, struct err *err)
{
	int error = disk->ops->remove(disk, name);

	return error ? fail(disk, error, "remove", name, err) : 0;
}

int
disk_space(struct disk *disk, uint64_t *free_out, uint64_t *total_out, struct err *err)
{
	int error = disk->ops->space(disk, free_out, total_out);

	return error ? fail(disk, error, "free space", "", err) : 0;
}

bool
disk_err_is_full(const struct err *err)
{
	return err_is_errno(err, ENOSPC) || err_is_errno(err, EDQUOT) || err_is_errno(err, EFBIG);
}
