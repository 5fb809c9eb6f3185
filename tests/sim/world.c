#include "tests/sim/world.h"

#include <stdio.h>
#include <string.h>

#include "relay/base/container_of.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "tests/sim/listener_private.h"
#include "tests/sim/wire.h"

enum {
	TURN_US_MAX = 40,               /* what a turn takes */
	READY_MAX = 128,
	STALL_US_MAX = 3 * 1000 * 1000,
};

static const uint64_t begin_monotonic_us = UINT64_C(1000000000);
static const int64_t begin_wall_us = INT64_C(1790000000000000);

struct sim_world {
	struct sim_world_settings settings;
	struct random_seeded random;
	uint64_t now_us;
	uint64_t sequence;
	uint64_t steps, history;
	struct heap events;
	TAILQ_HEAD(, sim_runner) runners;
	struct sim_host *hosts[SIM_HOSTS_MAX];
	size_t host_count;
	bool closed[SIM_HOSTS_MAX][SIM_HOSTS_MAX];
	struct sim_host *current;
};

/* The headers of relay/net give no place to carry it along. */
static struct sim_world *world;

static bool
event_before(const struct heap_node *a, const struct heap_node *b)
{
	const struct sim_event *left = container_of(a, const struct sim_event, place);
	const struct sim_event *right = container_of(b, const struct sim_event, place);

	if (left->due_us != right->due_us)
		return left->due_us < right->due_us;
	return left->sequence < right->sequence;
}

void
sim_world_begin(const struct sim_world_settings *settings)
{
	must(!world);
	world = mem_alloc(sizeof(*world));
	world->settings = *settings;
	world->now_us = begin_monotonic_us;
	random_init_seeded(&world->random, settings->seed);
	heap_init(&world->events, event_before);
	TAILQ_INIT(&world->runners);
}

void
sim_world_end(void)
{
	sim_wires_forget();
	sim_listeners_forget();
	heap_fini(&world->events);
	for (size_t i = 0; i < world->host_count; i++)
		mem_free(&world->hosts[i]);
	mem_free(&world);
}

uint64_t
sim_now_us(void)
{
	return world->now_us;
}

uint64_t
sim_steps(void)
{
	return world->steps;
}

uint64_t
sim_history(void)
{
	return world->history;
}

struct random *
sim_random(void)
{
	return &world->random.random;
}

bool
sim_chance(uint64_t numerator, uint64_t denominator)
{
	return random_below(sim_random(), denominator) < numerator;
}

uint64_t
sim_between(uint64_t low, uint64_t high)
{
	return low + random_below(sim_random(), high - low + 1);
}

/* ---- what will happen */

void
sim_event_init(struct sim_event *event, void (*run)(void *ctx), void *ctx)
{
	*event = (struct sim_event){ .run = run, .ctx = ctx };
}

void
sim_event_start(struct sim_event *event, uint64_t delay_us)
{
	heap_remove(&world->events, &event->place);
	event->due_us = world->now_us + delay_us;
	event->sequence = world->sequence++;
	heap_add(&world->events, &event->place);
}

void
sim_event_stop(struct sim_event *event)
{
	heap_remove(&world->events, &event->place);
}

/* ---- machines */

static uint64_t
host_monotonic_us(const struct clock *clock)
{
	(void)clock;
	return world->now_us;
}

static int64_t
host_wall_us(const struct clock *clock)
{
	const struct sim_host *host = container_of(clock, const struct sim_host, clock);

	return begin_wall_us + (int64_t)(world->now_us - begin_monotonic_us) + host->wall_skew_us;
}

struct sim_host *
sim_host_new(const char *name)
{
	struct sim_host *host = mem_alloc(sizeof(*host));

	must(world->host_count < SIM_HOSTS_MAX);
	host->clock = (struct clock){ .monotonic_us = host_monotonic_us, .wall_us = host_wall_us };
	host->world = world;
	host->number = world->host_count;
	host->up = true;
	(void)snprintf(host->name, sizeof(host->name), "%s", name);
	host->address = (struct endpoint){ .family = ENDPOINT_IPV4,
	    .ip = { 198, 18, 0, (uint8_t)(host->number + 1) } };
	world->hosts[world->host_count++] = host;
	return host;
}

struct sim_host *
sim_host_by_name(struct span name)
{
	for (size_t i = 0; i < world->host_count; i++)
		if (span_equal(name, span_from_cstr(world->hosts[i]->name)))
			return world->hosts[i];
	return NULL;
}

struct sim_host *
sim_host_by_address(const struct endpoint *address)
{
	for (size_t i = 0; i < world->host_count; i++)
		if (endpoint_same_ip(address, &world->hosts[i]->address))
			return world->hosts[i];
	return NULL;
}

struct sim_host *
sim_host_current(void)
{
	must(world->current != NULL);
	return world->current;
}

void
sim_host_enter(struct sim_host *host)
{
	world->current = host;
}

void
sim_host_doom(struct sim_host *host)
{
	host->doomed = true;
}

void
sim_host_crash(struct sim_host *host, bool power)
{
	struct sim_runner *runner, *next;

	host->up = false;
	host->power_lost = power;
	host->doomed = false;
	host->life++;
	for (runner = TAILQ_FIRST(&world->runners); runner; runner = next) {
		next = TAILQ_NEXT(runner, entry);
		if (runner->host == host)
			sim_runner_remove(runner);
	}
	sim_listeners_of_crashed(host);
	sim_wires_of_crashed(host);
	if (host->crashed)
		host->crashed(host, host->ctx);
}

bool
sim_path_is_open(const struct sim_host *a, const struct sim_host *b)
{
	return !world->closed[a->number][b->number];
}

void
sim_path_set(struct sim_host *a, struct sim_host *b, bool open)
{
	world->closed[a->number][b->number] = !open;
	world->closed[b->number][a->number] = !open;
}

/* ---- what runs */

void
sim_runner_add(struct sim_runner *runner)
{
	if (runner->listed)
		return;
	runner->listed = true;
	TAILQ_INSERT_TAIL(&world->runners, runner, entry);
}

void
sim_runner_remove(struct sim_runner *runner)
{
	if (!runner->listed)
		return;
	runner->listed = false;
	TAILQ_REMOVE(&world->runners, runner, entry);
}

/* FNV-1a over the words of the history. */
static void
note_turn(const struct sim_host *host)
{
	const uint64_t words[] = { host->number, host->life, world->now_us };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		world->history = (world->history ^ words[i]) * UINT64_C(0x100000001b3);
}

static void
run_turn(struct sim_runner *runner)
{
	struct sim_host *host = runner->host;

	world->steps++;
	world->now_us += sim_between(1, TURN_US_MAX);
	note_turn(host);
	if (world->settings.stall_per_million > 0 &&
	    sim_chance(world->settings.stall_per_million, 1000000))
		runner->stalled_until_us = world->now_us + sim_between(1000, STALL_US_MAX);
	sim_host_enter(runner->host);
	runner->turn(runner);
	world->current = NULL;
	if (host->doomed)
		sim_host_crash(host, host->power_lost);
}

static void
run_events(void)
{
	for (;;) {
		struct heap_node *first = heap_first(&world->events);

		if (!first)
			return;
		struct sim_event *event = container_of(first, struct sim_event, place);

		if (event->due_us > world->now_us)
			return;
		heap_remove(&world->events, first);
		event->run(event->ctx);
	}
}

static struct sim_runner *
pick_runner(void)
{
	struct sim_runner *ready[READY_MAX];
	struct sim_runner *runner;
	size_t count = 0;

	TAILQ_FOREACH(runner, &world->runners, entry)
		if (runner->stalled_until_us <= world->now_us && runner->has_work(runner) &&
		    count < READY_MAX)
			ready[count++] = runner;
	return count == 0 ? NULL : ready[random_below(sim_random(), count)];
}

static uint64_t
next_moment_us(void)
{
	struct heap_node *first = heap_first(&world->events);
	uint64_t next_us = UINT64_MAX;
	struct sim_runner *runner;

	if (first)
		next_us = container_of(first, struct sim_event, place)->due_us;
	TAILQ_FOREACH(runner, &world->runners, entry) {
		uint64_t due_us = runner->has_work(runner) ? world->now_us
		    : runner->next_us(runner);

		if (due_us < runner->stalled_until_us)
			due_us = runner->stalled_until_us;
		if (due_us < next_us)
			next_us = due_us;
	}
	return next_us;
}

bool
sim_run(uint64_t duration_us, bool (*done)(void *ctx), void *ctx)
{
	uint64_t end_us = world->now_us + duration_us;

	while (world->now_us < end_us) {
		struct sim_runner *runner;

		if (done && done(ctx))
			return true;
		run_events();
		runner = pick_runner();
		if (runner) {
			run_turn(runner);
			continue;
		}
		uint64_t next_us = next_moment_us();

		if (next_us >= end_us) {
			world->now_us = end_us;
			break;
		}
		if (next_us > world->now_us)
			world->now_us = next_us;
	}
	return done && done(ctx);
}
