#include "tests/crash/disk_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "relay/base/container_of.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

static struct crash_disk *
of(struct disk *disk)
{
	return container_of(disk, struct crash_disk, disk);
}

/* Choices of one call, whatever happened before it. */
static struct chance
begin_call(struct crash_disk *disk)
{
	return chance_at(chance_mix(disk->faults.seed, disk->call_count++));
}

/* ---- files ---------------------------------------------------------------------- */

static bool
is_named(const struct crash_disk *disk, int inode)
{
	for (int i = 0; i < disk->now.count; i++) {
		if (disk->now.rows[i].inode == inode)
			return true;
	}
	for (int i = 0; i < disk->durable.count; i++) {
		if (disk->durable.rows[i].inode == inode)
			return true;
	}
	for (uint32_t i = 0; i < disk->pending_count; i++) {
		if (disk->pending[i].inode < 0 && disk->pending[i].named == inode)
			return true;
	}
	return false;
}

static int
unused_inode(struct crash_disk *disk)
{
	for (int i = 0; i < CRASH_INODES_MAX; i++) {
		struct crash_inode *inode = &disk->inodes[i];

		if (inode->is_used && (inode->open_count > 0 || is_named(disk, i)))
			continue;
		crash_drop_pending(disk, i, 0);
		crash_content_clear(&inode->now);
		crash_content_clear(&inode->durable);
		*inode = (struct crash_inode){ .is_used = true };
		if (i >= disk->inode_count)
			disk->inode_count = i + 1;
		return i;
	}
	must_not_reach();
}

static const char *
name_of(const struct crash_disk *disk, int inode)
{
	for (int i = 0; i < disk->now.count; i++) {
		if (disk->now.rows[i].inode == inode)
			return disk->now.rows[i].name;
	}
	return "(removed)";
}

static int
trace(const struct crash_disk *disk, const char *call, const char *name, uint64_t offset,
    size_t bytes, int error)
{
	if (disk->is_traced)
		(void)fprintf(stderr, "  %s %s %llu+%zu: %s\n", call, name,
		    (unsigned long long)offset, bytes, error ? strerror(error) : "ok");
	return error;
}

static void
set_name(char to[CRASH_NAME_BYTES], const char *name)
{
	must(strlen(name) < CRASH_NAME_BYTES);
	memset(to, 0, CRASH_NAME_BYTES);
	memcpy(to, name, strlen(name));
}

static bool
name_fails(struct crash_disk *disk)
{
	struct chance chance = begin_call(disk);

	if (!chance_one_in(&chance, disk->faults.name_in))
		return false;
	disk->fault_count++;
	return true;
}

static int
change_name(struct crash_disk *disk, enum crash_pending_kind kind, int inode, const char *name,
    const char *to)
{
	struct crash_pending *pending = crash_add_pending(disk, kind, -1);

	pending->named = inode;
	set_name(pending->name, name);
	set_name(pending->to, to);
	crash_names_apply(&disk->now, pending);
	return trace(disk, kind == PENDING_ADD ? "create" : kind == PENDING_REMOVE ? "remove" :
	    "rename", name, 0, 0, 0);
}

static int
crash_create(struct crash_disk *disk, const char *name, int *file_out)
{
	crash_boundary(disk);
	if (disk->is_dead)
		return EIO;
	if (name_fails(disk))
		return disk->call_count % 2 ? EIO : ENOSPC;
	*file_out = unused_inode(disk);
	disk->inodes[*file_out].open_count = 1;
	return change_name(disk, PENDING_ADD, *file_out, name, "");
}

static int
crash_open(struct disk *face, const char *name, enum disk_open how, int *file_out)
{
	struct crash_disk *disk = of(face);
	int at = crash_names_find(&disk->now, name);

	if (disk->is_dead)
		return EIO;
	if (how == DISK_OPEN_CREATE)
		return at >= 0 ? EEXIST : crash_create(disk, name, file_out);
	if (at < 0)
		return ENOENT;
	*file_out = disk->now.rows[at].inode;
	disk->inodes[*file_out].open_count++;
	return 0;
}

static int
crash_close(struct disk *face, int file)
{
	must(of(face)->inodes[file].open_count > 0);
	of(face)->inodes[file].open_count--;
	return 0;
}

static int
crash_size(struct disk *face, int file, uint64_t *size_out)
{
	*size_out = of(face)->inodes[file].now.size;
	return of(face)->is_dead ? EIO : 0;
}

static int
crash_read(struct disk *face, int file, void *data, size_t size, uint64_t offset, size_t *got_out)
{
	struct crash_disk *disk = of(face);

	*got_out = 0;
	if (disk->is_dead)
		return EIO;
	/* Who closed a file may not go on with its number. */
	if (file < 0 || file >= CRASH_INODES_MAX || disk->inodes[file].open_count == 0)
		return EBADF;
	const struct crash_content *now = &disk->inodes[file].now;

	while (size > 0 && offset < now->size) {
		uint32_t in_page = (uint32_t)(offset % CRASH_PAGE_BYTES);
		const struct crash_page *page = now->pages[offset / CRASH_PAGE_BYTES];
		size_t count = CRASH_PAGE_BYTES - in_page;

		count = count < size ? count : size;
		count = count < now->size - offset ? count : (size_t)(now->size - offset);
		if (page)
			memcpy((char *)data + *got_out, page->data + in_page, count);
		else
			memset((char *)data + *got_out, 0, count);
		*got_out += count;
		offset += count;
		size -= count;
	}
	return 0;
}

static uint64_t
used_bytes(const struct crash_disk *disk)
{
	uint64_t bytes = 0;

	for (int i = 0; i < disk->inode_count; i++) {
		if (disk->inodes[i].is_used &&
		    (disk->inodes[i].open_count > 0 || is_named(disk, i)))
			bytes += disk->inodes[i].now.size;
	}
	return bytes;
}

static void
write_page(struct crash_disk *disk, int file, uint64_t offset, const char *data, size_t size)
{
	struct crash_content *now = &disk->inodes[file].now;
	uint32_t at = (uint32_t)(offset / CRASH_PAGE_BYTES);
	uint32_t in_page = (uint32_t)(offset % CRASH_PAGE_BYTES);
	struct crash_page *page = crash_content_own(now, at);
	struct crash_pending *pending = crash_add_pending(disk, PENDING_DATA, file);

	memcpy(page->data + in_page, data, size);
	pending->at = at;
	for (size_t i = in_page / CRASH_SECTOR_BYTES; i * CRASH_SECTOR_BYTES < in_page + size; i++)
		pending->sectors |= (uint8_t)(1u << i);
	pending->page = crash_page_hold(page);
}

/* The first `bytes` of the vectors, page by page. */
static void
write_some(struct crash_disk *disk, int file, const struct iovec *vectors, uint64_t offset,
    size_t bytes)
{
	struct crash_content *now = &disk->inodes[file].now;
	char page[CRASH_PAGE_BYTES];
	size_t filled = 0, in_vector = 0;

	while (bytes > 0) {
		size_t room = CRASH_PAGE_BYTES - (size_t)((offset + filled) % CRASH_PAGE_BYTES);
		size_t count = vectors->iov_len - in_vector;

		count = count < room ? count : room;
		count = count < bytes ? count : bytes;
		memcpy(page + filled, (const char *)vectors->iov_base + in_vector, count);
		filled += count;
		bytes -= count;
		in_vector += count;
		if (in_vector == vectors->iov_len) {
			vectors++;
			in_vector = 0;
		}
		if (count == room || bytes == 0) {
			write_page(disk, file, offset, page, filled);
			offset += filled;
			filled = 0;
		}
	}
	if (offset > now->size) {
		now->size = (uint32_t)offset;
		crash_add_pending(disk, PENDING_SIZE, file)->at = (uint32_t)offset;
	}
}

static size_t
vectors_bytes(const struct iovec *vectors, int vector_count)
{
	size_t bytes = 0;

	for (int i = 0; i < vector_count; i++)
		bytes += vectors[i].iov_len;
	return bytes;
}

/* How many of the octets are taken; 0 with an error when none is sure to be. */
static int
write_fault(struct crash_disk *disk, int file, uint64_t offset, size_t *bytes,
    struct chance *chance)
{
	const struct crash_content *now = &disk->inodes[file].now;
	uint64_t growth = offset + *bytes > now->size ? offset + *bytes - now->size : 0;

	if (growth > 0 && used_bytes(disk) + growth > disk->bytes_max) {
		*bytes = 0;
		return ENOSPC;
	}
	if (chance_one_in(chance, disk->faults.full_in)) {
		disk->fault_count++;
		*bytes = 0;
		return ENOSPC;
	}
	if (chance_one_in(chance, disk->faults.write_in)) {
		disk->fault_count++;
		*bytes = chance_below(chance, (uint32_t)*bytes + 1);
		return EIO;
	}
	if (*bytes > 1 && chance_one_in(chance, disk->faults.short_in))
		*bytes = 1 + chance_below(chance, (uint32_t)*bytes - 1);
	return 0;
}

static int
crash_write(struct disk *face, int file, const struct iovec *vectors, int vector_count,
    uint64_t offset, enum disk_write how, size_t *written_out)
{
	struct crash_disk *disk = of(face);
	size_t bytes = vectors_bytes(vectors, vector_count);

	*written_out = 0;
	crash_boundary(disk);
	if (disk->is_dead)
		return EIO;
	struct chance chance = begin_call(disk);
	int error = write_fault(disk, file, offset, &bytes, &chance);
	uint32_t from = disk->pending_count;

	must(disk->inodes[file].open_count > 0);
	if (offset + bytes > CRASH_FILE_PAGES_MAX * CRASH_PAGE_BYTES)
		return EFBIG;
	write_some(disk, file, vectors, offset, bytes);
	if (error)
		return trace(disk, "write", name_of(disk, file), offset, bytes, error);
	*written_out = bytes;
	if (how == DISK_WRITE_SYNC)
		error = crash_sync_from(disk, file, from, &chance);
	return trace(disk, how == DISK_WRITE_SYNC ? "write+sync" : "write", name_of(disk, file),
	    offset, bytes, error);
}

static int
crash_sync(struct disk *face, int file)
{
	struct chance chance = begin_call(of(face));

	return trace(of(face), "sync", name_of(of(face), file), 0, 0,
	    crash_sync_from(of(face), file, 0, &chance));
}

static int
crash_rename(struct disk *face, const char *from, const char *to)
{
	struct crash_disk *disk = of(face);

	crash_boundary(disk);
	if (disk->is_dead || name_fails(disk))
		return EIO;
	int at = crash_names_find(&disk->now, from);

	if (at < 0)
		return ENOENT;
	return change_name(disk, PENDING_RENAME, disk->now.rows[at].inode, from, to);
}

static int
crash_remove(struct disk *face, const char *name)
{
	struct crash_disk *disk = of(face);

	crash_boundary(disk);
	if (disk->is_dead)
		return EIO;
	if (crash_names_find(&disk->now, name) < 0)
		return ENOENT;
	if (name_fails(disk))
		return EIO;
	return change_name(disk, PENDING_REMOVE, -1, name, "");
}

static int
crash_sync_dir(struct disk *face)
{
	struct crash_disk *disk = of(face);

	crash_boundary(disk);
	if (disk->is_dead)
		return EIO;
	struct chance chance = begin_call(disk);

	if (chance_one_in(&chance, disk->faults.sync_in)) {
		disk->fault_count++;
		return trace(disk, "sync", "directory", 0, 0, EIO);     /* they stay pending */
	}
	for (uint32_t i = 0; i < disk->pending_count; i++) {
		if (disk->pending[i].inode < 0)
			crash_names_apply(&disk->durable, &disk->pending[i]);
	}
	crash_drop_pending(disk, -1, 0);
	return trace(disk, "sync", "directory", 0, 0, 0);
}

static int
crash_list(struct disk *face, void (*each)(void *ctx, const char *name), void *ctx)
{
	const struct crash_disk *disk = of(face);

	for (int i = 0; i < disk->now.count; i++)
		each(ctx, disk->now.rows[i].name);
	return disk->is_dead ? EIO : 0;
}

static int
crash_space(struct disk *face, uint64_t *free_out, uint64_t *total_out)
{
	const struct crash_disk *disk = of(face);
	uint64_t used = used_bytes(disk);

	*total_out = disk->bytes_max;
	*free_out = disk->bytes_max > used ? disk->bytes_max - used : 0;
	return disk->is_dead ? EIO : 0;
}

static int
crash_lock(struct disk *face, const char *name, int *lock_out)
{
	(void)name;
	if (of(face)->is_locked)
		return EWOULDBLOCK;
	of(face)->is_locked = true;
	*lock_out = 1;
	return 0;
}

static int
crash_unlock(struct disk *face, int lock)
{
	(void)lock;
	of(face)->is_locked = false;
	return 0;
}

static int
crash_kind(struct disk *face, enum disk_kind *kind_out)
{
	(void)face;
	*kind_out = DISK_KIND_STABLE;
	return 0;
}

static void
crash_read_ahead(struct disk *face, int file, uint64_t offset, uint64_t size)
{
	(void)face;
	(void)file;
	(void)offset;
	(void)size;
}

static const struct disk_ops crash_ops = {
	.open = crash_open,
	.close = crash_close,
	.size = crash_size,
	.read = crash_read,
	.write = crash_write,
	.sync = crash_sync,
	.rename = crash_rename,
	.remove = crash_remove,
	.sync_dir = crash_sync_dir,
	.list = crash_list,
	.space = crash_space,
	.lock = crash_lock,
	.unlock = crash_unlock,
	.kind = crash_kind,
	.read_ahead = crash_read_ahead,
};

void
crash_disk_init(struct crash_disk *disk)
{
	memset(disk, 0, sizeof(*disk));
	disk->disk = (struct disk){ .ops = &crash_ops, .place = "crash" };
	disk->bytes_max = UINT32_MAX;
}

void
crash_disk_fini(struct crash_disk *disk)
{
	for (uint32_t i = 0; i < disk->pending_count; i++)
		crash_page_release(&disk->pending[i].page);
	mem_free(&disk->pending);
	for (int i = 0; i < disk->inode_count; i++) {
		crash_content_clear(&disk->inodes[i].now);
		crash_content_clear(&disk->inodes[i].durable);
	}
}
