#include "queue/move.h"

#include "queue/mutant.h"
#include "relay/base/container_of.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

/*
 * One message leaves a segment that is being emptied.  What is still needed is
 * read, checked, and written again unchanged; when that is durable the new place
 * counts and the old segment can be given back (R10).  A crash between finds both
 * copies, and they are equal.
 *
 * A move is a change of its message and waits in the line of its changes: so
 * nothing else is written about the message between the copy and the report, and
 * a copy can never come behind the mark that settles its message.  The MESSAGE
 * record is the last of its job: where it is durable, all of the move is.
 */
struct moved {
	enum record_type type;
	uint32_t number;                /* of a chunk */
	struct record_source source;
	char *memory;
	struct span payload;
	uint32_t payload_crc;
	struct log_record *copy;        /* NULL: forgotten, by a seeded mistake */
};

struct move {
	struct mover *mover;
	struct change *change;
	struct pinned_read read;
	uint64_t id, at;
	struct moved *records;
	struct log_record *copies;
	uint32_t record_count;
	int failed_at;                  /* record that cannot be read, or -1 */
	struct err err;
};

/* ---- what is in the way -------------------------------------------------------- */

static bool
is_leaving(const struct spool *spool, struct place place)
{
	return !place_is_none(place) &&
	    spool->segments.slots[place.slot].state == SEGMENT_MOVING;
}

bool
move_is_due(const struct spool *spool, struct entry *entry)
{
	if (entry->flags & (ENTRY_DONE | ENTRY_DAMAGED))
		return false;           /* gone soon; or nobody can copy it */
	if (is_leaving(spool, entry->message) || is_leaving(spool, entry->state))
		return true;
	for (uint32_t i = 0; i < entry->chunk_count; i++) {
		if (is_leaving(spool, *entry_chunk(entry, i)))
			return true;
	}
	return false;
}

static struct spool *
spool_of(const struct change *change)
{
	return change->line->spool;
}

static struct entry *
entry_of(const struct change *change)
{
	struct entry *entry = index_find(&spool_of(change)->index, change->line->id);

	must(entry != NULL);            /* only its own line could remove it */
	return entry;
}

/* ---- one message ------------------------------------------------------------------ */

static void
add_record(struct change *change, enum record_type type, uint32_t number, struct place place)
{
	struct move *move = change->move;

	segments_pin(&spool_of(change)->segments, place.slot);
	move->records[move->record_count++] = (struct moved){
		.type = type,
		.number = number,
		.source = source_of(spool_of(change), place),
	};
}

/* Chunks first, then the state, and the message last, when nothing else is left. */
static void
collect(struct change *change)
{
	struct spool *spool = spool_of(change);
	struct entry *entry = entry_of(change);
	uint64_t bytes = 0;

	change->move->records = mem_alloc_array(entry->chunk_count + 2,
	    sizeof(change->move->records[0]));
	if (entry->flags & (ENTRY_DONE | ENTRY_DAMAGED))
		return;
	for (uint32_t i = 0; i < entry->chunk_count; i++) {
		if (!is_leaving(spool, *entry_chunk(entry, i)))
			continue;
		if (bytes >= MOVE_BYTES_MAX)
			return;
		bytes += segment_chunk_cost(entry);
		add_record(change, RECORD_CHUNK, i, *entry_chunk(entry, i));
	}
	if (is_leaving(spool, entry->state))
		add_record(change, RECORD_STATE, 0, entry->state);
	if (is_leaving(spool, entry->message))
		add_record(change, RECORD_MESSAGE, 0, entry->message);
}

static void
move_free(struct move *move)
{
	for (uint32_t i = 0; i < move->record_count; i++)
		mem_free(&move->records[i].memory);
	mem_free(&move->records);
	mem_free(&move->copies);
	mem_free(&move);
}

void
move_drop(struct change *change)
{
	struct mover *mover = change->move->mover;

	move_free(change->move);
	change->move = NULL;
	must(mover->in_flight > 0);
	if (--mover->in_flight == 0)
		mover_step_over(mover);
}

/* It is over, one way or the other. */
static void
move_end(struct change *change)
{
	struct spool *spool = spool_of(change);
	struct move *move = change->move;
	struct mover *mover = move->mover;

	for (uint32_t i = 0; i < move->record_count; i++)
		segments_unpin(&spool->segments, move->records[i].source.place.slot);
	if (!mover->has_failed && move_is_due(spool, entry_of(change)) && move->at < mover->at) {
		mover->at = move->at;
		mover->at_end = false;
	}
	change_over(change);
}

/* ---- reading ------------------------------------------------------------------------- */

static int
read_one(struct moved *moved, uint64_t id, struct err *err)
{
	struct record_header header;

	if (moved->type == RECORD_STATE)
		return source_read_state(&moved->source, id, &moved->memory, &moved->payload, err);
	if (source_read(&moved->source, moved->type, id, &header, &moved->memory, err) < 0)
		return -1;
	if (moved->type == RECORD_CHUNK && header.sequence != moved->number)
		return err_set(err, ERR_DAMAGED, "chunk %u instead of %u", header.sequence,
		    moved->number);
	moved->payload = span_make(moved->memory, header.payload_bytes);
	moved->payload_crc = header.payload_crc;
	return 0;
}

static void
move_work(struct pinned_read *read)
{
	struct move *move = container_of(read, struct move, read);
	move->failed_at = -1;
	for (uint32_t i = 0; i < move->record_count; i++) {
		if (read_one(&move->records[i], move->id, &move->err) < 0) {
			move->failed_at = (int)i;
			return;
		}
	}
}

/* What is wrong stays where it is, for who wants to look; what failed may be tried again. */
static void
take_read_failure(struct change *change)
{
	struct spool *spool = spool_of(change);
	const struct move *move = change->move;
	const struct record_source *source = &move->records[move->failed_at].source;

	if (move->err.kind == ERR_SYSTEM) {
		move->mover->has_failed = true;
	} else {
		segments_at(&spool->segments, source->place.slot)->has_damage = true;
		spool_damaged(spool, change->line->id, source->mark.number,
		    place_offset(source->place), &move->err);
	}
	move_end(change);
}

/* ---- writing --------------------------------------------------------------------------- */

static void
take_place(struct change *change, const struct moved *moved, struct place to)
{
	struct spool *spool = spool_of(change);
	struct entry *entry = entry_of(change);
	struct segments *segments = &spool->segments;
	struct place from = moved->source.place;

	if (moved->type == RECORD_CHUNK) {
		segments_unuse(segments, from, segment_chunk_cost(entry));
		segments_use(segments, to, segment_chunk_cost(entry));
		*entry_chunk(entry, moved->number) = to;
	} else if (moved->type == RECORD_STATE) {
		segments_unuse(segments, from, SEGMENT_STATE_COST);
		if (moved->copy)
			segments_use(segments, to, SEGMENT_STATE_COST);
		entry->state = moved->copy ? to : PLACE_NONE;
	} else {
		segments_unuse(segments, from, SEGMENT_MESSAGE_COST);
		segments_use(segments, to, SEGMENT_MESSAGE_COST);
		/* The copy is the mark that says so. */
		segment_set_dead(segments_at(segments, from.slot), entry->ordinal,
		    segments_at(segments, to.slot)->mark.number);
		entry->message = to;
		entry->ordinal = moved->copy->sequence;
	}
	spool->moved_bytes += record_bytes(moved->payload.len);
}

static void
move_arrived(struct inbox_item *item)
{
	struct change *change = container_of(item, struct change, item);
	const struct move *move = change->move;

	if (change->job.result == QUEUE_DONE) {
		for (uint32_t i = 0; i < move->record_count; i++) {
			const struct moved *moved = &move->records[i];

			take_place(change, moved, moved->copy ? moved->copy->place :
			    move->copies[0].place);
		}
	} else {
		move->mover->has_failed = true;
	}
	move_end(change);
}

static void
move_reported(struct commit_job *job)
{
	struct change *change = container_of(job, struct change, job);

	change->item.run = move_arrived;
	inbox_send(spool_of(change)->inbox, &change->item);
}

static bool
is_forgotten(const struct change *change, const struct moved *moved)
{
	if (change->move->record_count == 1)
		return false;
	return (moved->type == RECORD_STATE && mutant(MUTANT_MOVE_FORGETS_STATE)) ||
	    (moved->type == RECORD_CHUNK && mutant(MUTANT_MOVE_FORGETS_CHUNK) &&
	    moved->number + 1 == entry_of(change)->chunk_count);
}

static void
move_read(struct pinned_read *read)
{
	struct move *move = container_of(read, struct move, read);
	struct change *change = move->change;
	uint32_t count = 0;

	if (move->failed_at >= 0) {
		take_read_failure(change);
		return;
	}
	move->copies = mem_alloc_array(move->record_count, sizeof(move->copies[0]));
	for (uint32_t i = 0; i < move->record_count; i++) {
		struct moved *moved = &move->records[i];

		if (is_forgotten(change, moved))
			continue;
		moved->copy = &move->copies[count++];
		log_record_set(moved->copy, moved->type, change->line->id,
		    moved->type == RECORD_STATE ? entry_of(change)->revision : moved->number,
		    moved->payload);
		/* What was read was right; should memory lie since, the copy shows it. */
		if (moved->type != RECORD_STATE)
			moved->copy->payload_crc = moved->payload_crc;
	}
	change->job = (struct commit_job){
		.class = COMMIT_MOVE,
		.records = move->copies,
		.record_count = count,
		.reported = move_reported,
	};
	commit_submit(&spool_of(change)->committer, &change->job);
}

void
move_begin(struct change *change)
{
	struct move *move = change->move;

	collect(change);
	if (move->record_count == 0 || move->mover->is_stopped) {
		move_end(change);
		return;
	}
	move->read.work = move_work;
	move->read.done = move_read;
	pinned_read_start(spool_of(change)->hub_port, &move->read);
}

void
move_submit(struct mover *mover, struct entry *entry, uint64_t at)
{
	struct change *change = change_new(mover->spool, entry->id, CHANGE_MOVE);
	struct move *move = mem_alloc(sizeof(*move));

	move->mover = mover;
	move->change = change;
	move->id = entry->id;
	move->at = at;
	change->move = move;
	mover->in_flight++;
	change_submit(change);
}
