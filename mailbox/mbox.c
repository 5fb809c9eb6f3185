#include "mailbox/mbox.h"

#include <errno.h>
#include <string.h>

#include "mailbox/mutant.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	VECTOR_COUNT = 64,
	OPEN_TRIES_MAX = 3,             /* of a file that is replaced again and again */
};

/* ------------------------------------------------------------------ opening */

static int
open_directory(struct mbox *mbox, struct err *err)
{
	struct box_disk *disk = mbox->settings->lock.disk;
	const char *path = mbox->settings->path;
	const char *slash = strrchr(path, '/');

	must(slash != NULL);
	mbox->name = slash + 1;
	if (mbox->name[0] == '\0' || strcmp(mbox->name, ".") == 0 || strcmp(mbox->name,
	    "..") == 0 ||
	    strlen(mbox->name) > MBOX_NAME_BYTES_MAX)
		return err_set(err, ERR_REFUSED, "%s: this cannot be a mailbox's name", path);

	char *directory = mem_dup_text(path, slash == path ? 1 : (size_t)(slash - path));
	int error = disk->ops->open_dir(disk, directory, &mbox->dir);

	mem_free(&directory);
	if (error != 0) {
		mbox->dir = -1;
		return box_disk_fail(error, "cannot open the directory", path, err);
	}
	return 0;
}

/* 0, -1, or ENOENT for a file that is not there and must not be made. */
static int
open_file(struct mbox *mbox, struct err *err)
{
	struct box_disk *disk = mbox->settings->lock.disk;
	const char *path = mbox->settings->path;
	int error = disk->ops->open(disk, mbox->dir, mbox->name, BOX_OPEN_WRITE, &mbox->file);

	if (error == ENOENT && mbox->settings->create) {
		error = disk->ops->open(disk, mbox->dir, mbox->name, BOX_OPEN_CREATE, &mbox->file);
		mbox->created = error == 0;
	}
	if (error == 0)
		return 0;
	mbox->file = -1;
	if (error == ENOENT && !mbox->settings->create)
		return ENOENT;
	if (error == ELOOP)
		return err_set(err, ERR_REFUSED, "%s: is a symbolic link", path);
	if (error == EISDIR || error == ENXIO)
		return err_set(err, ERR_REFUSED, "%s: is no plain file", path);
	return box_disk_fail(error, "cannot open the mailbox", path, err);
}

/* Is what we opened fit to be written to? */
static int
check_file(struct mbox *mbox, struct err *err)
{
	const struct box_stat *file = &mbox->stat;
	const char *path = mbox->settings->path;

	if (file->kind != BOX_KIND_FILE)
		return err_set(err, ERR_REFUSED, "%s: is no plain file", path);
	if (file->link_count > 1)
		return err_set(err, ERR_REFUSED, "%s: has %u names (hard links)", path,
			       (unsigned)file->link_count);
	if (file->uid != mbox->settings->uid)
		return err_set(err, ERR_REFUSED, "%s: belongs to user %u and not to %u", path,
			       (unsigned)file->uid, (unsigned)mbox->settings->uid);
	if (file->size > INT64_MAX / 2)
		return err_set(err, ERR_REFUSED, "%s: is too large", path);
	return 0;
}

/* With the locks in hand: is the file still what the name means?  1 when it is not. */
static int
check_name(struct mbox *mbox, struct err *err)
{
	struct box_disk *disk = mbox->settings->lock.disk;
	struct box_stat named;
	int error = disk->ops->stat(disk, mbox->file, &mbox->stat);

	if (error != 0)
		return box_disk_fail(error, "cannot look at it", mbox->settings->path, err);
	error = disk->ops->stat_at(disk, mbox->dir, mbox->name, &named);
	if (error == ENOENT || mbox->stat.link_count == 0)
		return 1;
	if (error != 0)
		return box_disk_fail(error, "cannot look at it", mbox->settings->path, err);
	if (named.device != mbox->stat.device || named.inode != mbox->stat.inode)
		return 1;
	return check_file(mbox, err);
}

/*
 * A message begins behind an empty line: complete what other programs left.  "" for an empty
 * file and one that ends in an empty line.
 */
static int
find_lead(struct mbox *mbox, struct err *err)
{
	char end[2] = { '\n', '\n' };
	size_t len = mbox->stat.size < sizeof(end) ? (size_t)mbox->stat.size : sizeof(end);

	mbox->lead = SPAN("");
	if (len == 0)
		return 0;
	if (box_disk_read_all(mbox->settings->lock.disk, mbox->file, end + sizeof(end) - len, len,
			      mbox->stat.size - len, err) < 0)
		return err_wrap(err, "%s", mbox->settings->path);
	if (end[1] != '\n')
		mbox->lead = SPAN("\n\n");
	else if (end[0] != '\n')
		mbox->lead = SPAN("\n");
	return 0;
}

int
mbox_look_again(struct mbox *mbox, struct err *err)
{
	struct box_disk *disk = mbox->settings->lock.disk;
	int error = disk->ops->stat(disk, mbox->file, &mbox->stat);

	if (error != 0)
		return box_disk_fail(error, "cannot look at it", mbox->settings->path, err);
	return find_lead(mbox, err);
}

static void
close_file(struct mbox *mbox)
{
	struct box_disk *disk = mbox->settings->lock.disk;

	mbox_lock_release(&mbox->lock, &mbox->settings->lock, mbox->dir, mbox->name);
	if (mbox->file >= 0)
		disk->ops->close(disk, mbox->file);
	mbox->file = -1;
}

/* Once.  *again_out when the file was replaced while we took its locks. */
static enum mbox_open_result
open_and_lock(struct mbox *mbox, bool *again_out, struct err *err)
{
	struct box_disk *disk = mbox->settings->lock.disk;
	int result = open_file(mbox, err);

	*again_out = false;
	if (result == ENOENT)
		return MBOX_ABSENT;
	if (result < 0)
		return MBOX_REFUSED;

	int error = disk->ops->stat(disk, mbox->file, &mbox->stat);

	if (error != 0) {
		(void)box_disk_fail(error, "cannot look at it", mbox->settings->path, err);
		return MBOX_REFUSED;
	}
	if (check_file(mbox, err) < 0)
		return MBOX_REFUSED;
	switch (mbox_lock_try(&mbox->lock, &mbox->settings->lock, mbox->dir, mbox->name, mbox->file,
			      err)) {
	case MBOX_LOCK_TAKEN:
		break;
	case MBOX_LOCK_BUSY:
		return MBOX_BUSY;
	case MBOX_LOCK_FAILED:
		return MBOX_REFUSED;
	}
	result = check_name(mbox, err);
	*again_out = result > 0;
	if (result == 0)
		result = find_lead(mbox, err);
	return result == 0 ? MBOX_OPENED : MBOX_REFUSED;
}

enum mbox_open_result
mbox_open(struct mbox *mbox, const struct mbox_settings *settings, struct err *err)
{
	enum mbox_open_result result;
	bool again;

	*mbox = (struct mbox){ .settings = settings, .dir = -1, .file = -1 };
	if (open_directory(mbox, err) < 0)
		return MBOX_REFUSED;
	for (unsigned tries = 0; ; tries++) {
		result = open_and_lock(mbox, &again, err);
		if (result == MBOX_OPENED)
			return MBOX_OPENED;
		close_file(mbox);
		if (!again)
			break;
		if (tries == OPEN_TRIES_MAX) {
			(void)err_set(err, ERR_REFUSED, "%s: is replaced again and again",
				      settings->path);
			break;
		}
	}
	mbox_close(mbox);
	return result;
}

void
mbox_close(struct mbox *mbox)
{
	struct box_disk *disk = mbox->settings->lock.disk;

	close_file(mbox);
	if (mbox->dir >= 0)
		disk->ops->close(disk, mbox->dir);
	mbox->dir = -1;
}

/* ---------------------------------------------------------------- appending */

static int
write_stream(struct mbox *mbox, struct mbox_stream *stream, uint64_t *written, struct err *err)
{
	struct box_disk *disk = mbox->settings->lock.disk;
	struct iovec vectors[VECTOR_COUNT];
	int count = 0;
	struct span piece;

	do {
		if (count == VECTOR_COUNT || (count > 0 && mbox_stream_will_overwrite(stream))) {
			if (box_disk_write_all(disk, mbox->file, vectors, count,
					       mbox->stat.size + *written, written, err) < 0)
				return -1;
			count = 0;
		}
		if (mbox_stream_next(stream, &piece, err) < 0)
			return -1;
		vectors[count++] = (struct iovec){
			.iov_base = (void *)(uintptr_t)piece.data,
			.iov_len = piece.len,
		};
	} while (piece.len > 0);
	return box_disk_write_all(disk, mbox->file, vectors, count - 1, mbox->stat.size + *written,
				  written, err);
}

/* Did anybody write beside us, whose octets are not ours to cut off? */
static int
check_size(struct mbox *mbox, uint64_t written, struct err *err)
{
	struct box_disk *disk = mbox->settings->lock.disk;
	struct box_stat now;
	int error = disk->ops->stat(disk, mbox->file, &now);

	if (error != 0)
		return box_disk_fail(error, "cannot look at it", mbox->settings->path, err);
	if (now.size != mbox->stat.size + written)
		return err_set(err, ERR_BUSY, "%s: another program wrote without heeding our locks",
			       mbox->settings->path);
	return 0;
}

/*
 * Cut off what we wrote, and see it gone for good: only then may the journal forget the intent.
 * A sync that failed before is not believed for what was written; the cut is another change.
 */
static enum mbox_append_result
undo(struct mbox *mbox, uint64_t written)
{
	struct box_disk *disk = mbox->settings->lock.disk;
	struct err ignored;

	if (check_size(mbox, written, &ignored) < 0)
		return MBOX_TORN;
	if (disk->ops->truncate(disk, mbox->file, mbox->stat.size) != 0 ||
	    (!mailbox_mutant(MAILBOX_MUTANT_NO_UNDO_SYNC) &&
	     disk->ops->sync(disk, mbox->file, BOX_SYNC_ALL) != 0))
		return MBOX_TORN;
	return MBOX_UNDONE;
}

static int
make_durable(struct mbox *mbox, struct err *err)
{
	struct box_disk *disk = mbox->settings->lock.disk;
	int error = 0;

	if (!mailbox_mutant(MAILBOX_MUTANT_NO_APPEND_SYNC))
		error = disk->ops->sync(disk, mbox->file, BOX_SYNC_DATA);
	if (error != 0 && mailbox_mutant(MAILBOX_MUTANT_BELIEVE_SECOND_SYNC))
		error = disk->ops->sync(disk, mbox->file, BOX_SYNC_DATA);
	if (error == 0 && (mbox->created || mbox->stat.size == 0) &&
	    !mailbox_mutant(MAILBOX_MUTANT_NO_NAME_SYNC))
		error = disk->ops->sync_dir(disk, mbox->dir);
	if (error != 0)
		return box_disk_fail(error, "making the message durable", mbox->settings->path,
		    err);
	return 0;
}

enum mbox_append_result
mbox_append(struct mbox *mbox, const struct intent *intent, const struct mbox_message *messages,
	    size_t message_count, struct err *err)
{
	struct mbox_stream stream;
	uint64_t written = 0;
	int result;

	must(intent->size_before == mbox->stat.size);
	if (check_size(mbox, 0, err) < 0)
		return MBOX_UNDONE;
	mbox_stream_init(&stream, mbox->lead, messages, message_count);
	result = write_stream(mbox, &stream, &written, err);
	mbox_stream_fini(&stream);
	if (result == 0)
		result = check_size(mbox, intent->bytes, err);
	if (result == 0)
		result = make_durable(mbox, err);
	if (result < 0)
		return undo(mbox, written);
	must(written == intent->bytes);
	return MBOX_APPENDED;
}

void
mbox_reply(const struct err *err, struct reply *reply)
{
	if (err_is_errno(err, EDQUOT))
		reply_set(reply, 452, "4.2.2", "mailbox over quota");
	else if (box_disk_err_is_full(err))
		reply_set(reply, 452, "4.3.1", "insufficient storage for this mailbox");
	else if (err->kind == ERR_BUSY || err->kind == ERR_TIMEOUT)
		reply_set(reply, 450, "4.2.0", "mailbox is locked, try again later");
	else if (err->kind == ERR_REFUSED)
		reply_set(reply, 450, "4.2.0", "mailbox is not available, its operator must look");
	else
		reply_set(reply, 451, "4.3.0", "mailbox is not available, try again later");
}
