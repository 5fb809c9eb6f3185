#include "tests/sim/store.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	SECTOR_BYTES = 512,
	NAME_BYTES = 96,
	NAME_CHANGES_MAX = 64,
	DIRTY_MAX = 4096,
};

struct range {
	uint64_t offset, len;
};

struct inode {
	char *now, *durable;
	uint64_t now_size, durable_size, capacity;
	struct range *dirty;
	size_t dirty_count, dirty_capacity;
	int64_t modified_ms;
};

/* Directory entries; inode numbers are for ever, so that an old content can come back. */
struct entry {
	char name[NAME_BYTES];
	int inode;
};

struct directory {
	struct entry entries[SIM_STORE_FILES_MAX];
	int count;
};

struct sim_store {
	struct disk spool;              /* the faces begin with what they must begin with */
	struct sim_store *spool_store;
	struct box_disk boxes;
	struct sim_store *boxes_store;
	struct sim_host *host;
	struct inode *inodes;
	int inode_count, inode_capacity;
	/* the directory as it is, and as it was after each change since the last sync */
	struct directory now;
	struct directory *history;
	int history_count;
	uint64_t crash_at;
	bool crash_power, dead, full;
	unsigned failing_syncs;
};

/* The faces find their store behind their own head. */
_Static_assert(offsetof(struct sim_store, spool) == 0, "the spool's face is the head");

struct sim_store *
sim_store_new(struct sim_host *host)
{
	struct sim_store *store = mem_alloc(sizeof(*store));

	store->host = host;
	store->history = mem_alloc_array(NAME_CHANGES_MAX, sizeof(*store->history));
	store->history_count = 1;
	return store;
}

static void
inode_fini(struct inode *inode)
{
	mem_free(&inode->now);
	mem_free(&inode->durable);
	mem_free(&inode->dirty);
}

void
sim_store_free(struct sim_store **store)
{
	if (!*store)
		return;
	for (int i = 0; i < (*store)->inode_count; i++)
		inode_fini(&(*store)->inodes[i]);
	mem_free(&(*store)->inodes);
	mem_free(&(*store)->history);
	mem_free(store);
}

/* ---- contents */

static void
reserve(struct inode *inode, uint64_t size)
{
	uint64_t capacity = inode->capacity ? inode->capacity : 4096;

	if (size <= inode->capacity)
		return;
	while (capacity < size)
		capacity *= 2;
	inode->now = mem_resize_array(inode->now, capacity, 1);
	inode->durable = mem_resize_array(inode->durable, capacity, 1);
	memset(inode->now + inode->capacity, 0, capacity - inode->capacity);
	memset(inode->durable + inode->capacity, 0, capacity - inode->capacity);
	inode->capacity = capacity;
}

static void
make_durable(struct inode *inode, uint64_t offset, uint64_t len)
{
	memcpy(inode->durable + offset, inode->now + offset, len);
	if (inode->durable_size < offset + len)
		inode->durable_size = offset + len;
}

static void
add_dirty(struct inode *inode, uint64_t offset, uint64_t len)
{
	if (inode->dirty_count == DIRTY_MAX) {
		/* The kernel writes back by itself when it has much. */
		for (size_t i = 0; i < inode->dirty_count; i++)
			make_durable(inode, inode->dirty[i].offset, inode->dirty[i].len);
		inode->dirty_count = 0;
	}
	if (inode->dirty_count == inode->dirty_capacity) {
		inode->dirty_capacity = inode->dirty_capacity ? inode->dirty_capacity * 2 : 8;
		inode->dirty = mem_resize_array(inode->dirty, inode->dirty_capacity,
		    sizeof(*inode->dirty));
	}
	inode->dirty[inode->dirty_count++] = (struct range){ offset, len };
}

/* Of what was not synced any sectors have reached the platter. */
static void
lose_power(struct inode *inode)
{
	bool grew = sim_chance(1, 2);

	for (size_t i = 0; i < inode->dirty_count; i++) {
		uint64_t at = inode->dirty[i].offset, end = at + inode->dirty[i].len;

		while (at < end) {
			uint64_t next = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;

			next = next < end ? next : end;
			if (sim_chance(1, 2))
				memcpy(inode->durable + at, inode->now + at, next - at);
			at = next;
		}
	}
	if (grew && inode->dirty_count > 0 && inode->durable_size < inode->now_size)
		inode->durable_size = inode->now_size;
	inode->dirty_count = 0;
	memcpy(inode->now, inode->durable, inode->capacity);
	if (inode->capacity > inode->durable_size)
		memset(inode->now + inode->durable_size, 0, inode->capacity - inode->durable_size);
	inode->now_size = inode->durable_size;
}

static void
settle_after_crash(struct sim_store *store, bool power)
{
	store->dead = true;
	if (!power)
		return;
	for (int i = 0; i < store->inode_count; i++)
		if (store->inodes[i].capacity > 0)
			lose_power(&store->inodes[i]);
	store->now = store->history[sim_between(0, (uint64_t)store->history_count - 1)];
	store->history[0] = store->now;
	store->history_count = 1;
}

void
sim_store_crash_at(struct sim_store *store, uint64_t calls, bool power)
{
	store->crash_at = calls;
	store->crash_power = power;
}

void
sim_store_crash_now(struct sim_store *store, bool power)
{
	if (!store->dead)
		settle_after_crash(store, power);
}

void
sim_store_revive(struct sim_store *store)
{
	store->dead = false;
	store->crash_at = 0;
	store->failing_syncs = 0;
}

void
sim_store_fail_syncs(struct sim_store *store, unsigned count)
{
	store->failing_syncs = count;
}

void
sim_store_set_full(struct sim_store *store, bool full)
{
	store->full = full;
}

bool
store_find(const struct sim_store *store, const char *name, int *inode_out)
{
	for (int i = 0; i < store->now.count; i++)
		if (strcmp(store->now.entries[i].name, name) == 0) {
			*inode_out = store->now.entries[i].inode;
			return true;
		}
	return false;
}

uint64_t
store_link_count(const struct sim_store *store, int inode)
{
	uint64_t count = 0;

	for (int i = 0; i < store->now.count; i++)
		count += store->now.entries[i].inode == inode;
	return count;
}

int64_t
store_modified_ms(const struct sim_store *store, int inode)
{
	return store->inodes[inode].modified_ms;
}

bool
store_is_dead(const struct sim_store *store)
{
	return store->dead;
}

struct sim_host *
store_host(const struct sim_store *store)
{
	return store->host;
}

/* Every call that changes something comes through here first. */
static int
begin_call(struct sim_store *store)
{
	if (!store->dead && store->crash_at > 0 && --store->crash_at == 0) {
		store->host->power_lost = store->crash_power;
		sim_host_doom(store->host);
	}
	if (!store->dead && store->host->doomed)
		settle_after_crash(store, store->host->power_lost);
	return store->dead ? EIO : 0;
}

/* ---- names */

static struct entry *
find(struct directory *directory, const char *name)
{
	for (int i = 0; i < directory->count; i++)
		if (strcmp(directory->entries[i].name, name) == 0)
			return &directory->entries[i];
	return NULL;
}

/* The change just made may or may not outlive a power cut, but none before it alone. */
static void
names_changed(struct sim_store *store)
{
	if (store->history_count == NAME_CHANGES_MAX) {
		store->history[0] = store->now;
		store->history_count = 1;
		return;
	}
	store->history[store->history_count++] = store->now;
}

static void
add_name(struct sim_store *store, const char *name, int inode)
{
	struct entry *entry = find(&store->now, name);

	if (!entry) {
		must(store->now.count < SIM_STORE_FILES_MAX);
		entry = &store->now.entries[store->now.count++];
		(void)snprintf(entry->name, sizeof(entry->name), "%s", name);
	}
	entry->inode = inode;
}

static void
drop_name(struct sim_store *store, struct entry *entry)
{
	*entry = store->now.entries[--store->now.count];
}

int
store_open(struct sim_store *store, const char *name, bool create, int *inode_out)
{
	struct entry *entry = find(&store->now, name);
	int result = create ? begin_call(store) : store->dead ? EIO : 0;

	if (result != 0)
		return result;
	if (!create) {
		if (!entry)
			return ENOENT;
		*inode_out = entry->inode;
		return 0;
	}
	if (entry)
		return EEXIST;
	if (store->full)
		return ENOSPC;
	if (store->inode_count == store->inode_capacity) {
		store->inode_capacity = 2 * store->inode_capacity + 64;
		store->inodes = mem_resize_array(store->inodes, (size_t)store->inode_capacity,
		    sizeof(*store->inodes));
	}
	memset(&store->inodes[store->inode_count], 0, sizeof(*store->inodes));
	*inode_out = store->inode_count++;
	store->inodes[*inode_out].modified_ms = clock_wall_ms(&store->host->clock);
	add_name(store, name, *inode_out);
	names_changed(store);
	return 0;
}

int
store_link(struct sim_store *store, const char *from, const char *to)
{
	int result = begin_call(store);

	if (result != 0)
		return result;
	if (!find(&store->now, from))
		return ENOENT;
	if (find(&store->now, to))
		return EEXIST;
	add_name(store, to, find(&store->now, from)->inode);
	names_changed(store);
	return 0;
}

int
store_rename(struct sim_store *store, const char *from, const char *to)
{
	int result = begin_call(store);
	struct entry *entry;

	if (result != 0)
		return result;
	entry = find(&store->now, from);
	if (!entry)
		return ENOENT;
	add_name(store, to, entry->inode);
	drop_name(store, find(&store->now, from));
	names_changed(store);
	return 0;
}

int
store_remove(struct sim_store *store, const char *name)
{
	int result = begin_call(store);
	struct entry *entry = find(&store->now, name);

	if (result != 0)
		return result;
	if (!entry)
		return ENOENT;
	drop_name(store, entry);
	names_changed(store);
	return 0;
}

int
store_sync_dir(struct sim_store *store)
{
	int result = begin_call(store);

	if (result != 0)
		return result;
	store->history[0] = store->now;
	store->history_count = 1;
	return 0;
}

int
store_list(struct sim_store *store, void (*each)(void *ctx, const char *name), void *ctx)
{
	if (store->dead)
		return EIO;
	for (int i = 0; i < store->now.count; i++)
		each(ctx, store->now.entries[i].name);
	return 0;
}

/* ---- files */

int
store_size(struct sim_store *store, int inode, uint64_t *size_out)
{
	*size_out = store->inodes[inode].now_size;
	return store->dead ? EIO : 0;
}

int
store_read(struct sim_store *store, int inode, void *data, size_t size, uint64_t offset,
    size_t *got_out)
{
	const struct inode *file = &store->inodes[inode];

	if (store->dead)
		return EIO;
	*got_out = 0;
	if (offset >= file->now_size)
		return 0;
	*got_out = file->now_size - offset < size ? file->now_size - offset : size;
	memcpy(data, file->now + offset, *got_out);
	return 0;
}

int
store_write(struct sim_store *store, int inode, const struct iovec *vectors, int vector_count,
    uint64_t offset, bool sync, size_t *written_out)
{
	struct inode *file = &store->inodes[inode];
	uint64_t begin = offset, end = offset;

	*written_out = 0;
	for (int i = 0; i < vector_count; i++)
		end += vectors[i].iov_len;
	/* A crash in a write leaves any part of it: the bytes are there before the call ends. */
	if (!store->dead && store->full && end > file->now_size)
		return ENOSPC;
	if (!store->dead) {
		reserve(file, end);
		for (int i = 0; i < vector_count; i++) {
			memcpy(file->now + begin, vectors[i].iov_base, vectors[i].iov_len);
			begin += vectors[i].iov_len;
		}
		if (file->now_size < end)
			file->now_size = end;
		add_dirty(file, offset, end - offset);
		file->modified_ms = clock_wall_ms(&store->host->clock);
	}
	int result = begin_call(store);

	if (result != 0)
		return result;
	if (sync && store->failing_syncs > 0) {
		store->failing_syncs--;
		file->dirty_count--;            /* forgotten, though a reader sees it still */
		return EIO;
	}
	if (sync) {
		make_durable(file, offset, end - offset);
		file->dirty_count--;
	}
	*written_out = end - offset;
	return 0;
}

int
store_sync(struct sim_store *store, int inode)
{
	struct inode *file = &store->inodes[inode];
	int result = begin_call(store);

	if (result != 0)
		return result;
	if (store->failing_syncs > 0) {
		store->failing_syncs--;
		file->dirty_count = 0;
		return EIO;
	}
	for (size_t i = 0; i < file->dirty_count; i++)
		if (file->dirty[i].offset + file->dirty[i].len <= file->now_size)
			make_durable(file, file->dirty[i].offset, file->dirty[i].len);
		else if (file->dirty[i].offset < file->now_size)
			make_durable(file, file->dirty[i].offset,
			    file->now_size - file->dirty[i].offset);
	file->durable_size = file->now_size;
	file->dirty_count = 0;
	return 0;
}

int
store_truncate(struct sim_store *store, int inode, uint64_t size)
{
	struct inode *file = &store->inodes[inode];
	int result = begin_call(store);

	if (result != 0)
		return result;
	reserve(file, size);
	if (size < file->now_size)
		memset(file->now + size, 0, file->now_size - size);
	file->now_size = size;
	return 0;
}

bool
sim_store_read(const struct sim_store *store, const char *name, const char **data_out,
    size_t *size_out)
{
	int inode;

	if (!store_find(store, name, &inode))
		return false;
	*data_out = store->inodes[inode].now;
	*size_out = store->inodes[inode].now_size;
	return true;
}

struct disk *
sim_store_spool(struct sim_store *store)
{
	store->spool_store = store;
	store->spool.ops = sim_spool_ops();
	store->spool.place = "spool";
	return &store->spool;
}

struct box_disk *
sim_store_boxes(struct sim_store *store)
{
	store->boxes_store = store;
	store->boxes.ops = sim_boxes_ops();
	return &store->boxes;
}

struct sim_store *
sim_store_of_spool(struct disk *disk)
{
	return (struct sim_store *)disk;
}

struct sim_store *
sim_store_of_boxes(struct box_disk *disk)
{
	return *(struct sim_store **)((char *)disk + offsetof(struct sim_store, boxes_store) -
	    offsetof(struct sim_store, boxes));
}
