#include "tests/iofault/fault_disk.h"

#include <errno.h>

#include "relay/base/container_of.h"
#include "relay/base/must.h"

enum { CALLS_ENDLESS = 1000 * 1000 };

const char *
fault_call_name(enum fault_call call)
{
	static const char *const names[] = {
		[CALL_OPEN] = "open", [CALL_OPEN_TO_WRITE] = "open to write",
		[CALL_CREATE] = "create", [CALL_CLOSE] = "close", [CALL_SIZE] = "size",
		[CALL_READ] = "read", [CALL_WRITE] = "write", [CALL_SYNC] = "sync",
		[CALL_RENAME] = "rename", [CALL_REMOVE] = "remove",
		[CALL_SYNC_DIR] = "sync of the directory", [CALL_LIST] = "list",
		[CALL_SPACE] = "free space", [CALL_LOCK] = "lock", [CALL_KIND] = "kind",
	};

	return names[call];
}

static bool
call_changes(enum fault_call call)
{
	return call == CALL_CREATE || call == CALL_WRITE || call == CALL_SYNC ||
	    call == CALL_RENAME || call == CALL_REMOVE || call == CALL_SYNC_DIR;
}

bool
fault_can_hit(int error, enum fault_call call)
{
	switch (error) {
	case FAULT_SHORT:
		return call == CALL_READ || call == CALL_WRITE;
	case ENOSPC:
	case EDQUOT:
		return call_changes(call) && call != CALL_REMOVE;
	case EROFS:
		return call_changes(call) || call == CALL_OPEN_TO_WRITE || call == CALL_LOCK;
	default:
		return true;
	}
}

static struct fault_disk *
fault_of(struct disk *disk)
{
	return container_of(disk, struct fault_disk, disk);
}

/* The error of this call, or 0. */
static int
strike(struct fault_disk *it, enum fault_call call)
{
	const struct fault *fault = &it->fault;

	if (it->is_off)
		return 0;
	/* Each wait of the code is bounded, or this stops it. */
	must(it->call_count < CALLS_ENDLESS);
	if (it->call_count < FAULT_CALLS_MAX)
		it->calls[it->call_count] = (uint8_t)call;
	it->call_count++;
	if (fault->first == 0 || it->call_count < fault->first ||
	    (it->call_count > fault->first && !fault->for_ever) ||
	    !fault_can_hit(fault->error, call))
		return 0;
	it->failed_count++;
	return fault->error;
}

/* A call that has nothing to give back: whether it shall be made, though it fails. */
static bool
is_made(const struct fault_disk *it, int error)
{
	return !error || it->fault.is_half_done;
}

static int
fault_open(struct disk *disk, const char *name, enum disk_open how, int *file_out)
{
	struct fault_disk *it = fault_of(disk);
	int error = strike(it, how == DISK_OPEN_CREATE ? CALL_CREATE :
	    how == DISK_OPEN_WRITE ? CALL_OPEN_TO_WRITE : CALL_OPEN);
	int file;

	if (!is_made(it, error))
		return error;
	int result = it->under->ops->open(it->under, name, how, &file);

	if (error && result == 0)
		(void)it->under->ops->close(it->under, file);
	else
		*file_out = file;
	return error ? error : result;
}

/* The file is closed whatever close says. */
static int
fault_close(struct disk *disk, int file)
{
	struct fault_disk *it = fault_of(disk);
	int error = strike(it, CALL_CLOSE);
	int result = it->under->ops->close(it->under, file);

	return error ? error : result;
}

static int
fault_size(struct disk *disk, int file, uint64_t *size_out)
{
	struct fault_disk *it = fault_of(disk);
	int error = strike(it, CALL_SIZE);

	return error ? error : it->under->ops->size(it->under, file, size_out);
}

static int
fault_read(struct disk *disk, int file, void *data, size_t size, uint64_t offset, size_t *got_out)
{
	struct fault_disk *it = fault_of(disk);
	int error = strike(it, CALL_READ);

	if (error == FAULT_SHORT)
		size = (size + 1) / 2;
	else if (error)
		return error;
	return it->under->ops->read(it->under, file, data, size, offset, got_out);
}

/* The first half of it, at least one octet. */
static int
write_half(struct disk *under, int file, const struct iovec *vectors, int vector_count,
    uint64_t offset, size_t *written_out)
{
	size_t all = 0;
	int result = 0;

	for (int i = 0; i < vector_count; i++)
		all += vectors[i].iov_len;
	size_t left = (all + 1) / 2;

	*written_out = 0;
	for (int i = 0; i < vector_count && left > 0 && result == 0; i++) {
		struct iovec part = vectors[i];
		size_t written = 0;

		if (part.iov_len > left)
			part.iov_len = left;
		result = under->ops->write(under, file, &part, 1, offset + *written_out,
		    DISK_WRITE_PLAIN, &written);
		*written_out += written;
		left -= part.iov_len;
	}
	return result;
}

static int
fault_write(struct disk *disk, int file, const struct iovec *vectors, int vector_count,
    uint64_t offset, enum disk_write how, size_t *written_out)
{
	struct fault_disk *it = fault_of(disk);
	int error = strike(it, CALL_WRITE);

	if (!error)
		return it->under->ops->write(it->under, file, vectors, vector_count, offset, how,
		    written_out);
	int result = is_made(it, error) || error == FAULT_SHORT ?
	    write_half(it->under, file, vectors, vector_count, offset, written_out) : 0;

	return error == FAULT_SHORT ? result : error;
}

static int
fault_sync(struct disk *disk, int file)
{
	struct fault_disk *it = fault_of(disk);
	int error = strike(it, CALL_SYNC);

	return error ? error : it->under->ops->sync(it->under, file);
}

static int
fault_rename(struct disk *disk, const char *from, const char *to)
{
	struct fault_disk *it = fault_of(disk);
	int error = strike(it, CALL_RENAME);
	int result = is_made(it, error) ? it->under->ops->rename(it->under, from, to) : 0;

	return error ? error : result;
}

static int
fault_remove(struct disk *disk, const char *name)
{
	struct fault_disk *it = fault_of(disk);
	int error = strike(it, CALL_REMOVE);
	int result = is_made(it, error) ? it->under->ops->remove(it->under, name) : 0;

	return error ? error : result;
}

static int
fault_sync_dir(struct disk *disk)
{
	struct fault_disk *it = fault_of(disk);
	int error = strike(it, CALL_SYNC_DIR);

	return error ? error : it->under->ops->sync_dir(it->under);
}

static int
fault_list(struct disk *disk, void (*each)(void *ctx, const char *name), void *ctx)
{
	struct fault_disk *it = fault_of(disk);
	int error = strike(it, CALL_LIST);
	int result = is_made(it, error) ? it->under->ops->list(it->under, each, ctx) : 0;

	return error ? error : result;
}

static int
fault_space(struct disk *disk, uint64_t *free_out, uint64_t *total_out)
{
	struct fault_disk *it = fault_of(disk);
	int error = strike(it, CALL_SPACE);

	return error ? error : it->under->ops->space(it->under, free_out, total_out);
}

static int
fault_lock(struct disk *disk, const char *name, int *lock_out)
{
	struct fault_disk *it = fault_of(disk);
	int error = strike(it, CALL_LOCK);

	return error ? error : it->under->ops->lock(it->under, name, lock_out);
}

static int
fault_unlock(struct disk *disk, int lock)
{
	struct fault_disk *it = fault_of(disk);

	return it->under->ops->unlock(it->under, lock);
}

static int
fault_kind(struct disk *disk, enum disk_kind *kind_out)
{
	struct fault_disk *it = fault_of(disk);
	int error = strike(it, CALL_KIND);

	return error ? error : it->under->ops->kind(it->under, kind_out);
}

static void
fault_read_ahead(struct disk *disk, int file, uint64_t offset, uint64_t size)
{
	struct fault_disk *it = fault_of(disk);

	it->under->ops->read_ahead(it->under, file, offset, size);
}

static const struct disk_ops fault_ops = {
	.open = fault_open,
	.close = fault_close,
	.size = fault_size,
	.read = fault_read,
	.write = fault_write,
	.sync = fault_sync,
	.rename = fault_rename,
	.remove = fault_remove,
	.sync_dir = fault_sync_dir,
	.list = fault_list,
	.space = fault_space,
	.lock = fault_lock,
	.unlock = fault_unlock,
	.kind = fault_kind,
	.read_ahead = fault_read_ahead,
};

void
fault_disk_init(struct fault_disk *disk, struct disk *under, const struct fault *fault)
{
	*disk = (struct fault_disk){
		.disk = { .ops = &fault_ops, .place = under->place },
		.under = under,
		.fault = *fault,
	};
}
