/*
 * Days of retries under virtual time: the dispatcher with scripted destinations that
 * are dead, flap, are slow or greylist.  Everything it may not do is looked for at
 * every step: lose a unit, try one before its time, let a destination idle, starve one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/outbound/dispatch_sim.h"


static bool
flight_before(const struct heap_node *a, const struct heap_node *b)
{
	const struct flight *left = container_of(a, const struct flight, place);
	const struct flight *right = container_of(b, const struct flight, place);

	if (left->at_ms != right->at_ms)
		return left->at_ms < right->at_ms;
	return left->sequence < right->sequence;
}

static bool
is_up(const struct site *site, int64_t now_ms)
{
	switch (site->kind) {
	case DEAD:
		return false;
	case FLAPPING:
		return now_ms / (10 * MINUTE) % 2 == 0;
	case BACK_AFTER_A_DAY:
		return now_ms >= DAY;
	case HEALTHY:
	case SLOW:
	case GREYLISTING:
		break;
	}
	return true;
}

/* ---- operations of the dispatcher ---- */

static void
op_start(void *ctx, struct unit *unit, const struct dispatch_order *order)
{
	struct sim *sim = ctx;
	struct letter *letter = container_of(unit->message, struct letter, message);
	struct site *site = letter->site;
	struct flight *flight = mem_alloc(sizeof(*flight));
	bool up = is_up(site, sim->now_ms);

	assert_true(order->host_count > 0);
	if (sim->now_ms < letter->not_before_ms)
		sim->too_early++;
	sim->started++;
	flight->unit = unit;
	flight->order = *order;
	flight->begun_ms = (uint64_t)sim->now_ms;
	flight->sequence = ++sim->sequence;
	flight->will_work = up;
	flight->fresh = unit->destination->workers[order->worker].connections <
	    order->connection_max;
	flight->at_ms = sim->now_ms + (up ? (site->kind == SLOW ? 20 : 1) * SERVICE_MS :
	    CONNECT_TIMEOUT_MS);
	if (++site->in_flight > site->in_flight_max)
		site->in_flight_max = site->in_flight;
	heap_add(&sim->flights, &flight->place);
}

static void
op_resolve(void *ctx, struct domain *domain)
{
	(void)ctx;
	(void)domain;
	fail_msg("nothing goes by MX here");
}

static void
end_letter(struct sim *sim, struct letter *letter)
{
	assert_false(letter->ended);
	letter->ended = true;
	sim->ended++;
	dispatch_remove_message(&sim->dispatch, &letter->message);
}

static void
op_expire(void *ctx, struct unit *unit)
{
	struct sim *sim = ctx;
	struct letter *letter = container_of(unit->message, struct letter, message);

	if (sim->now_ms != letter->arrived_ms + (int64_t)sim->policy.lifetime_ms)
		sim->late_ends++;
	letter->site->expired++;
	dispatch_settle(&sim->dispatch, unit);
	end_letter(sim, letter);
}

static void
op_notice(void *ctx, struct unit *unit)
{
	struct sim *sim = ctx;
	struct letter *letter = container_of(unit->message, struct letter, message);

	if (sim->now_ms != letter->arrived_ms + (int64_t)sim->policy.delay_notice_ms)
		sim->late_ends++;
	assert_false(letter->noticed);
	letter->noticed = true;
	letter->site->noticed++;
}

static void
op_reroute(void *ctx, struct unit *unit)
{
	(void)ctx;
	(void)unit;
	fail_msg("everything has a route here");
}

static const struct dispatch_ops ops = {
	.start = op_start,
	.resolve = op_resolve,
	.expire = op_expire,
	.reroute = op_reroute,
	.notice = op_notice,
};

/* ---- the world ---- */

static void
delivered(struct sim *sim, struct unit *unit, struct letter *letter)
{
	struct site *site = letter->site;

	site->delivered++;
	site->last_delivery_ms = sim->now_ms;
	if (site->first_after_return_ms == 0)
		site->first_after_return_ms = sim->now_ms;
	dispatch_settling(&sim->dispatch, unit, (uint64_t)sim->now_ms);
	dispatch_settle(&sim->dispatch, unit);
	end_letter(sim, letter);
}

static void
land(struct sim *sim, struct flight *flight)
{
	struct unit *unit = flight->unit;
	struct letter *letter = container_of(unit->message, struct letter, message);
	struct site *site = letter->site;
	struct destination *destination = unit->destination;
	uint64_t now_ms = (uint64_t)sim->now_ms;
	bool works = flight->will_work && is_up(site, sim->now_ms);
	uint32_t connections = destination->running_count < destination->window.size ?
	    destination->running_count : destination->window.size;

	site->in_flight--;
	if (works)
		(void)dispatch_host_good(&sim->dispatch, destination, 0,
		    flight->fresh ? connections : 0, now_ms);
	else
		(void)dispatch_host_bad(&sim->dispatch, destination, 0, RETRY_CONNECT,
		    SPAN("no answer"), flight->begun_ms, now_ms);
	destination->attempt_count++;
	unit->tried = true;
	unit->attempt_count++;
	dispatch_returned(&sim->dispatch, unit, flight->order.worker, works ? connections : 0,
	    now_ms);
	if (!works) {
		if (sim->now_ms >= unit->expire_ms) {
			dispatch_settling(&sim->dispatch, unit, now_ms);
			letter->site->expired++;
			dispatch_settle(&sim->dispatch, unit);
			end_letter(sim, letter);
		} else {
			dispatch_ready(&sim->dispatch, unit, false, now_ms);
		}
	} else if (site->kind == GREYLISTING && letter->attempts++ == 0) {
		unit->class = RETRY_GREYLISTED;
		unit->class_count = 1;
		letter->not_before_ms = sim->now_ms + (int64_t)retry_interval_ms(&sim->policy,
		    RETRY_GREYLISTED, 1, now_ms - (uint64_t)letter->arrived_ms,
		    &sim->random.random);
		dispatch_defer(&sim->dispatch, unit, letter->not_before_ms, now_ms);
	} else {
		delivered(sim, unit, letter);
	}
	mem_free(&flight);
}

static void
offer(struct sim *sim, struct letter *letter)
{
	struct unit *unit;
	uint64_t now_ms = (uint64_t)sim->now_ms;

	dispatch_add_message(&sim->dispatch, &letter->message);
	unit = dispatch_add_unit(&sim->dispatch, &letter->message, 1);
	unit->rcpts[0] = 0;
	letter->arrived_ms = sim->now_ms;
	dispatch_place(&sim->dispatch, unit, NULL, letter->site->destination, now_ms);
	unit->expire_ms = sim->now_ms + (int64_t)sim->policy.lifetime_ms;
	unit->notice_ms = sim->now_ms + (int64_t)sim->policy.delay_notice_ms;
	dispatch_update_deadline(&sim->dispatch, unit);
}

/* With mail ready, a host that may be tried and room, nothing may idle. */
static void
assert_nothing_idles(const struct sim *sim)
{
	for (size_t i = 0; i < sim->site_count; i++) {
		const struct destination *it = sim->sites[i].destination;

		if (it->ready_count == 0 || it->suspended)
			continue;
		if (destination_is_open_for_mail(it))
			assert_true(it->running_count >= destination_capacity(it));
		else
			assert_true(destination_allowed_ms(it, (uint64_t)sim->now_ms) > 0);
	}
}

static void
act(struct sim *sim)
{
	while (dispatch_run(&sim->dispatch, 1000, (uint64_t)sim->now_ms))
		continue;
}

static int64_t
next_time(const struct sim *sim)
{
	const struct heap_node *node = heap_first(&sim->flights);
	int64_t at = dispatch_next_ms(&sim->dispatch);

	if (node && container_of(node, const struct flight, place)->at_ms < at)
		at = container_of(node, const struct flight, place)->at_ms;
	return at;
}

/* All letters come within `arrival_ms`, in turns for the sites; runs until `end_ms`. */
static void
run(struct sim *sim, int64_t arrival_ms, int64_t end_ms)
{
	size_t offered = 0;
	uint64_t steps = 0;
	int64_t start_ms = sim->now_ms;

	act(sim);
	for (;;) {
		int64_t at = next_time(sim);
		struct heap_node *node;

		if (offered < sim->letter_count) {
			int64_t arrives = start_ms +
			    (int64_t)offered * arrival_ms / (int64_t)sim->letter_count;

			at = arrives < at ? arrives : at;
		}
		if (at == INT64_MAX || at > end_ms)
			return;
		if (at > sim->now_ms)
			sim->now_ms = at;
		while (offered < sim->letter_count && start_ms +
		    (int64_t)offered * arrival_ms / (int64_t)sim->letter_count <= sim->now_ms)
			offer(sim, &sim->letters[offered++]);
		while ((node = heap_first(&sim->flights)) &&
		    container_of(node, struct flight, place)->at_ms <= sim->now_ms) {
			(void)heap_take_first(&sim->flights);
			land(sim, container_of(node, struct flight, place));
		}
		act(sim);
		if (steps++ % 97 == 0)
			assert_nothing_idles(sim);
	}
}

static void
sim_init(struct sim *sim, const enum kind *kinds, size_t site_count, size_t letter_count,
    uint64_t seed)
{
	struct route_settings *routes = mem_alloc_array(site_count, sizeof(*routes));
	struct route_host *hosts = mem_alloc_array(site_count, sizeof(*hosts));
	char (*names)[32] = mem_alloc_array(site_count, sizeof(*names));
	const char **pointers = mem_alloc_array(site_count, sizeof(*pointers));
	struct err err;

	*sim = (struct sim){ .site_count = site_count, .letter_count = letter_count };
	sim->now_ms = 1000;
	random_init_seeded(&sim->random, seed);
	retry_policy_init(&sim->policy);
	heap_init(&sim->flights, flight_before);
	sim->sites = mem_alloc_array(site_count, sizeof(*sim->sites));
	sim->letters = mem_alloc_array(letter_count, sizeof(*sim->letters));
	dispatch_init(&sim->dispatch, &(struct dispatch_settings){
		.random = &sim->random.random,
		.ops = &ops,
		.ctx = sim,
		.worker_count = 2,
		.running_max = 100000,
		.host_max = 10,
	});
	for (size_t i = 0; i < site_count; i++) {
		snprintf(names[i], sizeof(names[i]), "d%zu.example", i);
		pointers[i] = names[i];
		hosts[i].weight = 10;
		routes[i] = (struct route_settings){
			.name = names[i],
			.recipients = &pointers[i],
			.recipient_count = 1,
			.via = ROUTE_VIA_SMTP,
			.hosts = &hosts[i],
			.host_count = 1,
		};
	}
	assert_int_equal(route_table_new(routes, site_count, &sim->table, &err), 0);
	for (size_t i = 0; i < site_count; i++) {
		bool created;

		sim->sites[i].kind = kinds[i];
		sim->sites[i].destination = dispatch_destination(&sim->dispatch, names[i],
		    names[i], route_table_at(sim->table, i),
		    &(struct dispatch_host){ names[i], 0, 10 }, 1, 1000, &created);
		assert_true(created);
	}
	for (size_t i = 0; i < letter_count; i++) {
		sim->letters[i].site = &sim->sites[i % site_count];
		sim->letters[i].message.id = i + 1;
		sim->letters[i].message.flow = (uint32_t)(i / site_count % 7);
	}
	mem_free(&pointers);
	mem_free(&names);
	mem_free(&hosts);
	mem_free(&routes);
}

static void
drop_nothing(void *ctx, struct destination *destination)
{
	(void)ctx;
	(void)destination;
}

static void
sim_fini(struct sim *sim)
{
	struct heap_node *node;

	while ((node = heap_take_first(&sim->flights)))
		land(sim, container_of(node, struct flight, place));
	assert_int_equal(sim->dispatch.running_count, 0);
	for (size_t i = 0; i < sim->letter_count; i++)
		if (!sim->letters[i].ended && sim->letters[i].message.unit_count) {
			dispatch_settle(&sim->dispatch,
			    TAILQ_FIRST(&sim->letters[i].message.units));
			end_letter(sim, &sim->letters[i]);
		}
	dispatch_sweep(&sim->dispatch, 0, (uint64_t)sim->now_ms, drop_nothing, NULL);
	dispatch_fini(&sim->dispatch);
	heap_fini(&sim->flights);
	route_table_unref(&sim->table);
	mem_free(&sim->sites);
	mem_free(&sim->letters);
}

static double
rate_of(const struct site *site)
{
	return (double)site->delivered / (double)site->last_delivery_ms;
}

/* ---- the tests ---- */

static size_t
script(enum kind *kinds, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		kinds[i] = HEALTHY;
		if (i % 10 < 3)
			kinds[i] = DEAD;
		if (i % 20 == 4)
			kinds[i] = FLAPPING;
		if (i % 20 == 15)
			kinds[i] = SLOW;
		if (i % 20 == 16)
			kinds[i] = GREYLISTING;
		if (i % 50 == 7)
			kinds[i] = BACK_AFTER_A_DAY;
	}
	return count;
}

static void
test_six_days(void **state)
{
	enum { SITES = 100, LETTERS = 200000 };
	enum kind kinds[SITES];
	enum kind alone[1] = { HEALTHY };
	struct sim sim, one;
	uint64_t begun_ms = clock_monotonic_ms(clock_system());
	double alone_rate;

	(void)state;
	sim_init(&one, alone, 1, LETTERS / SITES, 7);
	run(&one, 10 * SECOND, HOUR);
	assert_int_equal(one.sites[0].delivered, LETTERS / SITES);
	alone_rate = rate_of(&one.sites[0]);
	sim_fini(&one);

	sim_init(&sim, kinds, script(kinds, SITES), LETTERS, 7);
	run(&sim, 10 * SECOND, 6 * DAY);
	assert_int_equal(sim.ended, LETTERS);
	assert_int_equal(sim.too_early, 0);
	assert_int_equal(sim.late_ends, 0);
	for (size_t i = 0; i < SITES; i++) {
		const struct site *site = &sim.sites[i];

		switch (site->kind) {
		case HEALTHY:
			assert_int_equal(site->delivered, LETTERS / SITES);
			assert_int_equal(site->noticed, 0);
			assert_true(rate_of(site) > 0.95 * alone_rate);
			break;
		case DEAD:
			assert_int_equal(site->delivered, 0);
			assert_int_equal(site->expired, LETTERS / SITES);
			assert_int_equal(site->noticed, LETTERS / SITES);
			break;
		case BACK_AFTER_A_DAY:
			assert_int_equal(site->delivered, LETTERS / SITES);
			assert_true(site->first_after_return_ms >= DAY);
			/* A probe is five minutes away at most, and then it flows. */
			assert_true(site->first_after_return_ms <= DAY + 6 * MINUTE);
			assert_true(site->last_delivery_ms <= DAY + 8 * MINUTE);
			break;
		case FLAPPING:
		case SLOW:
		case GREYLISTING:
			assert_int_equal(site->delivered, LETTERS / SITES);
			assert_int_equal(site->expired, 0);
			break;
		}
	}
	sim_fini(&sim);
	print_message("%d letters, six days: %llu attempts in %llu ms\n", LETTERS,
	    (unsigned long long)sim.started,
	    (unsigned long long)(clock_monotonic_ms(clock_system()) - begun_ms));
}

/* A host that comes back never sees more than twice the connections it has proven to take. */
static void
test_gentle_return(void **state)
{
	enum kind kinds[1] = { BACK_AFTER_A_DAY };
	struct sim sim;

	(void)state;
	sim_init(&sim, kinds, 1, 5000, 3);
	run(&sim, 10 * SECOND, DAY - 1);
	assert_int_equal(sim.sites[0].delivered, 0);
	assert_int_equal(sim.sites[0].destination->ready_count +
	    sim.sites[0].destination->running_count, 5000);
	sim.sites[0].in_flight_max = 0;
	while (sim.sites[0].delivered == 0) {
		sim.now_ms = next_time(&sim);
		if (!heap_first(&sim.flights) || container_of(heap_first(&sim.flights),
		    struct flight, place)->at_ms > sim.now_ms) {
			act(&sim);
			continue;
		}
		land(&sim, container_of(heap_take_first(&sim.flights), struct flight, place));
		assert_true(sim.sites[0].in_flight_max <= 1);
		assert_true(sim.sites[0].destination->window.size <= 2);
	}
	sim.letter_count = 0;
	run(&sim, 1, 2 * DAY);
	assert_int_equal(sim.sites[0].delivered, 5000);
	sim.letter_count = 5000;
	sim_fini(&sim);
}

/* One operator's hand: a probe at once, and no waiting for its time. */
static void
test_hurry(void **state)
{
	enum kind kinds[1] = { BACK_AFTER_A_DAY };
	struct sim sim;
	int64_t hurried_ms;

	(void)state;
	sim_init(&sim, kinds, 1, 100, 5);
	run(&sim, SECOND, DAY - 1);
	sim.letter_count = 0;
	sim.now_ms = hurried_ms = DAY + 1;
	dispatch_hurry(&sim.dispatch, sim.sites[0].destination, (uint64_t)sim.now_ms);
	act(&sim);
	run(&sim, 1, DAY + 5 * MINUTE);
	assert_int_equal(sim.sites[0].delivered, 100);
	assert_true(sim.sites[0].last_delivery_ms <= hurried_ms + 20 * SECOND);
	sim.letter_count = 100;
	sim_fini(&sim);
}

static void
test_suspend(void **state)
{
	enum kind kinds[2] = { HEALTHY, HEALTHY };
	struct sim sim;

	(void)state;
	sim_init(&sim, kinds, 2, 200, 5);
	dispatch_suspend(&sim.dispatch, sim.sites[0].destination, SPAN("moving house"),
	    2 * HOUR, 1000);
	run(&sim, SECOND, 2 * HOUR - 1);
	assert_int_equal(sim.sites[0].delivered, 0);
	assert_int_equal(sim.sites[1].delivered, 100);
	assert_int_equal(dispatch_destination_reason(&sim.dispatch, sim.sites[0].destination,
	    2 * HOUR - 1), REASON_SUSPENDED);
	sim.letter_count = 0;
	run(&sim, 1, 3 * HOUR);
	assert_int_equal(sim.sites[0].delivered, 100);
	sim.letter_count = 200;
	sim_fini(&sim);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gentle_return),
		cmocka_unit_test(test_hurry),
		cmocka_unit_test(test_suspend),
		cmocka_unit_test(test_six_days),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
