#include "queue/spool.h"

#include <stdlib.h>

#include "queue/mutant.h"
#include "relay/base/container_of.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

/*
 * Dead segments.  Before some are given back, the marks that stand in them about
 * messages of other live segments are written again: for each such segment all
 * its dead at once, as a DEAD record.  When that is durable, a FREE for each is
 * written; when that is durable, the committer takes the slots (DECISIONS.md 14).
 * All that are dead at the end of a turn go together.
 *
 * One DEAD record stands for many marks, so with the FREEs it is written a second
 * time: should one block go bad, nothing that was settled comes back.
 */
struct marked_segment {
	uint32_t slot;
	uint64_t number;
};

struct free_job {
	struct commit_job job;
	struct inbox_item item;
	struct spool *spool;
	uint32_t *slots;                /* the dying */
	uint32_t slot_count;
	struct log_record *records;
	struct marked_segment *marked;  /* what each DEAD record is about */
	struct buf *payloads;           /* of DEAD records */
	uint32_t payload_count;
	char (*marks)[MARK_PAYLOAD_BYTES];      /* of FREE records */
};

static void
free_job_free(struct free_job *todo)
{
	for (uint32_t i = 0; i < todo->payload_count; i++)
		buf_fini(&todo->payloads[i]);
	mem_free(&todo->payloads);
	mem_free(&todo->marked);
	mem_free(&todo->marks);
	mem_free(&todo->records);
	mem_free(&todo->slots);
	mem_free(&todo);
}

static void
set_states(const struct free_job *todo, enum segment_state state)
{
	for (uint32_t i = 0; i < todo->slot_count; i++)
		segments_at(&todo->spool->segments, todo->slots[i])->state = state;
}

static void
free_reported(struct commit_job *job)
{
	struct free_job *todo = container_of(job, struct free_job, job);

	inbox_send(todo->spool->inbox, &todo->item);
}

static void
submit(struct free_job *todo, uint32_t record_count, void (*arrived)(struct inbox_item *item))
{
	todo->item.run = arrived;
	todo->job = (struct commit_job){
		.class = COMMIT_OUTCOME,
		.records = todo->records,
		.record_count = record_count,
		.reported = free_reported,
	};
	commit_submit(&todo->spool->committer, &todo->job);
}

/* ---- FREE ------------------------------------------------------------------- */

/* The committer's notes that the slots are free came before this. */
static void
free_arrived(struct inbox_item *item)
{
	struct free_job *todo = container_of(item, struct free_job, item);

	/* Without a log they stay as they are until there is one: see pressure_at_hub(). */
	if (todo->job.result != QUEUE_DONE)
		set_states(todo, SEGMENT_SEALED);
	free_job_free(todo);
}

static void
write_free(struct free_job *todo)
{
	struct spool *spool = todo->spool;
	uint32_t count = todo->payload_count;

	set_states(todo, SEGMENT_FREEING);
	todo->records = mem_resize_array(todo->records, count + todo->slot_count,
	    sizeof(todo->records[0]));
	todo->marks = mem_alloc_array(todo->slot_count, sizeof(todo->marks[0]));
	for (uint32_t i = 0; i < todo->slot_count; i++) {
		mark_write(segments_at(&spool->segments, todo->slots[i])->mark, todo->marks[i]);
		log_record_set(&todo->records[count++], RECORD_FREE, 0, todo->slots[i],
		    span_make(todo->marks[i], MARK_PAYLOAD_BYTES));
	}
	submit(todo, count, free_arrived);
}

/* ---- marks ---------------------------------------------------------------------- */

static void
marks_arrived(struct inbox_item *item)
{
	struct free_job *todo = container_of(item, struct free_job, item);
	struct spool *spool = todo->spool;

	spool->is_marking = false;
	if (todo->job.result != QUEUE_DONE) {
		set_states(todo, SEGMENT_SEALED);
		free_job_free(todo);
		return;
	}
	for (uint32_t i = 0; i < todo->job.record_count; i++) {
		struct segment *marked = &spool->segments.slots[todo->marked[i].slot];
		uint32_t in_slot = todo->records[i].place.slot;

		/* Gone meanwhile, or another life of the slot: then nobody needs the mark. */
		if (marked->state != SEGMENT_NONE &&
		    marked->mark.number == todo->marked[i].number)
			segment_end_marks(marked,
			    segments_at(&spool->segments, in_slot)->mark.number);
	}
	write_free(todo);
	space_look(spool);
}

/*
 * Whether a mark about `other` may stand in one of the dying.  One that is dying
 * or being freed itself needs its marks until that is durable.
 */
static bool
needs_marks(const struct free_job *todo, const struct segment *other)
{
	if (other->state == SEGMENT_NONE || other->mark_oldest == 0)
		return false;
	for (uint32_t i = 0; i < todo->slot_count; i++) {
		const struct segment *dying = segments_at(&todo->spool->segments, todo->slots[i]);

		if (other != dying && other->mark_oldest <= dying->mark.number)
			return true;
	}
	return false;
}

static void
write_marks(struct free_job *todo)
{
	struct segments *segments = &todo->spool->segments;
	uint32_t count = 0;

	todo->records = mem_alloc_array(segments->slot_count, sizeof(todo->records[0]));
	todo->payloads = mem_alloc_array(segments->slot_count, sizeof(todo->payloads[0]));
	todo->marked = mem_alloc_array(segments->slot_count, sizeof(todo->marked[0]));
	for (uint32_t i = 0; i < segments->slot_count; i++) {
		struct segment *other = &segments->slots[i];

		if (!needs_marks(todo, other))
			continue;
		segment_begin_marks(other);
		buf_init(&todo->payloads[count], RECORD_PAYLOAD_BYTES_MAX);
		dead_put(&todo->payloads[count], other->mark, other->dead, other->dead_capacity);
		log_record_set(&todo->records[count], RECORD_DEAD, 0, 0,
		    buf_span(&todo->payloads[count]));
		todo->marked[count++] = (struct marked_segment){ i, other->mark.number };
		todo->payload_count = count;
	}
	submit(todo, count, marks_arrived);
}

/* ---- who is dead ------------------------------------------------------------------ */

static int
by_number(const void *a, const void *b, void *ctx)
{
	const uint32_t *left = a, *right = b;
	struct segments *segments = ctx;
	uint64_t left_number = segments_at(segments, *left)->mark.number;
	uint64_t right_number = segments_at(segments, *right)->mark.number;

	return (left_number > right_number) - (left_number < right_number);
}

void
space_look(struct spool *spool)
{
	struct segments *segments = &spool->segments;
	bool has_marks = false;

	if (spool->is_marking)          /* looks again when that ends */
		return;
	struct free_job *todo = mem_alloc(sizeof(*todo));

	todo->spool = spool;
	todo->slots = mem_alloc_array(segments->slot_count + 1, sizeof(todo->slots[0]));
	for (uint32_t i = 0; i < segments->slot_count; i++) {
		if (segment_is_done(&segments->slots[i]))
			todo->slots[todo->slot_count++] = i;
	}
	if (todo->slot_count == 0) {
		free_job_free(todo);
		return;
	}
	qsort_r(todo->slots, todo->slot_count, sizeof(todo->slots[0]), by_number, segments);
	for (uint32_t i = 0; i < segments->slot_count; i++)
		has_marks |= needs_marks(todo, &segments->slots[i]);
	if (!has_marks || mutant(MUTANT_FREE_FORGETS_MARKS)) {
		write_free(todo);
		return;
	}
	spool->is_marking = true;
	set_states(todo, SEGMENT_MARKING);
	write_marks(todo);
}

static void
turn_ended(void *ctx)
{
	space_look(ctx);
}

void
space_init(struct spool *spool)
{
	loop_task_init(&spool->space_task, turn_ended, spool);
}

void
space_fini(struct spool *spool)
{
	loop_task_cancel(spool->settings.hub, &spool->space_task);
}

void
space_look_at(struct spool *spool, uint32_t slot)
{
	if (segment_is_done(&spool->segments.slots[slot]))
		loop_at_turn_end(spool->settings.hub, &spool->space_task);
}
