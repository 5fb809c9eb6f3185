#include "tests/crash/mailbox/sim_fs_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

void
sim_touch(struct sim_fs *fs)
{
	if (fs->hook != NULL)
		fs->hook(fs->ctx);
}

/* ---------------------------------------------------------------------------- files */

void
sim_resize(char **content, uint64_t *size, uint64_t wanted)
{
	char *grown = mem_alloc((size_t)wanted + 1);

	if (*content != NULL)
		memcpy(grown, *content, (size_t)(*size < wanted ? *size : wanted));
	mem_free(content);
	*content = grown;
	*size = wanted;
}

void
sim_drop_changes(struct sim_inode *inode)
{
	for (size_t i = 0; i < inode->change_count; i++)
		mem_free(&inode->changes[i].data);
	inode->change_count = 0;
}

void
sim_add_change(struct sim_inode *inode, struct sim_change change)
{
	if (inode->change_count == inode->change_capacity) {
		inode->change_capacity = inode->change_capacity ? 2 * inode->change_capacity : 8;
		inode->changes = mem_resize_array(inode->changes, inode->change_capacity,
						  sizeof(*inode->changes));
	}
	inode->changes[inode->change_count++] = change;
}

void
sim_set_size(struct sim_inode *inode, uint64_t size)
{
	sim_resize(&inode->now, &inode->size, size);
	sim_add_change(inode, (struct sim_change){ .kind = CHANGE_SIZE, .offset = size });
}

void
sim_write(struct sim_inode *inode, const void *data, size_t len, uint64_t offset)
{
	struct sim_change change = { .kind = CHANGE_DATA, .offset = offset, .len = len };

	change.data = mem_alloc(len + 1);
	memcpy(change.data, data, len);
	if (offset + len > inode->size)
		sim_set_size(inode, offset + len);
	memcpy(inode->now + offset, data, len);
	sim_add_change(inode, change);
}

size_t
sim_read(const struct sim_inode *inode, void *data, size_t size, uint64_t offset)
{
	uint64_t left = offset < inode->size ? inode->size - offset : 0;
	size_t len = left < size ? (size_t)left : size;

	memcpy(data, inode->now + (len > 0 ? offset : 0), len);
	return len;
}

void
sim_make_durable(struct sim_inode *inode)
{
	sim_resize(&inode->durable, &inode->durable_size, inode->size);
	memcpy(inode->durable, inode->now, (size_t)inode->size);
	sim_drop_changes(inode);
}

/*
 * What is pending gets to the disk; what an earlier sync dropped is not pending any more.  Data
 * behind the end of what the disk has, because the size was dropped, brings the size with it.
 */
static void
write_back(struct sim_inode *inode)
{
	for (size_t i = 0; i < inode->change_count; i++) {
		const struct sim_change *change = &inode->changes[i];
		uint64_t end = change->offset + change->len;

		if (change->kind == CHANGE_SIZE || end > inode->durable_size)
			sim_resize(&inode->durable, &inode->durable_size, end);
		if (change->kind == CHANGE_DATA)
			memcpy(inode->durable + change->offset, change->data, change->len);
	}
	sim_drop_changes(inode);
}

int
sim_sync_file(struct sim_fs *fs, int file)
{
	sim_touch(fs);
	if (fs->fail_one_in > 0 && random_below(fs->random, fs->fail_one_in) == 0) {
		sim_fail_file(&fs->inodes[file], fs->random);
		return EIO;
	}
	write_back(&fs->inodes[file]);
	return 0;
}

/* ---------------------------------------------------------------------------- names */

int
sim_find(const struct sim_names *names, const char *name)
{
	for (size_t i = 0; i < names->count; i++)
		if (strcmp(names->rows[i].name, name) == 0)
			return (int)i;
	return -1;
}

static void
put_name(struct sim_names *names, const char *name, int inode)
{
	int at = sim_find(names, name);

	if (at < 0) {
		must(names->count < SIM_NAMES_MAX && strlen(name) < SIM_NAME_BYTES);
		at = (int)names->count++;
	}
	(void)snprintf(names->rows[at].name, SIM_NAME_BYTES, "%s", name);
	names->rows[at].inode = inode;
}

static void
take_name(struct sim_names *names, const char *name)
{
	int at = sim_find(names, name);

	if (at >= 0)
		names->rows[at] = names->rows[--names->count];
}

void
sim_apply(struct sim_fs *fs, bool durable, const struct sim_name_change *change)
{
	struct sim_directory *from = &fs->dirs[change->from_dir], *to = &fs->dirs[change->to_dir];

	if (change->from_dir != SIM_DIRS)
		take_name(durable ? &from->durable : &from->now, change->from);
	if (change->to_dir != SIM_DIRS)
		put_name(durable ? &to->durable : &to->now, change->to, change->inode);
}

void
sim_note(struct sim_fs *fs, const struct sim_name_change *change)
{
	if (fs->change_count == fs->change_capacity) {
		fs->change_capacity = fs->change_capacity ? 2 * fs->change_capacity : 16;
		fs->changes = mem_resize_array(fs->changes, fs->change_capacity,
					       sizeof(*fs->changes));
	}
	fs->changes[fs->change_count++] = *change;
}

static struct sim_name_change
name_change(enum sim_dir from_dir, const char *from, enum sim_dir to_dir, const char *to, int inode)
{
	struct sim_name_change change = {
		.from_dir = from_dir, .to_dir = to_dir, .inode = inode,
	};

	must(strlen(from) < SIM_NAME_BYTES && strlen(to) < SIM_NAME_BYTES);
	(void)snprintf(change.from, sizeof(change.from), "%s", from);
	(void)snprintf(change.to, sizeof(change.to), "%s", to);
	return change;
}

static void
change_names(struct sim_fs *fs, const struct sim_name_change *change)
{
	sim_apply(fs, false, change);
	sim_note(fs, change);
}

static int
make_inode(struct sim_fs *fs)
{
	must(fs->inode_count < SIM_INODES_MAX);
	fs->inodes[fs->inode_count] = (struct sim_inode){ .in_use = true };
	sim_resize(&fs->inodes[fs->inode_count].now, &fs->inodes[fs->inode_count].size, 0);
	return fs->inode_count++;
}

int
sim_open(struct sim_fs *fs, enum sim_dir dir, const char *name, bool create, int *file_out)
{
	int at = sim_find(&fs->dirs[dir].now, name);

	if (create && at >= 0)
		return EEXIST;
	if (!create && at < 0)
		return ENOENT;
	if (!create) {
		*file_out = fs->dirs[dir].now.rows[at].inode;
		return 0;
	}
	sim_touch(fs);
	*file_out = make_inode(fs);

	struct sim_name_change change = name_change(SIM_DIRS, "", dir, name, *file_out);

	change_names(fs, &change);
	return 0;
}

int
sim_rename(struct sim_fs *fs, enum sim_dir from_dir, const char *from, enum sim_dir to_dir,
	   const char *to)
{
	int at = sim_find(&fs->dirs[from_dir].now, from);

	sim_touch(fs);
	if (at < 0)
		return ENOENT;

	struct sim_name_change change = name_change(from_dir, from, to_dir, to,
						    fs->dirs[from_dir].now.rows[at].inode);

	change_names(fs, &change);
	return 0;
}

int
sim_remove(struct sim_fs *fs, enum sim_dir dir, const char *name)
{
	if (sim_find(&fs->dirs[dir].now, name) < 0)
		return ENOENT;
	sim_touch(fs);

	struct sim_name_change change = name_change(dir, name, SIM_DIRS, "", -1);

	change_names(fs, &change);
	return 0;
}

/* What touches this directory becomes durable, in its order; the rest goes on to wait. */
int
sim_sync_names(struct sim_fs *fs, enum sim_dir dir)
{
	size_t left = 0;

	sim_touch(fs);
	for (size_t i = 0; i < fs->change_count; i++) {
		if (fs->changes[i].from_dir == dir || fs->changes[i].to_dir == dir)
			sim_apply(fs, true, &fs->changes[i]);
		else
			fs->changes[left++] = fs->changes[i];
	}
	fs->change_count = left;
	return 0;
}

/* ------------------------------------------------------------------ another program */

struct span
sim_fs_content(const struct sim_fs *fs, enum sim_dir dir, const char *name)
{
	int at = sim_find(&fs->dirs[dir].now, name);
	const struct sim_inode *inode;

	if (at < 0)
		return span_make("", 0);
	inode = &fs->inodes[fs->dirs[dir].now.rows[at].inode];
	return span_make(inode->now, (size_t)inode->size);
}

const char *
sim_fs_name(const struct sim_fs *fs, enum sim_dir dir, size_t index)
{
	const struct sim_names *names = &fs->dirs[dir].now;

	return index < names->count ? names->rows[index].name : NULL;
}

static void
settle(struct sim_fs *fs, const struct sim_name_change *change)
{
	change_names(fs, change);
	for (size_t i = 0; i < fs->change_count; i++)
		sim_apply(fs, true, &fs->changes[i]);
	fs->change_count = 0;
}

void
sim_fs_put(struct sim_fs *fs, enum sim_dir dir, const char *name, struct span content)
{
	int at = sim_find(&fs->dirs[dir].now, name);
	int file = at >= 0 ? fs->dirs[dir].now.rows[at].inode : make_inode(fs);
	struct sim_inode *inode = &fs->inodes[file];
	struct sim_name_change change = name_change(SIM_DIRS, "", dir, name, file);

	sim_resize(&inode->now, &inode->size, content.len);
	memcpy(inode->now, content.data, content.len);
	sim_make_durable(inode);
	settle(fs, &change);
}

void
sim_fs_move(struct sim_fs *fs, enum sim_dir from_dir, const char *from, enum sim_dir to_dir,
	    const char *to)
{
	int at = sim_find(&fs->dirs[from_dir].now, from);

	must(at >= 0);

	struct sim_name_change change = name_change(from_dir, from, to_dir, to,
						    fs->dirs[from_dir].now.rows[at].inode);

	settle(fs, &change);
}

void
sim_fs_take(struct sim_fs *fs, enum sim_dir dir, const char *name)
{
	struct sim_name_change change = name_change(dir, name, SIM_DIRS, "", -1);

	settle(fs, &change);
}

/* ----------------------------------------------------------------------------- life */

struct sim_fs *
sim_fs_new(struct random *random)
{
	struct sim_fs *fs = mem_alloc(sizeof(*fs));

	fs->random = random;
	fs->disk = (struct disk){ .ops = sim_disk_ops(), .place = "journal" };
	fs->boxes = (struct box_disk){ .ops = sim_box_ops() };
	return fs;
}

void
sim_fs_free(struct sim_fs **fs_ptr)
{
	struct sim_fs *fs = *fs_ptr;

	for (int i = 0; i < fs->inode_count; i++) {
		sim_drop_changes(&fs->inodes[i]);
		mem_free(&fs->inodes[i].changes);
		mem_free(&fs->inodes[i].now);
		mem_free(&fs->inodes[i].durable);
	}
	mem_free(&fs->changes);
	mem_free(fs_ptr);
}

void
sim_fs_set_hook(struct sim_fs *fs, void (*hook)(void *ctx), void *ctx)
{
	fs->hook = hook;
	fs->ctx = ctx;
}

void
sim_fs_set_sync_failures(struct sim_fs *fs, unsigned one_in)
{
	fs->fail_one_in = one_in;
}

struct disk *
sim_fs_disk(struct sim_fs *fs)
{
	return &fs->disk;
}

struct box_disk *
sim_fs_boxes(struct sim_fs *fs)
{
	return &fs->boxes;
}
