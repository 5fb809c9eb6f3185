#include "relay/session/crew_private.h"

#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

/* ---- talk with the workers */

static void
crew_worker_begins(void *ctx)
{
	struct crew_worker *worker = ctx;

	if (worker->crew->settings.log)
		worker->ring = log_attach(worker->crew->settings.log, worker->name);
}

static void
crew_worker_ends(void *ctx)
{
	struct crew_worker *worker = ctx;
	struct crew *crew = worker->crew;

	crew_worker_clear(worker);
	crew->settings.ops.worker_end(crew->settings.ctx, worker);
	if (worker->ring)
		log_detach(worker->ring);
	loop_stop(worker->loop);
}

static void
crew_worker_drains(void *ctx)
{
	struct crew_worker *worker = ctx;

	crew_worker_drain(worker, worker->grace_ms);
}

static void
crew_worker_hurries(void *ctx)
{
	struct crew_worker *worker = ctx;

	loop_timer_start(worker->loop, &worker->grace, worker->hurry_ms);
}

static void
crew_worker_has_drained(void *ctx)
{
	struct crew_worker *worker = ctx;
	struct crew *crew = worker->crew;

	if (++crew->drained_count == crew->worker_count)
		crew->drained(crew->drained_ctx);
}

void
crew_worker_is_empty(struct crew_worker *worker)
{
	if (worker->drain_reported)
		return;
	worker->drain_reported = true;
	loop_timer_stop(worker->loop, &worker->grace);
	loop_post(worker->crew->settings.hub, &worker->drained);
}

/* ---- change of plan: one worker after the other, twice */

static void crew_change_goes_on(void *ctx);

/* On the worker's thread; the hub waits and touches nothing of the change meanwhile. */
static void
crew_worker_changes(void *ctx)
{
	struct crew_worker *worker = ctx;
	struct crew_change *change = &worker->crew->change;

	if (!change->second_round)
		change->failed = crew_worker_prepare(worker, change->addresses,
		    change->address_count, &change->err) < 0;
	else if (change->commits)
		crew_worker_commit(worker, change->plan);
	else
		crew_worker_give_up(worker);
	loop_post(worker->crew->settings.hub, &worker->changed);
}

static void
crew_take_addresses(struct crew *crew, struct crew_address *addresses, size_t count)
{
	mem_free(&crew->addresses);
	crew->addresses = addresses;
	crew->address_count = count;
}

static void
crew_change_ends(struct crew *crew)
{
	struct crew_change change = crew->change;

	crew->change = (struct crew_change){0};
	if (change.commits) {
		crew_plan_unref(&crew->plan);
		crew->plan = change.plan;
		crew_take_addresses(crew, change.addresses, change.address_count);
		crew_tickets_follow_plan(crew);
	} else {
		crew_plan_unref(&change.plan);
		mem_free(&change.addresses);
	}
	change.done(change.ctx, change.commits ? NULL : &change.err);
}

static void
crew_change_goes_on(void *ctx)
{
	struct crew_worker *worker = ctx;
	struct crew *crew = worker->crew;
	struct crew_change *change = &crew->change;

	change->worker++;
	if (!change->second_round &&
	    (change->failed || change->worker == crew->worker_count)) {
		change->second_round = true;
		change->commits = !change->failed;
		change->worker = 0;
	}
	if (change->worker == crew->worker_count)
		crew_change_ends(crew);
	else
		loop_post(crew->workers[change->worker].loop,
		    &crew->workers[change->worker].change);
}

/* The addresses of a plan, one by one. */
static struct crew_address *
crew_plan_addresses(const struct crew_plan *plan, struct activation *activation,
    size_t *count_out)
{
	const struct node_config *config = plan->config;
	struct crew_address *addresses;
	size_t count = 0;

	for (size_t i = 0; i < config->listener_count; i++)
		count += config->listeners[i].address_count;
	addresses = mem_alloc_array(count, sizeof(*addresses));
	*count_out = count;
	count = 0;
	for (size_t i = 0; i < config->listener_count; i++)
		for (size_t j = 0; j < config->listeners[i].address_count; j++) {
			struct crew_address *address = &addresses[count++];

			address->asked = config->listeners[i].addresses[j];
			address->real = address->asked;
			address->listener = i;
			address->inherited_fd = activation
			    ? activation_take(activation, &address->asked) : -1;
			address->one_acceptor = address->inherited_fd >= 0 ||
			    address->asked.family == ENDPOINT_UNIX;
		}
	return addresses;
}

void
crew_reload(struct crew *crew, struct crew_plan **plan,
    void (*done)(void *ctx, const struct err *err), void *ctx)
{
	struct crew_change *change = &crew->change;

	must(crew->threads_run && !change->running && !crew->draining);
	must((*plan)->worker_count == crew->worker_count);
	change->running = true;
	change->plan = *plan;
	*plan = NULL;
	change->addresses = crew_plan_addresses(change->plan, NULL, &change->address_count);
	change->done = done;
	change->ctx = ctx;
	loop_post(crew->workers[0].loop, &crew->workers[0].change);
}

bool
crew_is_reloading(const struct crew *crew)
{
	return crew->change.running;
}

/* ---- birth */

static void
crew_worker_init_posts(struct crew_worker *worker)
{
	loop_post_init(&worker->begin, crew_worker_begins, worker);
	loop_post_init(&worker->change, crew_worker_changes, worker);
	loop_post_init(&worker->changed, crew_change_goes_on, worker);
	loop_post_init(&worker->drain, crew_worker_drains, worker);
	loop_post_init(&worker->hurry, crew_worker_hurries, worker);
	loop_post_init(&worker->drained, crew_worker_has_drained, worker);
	loop_post_init(&worker->end, crew_worker_ends, worker);
	crew_worker_init_tickets(worker);
}

struct crew *
crew_new(const struct crew_settings *settings, struct err *err)
{
	struct crew *crew = mem_alloc(sizeof(*crew));

	must(settings->worker_count > 0);
	crew->settings = *settings;
	crew_tickets_init(crew);
	crew_admission_init(&crew->admission, random_u64(&crew->random));
	crew->workers = mem_alloc_array(settings->worker_count, sizeof(*crew->workers));
	for (size_t i = 0; i < settings->worker_count; i++) {
		struct crew_worker *worker = &crew->workers[i];

		if (crew_worker_init(worker, crew, i, err) < 0)
			goto failed;
		crew_worker_init_posts(worker);
		if (settings->ops.worker_begin(settings->ctx, worker, err) < 0) {
			crew_worker_fini(worker);
			goto failed;
		}
		crew->worker_count++;
	}
	return crew;
failed:
	crew_free(&crew);
	return NULL;
}

static int
crew_open_addresses(struct crew *crew, struct activation *activation, struct err *err)
{
	struct crew_plan *plan = crew->plan;

	crew->addresses = crew_plan_addresses(plan, activation, &crew->address_count);
	for (size_t i = 0; i < crew->worker_count; i++) {
		if (crew_worker_prepare(&crew->workers[i], crew->addresses,
		    crew->address_count, err) < 0)
			return -1;
		crew_worker_commit(&crew->workers[i], plan);
	}
	return 0;
}

int
crew_start(struct crew *crew, struct crew_plan **plan, struct activation *activation,
    struct err *err)
{
	must(!crew->threads_run && !crew->plan);
	must((*plan)->worker_count == crew->worker_count);
	crew->plan = *plan;
	*plan = NULL;
	if (crew_open_addresses(crew, activation, err) < 0)
		return -1;
	crew_tickets_follow_plan(crew);
	crew->threads_run = true;
	for (size_t i = 0; i < crew->worker_count; i++) {
		struct crew_worker *worker = &crew->workers[i];

		loop_post(worker->loop, &worker->begin);
		worker->thread = work_loop_start(worker->name, worker->loop, err);
		if (!worker->thread)
			return -1;
	}
	return 0;
}

/* ---- looking */

struct crew_plan *
crew_current_plan(const struct crew *crew)
{
	return crew->plan;
}

size_t
crew_address_count(const struct crew *crew)
{
	return crew->address_count;
}

const struct endpoint *
crew_address(const struct crew *crew, size_t index, const struct node_listener **listener_out)
{
	must(index < crew->address_count);
	*listener_out = &crew->plan->config->listeners[crew->addresses[index].listener];
	return &crew->addresses[index].real;
}

size_t
crew_session_count(const struct crew *crew)
{
	return atomic_load(&crew->admission.total);
}

uint64_t
crew_session_total(const struct crew *crew)
{
	return atomic_load(&crew->admission.admitted);
}

uint64_t
crew_refused_total(const struct crew *crew)
{
	return atomic_load(&crew->admission.refused);
}

size_t
crew_worker_count(const struct crew *crew)
{
	return crew->worker_count;
}

struct crew_worker *
crew_worker_at(const struct crew *crew, size_t number)
{
	must(number < crew->worker_count);
	return &crew->workers[number];
}

/* ---- the end */

void
crew_drain(struct crew *crew, uint64_t grace_ms, void (*drained)(void *ctx), void *ctx)
{
	must(crew->threads_run);
	for (size_t i = 0; i < crew->worker_count; i++) {
		struct crew_worker *worker = &crew->workers[i];

		if (!crew->draining) {
			worker->grace_ms = grace_ms;
			loop_post(worker->loop, &worker->drain);
		} else if (!worker->hurry_is_posted) {
			worker->hurry_is_posted = true;
			worker->hurry_ms = grace_ms;
			loop_post(worker->loop, &worker->hurry);
		}
	}
	if (crew->draining)
		return;
	crew->draining = true;
	crew->drained = drained;
	crew->drained_ctx = ctx;
}

void
crew_free(struct crew **crew_address_of)
{
	struct crew *crew = *crew_address_of;

	if (!crew)
		return;
	crew_tickets_fini(crew);
	/* In order: the first one may still hand connections to the others. */
	for (size_t i = 0; i < crew->worker_count; i++) {
		struct crew_worker *worker = &crew->workers[i];

		if (worker->thread) {
			loop_post(worker->loop, &worker->end);
			work_join(&worker->thread);
		} else {
			crew_worker_clear(worker);
			crew->settings.ops.worker_end(crew->settings.ctx, worker);
		}
	}
	for (size_t i = 0; i < crew->worker_count; i++)
		crew_worker_fini(&crew->workers[i]);
	crew_plan_unref(&crew->plan);
	crew_plan_unref(&crew->change.plan);
	mem_free(&crew->change.addresses);
	mem_free(&crew->addresses);
	crew_admission_fini(&crew->admission);
	mem_free(&crew->workers);
	mem_free(crew_address_of);
}
