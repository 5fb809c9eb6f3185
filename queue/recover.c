#include "queue/recovery.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "queue/mutant.h"
#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

/*
 * The start: which segments are alive, what is in them, and what of it is only
 * perhaps durable.
 *
 * The newest manifest says which segments are alive and how far each is durable.
 * It stands in some segment j.  Alive are the segments it names, j, and all with
 * higher numbers, less those that a FREE record behind the manifest names.  In j
 * and above each batch vouches for those before it; what nobody vouches for may
 * be on the disk, in a cache that a failed sync has forgotten, or half written:
 * it is copied to a new segment before anything else happens, and cut off by a
 * manifest that follows when the copies are durable.
 */

enum {
	DOWNTIME_MS_MAX = 7 * 24 * 3600 * 1000,
	SLOT_NUMBER_CHARS = 8,
};

void
recovery_damage(struct recovery *recovery, uint64_t segment, uint64_t offset, uint64_t id,
    const char *what)
{
	struct queue_damage damage = { .segment = segment, .offset = offset, .id = id };

	(void)snprintf(damage.what, sizeof(damage.what), "%s", what);
	spool_add_damage(recovery->spool, &damage);
	recovery->found->damaged_count++;
	log_error("queue: damage in segment %" PRIu64 " at %" PRIu64 ": %s", segment, offset, what);
}

struct candidate *
recovery_find(struct recovery *recovery, struct segment_mark mark)
{
	for (uint32_t i = 0; i < recovery->candidate_count; i++) {
		struct candidate *candidate = &recovery->candidates[i];

		if (candidate->mark.number == mark.number && candidate->mark.salt == mark.salt)
			return candidate;
	}
	return NULL;
}

/* ---- slots ------------------------------------------------------------------------ */

int
recovery_unreadable(const struct recovery *recovery, uint32_t slot, struct err *err)
{
	char name[DISK_NAME_BYTES_MAX];

	slot_name(slot, name);
	return err_set(err, ERR_SYSTEM, "%s/%s cannot be read where a start must know what is "
	    "there; nothing was changed", recovery->spool->settings.disk->place, name);
}

/*
 * A head is lost now and then; every batch knows which segment it is of, and the
 * newest one counts, for behind it may stand what earlier lives of the slot have
 * left.  Where not one batch is valid there is nothing that could be read: a crash
 * while a slot gets its new head leaves such a one.  -1: the disk does not say what
 * is in it.
 */
static int
identify_by_batch(struct recovery *recovery, struct candidate *candidate)
{
	struct segment_mark best = { 0 };

	for (uint64_t at = RECORD_BLOCK_BYTES; at + RECORD_BLOCK_BYTES <= candidate->written;
	    at += RECORD_BLOCK_BYTES) {
		char block[BATCH_RECORD_BYTES];
		struct segment_mark mark;
		struct err err = { 0 };

		if (disk_read_all(recovery->spool->settings.disk, candidate->file, block,
			sizeof(block), at, &err) < 0) {
			if (err.kind == ERR_SYSTEM)
				return -1;
			candidate->is_unknown = true;
		} else if (batch_identify(block, &mark) && mark.number > best.number) {
			best = mark;
		}
	}
	candidate->mark = best;
	return 0;
}

/* A link, a device, something of another's: not of ours, whatever the disk's health. */
static bool
is_foreign_file(const struct err *err)
{
	return err_is_errno(err, ELOOP) || err_is_errno(err, EPERM) || err_is_errno(err, ENXIO) ||
	    err_is_errno(err, ENOENT);
}

/* 1: it is no segment and is let alone. */
static int
open_slot(struct recovery *recovery, struct candidate *candidate, const char *name,
    struct err *err)
{
	struct disk *disk = recovery->spool->settings.disk;

	if (disk_open(disk, name, DISK_OPEN_WRITE, &candidate->file, err) == 0) {
		if (disk_size(disk, candidate->file, &candidate->written, err) == 0)
			return 0;
		disk_close(disk, &candidate->file);
		return -1;
	}
	if (!is_foreign_file(err))
		return -1;
	recovery_damage(recovery, 0, 0, 0, err->text);
	slots_add(&recovery->spool->committer.slots, candidate->slot)->state = SLOT_BAD;
	return 1;
}

/*
 * Fails for a newer version's slot, which is not touched, and for one that the
 * disk does not give: what is in it may be given next time, but not any more when
 * this start has written down what is alive.
 */
static int
read_slot(struct recovery *recovery, uint32_t slot, const char *name, struct err *err)
{
	struct disk *disk = recovery->spool->settings.disk;
	struct candidate candidate = { .slot = slot, .file = -1 };
	struct segment_header header;
	char block[RECORD_BLOCK_BYTES];
	struct err ignored;
	int opened = open_slot(recovery, &candidate, name, err);

	if (opened != 0)
		return opened < 0 ? -1 : 0;
	candidate.capacity = recovery->spool->settings.segment_bytes;
	if (candidate.capacity < candidate.written)
		candidate.capacity = record_block_align(candidate.written);
	if (disk_read_all(disk, candidate.file, block, sizeof(block), 0, &ignored) == 0 &&
	    segment_header_read(&header, block, &ignored) == 0) {
		candidate.mark = header.mark;
		candidate.capacity = header.capacity;
	} else if (ignored.kind == ERR_UNSUPPORTED) {
		disk_close(disk, &candidate.file);
		return err_set(err, ERR_UNSUPPORTED, "%s/%s: %s", disk->place, name, ignored.text);
	} else if (identify_by_batch(recovery, &candidate) < 0) {
		disk_close(disk, &candidate.file);
		return recovery_unreadable(recovery, slot, err);
	}
	if (candidate.mark.number > recovery->number_max)
		recovery->number_max = candidate.mark.number;
	if (recovery->candidate_count == recovery->candidate_capacity) {
		recovery->candidate_capacity = 2 * recovery->candidate_capacity + 16;
		recovery->candidates = mem_resize_array(recovery->candidates,
		    recovery->candidate_capacity, sizeof(recovery->candidates[0]));
	}
	recovery->candidates[recovery->candidate_count++] = candidate;
	return 0;
}

struct slot_names {
	uint32_t *slots;
	size_t count, capacity;
};

static void
collect_name(void *ctx, const char *name)
{
	struct slot_names *names = ctx;
	char expected[DISK_NAME_BYTES_MAX];
	unsigned long slot = strtoul(name, NULL, 16);

	slot_name((uint32_t)slot, expected);
	if (slot >= UINT32_MAX / 2 || strcmp(name, expected) != 0)
		return;
	if (names->count == names->capacity) {
		names->capacity = 2 * names->capacity + 16;
		names->slots = mem_resize_array(names->slots, names->capacity,
		    sizeof(names->slots[0]));
	}
	names->slots[names->count++] = (uint32_t)slot;
}

static int
by_slot(const void *a, const void *b)
{
	const uint32_t *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

static int
by_number(const void *a, const void *b)
{
	const struct candidate *left = a, *right = b;

	if (left->mark.number != right->mark.number)
		return left->mark.number < right->mark.number ? -1 : 1;
	return (left->slot > right->slot) - (left->slot < right->slot);
}

static int
read_slots(struct recovery *recovery, struct err *err)
{
	struct disk *disk = recovery->spool->settings.disk;
	struct slot_names names = { 0 };
	int error = disk->ops->list(disk, collect_name, &names);
	int result = 0;

	if (error)
		result = err_set(err, ERR_SYSTEM, "%s: cannot be listed: %s", disk->place,
		    strerror(error));
	if (names.count > 0)
		qsort(names.slots, names.count, sizeof(names.slots[0]), by_slot);
	for (size_t i = 0; i < names.count && result == 0; i++) {
		char name[DISK_NAME_BYTES_MAX];

		slot_name(names.slots[i], name);
		result = read_slot(recovery, names.slots[i], name, err);
	}
	mem_free(&names.slots);
	if (recovery->candidate_count > 0)
		qsort(recovery->candidates, recovery->candidate_count,
		    sizeof(recovery->candidates[0]), by_number);
	return result;
}

/* ---- the manifest --------------------------------------------------------------------- */

void
recovery_note_batch(void *ctx, uint64_t offset, const struct batch *batch)
{
	struct recovery *recovery = ctx;

	(void)offset;
	if (batch->sequence > recovery->sequence_max)
		recovery->sequence_max = batch->sequence;
	if (batch->queue_ms > recovery->queue_ms_max)
		recovery->queue_ms_max = batch->queue_ms;
	if (batch->wall_ms > recovery->wall_ms_max)
		recovery->wall_ms_max = batch->wall_ms;
	if (batch->id_floor > recovery->id_max)
		recovery->id_max = batch->id_floor;
	for (uint32_t i = 0; i < recovery->candidate_count; i++) {
		struct candidate *candidate = &recovery->candidates[i];

		if (candidate->mark.number == batch->vouch_number &&
		    candidate->vouched_end < batch->vouch_end)
			candidate->vouched_end = batch->vouch_end;
	}
}

static void
add_freed(struct recovery *recovery, struct segment_mark mark)
{
	if (recovery->freed_count == recovery->freed_capacity) {
		recovery->freed_capacity = 2 * recovery->freed_capacity + 16;
		recovery->freed = mem_resize_array(recovery->freed, recovery->freed_capacity,
		    sizeof(recovery->freed[0]));
	}
	recovery->freed[recovery->freed_count++] = mark;
}

/* The last manifest of the segment, and the FREEs behind it. */
static void
note_record(void *ctx, uint64_t offset, const struct record_header *header, struct span payload,
    bool is_vouched)
{
	struct recovery *recovery = ctx;
	struct segment_mark mark;

	(void)is_vouched;
	if (header->type == RECORD_FREE && mark_read(&mark, payload)) {
		add_freed(recovery, mark);
	} else if (header->type == RECORD_MANIFEST && manifest_count(payload) >= 0) {
		mem_free(&recovery->manifest);
		recovery->manifest = mem_dup(payload.data, payload.len);
		recovery->manifest_bytes = payload.len;
		recovery->manifest_number = recovery->current->mark.number;
		recovery->manifest_offset = offset;
		recovery->freed_count = recovery->current->free_found;
	}
}

static int
look_for_manifest(struct recovery *recovery, struct candidate *candidate, struct err *err)
{
	struct scan scan = {
		.disk = recovery->spool->settings.disk,
		.file = candidate->file,
		.mark = candidate->mark,
		.end = candidate->written,
		.vouched_end = candidate->written,      /* goes on behind what is damaged */
		.batch = recovery_note_batch,
		.record = note_record,
		.ctx = recovery,
	};

	recovery->current = candidate;
	candidate->free_found = recovery->freed_count;
	(void)scan_run(&scan, RECORD_BLOCK_BYTES);
	scan_fini(&scan);
	/* An older manifest would bring back what was given away since. */
	return scan.read_failed ? recovery_unreadable(recovery, candidate->slot, err) : 0;
}

static bool
is_freed(const struct recovery *recovery, struct segment_mark mark)
{
	if (mutant(MUTANT_TRUST_HEADER))
		return false;
	for (size_t i = 0; i < recovery->freed_count; i++) {
		if (recovery->freed[i].number == mark.number &&
		    recovery->freed[i].salt == mark.salt)
			return true;
	}
	return false;
}

static struct candidate *
candidate_of_slot(struct recovery *recovery, uint32_t slot)
{
	for (uint32_t i = 0; i < recovery->candidate_count; i++) {
		if (recovery->candidates[i].slot == slot)
			return &recovery->candidates[i];
	}
	return NULL;
}

static void
apply_manifest(struct recovery *recovery)
{
	struct span payload = span_make(recovery->manifest, recovery->manifest_bytes);
	ptrdiff_t count = recovery->manifest ? manifest_count(payload) : 0;

	for (ptrdiff_t i = 0; i < count; i++) {
		struct manifest_entry entry;

		manifest_get(payload, (size_t)i, &entry);
		if (is_freed(recovery, entry.mark))
			continue;
		struct candidate *candidate = candidate_of_slot(recovery, entry.slot);

		/* The manifest is vouched for better than a head that cannot be read. */
		if (candidate && candidate->mark.number == 0)
			candidate->mark = entry.mark;
		if (!candidate || candidate->mark.number != entry.mark.number ||
		    candidate->mark.salt != entry.mark.salt) {
			recovery_damage(recovery, entry.mark.number, 0, 0, "segment is missing");
			continue;
		}
		candidate->is_live = true;
		candidate->is_sealed = true;
		candidate->end = entry.end;
		candidate->vouched_end = entry.end;
		candidate->footer = entry.footer;
	}
	for (uint32_t i = 0; i < recovery->candidate_count; i++) {
		struct candidate *candidate = &recovery->candidates[i];

		if (candidate->is_unknown && candidate->mark.number == 0)
			recovery_damage(recovery, 0, 0, 0, "slot that cannot be read");
		if (candidate->mark.number == 0 || candidate->is_live ||
		    is_freed(recovery, candidate->mark))
			continue;
		candidate->is_live = candidate->mark.number >= recovery->manifest_number ||
		    mutant(MUTANT_TRUST_HEADER);
		candidate->end = candidate->written;
		if (candidate->vouched_end < RECORD_BLOCK_BYTES)
			candidate->vouched_end = RECORD_BLOCK_BYTES;
	}
}

static int
find_live(struct recovery *recovery, struct err *err)
{
	for (uint32_t i = recovery->candidate_count; i-- > 0;) {
		if (recovery->candidates[i].mark.number == 0)
			break;
		if (look_for_manifest(recovery, &recovery->candidates[i], err) < 0)
			return -1;
		if (recovery->manifest)
			break;
	}
	apply_manifest(recovery);
	return 0;
}

/* ---- what is handed over ------------------------------------------------------------------ */

/*
 * No manifest ever named it, so it is free at once: the reserve, above all, without
 * which there is no start on a full disk.
 */
static bool
is_of_nobody(const struct candidate *candidate)
{
	return candidate->mark.number == 0 && !candidate->is_unknown &&
	    !mutant(MUTANT_NO_RESERVE_AT_START);
}

static void
hand_over_slots(struct recovery *recovery)
{
	struct spool *spool = recovery->spool;
	struct slots *slots = &spool->committer.slots;

	for (uint32_t i = 0; i < recovery->candidate_count; i++) {
		const struct candidate *candidate = &recovery->candidates[i];
		struct slot *slot = slots_add(slots, candidate->slot);

		*slot = (struct slot){
			.state = SLOT_LIVE,
			.file = candidate->file,
			.mark = candidate->mark,
			.capacity = candidate->capacity,
			.written = candidate->written,
		};
		if (is_of_nobody(candidate))
			slots_release(slots, candidate->slot,
			    spool->settings.pool_segments_max);
		if (!candidate->is_live)
			continue;
		struct segment *segment = segments_add(&spool->segments, candidate->slot,
		    candidate->file, candidate->mark, candidate->capacity);

		segment->state = SEGMENT_SEALED;
		segment->end = candidate->end;
		segment->footer = candidate->footer;
		recovery->found->segment_count++;
	}
}

/* Not before the manifest without them is durable, but for those that never were in one. */
static void
release_dead_slots(struct recovery *recovery)
{
	struct slots *slots = &recovery->spool->committer.slots;

	for (uint32_t i = 0; i < recovery->candidate_count; i++) {
		const struct candidate *candidate = &recovery->candidates[i];

		if (candidate->is_unknown && candidate->mark.number == 0)
			slots->slots[candidate->slot].state = SLOT_BAD;
		else if (!candidate->is_live && !is_of_nobody(candidate))
			slots_release(slots, candidate->slot,
			    recovery->spool->settings.pool_segments_max);
	}
}

/*
 * The queue's clock goes on from where it was by what the wall clock says was
 * the time between; from here on only monotonic time moves it.
 */
static void
set_clock(struct recovery *recovery)
{
	struct spool *spool = recovery->spool;
	int64_t down_ms = loop_wall_ms(spool->settings.hub) - recovery->wall_ms_max;

	if (recovery->wall_ms_max == 0 || down_ms < 0)
		down_ms = 0;
	if (down_ms > DOWNTIME_MS_MAX)
		down_ms = DOWNTIME_MS_MAX;
	spool->queue_offset_ms = (int64_t)recovery->queue_ms_max + down_ms -
	    (int64_t)loop_now_ms(spool->settings.hub);
	spool->committer.settings.queue_offset_ms = spool->queue_offset_ms;
	if (!mutant(MUTANT_ID_AGAIN))
		atomic_store(&spool->id_last, recovery->id_max);
}

static void
recovery_fini(struct recovery *recovery)
{
	struct suspect *suspect;
	struct orphan *orphan;

	while ((suspect = STAILQ_FIRST(&recovery->suspects)) != NULL) {
		STAILQ_REMOVE_HEAD(&recovery->suspects, next);
		mem_free(&suspect->payload);
		mem_free(&suspect);
	}
	while ((orphan = STAILQ_FIRST(&recovery->orphans)) != NULL) {
		STAILQ_REMOVE_HEAD(&recovery->orphans, next);
		mem_free(&orphan);
	}
	mem_free(&recovery->candidates);
	mem_free(&recovery->manifest);
	mem_free(&recovery->freed);
}

static int
replay_all(struct recovery *recovery, struct err *err)
{
	for (uint32_t i = 0; i < recovery->candidate_count; i++) {
		if (recovery->candidates[i].is_live &&
		    replay_segment(recovery, &recovery->candidates[i], err) < 0)
			return -1;
	}
	return 0;
}

int
spool_recover(struct spool *spool, struct queue_found *found, struct err *err)
{
	struct recovery recovery = { .spool = spool, .found = found };
	int result = -1;

	STAILQ_INIT(&recovery.suspects);
	STAILQ_INIT(&recovery.orphans);
	if (read_slots(&recovery, err) < 0 || find_live(&recovery, err) < 0) {
		for (uint32_t i = 0; i < recovery.candidate_count; i++)
			disk_close(spool->settings.disk, &recovery.candidates[i].file);
	} else {
		hand_over_slots(&recovery);
		result = replay_all(&recovery, err);
	}
	if (result == 0) {
		set_clock(&recovery);
		replay_end(&recovery);
		spool->committer.number_next = recovery.number_max + 1;
		spool->committer.batch_next = recovery.sequence_max + 1;
		result = copy_suspects(&recovery, err);
	}
	if (result == 0)
		release_dead_slots(&recovery);
	recovery_fini(&recovery);
	return result;
}
