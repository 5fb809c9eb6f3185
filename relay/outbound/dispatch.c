#include "relay/outbound/dispatch.h"

#include "relay/base/container_of.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/outbound/dispatch_private.h"

enum {
	/*
	 * Units looked at for one start: those whose domain has moved elsewhere meanwhile are
	 * put where they belong.  The rest has its turn later.
	 */
	DISPATCH_LOOK_MAX = 64,
	DISPATCH_EXPIRE_AGAIN_MS = 60 * 1000,
};

static bool
unit_before(const struct heap_node *a, const struct heap_node *b)
{
	return container_of(a, struct unit, deadline)->deadline_ms <
	    container_of(b, struct unit, deadline)->deadline_ms;
}

static bool
destination_before(const struct heap_node *a, const struct heap_node *b)
{
	return container_of(a, struct destination, wake)->wake_ms <
	    container_of(b, struct destination, wake)->wake_ms;
}

void
dispatch_init(struct dispatch *dispatch, const struct dispatch_settings *settings)
{
	*dispatch = (struct dispatch){ .settings = *settings };
	must(settings->worker_count > 0);
	dispatch->worker_running = mem_alloc_array(settings->worker_count,
	    sizeof(*dispatch->worker_running));
	heap_init(&dispatch->deadlines, unit_before);
	heap_init(&dispatch->wakes, destination_before);
	TAILQ_INIT(&dispatch->active);
}

void
dispatch_fini(struct dispatch *dispatch)
{
	must(dispatch->unit_count == 0 && !dispatch->destinations && !dispatch->domains);
	mem_free(&dispatch->worker_running);
	heap_fini(&dispatch->deadlines);
	heap_fini(&dispatch->wakes);
}

/* ---- messages and units ---- */

void
dispatch_add_message(struct dispatch *dispatch, struct message *message)
{
	TAILQ_INIT(&message->units);
	dispatch->message_count++;
}

void
dispatch_remove_message(struct dispatch *dispatch, struct message *message)
{
	must(message->unit_count == 0);
	dispatch->message_count--;
}

struct unit *
dispatch_add_unit(struct dispatch *dispatch, struct message *message, uint32_t rcpt_count)
{
	struct unit *unit = mem_alloc(sizeof(*unit) + rcpt_count * sizeof(unit->rcpts[0]));

	unit->message = message;
	unit->rcpt_count = rcpt_count;
	unit->due_ms = INT64_MIN;
	unit->expire_ms = unit->notice_ms = INT64_MAX;
	TAILQ_INSERT_TAIL(&message->units, unit, of_message);
	message->unit_count++;
	dispatch->unit_count++;
	return unit;
}

struct unit *
dispatch_part_unit(struct dispatch *dispatch, const struct unit *from, uint32_t rcpt_count)
{
	struct unit *unit = dispatch_add_unit(dispatch, from->message, rcpt_count);

	unit->destination = from->destination;
	unit->domain = from->domain;
	if (unit->domain)
		unit->domain->unit_count++;
	unit->expire_ms = from->expire_ms;
	unit->notice_ms = from->notice_ms;
	unit->class = from->class;
	unit->class_count = from->class_count;
	unit->attempt_count = from->attempt_count;
	unit->lost_count = from->lost_count;
	unit->tried = from->tried;
	dispatch_bind(unit, from->bound, from->bound_ms);
	return unit;
}

static void
set_deadline(struct dispatch *dispatch, struct unit *unit)
{
	int64_t at = unit->expire_ms;

	if (unit->state == UNIT_NEW || unit->state == UNIT_RUNNING ||
	    unit->state == UNIT_SETTLING) {
		heap_remove(&dispatch->deadlines, &unit->deadline);
		return;
	}
	if (unit->notice_ms < at)
		at = unit->notice_ms;
	if (unit->state == UNIT_WAITING && unit->due_ms < at)
		at = unit->due_ms;
	if (heap_has(&unit->deadline)) {
		if (at == unit->deadline_ms)
			return;
		unit->deadline_ms = at;
		heap_update(&dispatch->deadlines, &unit->deadline);
	} else {
		unit->deadline_ms = at;
		heap_add(&dispatch->deadlines, &unit->deadline);
	}
}

void
dispatch_update_deadline(struct dispatch *dispatch, struct unit *unit)
{
	set_deadline(dispatch, unit);
}

/* Takes the unit out of whatever line its state has put it on. */
static void
leave(struct dispatch *dispatch, struct unit *unit, uint64_t now_ms)
{
	switch (unit->state) {
	case UNIT_RESOLVING:
		TAILQ_REMOVE(&unit->domain->waiting, unit, line);
		break;
	case UNIT_READY:
		destination_remove(unit->destination, unit);
		dispatch_refresh(dispatch, unit->destination, now_ms);
		break;
	case UNIT_WAITING:
		if (unit->destination)
			unit->destination->waiting_count--;
		break;
	case UNIT_RUNNING:
		unit->message->running_count--;
		break;
	case UNIT_NEW:
	case UNIT_SETTLING:
		break;
	}
}

/* The only place where the state of a unit changes, but for take_unit(). */
static void
enter(struct dispatch *dispatch, struct unit *unit, enum unit_state state, uint64_t now_ms)
{
	leave(dispatch, unit, now_ms);
	unit->state = state;
	unit->state_ms = (int64_t)now_ms;
	switch (state) {
	case UNIT_RESOLVING:
		TAILQ_INSERT_TAIL(&unit->domain->waiting, unit, line);
		break;
	case UNIT_WAITING:
		if (unit->destination)
			unit->destination->waiting_count++;
		break;
	case UNIT_RUNNING:
		unit->message->running_count++;
		break;
	case UNIT_READY:        /* whoever asks knows at which end */
	case UNIT_NEW:
	case UNIT_SETTLING:
		break;
	}
	set_deadline(dispatch, unit);
}

void
dispatch_settling(struct dispatch *dispatch, struct unit *unit, uint64_t now_ms)
{
	enter(dispatch, unit, UNIT_SETTLING, now_ms);
}

void
dispatch_settle(struct dispatch *dispatch, struct unit *unit)
{
	must(unit->state != UNIT_RUNNING);
	if (unit->state != UNIT_SETTLING)
		enter(dispatch, unit, UNIT_SETTLING, 0);
	dispatch_bind(unit, NULL, 0);
	if (unit->domain)
		unit->domain->unit_count--;
	TAILQ_REMOVE(&unit->message->units, unit, of_message);
	unit->message->unit_count--;
	dispatch->unit_count--;
	mem_free(&unit);
}

static void
make_ready(struct dispatch *dispatch, struct unit *unit, struct destination *destination,
    bool in_front, uint64_t now_ms)
{
	enter(dispatch, unit, UNIT_NEW, now_ms);
	unit->destination = destination;
	enter(dispatch, unit, UNIT_READY, now_ms);
	destination_add(destination, unit, in_front);
	dispatch_refresh(dispatch, destination, now_ms);
}

static void
resolve_first(struct dispatch *dispatch, struct unit *unit, uint64_t now_ms)
{
	struct domain *domain = unit->domain;

	enter(dispatch, unit, UNIT_RESOLVING, now_ms);
	unit->destination = NULL;       /* the answer may be another one */
	if (domain->state == DOMAIN_RESOLVING)
		return;
	domain->state = DOMAIN_RESOLVING;
	dispatch->settings.ops->resolve(dispatch->settings.ctx, domain);
}

static bool
domain_is_fresh(const struct domain *domain, uint64_t now_ms)
{
	return domain->state == DOMAIN_KNOWN && domain->expires_ms > (int64_t)now_ms;
}

void
dispatch_ready(struct dispatch *dispatch, struct unit *unit, bool in_front, uint64_t now_ms)
{
	if (unit->domain && !domain_is_fresh(unit->domain, now_ms))
		resolve_first(dispatch, unit, now_ms);
	else
		make_ready(dispatch, unit,
		    unit->domain ? unit->domain->destination : unit->destination, in_front,
		    now_ms);
}

void
dispatch_defer(struct dispatch *dispatch, struct unit *unit, int64_t due_ms, uint64_t now_ms)
{
	unit->due_ms = due_ms;
	enter(dispatch, unit, UNIT_WAITING, now_ms);
}

void
dispatch_place(struct dispatch *dispatch, struct unit *unit, struct domain *domain,
    struct destination *destination, uint64_t now_ms)
{
	must(unit->state != UNIT_RUNNING);
	enter(dispatch, unit, UNIT_NEW, now_ms);
	if (unit->domain)
		unit->domain->unit_count--;
	unit->domain = domain;
	if (domain)
		domain->unit_count++;
	unit->destination = destination;
	if (unit->due_ms > (int64_t)now_ms || (!domain && !destination))
		enter(dispatch, unit, UNIT_WAITING, now_ms);
	else
		dispatch_ready(dispatch, unit, false, now_ms);
}

/* ---- domains' answers ---- */

void
dispatch_resolved(struct dispatch *dispatch, struct domain *domain,
    struct destination *destination, uint64_t ttl_ms, uint64_t now_ms)
{
	struct unit *unit;

	domain->state = DOMAIN_KNOWN;
	if (domain->destination != destination) {
		if (domain->destination)
			domain->destination->domain_count--;
		destination->domain_count++;
	}
	domain->destination = destination;
	domain->expires_ms = (int64_t)(now_ms + ttl_ms);
	while ((unit = TAILQ_FIRST(&domain->waiting)))
		make_ready(dispatch, unit, destination, false, now_ms);
}

void
dispatch_unresolved(struct dispatch *dispatch, struct domain *domain)
{
	(void)dispatch;
	domain->state = DOMAIN_UNKNOWN;
}

struct unit *
dispatch_take_unresolved(struct dispatch *dispatch, struct domain *domain)
{
	struct unit *unit = TAILQ_FIRST(&domain->waiting);

	must(domain->state != DOMAIN_RESOLVING);
	if (unit)
		enter(dispatch, unit, UNIT_NEW, (uint64_t)unit->state_ms);
	return unit;
}

/* ---- time ---- */

/*
 * A message found at a start has a right to one attempt after it, its own or one
 * by which its destination was seen to be down (DECISIONS.md 23).
 */
static bool
may_expire(const struct unit *unit)
{
	if (!unit->message->found_at_start || unit->tried)
		return true;
	return unit->destination && unit->destination->attempt_count > 0;
}

static void
unit_is_due(struct dispatch *dispatch, struct unit *unit, uint64_t now_ms)
{
	const struct dispatch_settings *settings = &dispatch->settings;
	int64_t now = (int64_t)now_ms;

	if (now >= unit->expire_ms) {
		if (!may_expire(unit)) {
			unit->expire_ms = now + DISPATCH_EXPIRE_AGAIN_MS;
			set_deadline(dispatch, unit);
			return;
		}
		enter(dispatch, unit, UNIT_SETTLING, now_ms);
		settings->ops->expire(settings->ctx, unit);
		return;
	}
	if (now >= unit->notice_ms) {
		unit->notice_ms = INT64_MAX;
		set_deadline(dispatch, unit);
		settings->ops->notice(settings->ctx, unit);
		return;
	}
	must(unit->state == UNIT_WAITING && now >= unit->due_ms);
	if (!unit->domain && !unit->destination)
		settings->ops->reroute(settings->ctx, unit);
	else
		dispatch_ready(dispatch, unit, false, now_ms);
}

static bool
run_deadlines(struct dispatch *dispatch, size_t count_max, uint64_t now_ms)
{
	struct heap_node *node;

	while ((node = heap_first(&dispatch->deadlines))) {
		struct unit *unit = container_of(node, struct unit, deadline);

		if (unit->deadline_ms > (int64_t)now_ms)
			return false;
		if (count_max-- == 0)
			return true;
		unit_is_due(dispatch, unit, now_ms);
	}
	return false;
}

static void
run_wakes(struct dispatch *dispatch, uint64_t now_ms)
{
	struct heap_node *node;

	while ((node = heap_first(&dispatch->wakes))) {
		struct destination *destination = container_of(node, struct destination, wake);

		if (destination->wake_ms > (int64_t)now_ms)
			return;
		(void)heap_take_first(&dispatch->wakes);
		if (destination->suspended && destination->suspend_until_ms <= (int64_t)now_ms)
			dispatch_resume(dispatch, destination, now_ms);
		else
			dispatch_refresh(dispatch, destination, now_ms);
	}
}

static bool
has_host(const struct destination *destination, const struct host *host)
{
	for (size_t i = 0; i < destination->host_count; i++)
		if (destination->hosts[i].host == host)
			return true;
	return false;
}

/* Its host had its time to say that it has it: others may have it from here on. */
static void
let_go(struct dispatch *dispatch, struct unit *unit, const struct destination *destination)
{
	const struct dispatch_settings *settings = &dispatch->settings;
	const struct host *was = unit->bound;
	bool has_other = destination->host_count > 1 || !has_host(destination, was);

	dispatch_bind(unit, NULL, 0);
	if (has_other && settings->ops->rebound)
		settings->ops->rebound(settings->ctx, unit, was);
}

/* Bound to a host that is down: it waits for that host, out of the others' way. */
static void
wait_for_bound(struct dispatch *dispatch, struct unit *unit, uint64_t now_ms)
{
	const struct breaker *breaker = &unit->bound->breaker;
	int64_t until = breaker->state == BREAKER_OPEN ? (int64_t)breaker->probe_ms :
	    (int64_t)now_ms + 1000;

	if (until <= (int64_t)now_ms)
		until = (int64_t)now_ms + 1000;
	if (until > unit->bound_ms)
		until = unit->bound_ms;
	dispatch_defer(dispatch, unit, until, now_ms);
}

/* One unit of the destination that may start now; NULL when there is none. */
static struct unit *
take_unit(struct dispatch *dispatch, struct destination *destination, uint64_t now_ms)
{
	for (size_t looked = 0; looked < DISPATCH_LOOK_MAX; looked++) {
		struct unit *unit = destination_take(destination);

		if (!unit)
			return NULL;
		unit->state = UNIT_NEW;         /* the line has let it go already */
		if (unit->domain && (!domain_is_fresh(unit->domain, now_ms) ||
		    unit->domain->destination != destination)) {
			dispatch_ready(dispatch, unit, false, now_ms);
			continue;
		}
		if (unit->bound && unit->bound_ms <= (int64_t)now_ms)
			let_go(dispatch, unit, destination);
		/* Who may have it is no longer one of these: they wait until he had his time. */
		if (unit->bound && !has_host(destination, unit->bound)) {
			dispatch_defer(dispatch, unit, unit->bound_ms, now_ms);
			continue;
		}
		if (unit->bound && !breaker_allows(&unit->bound->breaker, now_ms)) {
			wait_for_bound(dispatch, unit, now_ms);
			continue;
		}
		return unit;
	}
	return NULL;
}

static void
start_one(struct dispatch *dispatch, struct destination *destination, uint64_t now_ms)
{
	const struct dispatch_settings *settings = &dispatch->settings;
	struct dispatch_order order = { 0 };
	struct unit *unit = take_unit(dispatch, destination, now_ms);

	if (unit && !dispatch_choose_hosts(dispatch, destination, unit, &order, now_ms)) {
		make_ready(dispatch, unit, destination, true, now_ms);
		return;
	}
	if (unit) {
		dispatch_choose_worker(dispatch, destination, &order);
		enter(dispatch, unit, UNIT_RUNNING, now_ms);
		destination->running_count++;
		destination->workers[order.worker].running++;
		dispatch->worker_running[order.worker]++;
		destination->used_ms = now_ms;
		destination_rate_take(destination, now_ms);
		dispatch->running_count++;
		settings->ops->start(settings->ctx, unit, &order);
	}
	dispatch_refresh(dispatch, destination, now_ms);
}

bool
dispatch_run(struct dispatch *dispatch, size_t count_max, uint64_t now_ms)
{
	struct destination *destination;
	bool more = run_deadlines(dispatch, count_max, now_ms);

	run_wakes(dispatch, now_ms);
	while ((destination = TAILQ_FIRST(&dispatch->active))) {
		if (dispatch->paused || dispatch->running_count >= dispatch->settings.running_max)
			return more;
		if (count_max-- == 0)
			return true;
		/* To the end of the line: every destination has its turn. */
		TAILQ_REMOVE(&dispatch->active, destination, active);
		destination->is_active = false;
		start_one(dispatch, destination, now_ms);
	}
	return more;
}

int64_t
dispatch_next_ms(const struct dispatch *dispatch)
{
	const struct heap_node *unit = heap_first(&dispatch->deadlines);
	const struct heap_node *wake = heap_first(&dispatch->wakes);
	int64_t next = INT64_MAX;

	if (unit)
		next = container_of(unit, const struct unit, deadline)->deadline_ms;
	if (wake && container_of(wake, const struct destination, wake)->wake_ms < next)
		next = container_of(wake, const struct destination, wake)->wake_ms;
	return next;
}

/* ---- looking ---- */

enum queue_reason
dispatch_class_reason(enum retry_class class)
{
	switch (class) {
	case RETRY_DNS:
		return REASON_DNS_TEMP;
	case RETRY_TLS:
		return REASON_TLS_POLICY;
	case RETRY_RATE:
		return REASON_RATE_LIMIT;
	case RETRY_UNCERTAIN:
		return REASON_UNCERTAIN;
	case RETRY_LOCAL:
		return REASON_DISK_LOW;
	default:
		return REASON_WAITING_RETRY;
	}
}

enum queue_reason
dispatch_destination_reason(const struct dispatch *dispatch,
    const struct destination *destination, uint64_t now_ms)
{
	if (destination->suspended)
		return REASON_SUSPENDED;
	if (dispatch->paused)
		return REASON_DISK_LOW;
	if (!destination_is_open_for_mail(destination)) {
		enum retry_class class = destination->hosts[0].host->error_class;

		if (class == RETRY_DNS || class == RETRY_TLS)
			return dispatch_class_reason(class);
		return REASON_DESTINATION_BREAKER;
	}
	if (destination_rate_ms(destination) > (int64_t)now_ms)
		return REASON_RATE_LIMIT;
	if (destination->running_count >= destination_capacity(destination) ||
	    dispatch->running_count >= dispatch->settings.running_max)
		return REASON_CONCURRENCY_LIMIT;
	return REASON_READY;
}

enum queue_reason
dispatch_reason(const struct dispatch *dispatch, const struct unit *unit, uint64_t now_ms)
{
	switch (unit->state) {
	case UNIT_NEW:
		return REASON_NONE;
	case UNIT_RESOLVING:
		return REASON_RESOLVING;
	case UNIT_READY:
		return dispatch_destination_reason(dispatch, unit->destination, now_ms);
	case UNIT_WAITING:
		return unit->destination || unit->domain ? dispatch_class_reason(unit->class) :
		    REASON_NO_ROUTE;
	case UNIT_RUNNING:
	case UNIT_SETTLING:
		return REASON_IN_FLIGHT;
	}
	must_not_reach();
}

int64_t
dispatch_unit_next_ms(const struct dispatch *dispatch, const struct unit *unit, uint64_t now_ms)
{
	(void)dispatch;
	switch (unit->state) {
	case UNIT_WAITING:
		return unit->due_ms;
	case UNIT_READY:
		if (unit->destination->suspended)
			return unit->destination->suspend_until_ms;
		if (destination_rate_ms(unit->destination) > (int64_t)now_ms)
			return destination_rate_ms(unit->destination);
		return destination_allowed_ms(unit->destination, now_ms);
	case UNIT_NEW:
	case UNIT_RESOLVING:
	case UNIT_RUNNING:
	case UNIT_SETTLING:
		return 0;
	}
	must_not_reach();
}
