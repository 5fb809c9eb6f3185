#include "mailbox/maildir_size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "relay/base/span.h"

enum {
	FILE_BYTES_MAX = 5120,          /* beyond that it is counted anew, as Maildir++ asks */
	LINE_BYTES = 64,
};

static const char file_name[] = "maildirsize";
static const char draft_name[] = "maildirsize.chapar";

/* ------------------------------------------------------------------------- reading */

/* "1000S,50C", in any order; other letters are for other programs. */
static bool
parse_quota(struct span line, struct quota *quota)
{
	struct span part;

	*quota = (struct quota){ 0 };
	while (span_take_part(&line, ',', &part)) {
		uint64_t value;

		part = span_trim(part);
		if (part.len < 2 ||
		    !span_parse_u64(span_first(part, part.len - 1), INT64_MAX, &value))
			return false;
		if (part.data[part.len - 1] == 'S')
			quota->bytes = value;
		else if (part.data[part.len - 1] == 'C')
			quota->messages = value;
	}
	return true;
}

static bool
parse_signed(struct span word, int64_t *value_out)
{
	bool negative = span_starts_with(word, SPAN("-"));
	uint64_t value;

	if (!span_parse_u64(negative ? span_skip(word, 1) : word, INT64_MAX, &value))
		return false;
	*value_out = negative ? -(int64_t)value : (int64_t)value;
	return true;
}

/* The lines behind the first, summed up. */
static bool
sum_lines(struct span lines, struct usage *usage)
{
	int64_t bytes = 0, messages = 0, value, count;
	struct span line, word;

	while (span_take_part(&lines, '\n', &line)) {
		if (span_trim(line).len == 0)
			continue;
		if (!span_take_word(&line, &word) || !parse_signed(word, &value) ||
		    !span_take_word(&line, &word) || !parse_signed(word, &count) ||
		    __builtin_add_overflow(bytes, value, &bytes) ||
		    __builtin_add_overflow(messages, count, &messages))
			return false;
	}
	usage->bytes = bytes < 0 ? 0 : (uint64_t)bytes;
	usage->messages = messages < 0 ? 0 : (uint64_t)messages;
	return bytes >= 0 && messages >= 0;
}

/* Open it, if it is a plain file of the box's owner with one name. */
static int
open_file(struct maildir *maildir, enum box_open how, struct box_stat *stat_out)
{
	struct box_disk *disk = maildir->settings->disk;
	int file;

	if (disk->ops->open(disk, maildir->dir, file_name, how, &file) != 0)
		return -1;
	if (disk->ops->stat(disk, file, stat_out) == 0 && stat_out->kind == BOX_KIND_FILE &&
	    stat_out->link_count == 1 && stat_out->uid == maildir->settings->uid)
		return file;
	disk->ops->close(disk, file);
	return -1;
}

/* False when it has to be counted anew.  *there_out: a quota is written there. */
static bool
read_file(struct maildir *maildir, struct quota *quota, struct usage *usage, bool *there_out)
{
	struct box_disk *disk = maildir->settings->disk;
	char text[FILE_BYTES_MAX];
	struct box_stat stat;
	struct span rest, line;
	struct err ignored;
	int file = open_file(maildir, BOX_OPEN_READ, &stat);
	size_t len;
	bool good;

	*there_out = false;
	if (file < 0)
		return false;
	len = stat.size < sizeof(text) ? (size_t)stat.size : sizeof(text);
	good = box_disk_read_all(disk, file, text, len, 0, &ignored) == 0;
	disk->ops->close(disk, file);
	rest = span_make(text, len);
	if (!good || !span_take_part(&rest, '\n', &line) || !parse_quota(line, quota))
		return false;
	*there_out = true;
	return stat.size < sizeof(text) && sum_lines(rest, usage);
}

int
maildir_size_read(struct maildir *maildir, struct quota *quota, struct usage *usage,
		  struct err *err)
{
	const struct quota wanted = *quota;
	struct quota written = { 0 };
	bool is_there, good;

	*usage = (struct usage){ 0 };
	good = read_file(maildir, &written, usage, &is_there);
	if (!quota_is_set(&wanted)) {
		if (!is_there || !quota_is_set(&written))
			return 0;
		*quota = written;
	} else if (written.bytes != wanted.bytes || written.messages != wanted.messages) {
		good = false;
	}
	return good ? 0 : maildir_size_recount(maildir, quota, usage, err);
}

/* ------------------------------------------------------------------------ counting */

struct counting {
	struct box_disk *disk;
	int dir;
	struct usage *usage;
};

/* The size that stands in the name, else the file's. */
static uint64_t
size_of(const struct counting *counting, const char *name)
{
	struct span rest = span_from_cstr(name);
	struct box_stat stat;
	uint64_t bytes;
	size_t at, digits = 0;

	if (span_find(rest, SPAN(",S="), &at)) {
		rest = span_skip(rest, at + 3);
		while (digits < rest.len && rest.data[digits] >= '0' && rest.data[digits] <= '9')
			digits++;
		if (span_parse_u64(span_first(rest, digits), INT64_MAX, &bytes))
			return bytes;
	}
	if (counting->disk->ops->stat_at(counting->disk, counting->dir, name, &stat) != 0)
		return 0;
	return stat.size;
}

static void
count_message(void *ctx, const char *name)
{
	const struct counting *counting = ctx;
	const char *flags = strstr(name, ":2,");

	if (name[0] == '.' || (flags != NULL && strchr(flags, 'T') != NULL))
		return;
	usage_add(counting->usage, size_of(counting, name), 1);
}

static int
count_directory(struct box_disk *disk, int above, const char *name, struct usage *usage)
{
	struct counting counting = { .disk = disk, .usage = usage };
	int error = disk->ops->open_dir_at(disk, above, name, &counting.dir);

	if (error != 0)
		return error == ENOENT || error == ENOTDIR ? 0 : error;
	error = disk->ops->list(disk, counting.dir, count_message, &counting);
	disk->ops->close(disk, counting.dir);
	return error;
}

struct folders {
	struct maildir *maildir;
	struct usage *usage;
	int error;
};

/* Folders are directories whose names begin with a dot. */
static void
count_folder(void *ctx, const char *name)
{
	struct folders *folders = ctx;
	struct box_disk *disk = folders->maildir->settings->disk;
	int dir;

	if (name[0] != '.' || strcmp(name, ".Trash") == 0 || folders->error != 0 ||
	    disk->ops->open_dir_at(disk, folders->maildir->dir, name, &dir) != 0)
		return;
	folders->error = count_directory(disk, dir, "new", folders->usage);
	if (folders->error == 0)
		folders->error = count_directory(disk, dir, "cur", folders->usage);
	disk->ops->close(disk, dir);
}

static void
write_file(struct maildir *maildir, const struct quota *quota, const struct usage *usage)
{
	struct box_disk *disk = maildir->settings->disk;
	char text[2 * LINE_BYTES], limits[LINE_BYTES];
	struct iovec vector = { .iov_base = text };
	struct err ignored;
	uint64_t written = 0;
	int file;

	(void)snprintf(limits, sizeof(limits), "%" PRIu64 "S,%" PRIu64 "C", quota->bytes,
		       quota->messages);
	if (quota->messages == 0)
		(void)snprintf(limits, sizeof(limits), "%" PRIu64 "S", quota->bytes);
	else if (quota->bytes == 0)
		(void)snprintf(limits, sizeof(limits), "%" PRIu64 "C", quota->messages);
	vector.iov_len = (size_t)snprintf(text, sizeof(text), "%s\n%" PRIu64 " %" PRIu64 "\n",
					  limits, usage->bytes, usage->messages);
	(void)disk->ops->remove(disk, maildir->tmp, draft_name);
	if (disk->ops->open(disk, maildir->tmp, draft_name, BOX_OPEN_CREATE, &file) != 0)
		return;
	if (box_disk_write_all(disk, file, &vector, 1, 0, &written, &ignored) == 0)
		(void)disk->ops->rename(disk, maildir->tmp, draft_name, maildir->dir, file_name);
	disk->ops->close(disk, file);
}

int
maildir_size_recount(struct maildir *maildir, const struct quota *quota, struct usage *usage,
		     struct err *err)
{
	struct box_disk *disk = maildir->settings->disk;
	struct folders folders = { .maildir = maildir, .usage = usage };
	int error;

	*usage = (struct usage){ 0 };
	error = count_directory(disk, maildir->dir, "new", usage);
	if (error == 0)
		error = count_directory(disk, maildir->dir, "cur", usage);
	if (error == 0)
		error = disk->ops->list(disk, maildir->dir, count_folder, &folders);
	if (error == 0)
		error = folders.error;
	if (error != 0)
		return box_disk_fail(error, "counting messages", maildir->settings->path, err);
	write_file(maildir, quota, usage);
	return 0;
}

void
maildir_size_add(struct maildir *maildir, uint64_t bytes, uint64_t messages)
{
	struct box_disk *disk = maildir->settings->disk;
	char text[LINE_BYTES];
	struct iovec vector = { .iov_base = text };
	struct box_stat stat;
	struct err ignored;
	uint64_t written = 0;
	int file = open_file(maildir, BOX_OPEN_WRITE, &stat);

	if (file < 0)
		return;
	vector.iov_len = (size_t)snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64 "\n", bytes,
					  messages);
	(void)box_disk_write_all(disk, file, &vector, 1, stat.size, &written, &ignored);
	disk->ops->close(disk, file);
}
