#include "tests/crash/life.h"

#include <stdarg.h>
#include <stdio.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "tests/crash/peek.h"

enum {
	SEGMENT_BYTES = 64 << 10,
	RESERVE_BYTES = 24 << 10,
	FULL_RESERVE_BYTES = 64 << 10,
	STEPS_MAX = 200 * 1000,
};

#define BIRTH_WALL_MS INT64_C(1767225600000)

static const char *const profile_names[PROFILE_COUNT] = {
	[PROFILE_PLAIN] = "plain",
	[PROFILE_FAULTS] = "faults",
	[PROFILE_FULL] = "full",
	[PROFILE_NO_POWER_SAFE] = "garbled-pages",
};

const char *
profile_name(enum profile profile)
{
	must(profile < PROFILE_COUNT);
	return profile_names[profile];
}

void
violate(struct violation *violation, const char *format, ...)
{
	va_list args;

	if (violation->is_found)
		return;
	violation->is_found = true;
	va_start(args, format);
	(void)vsnprintf(violation->text, sizeof(violation->text), format, args);
	va_end(args);
}

/* ---- what the hub hears --------------------------------------------------------- */

/* What is offered may be delivered at once, so it must be durable, and its parent's mark. */
static void
offered(void *ctx, const struct queue_item *item, struct envelope **envelope)
{
	struct life *life = ctx;
	int at = model_find(life->model, item->id);

	(void)envelope;
	if (life->disk->is_dead || at == MODEL_NONE)
		return;
	const struct model_message *message = &life->model->messages[at];

	if (!message->acknowledged && message->parent != MODEL_NONE)
		model_durable(life->model, message->parent, message->parent_change);
	model_acknowledge(life->model, at);
}

static void
revoked(void *ctx, queue_id id, void *user)
{
	(void)ctx;
	(void)id;
	(void)user;
}

static void
changed(void *ctx, const struct queue_item *item)
{
	(void)ctx;
	(void)item;
}

static void
pressure(void *ctx, enum queue_pressure level, const char *why)
{
	struct life *life = ctx;

	(void)why;
	life->had_no_log |= level == PRESSURE_NO_LOG;
}

/* ---- birth and death -------------------------------------------------------------- */

static void
set_settings(struct life *life)
{
	struct chance chance = chance_at(chance_mix(life->seed, 11));
	struct queue_settings *settings = &life->settings;

	queue_settings_init(settings);
	settings->disk = &life->disk->disk;
	settings->random = &life->random.random;
	settings->events = (struct queue_events){ offered, revoked, changed, pressure };
	settings->ctx = life;
	settings->port_count_max = 2;
	settings->gather_ms = 0;
	settings->segment_bytes = SEGMENT_BYTES;
	settings->reserve_bytes = RESERVE_BYTES;
	settings->floor_bytes = 0;
	if (life->profile == PROFILE_FULL) {
		settings->reserve_bytes = FULL_RESERVE_BYTES;
		settings->floor_bytes = SEGMENT_BYTES;
	}
	settings->pool_segments_max = 1 + chance_below(&chance, 3);
	settings->move_percent = 100;
	settings->move_after_ms = 0;
	settings->scrub_bytes_second = 48 << 10;
	settings->body_memory_bytes = chance_one_in(&chance, 3) ? 32 << 10 : 256 << 10;
	settings->body_cache_bytes = chance_one_in(&chance, 4) ? 64 << 10 : 0;
}

void
life_init(struct life *life, uint64_t seed, enum profile profile, struct crash_disk *disk,
    struct model *model, struct violation *violation)
{
	memset(life, 0, sizeof(*life));
	life->seed = seed;
	life->profile = profile;
	life->disk = disk;
	life->model = model;
	life->violation = violation;
	life->steps = chance_at(chance_mix(seed, 12));
	TAILQ_INIT(&life->asks);
}

/* Mostly a start follows at once; sometimes somebody set the clock, or a day went by. */
static int64_t
wall_ms_after(const struct life *life, const struct clock_manual *before)
{
	static const int64_t steps_ms[] = { -3600 * 1000, -1000, 5000, 26 * 3600 * 1000 };
	struct chance chance = chance_at(chance_mix(life->seed, 14));

	if (!before)
		return BIRTH_WALL_MS;
	return before->wall_us / 1000 + (chance_one_in(&chance, 4) ?
	    steps_ms[chance_below(&chance, 4)] : 0);
}

/* A start writes, so on a full disk it takes the reserve. */
static bool
has_room(const struct life *life)
{
	return life->disk->bytes_max == UINT32_MAX || peek_has_reserve(life->disk);
}

bool
life_open(struct life *life, const struct clock_manual *before)
{
	struct err err = { .kind = ERR_NONE };

	life->outer = fake_enter((struct fake_process){ NULL, NULL });
	clock_manual_init(&life->clock, 1000, wall_ms_after(life, before));
	random_init_seeded(&life->random, chance_mix(life->seed, 13));
	life->hub = loop_new(&life->clock.clock, &err);
	life->worker = loop_new(&life->clock.clock, &err);
	set_settings(life);
	life->settings.hub = life->hub;
	life->queue = queue_open(&life->settings, &life->found, &err);
	if (!life->queue) {
		if (life->disk->fault_count == 0 && !life->disk->is_dead && has_room(life))
			violate(life->violation, "the start failed: %s", err.text);
		return false;
	}
	life->port = queue_port_open(life->queue, life->worker);
	return true;
}

void
life_run_reads(struct life *life)
{
	struct loop *writer = queue_writer_loop(life->queue);

	fake_pause(writer, true);
	fake_run();
	fake_pause(writer, false);
}

void
life_run(struct life *life)
{
	for (uint32_t i = 0; !life_is_over(life); i++) {
		if (!fake_step_from(chance_below(&life->steps, 8)))
			return;
		must(i < STEPS_MAX);
	}
}

void
life_run_some(struct life *life, uint32_t step_count)
{
	while (step_count-- > 0 && !life_is_over(life) &&
	    fake_step_from(chance_below(&life->steps, 8)))
		;
}

void
life_fini(struct life *life)
{
	struct ask *ask;

	life->disk->is_dead = true;
	work_let_go(life);
	if (life->queue) {
		queue_port_close(&life->port);
		queue_close(&life->queue);
	}
	while ((ask = TAILQ_FIRST(&life->asks)) != NULL) {
		TAILQ_REMOVE(&life->asks, ask, link);
		mem_free(&ask);
	}
	loop_free(&life->worker);
	loop_free(&life->hub);
	(void)fake_enter(life->outer);
}
