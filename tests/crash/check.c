#include "tests/crash/life.h"

#include <string.h>

#include "relay/base/mem.h"

/*
 * The invariants, asked of the real queue by its face:
 *
 *	I1  what was acknowledged and not settled is there, octet for octet
 *	I2  whatever is there is a message that somebody gave
 *	I3  what was settled, durably, is not there
 *	I4  what a start has found counts as acknowledged (check_adopt())
 *	I5  so two starts find the same
 *	I6  room comes back when all is settled
 *
 * and besides: what was refused is not there; a notification is there if and only
 * if the change is that made it; a recipient's state is one that was asked for, and
 * not older than the last that was reported; ids grow; a crash is no damage.
 */
struct look {
	struct life *life;
	struct model_message *message;
	struct queue_body_reader *reader;
	uint32_t at;
	bool is_wrong, has_ended;
	enum queue_result result;
	bool has_envelope;
	enum queue_result envelope_result;
	struct envelope *envelope;
};

struct looks {
	struct life *life;
	struct look *rows;
	int count;
};

#define ID(message) (unsigned long long)(message)->id

/* ---- what is listed ------------------------------------------------------------ */

static bool
is_in_state(struct queue *queue, const struct model_message *message,
    const struct snapshot *snapshot, const struct queue_item *item)
{
	if (snapshot->settled || snapshot->held != item->held)
		return false;
	for (uint32_t i = 0; i < message->rcpt_count; i++) {
		struct queue_rcpt rcpt;

		if (!queue_find_rcpt(queue, message->id, i, &rcpt) ||
		    (uint8_t)rcpt.state != snapshot->states[i] ||
		    rcpt.attempt_count != snapshot->attempts[i])
			return false;
	}
	return true;
}

static void
match_state(struct life *life, struct model_message *message, const struct queue_item *item)
{
	for (int i = message->change_count; i >= message->durable; i--) {
		if (is_in_state(life->queue, message, &message->snapshots[i], item)) {
			message->matched = (uint8_t)i;
			return;
		}
	}
	violate(life->violation, "message %llx is in a state that is none of %u to %u",
	    ID(message), message->durable, message->change_count);
}

static void
take_item(void *ctx, const struct queue_item *item)
{
	struct looks *looks = ctx;
	struct life *life = looks->life;
	int at = model_find(life->model, item->id);

	if (at == MODEL_NONE) {
		violate(life->violation, "I2: message %llx was never given",
		    (unsigned long long)item->id);
		return;
	}
	struct model_message *message = &life->model->messages[at];

	if (message->is_listed)
		violate(life->violation, "message %llx is listed twice", ID(message));
	message->is_listed = true;
	/* While there is no log it stays in the list until its mark is durable. */
	if (!life->is_fresh && model_newest(message)->settled)
		return;
	if (message->refused)
		violate(life->violation, "message %llx was refused and is there", ID(message));
	else if (!model_may_be(message))
		violate(life->violation, "%s: message %llx is there again",
		    message->gone ? "I5" : "I3", ID(message));
	else if (item->damaged)
		violate(life->violation, "I1: message %llx is damaged", ID(message));
	else if (item->rcpt_count != message->rcpt_count || item->body_bytes != message->bytes)
		violate(life->violation, "I2: message %llx is not what was given", ID(message));
	else
		match_state(life, message, item);
	looks->rows[looks->count++] = (struct look){ .life = life, .message = message };
}

/* ---- what is read ---------------------------------------------------------------- */

static void
piece(void *ctx, struct span bytes)
{
	struct look *look = ctx;

	if (look->at + bytes.len > look->message->bytes ||
	    memcmp(bytes.data, model_body(look->message->id) + look->at, bytes.len) != 0)
		look->is_wrong = true;
	look->at += (uint32_t)bytes.len;
	queue_body_next(look->reader);
}

static void
ended(void *ctx, enum queue_result result)
{
	struct look *look = ctx;

	look->has_ended = true;
	look->result = result;
	queue_body_close(&look->reader);
}

static void
got_envelope(void *ctx, enum queue_result result, struct envelope *envelope)
{
	struct look *look = ctx;

	look->has_envelope = true;
	look->envelope_result = result;
	look->envelope = envelope;
}

static void
judge_look(struct look *look)
{
	struct violation *violation = look->life->violation;
	const struct model_message *message = look->message;
	/* While changes are under way the words on the disk may be older than the state. */
	bool is_calm = look->life->is_fresh || message->durable == message->change_count;

	if (!look->has_ended || !look->has_envelope)
		violate(violation, "message %llx: a reading has no end", ID(message));
	else if (message->is_forged && look->result == QUEUE_DAMAGED)
		return;                 /* as it must be */
	else if (look->result != QUEUE_DONE || look->is_wrong || look->at != message->bytes)
		violate(violation, "%s: the body of %llx: %s, %u of %u octets%s",
		    look->is_wrong && look->result == QUEUE_DONE ? "I2" : "I1", ID(message),
		    queue_result_name(look->result), look->at, message->bytes,
		    look->is_wrong ? ", wrong ones" : "");
	else if (look->envelope_result != QUEUE_DONE)
		violate(violation, "I1: the envelope of %llx: %s", ID(message),
		    queue_result_name(look->envelope_result));
	else if (is_calm && !model_envelope_is(message, look->envelope,
		&message->snapshots[message->matched]))
		violate(violation, "I2: the envelope of %llx is not the one of change %u",
		    ID(message), message->matched);
}

static void
read_all(struct looks *looks)
{
	static const struct queue_body_events events = { piece, ended };
	struct life *life = looks->life;

	for (int i = 0; i < looks->count; i++) {
		struct look *look = &looks->rows[i];

		look->reader = queue_body_open(life->port, look->message->id, &events, look);
		(void)queue_read_envelope(life->port, look->message->id, got_envelope, look);
	}
	life_run_reads(life);
	for (int i = 0; i < looks->count; i++) {
		judge_look(&looks->rows[i]);
		envelope_free(&looks->rows[i].envelope);
		if (looks->rows[i].reader)
			queue_body_close(&looks->rows[i].reader);
	}
}

/* ---- what is not there ------------------------------------------------------------- */

static bool
was_made(const struct model *model, int notice)
{
	const struct model_message *message = &model->messages[notice];

	/* It may have been settled since; then it was there. */
	return message->is_listed || message->snapshots[message->change_count].settled ||
	    message->gone;
}

/* A notification and the change that owes it stand or fall together. */
static void
check_notices(const struct life *life, const struct model_message *message)
{
	bool settled = !message->is_listed && message->acknowledged;

	if (message->gone)
		return;                 /* looked at when it went */
	for (uint8_t i = 1; i <= message->change_count; i++) {
		int notice = message->snapshots[i].notice;
		bool is_applied = message->is_listed ? i <= message->matched : settled;

		if (notice == MODEL_NONE)
			continue;
		if (is_applied && !was_made(life->model, notice))
			violate(life->violation, "the notification %llx is lost, its parent %llx "
			    "is marked", ID(&life->model->messages[notice]), ID(message));
		if (!is_applied && life->model->messages[notice].is_listed)
			violate(life->violation, "the notification %llx is there, its parent %llx "
			    "is not marked", ID(&life->model->messages[notice]), ID(message));
	}
}

static void
check_absent(const struct life *life)
{
	for (int i = 0; i < life->model->count; i++) {
		const struct model_message *message = &life->model->messages[i];

		if (!message->is_listed && model_must_be(message))
			violate(life->violation, "I1: message %llx is lost", ID(message));
		if (life->is_fresh)
			check_notices(life, message);
	}
}

static void
check_damage(const struct life *life)
{
	struct queue_damage damage;

	for (int i = 0; i < life->model->count; i++) {
		if (life->model->messages[i].is_forged)
			return;
	}
	if (queue_list_damage(life->queue, 0, &damage))
		violate(life->violation, "a crash is taken for damage: segment %llu at %llu: %s",
		    (unsigned long long)damage.segment, (unsigned long long)damage.offset,
		    damage.what);
}

void
check_life(struct life *life)
{
	struct looks looks = { .life = life };
	struct queue_cursor cursor = { 0 };

	if (life_is_over(life))
		return;
	looks.rows = mem_alloc_array(MODEL_MESSAGES_MAX, sizeof(looks.rows[0]));
	for (int i = 0; i < life->model->count; i++)
		life->model->messages[i].is_listed = false;
	while (!life->violation->is_found &&
	    queue_list(life->queue, &cursor, 16, take_item, &looks))
		;
	if (!life->violation->is_found)
		read_all(&looks);
	if (!life->violation->is_found)
		check_absent(life);
	check_damage(life);
	if (queue_new_id(life->port) <= life->model->id_high)
		violate(life->violation, "ids do not grow");
	mem_free(&looks.rows);
}

void
check_adopt(struct life *life)
{
	struct model *model = life->model;

	for (int i = 0; i < model->count; i++) {
		struct model_message *message = &model->messages[i];

		if (!message->is_listed) {
			message->gone = true;
			continue;
		}
		message->change_count = message->matched;
		message->durable = message->matched;
		model_acknowledge(model, i);
	}
	model->version++;
}

void
check_space(struct life *life)
{
	struct queue_stats stats;

	life->disk->faults = (struct crash_faults){ .seed = life->disk->faults.seed };
	life->disk->bytes_max = UINT32_MAX;
	work_let_go(life);
	for (int i = 0; i < 4 && !life_is_over(life); i++) {
		work_settle_all(life);
		life_run(life);
		clock_manual_advance_ms(&life->clock, 2000);
		life_run(life);
	}
	if (life_is_over(life))
		return;
	queue_stats(life->queue, &stats);
	if (stats.message_count > 0)
		violate(life->violation, "I6: %llu messages are left though all are settled",
		    (unsigned long long)stats.message_count);
	else if (stats.segment_live_count > 2)
		violate(life->violation, "I6: %llu segments are alive though all is settled",
		    (unsigned long long)stats.segment_live_count);
}
