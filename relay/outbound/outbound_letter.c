#include "relay/outbound/outbound_private.h"

#include <stdio.h>

#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/mail/mail_log.h"

/* ---- envelopes kept in memory ---- */

struct envelope *
letter_take_envelope(struct letter *letter)
{
	struct outbound *outbound = letter->outbound;
	struct envelope *envelope = letter->envelope;

	if (envelope) {
		TAILQ_REMOVE(&outbound->kept, letter, of_kept);
		outbound->kept_count--;
		letter->envelope = NULL;
	}
	return envelope;
}

void
letter_keep_envelope(struct letter *letter, struct envelope *envelope)
{
	struct outbound *outbound = letter->outbound;

	must(!letter->envelope && envelope);
	letter->envelope = envelope;
	TAILQ_INSERT_TAIL(&outbound->kept, letter, of_kept);
	if (++outbound->kept_count <= OUTBOUND_ENVELOPES_MAX)
		return;

	/* The one that has waited longest will not go soon; it is read again then. */
	struct envelope *oldest = letter_take_envelope(TAILQ_FIRST(&outbound->kept));

	envelope_free(&oldest);
}

/* ---- placing ---- */

const struct retry_policy *
letter_policy(const struct outbound *outbound, const struct unit *unit)
{
	if (unit->domain)
		return &unit->domain->route->retry;
	if (unit->destination)
		return &unit->destination->route->retry;
	return &outbound->retry_without_route;
}

uint64_t
letter_age_ms(const struct letter *letter, uint64_t now_ms)
{
	int64_t age = (int64_t)now_ms - letter->arrived_ms;

	return age > 0 ? (uint64_t)age : 0;
}

/* What recipients must have in common to be one unit. */
struct group {
	const struct route *route;
	uint32_t domain_id;             /* by MX: the domain; else 0 */
	struct span domain;
	bool is_waiting;
	int64_t due_ms;                 /* is_waiting: until then */
	enum retry_class class;
	uint32_t class_count;
	uint32_t attempt_count;
	struct span bound_to;           /* who may have it already, as recorded; "" nobody */
	uint32_t count;
};

struct grouping {
	struct group *groups;
	size_t count;
	uint32_t *group_of;             /* by recipient; UINT32_MAX: settled */
};

static bool
same_group(const struct group *a, const struct group *b)
{
	return a->route == b->route && a->domain_id == b->domain_id &&
	    span_equal(a->bound_to, b->bound_to) &&
	    a->is_waiting == b->is_waiting && (!a->is_waiting ||
	    (a->due_ms == b->due_ms && a->class == b->class));
}

/* Recipients that go together mostly stand together: the search begins at the end. */
static void
add_to_group(struct grouping *grouping, uint32_t rcpt, const struct group *wanted)
{
	size_t at = grouping->count;

	while (at > 0 && !same_group(&grouping->groups[at - 1], wanted))
		at--;
	if (at == 0) {
		grouping->groups = mem_resize_array(grouping->groups, grouping->count + 1,
		    sizeof(*grouping->groups));
		grouping->groups[grouping->count++] = *wanted;
		at = grouping->count;
	}
	grouping->groups[at - 1].count++;
	grouping->group_of[rcpt] = (uint32_t)(at - 1);
}

static void
envelope_fetched(void *ctx, enum queue_result result, struct envelope *envelope)
{
	struct letter *letter = ctx;

	letter->is_fetching = false;
	if (envelope)
		letter_keep_envelope(letter, envelope);
	else if (result != QUEUE_NOT_FOUND)
		log_warn("outbound: an envelope cannot be read (%s): routed by domain alone",
		    queue_result_name(result));
	letter_place(letter);
	outbound_wake(letter->outbound);
}

/* False: the address is needed and the envelope has to be read first. */
static bool
route_rcpt(struct letter *letter, const struct queue_item *item, uint32_t number,
    const struct queue_rcpt *rcpt, bool can_fetch, struct route_match *match_out)
{
	struct outbound *outbound = letter->outbound;
	const struct envelope *envelope = letter->envelope;
	struct route_question question = {
		.domain = rcpt->domain,
		.sender = item->sender,
		.client_address = item->client,
	};

	if (envelope && number < envelope->rcpt_count) {
		question.recipient = envelope->rcpts[number].address;
		question.listener = envelope->listener;
	}
	*match_out = route_table_match(outbound->routes, &question);
	return !match_out->needs_address || !can_fetch;
}

/* False: who may have it already is in the envelope, which has to be read first. */
static bool
find_tie(const struct letter *letter, uint32_t number, const struct queue_rcpt *rcpt,
    bool can_fetch, struct group *wanted)
{
	const struct envelope *envelope = letter->envelope;

	if (rcpt->state != RCPT_UNCERTAIN)
		return true;
	if (envelope && number < envelope->rcpt_count)
		wanted->bound_to = envelope->rcpts[number].last_host;
	return envelope || !can_fetch;
}

static bool
group_rcpts(struct letter *letter, const struct queue_item *item, const bool *under_way,
    bool can_fetch, struct grouping *grouping)
{
	struct outbound *outbound = letter->outbound;
	int64_t now = (int64_t)outbound_now(outbound);

	for (uint32_t i = 0; i < item->rcpt_count; i++) {
		struct queue_rcpt rcpt;
		struct route_match match;
		struct group wanted = { 0 };

		grouping->group_of[i] = UINT32_MAX;
		if (under_way[i] || !queue_find_rcpt(outbound->queue, item->id, i, &rcpt) ||
		    (rcpt.state != RCPT_WAITING && rcpt.state != RCPT_UNCERTAIN))
			continue;
		if (!route_rcpt(letter, item, i, &rcpt, can_fetch, &match))
			return false;
		wanted.route = match.route;
		if (match.route && match.route->via == ROUTE_VIA_MX) {
			wanted.domain_id = rcpt.domain_id + 1;
			wanted.domain = rcpt.domain;
		}
		if (!find_tie(letter, i, &rcpt, can_fetch, &wanted))
			return false;
		wanted.is_waiting = rcpt.due_ms > now;
		wanted.due_ms = rcpt.due_ms;
		wanted.class = rcpt.class;
		wanted.class_count = rcpt.class_attempt_count;
		wanted.attempt_count = rcpt.attempt_count;
		add_to_group(grouping, i, &wanted);
	}
	return true;
}

static void
set_times(struct letter *letter, struct unit *unit)
{
	const struct retry_policy *policy = letter_policy(letter->outbound, unit);

	unit->expire_ms = letter->arrived_ms + (int64_t)policy->lifetime_ms;
	unit->notice_ms = INT64_MAX;
	if (!letter->notice_sent && !letter->null_sender && policy->delay_notice_ms)
		unit->notice_ms = letter->arrived_ms + (int64_t)policy->delay_notice_ms;
	dispatch_update_deadline(&letter->outbound->dispatch, unit);
}

/* "relay2.example.net[192.0.2.7]:25", as it is recorded, is the host "relay2.example.net:25". */
static void
tie(struct outbound *outbound, struct unit *unit, const struct group *group)
{
	uint64_t now_ms = outbound_now(outbound);
	int64_t since_ms = group->due_ms != 0 && group->due_ms < (int64_t)now_ms ? group->due_ms :
	    (int64_t)now_ms;
	struct span text = group->bound_to, port = text;
	char name[JOB_PEER_BYTES];
	size_t at;

	if (span_is_empty(text) || !group->route)
		return;
	if (span_find_byte(text, '[', &at)) {
		text = span_first(text, at);
		while (span_find_byte(port, ']', &at))
			port = span_skip(port, at + 1);
	} else {
		port = SPAN("");
	}
	if (text.len + port.len >= sizeof(name))
		return;
	(void)snprintf(name, sizeof(name), "%.*s%.*s", SPAN_ARGS(text), SPAN_ARGS(port));
	dispatch_bind(unit, dispatch_host(&outbound->dispatch, name, group->route, now_ms),
	    since_ms + (int64_t)outbound->config.uncertain_hold_ms);
}

static void
place_in(struct outbound *outbound, struct unit *unit, const struct group *group)
{
	struct letter *letter = letter_of(unit);
	uint64_t now_ms = outbound_now(outbound);
	struct domain *domain = NULL;
	struct destination *destination = NULL;

	unit->class = group->class;
	unit->class_count = group->class_count;
	unit->attempt_count = group->attempt_count;
	unit->due_ms = group->is_waiting ? group->due_ms : INT64_MIN;
	if (!group->route) {
		int64_t again_ms = (int64_t)now_ms + 5 * 60 * 1000;

		if (unit->due_ms < again_ms)
			unit->due_ms = again_ms;
	} else if (group->route->via == ROUTE_VIA_MX) {
		domain = dispatch_domain(&outbound->dispatch, group->domain, group->route,
		    outbound->routes);
	} else {
		destination = outbound_named_destination(outbound, group->route);
	}
	tie(outbound, unit, group);
	dispatch_place(&outbound->dispatch, unit, domain, destination, now_ms);
	set_times(letter, unit);
}

static void
make_units(struct letter *letter, const struct grouping *grouping, uint32_t rcpt_count)
{
	struct outbound *outbound = letter->outbound;

	for (size_t at = 0; at < grouping->count; at++) {
		const struct group *group = &grouping->groups[at];
		struct unit *unit = dispatch_add_unit(&outbound->dispatch, &letter->message,
		    group->count);
		uint32_t filled = 0;

		for (uint32_t i = 0; i < rcpt_count; i++)
			if (grouping->group_of[i] == at)
				unit->rcpts[filled++] = i;
		must(filled == group->count);
		place_in(outbound, unit, group);
	}
}

/* Frees the units that are not under way; marks the recipients of those that are. */
static struct history *
drop_idle_units(struct letter *letter, bool *under_way)
{
	struct outbound *outbound = letter->outbound;
	struct history *kept = NULL;
	struct unit *unit = TAILQ_FIRST(&letter->message.units);

	while (unit) {
		struct unit *next = TAILQ_NEXT(unit, of_message);

		if (unit->state == UNIT_RUNNING || unit->state == UNIT_SETTLING) {
			for (uint32_t i = 0; i < unit->rcpt_count; i++)
				under_way[unit->rcpts[i]] = true;
		} else {
			struct history *history = unit->history;

			if (!kept || (history && history->count > kept->count)) {
				history_free(&kept, outbound->words);
				kept = history;
			} else {
				history_free(&history, outbound->words);
			}
			dispatch_settle(&outbound->dispatch, unit);
		}
		unit = next;
	}
	return kept;
}

static void
spread_history(struct letter *letter, struct history *history)
{
	struct unit *unit;

	TAILQ_FOREACH(unit, &letter->message.units, of_message)
		if (!unit->history && unit->state != UNIT_RUNNING &&
		    unit->state != UNIT_SETTLING)
			unit->history = history_copy(history);
	history_free(&history, letter->outbound->words);
}

void
letter_place(struct letter *letter)
{
	struct outbound *outbound = letter->outbound;
	struct grouping grouping = { 0 };
	struct queue_item item;

	if (letter->is_fetching || letter->wish != WISH_NONE || letter->revoked ||
	    !queue_find(outbound->queue, letter->message.id, &item))
		return;
	letter->epoch = outbound->epoch;
	TAILQ_REMOVE(&outbound->letters, letter, of_all);
	TAILQ_INSERT_TAIL(&outbound->letters, letter, of_all);

	bool *under_way = mem_alloc_array(item.rcpt_count, sizeof(*under_way));
	struct history *history = drop_idle_units(letter, under_way);

	grouping.group_of = mem_alloc_array(item.rcpt_count, sizeof(*grouping.group_of));
	if (group_rcpts(letter, &item, under_way, !letter->envelope && !letter->was_fetched,
	    &grouping)) {
		make_units(letter, &grouping, item.rcpt_count);
		spread_history(letter, history);
	} else {
		history_free(&history, outbound->words);
		letter->is_fetching = letter->was_fetched = true;
		letter->fetch_token = queue_read_envelope(queue_hub_port(outbound->queue),
		    item.id, envelope_fetched, letter);
	}
	mem_free(&grouping.groups);
	mem_free(&grouping.group_of);
	mem_free(&under_way);
}

void
letter_rebound(void *ctx, struct unit *unit, const struct host *was)
{
	struct letter *letter = letter_of(unit);
	const struct envelope *envelope = letter->envelope;

	(void)ctx;
	for (uint32_t i = 0; i < unit->rcpt_count; i++)
		mail_log_rebound(letter->message.id, envelope ? envelope->origin : SPAN(""),
		    envelope ? envelope->rcpts[unit->rcpts[i]].address : SPAN(""),
		    span_from_cstr(was->name), span_from_cstr(unit->destination->name));
}

void
letter_reroute(void *ctx, struct unit *unit)
{
	(void)ctx;
	letter_place(letter_of(unit));
}

bool
letters_place_some(struct outbound *outbound)
{
	for (size_t i = 0; i < OUTBOUND_PLACE_MAX; i++) {
		struct letter *letter = TAILQ_FIRST(&outbound->letters);

		if (!letter || letter->epoch == outbound->epoch)
			return false;
		letter->was_fetched = false;
		letter->epoch = outbound->epoch;
		TAILQ_REMOVE(&outbound->letters, letter, of_all);
		TAILQ_INSERT_TAIL(&outbound->letters, letter, of_all);
		letter_place(letter);
	}
	return true;
}

/* ---- events of the queue ---- */

static bool
was_offered_to_zombie(struct outbound *outbound, queue_id id)
{
	struct letter *letter;

	TAILQ_FOREACH(letter, &outbound->zombies, of_all)
		if (letter->message.id == id) {
			letter->offered_again = true;
			return true;
		}
	return false;
}

void
outbound_offered(struct outbound *outbound, const struct queue_item *item,
    struct envelope **envelope)
{
	struct letter *letter;

	/* An attempt of its former life is under way: its outcome counts first. */
	if (item->held || was_offered_to_zombie(outbound, item->id))
		return;
	letter = item->user;
	if (letter) {
		letter_place(letter);
		outbound_wake(outbound);
		return;
	}

	letter = mem_alloc(sizeof(*letter));
	letter->outbound = outbound;
	letter->message.id = item->id;
	letter->message.flow = (uint32_t)span_hash(item->sender, 0);
	letter->message.is_notification = item->is_notification;
	letter->message.found_at_start = item->found_at_start;
	letter->arrived_ms = (int64_t)outbound_now(outbound) - (int64_t)item->age_ms;
	letter->body_bytes = item->body_bytes;
	letter->rcpt_count = item->rcpt_count;
	letter->null_sender = span_is_empty(item->sender);
	letter->notice_sent = item->delay_notice_sent;
	STAILQ_INIT(&letter->failing);
	TAILQ_INIT(&letter->waiting);
	dispatch_add_message(&outbound->dispatch, &letter->message);
	TAILQ_INSERT_TAIL(&outbound->letters, letter, of_all);
	queue_set_user(outbound->queue, item->id, letter);
	if (envelope && *envelope) {
		letter_keep_envelope(letter, *envelope);
		*envelope = NULL;
	}
	letter_place(letter);
	outbound_wake(outbound);
}

static bool
is_under_way(const struct letter *letter)
{
	const struct unit *unit;

	TAILQ_FOREACH(unit, &letter->message.units, of_message)
		if (unit->state == UNIT_RUNNING || unit->state == UNIT_SETTLING)
			return true;
	return false;
}

static void
free_unit(struct outbound *outbound, struct unit *unit)
{
	struct history *history = unit->history;

	history_free(&history, outbound->words);
	dispatch_settle(&outbound->dispatch, unit);
}

void
letter_free(struct letter *letter)
{
	struct outbound *outbound = letter->outbound;
	struct envelope *envelope = letter_take_envelope(letter);
	struct unit *unit;

	if (letter->is_fetching)
		queue_port_cancel(queue_hub_port(outbound->queue), &letter->fetch_token);
	failure_abandon(letter);
	letter_forget_verb(letter);
	while ((unit = TAILQ_FIRST(&letter->message.units)))
		free_unit(outbound, unit);
	envelope_free(&envelope);
	dispatch_remove_message(&outbound->dispatch, &letter->message);
	if (letter->revoked)
		TAILQ_REMOVE(&outbound->zombies, letter, of_all);
	else
		TAILQ_REMOVE(&outbound->letters, letter, of_all);
	mem_free(&letter);
}

static void
free_zombie(struct letter *letter)
{
	struct outbound *outbound = letter->outbound;
	queue_id id = letter->message.id;
	bool again = letter->offered_again;
	struct queue_item item;

	letter_free(letter);
	if (again && queue_find(outbound->queue, id, &item))
		outbound_offered(outbound, &item, NULL);
}

void
outbound_revoked(struct outbound *outbound, queue_id id, void *user)
{
	struct letter *letter = user;

	if (!letter) {
		struct letter *zombie;

		TAILQ_FOREACH(zombie, &outbound->zombies, of_all)
			if (zombie->message.id == id)
				zombie->offered_again = false;
		return;
	}
	must(letter->message.id == id && !letter->revoked);
	queue_set_user(outbound->queue, id, NULL);
	if (!queue_find(outbound->queue, id, &(struct queue_item){ 0 }))
		mail_log_done(id, letter->envelope ? letter->envelope->origin : SPAN(""),
		    letter_age_ms(letter, outbound_now(outbound)));
	letter->revoked = true;
	TAILQ_REMOVE(&outbound->letters, letter, of_all);
	TAILQ_INSERT_TAIL(&outbound->zombies, letter, of_all);
	failure_abandon(letter);
	if (letter->message.running_count > 0)
		job_cancel_all(outbound, letter);
	letter_settled(letter);
}

void
letter_settled(struct letter *letter)
{
	if (letter->revoked) {
		if (!is_under_way(letter))
			free_zombie(letter);
		return;
	}
	failure_go_on(letter);
	if (letter->wish != WISH_NONE && !is_under_way(letter))
		letter_grant_wish(letter);
}

/* A hand has set a due time, or recipients are gone. */
void
outbound_changed(struct outbound *outbound, const struct queue_item *item)
{
	struct letter *letter = item->user;

	if (!letter)
		return;
	letter_place(letter);
	outbound_wake(outbound);
}

void
outbound_pressure(struct outbound *outbound, enum queue_pressure pressure)
{
	outbound->no_log = pressure == PRESSURE_NO_LOG;
	outbound->dispatch.paused = outbound->no_log || outbound->stopping;
	outbound_wake(outbound);
}
