#include "queue/recovery.h"

#include "queue/mutant.h"
#include "relay/base/container_of.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

/*
 * What nobody vouches for is written again before anything else happens: first
 * the copies, durable; then the manifest that cuts the originals off.  A crash
 * between the two finds both, and they are equal.
 */
struct copy_job {
	struct commit_job job;
	struct log_record record;
	struct suspect *suspect;
	bool is_reported;
};

static void
copy_reported(struct commit_job *job)
{
	container_of(job, struct copy_job, job)->is_reported = true;
}

/* Whether the record is the one that the index would read. */
static bool
is_needed(struct recovery *recovery, const struct suspect *suspect)
{
	struct entry *entry = index_find(&recovery->spool->index, suspect->header.id);

	switch (suspect->header.type) {
	case RECORD_CHUNK:
		return entry && suspect->header.sequence < entry->chunk_count &&
		    place_equal(*entry_chunk(entry, suspect->header.sequence), suspect->place);
	case RECORD_MESSAGE:
		return entry && place_equal(entry->message, suspect->place);
	case RECORD_STATE:
		return entry && place_equal(entry->state, suspect->place);
	case RECORD_DONE:
	case RECORD_DEAD:
		return true;
	case RECORD_BATCH:
	case RECORD_FREE:
	case RECORD_MANIFEST:
	case RECORD_INDEX:
	case RECORD_PARTIAL:
	case RECORD_TRANSACTION:
	case RECORD_FLOOR:
		return false;
	}
	must_not_reach();
}

static void
add_copy(struct recovery *recovery, struct suspect *suspect, enum record_type type, uint64_t id,
    struct span payload, struct copy_job *todo)
{
	*todo = (struct copy_job){
		.suspect = suspect,
		.job = {
			.class = COMMIT_OUTCOME,
			.record_count = 1,
			.reported = copy_reported,
		},
	};
	log_record_set(&todo->record, type, id, suspect->header.sequence, payload);
	todo->job.records = &todo->record;
	committer_add(&recovery->spool->committer, &todo->job);
}

/* The parent's mark in a notification that is settled itself stands alone from now on. */
static bool
parent_mark_of(const struct suspect *suspect, uint64_t *parent_out)
{
	struct message_record record;

	if (suspect->header.type != RECORD_MESSAGE ||
	    !message_record_read(&record, span_make(suspect->payload,
		suspect->header.payload_bytes)) || !record.parent_done)
		return false;
	*parent_out = record.parent_id;
	return true;
}

static void
move_use(struct segments *segments, struct place *place, struct place to, uint64_t cost)
{
	segments_unuse(segments, *place, cost);
	segments_use(segments, to, cost);
	*place = to;
}

static void
take_copy(struct recovery *recovery, const struct copy_job *done)
{
	struct spool *spool = recovery->spool;
	const struct suspect *suspect = done->suspect;
	struct entry *entry = index_find(&spool->index, suspect->header.id);
	struct place to = done->record.place;

	if (done->record.type == RECORD_CHUNK) {
		move_use(&spool->segments, entry_chunk(entry, suspect->header.sequence), to,
		    segment_chunk_cost(entry));
	} else if (done->record.type == RECORD_STATE) {
		move_use(&spool->segments, &entry->state, to, SEGMENT_STATE_COST);
	} else if (done->record.type == RECORD_MESSAGE) {
		struct message_record record;

		move_use(&spool->segments, &entry->message, to, SEGMENT_MESSAGE_COST);
		entry->ordinal = done->record.sequence;
		if (!message_record_read(&record, span_make(suspect->payload,
			suspect->header.payload_bytes)) || record.parent_id == 0)
			return;
		struct entry *parent = index_find(&spool->index, record.parent_id);

		if (parent && place_equal(parent->state, suspect->place))
			move_use(&spool->segments, &parent->state, to, SEGMENT_STATE_COST);
	}
}

/* The state of a parent stands in a notification that is settled: it is copied alone. */
static bool
parent_state_of(struct recovery *recovery, const struct suspect *suspect,
    struct message_record *record_out)
{
	if (suspect->header.type != RECORD_MESSAGE || is_needed(recovery, suspect) ||
	    !message_record_read(record_out, span_make(suspect->payload,
		suspect->header.payload_bytes)))
		return false;
	struct entry *parent = index_find(&recovery->spool->index, record_out->parent_id);

	return parent && place_equal(parent->state, suspect->place);
}

static void
take_parent_state(struct recovery *recovery, const struct copy_job *done)
{
	struct entry *parent = index_find(&recovery->spool->index, done->record.id);

	move_use(&recovery->spool->segments, &parent->state, done->record.place,
	    SEGMENT_STATE_COST);
}

static size_t
queue_copies(struct recovery *recovery, struct copy_job *jobs)
{
	struct suspect *suspect;
	size_t count = 0;

	STAILQ_FOREACH(suspect, &recovery->suspects, next) {
		struct message_record record;
		uint64_t parent;

		if (is_needed(recovery, suspect))
			add_copy(recovery, suspect, suspect->header.type, suspect->header.id,
			    span_make(suspect->payload, suspect->header.payload_bytes),
			    &jobs[count++]);
		if (parent_mark_of(suspect, &parent))
			add_copy(recovery, suspect, RECORD_DONE, parent, SPAN(""),
			    &jobs[count++]);
		if (parent_state_of(recovery, suspect, &record)) {
			add_copy(recovery, suspect, RECORD_STATE, record.parent_id,
			    record.parent_state, &jobs[count]);
			jobs[count++].record.sequence = record.parent_revision;
		}
	}
	return count;
}

static int
write_copies(struct recovery *recovery, struct err *err)
{
	struct spool *spool = recovery->spool;
	size_t capacity = 2 * (size_t)recovery->found->suspect_count + 1;
	struct copy_job *jobs = mem_alloc_array(capacity, sizeof(jobs[0]));
	size_t count = queue_copies(recovery, jobs);
	int result = 0;

	must(count <= capacity);
	commit_step(&spool->committer);
	inbox_drain(spool->inbox);              /* the segments that were opened */
	for (size_t i = 0; i < count; i++) {
		must(jobs[i].is_reported);
		if (jobs[i].job.result != QUEUE_DONE) {
			result = err_set(err, ERR_SYSTEM, "%s: the log cannot be written",
			    spool->settings.disk->place);
		} else if (jobs[i].record.type == RECORD_STATE &&
		    jobs[i].suspect->header.type == RECORD_MESSAGE) {
			take_parent_state(recovery, &jobs[i]);
		} else {
			take_copy(recovery, &jobs[i]);
		}
	}
	mem_free(&jobs);
	return result;
}

/*
 * A segment of which nothing is vouched for is not named any more: what was in it
 * is copied, and even its head is perhaps not on the disk.
 */
static void
drop_hollow(struct recovery *recovery)
{
	for (uint32_t i = 0; i < recovery->candidate_count; i++) {
		struct candidate *candidate = &recovery->candidates[i];

		if (!candidate->is_hollow)
			continue;
		candidate->is_live = false;
		segments_drop(&recovery->spool->segments, candidate->slot);
	}
}

static void
add_live(struct recovery *recovery)
{
	struct committer *committer = &recovery->spool->committer;

	for (uint32_t i = 0; i < recovery->candidate_count; i++) {
		struct candidate *candidate = &recovery->candidates[i];

		if (!candidate->is_live)
			continue;
		committer->vouched = candidate->mark;
		committer->vouched_end = candidate->vouched_end;
		if (!mutant(MUTANT_NO_COPY_OF_SUSPECTS) && !mutant(MUTANT_APPEND_AFTER_TAIL))
			candidate->end = candidate->vouched_end;
		segments_at(&recovery->spool->segments, candidate->slot)->end = candidate->end;
		candidate->is_hollow = candidate->end <= RECORD_BLOCK_BYTES &&
		    !mutant(MUTANT_APPEND_AFTER_TAIL) && !mutant(MUTANT_NAME_HOLLOW);
		if (candidate->is_hollow) {
			/* Nobody else may give it back meanwhile. */
			segments_at(&recovery->spool->segments, candidate->slot)->state =
			    SEGMENT_FREEING;
			continue;
		}
		struct manifest_entry entry = {
			.mark = candidate->mark,
			.slot = candidate->slot,
			.end = candidate->end,
			.footer = candidate->footer,
		};

		committer_add_live(committer, &entry);
	}
}

/* The mistake of MUTANT_APPEND_AFTER_TAIL: the newest segment is written on (R5 forbids it). */
static bool
append_after_tail(struct recovery *recovery)
{
	struct committer *committer = &recovery->spool->committer;
	const struct candidate *last = recovery->candidate_count == 0 ? NULL :
	    &recovery->candidates[recovery->candidate_count - 1];

	if (!last || !last->is_live || last->is_sealed)
		return false;
	committer->open = committer->live[--committer->live_count];
	committer->open.end = last->end > RECORD_BLOCK_BYTES ? last->end : RECORD_BLOCK_BYTES;
	committer->capacity = last->capacity;
	committer->ordinal_next = 1 << 16;
	committer->is_open = true;
	segments_at(&recovery->spool->segments, last->slot)->state = SEGMENT_OPEN;
	return true;
}

int
copy_suspects(struct recovery *recovery, struct err *err)
{
	struct committer *committer = &recovery->spool->committer;

	add_live(recovery);
	if (mutant(MUTANT_APPEND_AFTER_TAIL) && append_after_tail(recovery))
		return committer_write_manifest(committer, err);
	if (mutant(MUTANT_MANIFEST_BEFORE_COPY) && committer_write_manifest(committer, err) < 0)
		return -1;
	if (!mutant(MUTANT_NO_COPY_OF_SUSPECTS)) {
		committer->recovering = true;
		if (write_copies(recovery, err) < 0)
			return -1;
		committer->recovering = false;
	}
	if (committer_write_manifest(committer, err) < 0)
		return -1;
	drop_hollow(recovery);
	inbox_drain(recovery->spool->inbox);
	return 0;
}
