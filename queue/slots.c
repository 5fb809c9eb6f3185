#include "queue/slots.h"

#include <inttypes.h>
#include <stdio.h>

#include "queue/mutant.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	FILL_BYTES = 256 << 10,
	SLOT_COUNT_MAX = 1 << 20,
};

void
slots_init(struct slots *slots, struct disk *disk, uint64_t node_id)
{
	*slots = (struct slots){ .disk = disk, .node_id = node_id };
}

void
slots_fini(struct slots *slots)
{
	for (uint32_t i = 0; i < slots->slot_count; i++)
		disk_close(slots->disk, &slots->slots[i].file);
	mem_free(&slots->slots);
}

void
slot_name(uint32_t slot, char name_out[DISK_NAME_BYTES_MAX])
{
	(void)snprintf(name_out, DISK_NAME_BYTES_MAX, "%08" PRIx32 ".seg", slot);
}

struct slot *
slots_add(struct slots *slots, uint32_t at)
{
	if (at >= slots->slot_count) {
		must(at < SLOT_COUNT_MAX);
		slots->slots = mem_resize_array(slots->slots, at + 1, sizeof(slots->slots[0]));
		for (uint32_t i = slots->slot_count; i <= at; i++)
			slots->slots[i] = (struct slot){ .state = SLOT_UNUSED, .file = -1 };
		slots->slot_count = at + 1;
	}
	return &slots->slots[at];
}

static uint32_t
find(const struct slots *slots, enum slot_state state)
{
	for (uint32_t i = 0; i < slots->slot_count; i++) {
		if (slots->slots[i].state == state)
			return i;
	}
	return slots->slot_count;
}

/* Of several free slots the largest, so that the small reserve is taken last. */
static uint32_t
find_free(const struct slots *slots)
{
	uint32_t best = slots->slot_count;

	for (uint32_t i = 0; i < slots->slot_count; i++) {
		const struct slot *slot = &slots->slots[i];

		if (slot->state == SLOT_FREE &&
		    (best == slots->slot_count || slot->capacity > slots->slots[best].capacity))
			best = i;
	}
	return best;
}

static int
write_header(struct slots *slots, struct slot *slot, const struct slots_terms *terms,
    struct err *err)
{
	struct segment_header header = {
		.mark = terms->mark,
		.node_id = slots->node_id,
		.capacity = slot->capacity,
		.created_wall_ms = terms->wall_ms,
	};
	char block[RECORD_BLOCK_BYTES];
	struct iovec vector = { .iov_base = block, .iov_len = sizeof(block) };

	segment_header_write(&header, block);
	return disk_write(slots->disk, slot->file, &vector, 1, 0,
	    mutant(MUTANT_NO_HEADER_SYNC) ? DISK_WRITE_PLAIN : DISK_WRITE_SYNC, err);
}

/* A file that nobody refers to yet; the name is free because find() said so. */
static int
create(struct slots *slots, uint32_t at, uint64_t capacity, struct err *err)
{
	char name[DISK_NAME_BYTES_MAX];
	struct slot *slot = slots_add(slots, at);

	slot_name(at, name);
	if (disk_open(slots->disk, name, DISK_OPEN_CREATE, &slot->file, err) < 0) {
		slot->state = SLOT_BAD;
		return -1;
	}
	*slot = (struct slot){
		.state = SLOT_FREE,
		.file = slot->file,
		.capacity = capacity,
		.written = 0,
	};
	slots->free_count++;
	return 0;
}

/* A file that was just made goes again, so that a full disk does not fill with heads. */
static void
set_bad(struct slots *slots, uint32_t at)
{
	struct slot *slot = &slots->slots[at];
	bool is_new = slot->written == 0;
	char name[DISK_NAME_BYTES_MAX];
	struct err ignored;

	must(slot->state == SLOT_FREE);
	slots->free_count--;
	slot->state = SLOT_BAD;
	disk_close(slots->disk, &slot->file);
	slot_name(at, name);
	if (is_new && disk_remove(slots->disk, name, &ignored) == 0)
		slot->state = SLOT_UNUSED;
}

static bool
disk_has_room(struct slots *slots, uint64_t bytes)
{
	uint64_t free_bytes, total_bytes;
	struct err err;

	return disk_space(slots->disk, &free_bytes, &total_bytes, &err) == 0 && free_bytes >= bytes;
}

/* A slot is as large as its last segment grew, which is seldom to the last octet. */
static bool
is_large(const struct slot *slot, const struct slots_terms *terms)
{
	return slot->capacity >= terms->capacity / 4 * 3;
}

bool
slots_has_room_for_mail(struct slots *slots, const struct slots_terms *terms)
{
	return slots->free_count > 1 || disk_has_room(slots, terms->floor_bytes + terms->capacity);
}

/*
 * Mail takes a free slot only if another one stays, or if the disk has room to
 * make another; outcomes take what there is.
 */
static int
choose(struct slots *slots, const struct slots_terms *terms, uint32_t *slot_out, struct err *err)
{
	bool has_room = disk_has_room(slots, terms->floor_bytes + terms->capacity);
	uint32_t keep = terms->for_mail && !has_room && !mutant(MUTANT_NO_RESERVE) ? 1 : 0;
	uint32_t best = find_free(slots);

	if (slots->free_count > keep && (is_large(&slots->slots[best], terms) || !has_room)) {
		*slot_out = best;
		return 0;
	}
	if (!has_room && terms->for_mail)
		return err_set(err, ERR_LIMIT, "%s: no space left above the floor",
		    slots->disk->place);
	*slot_out = find(slots, SLOT_UNUSED);
	return create(slots, *slot_out, terms->capacity, err);
}

int
slots_open(struct slots *slots, const struct slots_terms *terms, uint32_t *slot_out,
    struct err *err)
{
	if (choose(slots, terms, slot_out, err) < 0)
		return -1;
	struct slot *slot = &slots->slots[*slot_out];
	bool is_new = slot->written == 0;

	if (write_header(slots, slot, terms, err) < 0 ||
	    (is_new && !mutant(MUTANT_NO_DIR_SYNC) && disk_sync_dir(slots->disk, err) < 0)) {
		set_bad(slots, *slot_out);
		return err_wrap(err, "new segment in slot %" PRIu32, *slot_out);
	}
	if (is_new)
		slot->written = RECORD_BLOCK_BYTES;
	slot->state = SLOT_LIVE;
	slot->mark = terms->mark;
	slots->free_count--;
	return 0;
}

void
slots_release(struct slots *slots, uint32_t at, uint32_t free_count_max)
{
	struct slot *slot = &slots->slots[at];

	must(slot->state == SLOT_LIVE);
	slot->state = SLOT_FREE;
	slots->free_count++;
	/* What is not written through could fail for want of space, and helps nobody. */
	if (slots->free_count <= free_count_max && slot->written >= slot->capacity / 4 * 3) {
		slot->capacity = slot->written;
		return;
	}
	char name[DISK_NAME_BYTES_MAX];
	struct err err;

	slot_name(at, name);
	/* Should the removal be lost in a crash, the slot is found dead again. */
	if (disk_remove(slots->disk, name, &err) < 0) {
		set_bad(slots, at);
		return;
	}
	disk_close(slots->disk, &slot->file);
	*slot = (struct slot){ .state = SLOT_UNUSED, .file = -1 };
	slots->free_count--;
}

static int
fill(struct slots *slots, struct slot *slot, struct err *err)
{
	char *zeros = mem_alloc(FILL_BYTES);
	int result = 0;

	for (uint64_t at = RECORD_BLOCK_BYTES; at < slot->capacity && result == 0;) {
		uint64_t size = slot->capacity - at < FILL_BYTES ? slot->capacity - at : FILL_BYTES;
		struct iovec vector = { .iov_base = zeros, .iov_len = (size_t)size };

		result = disk_write(slots->disk, slot->file, &vector, 1, at, DISK_WRITE_PLAIN, err);
		at += size;
	}
	mem_free(&zeros);
	return result;
}

int
slots_make_reserve(struct slots *slots, uint64_t bytes, int64_t wall_ms, struct err *err)
{
	if (slots->free_count > 0)
		return 0;
	uint32_t at = find(slots, SLOT_UNUSED);
	struct slots_terms terms = { .wall_ms = wall_ms };

	if (create(slots, at, record_block_align(bytes), err) < 0)
		return err_wrap(err, "reserve");
	struct slot *slot = &slots->slots[at];

	if (write_header(slots, slot, &terms, err) < 0 || fill(slots, slot, err) < 0 ||
	    disk_sync(slots->disk, slot->file, err) < 0 || disk_sync_dir(slots->disk, err) < 0) {
		set_bad(slots, at);     /* a part of it is no reserve */
		return err_wrap(err, "reserve of %" PRIu64 " octets", bytes);
	}
	slot->written = slot->capacity;
	return 0;
}
