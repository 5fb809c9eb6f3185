#include "relay/session/crew_private.h"


/*
 * Keys of session tickets.  The hub makes a new set every period and hands it to the workers,
 * each of which puts it into the contexts of its plan: a context is touched by its worker alone,
 * and a set of keys by nobody.  Sessions of a plan that has gone keep the keys that it had.
 */

void
crew_worker_use_tickets(struct crew_worker *worker)
{
	for (size_t i = 0; worker->plan && i < worker->plan->listener_count; i++) {
		const struct crew_door *door = crew_plan_door(worker->plan, worker->number, i);

		if (door->tls)
			tls_context_set_ticket_keys(door->tls, worker->ticket_keys);
	}
}

static void
crew_worker_takes_tickets(void *ctx)
{
	struct crew_worker *worker = ctx;

	tls_ticket_keys_unref(&worker->ticket_keys);
	worker->ticket_keys = worker->next_ticket_keys;
	worker->next_ticket_keys = NULL;
	atomic_store(&worker->tickets_are_sent, false);
	crew_worker_use_tickets(worker);
}

void
crew_worker_init_tickets(struct crew_worker *worker)
{
	atomic_init(&worker->tickets_are_sent, false);
	loop_post_init(&worker->tickets, crew_worker_takes_tickets, worker);
}

void
crew_worker_fini_tickets(struct crew_worker *worker)
{
	tls_ticket_keys_unref(&worker->ticket_keys);
	tls_ticket_keys_unref(&worker->next_ticket_keys);
}

static void
crew_tickets_change(void *ctx)
{
	struct crew *crew = ctx;
	struct tls_ticket_keys *old = crew->ticket_keys;
	uint64_t period_ms = crew->ticket_period_ms;

	crew->ticket_keys = period_ms > 0 ? tls_ticket_keys_new(old, &crew->random) : NULL;
	tls_ticket_keys_unref(&old);
	for (size_t i = 0; i < crew->worker_count; i++) {
		struct crew_worker *worker = &crew->workers[i];

		/* One that has not taken the last ones for a whole period is left out. */
		if (atomic_load(&worker->tickets_are_sent))
			continue;
		worker->next_ticket_keys = crew->ticket_keys
		    ? tls_ticket_keys_ref(crew->ticket_keys) : NULL;
		atomic_store(&worker->tickets_are_sent, true);
		loop_post(worker->loop, &worker->tickets);
	}
	if (period_ms > 0)
		loop_timer_start(crew->settings.hub, &crew->ticket_timer, period_ms);
}

void
crew_tickets_follow_plan(struct crew *crew)
{
	uint64_t period_ms = crew->plan->config->limits.ticket_period_ms;

	if (period_ms == crew->ticket_period_ms)
		return;
	crew->ticket_period_ms = period_ms;
	loop_timer_stop(crew->settings.hub, &crew->ticket_timer);
	crew_tickets_change(crew);
}

void
crew_tickets_init(struct crew *crew)
{
	random_init_system(&crew->random);
	loop_timer_init(&crew->ticket_timer, crew_tickets_change, crew);
}

void
crew_tickets_fini(struct crew *crew)
{
	loop_timer_stop(crew->settings.hub, &crew->ticket_timer);
	tls_ticket_keys_unref(&crew->ticket_keys);
}
