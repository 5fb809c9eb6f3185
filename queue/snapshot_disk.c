#include "queue/snapshot_disk.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "relay/base/container_of.h"
#include "relay/base/mem.h"

/* Octets that were written; a later one hides an earlier one. */
struct written {
	uint64_t offset;
	size_t size;
	char *data;
};

struct shadow {
	char *name;                     /* NULL: removed */
	int below;                      /* open for reading, or -1: made here */
	uint64_t size;
	struct written *written;
	size_t written_count;
};

struct snapshot {
	struct disk disk;
	struct disk *below;
	pthread_mutex_t lock;
	struct shadow **shadows;        /* a file is its place here */
	size_t shadow_count;
};

static struct snapshot *
take(struct disk *disk)
{
	struct snapshot *snapshot = container_of(disk, struct snapshot, disk);

	(void)pthread_mutex_lock(&snapshot->lock);
	return snapshot;
}

static int
leave(struct snapshot *snapshot, int error)
{
	(void)pthread_mutex_unlock(&snapshot->lock);
	return error;
}

static int
find(const struct snapshot *snapshot, const char *name)
{
	for (size_t i = 0; i < snapshot->shadow_count; i++) {
		const char *other = snapshot->shadows[i]->name;

		if (other && strcmp(other, name) == 0)
			return (int)i;
	}
	return -1;
}

static int
add(struct snapshot *snapshot, const char *name, int below, uint64_t size)
{
	struct shadow *shadow = mem_alloc(sizeof(*shadow));

	*shadow = (struct shadow){ .name = mem_dup_cstr(name), .below = below, .size = size };
	snapshot->shadows = mem_resize_array(snapshot->shadows, snapshot->shadow_count + 1,
	    sizeof(snapshot->shadows[0]));
	snapshot->shadows[snapshot->shadow_count] = shadow;
	return (int)snapshot->shadow_count++;
}

static int
open_file(struct snapshot *snapshot, const char *name, enum disk_open how, int *file_out)
{
	struct disk *below = snapshot->below;
	int at = find(snapshot, name);
	uint64_t size;
	int file;

	if (at < 0 && how == DISK_OPEN_CREATE)
		at = add(snapshot, name, -1, 0);
	else if (how == DISK_OPEN_CREATE)
		return EEXIST;
	if (at < 0)
		return ENOENT;
	struct shadow *shadow = snapshot->shadows[at];

	/* Known by its name only: now it is wanted. */
	if (shadow->below == -2) {
		int error = below->ops->open(below, name, DISK_OPEN_READ, &file);

		if (error == 0 && (error = below->ops->size(below, file, &size)) != 0)
			(void)below->ops->close(below, file);
		if (error)
			return error;
		shadow->below = file;
		shadow->size = size;
	}
	*file_out = at;
	return 0;
}

static int
snapshot_open(struct disk *disk, const char *name, enum disk_open how, int *file_out)
{
	struct snapshot *snapshot = take(disk);

	return leave(snapshot, open_file(snapshot, name, how, file_out));
}

/* Files stay open below until the end. */
static int
snapshot_close(struct disk *disk, int file)
{
	(void)disk;
	(void)file;
	return 0;
}

static int
snapshot_size(struct disk *disk, int file, uint64_t *size_out)
{
	struct snapshot *snapshot = take(disk);

	*size_out = snapshot->shadows[file]->size;
	return leave(snapshot, 0);
}

static void
lay_over(const struct written *written, char *data, size_t size, uint64_t offset)
{
	uint64_t from = written->offset > offset ? written->offset : offset;
	uint64_t written_end = written->offset + written->size, end = offset + size;
	uint64_t to = written_end < end ? written_end : end;

	if (from < to)
		memcpy(data + (from - offset), written->data + (from - written->offset),
		    (size_t)(to - from));
}

static int
read_file(struct snapshot *snapshot, const struct shadow *shadow, void *data, size_t size,
    uint64_t offset, size_t *got_out)
{
	struct disk *below = snapshot->below;
	size_t got = 0;

	if (offset >= shadow->size)
		size = 0;
	else if (size > shadow->size - offset)
		size = (size_t)(shadow->size - offset);
	memset(data, 0, size);
	while (shadow->below >= 0 && got < size) {
		size_t step = 0;
		int error = below->ops->read(below, shadow->below, (char *)data + got, size - got,
		    offset + got, &step);

		if (error)
			return error;
		if (step == 0)
			break;
		got += step;
	}
	for (size_t i = 0; i < shadow->written_count; i++)
		lay_over(&shadow->written[i], data, size, offset);
	*got_out = size;
	return 0;
}

static int
snapshot_read(struct disk *disk, int file, void *data, size_t size, uint64_t offset,
    size_t *got_out)
{
	struct snapshot *snapshot = take(disk);

	return leave(snapshot, read_file(snapshot, snapshot->shadows[file], data, size, offset,
	    got_out));
}

static int
snapshot_write(struct disk *disk, int file, const struct iovec *vectors, int vector_count,
    uint64_t offset, enum disk_write how, size_t *written_out)
{
	struct snapshot *snapshot = take(disk);
	struct shadow *shadow = snapshot->shadows[file];
	struct written written = { .offset = offset };

	(void)how;
	for (int i = 0; i < vector_count; i++)
		written.size += vectors[i].iov_len;
	written.data = mem_alloc(written.size);
	size_t at = 0;

	for (int i = 0; i < vector_count; i++) {
		if (vectors[i].iov_len)
			memcpy(written.data + at, vectors[i].iov_base, vectors[i].iov_len);
		at += vectors[i].iov_len;
	}
	shadow->written = mem_resize_array(shadow->written, shadow->written_count + 1,
	    sizeof(written));
	shadow->written[shadow->written_count++] = written;
	if (shadow->size < offset + written.size)
		shadow->size = offset + written.size;
	*written_out = written.size;
	return leave(snapshot, 0);
}

static int
snapshot_sync(struct disk *disk, int file)
{
	(void)disk;
	(void)file;
	return 0;
}

static int
snapshot_sync_dir(struct disk *disk)
{
	(void)disk;
	return 0;
}

static int
snapshot_remove(struct disk *disk, const char *name)
{
	struct snapshot *snapshot = take(disk);
	int at = find(snapshot, name);

	if (at >= 0)
		mem_free(&snapshot->shadows[at]->name);
	return leave(snapshot, at < 0 ? ENOENT : 0);
}

static int
snapshot_rename(struct disk *disk, const char *from, const char *to)
{
	struct snapshot *snapshot = take(disk);
	int at = find(snapshot, from), old = find(snapshot, to), file;

	if (at < 0)
		return leave(snapshot, ENOENT);
	/* Opened by its old name while that is known below. */
	int error = open_file(snapshot, from, DISK_OPEN_READ, &file);

	if (error)
		return leave(snapshot, error);
	if (old >= 0)
		mem_free(&snapshot->shadows[old]->name);
	mem_free(&snapshot->shadows[at]->name);
	snapshot->shadows[at]->name = mem_dup_cstr(to);
	return leave(snapshot, 0);
}

static int
snapshot_list(struct disk *disk, void (*each)(void *ctx, const char *name), void *ctx)
{
	struct snapshot *snapshot = take(disk);

	for (size_t i = 0; i < snapshot->shadow_count; i++) {
		if (snapshot->shadows[i]->name)
			each(ctx, snapshot->shadows[i]->name);
	}
	return leave(snapshot, 0);
}

static int
snapshot_space(struct disk *disk, uint64_t *free_out, uint64_t *total_out)
{
	(void)disk;
	*free_out = *total_out = (uint64_t)1 << 50;
	return 0;
}

/* A medium that cannot be written to has no daemon at work on it. */
static int
snapshot_lock(struct disk *disk, const char *name, int *lock_out)
{
	struct snapshot *snapshot = take(disk);
	int error = snapshot->below->ops->lock(snapshot->below, name, lock_out);

	if (error == EROFS || error == EACCES) {
		*lock_out = -1;
		error = 0;
	}
	return leave(snapshot, error);
}

static int
snapshot_unlock(struct disk *disk, int lock)
{
	struct snapshot *snapshot = take(disk);

	return leave(snapshot, lock < 0 ? 0 :
	    snapshot->below->ops->unlock(snapshot->below, lock));
}

static int
snapshot_kind(struct disk *disk, enum disk_kind *kind_out)
{
	(void)disk;
	*kind_out = DISK_KIND_STABLE;
	return 0;
}

static void
snapshot_read_ahead(struct disk *disk, int file, uint64_t offset, uint64_t size)
{
	(void)disk;
	(void)file;
	(void)offset;
	(void)size;
}

static const struct disk_ops snapshot_ops = {
	.open = snapshot_open,
	.close = snapshot_close,
	.size = snapshot_size,
	.read = snapshot_read,
	.write = snapshot_write,
	.sync = snapshot_sync,
	.rename = snapshot_rename,
	.remove = snapshot_remove,
	.sync_dir = snapshot_sync_dir,
	.list = snapshot_list,
	.space = snapshot_space,
	.lock = snapshot_lock,
	.unlock = snapshot_unlock,
	.kind = snapshot_kind,
	.read_ahead = snapshot_read_ahead,
};

static void
add_name(void *ctx, const char *name)
{
	(void)add(ctx, name, -2, 0);
}

struct disk *
snapshot_disk_open(struct disk *below)
{
	struct snapshot *snapshot = mem_alloc(sizeof(*snapshot));

	snapshot->disk = (struct disk){ &snapshot_ops, below->place };
	snapshot->below = below;
	(void)pthread_mutex_init(&snapshot->lock, NULL);
	(void)below->ops->list(below, add_name, snapshot);
	return &snapshot->disk;
}

void
snapshot_disk_close(struct disk **disk)
{
	if (!*disk)
		return;
	struct snapshot *snapshot = container_of(*disk, struct snapshot, disk);

	for (size_t i = 0; i < snapshot->shadow_count; i++) {
		struct shadow *shadow = snapshot->shadows[i];

		if (shadow->below >= 0)
			(void)snapshot->below->ops->close(snapshot->below, shadow->below);
		for (size_t j = 0; j < shadow->written_count; j++)
			mem_free(&shadow->written[j].data);
		mem_free(&shadow->written);
		mem_free(&shadow->name);
		mem_free(&shadow);
	}
	mem_free(&snapshot->shadows);
	(void)pthread_mutex_destroy(&snapshot->lock);
	mem_free(&snapshot);
	*disk = NULL;
}
