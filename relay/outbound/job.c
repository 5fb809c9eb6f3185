#include "relay/outbound/job.h"

#include <assert.h>
#include <stdalign.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

static_assert(alignof(struct job_host) <= alignof(struct job_outcome) ||
    sizeof(struct job_outcome) % alignof(struct job_host) == 0, "hosts stand behind outcomes");

struct job *
job_new(size_t outcome_count, size_t host_count)
{
	must(outcome_count > 0 && host_count > 0 && host_count <= JOB_HOST_COUNT_MAX);

	struct job *job = mem_alloc(sizeof(*job) + outcome_count * sizeof(struct job_outcome) +
	    host_count * sizeof(struct job_host));

	job->outcome_count = outcome_count;
	job->host_count = host_count;
	job->hosts = (struct job_host *)(void *)&job->outcomes[outcome_count];
	return job;
}

void
job_free(struct job **job_pointer)
{
	struct job *job = *job_pointer;

	*job_pointer = NULL;
	if (!job)
		return;
	way_unref(&job->way);
	envelope_free(&job->envelope);
	body_release(&job->body);
	mem_free(&job);
}
