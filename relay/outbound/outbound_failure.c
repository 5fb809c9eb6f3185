#include "relay/outbound/outbound_private.h"

#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/mail/mail_log.h"

/*
 * What senders are told of: failures, and that it takes long.  Recipients of one
 * message that fail together are told of together; the notification and their marks
 * are one record of the queue, so that neither is ever there without the other
 * (DECISIONS.md 17).
 */
enum { TELLING_AGAIN_MS = 60 * 1000 };

struct telling {
	struct letter *letter;
	bool is_delay;
	STAILQ_HEAD(, failing) failing;         /* none for a delay */
	struct envelope *envelope;
	struct token token;                     /* of the queue's call under way */
	bool is_reading;
	bool is_recording;
	struct bounce *bounce;
	struct dsn_rcpt *rcpts;
	size_t rcpt_count;
	struct span to;
	queue_id notice_id;
	struct loop_timer again;
	bool is_said;                           /* what becomes of each is in the log */
};

static void tell(struct telling *telling);
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
				.state = failing->expired ? RCPT_EXPIRED : RCPT_FAILED,
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
		.delay_notice_sent = telling->is_delay,
	};

	if (draft) {
		change.notice = &draft;
		change.notice_envelope = &notice;
		stats_add(outbound->cells, OUTBOUND_STAT_NOTICES, 1);
		mail_log_notified(telling->letter->message.id, telling->notice_id, telling->to,
		    span_from_cstr(dsn_action_name(telling->is_delay ? DSN_DELAYED :
		    DSN_FAILED)), telling->rcpt_count);
	}
	telling->is_recording = true;
	telling->token = queue_update(outbound->queue, telling->letter->message.id, &change,
	    recorded, telling);
	mem_free(&changes);
}

/* ---- composing ---- */

static void
composed(void *ctx, struct queue_draft *draft, struct envelope *notice, const struct err *err)
{
	struct telling *telling = ctx;

	bounce_free(&telling->bounce);
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

/* ---- deciding who is told ---- */

/*
 * Nobody is told of a message without a sender.  A notification of our own that
 * cannot be delivered goes to the postmaster, where there is one and it is not he
 * who cannot be reached.
 */
static bool
find_addressee(struct telling *telling, enum mail_log_why *why_out)
{
	struct outbound *outbound = outbound_of(telling);
	const struct envelope *envelope = telling->envelope;
	struct span postmaster = span_from_cstr(outbound->postmaster);

	telling->to = envelope->sender;
	if (!envelope_sender_is_null(envelope))
		return true;
	*why_out = DISCARDED_NULL_SENDER;
	if (!telling->letter->message.is_notification)
		return false;
	*why_out = DISCARDED_DOUBLE_BOUNCE;
	if (telling->is_delay || span_is_empty(postmaster))
		return false;
	for (size_t i = 0; i < envelope->rcpt_count; i++)
		if (span_equal_nocase(envelope->rcpts[i].address, postmaster))
			return false;
	telling->to = postmaster;
	return true;
}

static void
add_rcpt(struct telling *telling, uint32_t number, const struct reply *reply, struct span host,
    bool expired)
{
	struct outbound *outbound = outbound_of(telling);
	const struct envelope_rcpt *rcpt = &telling->envelope->rcpts[number];
	int64_t retry_until_ms = 0;

	if (telling->is_delay) {
		const struct unit *unit = TAILQ_FIRST(&telling->letter->message.units);

		retry_until_ms = unit ? outbound_wall_of(outbound, unit->expire_ms) : 0;
	}
	telling->rcpts[telling->rcpt_count++] = (struct dsn_rcpt){
		.address = rcpt->address,
		.orcpt = rcpt->orcpt,
		.action = telling->is_delay ? DSN_DELAYED : DSN_FAILED,
		.expired = expired,
		.reply = reply->code ? reply : rcpt->last.code ? &rcpt->last : NULL,
		.remote_host = host.len ? host : rcpt->last_host,
		.last_attempt_ms = rcpt->last.code || reply->code ?
		    loop_wall_ms(outbound->hub) : 0,
		.retry_until_ms = retry_until_ms,
	};
}

/* What no attempt has said in the log yet. */
static void
say(struct telling *telling, const struct failing *failing, const struct failed_rcpt *failed)
{
	const struct envelope *envelope = telling->envelope;
	const struct envelope_rcpt *rcpt = &envelope->rcpts[failed->rcpt];
	struct mail_log_outcome event = {
		.id = telling->letter->message.id,
		.origin = envelope->origin,
		.sender = envelope->sender,
		.rcpt = rcpt->address,
		.host = rcpt->last_host,
		.attempt = failing->unit->attempt_count,
		.age_ms = letter_age_ms(telling->letter, outbound_now(outbound_of(telling))),
		.reply = failed->reply.code ? &failed->reply :
		    rcpt->last.code ? &rcpt->last : NULL,
	};

	if (failing->tried || telling->is_said)
		return;
	if (failing->expired)
		mail_log_expired(&event);
	else
		mail_log_bounced(&event);
}

static void
choose_failed(struct telling *telling, bool has_addressee, enum mail_log_why why)
{
	struct outbound *outbound = outbound_of(telling);
	const struct envelope *envelope = telling->envelope;
	const struct failing *failing;

	STAILQ_FOREACH(failing, &telling->failing, next)
		for (size_t i = 0; i < failing->count; i++) {
			const struct failed_rcpt *failed = &failing->rcpts[i];
			const struct envelope_rcpt *rcpt = &envelope->rcpts[failed->rcpt];
			bool wanted = dsn_is_wanted(rcpt->notify, DSN_FAILED);

			say(telling, failing, failed);
			if (has_addressee && wanted) {
				add_rcpt(telling, failed->rcpt, &failed->reply,
				    span_from_cstr(failed->host), failing->expired);
			} else if (!telling->is_said) {
				stats_add(outbound->cells, OUTBOUND_STAT_DISCARDED, 1);
				mail_log_discarded(telling->letter->message.id,
				    envelope->origin, envelope->sender, rcpt->address,
				    has_addressee ? DISCARDED_NOTIFY_NEVER : why);
			}
		}
}

static void
choose_delayed(struct telling *telling)
{
	const struct envelope *envelope = telling->envelope;
	const struct unit *unit;

	TAILQ_FOREACH(unit, &telling->letter->message.units, of_message) {
		if (unit->state == UNIT_SETTLING)
			continue;
		for (uint32_t i = 0; i < unit->rcpt_count; i++)
			if (dsn_is_wanted(envelope->rcpts[unit->rcpts[i]].notify, DSN_DELAYED))
				add_rcpt(telling, unit->rcpts[i], &(struct reply){ 0 },
				    SPAN(""), false);
	}
}

static void
tell(struct telling *telling)
{
	const struct envelope *envelope = telling->envelope;
	enum mail_log_why why = DISCARDED_NULL_SENDER;
	bool has_addressee = find_addressee(telling, &why);

	mem_free(&telling->rcpts);
	telling->rcpt_count = 0;
	telling->rcpts = mem_alloc_array(envelope->rcpt_count, sizeof(*telling->rcpts));
	if (!telling->is_delay)
		choose_failed(telling, has_addressee, why);
	else if (has_addressee)
		choose_delayed(telling);
	telling->is_said = true;
	if (telling->rcpt_count > 0)
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

static void
begin(struct letter *letter)
{
	struct telling *telling = mem_alloc(sizeof(*telling));

	letter->telling = telling;
	telling->letter = letter;
	loop_timer_init(&telling->again, again_is_due, telling);
	STAILQ_INIT(&telling->failing);
	if (!STAILQ_EMPTY(&letter->failing)) {
		STAILQ_CONCAT(&telling->failing, &letter->failing);
	} else {
		telling->is_delay = true;
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
