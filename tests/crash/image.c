#include "tests/crash/disk.h"

#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "tests/crash/chance.h"

/*
 * What a crash leaves.  A unit is one sector, one size or one name; which units
 * came to the disk is chosen one by one, in the order in which they were issued.
 */
static const char *const image_names[IMAGE_COUNT] = {
	[IMAGE_NONE] = "none",
	[IMAGE_ALL] = "all",
	[IMAGE_PREFIX] = "prefix",
	[IMAGE_DROP_ONE] = "drop-one",
	[IMAGE_ONLY_ONE] = "only-one",
	[IMAGE_SUBSET] = "subset",
	[IMAGE_KILL] = "kill",
	[IMAGE_KILL_EVICT] = "kill-evict",
};

const char *
crash_image_name(enum crash_image image)
{
	must(image < IMAGE_COUNT);
	return image_names[image];
}

static uint32_t
units_of(const struct crash_pending *pending)
{
	return pending->kind == PENDING_DATA ? (uint32_t)__builtin_popcount(pending->sectors) : 1;
}

uint32_t
crash_disk_unit_count(const struct crash_disk *disk)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < disk->pending_count; i++)
		count += units_of(&disk->pending[i]);
	return count;
}

struct picker {
	enum crash_image image;
	struct chance chance;
	uint32_t at, chosen, percent;
};

static struct picker
picker_init(const struct crash_disk *disk, const struct crash_choice *choice)
{
	static const uint32_t percents[] = { 10, 50, 90 };
	uint32_t count = crash_disk_unit_count(disk);
	struct picker picker = { .image = choice->image, .chance = chance_at(choice->seed) };

	picker.percent = percents[chance_below(&picker.chance, 3)];
	picker.chosen = count > 0 ? chance_below(&picker.chance, count) : 0;
	return picker;
}

static bool
picks(struct picker *picker)
{
	uint32_t at = picker->at++;

	switch (picker->image) {
	case IMAGE_NONE:
		return false;
	case IMAGE_ALL:
	case IMAGE_KILL:
	case IMAGE_KILL_EVICT:
		return true;
	case IMAGE_PREFIX:
		return at <= picker->chosen;
	case IMAGE_DROP_ONE:
		return at != picker->chosen;
	case IMAGE_ONLY_ONE:
		return at == picker->chosen;
	case IMAGE_SUBSET:
		return chance_below(&picker->chance, 100) < picker->percent;
	case IMAGE_COUNT:
		break;
	}
	must_not_reach();
}

static uint8_t
picked_sectors(struct picker *picker, uint8_t sectors)
{
	uint8_t picked = 0;

	for (uint32_t i = 0; i < CRASH_PAGE_SECTORS; i++) {
		if ((sectors & 1u << i) && picks(picker))
			picked |= (uint8_t)(1u << i);
	}
	return picked;
}

/* ---- sectors that were under the head ------------------------------------------- */

static void
fill_garbage(char *sector, struct chance *chance)
{
	uint64_t value = chance_u64(chance);

	for (size_t i = 0; i < CRASH_SECTOR_BYTES; i += sizeof(value)) {
		value = chance_mix(value, i);
		memcpy(sector + i, &value, sizeof(value));
	}
}

/* The first octets are new, the rest is as it was. */
static void
tear(struct crash_content *content, const struct crash_pending *pending, uint32_t sector,
    struct chance *chance)
{
	struct crash_page *page = crash_content_own(content, pending->at);
	uint32_t cut = 1 + chance_below(chance, CRASH_SECTOR_BYTES - 1);

	memcpy(page->data + sector * CRASH_SECTOR_BYTES,
	    pending->page->data + sector * CRASH_SECTOR_BYTES, cut);
}

static void
garble(struct crash_content *content, const struct crash_pending *pending, uint32_t sector,
    bool neighbours_too, struct chance *chance)
{
	struct crash_page *page = crash_content_own(content, pending->at);

	for (uint32_t i = 0; i < CRASH_PAGE_SECTORS; i++) {
		if (i == sector || (neighbours_too && chance_one_in(chance, 2)))
			fill_garbage(page->data + i * CRASH_SECTOR_BYTES, chance);
	}
}

static uint32_t
some_sector(uint8_t sectors, struct chance *chance)
{
	uint32_t skip = chance_below(chance, (uint32_t)__builtin_popcount(sectors));

	for (uint32_t i = 0;; i++) {
		if ((sectors & 1u << i) && skip-- == 0)
			return i;
	}
}

/* One of the data operations, each as likely; -1 when there is none. */
static ptrdiff_t
some_data(const struct crash_disk *disk, struct chance *chance)
{
	ptrdiff_t found = -1;
	uint32_t count = 0;

	for (uint32_t i = 0; i < disk->pending_count; i++) {
		const struct crash_pending *pending = &disk->pending[i];

		if (pending->kind == PENDING_DATA && pending->sectors &&
		    chance_below(chance, ++count) == 0)
			found = i;
	}
	return found;
}

static void
disturb(struct crash_disk *to, const struct crash_disk *from, const struct crash_choice *choice)
{
	struct chance chance = chance_at(chance_mix(choice->seed, 1));
	ptrdiff_t at = choice->tears || choice->garbles ? some_data(from, &chance) : -1;

	if (at < 0)
		return;
	const struct crash_pending *pending = &from->pending[at];
	struct crash_content *content = &to->inodes[pending->inode].durable;
	uint32_t sector = some_sector(pending->sectors, &chance);

	if (!to->inodes[pending->inode].is_used)
		return;
	if (choice->tears)
		tear(content, pending, sector, &chance);
	else
		garble(content, pending, sector, choice->garbles_page, &chance);
}

/* ---- power cuts ------------------------------------------------------------------ */

static void
apply_picked(struct crash_disk *to, const struct crash_disk *from,
    const struct crash_choice *choice)
{
	struct picker picker = picker_init(from, choice);

	for (uint32_t i = 0; i < from->pending_count; i++) {
		const struct crash_pending *pending = &from->pending[i];

		if (pending->kind == PENDING_DATA) {
			uint8_t sectors = picked_sectors(&picker, pending->sectors);

			if (sectors)
				crash_content_take(&to->inodes[pending->inode].durable,
				    pending->at, pending->page, sectors);
		} else if (picks(&picker)) {
			if (pending->kind != PENDING_SIZE)
				crash_names_apply(&to->durable, pending);
			else if (to->inodes[pending->inode].durable.size < pending->at)
				to->inodes[pending->inode].durable.size = pending->at;
		}
	}
}

/* What is behind the end of a file is not there, and zeros when it grows again. */
static void
cut_to_size(struct crash_content *content)
{
	for (uint32_t i = 0; i < content->page_count; i++) {
		uint32_t begin = i * CRASH_PAGE_BYTES;

		if (!content->pages[i])
			continue;
		if (begin >= content->size)
			crash_page_release(&content->pages[i]);
		else if (content->size - begin < CRASH_PAGE_BYTES)
			memset(crash_content_own(content, i)->data + (content->size - begin), 0,
			    CRASH_PAGE_BYTES - (content->size - begin));
	}
}

static void
forget_unnamed(struct crash_disk *disk)
{
	for (int i = 0; i < disk->inode_count; i++) {
		bool is_named = false;

		for (int j = 0; j < disk->durable.count; j++)
			is_named |= disk->durable.rows[j].inode == i;
		if (is_named)
			continue;
		crash_content_clear(&disk->inodes[i].now);
		crash_content_clear(&disk->inodes[i].durable);
		disk->inodes[i].is_used = false;
	}
}

static void
cut_power(struct crash_disk *to, const struct crash_disk *from,
    const struct crash_choice *choice)
{
	for (int i = 0; i < to->inode_count; i++) {
		to->inodes[i].is_used = from->inodes[i].is_used;
		if (from->inodes[i].is_used)
			crash_content_copy(&to->inodes[i].durable, &from->inodes[i].durable);
	}
	to->durable = from->durable;
	apply_picked(to, from, choice);
	disturb(to, from, choice);
	forget_unnamed(to);
	for (int i = 0; i < to->inode_count; i++) {
		if (!to->inodes[i].is_used)
			continue;
		cut_to_size(&to->inodes[i].durable);
		crash_content_copy(&to->inodes[i].now, &to->inodes[i].durable);
	}
	to->now = to->durable;
}

/* ---- the end of a process ---------------------------------------------------------- */

static bool
is_pending(const struct crash_disk *disk, int inode, uint32_t page)
{
	for (uint32_t i = 0; i < disk->pending_count; i++) {
		const struct crash_pending *pending = &disk->pending[i];

		if (pending->kind == PENDING_DATA && pending->inode == inode &&
		    pending->at == page && pending->sectors)
			return true;
	}
	return false;
}

/* Clean pages may leave the cache, and are then read as they are on the disk. */
static void
evict(struct crash_disk *disk, struct chance *chance)
{
	for (int i = 0; i < disk->inode_count; i++) {
		struct crash_inode *inode = &disk->inodes[i];

		for (uint32_t j = 0; inode->is_used && j < CRASH_FILE_PAGES_MAX; j++) {
			if (inode->now.pages[j] == inode->durable.pages[j] ||
			    is_pending(disk, i, j) || !chance_one_in(chance, 2))
				continue;
			struct crash_page *page = crash_page_hold(inode->durable.pages[j]);

			crash_page_release(&inode->now.pages[j]);
			inode->now.pages[j] = page;
			if (j >= inode->now.page_count)
				inode->now.page_count = j + 1;
		}
	}
}

static void
kill_process(struct crash_disk *to, const struct crash_disk *from,
    const struct crash_choice *choice)
{
	struct chance chance = chance_at(choice->seed);

	for (int i = 0; i < to->inode_count; i++) {
		to->inodes[i].is_used = from->inodes[i].is_used;
		if (!from->inodes[i].is_used)
			continue;
		crash_content_copy(&to->inodes[i].now, &from->inodes[i].now);
		crash_content_copy(&to->inodes[i].durable, &from->inodes[i].durable);
	}
	to->now = from->now;
	to->durable = from->durable;
	to->has_forgotten = from->has_forgotten;
	to->pending_count = from->pending_count;
	to->pending_capacity = from->pending_count;
	to->pending = mem_dup(from->pending_count ? (const void *)from->pending : "",
	    from->pending_count * sizeof(to->pending[0]));
	for (uint32_t i = 0; i < to->pending_count; i++)
		(void)crash_page_hold(to->pending[i].page);
	if (choice->image == IMAGE_KILL_EVICT)
		evict(to, &chance);
}

void
crash_disk_image(struct crash_disk *to, const struct crash_disk *from,
    const struct crash_choice *choice)
{
	crash_disk_init(to);
	to->bytes_max = from->bytes_max;
	to->inode_count = from->inode_count;
	if (choice->image == IMAGE_KILL || choice->image == IMAGE_KILL_EVICT)
		kill_process(to, from, choice);
	else
		cut_power(to, from, choice);
}
