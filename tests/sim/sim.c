/*
 * The whole network in one process, under virtual time, from one number.
 *
 *	sim [--from SEED] [--count N] [--jobs N] [--twice] [--verbose]
 *	sim --mutants
 *
 * Prints "ok sim ..." or "not ok sim ..." with the seeds that failed; each is run again alone with
 * --from SEED --count 1, and does the same.  --twice runs each a second time, in a process that has
 * had others before, and wants the same turns at the same times.  With --mutants it makes one
 * deliberate mistake after the other and says which seed saw it.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "queue/mutant.h"
#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/outbound/mutant.h"
#include "tests/sim/faults.h"
#include "tests/sim/letters.h"
#include "tests/sim/network.h"
#include "tests/sim/world.h"

enum {
	SECOND_US = 1000 * 1000,
	MINUTE_US = 60 * SECOND_US,
	BATCH = 20,                     /* seeds a child: bounds what crashed daemons leave */
	MUTANT_SEEDS = 2000,
	JOBS_MAX = 16,
};

static const uint64_t day_us = UINT64_C(24) * 60 * MINUTE_US;

struct options {
	uint64_t from, count, jobs;
	bool verbose, mutants, twice;
	bool quiet;                     /* failures are what is wanted */
};

enum outbound_mutant outbound_mutant_on = OUTBOUND_MUTANT_NONE;

/* What children tell their parent, in one shared line each. */
struct result {
	uint64_t seed;
	uint64_t steps, history, acknowledged, copies, notices, sent;
	struct faults_count faults;
	bool bad;
	char text[ERR_TEXT_BYTES];
};

/* ---- one seed */

static bool
all_sent(void *ctx)
{
	struct err err;

	return letters_are_sent(ctx) || faults_found_dead(&err);
}

static bool
nothing_queued(void *ctx)
{
	(void)ctx;
	return network_queued() == 0;
}

static int
live(struct letters *letters, struct err *err)
{
	uint64_t spread_us = sim_between(SECOND_US, 8 * MINUTE_US);

	if (network_begin(err) < 0)
		return -1;
	letters_begin(letters, sim_between(4, 40), spread_us);
	faults_begin(12 * (uint64_t)MINUTE_US, sim_between(2 * SECOND_US, 60 * SECOND_US));
	(void)sim_run(12 * (uint64_t)MINUTE_US, NULL, NULL);
	if (faults_found_dead(err))
		return -1;
	faults_end();
	if (faults_found_dead(err))
		return -1;
	if (!sim_run(20 * (uint64_t)MINUTE_US, all_sent, letters))
		return err_set(err, ERR_TIMEOUT, "the senders have no answer yet");
	if (!sim_run(day_us, nothing_queued, NULL))
		return err_set(err, ERR_TIMEOUT, "a day later %zu messages still wait",
		    network_queued());
	/* What is on its way back from a mailbox has settled too. */
	(void)sim_run(10 * SECOND_US, NULL, NULL);
	return 0;
}

static void
run_seed(uint64_t seed, const struct options *options, struct result *result)
{
	struct letters *letters = mem_alloc(sizeof(*letters));
	struct letters_found found = { 0 };
	struct err err = { .kind = ERR_NONE };
	struct log *log;
	struct log_ring *ring;

	memset(result, 0, sizeof(*result));
	result->seed = seed;
	sim_world_begin(&(struct sim_world_settings){ .seed = seed, .stall_per_million = 200 });
	log = log_new(&(struct log_settings){ .clock = clock_system(),
	    .fd = options->verbose ? STDERR_FILENO : open("/dev/null", O_WRONLY | O_CLOEXEC),
	    .level = options->verbose ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, .synchronous = true });
	ring = log_attach(log, "sim");
	if (live(letters, &err) < 0 || letters_check(letters, &found, &err) < 0) {
		result->bad = true;
		memcpy(result->text, err.text, sizeof(result->text));
	}
	result->steps = sim_steps();
	result->history = sim_history();
	result->sent = letters->count;
	result->acknowledged = found.acknowledged;
	result->copies = found.copies;
	result->notices = found.notices;
	result->faults = faults_counted();
	network_end();
	sim_world_end();
	log_detach(ring);
	mem_free(&letters);
}

static void
run_again(const struct options *options, struct result *result)
{
	struct result again;

	run_seed(result->seed, options, &again);
	if (result->bad || (again.history == result->history && again.steps == result->steps &&
	    again.copies == result->copies && again.bad == result->bad))
		return;
	result->bad = true;
	(void)snprintf(result->text, sizeof(result->text), "it went another way the second time:"
	    " %llu turns, then %llu", (unsigned long long)result->steps,
	    (unsigned long long)again.steps);
}

/* ---- many seeds */

static void
run_batch(const struct options *options, uint64_t from, uint64_t count, int report_fd)
{
	for (uint64_t seed = from; seed < from + count; seed++) {
		struct result result;

		run_seed(seed, options, &result);
		if (options->twice)
			run_again(options, &result);
		must(write(report_fd, &result, sizeof(result)) == sizeof(result));
		if (result.bad && options->quiet)
			break;
	}
	_exit(0);
}

struct child {
	pid_t pid;
	int fd;
	uint64_t from, count, told;
};

static bool
start_child(struct child *child, const struct options *options, uint64_t *next)
{
	uint64_t end = options->from + options->count;
	int ends[2];

	if (*next >= end)
		return false;
	child->from = *next;
	child->count = end - *next < BATCH ? end - *next : BATCH;
	child->told = 0;
	*next += child->count;
	must(pipe(ends) == 0);
	(void)fflush(NULL);
	child->pid = fork();
	must(child->pid >= 0);
	if (child->pid == 0) {
		(void)close(ends[0]);
		run_batch(options, child->from, child->count, ends[1]);
	}
	(void)close(ends[1]);
	child->fd = ends[0];
	return true;
}

struct sum {
	uint64_t seeds, bad, first_bad, steps, history, sent, acknowledged, copies, notices;
	struct faults_count faults;
	bool quiet;
};

static void
add_faults(struct faults_count *sum, const struct faults_count *more)
{
	sum->power_cuts += more->power_cuts;
	sum->crashes += more->crashes;
	sum->partitions += more->partitions;
	sum->cuts += more->cuts;
	sum->failed_syncs += more->failed_syncs;
	sum->full_disks += more->full_disks;
	sum->clock_steps += more->clock_steps;
}

static void
add_result(struct sum *sum, const struct result *result)
{
	sum->seeds++;
	sum->steps += result->steps;
	sum->history ^= result->history;
	sum->sent += result->sent;
	sum->acknowledged += result->acknowledged;
	sum->copies += result->copies;
	sum->notices += result->notices;
	add_faults(&sum->faults, &result->faults);
	if (result->bad && (sum->bad++ == 0 || result->seed < sum->first_bad))
		sum->first_bad = result->seed;
	if (result->bad && !sum->quiet) {
		(void)printf("seed %llu: %s (again: --from %llu --count 1 --verbose)\n",
		    (unsigned long long)result->seed, result->text,
		    (unsigned long long)result->seed);
	}
}

/* Reads what the child has to tell; one that dies took the seed it was at with it. */
static void
hear_child(struct child *child, struct sum *sum)
{
	struct result result;
	int status;

	while (read(child->fd, &result, sizeof(result)) == (ssize_t)sizeof(result)) {
		child->told++;
		add_result(sum, &result);
	}
	(void)close(child->fd);
	must(waitpid(child->pid, &status, 0) == child->pid);
	if (child->told == child->count || (sum->quiet && sum->bad > 0))
		return;
	memset(&result, 0, sizeof(result));
	result.bad = true;
	result.seed = child->from + child->told;
	(void)snprintf(result.text, sizeof(result.text), "the process died (status %d)", status);
	add_result(sum, &result);
}

/* Ends early when failures are wanted and one is there. */
static void
run_seeds(const struct options *options, struct sum *sum)
{
	struct child children[JOBS_MAX];
	uint64_t next = options->from;
	size_t running = 0;

	while (running < options->jobs && start_child(&children[running], options, &next))
		running++;
	while (running > 0) {
		struct child child = children[0];

		running--;
		memmove(children, children + 1, running * sizeof(children[0]));
		hear_child(&child, sum);
		if (sum->quiet && sum->bad > 0)
			continue;
		/* A death leaves the rest of its batch to the next one. */
		if (child.told + 1 < child.count) {
			struct options rest = *options;
			uint64_t from = child.from + child.told + 1;

			rest.from = from;
			rest.count = child.count - child.told - 1;
			if (start_child(&children[running], &rest, &from))
				running++;
		} else if (start_child(&children[running], options, &next)) {
			running++;
		}
	}
}

static int
run_all(const struct options *options)
{
	struct sum sum = { 0 };

	run_seeds(options, &sum);
	(void)printf("%s sim %llu seeds: %llu letters, %llu acknowledged, %llu copies, "
	    "%llu notifications, %llu turns, history %016llx, %llu seeds bad\n",
	    sum.bad || sum.seeds == 0 ? "not ok" : "ok", (unsigned long long)sum.seeds,
	    (unsigned long long)sum.sent, (unsigned long long)sum.acknowledged,
	    (unsigned long long)sum.copies, (unsigned long long)sum.notices,
	    (unsigned long long)sum.steps, (unsigned long long)sum.history,
	    (unsigned long long)sum.bad);
	(void)printf("  faults: %u power cuts, %u crashes, %u partitions, %u connections cut, "
	    "%u failed syncs, %u full disks, %u steps of clocks\n", sum.faults.power_cuts,
	    sum.faults.crashes, sum.faults.partitions, sum.faults.cuts, sum.faults.failed_syncs,
	    sum.faults.full_disks, sum.faults.clock_steps);
	return sum.bad ? 1 : 0;
}

static int
run_mutants(const struct options *given)
{
	static const struct {
		const char *name;
		enum mutant queue;
		enum outbound_mutant outbound;
	} mistakes[] = {
		{ "acknowledge-before-sync", MUTANT_REPORT_BEFORE_SYNC, OUTBOUND_MUTANT_NONE },
		{ "mark-before-reply", MUTANT_NONE, OUTBOUND_MUTANT_MARK_BEFORE_REPLY },
		{ "notice-without-mark", MUTANT_NONE, OUTBOUND_MUTANT_NOTICE_WITHOUT_MARK },
		{ "retry-forgets-recipient", MUTANT_NONE, OUTBOUND_MUTANT_FORGET_RCPT },
	};
	struct options options = *given;
	int status = 0;

	options.count = MUTANT_SEEDS;
	options.quiet = true;
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++) {
		struct sum sum = { .quiet = true };

		mutant_on = mistakes[i].queue;
		outbound_mutant_on = mistakes[i].outbound;
		run_seeds(&options, &sum);
		if (sum.bad > 0)
			(void)printf("ok sim-mutant %s: seen by seed %llu\n", mistakes[i].name,
			    (unsigned long long)sum.first_bad);
		else
			(void)printf("not ok sim-mutant %s: not seen by %llu seeds\n",
			    mistakes[i].name, (unsigned long long)sum.seeds);
		status |= sum.bad == 0;
	}
	return status;
}

static bool
parse_arguments(int argc, char **argv, struct options *options)
{
	for (int i = 1; i < argc; i++) {
		uint64_t *number = strcmp(argv[i], "--from") == 0 ? &options->from
		    : strcmp(argv[i], "--count") == 0 ? &options->count
		    : strcmp(argv[i], "--jobs") == 0 ? &options->jobs : NULL;

		if (strcmp(argv[i], "--verbose") == 0)
			options->verbose = true;
		else if (strcmp(argv[i], "--mutants") == 0)
			options->mutants = true;
		else if (strcmp(argv[i], "--twice") == 0)
			options->twice = true;
		else if (!number || i + 1 == argc ||
		    !span_parse_u64(span_from_cstr(argv[++i]), UINT64_MAX / 2, number))
			return false;
	}
	return options->jobs > 0 && options->jobs <= JOBS_MAX;
}

int
main(int argc, char **argv)
{
	struct options options = { .from = 1, .count = 100, .jobs = 2 };
	struct err err;
	int status;

	if (!parse_arguments(argc, argv, &options)) {
		(void)fprintf(stderr, "usage: sim [--from SEED] [--count N] [--jobs N]"
		    " [--twice] [--verbose] [--mutants]\n");
		return 64;
	}
	if (network_prepare(&err) < 0) {
		(void)fprintf(stderr, "sim: %s\n", err.text);
		return 1;
	}
	status = options.mutants ? run_mutants(&options) : run_all(&options);
	network_clean_up();
	return status;
}
