#include "tests/crash/life.h"

#include <stdio.h>
#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "tests/crash/peek.h"

/*
 * The workload: what sessions, the scheduler and the operator do, each choice a
 * function of the operation's own seed and of what is there.
 */
enum {
	DAY_MS = 25 * 3600 * 1000,
	PROMISED_OUTCOMES = 4,          /* the reserve is good for so many, one by one */
	FULL_MESSAGES = 24,
	PIECE_BYTES = 3000,
};

/* ---- answers ------------------------------------------------------------------ */

static struct ask *
ask_new(struct life *life, int message, uint8_t change)
{
	struct ask *ask = mem_alloc(sizeof(*ask));

	*ask = (struct ask){ .life = life, .message = message, .change = change };
	TAILQ_INSERT_TAIL(&life->asks, ask, link);
	return ask;
}

static void
ask_free(struct ask *ask)
{
	TAILQ_REMOVE(&ask->life->asks, ask, link);
	mem_free(&ask);
}

static bool
has_trouble(const struct life *life)
{
	return life->disk->fault_count > 0 || life->profile == PROFILE_FULL;
}

static void
committed(void *ctx, enum queue_result result)
{
	struct ask *ask = ctx;
	struct life *life = ask->life;

	if (!life->disk->is_dead) {
		if (result == QUEUE_DONE)
			model_acknowledge(life->model, ask->message);
		else if (result != QUEUE_UNKNOWN)
			model_refuse(life->model, ask->message);
		if (result != QUEUE_DONE && !has_trouble(life))
			violate(life->violation, "a commit on a good disk: %s",
			    queue_result_name(result));
	}
	ask_free(ask);
}

/* An outcome is written again after a failure: its fate is open only without any log. */
static void
changed(void *ctx, enum queue_result result)
{
	struct ask *ask = ctx;
	struct life *life = ask->life;

	if (!life->disk->is_dead) {
		if (result == QUEUE_DONE)
			model_durable(life->model, ask->message, ask->change);
		else if (result != QUEUE_UNKNOWN)
			violate(life->violation, "a change of %llx: %s",
			    (unsigned long long)life->model->messages[ask->message].id,
			    queue_result_name(result));
		else if (!has_trouble(life) || !life->had_no_log)
			violate(life->violation, "a change is not known to be written, and there "
			    "is a log");
		if (result != QUEUE_DONE && life->disk->fault_count == 0 &&
		    life->promised_count > 0)
			violate(life->violation, "the reserve was not there for an outcome");
	}
	ask_free(ask);
}

static void
begun(void *ctx, enum queue_result result, uint32_t batch)
{
	struct ask *ask = ctx;
	struct life *life = ask->life;

	(void)batch;
	if (!life->disk->is_dead && result == QUEUE_NOT_FOUND)
		violate(life->violation, "an attempt of what is not there");
	ask_free(ask);
}

/* ---- messages -------------------------------------------------------------------- */

static void draft_go_on(struct life_draft *draft);

static void
room(void *ctx)
{
	draft_go_on(ctx);
}

static void
draft_commit(struct life_draft *draft)
{
	struct life *life = draft->life;
	struct envelope *envelope = model_envelope(life->model, draft->message);

	(void)queue_commit(&draft->draft, &envelope, NULL, committed,
	    ask_new(life, draft->message, 0));
	draft->draft = NULL;
}

static void
draft_go_on(struct life_draft *draft)
{
	struct life *life = draft->life;
	const struct model_message *message;

	if (!draft->draft || life->disk->is_dead)
		return;
	message = &life->model->messages[draft->message];
	while (draft->at < message->bytes) {
		struct span rest = span_make(model_body(message->id) + draft->at,
		    message->bytes - draft->at);
		struct span piece = span_first(rest, PIECE_BYTES);
		size_t taken = queue_append(draft->draft, piece);

		if (taken == SIZE_MAX) {
			queue_abort(&draft->draft);
			model_refuse(life->model, draft->message);
			return;
		}
		draft->at += (uint32_t)taken;
		if (taken < piece.len)
			return;         /* until there is room */
	}
	draft_commit(draft);
}

static struct life_draft *
unused_draft(struct life *life)
{
	for (int i = 0; i < LIFE_DRAFTS_MAX; i++) {
		if (!life->drafts[i].draft)
			return &life->drafts[i];
	}
	return NULL;
}

static uint32_t
some_size(struct chance *chance)
{
	switch (chance_below(chance, 8)) {
	case 0:
		return 0;
	case 1:
	case 2:
		return chance_below(chance, 16 << 10);
	case 3:
		return chance_below(chance, MODEL_BODY_BYTES_MAX);
	default:
		return 1 + chance_below(chance, 1500);
	}
}

static void
submit(struct life *life, struct chance *chance, uint32_t bytes)
{
	static const struct queue_draft_events events = { .room = room };
	struct life_draft *draft = unused_draft(life);
	struct queue_draft_terms terms = { .id = queue_new_id(life->port) };

	if (!draft)
		return;
	int message = model_add(life->model, terms.id, bytes,
	    (uint8_t)(1 + chance_below(chance, MODEL_RCPTS_MAX)));

	if (message == MODEL_NONE)
		return;
	if (chance_one_in(chance, 2))
		terms.size_hint = bytes;
	*draft = (struct life_draft){ .life = life, .message = message };
	draft->draft = queue_begin(life->port, &terms, &events, draft);
	draft_go_on(draft);
	if (draft->draft && chance_one_in(chance, 4)) {
		queue_abort(&draft->draft);
		model_refuse(life->model, message);
	}
}

static void
do_submit(struct life *life, struct chance *chance)
{
	submit(life, chance, some_size(chance));
}

/* ---- what is there ------------------------------------------------------------------ */

/* The session hears of a commit before the hub does; nobody steers what was not offered. */
static bool
is_there(const struct life *life, int message)
{
	struct queue_item item;

	return model_is_alive(life->model, message) &&
	    queue_find(life->queue, life->model->messages[message].id, &item);
}

static int
some_message(const struct life *life, struct chance *chance)
{
	int found = MODEL_NONE;
	uint32_t count = 0;

	for (int i = 0; i < life->model->count; i++) {
		if (is_there(life, i) && chance_below(chance, ++count) == 0)
			found = i;
	}
	return found;
}

static bool
has_room(const struct life *life, int message)
{
	return life->model->messages[message].change_count < MODEL_CHANGES_MAX - 1;
}

static bool
is_open(uint8_t state)
{
	return state == RCPT_WAITING || state == RCPT_UNCERTAIN;
}

static void
set_settled(const struct model_message *message, struct snapshot *snapshot)
{
	snapshot->settled = true;
	for (uint32_t i = 0; i < message->rcpt_count; i++)
		snapshot->settled &= !is_open(snapshot->states[i]);
}

/* ---- outcomes ------------------------------------------------------------------------- */

static void
make_notice(struct life *life, int parent, uint8_t change, struct queue_change *wanted,
    struct chance *chance)
{
	struct queue_port *port = queue_hub_port(life->queue);
	struct queue_draft_terms terms = { .id = queue_new_id(port) };
	int message = model_add(life->model, terms.id, chance_below(chance, 1200), 1);

	if (message == MODEL_NONE)
		return;
	struct model_message *notice = &life->model->messages[message];

	notice->parent = (int16_t)parent;
	notice->parent_change = change;
	life->model->messages[parent].snapshots[change].notice = (int16_t)message;
	*wanted->notice = queue_begin(port, &terms, NULL, NULL);
	(void)queue_append(*wanted->notice, span_make(model_body(notice->id), notice->bytes));
	*wanted->notice_envelope = model_envelope(life->model, message);
}

static enum rcpt_state
some_state(struct chance *chance)
{
	static const enum rcpt_state states[] = { RCPT_DELIVERED, RCPT_DELIVERED, RCPT_WAITING,
	    RCPT_WAITING, RCPT_FAILED, RCPT_FAILED, RCPT_EXPIRED, RCPT_UNCERTAIN };

	return states[chance_below(chance, sizeof(states) / sizeof(states[0]))];
}

static struct queue_outcome
outcome_of(const struct life *life, const struct model_message *message, uint32_t rcpt,
    enum rcpt_state state)
{
	struct queue_outcome outcome = {
		.rcpt = rcpt,
		.state = state,
		.reason = state == RCPT_WAITING ? REASON_WAITING_RETRY : REASON_NONE,
		.class = RETRY_GREYLISTED,
		.due_ms = (int64_t)loop_now_ms(life->hub) + 60000,
		.tried = true,
		.host = SPAN("mx.example.net[192.0.2.9]:25"),
	};
	char words[64];

	model_words(words, sizeof(words), message->id, message->change_count);
	reply_set(&outcome.reply, state == RCPT_DELIVERED ? 250 : 451, "", "%s", words);
	return outcome;
}

/* Those of the set that are open; all of them if it has none. */
static uint32_t
open_rcpts(const struct model_message *message, uint32_t rcpts)
{
	uint32_t all = 0;

	for (uint32_t i = 0; i < message->rcpt_count; i++)
		all |= is_open(model_newest(message)->states[i]) ? 1u << i : 0;
	return (all & rcpts) ? all & rcpts : all;
}

/* state: RCPT_REMOVED stands for a choice for each recipient. */
static void
update(struct life *life, int at, uint32_t rcpts, enum rcpt_state state, bool owes_notice,
    struct chance *chance)
{
	struct model_message *message = &life->model->messages[at];
	uint32_t chosen_rcpts = open_rcpts(message, rcpts);
	struct snapshot *snapshot = model_change(life->model, at);
	struct queue_outcome outcomes[MODEL_RCPTS_MAX];
	struct queue_draft *notice = NULL;
	struct envelope *envelope = NULL;
	struct queue_change change = { .outcomes = outcomes, .notice = &notice,
	    .notice_envelope = &envelope };

	for (uint32_t i = 0; i < message->rcpt_count; i++) {
		if (!(chosen_rcpts & 1u << i))
			continue;
		enum rcpt_state chosen = state == RCPT_REMOVED ? some_state(chance) : state;

		outcomes[change.outcome_count++] = outcome_of(life, message, i, chosen);
		snapshot->states[i] = (uint8_t)chosen;
		snapshot->attempts[i]++;
		snapshot->words[i] = message->change_count;
	}
	set_settled(message, snapshot);
	if (owes_notice)
		make_notice(life, at, message->change_count, &change, chance);
	if (!notice) {
		change.notice = NULL;
		change.notice_envelope = NULL;
	}
	(void)queue_update(life->queue, message->id, &change, changed,
	    ask_new(life, at, message->change_count));
}

static void
do_outcome(struct life *life, struct chance *chance)
{
	int at = some_message(life, chance);

	if (at == MODEL_NONE)
		return;
	const struct model_message *message = &life->model->messages[at];
	uint32_t rcpts = 1 + chance_below(chance, 7);
	bool is_notice = message->parent != MODEL_NONE;

	if (!has_room(life, at))
		update(life, at, 7, RCPT_DELIVERED, false, chance);
	else
		update(life, at, rcpts, RCPT_REMOVED, !is_notice && chance_one_in(chance, 2),
		    chance);
}

static void
settle(struct life *life, int at, struct chance *chance)
{
	struct model_message *message = &life->model->messages[at];

	if (chance_one_in(chance, 4)) {
		model_change(life->model, at)->settled = true;
			(void)queue_remove(life->queue, message->id, changed,
		    ask_new(life, at, message->change_count));
		return;
	}
	update(life, at, 7, RCPT_DELIVERED, false, chance);
}

static void
do_settle(struct life *life, struct chance *chance)
{
	int at = some_message(life, chance);

	if (at != MODEL_NONE)
		settle(life, at, chance);
}

static void
do_drain(struct life *life, struct chance *chance, uint32_t percent)
{
	for (int i = 0; i < life->model->count; i++) {
		if (is_there(life, i) && chance_below(chance, 100) < percent)
			settle(life, i, chance);
	}
}

void
work_settle_all(struct life *life)
{
	struct chance chance = chance_at(life->seed);

	do_drain(life, &chance, 100);
}

void
work_let_go(struct life *life)
{
	for (int i = 0; i < LIFE_READS_MAX; i++) {
		if (life->reads[i].reader)
			queue_body_close(&life->reads[i].reader);
	}
	for (int i = 0; i < LIFE_DRAFTS_MAX; i++) {
		if (life->drafts[i].draft)
			model_refuse(life->model, life->drafts[i].message);
		queue_abort(&life->drafts[i].draft);
	}
}

static void
do_hold(struct life *life, struct chance *chance)
{
	int at = some_message(life, chance);

	if (at == MODEL_NONE || !has_room(life, at))
		return;
	struct model_message *message = &life->model->messages[at];
	struct snapshot *snapshot = model_change(life->model, at);
	struct ask *ask = ask_new(life, at, message->change_count);

	snapshot->held = !snapshot->held;
	if (snapshot->held)
		(void)queue_hold(life->queue, message->id, SPAN("a test"), changed, ask);
	else
		(void)queue_release(life->queue, message->id, changed, ask);
}

static void
do_attempt(struct life *life, struct chance *chance)
{
	int at = some_message(life, chance);
	uint32_t rcpt = 0;

	if (at == MODEL_NONE)
		return;
	(void)queue_attempt(life->queue, life->model->messages[at].id, &rcpt, 1,
	    SPAN("mx.example.net[192.0.2.9]:25"), begun, ask_new(life, at, 0));
}

/* ---- a disk that somebody else fills ------------------------------------------------------- */

static void
fill(struct life *life)
{
	uint64_t free_bytes, total_bytes;
	struct err err;

	if (disk_space(&life->disk->disk, &free_bytes, &total_bytes, &err) == 0)
		life->disk->bytes_max = total_bytes - free_bytes;
}

/*
 * All that is free is taken at one moment, the reserve being there: then mail is
 * refused sooner or later, and outcomes are recorded all the same.
 */
static void
do_fill(struct life *life, struct chance *chance)
{
	struct queue_stats stats;

	if (life->disk->bytes_max != UINT32_MAX) {
		life->disk->bytes_max = UINT32_MAX;
		return;
	}
	clock_manual_advance_ms(&life->clock, 1100);
	life_run(life);
	if (life_is_over(life))
		return;
	queue_stats(life->queue, &stats);
	fill(life);
	if (stats.pressure != PRESSURE_NONE || !peek_has_reserve(life->disk))
		return;
	for (uint32_t i = 0; i < FULL_MESSAGES && !life_is_over(life); i++) {
		submit(life, chance, chance_below(chance, 8 << 10));
		life_run(life);
	}
	life->promised_count = PROMISED_OUTCOMES;
	while (life->promised_count > 0 && !life_is_over(life)) {
		do_outcome(life, chance);
		life_run(life);
		life->promised_count--;
	}
}

/* ---- one operation -------------------------------------------------------------------------- */

static void
do_time(struct life *life, struct chance *chance)
{
	bool is_long = chance_one_in(chance, 8);

	clock_manual_advance_ms(&life->clock, is_long ? DAY_MS :
	    200 + chance_below(chance, 3000));
	for (int i = 0; i < 4; i++) {
		life_run(life);
		clock_manual_advance_ms(&life->clock, 1000);
	}
}

static void
do_some(struct life *life, struct chance *chance)
{
	uint32_t choice = chance_below(chance, 100);

	if (life->profile == PROFILE_FULL && chance_one_in(chance, 12))
		do_fill(life, chance);
	else if (choice < 34)
		do_submit(life, chance);
	else if (choice < 54)
		do_outcome(life, chance);
	else if (choice < 70)
		do_settle(life, chance);
	else if (choice < 74)
		do_drain(life, chance, 80);
	else if (choice < 80)
		do_hold(life, chance);
	else if (choice < 84)
		do_attempt(life, chance);
	else if (choice < 92)
		work_read(life, chance, some_message(life, chance));
	else
		do_time(life, chance);
}

void
work_do(struct life *life, uint64_t seed)
{
	struct chance chance = chance_at(seed);
	uint32_t at_once = chance_one_in(&chance, 3) ? 1 + chance_below(&chance, 4) : 1;

	for (uint32_t i = 0; i < at_once && !life_is_over(life); i++)
		do_some(life, &chance);
	if (chance_one_in(&chance, 4))
		life_run_some(life, chance_below(&chance, 12));
	else
		life_run(life);
}
