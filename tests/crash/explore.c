#include "tests/crash/explore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "tests/crash/peek.h"

enum {
	IMAGES_A_BOUNDARY = 2,
	NESTED_OPERATIONS = 8,
	SHORT_OPERATIONS = 2,
	NEST_IN = 24,                   /* one image in so many lives on */
	NEST_IN_START = 8,
	NEST_DEEPER_IN = 30,
	TWICE_IN = 8,
	SPACE_IN = 12,
	FORGED_IN = 100,
};

/* How deep a life is, and what is looked at in it. */
struct visit {
	struct explorer *explorer;
	struct life life;
	uint32_t depth, boundary;
	uint64_t seen_disk, seen_model;
	bool is_explored;               /* crashes are taken in it */
};

/* ---- paths ---------------------------------------------------------------------- */

void
path_print(const struct path *path, char text_out[PATH_TEXT_BYTES])
{
	int len = snprintf(text_out, PATH_TEXT_BYTES, "%llu/%llx", (unsigned long long)path->seed,
	    (unsigned long long)path->operations);

	for (uint32_t i = 0; i < path->depth; i++)
		len += snprintf(text_out + len, PATH_TEXT_BYTES - (size_t)len, "/%u.%u",
		    path->steps[i].boundary, path->steps[i].image);
}

bool
path_parse(struct path *path_out, const char *text)
{
	char *at;

	*path_out = (struct path){ .seed = strtoull(text, &at, 10) };
	if (at == text || *at != '/')
		return false;
	path_out->operations = strtoull(at + 1, &at, 16);
	while (*at == '/' && path_out->depth < PATH_DEPTH_MAX) {
		struct crash_step *step = &path_out->steps[path_out->depth++];

		step->boundary = (uint32_t)strtoul(at + 1, &at, 10);
		if (*at != '.')
			return false;
		step->image = (uint32_t)strtoul(at + 1, &at, 10);
	}
	return *at == '\0';
}

/* ---- one crash -------------------------------------------------------------------- */

static void visit_image(struct visit *outer, uint32_t image);
static void boundary(void *ctx);

static struct crash_choice
choose(const struct visit *visit, uint32_t image, uint64_t seed)
{
	static const enum crash_image pending[] = { IMAGE_NONE, IMAGE_ALL, IMAGE_PREFIX,
	    IMAGE_PREFIX, IMAGE_DROP_ONE, IMAGE_DROP_ONE, IMAGE_ONLY_ONE, IMAGE_SUBSET,
	    IMAGE_SUBSET, IMAGE_KILL };
	static const enum crash_image forgotten[] = { IMAGE_NONE, IMAGE_KILL, IMAGE_KILL,
	    IMAGE_KILL_EVICT };
	const struct crash_disk *disk = visit->life.disk;
	struct chance chance = chance_at(seed);
	struct crash_choice choice = { .seed = chance_u64(&chance) };
	uint32_t at = chance_below(&chance, sizeof(pending) / sizeof(pending[0]));

	if (disk->has_forgotten && (disk->pending_count == 0 || chance_one_in(&chance, 3)))
		choice.image = forgotten[at % (sizeof(forgotten) / sizeof(forgotten[0]))];
	else if (disk->pending_count == 0)
		choice.image = image == 0 ? IMAGE_NONE : IMAGE_KILL;
	else
		choice.image = pending[at];
	choice.tears = chance_one_in(&chance, 3);
	choice.garbles = chance_one_in(&chance, 4);
	choice.garbles_page = visit->life.profile == PROFILE_NO_POWER_SAFE;
	if (choice.garbles_page && chance_one_in(&chance, 2))
		choice.garbles = true;
	if (choice.garbles)
		choice.tears = false;
	return choice;
}

static void
set_faults(const struct life *life, struct crash_disk *disk)
{
	struct chance chance = chance_at(chance_mix(life->seed, 21));

	disk->faults = (struct crash_faults){ .seed = chance_u64(&chance) };
	disk->faults.short_in = chance_one_in(&chance, 2) ? 12 : 0;
	if (life->profile != PROFILE_FAULTS)
		return;
	disk->faults.sync_in = chance_one_in(&chance, 3) ? 4 : 14;
	disk->faults.write_in = chance_one_in(&chance, 3) ? 25 : 0;
	disk->faults.full_in = chance_one_in(&chance, 3) ? 25 : 0;
	disk->faults.name_in = chance_one_in(&chance, 3) ? 15 : 0;
}

/* What goes on after the start, with crashes in it. */
static void
go_on(struct visit *visit, uint32_t operation_count, uint64_t operations)
{
	struct life *life = &visit->life;

	queue_start(life->queue);
	life->is_fresh = false;
	for (uint32_t i = 0; i < operation_count && !life_is_over(life); i++) {
		if (operations & UINT64_C(1) << i)
			work_do(life, chance_mix(chance_mix(life->seed, 31), i));
		boundary(visit);
	}
	life_run(life);
	check_life(life);
	if (chance_mix(life->seed, 32) % SPACE_IN == 0 || visit->depth == 0)
		check_space(life);
}

static void
begin(struct visit *visit, const struct life *before)
{
	struct life *life = &visit->life;

	life->disk->boundary = visit->is_explored ? boundary : NULL;
	life->disk->ctx = visit;
	life->disk->is_traced = visit->explorer->is_verbose;
	if (!life_open(life, before ? &before->clock : NULL))
		return;
	life->is_fresh = true;
	check_life(life);
	if (visit->explorer->is_verbose)
		model_print(life->model);
	if (!life->violation->is_found)
		check_adopt(life);
}

static void
end(struct visit *visit)
{
	life_fini(&visit->life);
	crash_disk_fini(visit->life.disk);
}

static bool
is_replayed(const struct visit *visit)
{
	const struct path *replay = visit->explorer->replay;

	return replay && visit->depth < replay->depth;
}

/* Starts are short, and what they leave is met by the next one: more of them live on. */
static uint32_t
nest_in(const struct visit *outer)
{
	if (!outer->life.queue)
		return NEST_IN_START;
	return outer->depth == 0 ? NEST_IN : NEST_DEEPER_IN;
}

/* A state to be looked at only; it is no crash. */
static bool
forge(struct visit *visit, struct chance *chance)
{
	uint64_t id = peek_forge(visit->life.disk, chance);
	int at = id ? model_find(visit->life.model, id) : MODEL_NONE;

	if (at == MODEL_NONE)
		return false;
	visit->life.model->messages[at].is_forged = true;
	return true;
}

/* One crash of `outer`, at the boundary where it is now, and what follows from it. */
static void
visit_image(struct visit *outer, uint32_t image)
{
	struct explorer *explorer = outer->explorer;
	uint64_t seed = chance_mix(chance_mix(outer->life.seed, outer->boundary), image);
	struct crash_choice choice = choose(outer, image, seed);
	struct chance chance = chance_at(chance_mix(seed, 41));
	struct crash_disk *disk = mem_resize_array(NULL, sizeof(*disk), 1);
	struct model *model = mem_dup(outer->life.model, sizeof(*model));
	struct visit *visit = mem_alloc(sizeof(*visit));

	visit->explorer = explorer;
	visit->depth = outer->depth + 1;
	explorer->path.steps[outer->depth] = (struct crash_step){ outer->boundary, image };
	explorer->path.depth = visit->depth;
	explorer->state_count++;
	explorer->profile_counts[outer->life.profile]++;
	(void)snprintf(explorer->image, sizeof(explorer->image), "%s%s%s%s",
	    crash_image_name(choice.image), choice.tears ? " torn" : "",
	    choice.garbles ? " garbled" : "", choice.garbles_page ? " page" : "");
	if (explorer->is_verbose)
		(void)fprintf(stderr, "crash %u at boundary %u, image %u: %s\n", visit->depth,
		    outer->boundary, image, explorer->image);
	crash_disk_image(disk, outer->life.disk, &choice);
	life_init(&visit->life, chance_mix(seed, 42), outer->life.profile, disk, model,
	    &explorer->violation);
	bool is_forged = chance_one_in(&chance, FORGED_IN) && forge(visit, &chance);
	bool may_go_on = !is_forged && visit->depth < explorer->depth_max;
	bool is_nested = may_go_on && chance_one_in(&chance, nest_in(outer));
	bool is_twice = may_go_on && chance_one_in(&chance, TWICE_IN);

	visit->is_explored = is_nested || is_twice;
	if (is_nested) {
		explorer->nested_count++;
		set_faults(&visit->life, disk);
	}
	begin(visit, &outer->life);
	if (is_nested && !life_is_over(&visit->life))
		go_on(visit, NESTED_OPERATIONS, UINT64_MAX);
	else if (is_twice && !life_is_over(&visit->life))
		boundary(visit);
	end(visit);
	if (!explorer->violation.is_found)
		explorer->path.depth = outer->depth;
	mem_free(&visit);
	mem_free(&model);
	mem_free(&disk);
}

static void
replay_boundary(struct visit *visit)
{
	const struct crash_step *step = &visit->explorer->replay->steps[visit->depth];

	if (visit->boundary != step->boundary)
		return;
	visit_image(visit, step->image);
	visit->life.disk->is_dead = true;
}

/* Here crashes come, if anything is different from the last time. */
static void
boundary(void *ctx)
{
	struct visit *visit = ctx;
	struct explorer *explorer = visit->explorer;
	struct crash_disk *disk = visit->life.disk;
	uint32_t image_count = visit->depth == 0 ? IMAGES_A_BOUNDARY : 1;

	if (explorer->violation.is_found || disk->is_dead)
		return;
	visit->boundary++;
	if (is_replayed(visit)) {
		replay_boundary(visit);
		return;
	}
	if (explorer->replay ||
	    (visit->seen_disk == disk->version && visit->seen_model == visit->life.model->version))
		return;
	visit->seen_disk = disk->version;
	visit->seen_model = visit->life.model->version;
	if (disk->pending_count == 0 && !disk->has_forgotten)
		image_count = 1;
	for (uint32_t i = 0; i < image_count && !explorer->violation.is_found; i++) {
		if (explorer->state_count >= explorer->state_count_max ||
		    (explorer->stop && *explorer->stop)) {
			disk->is_dead = true;
			return;
		}
		visit_image(visit, i);
	}
}

/* One seed in four has a short life: more of them are born, and look at other things. */
static uint32_t
operation_count(uint64_t seed)
{
	return seed / PROFILE_COUNT % 4 == 3 ? SHORT_OPERATIONS : EXPLORE_OPERATIONS;
}

void
explore_seed(struct explorer *explorer, uint64_t seed, uint64_t operations)
{
	struct crash_disk *disk = mem_alloc(sizeof(*disk));
	struct model *model = mem_alloc(sizeof(*model));
	struct visit *visit = mem_alloc(sizeof(*visit));
	enum profile profile = (enum profile)(seed % PROFILE_COUNT);

	visit->explorer = explorer;
	visit->is_explored = true;
	explorer->path = (struct path){ .seed = seed, .operations = operations };
	explorer->seed_count++;
	crash_disk_init(disk);
	model_init(model);
	life_init(&visit->life, chance_mix(seed, 51), profile, disk, model,
	    &explorer->violation);
	set_faults(&visit->life, disk);
	begin(visit, NULL);
	if (!life_is_over(&visit->life))
		go_on(visit, operation_count(seed), operations);
	end(visit);
	mem_free(&visit);
	mem_free(&model);
	mem_free(&disk);
}
