#include "queue/recovery.h"

#include <inttypes.h>

#include "queue/envelope_codec.h"
#include "queue/footer.h"
#include "queue/mutant.h"
#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

/*
 * Builds the index from records.  Segments come in the order of their numbers,
 * so a later copy of a record replaces an earlier one; the marks of a message may
 * come before it, when it was moved.
 */
enum {
	CHUNK_COUNT_MAX = 1 << 20,
};

static struct entry *
entry_of(struct recovery *recovery, uint64_t id)
{
	struct index *index = &recovery->spool->index;
	struct entry *entry = index_find(index, id);

	if (id > recovery->id_max)
		recovery->id_max = id;
	return entry ? entry : index_add(index, id);
}

/* ---- states ------------------------------------------------------------------------ */

static void
peek_rcpt(void *ctx, uint32_t at, const struct state_rcpt *state)
{
	struct entry_rcpt *rcpt = entry_rcpt(ctx, at);

	rcpt->state = (uint8_t)state->state;
	rcpt->class = (uint8_t)state->class;
	rcpt->reason = (uint8_t)state->reason;
	rcpt->attempt_count = (uint16_t)(state->attempt_count < UINT16_MAX ?
	    state->attempt_count : UINT16_MAX);
	rcpt->class_attempt_count = (uint16_t)(state->class_attempt_count < UINT16_MAX ?
	    state->class_attempt_count : UINT16_MAX);
	rcpt->due_ms = state->due_ms;
}

static void
apply_state(struct entry *entry, struct span bytes)
{
	bool held = false, delay_notice_sent = false;

	(void)state_peek(bytes, entry->rcpt_count, &held, &delay_notice_sent, peek_rcpt, entry);
	entry->flags &= (uint16_t)~(ENTRY_HELD | ENTRY_DELAY_NOTICE_SENT);
	entry->flags |= (uint16_t)((held ? ENTRY_HELD : 0) |
	    (delay_notice_sent ? ENTRY_DELAY_NOTICE_SENT : 0));
}

static void
keep_orphan(struct recovery *recovery, uint64_t id, struct span bytes)
{
	struct orphan *orphan = mem_alloc(sizeof(*orphan) + bytes.len);

	orphan->id = id;
	orphan->size = (uint32_t)bytes.len;
	memcpy(orphan->state, bytes.data, bytes.len);
	STAILQ_INSERT_TAIL(&recovery->orphans, orphan, next);
}

static void
replay_state(struct recovery *recovery, uint64_t id, uint32_t revision, struct span bytes,
    struct place place)
{
	struct entry *entry = entry_of(recovery, id);

	if ((entry->flags & ENTRY_DONE) ||
	    (revision < entry->revision && !mutant(MUTANT_OLD_STATE_WINS)))
		return;
	entry->revision = revision;
	entry->state = place;
	if (entry->flags & ENTRY_HAS_MESSAGE) {
		apply_state(entry, bytes);
		entry->flags |= ENTRY_MARKED;
	} else {
		keep_orphan(recovery, id, bytes);
	}
}

/* The mark's place stands where a state's would: it says which segment has it. */
static void
replay_done(struct recovery *recovery, uint64_t id, struct place place)
{
	struct entry *entry = entry_of(recovery, id);

	entry->flags |= ENTRY_DONE;
	entry->state = place;
}

/* ---- messages --------------------------------------------------------------------------- */

static void
replay_chunk(struct recovery *recovery, const struct record_header *header, struct place place)
{
	struct entry *entry = entry_of(recovery, header->id);

	if (header->sequence >= CHUNK_COUNT_MAX)
		return;
	if (header->sequence >= entry->chunk_count)
		index_set_chunk_count(&recovery->spool->index, entry, header->sequence + 1);
	*entry_chunk(entry, header->sequence) = place;
}

static bool
fill_entry(struct recovery *recovery, struct entry *entry, const struct message_record *record)
{
	struct index *index = &recovery->spool->index;
	struct envelope_summary summary;

	if (record->chunk_count > CHUNK_COUNT_MAX || record->body_bytes > UINT32_MAX ||
	    !envelope_summarize(&summary, record->envelope))
		return false;
	entry->body_bytes = (uint32_t)record->body_bytes;
	entry->accepted_ms = record->accepted_ms;
	entry->sender = names_hold(&index->names, summary.sender);
	entry->client = names_hold(&index->names, summary.client_address);
	if (summary.parent.len > 0)
		entry->flags |= ENTRY_NOTIFICATION;
	index_set_rcpt_count(index, entry, summary.rcpt_count);
	for (uint32_t i = 0; i < summary.rcpt_count; i++) {
		struct span domain;

		if (!envelope_summary_next(&summary, &domain))
			return false;
		entry_rcpt(entry, i)->domain = names_hold(&index->names, domain);
	}
	return true;
}

/* A copy in an older segment is dead; the mark that says so is the copy in this one. */
static void
replace_copy(struct recovery *recovery, struct entry *entry)
{
	struct segment *older = segments_at(&recovery->spool->segments, entry->message.slot);

	segment_set_dead(older, entry->ordinal, recovery->current->mark.number);
}

static void
replay_parent(struct recovery *recovery, const struct message_record *record, struct place place)
{
	if (record->parent_id == 0)
		return;
	if (record->parent_done)
		replay_done(recovery, record->parent_id, place);
	else
		replay_state(recovery, record->parent_id, record->parent_revision,
		    record->parent_state, place);
}

static void
replay_message(struct recovery *recovery, const struct record_header *header,
    struct span payload, struct place place, bool is_vouched)
{
	struct message_record record;

	if (!message_record_read(&record, payload)) {
		recovery_damage(recovery, recovery->current->mark.number, place_offset(place),
		    header->id, "commit record cannot be decoded");
		return;
	}
	struct entry *entry = entry_of(recovery, header->id);

	if (entry->flags & ENTRY_HAS_MESSAGE) {
		replace_copy(recovery, entry);
	} else if (!fill_entry(recovery, entry, &record)) {
		recovery_damage(recovery, recovery->current->mark.number, place_offset(place),
		    header->id, "envelope cannot be decoded");
		return;
	}
	index_set_chunk_count(&recovery->spool->index, entry, record.chunk_count);
	entry->message = place;
	entry->ordinal = header->sequence;
	entry->flags |= ENTRY_HAS_MESSAGE;
	entry->flags &= (uint16_t)~ENTRY_SUSPECT;
	if (!is_vouched)
		entry->flags |= ENTRY_SUSPECT;
	replay_parent(recovery, &record, place);
}

/* ---- one segment ---------------------------------------------------------------------------- */

static void
replay_dead(struct recovery *recovery, struct span payload)
{
	struct segment_mark mark;
	struct span bits;
	uint32_t bit_count;

	if (!dead_read(payload, &mark, &bits, &bit_count))
		return;
	struct candidate *candidate = recovery_find(recovery, mark);

	if (candidate && candidate->is_live)
		segment_add_dead(segments_at(&recovery->spool->segments, candidate->slot), bits,
		    bit_count, recovery->current->mark.number);
}

static void
keep_suspect(struct recovery *recovery, const struct record_header *header, struct place place,
    struct span payload)
{
	struct suspect *suspect = mem_alloc(sizeof(*suspect));

	suspect->header = *header;
	suspect->place = place;
	suspect->payload = mem_dup(payload.data ? payload.data : "", payload.len);
	STAILQ_INSERT_TAIL(&recovery->suspects, suspect, next);
	recovery->found->suspect_count++;
}

static void
replay_record(void *ctx, uint64_t offset, const struct record_header *header,
    struct span payload, bool is_vouched)
{
	struct recovery *recovery = ctx;
	struct place place = place_make(recovery->current->slot, offset);

	if (!is_vouched)
		keep_suspect(recovery, header, place, payload);
	switch (header->type) {
	case RECORD_CHUNK:
		replay_chunk(recovery, header, place);
		break;
	case RECORD_MESSAGE:
		replay_message(recovery, header, payload, place, is_vouched);
		break;
	case RECORD_STATE:
		replay_state(recovery, header->id, header->sequence, payload, place);
		break;
	case RECORD_DONE:
		replay_done(recovery, header->id, place);
		break;
	case RECORD_DEAD:
		replay_dead(recovery, payload);
		break;
	case RECORD_BATCH:
	case RECORD_FREE:
	case RECORD_MANIFEST:
	case RECORD_INDEX:
	case RECORD_PARTIAL:
	case RECORD_TRANSACTION:
	case RECORD_FLOOR:
		break;
	}
}

static void
replay_damage(void *ctx, uint64_t offset, uint64_t id, const char *what)
{
	struct recovery *recovery = ctx;
	struct segment *segment = segments_at(&recovery->spool->segments, recovery->current->slot);

	/* A footer that is damaged costs time at start, and no mail. */
	if (recovery->current->footer == 0 || offset < recovery->current->footer)
		segment->has_damage = true;
	recovery_damage(recovery, recovery->current->mark.number, offset, id, what);
}

static void
replay_item(void *ctx, uint64_t offset, const struct record_header *header, struct span payload)
{
	replay_record(ctx, offset, header, payload, true);
}

/* A sealed segment by its index, if that is right. */
static bool
replay_footer(struct recovery *recovery, struct candidate *candidate)
{
	struct disk *disk = recovery->spool->settings.disk;

	if (!candidate->is_sealed || candidate->footer == 0)
		return false;
	disk->ops->read_ahead(disk, candidate->file, candidate->footer,
	    candidate->end - candidate->footer);
	if (footer_read(disk, candidate->file, candidate->mark, candidate->footer, candidate->end,
		replay_item, recovery)) {
		recovery->found->footer_count++;
		return true;
	}
	log_warn("queue: the index of segment %" PRIu64 " is not right; it is scanned",
	    candidate->mark.number);
	return false;
}

int
replay_segment(struct recovery *recovery, struct candidate *candidate, struct err *err)
{
	struct spool *spool = recovery->spool;
	struct scan scan = {
		.disk = spool->settings.disk,
		.file = candidate->file,
		.mark = candidate->mark,
		.end = candidate->end,
		.vouched_end = candidate->vouched_end,
		.batch = recovery_note_batch,
		.record = replay_record,
		.damage = replay_damage,
		.ctx = recovery,
	};

	recovery->current = candidate;
	if (replay_footer(recovery, candidate))
		return 0;
	spool->settings.disk->ops->read_ahead(spool->settings.disk, candidate->file, 0,
	    candidate->end);
	uint64_t good_end = scan_run(&scan, RECORD_BLOCK_BYTES);

	if (!candidate->is_sealed)
		recovery->found->torn_bytes += scan_torn(&scan, good_end);
	scan_fini(&scan);
	recovery->read_failed |= scan.read_failed;
	/* An end that is cut off here is cut off for good. */
	if (!candidate->is_sealed && scan.read_failed)
		return recovery_unreadable(recovery, candidate->slot, err);
	if (!candidate->is_sealed)
		candidate->end = good_end;
	segments_at(&spool->segments, candidate->slot)->end = candidate->end;
	return 0;
}

/*
 * ---- all of them
 * ----------------------------------------------------------------------------------
 */

static bool
has_all_chunks(struct entry *entry)
{
	for (uint32_t i = 0; i < entry->chunk_count; i++) {
		if (place_is_none(*entry_chunk(entry, i)))
			return false;
	}
	return true;
}

/* Whether the message is alive; if not, its marks are noted and it goes. */
static bool
judge(struct recovery *recovery, struct entry *entry)
{
	struct segments *segments = &recovery->spool->segments;

	if (!(entry->flags & ENTRY_HAS_MESSAGE))
		return false;           /* a draft that ended, or marks of what is long gone */
	struct segment *segment = segments_at(segments, entry->message.slot);

	if (entry->flags & ENTRY_DONE) {
		segment_set_dead(segment, entry->ordinal,
		    segments_at(segments, entry->state.slot)->mark.number);
		return false;
	}
	if (segment_is_dead(segment, entry->ordinal))
		return false;
	if (has_all_chunks(entry))
		return true;
	/* Half of a batch that never was: nobody was told that it is there. */
	if (entry->flags & ENTRY_SUSPECT)
		return false;
	recovery_damage(recovery, segment->mark.number, place_offset(entry->message), entry->id,
	    "part of the body is missing");
	entry->flags |= ENTRY_DAMAGED;
	return true;
}

/* Orphans are in the order of the log, so the newest state of a message is the last. */
static void
apply_orphans(struct recovery *recovery)
{
	struct orphan *orphan;

	STAILQ_FOREACH(orphan, &recovery->orphans, next) {
		struct entry *entry = index_find(&recovery->spool->index, orphan->id);

		/* Unless one that came behind the message was applied already. */
		if (entry && (entry->flags & ENTRY_HAS_MESSAGE) &&
		    !(entry->flags & (ENTRY_DONE | ENTRY_MARKED)))
			apply_state(entry, span_make(orphan->state, orphan->size));
	}
}

/*
 * A later start may be able to read what this one could not: then all that goes
 * with it must still be there.
 */
static void
keep_all(struct recovery *recovery)
{
	for (uint32_t i = 0; i < recovery->candidate_count; i++) {
		const struct candidate *candidate = &recovery->candidates[i];

		if (candidate->is_live)
			segments_at(&recovery->spool->segments, candidate->slot)->has_damage = true;
	}
}

void
replay_end(struct recovery *recovery)
{
	struct spool *spool = recovery->spool;
	struct entry *entry;
	uint64_t at = 0;

	if (recovery->read_failed)
		keep_all(recovery);
	apply_orphans(recovery);
	while ((entry = index_next(&spool->index, &at)) != NULL) {
		if (!judge(recovery, entry)) {
			index_remove(&spool->index, entry);
			continue;
		}
		entry->flags &= (uint16_t)~(ENTRY_HAS_MESSAGE | ENTRY_SUSPECT | ENTRY_MARKED);
		entry->flags |= ENTRY_FOUND_AT_START | ENTRY_TO_OFFER;
		spool_account(spool, entry);
		recovery->found->message_count++;
		recovery->found->message_bytes += entry->body_bytes;
	}
}
