#include "tests/unit/queue/memory_disk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "relay/base/container_of.h"
#include "relay/base/mem.h"

static struct memory_disk *
memory_of(struct disk *disk)
{
	return container_of(disk, struct memory_disk, disk);
}

struct memory_file *
memory_disk_find(struct memory_disk *memory, const char *name)
{
	for (int i = 0; i < memory->file_count; i++) {
		if (strcmp(memory->files[i].name, name) == 0)
			return &memory->files[i];
	}
	return NULL;
}

static int
take_error(struct memory_disk *memory, int *error)
{
	int taken = *error;

	if (!taken || memory->error_count == 0 || memory->error_skip-- > 0)
		return 0;
	memory->error_skip = 0;
	if (memory->error_count > 0 && --memory->error_count == 0)
		*error = 0;
	return taken;
}

/* One that was removed, and nobody has open. */
static struct memory_file *
unused_file(struct memory_disk *memory)
{
	for (int i = 0; i < memory->file_count; i++) {
		if (!memory->files[i].name[0] && memory->files[i].open_count == 0)
			return &memory->files[i];
	}
	return memory->file_count < 256 ? &memory->files[memory->file_count++] : NULL;
}

static int
memory_open(struct disk *disk, const char *name, enum disk_open how, int *file_out)
{
	struct memory_disk *memory = memory_of(disk);
	struct memory_file *file = memory_disk_find(memory, name);

	if (how == DISK_OPEN_CREATE) {
		if (file)
			return EEXIST;
		file = unused_file(memory);
		if (!file)
			return ENFILE;
		*file = (struct memory_file){ 0 };
		(void)snprintf(file->name, sizeof(file->name), "%s", name);
	}
	if (!file)
		return ENOENT;
	file->open_count++;
	*file_out = (int)(file - memory->files);
	return 0;
}

static int
memory_close(struct disk *disk, int file)
{
	memory_of(disk)->files[file].open_count--;
	return 0;
}

static int
memory_size(struct disk *disk, int file, uint64_t *size_out)
{
	*size_out = memory_of(disk)->files[file].size;
	return 0;
}

static int
memory_read(struct disk *disk, int at, void *data, size_t size, uint64_t offset, size_t *got_out)
{
	struct memory_disk *memory = memory_of(disk);
	const struct memory_file *file = &memory->files[at];
	int error = take_error(memory, &memory->read_error);

	if (error)
		return error;
	*got_out = 0;
	if (offset >= file->size)
		return 0;
	*got_out = file->size - offset < size ? (size_t)(file->size - offset) : size;
	memcpy(data, file->data + offset, *got_out);
	return 0;
}

static uint64_t
used_bytes(const struct memory_disk *memory)
{
	uint64_t bytes = 0;

	for (int i = 0; i < memory->file_count; i++)
		bytes += memory->files[i].size;
	return bytes;
}

static int
memory_write(struct disk *disk, int at, const struct iovec *vectors, int vector_count,
    uint64_t offset, enum disk_write how, size_t *written_out)
{
	struct memory_disk *memory = memory_of(disk);
	struct memory_file *file = &memory->files[at];
	int error = take_error(memory, &memory->write_error);

	*written_out = 0;
	if (error)
		return error;
	for (int i = 0; i < vector_count; i++) {
		uint64_t end = offset + vectors[i].iov_len;

		if (end > file->size) {
			if (used_bytes(memory) + (end - file->size) > memory->bytes_max)
				return ENOSPC;
			if (end > file->capacity) {
				file->capacity = end + end / 2;
				file->data = mem_resize_array(file->data, file->capacity, 1);
			}
			if (offset > file->size)
				memset(file->data + file->size, 0, offset - file->size);
			file->size = end;
		}
		memcpy(file->data + offset, vectors[i].iov_base, vectors[i].iov_len);
		offset = end;
		*written_out += vectors[i].iov_len;
	}
	memory->written_bytes += *written_out;
	if (how == DISK_WRITE_SYNC) {
		memory->sync_count++;
		return take_error(memory, &memory->sync_error);
	}
	return 0;
}

static int
memory_sync(struct disk *disk, int file)
{
	struct memory_disk *memory = memory_of(disk);

	(void)file;
	memory->sync_count++;
	return take_error(memory, &memory->sync_error);
}

static int
memory_rename(struct disk *disk, const char *from, const char *to)
{
	struct memory_disk *memory = memory_of(disk);
	struct memory_file *file = memory_disk_find(memory, from);
	struct memory_file *old = memory_disk_find(memory, to);

	if (!file)
		return ENOENT;
	if (old) {
		old->name[0] = '\0';
		mem_free(&old->data);
		old->size = 0;
		old->capacity = 0;
	}
	(void)snprintf(file->name, sizeof(file->name), "%s", to);
	return 0;
}

static int
memory_remove(struct disk *disk, const char *name)
{
	struct memory_file *file = memory_disk_find(memory_of(disk), name);

	if (!file)
		return ENOENT;
	file->name[0] = '\0';           /* open ones go on, as files do */
	mem_free(&file->data);
	file->size = 0;
	file->capacity = 0;
	return 0;
}

static int
memory_sync_dir(struct disk *disk)
{
	memory_of(disk)->dir_sync_count++;
	return 0;
}

static int
memory_list(struct disk *disk, void (*each)(void *ctx, const char *name), void *ctx)
{
	struct memory_disk *memory = memory_of(disk);

	for (int i = 0; i < memory->file_count; i++) {
		if (memory->files[i].name[0])
			each(ctx, memory->files[i].name);
	}
	return 0;
}

static int
memory_space(struct disk *disk, uint64_t *free_out, uint64_t *total_out)
{
	struct memory_disk *memory = memory_of(disk);

	*total_out = memory->bytes_max;
	*free_out = memory->bytes_max - used_bytes(memory);
	return 0;
}

static int
memory_lock(struct disk *disk, const char *name, int *lock_out)
{
	struct memory_disk *memory = memory_of(disk);

	(void)name;
	if (memory->is_locked)
		return EWOULDBLOCK;
	memory->is_locked = true;
	*lock_out = 1;
	return 0;
}

static int
memory_unlock(struct disk *disk, int lock)
{
	(void)lock;
	memory_of(disk)->is_locked = false;
	return 0;
}

static int
memory_kind(struct disk *disk, enum disk_kind *kind_out)
{
	*kind_out = memory_of(disk)->kind;
	return 0;
}

static void
memory_read_ahead(struct disk *disk, int file, uint64_t offset, uint64_t size)
{
	(void)disk;
	(void)file;
	(void)offset;
	(void)size;
}

static const struct disk_ops memory_ops = {
	.open = memory_open,
	.close = memory_close,
	.size = memory_size,
	.read = memory_read,
	.write = memory_write,
	.sync = memory_sync,
	.rename = memory_rename,
	.remove = memory_remove,
	.sync_dir = memory_sync_dir,
	.list = memory_list,
	.space = memory_space,
	.lock = memory_lock,
	.unlock = memory_unlock,
	.kind = memory_kind,
	.read_ahead = memory_read_ahead,
};

void
memory_disk_init(struct memory_disk *memory)
{
	*memory = (struct memory_disk){
		.disk = { .ops = &memory_ops, .place = "memory" },
		.bytes_max = UINT64_MAX,
		.kind = DISK_KIND_STABLE,
	};
}

void
memory_disk_fini(struct memory_disk *memory)
{
	for (int i = 0; i < memory->file_count; i++)
		mem_free(&memory->files[i].data);
}

void
memory_disk_copy(struct memory_disk *to, const struct memory_disk *from)
{
	memory_disk_init(to);
	to->bytes_max = from->bytes_max;
	to->kind = from->kind;
	for (int i = 0; i < from->file_count; i++) {
		if (!from->files[i].name[0])
			continue;
		struct memory_file *file = &to->files[to->file_count++];

		*file = from->files[i];
		file->data = mem_dup(from->files[i].data ? from->files[i].data : "",
		    from->files[i].size);
		file->capacity = file->size;
		file->open_count = 0;
	}
}
