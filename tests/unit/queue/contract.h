#ifndef TESTS_UNIT_QUEUE_CONTRACT_H
#define TESTS_UNIT_QUEUE_CONTRACT_H

#include "queue/queue.h"

/*
 * What queue.h promises, as tests that any backend must pass: the log, one in
 * memory that delays, reorders and fails, and whatever comes later.  A backend
 * gives the suite a factory; the loops are real ones, run by the suite.
 */
struct contract_factory {
	const char *name;

	/* A place for one queue, empty; and the end of it. */
	void *(*make)(void);
	void (*destroy)(void *place);

	/* Opens the queue at the place; again after a close, with what is in it. */
	struct queue *(*open)(void *place, const struct queue_settings *settings,
	    struct err *err);

	/* The outcome of the next thing that is written is not known. */
	void (*make_unknown)(void *place);

	/* From now on there is no room, or there is again. */
	void (*set_full)(void *place, bool full);
};

/* Runs them all; the exit status of the test program. */
int contract_run(const struct contract_factory *factory);

#endif
