#include "relay/outbound/outbound_private.h"

#include <stdio.h>
#include <string.h>

#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/mail/mail_log.h"
#include "relay/outbound/mutant.h"

/*
 * What becomes of each recipient of a unit after an attempt.  Recipients with the
 * same lot stay together: the deferred ones of each class are a unit of their own
 * from here on, with a time of their own.
 */
enum lot {
	LOT_SETTLED,            /* delivered */
	LOT_REPORTED,           /* delivered, and the sender is to hear of it from us */
	LOT_FAILED,             /* 5yz */
	LOT_EXPIRED,            /* deferred once more, and its time is over */
	LOT_BACK,               /* no host could be had: it waits for the hosts */
	LOT_UNTOUCHED,          /* we ended the attempt ourselves */
	LOT_DEFERRED,           /* + enum retry_class */
	LOT_UNCERTAIN = LOT_DEFERRED + RETRY_UNCERTAIN,
	LOT_COUNT = LOT_DEFERRED + RETRY_CLASS_COUNT,
};

struct applying {
	struct outbound *outbound;
	struct job *job;
	struct unit *unit;
	struct letter *letter;
	struct destination *destination;
	const struct retry_policy *policy;
	uint64_t now_ms;
	uint32_t attempt_count;                 /* with this one */
	uint8_t lost_count;
	uint8_t *lots;                          /* by outcome */
	uint32_t counts[LOT_COUNT];
	uint32_t class_counts[RETRY_CLASS_COUNT];
	int64_t due_ms[RETRY_CLASS_COUNT];
	struct queue_outcome *changes;
	size_t change_count;
};

/* A change that the queue could not take is said aloud; it holds in memory all the same. */
static void
outcomes_recorded(void *ctx, enum queue_result result)
{
	(void)ctx;
	if (result == QUEUE_FAILED || result == QUEUE_FULL)
		log_error("outbound: outcomes are not recorded (%s): after a restart they are "
		    "tried again", queue_result_name(result));
}

void
outcome_close_batch(struct outbound *outbound, struct job *job)
{
	if (job->batch == 0)
		return;
	(void)queue_update(outbound->queue, job->id,
	    &(struct queue_change){ .batch = job->batch }, outcomes_recorded, NULL);
}

/* ---- lots ---- */

static const struct job_host *
worst_host(const struct job *job)
{
	const struct job_host *worst = NULL;

	for (size_t i = 0; i < job->host_count; i++)
		if (job->hosts[i].state == JOB_HOST_BAD)
			worst = &job->hosts[i];
	return worst;
}

static enum retry_class
class_of(const struct applying *it, const struct job_outcome *outcome)
{
	const struct job_host *bad = worst_host(it->job);

	if (outcome->fate == CALL_FATE_UNCERTAIN)
		return RETRY_UNCERTAIN;
	if (outcome->fate == CALL_FATE_DEFERRED)
		return retry_class_of_reply(outcome->reply.code,
		    span_from_cstr(outcome->reply.status), span_from_cstr(outcome->reply.text));
	return bad ? bad->class : RETRY_CONNECT;
}

/*
 * The last attempt comes just before the end, so that the end finds it done; see
 * retry_interval_ms(), which puts it at the end.
 */
static void
set_due(struct applying *it, enum retry_class class)
{
	const int64_t last_ms = 60 * 1000;
	struct unit *unit = it->unit;
	int64_t now = (int64_t)it->now_ms;
	int64_t due;

	if (it->class_counts[class])
		return;
	it->class_counts[class] = unit->class == class ? unit->class_count + 1 : 1;
	due = now + (int64_t)retry_interval_ms(it->policy, class, it->class_counts[class],
	    letter_age_ms(it->letter, it->now_ms), it->outbound->settings.random);
	if (due > unit->expire_ms - last_ms && unit->expire_ms - last_ms > now + last_ms)
		due = unit->expire_ms - last_ms;
	if (class == RETRY_UNCERTAIN && it->policy->hold_uncertain)
		due = unit->expire_ms + last_ms;        /* its end comes first */
	it->due_ms[class] = due;
}

/* RFC 3461 section 5.2.2: who asked to hear of success, and of whom the next hop knows nothing. */
static bool
owes_success_notice(const struct applying *it, const struct job_outcome *outcome)
{
	const struct envelope *envelope = it->job->envelope;

	return !outcome->notices_passed && !envelope_sender_is_null(envelope) &&
	    dsn_is_wanted(envelope->rcpts[outcome->rcpt].notify, DSN_DELIVERED);
}

/* LMTP answers for the mailbox (RFC 2033); an SMTP host without DSN will not tell. */
static enum dsn_action
success_action(const struct applying *it)
{
	return it->job->way->protocol == CALL_LMTP ? DSN_DELIVERED : DSN_RELAYED;
}

static enum lot
lot_of(struct applying *it, const struct job_outcome *outcome)
{
	bool lost_again = it->job->lost && it->unit->lost_count > 0;
	enum retry_class class;

	if (outcome->decided && outcome->fate == CALL_FATE_DELIVERED)
		return owes_success_notice(it, outcome) ? LOT_REPORTED : LOT_SETTLED;
	if (outcome->decided && outcome->fate == CALL_FATE_FAILED)
		return LOT_FAILED;
	if (!outcome->decided && it->job->end == JOB_CUT)
		return LOT_UNTOUCHED;
	if (it->unit->expire_ms <= (int64_t)it->now_ms)
		return LOT_EXPIRED;
	/*
	 * A host that is down is the host's affair: it waits for it without a time of
	 * its own.  A message under which the connection breaks every time is not.
	 */
	if (!outcome->decided && !lost_again)
		return LOT_BACK;
	class = class_of(it, outcome);
	set_due(it, class);
	return LOT_DEFERRED + class;
}

/* ---- words ---- */

static struct span
host_text(const struct applying *it, const struct job_outcome *outcome)
{
	const struct job_host *host = &it->job->hosts[outcome->host];

	if (host->peer[0])
		return span_from_cstr(host->peer);
	return span_from_cstr(it->destination->hosts[host->host].host->name);
}

/*
 * Where the last host said nothing about this recipient, what it said of itself stands, and where
 * it said nothing at all, our own words for what befell us.
 */
static void
fill_words(const struct applying *it, struct job_outcome *outcome)
{
	const struct job_host *bad = worst_host(it->job);

	if (outcome->decided || !bad)
		return;
	if (outcome->fate == CALL_FATE_DEFERRED && bad == &it->job->hosts[outcome->host])
		return;
	outcome->host = (uint8_t)(bad - it->job->hosts);
	if (bad->said.code)
		outcome->reply = bad->said;
	else
		reply_set(&outcome->reply, 451, bad->class == RETRY_TLS ? "4.7.5" :
		    bad->class == RETRY_DNS ? "4.4.3" : "4.4.1", "%s", bad->words);
}

/* Until a host of the destination may be asked again; 0 also where another unit is asking. */
static uint64_t
until_host_ms(const struct applying *it)
{
	const struct destination *destination = it->destination;
	int64_t now = (int64_t)it->now_ms;
	int64_t at = destination->suspended ? destination->suspend_until_ms
	    : destination_allowed_ms(destination, it->now_ms);

	return at == INT64_MAX || at <= now ? 0 : (uint64_t)(at - now);
}

static void
log_outcome(const struct applying *it, const struct job_outcome *outcome, enum lot lot)
{
	const struct envelope *envelope = it->job->envelope;
	struct mail_log_outcome event = {
		.id = it->job->id,
		.origin = envelope->origin,
		.sender = envelope->sender,
		.rcpt = envelope->rcpts[outcome->rcpt].address,
		.destination = span_from_cstr(it->destination->name),
		.host = host_text(it, outcome),
		.tls = span_from_cstr(it->job->hosts[outcome->host].tls),
		.attempt = it->attempt_count,
		.age_ms = letter_age_ms(it->letter, it->now_ms),
		.reply = &outcome->reply,
	};

	switch (lot) {
	case LOT_SETTLED:
		mail_log_delivered(&event);
		return;
	case LOT_REPORTED:
		if (success_action(it) == DSN_RELAYED)
			mail_log_relayed(&event);
		else
			mail_log_delivered(&event);
		return;
	case LOT_FAILED:
		mail_log_bounced(&event);
		return;
	case LOT_EXPIRED:
		mail_log_expired(&event);
		return;
	case LOT_UNTOUCHED:
		return;
	case LOT_BACK:
		event.error_class = span_from_cstr(retry_class_name(class_of(it, outcome)));
		event.reason = span_from_cstr(queue_reason_name(REASON_DESTINATION_BREAKER));
		event.next_ms = until_host_ms(it);
		mail_log_deferred(&event);
		return;
	default:
		break;
	}

	enum retry_class class = (enum retry_class)(lot - LOT_DEFERRED);

	event.error_class = span_from_cstr(retry_class_name(class));
	event.reason = span_from_cstr(queue_reason_name(dispatch_class_reason(class)));
	event.next_ms = (uint64_t)(it->due_ms[class] - (int64_t)it->now_ms);
	if (outcome->fate == CALL_FATE_UNCERTAIN)
		mail_log_uncertain(&event);
	else
		mail_log_deferred(&event);
}

static void
count(const struct applying *it, enum lot lot)
{
	struct destination *destination = it->destination;
	struct stats_cells *cells = it->outbound->cells;

	switch (lot) {
	case LOT_SETTLED:
	case LOT_REPORTED:
		destination->delivered_count++;
		stats_add(cells, OUTBOUND_STAT_DELIVERED, 1);
		return;
	case LOT_FAILED:
		destination->failed_count++;
		stats_add(cells, OUTBOUND_STAT_FAILED, 1);
		return;
	case LOT_EXPIRED:
		stats_add(cells, OUTBOUND_STAT_EXPIRED, 1);
		return;
	case LOT_UNTOUCHED:
		return;
	default:
		break;
	}
	if (lot == LOT_UNCERTAIN) {
		destination->uncertain_count++;
		stats_add(cells, OUTBOUND_STAT_UNCERTAIN, 1);
	} else {
		destination->deferred_count++;
		stats_add(cells, OUTBOUND_STAT_DEFERRED, 1);
	}
}

/* ---- records ---- */

static void
add_change(struct applying *it, const struct job_outcome *outcome, enum lot lot)
{
	struct queue_outcome *change = &it->changes[it->change_count++];

	*change = (struct queue_outcome){
		.rcpt = outcome->rcpt,
		.state = RCPT_WAITING,
		.tried = true,
		.reply = outcome->reply,
		.host = host_text(it, outcome),
	};
	if (lot == LOT_SETTLED) {
		change->state = RCPT_DELIVERED;
		return;
	}
	/* Whoever may have it is remembered until he had his time, over a restart too. */
	if (it->unit->bound && it->unit->bound_ms > (int64_t)it->now_ms)
		change->state = RCPT_UNCERTAIN;
	if (lot == LOT_BACK) {
		change->reason = REASON_DESTINATION_BREAKER;
		change->class = class_of(it, outcome);
	} else {
		change->class = (enum retry_class)(lot - LOT_DEFERRED);
		change->reason = dispatch_class_reason(change->class);
		change->due_ms = it->due_ms[change->class];
		if (outcome->fate == CALL_FATE_UNCERTAIN)
			change->state = RCPT_UNCERTAIN;
	}
}

/* The envelope may be kept for the next attempt or for a notification: it tells the newest. */
static void
remember_words(struct applying *it, const struct job_outcome *outcome)
{
	struct envelope *envelope = it->job->envelope;
	struct envelope_rcpt *rcpt = &envelope->rcpts[outcome->rcpt];
	struct span host = host_text(it, outcome);

	rcpt->last = outcome->reply;
	if (!span_equal(rcpt->last_host, host))
		rcpt->last_host = envelope_keep(envelope, host);
}

static void
sort_out(struct applying *it)
{
	for (size_t i = 0; i < it->job->outcome_count; i++) {
		struct job_outcome *outcome = &it->job->outcomes[i];
		enum lot lot = lot_of(it, outcome);

		if ((outbound_mutant(OUTBOUND_MUTANT_MARK_BEFORE_REPLY) &&
		     outcome->fate == CALL_FATE_UNCERTAIN) ||
		    (outbound_mutant(OUTBOUND_MUTANT_FORGET_RCPT) && lot >= LOT_DEFERRED &&
		     i > 0 && i + 1 == it->job->outcome_count))
			lot = LOT_SETTLED;
		fill_words(it, outcome);
		it->lots[i] = (uint8_t)lot;
		it->counts[lot]++;
		count(it, lot);
		log_outcome(it, outcome, lot);
		if (lot == LOT_SETTLED || lot == LOT_BACK || lot >= LOT_DEFERRED)
			add_change(it, outcome, lot);
		if (lot > LOT_REPORTED && lot != LOT_UNTOUCHED)
			remember_words(it, outcome);
	}
}

/* ---- units ---- */

/* The unit of a lot: the first one keeps the unit itself. */
static struct unit *
unit_of_lot(struct applying *it, enum lot lot, bool *reused)
{
	struct dispatch *dispatch = &it->outbound->dispatch;
	struct unit *unit = it->unit;
	uint32_t filled = 0;

	if (*reused) {
		unit = dispatch_part_unit(dispatch, it->unit, it->counts[lot]);
		unit->history = history_copy(it->unit->history);
	}
	*reused = true;
	for (size_t i = 0; i < it->job->outcome_count; i++)
		if (it->lots[i] == lot)
			unit->rcpts[filled++] = it->job->outcomes[i].rcpt;
	unit->rcpt_count = filled;
	return unit;
}

static const struct job_outcome *
example_of(const struct applying *it, enum lot lot)
{
	for (size_t i = 0; i < it->job->outcome_count; i++)
		if (it->lots[i] == lot)
			return &it->job->outcomes[i];
	must_not_reach();
}

static void
note_attempt(struct applying *it, struct unit *unit, enum lot lot)
{
	const struct job_outcome *outcome = example_of(it, lot);
	char words[HISTORY_TEXT_BYTES_MAX + 1];
	const struct reply *reply = &outcome->reply;

	words[0] = '\0';
	if (reply->code)
		(void)snprintf(words, sizeof(words), "%u %s%s%.120s", reply->code,
		    reply->status, reply->status[0] ? " " : "", reply->text);
	unit->history = history_add(unit->history, it->outbound->words,
	    loop_wall_ms(it->outbound->hub), class_of(it, outcome), host_text(it, outcome),
	    span_from_cstr(words));
}

static void
defer_lot(struct applying *it, struct unit *unit, enum lot lot)
{
	enum retry_class class = (enum retry_class)(lot - LOT_DEFERRED);
	const struct job_outcome *outcome = example_of(it, lot);

	unit->class = class;
	unit->class_count = it->class_counts[class];
	if (class == RETRY_UNCERTAIN)
		dispatch_bind(unit,
		    it->destination->hosts[it->job->hosts[outcome->host].host].host,
		    (int64_t)(it->now_ms + it->outbound->config.uncertain_hold_ms));
	dispatch_defer(&it->outbound->dispatch, unit, it->due_ms[class], it->now_ms);
}

/* The marks of these are one record with the notification that they owe. */
static void
tell_lot(struct applying *it, struct unit *unit, enum lot lot)
{
	struct failing *failing = failing_new(unit, unit->rcpt_count);
	size_t filled = 0;

	failing->action = lot == LOT_REPORTED ? success_action(it) : DSN_FAILED;
	failing->expired = lot == LOT_EXPIRED;
	failing->tried = true;
	for (size_t i = 0; i < it->job->outcome_count; i++) {
		const struct job_outcome *outcome = &it->job->outcomes[i];
		struct span host = host_text(it, outcome);
		struct failed_rcpt *rcpt;

		if (it->lots[i] != lot)
			continue;
		rcpt = &failing->rcpts[filled++];
		rcpt->rcpt = outcome->rcpt;
		rcpt->reply = outcome->reply;
		memcpy(rcpt->host, host.data, host.len < JOB_PEER_BYTES ? host.len :
		    JOB_PEER_BYTES - 1);
	}
	dispatch_settling(&it->outbound->dispatch, unit, it->now_ms);
	failure_add(it->outbound, unit, failing);
}

static void
place_lot(struct applying *it, struct unit *unit, enum lot lot)
{
	struct dispatch *dispatch = &it->outbound->dispatch;

	unit->attempt_count = it->attempt_count;
	unit->lost_count = it->lost_count;
	note_attempt(it, unit, lot);
	if (lot == LOT_REPORTED || lot == LOT_FAILED || lot == LOT_EXPIRED)
		tell_lot(it, unit, lot);
	else if (lot == LOT_BACK)
		dispatch_ready(dispatch, unit, false, it->now_ms);
	else
		defer_lot(it, unit, lot);
}

/* Ends of our own making: an operator's wish, or the program's end. */
static void
place_untouched(struct applying *it, struct unit *unit)
{
	struct dispatch *dispatch = &it->outbound->dispatch;

	if (it->letter->wish != WISH_NONE || it->letter->revoked)
		dispatch_defer(dispatch, unit, INT64_MAX, it->now_ms);
	else
		dispatch_ready(dispatch, unit, true, it->now_ms);
}

static void
place_units(struct applying *it)
{
	struct outbound *outbound = it->outbound;
	bool reused = false;

	for (enum lot lot = LOT_REPORTED; lot < LOT_COUNT; lot++) {
		struct unit *unit;

		if (it->counts[lot] == 0)
			continue;
		unit = unit_of_lot(it, lot, &reused);
		if (lot == LOT_UNTOUCHED)
			place_untouched(it, unit);
		else
			place_lot(it, unit, lot);
	}
	if (!reused) {
		struct history *history = it->unit->history;

		history_free(&history, outbound->words);
		dispatch_settling(&outbound->dispatch, it->unit, it->now_ms);
		dispatch_settle(&outbound->dispatch, it->unit);
	}
}

void
outcome_apply(struct outbound *outbound, struct job *job, struct unit *unit)
{
	struct applying it = {
		.outbound = outbound,
		.job = job,
		.unit = unit,
		.letter = letter_of(unit),
		.destination = unit->destination,
		.policy = letter_policy(outbound, unit),
		.now_ms = outbound_now(outbound),
		.attempt_count = unit->attempt_count + 1,
	};
	bool is_needed;

	if (job->lost)
		it.lost_count = unit->lost_count < UINT8_MAX ? unit->lost_count + 1 : UINT8_MAX;

	it.lots = mem_alloc(job->outcome_count);
	it.changes = mem_alloc_array(job->outcome_count, sizeof(*it.changes));
	sort_out(&it);
	if (it.change_count > 0 || job->batch)
		(void)queue_update(outbound->queue, job->id, &(struct queue_change){
			.outcomes = it.changes,
			.outcome_count = it.change_count,
			.batch = job->batch,
		}, outcomes_recorded, NULL);
	is_needed = it.counts[LOT_REPORTED] || it.counts[LOT_FAILED] ||
	    it.counts[LOT_EXPIRED] || it.counts[LOT_UNTOUCHED] || it.counts[LOT_UNCERTAIN] ||
	    unit->bound;
	place_units(&it);
	/* Kept where it is needed soon; mail that waits long is read again. */
	if (is_needed && !it.letter->envelope && !it.letter->revoked) {
		letter_keep_envelope(it.letter, job->envelope);
		job->envelope = NULL;
	}
	mem_free(&it.changes);
	mem_free(&it.lots);
}
