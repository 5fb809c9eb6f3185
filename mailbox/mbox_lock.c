#include "mailbox/mbox_lock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

enum { LOCK_NAME_BYTES = 256 };

/* Compare two inodes by number and device, to see that a name still means the same file. */
static bool
same_file(const struct box_stat *a, const struct box_stat *b)
{
	return a->device == b->device && a->inode == b->inode;
}

static void
lock_name(char out[LOCK_NAME_BYTES], const char *name)
{
	(void)snprintf(out, LOCK_NAME_BYTES, "%s.lock", name);
}

/*
 * The name under which our lock is made: fixed for node and box, of which one job at a time is
 * at work, so that one left behind by a crash is found and replaced.
 */
static void
draft_name(char out[LOCK_NAME_BYTES], const char *name, const struct lock_owner *self)
{
	(void)snprintf(out, LOCK_NAME_BYTES, ".%s.%08" PRIx32 ".lk", name, (uint32_t)self->node);
}

static enum mbox_lock_result
failed(int error, const char *what, const char *name, struct err *err)
{
	(void)box_disk_fail(error, what, name, err);
	return MBOX_LOCK_FAILED;
}

/* Make the lock's file under its draft name; its stat tells the time of the file system. */
static int
make_draft(const struct mbox_lock_settings *settings, int dir, const char *draft,
	   struct box_stat *stat_out)
{
	struct box_disk *disk = settings->disk;
	char text[LOCK_OWNER_TEXT_BYTES_MAX];
	struct iovec vector = { .iov_base = text, .iov_len = lock_owner_print(settings->self,
	    text) };
	int file;
	int error = disk->ops->open(disk, dir, draft, BOX_OPEN_CREATE, &file);

	if (error == EEXIST) {
		error = disk->ops->remove(disk, dir, draft);
		if (error == 0 || error == ENOENT)
			error = disk->ops->open(disk, dir, draft, BOX_OPEN_CREATE, &file);
	}
	if (error != 0)
		return error;

	uint64_t written = 0;
	struct err err;

	if (box_disk_write_all(disk, file, &vector, 1, 0, &written, &err) < 0)
		error = err.os_errno != 0 ? err.os_errno : EIO;
	else
		error = disk->ops->stat(disk, file, stat_out);
	disk->ops->close(disk, file);
	if (error != 0)
		(void)disk->ops->remove(disk, dir, draft);
	return error;
}

/* Read the lock that is in the way.  A positive errno number, or 0. */
static int
read_lock(struct box_disk *disk, int dir, const char *name,
    char text_out[LOCK_OWNER_TEXT_BYTES_MAX],
	  size_t *len_out, struct box_stat *stat_out)
{
	int file;
	int error = disk->ops->open(disk, dir, name, BOX_OPEN_READ, &file);

	*len_out = 0;
	if (error != 0)
		return error;
	error = disk->ops->stat(disk, file, stat_out);
	if (error == 0 && stat_out->kind == BOX_KIND_FILE)
		error = disk->ops->read(disk, file, text_out, LOCK_OWNER_TEXT_BYTES_MAX, 0,
		    len_out);
	disk->ops->close(disk, file);
	return error;
}

/*
 * A lock is in the way: is it to be broken?  Says in err whose it is either way.  A lock that is
 * gone by now, or cannot be read, is not.
 */
static bool
is_stale(const struct mbox_lock_settings *settings, int dir, const char *name, int64_t now_ms,
	 struct box_stat *stat_out, struct err *err)
{
	char text[LOCK_OWNER_TEXT_BYTES_MAX];
	size_t len;
	int error = read_lock(settings->disk, dir, name, text, &len, stat_out);
	struct lock_owner owner;

	if (error != 0) {
		(void)err_set(err, ERR_BUSY, "%s: somebody has this lock", name);
		return false;
	}

	int64_t age_ms = now_ms - stat_out->modified_ms;

	if (lock_owner_parse(span_make(text, len), &owner)) {
		(void)err_set(err, ERR_BUSY, "%s: lock of a mailboxd, pid %" PRIu64
			      ", %" PRId64 " s old", name, owner.pid, age_ms / 1000);
		if (lock_owner_is_gone(&owner, settings->self, settings->witness))
			return true;
	} else {
		(void)err_set(err, ERR_BUSY, "%s: lock of another program, %" PRId64 " s old", name,
			      age_ms / 1000);
	}
	return stat_out->kind == BOX_KIND_FILE && age_ms >= MBOX_LOCK_STALE_MS;
}

/*
 * Remove a stale lock, unless it is another one by now.  We hold the fcntl lock, so no other
 * mailboxd is at the same work; between look and removal is the moment that liblockfile has, too.
 */
static bool
break_lock(struct box_disk *disk, int dir, const char *name, const struct box_stat *seen)
{
	struct box_stat now;

	return disk->ops->stat_at(disk, dir, name, &now) == 0 && same_file(&now, seen) &&
	       now.modified_ms == seen->modified_ms && disk->ops->remove(disk, dir, name) == 0;
}

static enum mbox_lock_result
take_dot_lock(struct mbox_lock *lock, const struct mbox_lock_settings *settings, int dir,
	      const char *name, struct err *err)
{
	struct box_disk *disk = settings->disk;
	char dot[LOCK_NAME_BYTES], draft[LOCK_NAME_BYTES];
	struct box_stat ours, theirs;

	lock_name(dot, name);
	draft_name(draft, name, settings->self);

	int error = make_draft(settings, dir, draft, &ours);

	if (error != 0)
		return failed(error, "cannot make a dot lock beside the mailbox", name, err);
	error = disk->ops->link(disk, dir, draft, dir, dot);
	if (error == EEXIST && is_stale(settings, dir, dot, ours.modified_ms, &theirs, err) &&
	    break_lock(disk, dir, dot, &theirs)) {
		lock->broke_stale = true;
		error = disk->ops->link(disk, dir, draft, dir, dot);
	}
	(void)disk->ops->remove(disk, dir, draft);
	if (error == EEXIST)
		return MBOX_LOCK_BUSY;
	if (error != 0)
		return failed(error, "cannot make a dot lock beside the mailbox", name, err);
	lock->has_dot = true;
	lock->inode = ours.inode;
	return MBOX_LOCK_TAKEN;
}

enum mbox_lock_result
mbox_lock_try(struct mbox_lock *lock, const struct mbox_lock_settings *settings, int dir,
	      const char *name, int file, struct err *err)
{
	int error = settings->disk->ops->lock(settings->disk, file);

	must(strlen(name) <= MBOX_NAME_BYTES_MAX);
	*lock = (struct mbox_lock){ 0 };
	err_clear(err);
	if (error == EAGAIN) {
		(void)err_set(err, ERR_BUSY, "%s: another program has the fcntl lock", name);
		return MBOX_LOCK_BUSY;
	}
	if (error != 0)
		return failed(error, "cannot take the fcntl lock", name, err);
	if (!settings->dot_lock)
		return MBOX_LOCK_TAKEN;
	return take_dot_lock(lock, settings, dir, name, err);
}

void
mbox_lock_release(struct mbox_lock *lock, const struct mbox_lock_settings *settings, int dir,
		  const char *name)
{
	struct box_disk *disk = settings->disk;
	char dot[LOCK_NAME_BYTES];
	struct box_stat now;

	if (!lock->has_dot)
		return;
	lock->has_dot = false;
	lock_name(dot, name);
	if (disk->ops->stat_at(disk, dir, dot, &now) == 0 && now.inode == lock->inode)
		(void)disk->ops->remove(disk, dir, dot);
}
