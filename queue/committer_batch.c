#include "queue/committer_private.h"

#include "queue/mutant.h"
#include "relay/base/crc32c.h"
#include "relay/base/cursor.h"
#include "relay/base/digest.h"
#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	BATCH_BYTES_MAX = 4 << 20,
	SALT_KEY_BYTES = 32,
};

void
log_record_set(struct log_record *record, enum record_type type, uint64_t id, uint32_t sequence,
    struct span payload)
{
	*record = (struct log_record){
		.type = type,
		.sequence = sequence,
		.id = id,
		.payload_bytes = (uint32_t)payload.len,
		.payload_crc = crc32c(0, payload.data, payload.len),
		.payload = payload.data,
		.place = PLACE_NONE,
	};
}

void
commit_report(struct commit_job *job, enum queue_result result)
{
	job->result = result;
	if (result != QUEUE_DONE && job->stream)
		job->stream->failed = true;
	job->reported(job);
}

/* ---- segments ---------------------------------------------------------- */

void
committer_add_live(struct committer *committer, const struct manifest_entry *entry)
{
	if (committer->live_count == committer->live_capacity) {
		committer->live_capacity = committer->live_capacity ? 2 * committer->live_capacity
		    : 16;
		committer->live = mem_resize_array(committer->live, committer->live_capacity,
		    sizeof(committer->live[0]));
	}
	committer->live[committer->live_count++] = *entry;
}

/* It may be gone: see forget_freed().  The slot is not used again before its job is reported. */
static void
remove_live(struct committer *committer, uint32_t slot)
{
	for (uint32_t i = 0; i < committer->live_count; i++) {
		if (committer->live[i].slot == slot) {
			committer->live[i] = committer->live[--committer->live_count];
			return;
		}
	}
}

/* Numbers are never used twice, so neither are salts; nobody outside can guess one. */
static uint64_t
salt_of(const struct committer *committer, uint64_t number)
{
	char input[SALT_KEY_BYTES + 8];
	uint8_t value[DIGEST_BYTES];

	if (mutant(MUTANT_NO_SALT))
		return 0;
	memcpy(input, committer->settings.salt_key, SALT_KEY_BYTES);
	cursor_store_u64(input + SALT_KEY_BYTES, number);
	digest_of(span_make(input, sizeof(input)), value);
	return cursor_load_u64(value);
}

struct slots_terms
commit_terms(const struct committer *committer, bool for_mail)
{
	uint64_t number = committer->number_next;

	return (struct slots_terms){
		.capacity = committer->settings.segment_bytes,
		.floor_bytes = for_mail ? committer->settings.floor_bytes : 0,
		.for_mail = for_mail,
		.mark = { number, salt_of(committer, number) },
		.wall_ms = loop_wall_ms(committer->settings.loop),
	};
}

int
commit_open(struct committer *committer, bool for_mail, struct err *err)
{
	struct slots_terms terms = commit_terms(committer, for_mail);
	uint32_t slot;

	must(!committer->is_open);
	committer->number_next++;
	if (slots_open(&committer->slots, &terms, &slot, err) < 0)
		return -1;
	committer->is_open = true;
	committer->is_reserve = !for_mail;
	committer->manifest_due = !committer->recovering;
	committer->open = (struct manifest_entry){
		.mark = terms.mark,
		.slot = slot,
		.end = RECORD_BLOCK_BYTES,
	};
	committer->capacity = committer->slots.slots[slot].capacity;
	committer->ordinal_next = 0;
	footer_begin(&committer->footer);
	struct commit_segment segment = {
		.slot = slot,
		.file = committer->slots.slots[slot].file,
		.mark = terms.mark,
		.capacity = committer->capacity,
		.end = RECORD_BLOCK_BYTES,
	};

	committer->settings.events.opened(committer->settings.ctx, &segment);
	return 0;
}

static void
keep_sealed(struct committer *committer, const struct commit_segment *segment)
{
	if (committer->sealed_count == committer->sealed_capacity) {
		committer->sealed_capacity = 2 * committer->sealed_capacity + 4;
		committer->sealed = mem_resize_array(committer->sealed,
		    committer->sealed_capacity, sizeof(committer->sealed[0]));
	}
	committer->sealed[committer->sealed_count++] = *segment;
}

/* What is behind open.end is not durable, and from the next manifest on it never was. */
void
commit_seal(struct committer *committer, uint64_t written_end)
{
	struct slot *slot = &committer->slots.slots[committer->open.slot];
	struct commit_segment segment = {
		.slot = committer->open.slot,
		.file = slot->file,
		.mark = committer->open.mark,
		.capacity = committer->capacity,
		.end = committer->open.end,
		.footer = committer->open.footer,
	};

	if (written_end > slot->written)
		slot->written = written_end;
	committer->is_open = false;
	committer->vouched = committer->open.mark;
	committer->vouched_end = committer->open.end;
	if (mutant(MUTANT_MANIFEST_KEEPS_FAILED))
		committer->open.end = written_end;
	committer_add_live(committer, &committer->open);
	keep_sealed(committer, &segment);
}

/*
 * Who hears of a sealed segment may find that nothing in it is needed; so the job
 * that began in it must be reported before.
 */
void
commit_announce_sealed(struct committer *committer)
{
	const struct commit_job *job = STAILQ_FIRST(&committer->pending);

	if (job && job->record_next > 0)
		return;
	for (uint32_t i = 0; i < committer->sealed_count; i++)
		committer->settings.events.sealed(committer->settings.ctx, &committer->sealed[i]);
	committer->sealed_count = 0;
}

bool
commit_is_fresh(const struct committer *committer)
{
	return committer->open.end == RECORD_BLOCK_BYTES;
}

/* ---- one batch ----------------------------------------------------------- */

bool
commit_job_may_use(const struct committer *committer, const struct commit_job *job)
{
	return job->class != COMMIT_MAIL || !committer->is_reserve ||
	    mutant(MUTANT_NO_RESERVE);
}

static uint64_t
room_of(const struct committer *committer)
{
	return committer->capacity - committer->open.end;
}

static void
gather_record(struct committer *committer, struct log_record *record)
{
	if (record->type == RECORD_FREE && mutant(MUTANT_FREE_BEFORE_DURABLE))
		return;
	if (record->type == RECORD_MESSAGE)
		record->sequence = committer->ordinal_next++;
	struct record_header header = {
		.type = record->type,
		.sequence = record->sequence,
		.id = record->id,
		.payload_bytes = record->payload_bytes,
		.payload_crc = record->payload_crc,
	};
	uint64_t offset = committer->open.end + gather_add(&committer->gather, &header,
	    committer->open.mark, record->payload);

	record->place = place_make(committer->open.slot, offset);
	footer_add(&committer->footer, &header, record->payload, offset);
}

/* The manifest says which segments are alive now; the open one is by being the newest. */
static void
gather_manifest(struct committer *committer)
{
	struct log_record record;

	buf_clear(&committer->manifest);
	manifest_put(&committer->manifest, committer->live, committer->live_count);
	must(!buf_overflowed(&committer->manifest));
	log_record_set(&record, RECORD_MANIFEST, 0, 0, buf_span(&committer->manifest));
	gather_record(committer, &record);
	committer->manifest_due = false;
	committer->has_manifest = true;
}

static enum fit
fit_of(const struct committer *committer, const struct log_record *record, uint64_t more)
{
	uint64_t bytes = committer->gather.bytes + more + record_bytes(record->payload_bytes);
	uint64_t footer_bytes = footer_bytes_with(&committer->footer, record->type,
	    record->payload_bytes);

	if (record_block_align(bytes) + footer_bytes > room_of(committer))
		return FIT_NEXT_SEGMENT;
	if (!gather_has_room(&committer->gather, record->payload_bytes) ||
	    (bytes > BATCH_BYTES_MAX && committer->gather.record_count > 0))
		return FIT_NEXT_BATCH;
	return FIT_HERE;
}

/*
 * A FREE stands in one batch with a manifest.  So, when its batch is damaged
 * later, the one before still says what was alive, and when the next segment is
 * given back there is a manifest without this one: no single damage brings a dead
 * segment back whose marks are gone.
 */
static enum fit
gather_next(struct committer *committer, struct log_record *record)
{
	bool needs_manifest = record->type == RECORD_FREE && !committer->has_manifest;
	uint64_t more = needs_manifest ?
	    record_bytes((uint64_t)committer->live_count * MANIFEST_ENTRY_BYTES) : 0;
	enum fit fit = fit_of(committer, record, more);

	/* A record as large as a segment goes into one without a footer. */
	if (fit == FIT_NEXT_SEGMENT && commit_is_fresh(committer) &&
	    committer->gather.record_count <= 1) {
		committer->footer.is_off = true;
		fit = fit_of(committer, record, more);
	}
	if (fit != FIT_HERE)
		return fit;
	if (needs_manifest)
		gather_manifest(committer);
	gather_record(committer, record);
	return FIT_HERE;
}

/* Takes jobs from the front while they fit.  The last may be taken in part. */
static enum fit
gather_jobs(struct committer *committer)
{
	struct commit_job *job;

	while ((job = STAILQ_FIRST(&committer->pending)) != NULL) {
		if (job->stream && job->stream->failed) {
			STAILQ_REMOVE_HEAD(&committer->pending, next);
			commit_report(job, QUEUE_FAILED);
			continue;
		}
		if (!commit_job_may_use(committer, job))
			return FIT_NEXT_SEGMENT;
		job->record_retry = job->record_next;
		while (job->record_next < job->record_count) {
			enum fit fit = gather_next(committer,
			    &job->records[job->record_next]);

			if (fit != FIT_HERE)
				return fit;
			job->record_next++;
		}
		STAILQ_REMOVE_HEAD(&committer->pending, next);
		STAILQ_INSERT_TAIL(&committer->in_batch, job, next);
	}
	return FIT_HERE;
}

static void
count_batch(struct committer *committer, const struct batch *batch, uint64_t took_us)
{
	struct committer_counts *counts = &committer->counts;
	const struct commit_job *job;
	uint64_t message_count = 0;

	STAILQ_FOREACH(job, &committer->in_batch, next)
		message_count += job->records[job->record_count - 1].type == RECORD_MESSAGE;
	(void)atomic_fetch_add_explicit(&counts->batch_count, 1, memory_order_relaxed);
	(void)atomic_fetch_add_explicit(&counts->message_count, message_count,
	    memory_order_relaxed);
	(void)atomic_fetch_add_explicit(&counts->written_bytes, batch->bytes,
	    memory_order_relaxed);
	(void)atomic_fetch_add_explicit(&counts->sync_us_total, took_us, memory_order_relaxed);
	if (took_us > atomic_load_explicit(&counts->sync_us_max, memory_order_relaxed))
		atomic_store_explicit(&counts->sync_us_max, took_us, memory_order_relaxed);
}

/* The mistake of MUTANT_MOVE_WITHOUT_SYNC: where a batch has nothing but survivors. */
static bool
is_unsynced_move(const struct committer *committer)
{
	const struct commit_job *job;
	bool only_moves = mutant(MUTANT_MOVE_WITHOUT_SYNC) &&
	    !STAILQ_EMPTY(&committer->in_batch);

	STAILQ_FOREACH(job, &committer->in_batch, next)
		only_moves &= job->class == COMMIT_MOVE;
	return only_moves;
}

static int
write_batch(struct committer *committer, struct batch *batch, struct err *err)
{
	const struct clock *clock = loop_clock(committer->settings.loop);
	struct gather *gather = &committer->gather;
	int file = committer->slots.slots[committer->open.slot].file;

	*batch = (struct batch){
		.sequence = committer->batch_next++,
		.number = committer->open.mark.number,
		.vouch_number = committer->vouched.number,
		.vouch_end = committer->vouched_end,
		.queue_ms = (uint64_t)((int64_t)loop_now_ms(committer->settings.loop) +
		    committer->settings.queue_offset_ms),
		.wall_ms = loop_wall_ms(committer->settings.loop),
		.id_floor = mutant(MUTANT_ID_AGAIN) ? 0 : atomic_load(committer->settings.id_last),
	};
	if (mutant(MUTANT_VOUCH_TOO_FAR)) {
		batch->vouch_number = committer->open.mark.number;
		batch->vouch_end = committer->open.end + record_block_align(gather->bytes);
	}
	gather_end(gather, batch, committer->open.mark);
	uint64_t begun_us = clock_monotonic_us(clock);
	bool is_unsynced = mutant(MUTANT_NO_SYNC) || is_unsynced_move(committer) ||
	    (mutant(MUTANT_TRUST_FOOTER) && STAILQ_EMPTY(&committer->in_batch));
	enum disk_write how = is_unsynced ? DISK_WRITE_PLAIN : DISK_WRITE_SYNC;
	int result = disk_write(committer->settings.disk, file, gather->vectors,
	    gather->vector_count, committer->open.end, how, err);

	if (result < 0 && mutant(MUTANT_BELIEVE_SECOND_SYNC))
		result = disk_sync(committer->settings.disk, file, err);
	count_batch(committer, batch, clock_monotonic_us(clock) - begun_us);
	return result;
}

/* A dead segment's slot is used again only now that its FREE is durable. */
static void
act_on_records(struct committer *committer, const struct commit_job *job)
{
	for (uint32_t i = 0; i < job->record_count; i++) {
		if (job->records[i].type != RECORD_FREE)
			continue;
		uint32_t slot = job->records[i].sequence;

		remove_live(committer, slot);
		slots_release(&committer->slots, slot, committer->settings.free_count_max);
		committer->settings.events.freed(committer->settings.ctx, slot);
	}
}

/*
 * The job in front may have been taken in part.  Its FREEs that are durable now stand behind
 * a manifest which still names their segments; the next manifest must not name them again,
 * for no FREE stands behind that one.
 */
static void
forget_freed(struct committer *committer)
{
	const struct commit_job *job = STAILQ_FIRST(&committer->pending);

	for (uint32_t i = job ? job->record_retry : 0; job && i < job->record_next; i++)
		if (job->records[i].type == RECORD_FREE)
			remove_live(committer, job->records[i].sequence);
}

static void
report_batch(struct committer *committer)
{
	struct commit_job *job;

	while ((job = STAILQ_FIRST(&committer->in_batch)) != NULL) {
		STAILQ_REMOVE_HEAD(&committer->in_batch, next);
		act_on_records(committer, job);
		commit_report(job, QUEUE_DONE);
	}
}

static void
fail_batch(struct committer *committer)
{
	struct commit_jobs again = STAILQ_HEAD_INITIALIZER(again);
	struct commit_job *job = STAILQ_FIRST(&committer->pending);

	/* The one that was taken in part goes on from where this batch took it. */
	if (job)
		job->record_next = job->record_retry;
	while ((job = STAILQ_FIRST(&committer->in_batch)) != NULL) {
		STAILQ_REMOVE_HEAD(&committer->in_batch, next);
		job->record_next = job->record_retry;
		if (job->class == COMMIT_OUTCOME && !mutant(MUTANT_OUTCOME_NOT_RELOGGED))
			STAILQ_INSERT_TAIL(&again, job, next);
		else
			commit_report(job, QUEUE_UNKNOWN);
	}
	STAILQ_CONCAT(&again, &committer->pending);
	STAILQ_CONCAT(&committer->pending, &again);
}

/*
 * R7: whatever a sync that failed had before it is not known to be durable and
 * never will be.  The segment ends where the last good sync left it.
 */
static void
abandon_segment(struct committer *committer, uint64_t written_end, const struct err *err)
{
	(void)atomic_fetch_add(&committer->counts.sync_failed_count, 1);
	committer->failure_count++;
	log_error("queue: %s; segment %llu is abandoned at %llu", err->text,
	    (unsigned long long)committer->open.mark.number,
	    (unsigned long long)committer->open.end);
	if (mutant(MUTANT_KEEP_FAILED_SEGMENT)) {
		committer->open.end = written_end;
		return;
	}
	commit_seal(committer, written_end);
}

static void
take_written(struct committer *committer, const struct batch *batch)
{
	committer->failure_count = 0;
	committer->open.end += batch->bytes;
	atomic_store_explicit(&committer->counts.open_room, room_of(committer),
	    memory_order_relaxed);
	committer->vouched = committer->open.mark;
	committer->vouched_end = committer->open.end;
}

int
commit_footer(struct committer *committer)
{
	struct footer *footer = &committer->footer;
	uint64_t at = committer->open.end;
	struct batch batch;
	struct err err;

	if (footer->is_off || commit_is_fresh(committer) ||
	    footer_bytes_with(footer, RECORD_FREE, 0) > room_of(committer))
		return 0;
	struct span all = footer_end(footer, at);

	footer->is_off = true;
	gather_begin(&committer->gather);
	for (uint32_t part = 0; all.len > 0; part++) {
		struct span payload = span_first(all, FOOTER_PART_BYTES_MAX);
		struct log_record record;

		log_record_set(&record, RECORD_INDEX, 0, part, payload);
		gather_record(committer, &record);
		all = span_skip(all, payload.len);
	}
	if (write_batch(committer, &batch, &err) < 0) {
		abandon_segment(committer, at + batch.bytes, &err);
		return -1;
	}
	take_written(committer, &batch);
	committer->open.footer = at;
	return 0;
}

int
commit_batch(struct committer *committer, enum fit *fit_out)
{
	struct batch batch;
	struct err err;

	gather_begin(&committer->gather);
	committer->has_manifest = false;
	if (committer->manifest_due)
		gather_manifest(committer);
	*fit_out = gather_jobs(committer);
	if (committer->gather.record_count == 0 && STAILQ_EMPTY(&committer->in_batch))
		return 0;
	if (mutant(MUTANT_REPORT_BEFORE_SYNC))
		report_batch(committer);
	if (write_batch(committer, &batch, &err) < 0) {
		uint64_t written_end = committer->open.end + batch.bytes;

		fail_batch(committer);
		abandon_segment(committer, written_end, &err);
		return -1;
	}
	take_written(committer, &batch);
	forget_freed(committer);
	report_batch(committer);
	return 0;
}
