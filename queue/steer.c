#include "queue/change.h"

#include <stdlib.h>

#include "relay/base/container_of.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

/* What the scheduler and the operator want changed; change.c writes it. */

/* A question about a message that is not there. */
static struct token
answer_at_once(struct spool *spool, enum queue_result result, queue_done *done, void *ctx)
{
	struct token token;
	struct done_call *call = done_call_new(spool->hub_port, done, ctx, &token);

	call_answer(&call->call, result);
	return token;
}

static struct token
ask(struct change *change, queue_done *done, void *ctx)
{
	struct token token;

	change->call = &done_call_new(change->line->spool->hub_port, done, ctx, &token)->call;
	return token;
}

static struct entry *
find_open(struct spool *spool, queue_id id)
{
	struct entry *entry = index_find(&spool->index, id);

	return entry && !(entry->flags & ENTRY_DONE) ? entry : NULL;
}

static uint16_t
plus_one(uint16_t count)
{
	return count < UINT16_MAX ? (uint16_t)(count + 1) : count;
}

static void
apply_to_index(struct spool *spool, struct entry *entry, const struct queue_outcome *outcome)
{
	must(outcome->rcpt < entry->rcpt_count);
	struct entry_rcpt *rcpt = entry_rcpt(entry, outcome->rcpt);
	bool was_open = entry_rcpt_is_open(rcpt);

	if (outcome->tried) {
		bool same = rcpt->attempt_count > 0 && rcpt->class == outcome->class;

		rcpt->attempt_count = plus_one(rcpt->attempt_count);
		rcpt->class_attempt_count = same ? plus_one(rcpt->class_attempt_count) : 1;
	}
	rcpt->state = (uint8_t)outcome->state;
	rcpt->class = (uint8_t)outcome->class;
	rcpt->reason = (uint8_t)outcome->reason;
	rcpt->due_ms = outcome->due_ms;
	if (was_open && !entry_rcpt_is_open(rcpt))
		spool->open_rcpt_count--;
	else if (!was_open && entry_rcpt_is_open(rcpt))
		spool->open_rcpt_count++;
}

static void
copy_outcomes(struct change *change, const struct queue_outcome *outcomes, size_t count)
{
	int64_t offset_ms = change->line->spool->queue_offset_ms;

	change->outcomes = arena_alloc_array(&change->arena, count, sizeof(outcomes[0]));
	change->outcome_count = count;
	for (size_t i = 0; i < count; i++) {
		struct queue_outcome *copy = &change->outcomes[i];

		*copy = outcomes[i];
		copy->host = arena_dup(&change->arena, outcomes[i].host);
		/* 0 is no time but the want of one: it stays what it is. */
		if (outcomes[i].due_ms == 0)
			copy->due_ms = 0;
		else
			copy->due_ms = outcomes[i].due_ms + offset_ms > 0 ?
			    outcomes[i].due_ms + offset_ms : 0;
	}
}

/* Counts in memory from here on, and is written as soon as the ones before it are. */
static void
change_enter(struct change *change, struct entry *entry)
{
	struct spool *spool = change->line->spool;

	for (size_t i = 0; i < change->outcome_count; i++)
		apply_to_index(spool, entry, &change->outcomes[i]);
	if (change->delay_notice_sent)
		entry->flags |= ENTRY_DELAY_NOTICE_SENT;
	change->settles = entry_open_count(entry) == 0;
	if (change->settles)
		entry->flags |= ENTRY_DONE;
	change_submit(change);
}

struct token
change_update(struct queue *face, queue_id id, const struct queue_change *wanted,
    queue_done *done, void *ctx)
{
	struct spool *spool = container_of(face, struct spool, face);
	struct entry *entry = find_open(spool, id);
	struct draft *notice = wanted->notice ?
	    container_of(*wanted->notice, struct draft, face) : NULL;

	if (!entry || (notice && notice->result != QUEUE_DONE)) {
		if (wanted->notice) {
			queue_abort(wanted->notice);
			envelope_free(wanted->notice_envelope);
		}
		return answer_at_once(spool, entry ? QUEUE_FAILED : QUEUE_NOT_FOUND, done, ctx);
	}
	struct change *change = change_new(spool, id, CHANGE_UPDATE);
	struct token token = ask(change, done, ctx);

	copy_outcomes(change, wanted->outcomes, wanted->outcome_count);
	change->batch = wanted->batch;
	change->delay_notice_sent = wanted->delay_notice_sent;
	if (notice) {
		change->notice = message_commit_new(notice, *wanted->notice_envelope, SPAN(""));
		change->notice->change = change;
		*wanted->notice = NULL;
		*wanted->notice_envelope = NULL;
	}
	change_enter(change, entry);
	return token;
}

struct token
change_remove(struct queue *face, queue_id id, queue_done *done, void *ctx)
{
	struct spool *spool = container_of(face, struct spool, face);
	struct entry *entry = find_open(spool, id);

	if (!entry)
		return answer_at_once(spool, QUEUE_NOT_FOUND, done, ctx);
	struct change *change = change_new(spool, id, CHANGE_REMOVE);
	struct token token = ask(change, done, ctx);

	change->outcomes = arena_alloc_array(&change->arena, entry->rcpt_count,
	    sizeof(change->outcomes[0]));
	for (uint32_t i = 0; i < entry->rcpt_count; i++) {
		if (!entry_rcpt_is_open(entry_rcpt(entry, i)))
			continue;
		change->outcomes[change->outcome_count++] = (struct queue_outcome){
			.rcpt = i,
			.state = RCPT_REMOVED,
			.class = (enum retry_class)entry_rcpt(entry, i)->class,
		};
	}
	spool_revoke(spool, entry);
	change_enter(change, entry);
	return token;
}

struct token
change_hold(struct queue *face, queue_id id, struct span why, queue_done *done, void *ctx)
{
	struct spool *spool = container_of(face, struct spool, face);
	struct entry *entry = find_open(spool, id);

	if (!entry)
		return answer_at_once(spool, QUEUE_NOT_FOUND, done, ctx);
	struct change *change = change_new(spool, id, CHANGE_HOLD);
	struct token token = ask(change, done, ctx);

	change->text = arena_dup(&change->arena, why);
	spool->held_count += !(entry->flags & ENTRY_HELD);
	entry->flags |= ENTRY_HELD;
	spool_revoke(spool, entry);
	change_enter(change, entry);
	return token;
}

struct token
change_release(struct queue *face, queue_id id, queue_done *done, void *ctx)
{
	struct spool *spool = container_of(face, struct spool, face);
	struct entry *entry = find_open(spool, id);

	if (!entry)
		return answer_at_once(spool, QUEUE_NOT_FOUND, done, ctx);
	struct change *change = change_new(spool, id, CHANGE_RELEASE);
	struct token token = ask(change, done, ctx);

	spool->held_count -= !!(entry->flags & ENTRY_HELD);
	entry->flags &= (uint16_t)~ENTRY_HELD;
	change_enter(change, entry);
	spool_offer(spool, entry, NULL);
	return token;
}

static int
compare_u32(const void *a, const void *b)
{
	const uint32_t *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

static void
attempt_finish(struct call *call, bool asked)
{
	struct attempt_call *attempt = container_of(call, struct attempt_call, call);

	if (asked)
		attempt->begun(attempt->ctx, call->result, attempt->batch);
	mem_free(&attempt);
}

struct token
change_attempt(struct queue *face, queue_id id, const uint32_t *rcpts, size_t rcpt_count,
    struct span host, queue_attempt_begun *begun, void *ctx)
{
	struct spool *spool = container_of(face, struct spool, face);
	struct entry *entry = find_open(spool, id);
	struct attempt_call *call = mem_alloc(sizeof(*call));

	call->begun = begun;
	call->ctx = ctx;
	struct token token = call_begin(&call->call, spool->hub_port, attempt_finish);

	if (!entry || (entry->flags & ENTRY_HELD)) {
		call_answer(&call->call, entry ? QUEUE_CONFLICT : QUEUE_NOT_FOUND);
		return token;
	}
	/* All of them: the batch is 0, and every message counts as possibly sent anyway. */
	if (rcpt_count == entry->rcpt_count) {
		bool can_record = spool_pressure(spool) != PRESSURE_NO_LOG;

		call_answer(&call->call, can_record ? QUEUE_DONE : QUEUE_FAILED);
		return token;
	}
	struct change *change = change_new(spool, id, CHANGE_ATTEMPT);

	change->call = &call->call;
	change->text = arena_dup(&change->arena, host);
	change->rcpt_count = (uint32_t)rcpt_count;
	change->rcpts = arena_alloc_array(&change->arena, rcpt_count, sizeof(rcpts[0]));
	memcpy(change->rcpts, rcpts, rcpt_count * sizeof(rcpts[0]));
	qsort(change->rcpts, rcpt_count, sizeof(rcpts[0]), compare_u32);
	change_enter(change, entry);
	return token;
}
