#include "tests/crash/jobs.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay/base/must.h"

enum {
	SEED_SECONDS_MAX = 900,         /* a seed takes seconds; more means that it never ends */
	SHRINK_STATES_MAX = 60 * 1000,
};

/* What the jobs and their parent see together. */
struct board {
	volatile bool stop;
	struct explorer explorers[JOBS_MAX];
};

static struct board *
board_new(void)
{
	void *memory = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE,
	    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	must(memory != MAP_FAILED);
	return memory;
}

static _Noreturn void
work(struct board *board, const struct search *search, uint32_t job)
{
	struct explorer *explorer = &board->explorers[job];

	for (uint64_t seed = search->seed + job; !explorer->violation.is_found && !board->stop &&
	    explorer->state_count < explorer->state_count_max; seed += search->job_count) {
		(void)alarm(SEED_SECONDS_MAX);
		explore_seed(explorer, seed, search->operations);
		if (search->is_one_seed)
			break;
	}
	if (explorer->violation.is_found)
		board->stop = true;
	_exit(0);
}

static pid_t
start(struct board *board, const struct search *search, uint32_t job)
{
	struct explorer *explorer = &board->explorers[job];

	explorer->state_count_max = search->state_count_max / search->job_count;
	explorer->depth_max = search->depth_max;
	explorer->stop = &board->stop;
	(void)fflush(NULL);
	pid_t pid = fork();

	must(pid >= 0);
	if (pid == 0)
		work(board, search, job);
	return pid;
}

static void
take(struct found *found, const struct explorer *explorer)
{
	found->state_count += explorer->state_count;
	found->seed_count += explorer->seed_count;
	found->nested_count += explorer->nested_count;
	for (int i = 0; i < PROFILE_COUNT; i++)
		found->profile_counts[i] += explorer->profile_counts[i];
	if (!explorer->violation.is_found || found->is_found)
		return;
	found->is_found = true;
	memcpy(found->text, explorer->violation.text, sizeof(found->text));
	memcpy(found->image, explorer->image, sizeof(found->image));
	found->path = explorer->path;
}

/* A job that dies took its reason with it; where it was it has written down. */
static void
take_death(struct explorer *explorer, int status)
{
	struct violation *violation = &explorer->violation;

	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return;
	violation->is_found = true;
	(void)snprintf(violation->text, sizeof(violation->text), "the queue %s (%s)",
	    WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "never ends" : "aborts",
	    WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "it ended the process");
}

void
search_run(const struct search *search, struct found *found_out)
{
	struct board *board = board_new();
	pid_t pids[JOBS_MAX];

	must(search->job_count > 0 && search->job_count <= JOBS_MAX);
	*found_out = (struct found){ .is_found = false };
	for (uint32_t i = 0; i < search->job_count; i++)
		pids[i] = start(board, search, i);
	for (uint32_t left = search->job_count; left > 0; left--) {
		int status;
		pid_t pid = wait(&status);

		must(pid > 0);
		for (uint32_t i = 0; i < search->job_count; i++) {
			if (pids[i] == pid)
				take_death(&board->explorers[i], status);
			if (board->explorers[i].violation.is_found)
				board->stop = true;
		}
	}
	for (uint32_t i = 0; i < search->job_count; i++)
		take(found_out, &board->explorers[i]);
	(void)munmap(board, sizeof(*board));
}

/* ---- small ones ------------------------------------------------------------------ */

static bool
still_fails(struct found *found, uint64_t operations, uint32_t depth)
{
	struct search search = {
		.seed = found->path.seed,
		.operations = operations,
		.is_one_seed = true,
		.state_count_max = SHRINK_STATES_MAX,
		.job_count = 1,
		.depth_max = depth,
	};
	struct found next;

	search_run(&search, &next);
	if (next.is_found)
		*found = next;
	return next.is_found;
}

void
search_shrink(struct found *found)
{
	uint32_t depth = 1;

	while (depth < found->path.depth && !still_fails(found, found->path.operations, depth))
		depth++;
	uint64_t kept = found->path.operations & ((UINT64_C(1) << EXPLORE_OPERATIONS) - 1);

	for (uint32_t width = 16; width > 0; width /= 2) {
		for (uint32_t at = 0; at < EXPLORE_OPERATIONS; at += width) {
			uint64_t part = ((UINT64_C(1) << width) - 1) << at;

			if ((kept & part) != 0 && still_fails(found, kept & ~part, depth))
				kept &= ~part;
		}
	}
}
