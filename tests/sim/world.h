#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "relay/base/clock.h"
#include "relay/base/heap.h"
#include "relay/base/random.h"
#include "relay/base/span.h"
#include "relay/net/endpoint.h"

/*
 * A world in one thread, made from one number: virtual time, chance, machines, what runs on them
 * and what will happen.  relay/net's headers are implemented on it (loop.c, conn.c, ... here), so
 * that whole daemons run in it as they are.
 *
 * One step is one turn of one runner (a loop, a pool's next job), picked by chance among those
 * that have something to do; when none has, time jumps to the next thing that will happen.
 */
struct sim_world;

/* ------------------------------------------------------------------ what will happen */

struct sim_event {
	struct heap_node place;
	uint64_t due_us;
	uint64_t sequence;
	void (*run)(void *ctx);
	void *ctx;
};

void sim_event_init(struct sim_event *event, void (*run)(void *ctx), void *ctx);
void sim_event_start(struct sim_event *event, uint64_t delay_us);
void sim_event_stop(struct sim_event *event);

/* ------------------------------------------------------------------ machines */

enum { SIM_HOSTS_MAX = 16, SIM_NAME_BYTES = 32 };

/* A crash takes its runners and wires at once; what its daemon had in memory is left behind. */
struct sim_host {
	struct clock clock;             /* what the daemons on it get */
	struct sim_world *world;
	char name[SIM_NAME_BYTES];
	struct endpoint address;
	size_t number;
	bool up;
	bool doomed;                    /* its disk has crashed in this turn */
	bool power_lost;                /* in its last crash; else only the process died */
	unsigned life;                  /* counts its starts */
	int64_t wall_skew_us;
	/* Told, outside of any turn, that it has crashed. */
	void (*crashed)(struct sim_host *host, void *ctx);
	void *ctx;
};

struct sim_host *sim_host_new(const char *name);
struct sim_host *sim_host_by_name(struct span name);
struct sim_host *sim_host_by_address(const struct endpoint *address);

/* The one whose code runs, or for which things are made. */
struct sim_host *sim_host_current(void);
void sim_host_enter(struct sim_host *host);

/* From here on it sends nothing; it crashes when its turn has ended. */
void sim_host_doom(struct sim_host *host);

/* Takes everything that runs on it and every connection; peers may or may not hear of it. */
void sim_host_crash(struct sim_host *host, bool power);

/* Whether packets pass between two machines. */
bool sim_path_is_open(const struct sim_host *a, const struct sim_host *b);
void sim_path_set(struct sim_host *a, struct sim_host *b, bool open);

/* ------------------------------------------------------------------ what runs */

struct sim_runner {
	TAILQ_ENTRY(sim_runner) entry;
	struct sim_host *host;
	bool (*has_work)(const struct sim_runner *runner);
	void (*turn)(struct sim_runner *runner);
	/* When it will have work by itself; UINT64_MAX: never. */
	uint64_t (*next_us)(const struct sim_runner *runner);
	uint64_t stalled_until_us;
	bool listed;
};

void sim_runner_add(struct sim_runner *runner);
void sim_runner_remove(struct sim_runner *runner);

/* ------------------------------------------------------------------ the world */

struct sim_world_settings {
	uint64_t seed;
	unsigned stall_per_million;     /* turns after which a runner sleeps a while */
};

/* There is one at a time; what the functions above work on. */
void sim_world_begin(const struct sim_world_settings *settings);
void sim_world_end(void);

uint64_t sim_now_us(void);
uint64_t sim_steps(void);

/* Of every turn so far, which runner had it and when: the same only for the same history. */
uint64_t sim_history(void);
struct random *sim_random(void);

/* With a chance of NUMERATOR in DENOMINATOR. */
bool sim_chance(uint64_t numerator, uint64_t denominator);

/* From LOW to HIGH, both included. */
uint64_t sim_between(uint64_t low, uint64_t high);

/* Runs until done() says so (NULL: never) or the time has come; false in the second case. */
bool sim_run(uint64_t duration_us, bool (*done)(void *ctx), void *ctx);

#endif
