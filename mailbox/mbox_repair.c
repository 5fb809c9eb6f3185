#include "mailbox/mbox_repair.h"

#include <string.h>

#include "mailbox/mbox_search.h"
#include "relay/base/crc32c.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	WINDOW_BYTES = 64 * 1024,
	PROOF_BYTES = 64,
};

/* What was found out about the octets behind the old size. */
struct region {
	bool piece_is_ours[INTENT_CRC_COUNT_MAX];
	bool begins_as_ours;            /* as far as there is anything */
	bool has_our_piece;             /* one long enough to be no accident */
	size_t first_bytes;             /* of its beginning, that are ours or zeros */
	uint64_t end;                   /* of the file */
};

/* The checksum of a part of the file, and whether it is all zeros. */
static int
sum_up(struct mbox *mbox, char *window, uint64_t start, uint64_t end, uint32_t *crc_out,
       bool *zeros_out, struct err *err)
{
	*crc_out = 0;
	*zeros_out = true;
	while (start < end) {
		size_t len = end - start < WINDOW_BYTES ? (size_t)(end - start) : WINDOW_BYTES;

		if (box_disk_read_all(mbox->settings->lock.disk, mbox->file, window, len, start,
				      err) < 0)
			return err_wrap(err, "%s", mbox->settings->path);
		*crc_out = crc32c(*crc_out, window, len);
		*zeros_out = *zeros_out && window[0] == '\0' &&
			     memcmp(window, window + 1, len - 1) == 0;
		start += len;
	}
	return 0;
}

/*
 * The beginning of the region: the octets that the intent kept, or zeros where a disk never got
 * them.
 */
static int
compare_first(struct mbox *mbox, const struct intent *intent, struct region *region,
	      struct err *err)
{
	char first[INTENT_FIRST_BYTES];
	uint64_t there = region->end - intent->size_before;
	size_t len = intent->first.len < there ? intent->first.len : (size_t)there;

	if (box_disk_read_all(mbox->settings->lock.disk, mbox->file, first, len,
			      intent->size_before, err) < 0)
		return err_wrap(err, "%s", mbox->settings->path);
	region->begins_as_ours = true;
	for (size_t i = 0; i < len; i++) {
		if (first[i] != intent->first.data[i] && first[i] != '\0')
			region->begins_as_ours = false;
		else if (region->begins_as_ours)
			region->first_bytes = i + 1;
	}
	return 0;
}

static int
compare_pieces(struct mbox *mbox, const struct intent *intent, struct region *region,
	       struct err *err)
{
	char *window = mem_alloc(WINDOW_BYTES);
	int result = 0;

	for (size_t i = 0; i < intent->crc_count && result == 0; i++) {
		uint64_t start = intent_piece_start(intent, i), end = intent_piece_end(intent, i);
		uint64_t there = end < region->end ? end : region->end;
		uint32_t crc;
		bool zeros;

		if (start >= region->end)
			break;
		result = sum_up(mbox, window, start, there, &crc, &zeros, err);
		/* Zeros hold nothing that anybody could lose. */
		region->piece_is_ours[i] = zeros || (there == end && crc == intent->crcs[i]);
		region->has_our_piece = region->has_our_piece ||
					(region->piece_is_ours[i] && !zeros &&
					 there - start >= PROOF_BYTES);
	}
	mem_free(&window);
	return result;
}

/* Is every octet from START to END there and the intent's? */
static int
is_written(struct mbox *mbox, const struct intent *intent, uint64_t start, uint64_t end,
	   bool *written_out, struct err *err)
{
	char *window = mem_alloc(WINDOW_BYTES);
	int result = 0;

	*written_out = end <= mbox->stat.size;
	for (size_t i = 0; i < intent->crc_count && result == 0 && *written_out; i++) {
		uint64_t piece_start = intent_piece_start(intent, i);
		uint64_t piece_end = intent_piece_end(intent, i);
		uint32_t crc;
		bool zeros;

		if (piece_end <= start || piece_start >= end)
			continue;
		*written_out = piece_end <= mbox->stat.size;
		if (*written_out)
			result = sum_up(mbox, window, piece_start, piece_end, &crc, &zeros, err);
		*written_out = *written_out && result == 0 && crc == intent->crcs[i];
	}
	mem_free(&window);
	return result;
}

/* Does one of our messages begin at this place? */
static bool
is_entry_start(const struct intent *intent, uint64_t at)
{
	uint64_t start = intent->size_before + intent->bytes;

	for (size_t i = intent->entry_count; i-- > 0; ) {
		start -= intent->entries[i].bytes;
		if (start == at)
			return true;
	}
	return false;
}

/*
 * Does a message of another program begin between START and END?  Its From_ line may be glued to
 * the torn end of ours, so it need not begin a line.
 */
static int
search_foreign(struct mbox *mbox, const struct intent *intent, uint64_t start, uint64_t end,
	       bool *foreign_out, struct err *err)
{
	while (start < end && !*foreign_out) {
		uint64_t at;

		if (mbox_search_from_line(mbox, start, end, &at, err) < 0)
			return -1;
		*foreign_out = at < end && !is_entry_start(intent, at);
		start = at + 1;
	}
	return 0;
}

/*
 * Was the region written to by others?  What lies behind the end of our append is theirs; what
 * lies in it and is not provably ours may be.
 */
static int
has_foreign_message(struct mbox *mbox, const struct intent *intent, const struct region *region,
		    bool *foreign_out, struct err *err)
{
	uint64_t known_end = intent->size_before + region->first_bytes;

	*foreign_out = region->end > intent->size_before + intent->bytes;
	for (size_t i = 0; i < intent->crc_count && !*foreign_out; i++) {
		uint64_t start = intent_piece_start(intent, i), end = intent_piece_end(intent, i);

		if (region->piece_is_ours[i] || start >= region->end)
			continue;
		if (start < known_end)
			start = known_end;
		if (end > region->end)
			end = region->end;
		if (search_foreign(mbox, intent, start, end, foreign_out, err) < 0)
			return -1;
	}
	return 0;
}

static int
cut(struct mbox *mbox, const struct intent *intent, struct err *err)
{
	struct box_disk *disk = mbox->settings->lock.disk;
	int error = disk->ops->truncate(disk, mbox->file, intent->size_before);

	if (error == 0)
		error = disk->ops->sync(disk, mbox->file, BOX_SYNC_ALL);
	if (error != 0)
		return box_disk_fail(error, "cutting off a torn message", mbox->settings->path,
		    err);
	return mbox_look_again(mbox, err);
}

/*
 * What is there and ours may be in memory only, and a sync that failed before would make the next
 * one lie: so it is written once more, octet for octet, before it is synced and believed.
 */
static int
write_again(struct mbox *mbox, int file, uint64_t start, uint64_t end, struct err *err)
{
	struct box_disk *disk = mbox->settings->lock.disk;
	char *window = mem_alloc(WINDOW_BYTES);
	int result = 0;

	while (start < end && result == 0) {
		size_t len = end - start < WINDOW_BYTES ? (size_t)(end - start) : WINDOW_BYTES;
		struct iovec vector = { .iov_base = window, .iov_len = len };
		uint64_t written = 0;

		result = box_disk_read_all(disk, mbox->file, window, len, start, err);
		if (result == 0)
			result = box_disk_write_all(disk, file, &vector, 1, start, &written, err);
		start += len;
	}
	mem_free(&window);
	return result;
}

static int
make_sure(struct mbox *mbox, const struct intent *intent, struct err *err)
{
	struct box_disk *disk = mbox->settings->lock.disk;
	uint64_t end = intent->size_before + intent->bytes;
	struct box_stat stat;
	int file, result;
	int error = disk->ops->open(disk, mbox->dir, mbox->name, BOX_OPEN_UPDATE, &file);

	if (error != 0)
		return box_disk_fail(error, "cannot open it again", mbox->settings->path, err);
	error = disk->ops->stat(disk, file, &stat);
	if (error != 0)
		result = box_disk_fail(error, "cannot look at it", mbox->settings->path, err);
	else if (stat.inode != mbox->stat.inode || stat.device != mbox->stat.device)
		result = err_set(err, ERR_REFUSED, "%s: was replaced", mbox->settings->path);
	else
		result = write_again(mbox, file, intent->size_before,
				     end < mbox->stat.size ? end : mbox->stat.size, err);
	if (result == 0) {
		error = disk->ops->sync(disk, file, BOX_SYNC_ALL);
		if (error == 0)
			error = disk->ops->sync_dir(disk, mbox->dir);
		if (error != 0)
			result = box_disk_fail(error, "making it durable", mbox->settings->path,
					       err);
	}
	disk->ops->close(disk, file);
	return result;
}

/* Entry by entry, by its place in the append. */
static int
judge_by_place(struct mbox *mbox, const struct intent *intent, struct mbox_repair *repair,
	       struct err *err)
{
	uint64_t end = intent->size_before + intent->bytes;

	for (size_t i = intent->entry_count; i-- > 0; ) {
		uint64_t start = end - intent->entries[i].bytes;

		if (is_written(mbox, intent, start, end, &repair->delivered[i], err) < 0)
			return -1;
		end = start;
	}
	return make_sure(mbox, intent, err);
}

/* Entry by entry, by its delivery id somewhere in the file. */
static int
judge_by_search(struct mbox *mbox, const struct intent *intent, struct mbox_repair *repair,
		struct err *err)
{
	repair->searched = true;
	for (size_t i = 0; i < intent->entry_count; i++)
		if (mbox_search_delivery(mbox, &intent->entries[i], MBOX_REPAIR_SEARCH_BYTES_MAX,
					 &repair->delivered[i], err) < 0)
			return -1;
	return 0;
}

int
mbox_repair(struct mbox *mbox, const struct intent *intent, struct mbox_repair *repair,
	    struct err *err)
{
	struct region region = { .end = mbox->stat.size };
	bool whole, foreign = false;

	must(intent->kind == INTENT_MBOX && intent->entry_count <= INTENT_ENTRY_COUNT_MAX);
	*repair = (struct mbox_repair){ 0 };
	if (mbox->stat.device != intent->device || mbox->stat.inode != intent->inode ||
	    mbox->stat.size < intent->size_before)
		return judge_by_search(mbox, intent, repair, err);
	if (mbox->stat.size == intent->size_before)
		return 0;
	if (is_written(mbox, intent, intent->size_before, intent->size_before + intent->bytes,
		       &whole, err) < 0)
		return -1;
	if (whole) {
		for (size_t i = 0; i < intent->entry_count; i++)
			repair->delivered[i] = true;
		return make_sure(mbox, intent, err);
	}
	if (compare_first(mbox, intent, &region, err) < 0 ||
	    compare_pieces(mbox, intent, &region, err) < 0)
		return -1;
	if (!region.begins_as_ours && !region.has_our_piece)
		return judge_by_search(mbox, intent, repair, err);
	if (has_foreign_message(mbox, intent, &region, &foreign, err) < 0)
		return -1;
	if (foreign) {
		repair->left = true;
		return judge_by_place(mbox, intent, repair, err);
	}
	repair->cut = true;
	return cut(mbox, intent, err);
}
