#include "tests/crash/disk_private.h"

#include <errno.h>
#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

void
crash_boundary(struct crash_disk *disk)
{
	if (!disk->is_dead && disk->boundary)
		disk->boundary(disk->ctx);
}

/* ---- contents --------------------------------------------------------------- */

struct crash_page *
crash_page_hold(struct crash_page *page)
{
	if (page)
		page->ref_count++;
	return page;
}

void
crash_page_release(struct crash_page **page)
{
	if (*page && --(*page)->ref_count == 0)
		mem_free(page);
	*page = NULL;
}

static void
set_page(struct crash_content *content, uint32_t at, struct crash_page *page)
{
	content->pages[at] = page;
	if (at >= content->page_count)
		content->page_count = at + 1;
}

/* The page for writing: nobody else has it. */
struct crash_page *
crash_content_own(struct crash_content *content, uint32_t at)
{
	struct crash_page *page = content->pages[at];

	if (page && page->ref_count == 1)
		return page;
	struct crash_page *copy = mem_resize_array(NULL, sizeof(*copy), 1);

	copy->ref_count = 1;
	if (page)
		memcpy(copy->data, page->data, sizeof(copy->data));
	else
		memset(copy->data, 0, sizeof(copy->data));
	crash_page_release(&content->pages[at]);
	set_page(content, at, copy);
	return copy;
}

void
crash_content_clear(struct crash_content *content)
{
	for (uint32_t i = 0; i < content->page_count; i++)
		crash_page_release(&content->pages[i]);
	content->page_count = 0;
	content->size = 0;
}

void
crash_content_copy(struct crash_content *to, const struct crash_content *from)
{
	for (uint32_t i = 0; i < from->page_count; i++)
		to->pages[i] = crash_page_hold(from->pages[i]);
	to->page_count = from->page_count;
	to->size = from->size;
}

void
crash_content_take(struct crash_content *content, uint32_t at, struct crash_page *page,
    uint8_t sectors)
{
	if (sectors == UINT8_MAX) {
		(void)crash_page_hold(page);
		crash_page_release(&content->pages[at]);
		set_page(content, at, page);
		return;
	}
	struct crash_page *own = crash_content_own(content, at);

	for (uint32_t i = 0; i < CRASH_PAGE_SECTORS; i++) {
		if (sectors & 1u << i)
			memcpy(own->data + i * CRASH_SECTOR_BYTES,
			    page->data + i * CRASH_SECTOR_BYTES, CRASH_SECTOR_BYTES);
	}
}

/* ---- names ------------------------------------------------------------------- */

int
crash_names_find(const struct crash_names *names, const char *name)
{
	for (int i = 0; i < names->count; i++) {
		if (strcmp(names->rows[i].name, name) == 0)
			return i;
	}
	return -1;
}

static void
remove_name(struct crash_names *names, const char *name)
{
	int at = crash_names_find(names, name);

	if (at >= 0)
		names->rows[at] = names->rows[--names->count];
}

static void
put_name(struct crash_names *names, const char *name, int inode)
{
	remove_name(names, name);
	must(names->count < CRASH_NAMES_MAX);
	struct crash_name *row = &names->rows[names->count++];

	memcpy(row->name, name, sizeof(row->name));
	row->inode = inode;
}

void
crash_names_apply(struct crash_names *names, const struct crash_pending *pending)
{
	if (pending->kind != PENDING_ADD)
		remove_name(names, pending->name);
	if (pending->kind != PENDING_REMOVE)
		put_name(names, pending->kind == PENDING_ADD ? pending->name : pending->to,
		    pending->named);
}

/* ---- what is pending ------------------------------------------------------------ */

struct crash_pending *
crash_add_pending(struct crash_disk *disk, enum crash_pending_kind kind, int inode)
{
	if (disk->pending_count == disk->pending_capacity) {
		disk->pending_capacity = 2 * disk->pending_capacity + 16;
		disk->pending = mem_resize_array(disk->pending, disk->pending_capacity,
		    sizeof(disk->pending[0]));
	}
	struct crash_pending *pending = &disk->pending[disk->pending_count++];

	*pending = (struct crash_pending){ .kind = kind, .inode = inode };
	disk->version++;
	return pending;
}

static void
apply_to_inode(struct crash_inode *inode, const struct crash_pending *pending, uint8_t sectors)
{
	struct crash_content *durable = &inode->durable;

	if (pending->kind == PENDING_DATA)
		crash_content_take(durable, pending->at, pending->page, sectors);
	else if (pending->kind == PENDING_SIZE && durable->size < pending->at)
		durable->size = pending->at;
}

/* Forgets those of the inode from `from` on; durable ones were applied before. */
void
crash_drop_pending(struct crash_disk *disk, int inode, uint32_t from)
{
	uint32_t kept = from;

	for (uint32_t i = from; i < disk->pending_count; i++) {
		if (disk->pending[i].inode == inode)
			crash_page_release(&disk->pending[i].page);
		else
			disk->pending[kept++] = disk->pending[i];
	}
	disk->pending_count = kept;
	disk->version++;
}

/* Older writes of the same sectors are in the page cache no more. */
static void
supersede(struct crash_disk *disk, int inode, uint32_t from)
{
	for (uint32_t i = from; i < disk->pending_count; i++) {
		const struct crash_pending *newer = &disk->pending[i];

		if (newer->inode != inode || newer->kind != PENDING_DATA)
			continue;
		for (uint32_t j = 0; j < from; j++) {
			struct crash_pending *older = &disk->pending[j];

			if (older->inode == inode && older->kind == PENDING_DATA &&
			    older->at == newer->at)
				older->sectors &= (uint8_t)~newer->sectors;
		}
	}
}

/* What is durable is within the size that is, though the file grew by a write that failed. */
static void
grow_durable(struct crash_inode *inode, uint32_t page)
{
	uint32_t end = (page + 1) * CRASH_PAGE_BYTES;

	end = end < inode->now.size ? end : inode->now.size;
	if (inode->durable.size < end)
		inode->durable.size = end;
}

/* All from `from` on; the others of the file stay as they are. */
static void
make_durable(struct crash_disk *disk, int inode, uint32_t from)
{
	supersede(disk, inode, from);
	for (uint32_t i = from; i < disk->pending_count; i++) {
		const struct crash_pending *pending = &disk->pending[i];

		if (pending->inode != inode)
			continue;
		apply_to_inode(&disk->inodes[inode], pending, pending->sectors);
		if (pending->kind == PENDING_DATA)
			grow_durable(&disk->inodes[inode], pending->at);
	}
	crash_drop_pending(disk, inode, from);
}

/*
 * The sync fails.  What it was about may be durable, or in part, or not; readers
 * see it all the same, and in most cases no later sync will write it.
 */
static int
fail_sync(struct crash_disk *disk, int inode, uint32_t from, struct chance *chance)
{
	uint32_t mode = chance_below(chance, 4);
	int error = chance_one_in(chance, 4) ? ENOSPC : EIO;

	disk->fault_count++;
	disk->version++;
	if (mode == 0)
		return error;           /* it stays dirty */
	supersede(disk, inode, from);
	for (uint32_t i = from; i < disk->pending_count && mode > 1; i++) {
		struct crash_pending *pending = &disk->pending[i];
		uint8_t sectors = mode == 2 ? pending->sectors :
		    pending->sectors & (uint8_t)chance_u64(chance);

		if (pending->inode == inode && (mode == 2 || chance_one_in(chance, 2)))
			apply_to_inode(&disk->inodes[inode], pending, sectors);
	}
	crash_drop_pending(disk, inode, from);
	disk->has_forgotten = true;
	return error;
}

int
crash_sync_from(struct crash_disk *disk, int inode, uint32_t from, struct chance *chance)
{
	crash_boundary(disk);
	if (disk->is_dead)
		return EIO;
	if (chance_one_in(chance, disk->faults.sync_in))
		return fail_sync(disk, inode, from, chance);
	make_durable(disk, inode, from);
	return 0;
}

