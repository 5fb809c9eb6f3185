#ifndef QUEUE_COMMITTER_PRIVATE_H
#define QUEUE_COMMITTER_PRIVATE_H

#include "queue/committer.h"

/* What committer.c (which decides) and committer_batch.c (which writes) share. */
enum fit {
	FIT_HERE,
	FIT_NEXT_BATCH,
	FIT_NEXT_SEGMENT,
};

/* Sets the result, and fails the stream with the job. */
void commit_report(struct commit_job *job, enum queue_result result);

struct slots_terms commit_terms(const struct committer *committer, bool for_mail);
int commit_open(struct committer *committer, bool for_mail, struct err *err);
void commit_seal(struct committer *committer, uint64_t written_end);

/*
 * Writes the footer of the open segment, before it is sealed.  One that has no
 * room for it has none.  On failure the segment is abandoned.
 */
int commit_footer(struct committer *committer);

/* Announces what was sealed, unless a job is only written in part. */
void commit_announce_sealed(struct committer *committer);

/* The open segment has no batch yet. */
bool commit_is_fresh(const struct committer *committer);

/* Whether the open segment is for such jobs. */
bool commit_job_may_use(const struct committer *committer, const struct commit_job *job);

/*
 * Writes and syncs one batch of what is pending, and reports it.  fit says why
 * it ended.  On failure the segment is abandoned.
 */
int commit_batch(struct committer *committer, enum fit *fit_out);

#endif
