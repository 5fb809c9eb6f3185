/*
 * The crash explorer: see tests/crash/README.md.
 *
 *	crash [--seed N] [--states N] [--jobs N] [--mutant NAME] [--shrink]
 *	crash --replay PATH [--mutant NAME] [--verbose]
 *	crash --mutants all|rotation [--rotation N] [--states N] [--jobs N]
 *	crash --list
 */
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "queue/mutant.h"
#include "relay/base/clock.h"
#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "tests/crash/jobs.h"

enum {
	STATES = 1000 * 1000,
	MUTANT_STATES = 2 * 1000 * 1000,
	MUTANTS_A_RUN = 4,
	DAY_MS = 24 * 3600 * 1000,
};

struct options {
	uint64_t seed, states, jobs, rotation;
	const char *replay, *mutants, *mutant;
	bool shrinks, lists, is_verbose;
};

#define NUMBER(value) (unsigned long long)(value)

static void
print_found(const struct found *found)
{
	char text[PATH_TEXT_BYTES], mutant[64] = "";

	path_print(&found->path, text);
	if (mutant_on != MUTANT_NONE)
		(void)snprintf(mutant, sizeof(mutant), " --mutant %s", mutant_name(mutant_on));
	(void)printf("  %s\n  last crash: %s\n  again: tests/crash/crash --replay %s%s --verbose\n",
	    found->text, found->image, text, mutant);
}

static int
explore(const struct options *options)
{
	struct search search = {
		.seed = options->seed,
		.operations = UINT64_MAX,
		.state_count_max = options->states ? options->states : STATES,
		.job_count = (uint32_t)options->jobs,
		.depth_max = PATH_DEPTH_MAX,
	};
	struct found found;

	search_run(&search, &found);
	/* Whoever looks at less than was asked for must not be content. */
	bool is_short = !found.is_found &&
	    found.state_count < search.state_count_max / search.job_count * search.job_count;

	for (int i = 0; i < PROFILE_COUNT; i++) {
		bool is_bad = found.is_found && found.path.seed % PROFILE_COUNT == (uint64_t)i;

		(void)printf("%s crash/%s %llu states\n", is_bad ? "not ok" : "ok",
		    profile_name((enum profile)i), NUMBER(found.profile_counts[i]));
		if (is_bad)
			print_found(&found);
	}
	(void)printf("%s%llu states of %llu seeds, %llu of them lived on\n",
	    is_short ? "not ok crash/count " : "", NUMBER(found.state_count),
	    NUMBER(found.seed_count), NUMBER(found.nested_count));
	if (found.is_found && options->shrinks) {
		(void)printf("made small:\n");
		search_shrink(&found);
		print_found(&found);
	}
	return found.is_found || is_short ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int
replay(const struct options *options)
{
	struct explorer *explorer;
	struct path path;

	if (!path_parse(&path, options->replay))
		return EX_USAGE;
	explorer = mem_alloc(sizeof(*explorer));
	explorer->state_count_max = UINT64_MAX;
	explorer->depth_max = PATH_DEPTH_MAX;
	explorer->replay = &path;
	explorer->is_verbose = options->is_verbose;
	explore_seed(explorer, path.seed, path.operations);
	bool is_found = explorer->violation.is_found;

	(void)printf("%s\n", is_found ? explorer->violation.text : "nothing is wrong here");
	mem_free(&explorer);
	return is_found ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* ---- mistakes --------------------------------------------------------------------- */

static bool
catch_mutant(const struct options *options, enum mutant mutant)
{
	struct search search = {
		.seed = options->seed,
		.operations = UINT64_MAX,
		.state_count_max = options->states ? options->states : MUTANT_STATES,
		.job_count = (uint32_t)options->jobs,
		.depth_max = PATH_DEPTH_MAX,
	};
	struct found found;

	mutant_on = mutant;
	search_run(&search, &found);
	(void)printf("%s crash-mutant/%s %s after %llu states: %s\n",
	    found.is_found ? "ok" : "not ok", mutant_name(mutant),
	    found.is_found ? "caught" : "not caught", NUMBER(found.state_count),
	    mutant_text(mutant));
	if (found.is_found)
		print_found(&found);
	(void)fflush(stdout);
	mutant_on = MUTANT_NONE;
	return found.is_found;
}

static int
catch_mutants(const struct options *options)
{
	uint64_t count = MUTANT_COUNT - 1, first = 0;
	bool all_caught = true;

	if (strcmp(options->mutants, "rotation") == 0) {
		first = options->rotation * MUTANTS_A_RUN;
		count = MUTANTS_A_RUN;
		(void)printf("rotation %llu: %llu of %u mistakes\n", NUMBER(options->rotation),
		    NUMBER(count), MUTANT_COUNT - 1);
	}
	for (uint64_t i = 0; i < count; i++)
		all_caught &= catch_mutant(options,
		    (enum mutant)(1 + (first + i) % (MUTANT_COUNT - 1)));
	return all_caught ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int
list_mutants(void)
{
	for (unsigned int i = 1; i < MUTANT_COUNT; i++)
		(void)printf("%s: %s\n", mutant_name((enum mutant)i), mutant_text((enum mutant)i));
	return EXIT_SUCCESS;
}

/* ---- the command line --------------------------------------------------------------- */

static bool
parse_flag(struct options *options, const char *name)
{
	bool *flag = strcmp(name, "--shrink") == 0 ? &options->shrinks :
	    strcmp(name, "--list") == 0 ? &options->lists :
	    strcmp(name, "--verbose") == 0 ? &options->is_verbose : NULL;

	if (flag)
		*flag = true;
	return flag != NULL;
}

static bool
parse_value(struct options *options, const char *name, const char *value)
{
	uint64_t *number = strcmp(name, "--seed") == 0 ? &options->seed :
	    strcmp(name, "--states") == 0 ? &options->states :
	    strcmp(name, "--jobs") == 0 ? &options->jobs :
	    strcmp(name, "--rotation") == 0 ? &options->rotation : NULL;
	const char **text = strcmp(name, "--replay") == 0 ? &options->replay :
	    strcmp(name, "--mutants") == 0 ? &options->mutants :
	    strcmp(name, "--mutant") == 0 ? &options->mutant : NULL;

	if (text)
		*text = value;
	return text || (number && span_parse_u64(span_from_cstr(value), UINT64_MAX / 2, number));
}

static bool
parse_arguments(int argc, char **argv, struct options *options)
{
	for (int i = 1; i < argc; i++) {
		if (parse_flag(options, argv[i]))
			continue;
		if (i + 1 == argc || !parse_value(options, argv[i], argv[i + 1]))
			return false;
		i++;
	}
	if (options->mutant && mutant_of_name(options->mutant) == MUTANT_COUNT)
		return false;
	return options->jobs > 0 && options->jobs <= JOBS_MAX;
}

/* What the queue has to say is of interest to nobody but who replays a state. */
static void
open_log(bool is_verbose)
{
	struct log_settings settings = {
		.clock = clock_system(),
		.fd = is_verbose ? STDERR_FILENO : open("/dev/null", O_WRONLY | O_CLOEXEC),
		.level = is_verbose ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR,
		.synchronous = true,
		.without_time = true,
	};

	(void)log_attach(log_new(&settings), NULL);
}

int
main(int argc, char **argv)
{
	struct options options = {
		.jobs = 2,
		.rotation = (uint64_t)(clock_wall_ms(clock_system()) / DAY_MS),
	};

	if (!parse_arguments(argc, argv, &options)) {
		(void)fprintf(stderr, "usage: crash [--seed N] [--states N] [--jobs N]"
		    " [--mutant NAME] [--shrink]\n"
		    "       crash --replay PATH [--mutant NAME] [--verbose]\n"
		    "       crash --mutants all|rotation [--rotation N]\n"
		    "       crash --list\n");
		return EX_USAGE;
	}
	/* Large pieces of memory come back as zeros without being touched. */
	(void)mallopt(M_MMAP_THRESHOLD, 128 << 10);
	(void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
	open_log(options.is_verbose);
	if (options.mutant)
		mutant_on = mutant_of_name(options.mutant);
	if (options.lists)
		return list_mutants();
	if (options.replay)
		return replay(&options);
	return options.mutants ? catch_mutants(&options) : explore(&options);
}
