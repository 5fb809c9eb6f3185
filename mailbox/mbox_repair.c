#include "mailbox/mbox_repair.h"

#include <string.h>

#include "mailbox/mbox_search.h"
#include "mailbox/mutant.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	WINDOW_BYTES = 64 * 1024,
	PROOF_BYTES = 16,               /* so many octets in a row are no accident */
};

/* Where the append's messages are meant to be, and how far they are there. */
struct places {
	uint64_t starts[INTENT_ENTRY_COUNT_MAX + 1];    /* and the end of the append */
	bool whole[INTENT_ENTRY_COUNT_MAX];
	size_t whole_count;             /* so many from the first on, without a gap */
};

/* ------------------------------------------------------------------ whole messages */

static int
is_whole(struct mbox *mbox, const struct intent_entry *entry, uint64_t start, bool *whole_out,
	 struct err *err)
{
	uint64_t body = start + entry->body_at, end = body + entry->body_bytes;
	uint32_t crc;

	*whole_out = false;
	if (end > mbox->stat.size)
		return 0;
	if (mbox_search_sum(mbox, start, body, &crc, err) < 0)
		return -1;
	if (crc != entry->head_crc)
		return 0;
	if (mbox_search_sum(mbox, body, end, &crc, err) < 0)
		return -1;
	*whole_out = crc == entry->body_crc;
	return 0;
}

/* Where the content of message INDEX ends: what follows only parts it from the next one. */
static uint64_t
content_end(const struct intent *intent, const struct places *places, size_t index)
{
	const struct intent_entry *entry = &intent->entries[index];

	return places->starts[index] + entry->body_at + entry->body_bytes;
}

/*
 * Are there LFs and nothing else from START on, as far as the file goes?  What parts messages may
 * stand alone in a sector that the disk never got, and then readers see one message and not two.
 */
static int
are_line_ends(struct mbox *mbox, uint64_t start, uint64_t end, bool *are_out, struct err *err)
{
	char octets[4];
	size_t len;

	end = end < mbox->stat.size ? end : mbox->stat.size;
	*are_out = true;
	if (start >= end)
		return 0;
	len = (size_t)(end - start);
	must(len <= sizeof(octets));
	if (box_disk_read_all(mbox->settings->lock.disk, mbox->file, octets, len, start, err) < 0)
		return err_wrap(err, "%s", mbox->settings->path);
	for (size_t i = 0; i < len; i++)
		*are_out = *are_out && octets[i] == '\n';
	return 0;
}

static int
look_at_places(struct mbox *mbox, const struct intent *intent, struct places *places,
	       struct err *err)
{
	uint64_t start = intent->size_before + intent_lead_bytes(intent);

	*places = (struct places){ 0 };
	for (size_t i = 0; i < intent->entry_count; i++) {
		places->starts[i] = start;
		bool parted;

		if (mbox_search_is_start(mbox, start, &parted, err) < 0 ||
		    is_whole(mbox, &intent->entries[i], start, &places->whole[i], err) < 0)
			return -1;
		places->whole[i] = places->whole[i] && parted;
		if (places->whole[i] && places->whole_count == i)
			places->whole_count++;
		start += intent->entries[i].bytes;
	}
	places->starts[intent->entry_count] = start;
	return 0;
}

/* --------------------------------------------------------------------- torn tails */

/* What is known of the octets behind the last whole message. */
struct tail {
	size_t first;                   /* the message that should begin it */
	uint64_t from;
	bool is_ours;
	bool has_hole;                  /* something in it never got to the disk */
	bool is_in_place;               /* it really begins with octets of ours, not with zeros */
};

/* Do the octets from START on, as far as there are any, begin a message of ours? */
static int
look_at_beginning(struct mbox *mbox, const struct intent_entry *entry, uint64_t start,
		  struct tail *tail, struct err *err)
{
	char first[INTENT_FIRST_BYTES];
	uint64_t there = mbox->stat.size - start;
	size_t len = entry->first.len < there ? entry->first.len : (size_t)there;

	if (box_disk_read_all(mbox->settings->lock.disk, mbox->file, first, len, start, err) < 0)
		return err_wrap(err, "%s", mbox->settings->path);
	/* Zeros are where a disk never got what was written. */
	for (size_t i = 0; i < len && tail->is_ours; i++)
		tail->is_ours = first[i] == entry->first.data[i] || first[i] == '\0';
	if (len >= PROOF_BYTES && memcmp(first, entry->first.data, PROOF_BYTES) == 0)
		tail->is_in_place = true;
	return 0;
}

static bool
is_message_start(const struct intent *intent, const struct places *places, uint64_t at)
{
	for (size_t i = 0; i < intent->entry_count; i++)
		if (places->starts[i] == at)
			return true;
	return false;
}

/* Is there a From_ line of another program between START and END? */
static int
search_foreign(struct mbox *mbox, const struct intent *intent, const struct places *places,
	       uint64_t start, uint64_t end, bool *ours_out, struct err *err)
{
	while (start < end && *ours_out) {
		uint64_t at;

		if (mbox_search_from_line(mbox, start, end, &at, err) < 0)
			return -1;
		*ours_out = at == end || is_message_start(intent, places, at);
		start = at + 1;
	}
	return 0;
}

static int
find_zeros(struct mbox *mbox, uint64_t start, uint64_t end, bool *found_out, struct err *err)
{
	char *window = mem_alloc(WINDOW_BYTES);
	int result = 0;

	*found_out = false;
	while (start < end && result == 0 && !*found_out) {
		size_t len = end - start < WINDOW_BYTES ? (size_t)(end - start) : WINDOW_BYTES;

		result = box_disk_read_all(mbox->settings->lock.disk, mbox->file, window, len,
					   start, err);
		*found_out = result == 0 && memchr(window, '\0', len) != NULL;
		start += len;
	}
	mem_free(&window);
	return result;
}

/* Is this piece ours as it was written, or as far as it was written? */
static int
judge_piece(struct mbox *mbox, const struct intent *intent, const struct places *places,
	    size_t index, struct tail *tail, struct err *err)
{
	uint64_t start = intent_piece_start(intent, index), end = intent_piece_end(intent, index);
	uint64_t size = mbox->stat.size;
	uint32_t crc = ~intent->crcs[index];
	bool is_torn_by_end = end > size, has_zeros;

	if (!is_torn_by_end && mbox_search_sum(mbox, start, end, &crc, err) < 0)
		return -1;
	if (crc == intent->crcs[index])
		return 0;
	start = start < tail->from ? tail->from : start;
	end = is_torn_by_end ? size : end;
	if (find_zeros(mbox, start, end, &has_zeros, err) < 0)
		return -1;
	tail->has_hole = tail->has_hole || has_zeros;
	tail->is_ours = is_torn_by_end || has_zeros;
	return search_foreign(mbox, intent, places, start, end, &tail->is_ours, err);
}

/*
 * Did a reader only change the header of this message?  Its body is behind it then; one without a
 * body ends in an empty line, which a torn one does not.
 */
static int
is_changed(struct mbox *mbox, const struct intent_entry *entry, uint64_t from, bool *changed_out,
	   struct err *err)
{
	*changed_out = entry->body_bytes == 0 && mbox->lead.len == 0;
	if (entry->body_bytes == 0)
		return 0;
	return mbox_search_delivery(mbox, entry, mbox->stat.size - from, changed_out, err);
}

/* Is all from there on to the end of the file a torn part of our append? */
static int
judge_tail(struct mbox *mbox, const struct intent *intent, const struct places *places,
	   struct tail *tail, struct err *err)
{
	uint64_t size = mbox->stat.size;
	bool changed = false;

	tail->is_ours = size <= places->starts[intent->entry_count] ||
			mailbox_mutant(MAILBOX_MUTANT_CUT_FOREIGN);
	for (size_t i = tail->first; i < intent->entry_count && tail->is_ours; i++)
		if (places->starts[i] < size &&
		    look_at_beginning(mbox, &intent->entries[i], places->starts[i], tail,
				      err) < 0)
			return -1;
	for (size_t i = 0; i < intent->crc_count && tail->is_ours; i++)
		if (intent_piece_end(intent, i) > tail->from &&
		    intent_piece_start(intent, i) < size &&
		    judge_piece(mbox, intent, places, i, tail, err) < 0)
			return -1;
	/* What has holes was never answered 250, and no reader made it so. */
	for (size_t i = tail->first; i < intent->entry_count && tail->is_ours && !tail->has_hole;
	     i++) {
		if (mailbox_mutant(MAILBOX_MUTANT_CUT_CHANGED))
			break;
		if (!places->whole[i] && places->starts[i] < size &&
		    is_changed(mbox, &intent->entries[i], tail->from, &changed, err) < 0)
			return -1;
		tail->is_ours = !changed;
	}
	return 0;
}

static int
cut(struct mbox *mbox, uint64_t size, struct err *err)
{
	struct box_disk *disk = mbox->settings->lock.disk;
	int error = disk->ops->truncate(disk, mbox->file, size);

	if (error == 0)
		error = disk->ops->sync(disk, mbox->file, BOX_SYNC_ALL);
	if (error != 0)
		return box_disk_fail(error, "cutting off a torn message", mbox->settings->path,
				     err);
	return mbox_look_again(mbox, err);
}

/* Where that which is whole ends, without a gap: with what parts it from the next, if it is. */
static int
find_whole_end(struct mbox *mbox, const struct intent *intent, const struct places *places,
	       uint64_t *end_out, struct err *err)
{
	size_t count = places->whole_count;
	bool parted;

	*end_out = intent->size_before;
	if (count == 0)
		return 0;
	*end_out = content_end(intent, places, count - 1);
	if (are_line_ends(mbox, *end_out, places->starts[count], &parted, err) < 0)
		return -1;
	if (parted)
		*end_out = places->starts[count];
	return 0;
}

/*
 * Cut off what is torn, if it is; where it begins is where the whole messages end.
 * *in_place_out when it was, for certain, where it had been written: nothing was moved.
 */
static int
cut_torn(struct mbox *mbox, const struct intent *intent, const struct places *places,
	 bool *cut_out, bool *in_place_out, struct err *err)
{
	struct tail tail = { .first = places->whole_count };
	bool only_lead = false;

	if (find_whole_end(mbox, intent, places, &tail.from, err) < 0)
		return -1;
	/* Line ends prove nothing: they may be the last of what a reader wrote, and do no harm. */
	if (mbox->stat.size <= places->starts[0] &&
	    are_line_ends(mbox, intent->size_before, places->starts[0], &only_lead, err) < 0)
		return -1;
	if (mbox->stat.size <= tail.from || only_lead || mailbox_mutant(MAILBOX_MUTANT_NO_CUT))
		return 0;
	if (judge_tail(mbox, intent, places, &tail, err) < 0)
		return -1;
	*cut_out = tail.is_ours;
	*in_place_out = tail.is_ours && (tail.is_in_place || tail.first > 0);
	if (mailbox_mutant(MAILBOX_MUTANT_CUT_ALL))
		tail.from = intent->size_before;
	return tail.is_ours ? cut(mbox, tail.from, err) : 0;
}

/* ------------------------------------------------------------------------ durable */

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
	int file, result, error;

	if (mailbox_mutant(MAILBOX_MUTANT_BELIEVE_CACHE))
		return 0;
	error = disk->ops->open(disk, mbox->dir, mbox->name, BOX_OPEN_UPDATE, &file);
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

/*
 * What readers moved is theirs to make durable; we only wait for it.  What is not there may still
 * be on the disk, and come back when the machine stops: that, too, must be as we see it.
 */
static int
sync_as_it_is(struct mbox *mbox, struct err *err)
{
	struct box_disk *disk = mbox->settings->lock.disk;
	int error = disk->ops->sync(disk, mbox->file, BOX_SYNC_ALL);

	if (error == 0)
		error = disk->ops->sync_dir(disk, mbox->dir);
	if (error != 0)
		return box_disk_fail(error, "making it durable", mbox->settings->path, err);
	return 0;
}

/* ---------------------------------------------------------------------------- all */

static int
search_rest(struct mbox *mbox, const struct intent *intent, struct mbox_repair *repair,
	    struct err *err)
{
	for (size_t i = 0; i < intent->entry_count; i++) {
		if (repair->delivered[i] || mailbox_mutant(MAILBOX_MUTANT_NO_SEARCH))
			continue;
		if (mbox_search_delivery(mbox, &intent->entries[i], MBOX_REPAIR_SEARCH_BYTES_MAX,
					 &repair->delivered[i], err) < 0)
			return -1;
		repair->searched = repair->searched || repair->delivered[i];
	}
	return sync_as_it_is(mbox, err);
}

/*
 * The file is no longer than it was.  If that is because the append was undone, and making that
 * durable failed, no sync knows of it any more: so it is cut once more.
 */
static int
repair_short(struct mbox *mbox, const struct intent *intent, struct mbox_repair *repair,
	     struct err *err)
{
	if (mbox->stat.size == intent->size_before && cut(mbox, mbox->stat.size, err) < 0)
		return -1;
	return search_rest(mbox, intent, repair, err);
}

int
mbox_repair(struct mbox *mbox, const struct intent *intent, struct mbox_repair *repair,
	    struct err *err)
{
	struct places places;
	bool some = false, all = true, in_place = false;

	must(intent->kind == INTENT_MBOX && intent->entry_count <= INTENT_ENTRY_COUNT_MAX);
	*repair = (struct mbox_repair){ 0 };
	if (mbox->stat.device != intent->device || mbox->stat.inode != intent->inode)
		return search_rest(mbox, intent, repair, err);
	if (mbox->stat.size <= intent->size_before)
		return repair_short(mbox, intent, repair, err);
	if (look_at_places(mbox, intent, &places, err) < 0 ||
	    cut_torn(mbox, intent, &places, &repair->cut, &in_place, err) < 0)
		return -1;
	for (size_t i = 0; i < intent->entry_count; i++) {
		/* What stood behind a gap went with it. */
		repair->delivered[i] = places.whole[i] &&
				       (!repair->cut || i < places.whole_count);
		some = some || repair->delivered[i];
		all = all && repair->delivered[i];
	}
	if (some && make_sure(mbox, intent, err) < 0)
		return -1;
	if (all || in_place)
		return 0;
	if (search_rest(mbox, intent, repair, err) < 0)
		return -1;
	/* Is there anything of those that are not delivered? */
	for (size_t i = 0; i < intent->entry_count; i++)
		repair->left = repair->left || (!repair->delivered[i] && !repair->cut &&
						mbox->stat.size > places.starts[i]);
	return 0;
}
