/*
 * Crashes at every operation of the disk: journal, mboxes and a Maildir on a file system that
 * forgets (sim_fs.h).
 *
 * A life is a number of deliveries, batches of one to three messages to one of three boxes, with
 * readers and another program at the boxes in between.  Before every operation that changes the
 * disk an image is made as a power cut or a kill would leave it; from the image a new life
 * recovers, is judged (judge.c), and now and then goes on for a while, to crash again, also in the
 * midst of its recovery.  An image that was judged is a state.
 *
 * Everything is a function of the seed, so that a failure comes again.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "mailbox/mutant.h"
#include "relay/base/clock.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "tests/crash/mailbox/life.h"

enum {
	DEPTH_MAX = 3,                  /* crashes behind each other */
	STARTS_MAX = 50,                /* on a disk that fails */
	DELIVERIES = 12,                /* of a first life */
	MUTANTS_A_RUN = 4,
	DAY_MS = 24 * 60 * 60 * 1000,
};

struct options {
	uint64_t states, seed, one_seed, first_mutant;
	bool mutants, all_mutants, tells;
	const char *mutant;             /* only this one */
};

bool
life_is_over(const struct life *life)
{
	return life->tally->wrong[0] != '\0' || life->tally->states >= life->tally->states_max;
}

bool
life_chance(struct life *life, unsigned one_in)
{
	return random_below(life->random, one_in) == 0;
}

void
life_violated(struct life *life, const char *format, ...)
{
	va_list args;

	if (life->tally->wrong[0] != '\0')
		return;
	va_start(args, format);
	(void)vsnprintf(life->tally->wrong, sizeof(life->tally->wrong), format, args);
	va_end(args);
}

void
life_tell(const struct life *life, const char *format, ...)
{
	va_list args;

	if (!life->tally->tells)
		return;
	va_start(args, format);
	(void)printf("%*s%" PRIu64 ": ", (int)(2 * life->depth), "", life->tally->states);
	(void)vprintf(format, args);
	(void)printf("\n");
	va_end(args);
}

/* ---------------------------------------------------------------------------- lives */

static void live(struct life *life, size_t deliveries);
static void crash_here(void *ctx);

/* Others come to the boxes before the node is started again. */
static void
let_others_in(struct life *life)
{
	life->was_touched = true;
	for (size_t box = 0; box < LIFE_BOXES; box++) {
		if (life_chance(life, 2))
			life_append_foreign(life, box);
		else
			life_read_and_change(life, box);
	}
}

static bool
start(struct life *life)
{
	for (unsigned tries = 0; tries < STARTS_MAX; tries++)
		if (life_start(life))
			return true;
	life_violated(life, "the node does not start");
	return false;
}

/* What a crash at this moment would come to. */
static void
live_on(const struct life *before, enum sim_crash how)
{
	struct life *life = mem_alloc(sizeof(*life));

	*life = *before;
	life->journal = NULL;
	life->depth = before->depth + 1;
	life->was_killed = how == SIM_KILL;
	life->in_image = false;
	life->fs = sim_fs_image(before->fs, how, life->random);
	life->tally->states++;
	life_tell(life, "%s", how == SIM_POWER ? "power cut" : "kill");
	if (life_chance(life, 6))
		let_others_in(life);
	if (life->depth < DEPTH_MAX)
		sim_fs_set_hook(life->fs, crash_here, life);
	if (start(life)) {
		life_judge(life);
		if (life->depth < DEPTH_MAX && life_chance(life, 8))
			live(life, 2);
		mbox_journal_close(&life->journal);
	}
	sim_fs_free(&life->fs);
	mem_free(&life);
}

static void
crash_here(void *ctx)
{
	struct life *life = ctx;
	/*
	 * The deeper, the rarer, or it would never end; but a start behind a kill sees what only
	 * the memory has, and a power cut in the midst of it takes that away.
	 */
	unsigned one_in = life->depth == 0 ? 1
			: life->depth > 1 ? 400
			: life->was_killed ? 6 : 40;

	if (life->in_image || life_is_over(life) || !life_chance(life, one_in))
		return;
	life->in_image = true;
	live_on(life, SIM_POWER);
	if (life_chance(life, 4))
		live_on(life, SIM_KILL);
	life->in_image = false;
}

static void
live(struct life *life, size_t deliveries)
{
	for (size_t i = 0; i < deliveries && !life_is_over(life); i++) {
		struct err err;

		if (life->fact_count + LIFE_BATCH_MAX > LIFE_MESSAGES_MAX)
			return;
		if (!life_deliver(life)) {
			mbox_journal_close(&life->journal);
			if (!start(life))
				return;
		}
		if (life_chance(life, 4))
			(void)mbox_journal_flush(life->journal, &err);
		if (life_chance(life, 6)) {
			mbox_journal_close(&life->journal);
			if (!start(life))
				return;
		}
		if (life_chance(life, 6))
			life_read_and_change(life, (size_t)random_below(life->random, LIFE_BOXES));
		if (life_chance(life, 8))
			life_append_foreign(life, (size_t)random_below(life->random, LIFE_BOXES));
	}
}

/* Every third seed has a disk on which syncs fail. */
static void
live_from_seed(struct tally *tally, uint64_t seed)
{
	struct life *life = mem_alloc(sizeof(*life));
	struct random_seeded random;
	struct arena texts;

	arena_init(&texts, 0);
	random_init_seeded(&random, seed);
	life->tally = tally;
	life->texts = &texts;
	life->random = &random.random;
	life->fs = sim_fs_new(life->random);
	if (seed % 3 == 0)
		sim_fs_set_sync_failures(life->fs, 20);
	if (start(life)) {
		sim_fs_set_hook(life->fs, crash_here, life);
		live(life, DELIVERIES);
		mbox_journal_close(&life->journal);
	}
	arena_fini(&texts);
	sim_fs_free(&life->fs);
	mem_free(&life);
}

/* So many states, or until something is wrong; returns the seed that came last. */
static uint64_t
explore(struct tally *tally, uint64_t states, uint64_t seed)
{
	*tally = (struct tally){ .states_max = states };
	while (tally->wrong[0] == '\0' && tally->states < states)
		live_from_seed(tally, seed++);
	return seed - 1;
}

/* ----------------------------------------------------------------------------- runs */

static bool
run_states(const struct options *options)
{
	struct tally tally;
	uint64_t last = explore(&tally, options->states, options->seed);
	bool good = tally.wrong[0] == '\0';

	/* A run that never saw one of these has tested less than it says. */
	if (good && (tally.cut == 0 || tally.left == 0 || tally.searched == 0 ||
		     tally.maildir_found == 0)) {
		(void)snprintf(tally.wrong, sizeof(tally.wrong), "a way of repair was never taken");
		good = false;
	}
	(void)printf("%s crash_mailbox (%" PRIu64 " states, seeds %" PRIu64 " to %" PRIu64 ": %"
		     PRIu64 " torn tails cut off, %" PRIu64 " left, %" PRIu64
		     " found elsewhere, %" PRIu64 " in a Maildir)\n",
		     good ? "ok" : "not ok", tally.states, options->seed, last, tally.cut,
		     tally.left, tally.searched, tally.maildir_found);
	if (!good)
		(void)printf("  seed %" PRIu64 ", state %" PRIu64 ": %s\n  again: --replay %" PRIu64
			     "\n", last, tally.states, tally.wrong, last);
	return good;
}

/* One seed alone, whole. */
static bool
replay(uint64_t seed, bool tells)
{
	struct tally tally = { .states_max = UINT64_MAX, .tells = tells };

	live_from_seed(&tally, seed);
	(void)printf("%s crash_mailbox seed %" PRIu64 " (%" PRIu64 " states)%s%s\n",
		     tally.wrong[0] == '\0' ? "ok" : "not ok", seed, tally.states,
		     tally.wrong[0] == '\0' ? "" : ": ", tally.wrong);
	return tally.wrong[0] == '\0';
}

static bool
catch_mutant(enum mailbox_mutant mutant, const struct options *options)
{
	struct tally tally;

	mailbox_mutant_on = mutant;
	(void)explore(&tally, options->states, options->seed);
	mailbox_mutant_on = MAILBOX_MUTANT_NONE;
	(void)printf("%s crash_mailbox_mutant %s after %" PRIu64 " states: %s (%s)\n",
		     tally.wrong[0] != '\0' ? "ok" : "not ok", mailbox_mutant_name(mutant),
		     tally.states, tally.wrong[0] != '\0' ? tally.wrong : "not seen",
		     mailbox_mutant_text(mutant));
	(void)fflush(stdout);
	return tally.wrong[0] != '\0';
}

static bool
catch_mutants(const struct options *options)
{
	const uint64_t count = MAILBOX_MUTANT_COUNT - 1;
	uint64_t runs = options->all_mutants ? count : MUTANTS_A_RUN;
	bool good = true;

	for (uint64_t i = 0; i < runs; i++) {
		uint64_t which = (options->first_mutant + i) % count;

		good = catch_mutant((enum mailbox_mutant)(which + 1), options) && good;
	}
	return good;
}

/* ------------------------------------------------------------------------- arguments */

static bool
parse_arguments(int argc, char **argv, struct options *options)
{
	for (int i = 1; i < argc; i++) {
		uint64_t *number = strcmp(argv[i], "--states") == 0 ? &options->states
				 : strcmp(argv[i], "--seed") == 0 ? &options->seed
				 : strcmp(argv[i], "--replay") == 0 ? &options->one_seed
				 : strcmp(argv[i], "--first") == 0 ? &options->first_mutant : NULL;

		if (strcmp(argv[i], "--mutants") == 0)
			options->mutants = true;
		else if (strcmp(argv[i], "--tell") == 0)
			options->tells = true;
		else if (strcmp(argv[i], "--mutants-all") == 0)
			options->mutants = options->all_mutants = true;
		else if (strcmp(argv[i], "--mutant") == 0 && i + 1 < argc)
			options->mutant = argv[++i];
		else if (number == NULL || i + 1 == argc ||
			 !span_parse_u64(span_from_cstr(argv[++i]), UINT64_MAX / 2, number))
			return false;
	}
	return true;
}

static bool
run(const struct options *options)
{
	enum mailbox_mutant mutant = MAILBOX_MUTANT_NONE;

	if (options->mutant != NULL) {
		mutant = mailbox_mutant_of_name(options->mutant);
		if (mutant == MAILBOX_MUTANT_COUNT || mutant == MAILBOX_MUTANT_NONE) {
			(void)fprintf(stderr, "crash: there is no mistake %s\n", options->mutant);
			return false;
		}
		if (options->one_seed == 0)
			return catch_mutant(mutant, options);
	}
	mailbox_mutant_on = mutant;
	if (options->one_seed != 0)
		return replay(options->one_seed, options->tells);
	return options->mutants ? catch_mutants(options) : run_states(options);
}

int
main(int argc, char **argv)
{
	struct options options = {
		.states = 300000,
		.seed = 1,
		/* Other ones every day. */
		.first_mutant = (uint64_t)(clock_wall_ms(clock_system()) / DAY_MS) * MUTANTS_A_RUN,
	};

	if (!parse_arguments(argc, argv, &options)) {
		(void)fprintf(stderr, "usage: crash [--states N] [--seed SEED]"
			      " [--replay SEED] [--tell] [--mutant NAME]"
			      " [--mutants [--first N]] [--mutants-all]\n");
		return 64;
	}
	return run(&options) ? 0 : 1;
}
