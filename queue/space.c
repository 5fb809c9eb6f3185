#include "queue/spool.h"

#include "queue/mutant.h"
#include "relay/base/container_of.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

/*
 * Dead segments.  Before one is given back, the marks that stand in it about
 * messages of other live segments are written again: for each such segment all
 * its dead at once, as a DEAD record.  When that is durable, FREE is written; when
 * that is durable, the committer takes the slot (DECISIONS.md 14).
 */
struct marked_segment {
	uint32_t slot;
	uint64_t number;
};

struct free_job {
	struct commit_job job;
	struct inbox_item item;
	struct spool *spool;
	uint32_t slot;
	struct log_record *records;
	struct marked_segment *marked;  /* what each DEAD record is about */
	struct buf *payloads;
	char mark[MARK_PAYLOAD_BYTES];
};

static void
free_job_free(struct free_job *todo)
{
	for (uint32_t i = 0; i < todo->job.record_count && todo->payloads; i++)
		buf_fini(&todo->payloads[i]);
	mem_free(&todo->payloads);
	mem_free(&todo->marked);
	mem_free(&todo->records);
	mem_free(&todo);
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

/* The committer's note that the slot is free came before this. */
static void
free_arrived(struct inbox_item *item)
{
	struct free_job *todo = container_of(item, struct free_job, item);
	struct spool *spool = todo->spool;
	uint32_t slot = todo->slot;
	enum queue_result result = todo->job.result;

	free_job_free(todo);
	if (result != QUEUE_DONE)
		segments_at(&spool->segments, slot)->state = SEGMENT_SEALED;
}

static void
write_free(struct spool *spool, uint32_t slot)
{
	struct segment *segment = segments_at(&spool->segments, slot);
	struct free_job *todo = mem_alloc(sizeof(*todo));

	segment->state = SEGMENT_FREEING;
	todo->spool = spool;
	todo->slot = slot;
	todo->records = mem_alloc_array(1, sizeof(todo->records[0]));
	mark_write(segment->mark, todo->mark);
	log_record_set(&todo->records[0], RECORD_FREE, 0, slot,
	    span_make(todo->mark, sizeof(todo->mark)));
	submit(todo, 1, free_arrived);
}

static void
marks_arrived(struct inbox_item *item)
{
	struct free_job *todo = container_of(item, struct free_job, item);
	struct spool *spool = todo->spool;
	uint32_t slot = todo->slot;

	spool->is_marking = false;
	if (todo->job.result != QUEUE_DONE) {
		segments_at(&spool->segments, slot)->state = SEGMENT_SEALED;
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
	free_job_free(todo);
	write_free(spool, slot);
	space_look(spool);
}

/* One that is being freed too needs them until that is durable. */
static bool
needs_marks_of(const struct segment *other, const struct segment *dying)
{
	return other->state != SEGMENT_NONE && other != dying && other->mark_oldest != 0 &&
	    other->mark_oldest <= dying->mark.number;
}

static void
write_marks(struct spool *spool, uint32_t slot)
{
	struct segments *segments = &spool->segments;
	const struct segment *dying = segments_at(segments, slot);
	struct free_job *todo = mem_alloc(sizeof(*todo));
	uint32_t count = 0;

	todo->spool = spool;
	todo->slot = slot;
	todo->records = mem_alloc_array(segments->slot_count, sizeof(todo->records[0]));
	todo->payloads = mem_alloc_array(segments->slot_count, sizeof(todo->payloads[0]));
	todo->marked = mem_alloc_array(segments->slot_count, sizeof(todo->marked[0]));
	for (uint32_t i = 0; i < segments->slot_count; i++) {
		struct segment *other = &segments->slots[i];

		if (!needs_marks_of(other, dying))
			continue;
		segment_begin_marks(other);
		buf_init(&todo->payloads[count], RECORD_PAYLOAD_BYTES_MAX);
		dead_put(&todo->payloads[count], other->mark, other->dead, other->dead_capacity);
		log_record_set(&todo->records[count], RECORD_DEAD, 0, 0,
		    buf_span(&todo->payloads[count]));
		todo->marked[count++] = (struct marked_segment){ i, other->mark.number };
	}
	submit(todo, count, marks_arrived);
}

static void
free_begin(struct spool *spool, uint32_t slot)
{
	struct segment *dying = segments_at(&spool->segments, slot);
	bool has_marks = false;

	for (uint32_t i = 0; i < spool->segments.slot_count; i++)
		has_marks |= needs_marks_of(&spool->segments.slots[i], dying);
	if (!has_marks || mutant(MUTANT_FREE_FORGETS_MARKS)) {
		write_free(spool, slot);
	} else if (!spool->is_marking) {        /* else it is looked at again when that ends */
		spool->is_marking = true;
		dying->state = SEGMENT_MARKING;
		write_marks(spool, slot);
	}
}

void
space_look_at(struct spool *spool, uint32_t slot)
{
	struct segment *segment = &spool->segments.slots[slot];

	if (segment->state == SEGMENT_SEALED && segment_is_done(segment))
		free_begin(spool, slot);
}

void
space_look(struct spool *spool)
{
	for (uint32_t i = 0; i < spool->segments.slot_count; i++)
		space_look_at(spool, i);
}

void
space_fini(struct spool *spool)
{
	mem_free(&spool->mover);
}
