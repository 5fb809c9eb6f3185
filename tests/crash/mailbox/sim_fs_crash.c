#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "tests/crash/mailbox/sim_fs_private.h"

/* How a power cut treats what is pending: nothing is kept, all is, or by chance. */
enum luck { LUCK_NONE, LUCK_ALL, LUCK_CHANCE, LUCK_ALL_BUT_FEW, LUCK_COUNT };

/* So many of COUNT changes, which come one after the other, got to the disk. */
static size_t
how_many(enum luck luck, size_t count, struct random *random)
{
	switch (luck) {
	case LUCK_NONE:
		return 0;
	case LUCK_CHANCE:
		if (random_below(random, 3) == 0)
			return (size_t)random_below(random, count + 1);
		return random_below(random, 2) == 0 ? count : 0;
	case LUCK_ALL_BUT_FEW:
		return random_below(random, 16) != 0 ? count : 0;
	case LUCK_ALL:
	case LUCK_COUNT:
		return count;
	}
	must_not_reach();
}

/* ---------------------------------------------------------------------------- files */

struct remains {
	const struct sim_inode *from;
	char *content;
	uint64_t capacity;
	uint64_t size;
	size_t *kept;                   /* by sector: so many of the changes */
	size_t sizes_kept;              /* so many of the changes, for the size */
};

static void
keep_data(struct remains *remains, size_t index)
{
	const struct sim_change *change = &remains->from->changes[index];
	uint64_t at = change->offset, end = change->offset + change->len;

	while (at < end) {
		uint64_t sector = at / SIM_SECTOR_BYTES, next = (sector + 1) * SIM_SECTOR_BYTES;

		next = next < end ? next : end;
		if (index < remains->kept[sector])
			memcpy(remains->content + at, change->data + (at - change->offset),
			       (size_t)(next - at));
		at = next;
	}
}

static void
keep_size(struct remains *remains, size_t index)
{
	uint64_t size = remains->from->changes[index].offset;

	if (index >= remains->sizes_kept)
		return;
	if (size < remains->size)
		memset(remains->content + size, 0, (size_t)(remains->capacity - size));
	remains->size = size;
}

static uint64_t
capacity_of(const struct sim_inode *from)
{
	uint64_t capacity = from->durable_size > from->size ? from->durable_size : from->size;

	for (size_t i = 0; i < from->change_count; i++) {
		uint64_t end = from->changes[i].offset + from->changes[i].len;

		capacity = end > capacity ? end : capacity;
	}
	return capacity;
}

static void
put_remains(struct sim_inode *to, struct span content)
{
	*to = (struct sim_inode){ .in_use = true };
	sim_resize(&to->now, &to->size, content.len);
	memcpy(to->now, content.data, content.len);
	sim_make_durable(to);
}

static void
crash_file(struct sim_inode *to, const struct sim_inode *from, struct random *random)
{
	enum luck luck = (enum luck)random_below(random, LUCK_COUNT);
	struct remains remains = { .from = from, .capacity = capacity_of(from) };
	size_t sectors = (size_t)(remains.capacity / SIM_SECTOR_BYTES) + 1;

	if (from->change_count == 0) {
		put_remains(to, span_make(from->durable != NULL ? from->durable : "",
					  (size_t)from->durable_size));
		return;
	}
	remains.content = mem_alloc((size_t)remains.capacity + 1);
	remains.kept = mem_alloc_array(sectors, sizeof(*remains.kept));
	remains.size = from->durable_size;
	if (from->durable_size > 0)
		memcpy(remains.content, from->durable, (size_t)from->durable_size);
	for (size_t i = 0; i < sectors; i++)
		remains.kept[i] = how_many(luck, from->change_count, random);
	remains.sizes_kept = how_many(luck == LUCK_ALL_BUT_FEW ? LUCK_ALL : luck,
				      from->change_count, random);
	for (size_t i = 0; i < from->change_count; i++) {
		if (from->changes[i].kind == CHANGE_DATA)
			keep_data(&remains, i);
		else
			keep_size(&remains, i);
	}
	put_remains(to, span_make(remains.content, (size_t)remains.size));
	mem_free(&remains.content);
	mem_free(&remains.kept);
}

void
sim_fail_file(struct sim_inode *inode, struct random *random)
{
	struct sim_inode left;

	crash_file(&left, inode, random);
	sim_drop_changes(inode);
	mem_free(&inode->durable);
	inode->durable = left.durable;
	inode->durable_size = left.durable_size;
	mem_free(&left.now);
}

static void
copy_file(struct sim_inode *to, const struct sim_inode *from)
{
	*to = (struct sim_inode){ .in_use = true };
	sim_resize(&to->now, &to->size, from->size);
	memcpy(to->now, from->now, (size_t)from->size);
	sim_resize(&to->durable, &to->durable_size, from->durable_size);
	if (from->durable_size > 0)
		memcpy(to->durable, from->durable, (size_t)from->durable_size);
	for (size_t i = 0; i < from->change_count; i++) {
		struct sim_change change = from->changes[i];

		change.data = NULL;
		if (change.kind == CHANGE_DATA) {
			change.data = mem_alloc(change.len + 1);
			memcpy(change.data, from->changes[i].data, change.len);
		}
		sim_add_change(to, change);
	}
}

/* ---------------------------------------------------------------------------- names */

static void
copy_names(struct sim_names *to, const struct sim_names *from)
{
	to->count = from->count;
	memcpy(to->rows, from->rows, from->count * sizeof(from->rows[0]));
}

/* A change belongs to the directory where a name comes, or else to where it goes. */
static enum sim_dir
dir_of(const struct sim_name_change *change)
{
	return change->to_dir != SIM_DIRS ? change->to_dir : change->from_dir;
}

static void
crash_names(struct sim_fs *to, const struct sim_fs *from, struct random *random)
{
	size_t left[SIM_DIRS] = { 0 };

	for (size_t i = 0; i < from->change_count; i++)
		left[dir_of(&from->changes[i])]++;
	for (size_t i = 0; i < SIM_DIRS; i++) {
		copy_names(&to->dirs[i].durable, &from->dirs[i].durable);
		left[i] = (size_t)random_below(random, left[i] + 1);
	}
	for (size_t i = 0; i < from->change_count; i++) {
		enum sim_dir dir = dir_of(&from->changes[i]);

		if (left[dir] == 0)
			continue;
		left[dir]--;
		sim_apply(to, true, &from->changes[i]);
	}
	for (size_t i = 0; i < SIM_DIRS; i++)
		copy_names(&to->dirs[i].now, &to->dirs[i].durable);
}

struct sim_fs *
sim_fs_image(const struct sim_fs *fs, enum sim_crash how, struct random *random)
{
	struct sim_fs *image = sim_fs_new(fs->random);

	image->inode_count = fs->inode_count;
	for (int i = 0; i < fs->inode_count; i++) {
		if (how == SIM_POWER)
			crash_file(&image->inodes[i], &fs->inodes[i], random);
		else
			copy_file(&image->inodes[i], &fs->inodes[i]);
	}
	if (how == SIM_POWER) {
		crash_names(image, fs, random);
		return image;
	}
	for (size_t i = 0; i < SIM_DIRS; i++) {
		copy_names(&image->dirs[i].now, &fs->dirs[i].now);
		copy_names(&image->dirs[i].durable, &fs->dirs[i].durable);
	}
	for (size_t i = 0; i < fs->change_count; i++)
		sim_note(image, &fs->changes[i]);
	return image;
}
