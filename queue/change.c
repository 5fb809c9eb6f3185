#include "queue/change.h"

#include "queue/mutant.h"
#include "relay/base/container_of.h"
#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

static void change_start(struct change_line *line);

/* ---- lines ---------------------------------------------------------------------- */

static struct change_line *
line_of(struct spool *spool, uint64_t id)
{
	struct change_line *line;

	HASH_FIND(hh, spool->changes, &id, sizeof(id), line);
	if (line)
		return line;
	line = mem_alloc(sizeof(*line));
	line->id = id;
	line->spool = spool;
	STAILQ_INIT(&line->changes);
	HASH_ADD(hh, spool->changes, id, sizeof(line->id), line);
	return line;
}

static void
line_free(struct change_line *line)
{
	HASH_DEL(line->spool->changes, line);
	state_free(&line->state);
	mem_free(&line);
}

static void
change_free(struct change *change)
{
	arena_fini(&change->arena);
	buf_fini(&change->payload);
	if (change->notice)
		message_commit_free(change->notice);
	if (change->move)
		move_drop(change);
	mem_free(&change);
}

struct change *
change_new(struct spool *spool, uint64_t id, enum change_kind kind)
{
	struct change *change = mem_alloc(sizeof(*change));

	arena_init(&change->arena, 0);
	buf_init(&change->payload, spool_state_bytes_max(spool));
	change->kind = kind;
	change->line = line_of(spool, id);
	return change;
}

static void
answer(struct change *change, enum queue_result result)
{
	if (change->call)
		call_answer(change->call, result);
	change->call = NULL;
}

/* The first change is over; the next one begins. */
static void
line_advance(struct change_line *line)
{
	struct change *change = STAILQ_FIRST(&line->changes);

	STAILQ_REMOVE_HEAD(&line->changes, next);
	change_free(change);
	if (STAILQ_EMPTY(&line->changes)) {
		line_free(line);
		return;
	}
	change_start(line);
}

void
change_over(struct change *change)
{
	must(change == STAILQ_FIRST(&change->line->changes));
	line_advance(change->line);
}

/* The message is gone: what still waits is told so. */
static void
line_end(struct change_line *line)
{
	struct change *change;

	while ((change = STAILQ_FIRST(&line->changes)) != NULL) {
		STAILQ_REMOVE_HEAD(&line->changes, next);
		answer(change, QUEUE_NOT_FOUND);
		change_free(change);
	}
	line_free(line);
}

/* ---- reports ------------------------------------------------------------------------- */

static void
take_state_place(struct spool *spool, struct entry *entry, struct place place)
{
	if (!place_is_none(entry->state)) {
		uint32_t slot = entry->state.slot;

		segments_unuse(&spool->segments, entry->state, SEGMENT_STATE_COST);
		space_look_at(spool, slot);
	}
	entry->state = place;
	segments_use(&spool->segments, place, SEGMENT_STATE_COST);
}

static void
change_durable(struct change *change, struct place place)
{
	struct change_line *line = change->line;
	struct spool *spool = line->spool;
	struct entry *entry = index_find(&spool->index, line->id);

	must(entry != NULL);
	answer(change, QUEUE_DONE);
	if (!change->settles) {
		take_state_place(spool, entry, place);
		line_advance(line);
		return;
	}
	spool_settled(spool, entry, segments_at(&spool->segments, place.slot)->mark.number);
	line_end(line);
}

static void
change_reported(struct change *change, enum queue_result result, struct place place)
{
	struct change_line *line = change->line;

	if (result == QUEUE_DONE) {
		change_durable(change, place);
		return;
	}
	/* No log at all: what happened stays true and is written when there is one. */
	answer(change, QUEUE_UNKNOWN);
	line->stalled = true;
}

void
change_notice_reported(struct change *change, enum queue_result result, struct place place)
{
	if (result == QUEUE_DONE)
		change->notice = NULL;
	change_reported(change, result, place);
}

static void
change_arrived(struct inbox_item *item)
{
	struct change *change = container_of(item, struct change, item);

	change_reported(change, change->job.result, change->record.place);
}

static void
job_reported(struct commit_job *job)
{
	struct change *change = container_of(job, struct change, job);

	change->item.run = change_arrived;
	inbox_send(change->line->spool->inbox, &change->item);
}

/* ---- records --------------------------------------------------------------------------- */

static bool
apply(struct change *change, struct message_state *state)
{
	struct spool *spool = change->line->spool;

	switch (change->kind) {
	case CHANGE_UPDATE:
	case CHANGE_REMOVE:
		state_apply(state, change->outcomes, change->outcome_count,
		    loop_wall_ms(spool->settings.hub));
		if (change->batch)
			state_end_attempt(state, change->batch);
		state->delay_notice_sent |= change->delay_notice_sent;
		return true;
	case CHANGE_ATTEMPT:
		change->batch = state_begin_attempt(state, change->rcpts, change->rcpt_count,
		    change->text);
		container_of(change->call, struct attempt_call, call)->batch = change->batch;
		return change->batch != 0;
	case CHANGE_HOLD:
		state->held = true;
		state->why = arena_dup(&state->arena, span_first(change->text,
		    STATE_WHY_BYTES_MAX));
		return true;
	case CHANGE_RELEASE:
		state->held = false;
		state->why = SPAN("");
		return true;
	case CHANGE_MOVE:
		break;
	}
	must_not_reach();
}

/* The mistake of MUTANT_NOTICE_APART: a crash between the two loses the notification. */
struct mark_apart {
	struct commit_job job;
	struct log_record record;
	char *state;
};

static void
mark_apart_reported(struct commit_job *job)
{
	struct mark_apart *apart = container_of(job, struct mark_apart, job);

	mem_free(&apart->state);
	mem_free(&apart);
}

static void
submit_mark_apart(struct change *change, uint32_t revision, struct span state)
{
	struct mark_apart *apart = mem_alloc(sizeof(*apart));

	apart->state = mem_dup(state.data ? state.data : "", state.len);
	log_record_set(&apart->record, change->settles ? RECORD_DONE : RECORD_STATE,
	    change->line->id, revision, span_make(apart->state, state.len));
	apart->job = (struct commit_job){
		.class = COMMIT_OUTCOME,
		.records = &apart->record,
		.record_count = 1,
		.reported = mark_apart_reported,
	};
	commit_submit(&change->line->spool->committer, &apart->job);
}

static void
submit_notice(struct change *change, uint32_t revision, struct span state)
{
	struct message_commit *notice = change->notice;

	if (mutant(MUTANT_NOTICE_APART)) {
		submit_mark_apart(change, revision, state);
		message_commit_submit(notice);
		return;
	}

	notice->record.parent_id = change->line->id;
	notice->record.parent_revision = revision;
	notice->record.parent_done = change->settles;
	notice->record.parent_state = state;
	message_commit_submit(notice);
}

static void
submit_record(struct change *change, uint32_t revision)
{
	log_record_set(&change->record, change->settles ? RECORD_DONE : RECORD_STATE,
	    change->line->id, revision, buf_span(&change->payload));
	change->job = (struct commit_job){
		.class = COMMIT_OUTCOME,
		.records = &change->record,
		.record_count = 1,
		.reported = job_reported,
	};
	commit_submit(&change->line->spool->committer, &change->job);
}

/* The record must fit into a segment; what people would have read gives way. */
static void
encode(struct change *change)
{
	struct message_state *state = change->line->state;

	state_encode(state, &change->payload);
	if (!buf_overflowed(&change->payload))
		return;
	log_warn("queue: the state of %016llx is too large; its words are dropped",
	    (unsigned long long)change->line->id);
	state_shorten(state);
	buf_clear(&change->payload);
	state_encode(state, &change->payload);
	must(!buf_overflowed(&change->payload));        /* a commit made sure of it */
}

static void
change_write(struct change_line *line)
{
	struct change *change = STAILQ_FIRST(&line->changes);
	struct entry *entry = index_find(&line->spool->index, line->id);

	if (!change->settles) {
		if (!apply(change, line->state)) {
			answer(change, QUEUE_CONFLICT);
			line_advance(line);
			return;
		}
		encode(change);
	}
	entry->revision++;
	if (mutant(MUTANT_OUTCOME_BEFORE_DURABLE))
		answer(change, QUEUE_DONE);
	if (change->notice)
		submit_notice(change, entry->revision, buf_span(&change->payload));
	else
		submit_record(change, entry->revision);
}

/* ---- the state before ------------------------------------------------------------------- */

/* The words are lost; what became of whom the index knows. */
static struct message_state *
state_of_entry(struct entry *entry)
{
	struct message_state *state = state_new(entry->rcpt_count);

	state->held = entry->flags & ENTRY_HELD;
	state->delay_notice_sent = entry->flags & ENTRY_DELAY_NOTICE_SENT;
	for (uint32_t i = 0; i < entry->rcpt_count; i++) {
		const struct entry_rcpt *rcpt = entry_rcpt(entry, i);

		state->rcpts[i] = (struct state_rcpt){
			.state = (enum rcpt_state)rcpt->state,
			.class = (enum retry_class)rcpt->class,
			.reason = (enum queue_reason)rcpt->reason,
			.attempt_count = rcpt->attempt_count,
			.class_attempt_count = rcpt->class_attempt_count,
			.due_ms = rcpt->due_ms,
		};
	}
	return state;
}

static void
state_work(struct pinned_read *read)
{
	struct change_line *line = container_of(read, struct change_line, read);
	struct span bytes;
	char *memory;
	struct err err;

	if (source_read_state(&read->sources[0], line->id, &memory, &bytes, &err) < 0)
		return;
	line->state = state_decode(bytes);
	mem_free(&memory);
}

static void
state_done(struct pinned_read *read)
{
	struct change_line *line = container_of(read, struct change_line, read);
	struct entry *entry = index_find(&line->spool->index, line->id);

	pinned_read_unpin(line->spool, read);
	read->source_count = 0;
	if (line->state && line->state->rcpt_count != entry->rcpt_count)
		state_free(&line->state);
	if (!line->state) {
		log_error("queue: the state of %016llx cannot be read; its words are lost",
		    (unsigned long long)line->id);
		line->state = state_of_entry(entry);
	}
	change_write(line);
}

static void
change_start(struct change_line *line)
{
	struct change *change = STAILQ_FIRST(&line->changes);
	struct entry *entry = index_find(&line->spool->index, line->id);

	must(entry != NULL);
	if (change->kind == CHANGE_MOVE) {
		move_begin(change);
		return;
	}
	if (change->settles || line->state) {
		change_write(line);
		return;
	}
	if (place_is_none(entry->state)) {
		line->state = state_new(entry->rcpt_count);
		change_write(line);
		return;
	}
	line->read.sources[0] = source_of(line->spool, entry->state);
	line->read.source_count = 1;
	line->read.work = state_work;
	line->read.done = state_done;
	pinned_read_pin(line->spool, &line->read);
	pinned_read_start(line->spool->hub_port, &line->read);
}

void
change_submit(struct change *change)
{
	struct change_line *line = change->line;
	bool was_empty = STAILQ_EMPTY(&line->changes);

	STAILQ_INSERT_TAIL(&line->changes, change, next);
	if (was_empty)
		change_start(line);
}

void
change_resume_all(struct spool *spool)
{
	struct change_line *line, *next;

	HASH_ITER(hh, spool->changes, line, next) {
		if (!line->stalled)
			continue;
		line->stalled = false;
		struct change *change = STAILQ_FIRST(&line->changes);

		if (change->notice)
			message_commit_submit(change->notice);
		else
			commit_submit(&spool->committer, &change->job);
	}
}

void
change_drop_all(struct spool *spool)
{
	struct change_line *line, *next;

	HASH_ITER(hh, spool->changes, line, next)
		line_end(line);
}
