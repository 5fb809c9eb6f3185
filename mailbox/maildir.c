#include "mailbox/maildir.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "mailbox/delivery_id.h"
#include "mailbox/mutant.h"
#include "relay/base/ascii.h"
#include "relay/base/base32.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	VECTOR_COUNT = 32,
	FILES_AT_ONCE = 16,             /* that are open while a batch is written */
	DIRECTORY_MODE = 0700,
};

/* ------------------------------------------------------------------------- opening */

static int
check_directory(const struct maildir *maildir, int dir, const char *part, struct err *err)
{
	const struct maildir_settings *settings = maildir->settings;
	struct box_stat stat;
	int error = settings->disk->ops->stat(settings->disk, dir, &stat);

	if (error != 0)
		return box_disk_fail(error, "cannot look at it", settings->path, err);
	if (stat.kind != BOX_KIND_DIRECTORY)
		return err_set(err, ERR_REFUSED, "%s%s: is no directory", settings->path, part);
	if (stat.uid != settings->uid)
		return err_set(err, ERR_REFUSED, "%s%s: belongs to user %u and not to %u",
			       settings->path, part, (unsigned)stat.uid, (unsigned)settings->uid);
	return 0;
}

/* Open it, made first if it is not there and may be made.  0, -1, or ENOENT. */
static int
open_directory(struct maildir *maildir, int above, const char *name, const char *part,
	       int *dir_out, struct err *err)
{
	const struct maildir_settings *settings = maildir->settings;
	struct box_disk *disk = settings->disk;
	int error = disk->ops->open_dir_at(disk, above, name, dir_out);

	if (error == ENOENT && settings->create) {
		error = disk->ops->make_dir(disk, above, name, DIRECTORY_MODE);
		/* Its name is durable before anything is delivered into it. */
		if (error == 0)
			error = disk->ops->sync_dir(disk, above);
		if (error == 0 || error == EEXIST)
			error = disk->ops->open_dir_at(disk, above, name, dir_out);
	}
	if (error != 0)
		*dir_out = -1;
	if (error == ENOENT)
		return ENOENT;
	if (error == ELOOP || error == ENOTDIR)
		return err_set(err, ERR_REFUSED, "%s%s: is no directory, or a symbolic link",
			       settings->path, part);
	if (error != 0)
		return box_disk_fail(error, "cannot open the directory", settings->path, err);
	return check_directory(maildir, *dir_out, part, err);
}

static int
open_base(struct maildir *maildir, struct err *err)
{
	const char *path = maildir->settings->path;
	struct box_disk *disk = maildir->settings->disk;
	const char *slash = strrchr(path, '/');
	int above = -1, result;

	must(slash != NULL);
	if (slash[1] == '\0' || strcmp(slash + 1, ".") == 0 || strcmp(slash + 1, "..") == 0)
		return err_set(err, ERR_REFUSED, "%s: this cannot be a mailbox's name", path);

	char *directory = mem_dup_text(path, slash == path ? 1 : (size_t)(slash - path));
	int error = disk->ops->open_dir(disk, directory, &above);

	mem_free(&directory);
	if (error != 0)
		return box_disk_fail(error, "cannot open the directory", path, err);
	result = open_directory(maildir, above, slash + 1, "", &maildir->dir, err);
	disk->ops->close(disk, above);
	return result;
}

enum mbox_open_result
maildir_open(struct maildir *maildir, const struct maildir_settings *settings, struct err *err)
{
	int result;

	*maildir = (struct maildir){
		.settings = settings, .dir = -1, .tmp = -1, .fresh = -1, .cur = -1,
	};
	result = open_base(maildir, err);
	if (result == 0)
		result = open_directory(maildir, maildir->dir, "tmp", "/tmp", &maildir->tmp, err);
	if (result == 0)
		result = open_directory(maildir, maildir->dir, "new", "/new", &maildir->fresh,
					err);
	if (result == 0)
		result = open_directory(maildir, maildir->dir, "cur", "/cur", &maildir->cur, err);
	if (result == 0)
		return MBOX_OPENED;
	maildir_close(maildir);
	return result == ENOENT ? MBOX_ABSENT : MBOX_REFUSED;
}

static void
close_directory(struct maildir *maildir, int *dir)
{
	struct box_disk *disk = maildir->settings->disk;

	if (*dir >= 0)
		disk->ops->close(disk, *dir);
	*dir = -1;
}

void
maildir_close(struct maildir *maildir)
{
	close_directory(maildir, &maildir->cur);
	close_directory(maildir, &maildir->fresh);
	close_directory(maildir, &maildir->tmp);
	close_directory(maildir, &maildir->dir);
}

/* ------------------------------------------------------------------------ planning */

void
maildir_name(uint64_t delivery_id, struct span host, uint64_t bytes,
	     char name_out[MAILDIR_NAME_BYTES])
{
	char id[BASE32_U64_BYTES], clean[MAILDIR_HOST_BYTES_MAX + 1];
	size_t len = host.len < MAILDIR_HOST_BYTES_MAX ? host.len : MAILDIR_HOST_BYTES_MAX;

	/* What a name cannot hold or should not, and what has a meaning in one. */
	for (size_t i = 0; i < len; i++)
		clean[i] = !ascii_is_print(host.data[i]) || strchr("/:,\\", host.data[i]) != NULL
			       ? '_' : host.data[i];
	clean[len] = '\0';
	base32_print_u64(delivery_id, id);
	(void)snprintf(name_out, MAILDIR_NAME_BYTES, "%" PRIu64 ".%s.%s,S=%" PRIu64,
		       delivery_id_ms(delivery_id) / 1000, id, clean, bytes);
}

static uint64_t
message_bytes(const struct mbox_message *message)
{
	return message->head.len + letter_bytes(message->letter);
}

void
maildir_plan(const struct maildir *maildir, const struct mbox_message *messages,
	     size_t message_count, struct span host, int64_t wall_ms, struct arena *arena,
	     struct intent *intent)
{
	struct intent_entry *entries = arena_alloc_array(arena, message_count, sizeof(*entries));

	must(message_count > 0 && message_count <= INTENT_ENTRY_COUNT_MAX && host.len > 0);
	for (size_t i = 0; i < message_count; i++)
		entries[i] = (struct intent_entry){
			.delivery_id = messages[i].delivery_id,
			.id_at = messages[i].id_at,
			.has_key = messages[i].has_key,
			.key = messages[i].key,
			.bytes = message_bytes(&messages[i]),
		};
	*intent = (struct intent){
		.kind = INTENT_MAILDIR,
		.wall_ms = wall_ms,
		.path = arena_dup(arena, span_from_cstr(maildir->settings->path)),
		.name = arena_dup(arena, span_first(host, MAILDIR_HOST_BYTES_MAX)),
		.uid = maildir->settings->uid,
		.entries = entries,
		.entry_count = message_count,
	};
}

/* ---------------------------------------------------------------------- delivering */

static int
write_vectors(struct maildir *maildir, int file, struct iovec *vectors, int count,
	      uint64_t *written, struct err *err)
{
	return box_disk_write_all(maildir->settings->disk, file, vectors, count, *written,
				  written, err);
}

/* Pieces that lie in a file come through one window, so each is written before the next. */
static int
write_message(struct maildir *maildir, int file, const struct mbox_message *message,
	      struct err *err)
{
	struct iovec vectors[VECTOR_COUNT];
	struct letter_reader reader;
	struct span text = message->head;
	uint64_t written = 0;
	int count = 0, result = 0;

	letter_reader_init(&reader, message->letter);
	do {
		vectors[count++] = (struct iovec){
			.iov_base = (void *)(uintptr_t)text.data,
			.iov_len = text.len,
		};
		if (count == VECTOR_COUNT || reader.window != NULL) {
			result = write_vectors(maildir, file, vectors, count, &written, err);
			count = 0;
		}
		if (result == 0)
			result = letter_read(&reader, &text, err);
		/* The first piece that comes through the window makes it. */
		if (result == 0 && reader.window != NULL && count > 0) {
			result = write_vectors(maildir, file, vectors, count, &written, err);
			count = 0;
		}
	} while (result == 0 && text.len > 0);
	if (result == 0)
		result = write_vectors(maildir, file, vectors, count, &written, err);
	letter_reader_fini(&reader);
	must(result < 0 || written == message_bytes(message));
	return result;
}

/* Written, and on its way to the disk; to be synced and closed.  *file_out is -1 on failure. */
static int
make_file(struct maildir *maildir, const char *name, const struct mbox_message *message,
	  int *file_out, struct err *err)
{
	struct box_disk *disk = maildir->settings->disk;
	const char *path = maildir->settings->path;
	int dir = mailbox_mutant(MAILBOX_MUTANT_WRITE_INTO_NEW) ? maildir->fresh : maildir->tmp;
	int error = disk->ops->open(disk, dir, name, BOX_OPEN_CREATE, file_out);

	if (error != 0) {
		*file_out = -1;
		return box_disk_fail(error, "cannot make a message in tmp/", path, err);
	}
	if (write_message(maildir, *file_out, message, err) < 0) {
		disk->ops->close(disk, *file_out);
		*file_out = -1;
		(void)disk->ops->remove(disk, maildir->tmp, name);
		return -1;
	}
	disk->ops->begin_sync(disk, *file_out);
	return 0;
}

static void
name_of(const struct intent *intent, size_t i, char name_out[MAILDIR_NAME_BYTES])
{
	maildir_name(intent->entries[i].delivery_id, intent->name, intent->entries[i].bytes,
		     name_out);
}

static void
remove_files(struct maildir *maildir, const struct intent *intent, size_t count)
{
	struct box_disk *disk = maildir->settings->disk;
	char name[MAILDIR_NAME_BYTES];

	for (size_t i = 0; i < count; i++) {
		name_of(intent, i, name);
		(void)disk->ops->remove(disk, maildir->tmp, name);
	}
}

/*
 * Messages FIRST to END, all made before the first is synced: one commit of the file system's
 * journal is enough for them then.
 */
static int
make_files(struct maildir *maildir, const struct intent *intent,
	   const struct mbox_message *messages, size_t first, size_t end, struct err *err)
{
	struct box_disk *disk = maildir->settings->disk;
	int files[FILES_AT_ONCE], result = 0, error;
	char name[MAILDIR_NAME_BYTES];
	size_t made = first;

	must(end - first <= FILES_AT_ONCE);
	while (made < end && result == 0) {
		name_of(intent, made, name);
		result = make_file(maildir, name, &messages[made], &files[made - first], err);
		made += result == 0;
	}
	for (size_t i = first; i < made; i++) {
		error = 0;
		if (result == 0 && !mailbox_mutant(MAILBOX_MUTANT_NO_FILE_SYNC))
			error = disk->ops->sync(disk, files[i - first], BOX_SYNC_DATA);
		if (error != 0)
			result = box_disk_fail(error, "making the message durable",
					       maildir->settings->path, err);
		disk->ops->close(disk, files[i - first]);
	}
	if (result < 0)
		remove_files(maildir, intent, made);
	return result;
}

enum mbox_append_result
maildir_deliver(struct maildir *maildir, const struct intent *intent,
		const struct mbox_message *messages, size_t message_count, struct err *err)
{
	struct box_disk *disk = maildir->settings->disk;
	char name[MAILDIR_NAME_BYTES];
	int error = 0;

	for (size_t i = 0; i < message_count; i += FILES_AT_ONCE) {
		size_t left = message_count - i;

		if (make_files(maildir, intent, messages, i,
			       i + (left < FILES_AT_ONCE ? left : FILES_AT_ONCE), err) < 0)
			return MBOX_UNDONE;
	}
	for (size_t i = 0; i < message_count && error == 0; i++) {
		if (mailbox_mutant(MAILBOX_MUTANT_WRITE_INTO_NEW))
			break;
		name_of(intent, i, name);
		error = disk->ops->rename(disk, maildir->tmp, name, maildir->fresh, name);
		if (error != 0 && i == 0) {
			remove_files(maildir, intent, message_count);
			(void)box_disk_fail(error, "moving to new/", maildir->settings->path, err);
			return MBOX_UNDONE;
		}
	}
	if (error == 0 && !mailbox_mutant(MAILBOX_MUTANT_NO_NEW_SYNC))
		error = disk->ops->sync_dir(disk, maildir->fresh);
	if (error == 0)
		return MBOX_APPENDED;
	(void)box_disk_fail(error, "moving to new/", maildir->settings->path, err);
	return MBOX_TORN;
}

/* ----------------------------------------------------------------------- repairing */

struct looking {
	const struct intent *intent;
	struct mbox_repair *repair;
};

/* A name in new/ or cur/; a reader may have put ":2,FLAGS" behind it. */
static void
look_at_name(void *ctx, const char *found)
{
	struct looking *looking = ctx;
	char name[MAILDIR_NAME_BYTES];

	for (size_t i = 0; i < looking->intent->entry_count; i++) {
		name_of(looking->intent, i, name);

		size_t len = strlen(name);

		if (strncmp(found, name, len) == 0 && (found[len] == '\0' || found[len] == ':'))
			looking->repair->delivered[i] = true;
	}
}

int
maildir_repair(struct maildir *maildir, const struct intent *intent, struct mbox_repair *repair,
	       struct err *err)
{
	struct box_disk *disk = maildir->settings->disk;
	struct looking looking = { .intent = intent, .repair = repair };
	const int dirs[] = { maildir->fresh, maildir->cur };

	must(intent->kind == INTENT_MAILDIR && intent->entry_count <= INTENT_ENTRY_COUNT_MAX);
	*repair = (struct mbox_repair){ 0 };
	/* First new/, then cur/: the way that a reader moves them. */
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		if (mailbox_mutant(MAILBOX_MUTANT_LOOK_IN_NEW_ONLY) && i > 0)
			break;

		int error = disk->ops->list(disk, dirs[i], look_at_name, &looking);

		if (error == 0)
			error = disk->ops->sync_dir(disk, dirs[i]);
		if (error != 0)
			return box_disk_fail(error, "looking for messages",
					     maildir->settings->path, err);
	}
	remove_files(maildir, intent, intent->entry_count);
	return 0;
}
