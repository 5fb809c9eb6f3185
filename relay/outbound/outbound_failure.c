#include "relay/outbound/outbound_telling.h"

#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/mail/mail_log.h"
#include "relay/outbound/mutant.h"

/*
 * What senders are told of: failures, that it takes long, and success if they asked for
 * that.  Recipients of one message that fail together are told of together; the
 * notification and their marks are one record of the queue, so that neither is ever there
 * without the other (DECISIONS.md 17).
 */
enum { TELLING_AGAIN_MS = 60 * 1000 };

static void tell(struct telling *telling);
static bool is_success(const struct telling *telling);
static void record(struct telling *telling, struct queue_draft *draft,
    struct envelope *notice);

static struct outbound *
outbound_of(const struct telling *telling)
{
	return telling->letter->outbound;
}

/* ---- the end ---- */

static void
free_telling(struct telling *telling)
{
	struct outbound *outbound = outbound_of(telling);
	struct failing *failing;

	if (telling->is_reading)
		queue_port_cancel(queue_hub_port(outbound->queue), &telling->token);
	if (telling->is_recording)
		queue_cancel(outbound->queue, &telling->token);
	bounce_free(&telling->bounce);
	loop_timer_stop(outbound->hub, &telling->again);
	while ((failing = STAILQ_FIRST(&telling->failing))) {
		struct history *history = failing->unit->history;

		STAILQ_REMOVE_HEAD(&telling->failing, next);
		history_free(&history, outbound->words);
		dispatch_settle(&outbound->dispatch, failing->unit);
		mem_free(&failing);
	}
	envelope_free(&telling->envelope);
	mem_free(&telling->rcpts);
	telling->letter->telling = NULL;
	mem_free(&telling);
}

static void
finish(struct telling *telling)
{
	struct letter *letter = telling->letter;
	struct outbound *outbound = letter->outbound;

	free_telling(telling);
	letter_settled(letter);
	outbound_wake(outbound);
}

static void
try_again(struct telling *telling)
{
	loop_timer_start(outbound_of(telling)->hub, &telling->again, TELLING_AGAIN_MS);
}

void
failure_abandon(struct letter *letter)
{
	struct failing *failing;

	/* Its own record may be what ended the message: it was told, then. */
	if (letter->telling)
		free_telling(letter->telling);
	while ((failing = STAILQ_FIRST(&letter->failing))) {
		struct history *history = failing->unit->history;

		STAILQ_REMOVE_HEAD(&letter->failing, next);
		history_free(&history, letter->outbound->words);
		dispatch_settle(&letter->outbound->dispatch, failing->unit);
		mem_free(&failing);
	}
	if (letter->is_pending) {
		TAILQ_REMOVE(&letter->outbound->pending, letter, of_pending);
		letter->is_pending = false;
	}
}

/* ---- recording ---- */

static void
recorded(void *ctx, enum queue_result result)
{
	struct telling *telling = ctx;

	telling->is_recording = false;
	switch (result) {
	case QUEUE_FAILED:
	case QUEUE_FULL:
		log_warn("outbound: a failure is not recorded (%s); tried again",
		    queue_result_name(result));
		try_again(telling);
		return;
	case QUEUE_DONE:
	case QUEUE_UNKNOWN:
	case QUEUE_NOT_FOUND:
	case QUEUE_DAMAGED:
	case QUEUE_CONFLICT:
		break;
	}
	finish(telling);
}

static size_t
fill_changes(const struct telling *telling, struct queue_outcome *changes)
{
	const struct failing *failing;
	size_t count = 0;

	STAILQ_FOREACH(failing, &telling->failing, next)
		for (size_t i = 0; i < failing->count; i++)
			changes[count++] = (struct queue_outcome){
				.rcpt = failing->rcpts[i].rcpt,
				.state = failing->action != DSN_FAILED ? RCPT_DELIVERED :
				    failing->expired ? RCPT_EXPIRED : RCPT_FAILED,
				.tried = failing->tried,
				.reply = failing->rcpts[i].reply,
				.host = span_from_cstr(failing->rcpts[i].host),
			};
	return count;
}

static size_t
failing_count(const struct telling *telling)
{
	const struct failing *failing;
	size_t count = 0;

	STAILQ_FOREACH(failing, &telling->failing, next)
		count += failing->count;
	return count;
}

/* DRAFT may be NULL: nobody is told. */
static void
record(struct telling *telling, struct queue_draft *draft, struct envelope *notice)
{
	struct outbound *outbound = outbound_of(telling);
	size_t count = failing_count(telling);
	struct queue_outcome *changes = mem_alloc_array(count, sizeof(*changes));
	struct queue_change change = {
		.outcomes = changes,
		.outcome_count = fill_changes(telling, changes),
		.delay_notice_sent = telling->action == DSN_DELAYED,
	};

	if (draft && outbound_mutant(OUTBOUND_MUTANT_NOTICE_WITHOUT_MARK))
		change.outcome_count = 0;
	if (draft) {
		change.notice = &draft;
		change.notice_envelope = &notice;
		stats_add(outbound->cells, OUTBOUND_STAT_NOTICES, 1);
		mail_log_notified(telling->letter->message.id, telling->notice_id, telling->to,
		    span_from_cstr(dsn_action_name(telling->action)), telling->rcpt_count);
	}
	telling->is_recording = true;
	telling->token = queue_update(outbound->queue, telling->letter->message.id, &change,
	    recorded, telling);
	mem_free(&changes);
}

/* ---- composing ---- */

static bool
is_success(const struct telling *telling)
{
	return telling->action != DSN_FAILED && telling->action != DSN_DELAYED;
}

/* What is delivered must be marked so, whether its sender can be told or not. */
static void
record_in_silence(struct telling *telling, const char *why)
{
	char id_text[QUEUE_ID_BYTES];

	queue_id_print(telling->letter->message.id, id_text);
	log_warn("outbound: %s: the sender is not told of success: %s", id_text, why);
	telling->says_nothing = true;
	record(telling, NULL, NULL);
}

static void
composed(void *ctx, struct queue_draft *draft, struct envelope *notice, const struct err *err)
{
	struct telling *telling = ctx;

	bounce_free(&telling->bounce);
	if (err && is_success(telling)) {
		record_in_silence(telling, err->text);
		return;
	}
	if (err) {
		log_warn("outbound: %s; tried again", err->text);
		try_again(telling);
		return;
	}
	record(telling, draft, notice);
}

static bool
rate_allows(struct outbound *outbound, struct span to)
{
	struct notice_rate *rate =
	    &outbound->notice_rates[span_hash_nocase(to, 1) % OUTBOUND_RATE_COUNT];
	uint64_t minute = outbound_now(outbound) / (60 * 1000);

	if (rate->minute != minute)
		*rate = (struct notice_rate){ .minute = minute };
	if (rate->count >= outbound->config.notice_rate_max)
		return false;
	rate->count++;
	return true;
}

static void
compose(struct telling *telling)
{
	struct outbound *outbound = outbound_of(telling);

	if (!rate_allows(outbound, telling->to)) {
		if (is_success(telling))
			record_in_silence(telling, "too many notifications to this sender");
		else
			try_again(telling);
		return;
	}
	telling->bounce = bounce_start(&(struct bounce_settings){
		.queue = outbound->queue,
		.about = telling->letter->message.id,
		.envelope = telling->envelope,
		.to = telling->to,
		.hostname = span_from_cstr(outbound->hostname),
		.postmaster = span_from_cstr(outbound->postmaster),
		.rcpts = telling->rcpts,
		.rcpt_count = telling->rcpt_count,
		.bytes_max = outbound->config.notice_bytes_max,
		.now_wall_ms = loop_wall_ms(outbound->hub),
	}, composed, telling);
	telling->notice_id = bounce_id(telling->bounce);
}

/* ---- all of it ---- */

static void
tell(struct telling *telling)
{
	telling_choose(telling);
	if (telling->rcpt_count > 0 && !telling->says_nothing)
		compose(telling);
	else
		record(telling, NULL, NULL);
}

/* ---- beginning ---- */

static bool
envelope_fits(const struct telling *telling)
{
	const struct failing *failing;

	STAILQ_FOREACH(failing, &telling->failing, next)
		for (size_t i = 0; i < failing->count; i++)
			if (failing->rcpts[i].rcpt >= telling->envelope->rcpt_count)
				return false;
	return true;
}

static void
read_envelope(struct telling *telling);

static void
envelope_read(void *ctx, enum queue_result result, struct envelope *envelope)
{
	struct telling *telling = ctx;

	telling->is_reading = false;
	telling->envelope = envelope;
	if (envelope && envelope_fits(telling)) {
		tell(telling);
		return;
	}
	/* Without its envelope nobody knows whom to tell: it stays, and is shown as damaged. */
	envelope_free(&telling->envelope);
	if (result != QUEUE_NOT_FOUND)
		log_error("outbound: a message has failed and its envelope cannot be read (%s)",
		    queue_result_name(result));
	try_again(telling);
}

static void
read_envelope(struct telling *telling)
{
	struct outbound *outbound = outbound_of(telling);

	telling->is_reading = true;
	telling->token = queue_read_envelope(queue_hub_port(outbound->queue),
	    telling->letter->message.id, envelope_read, telling);
}

static void
again_is_due(void *ctx)
{
	struct telling *telling = ctx;

	if (telling->envelope)
		tell(telling);
	else
		read_envelope(telling);
}

/* Successes first and by themselves: their marks must not wait for anything. */
static void
take_failing(struct telling *telling, struct letter *letter)
{
	struct failing *failing;
	struct failing_line rest = STAILQ_HEAD_INITIALIZER(rest);

	while ((failing = STAILQ_FIRST(&letter->failing))) {
		STAILQ_REMOVE_HEAD(&letter->failing, next);
		if (failing->action == DSN_FAILED) {
			STAILQ_INSERT_TAIL(&rest, failing, next);
			continue;
		}
		telling->action = failing->action;
		STAILQ_INSERT_TAIL(&telling->failing, failing, next);
	}
	if (!STAILQ_EMPTY(&telling->failing)) {
		STAILQ_CONCAT(&letter->failing, &rest);
		return;
	}
	telling->action = DSN_FAILED;
	STAILQ_CONCAT(&telling->failing, &rest);
}

static void
begin(struct letter *letter)
{
	struct telling *telling = mem_alloc(sizeof(*telling));

	letter->telling = telling;
	telling->letter = letter;
	loop_timer_init(&telling->again, again_is_due, telling);
	STAILQ_INIT(&telling->failing);
	if (!STAILQ_EMPTY(&letter->failing)) {
		take_failing(telling, letter);
	} else {
		telling->action = DSN_DELAYED;
		letter->notice_due = false;
	}
	telling->envelope = letter_take_envelope(letter);
	if (telling->envelope)
		tell(telling);
	else
		read_envelope(telling);
}

static void
set_pending(struct letter *letter)
{
	if (letter->is_pending)
		return;
	letter->is_pending = true;
	TAILQ_INSERT_TAIL(&letter->outbound->pending, letter, of_pending);
	outbound_wake(letter->outbound);
}

void
failure_go_on(struct letter *letter)
{
	if (letter->telling || letter->message.running_count > 0)
		return;
	if (!STAILQ_EMPTY(&letter->failing) || letter->notice_due)
		set_pending(letter);
}

void
failure_run_pending(struct outbound *outbound)
{
	struct letter *letter;

	while (!outbound->no_log && (letter = TAILQ_FIRST(&outbound->pending))) {
		TAILQ_REMOVE(&outbound->pending, letter, of_pending);
		letter->is_pending = false;
		if (letter->telling || letter->message.running_count > 0)
			continue;
		if (!STAILQ_EMPTY(&letter->failing) || letter->notice_due)
			begin(letter);
	}
}

struct failing *
failing_new(struct unit *unit, size_t rcpt_count)
{
	struct failing *failing = mem_alloc(sizeof(*failing) +
	    rcpt_count * sizeof(failing->rcpts[0]));

	failing->unit = unit;
	failing->count = rcpt_count;
	return failing;
}

void
failure_add(struct outbound *outbound, struct unit *unit, struct failing *failing)
{
	struct letter *letter = letter_of(unit);

	(void)outbound;
	must(unit->state == UNIT_SETTLING);
	STAILQ_INSERT_TAIL(&letter->failing, failing, next);
	failure_go_on(letter);
}

void
failure_expire(void *ctx, struct unit *unit)
{
	struct outbound *outbound = ctx;
	struct failing *failing = failing_new(unit, unit->rcpt_count);

	failing->expired = true;
	for (uint32_t i = 0; i < unit->rcpt_count; i++)
		failing->rcpts[i].rcpt = unit->rcpts[i];
	stats_add(outbound->cells, OUTBOUND_STAT_EXPIRED, unit->rcpt_count);
	failure_add(outbound, unit, failing);
}

void
failure_notice(void *ctx, struct unit *unit)
{
	struct letter *letter = letter_of(unit);
	struct unit *other;

	if (letter->notice_sent)
		return;
	letter->notice_sent = letter->notice_due = true;
	TAILQ_FOREACH(other, &letter->message.units, of_message) {
		other->notice_ms = INT64_MAX;
		dispatch_update_deadline(&((struct outbound *)ctx)->dispatch, other);
	}
	failure_go_on(letter);
}
