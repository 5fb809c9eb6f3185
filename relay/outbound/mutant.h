#ifndef RELAY_OUTBOUND_MUTANT_H
#define RELAY_OUTBOUND_MUTANT_H

#include <stdbool.h>

/*
 * Deliberate mistakes about outcomes, switched on at run time in the simulation alone (tests/sim
 * compiles the files that ask with -DOUTBOUND_MUTANTS), so that it proves that it would notice.
 * Everywhere else outbound_mutant() is constant false.
 */
enum outbound_mutant {
	OUTBOUND_MUTANT_NONE,
	OUTBOUND_MUTANT_MARK_BEFORE_REPLY,      /* sent to the final dot counts as delivered */
	OUTBOUND_MUTANT_NOTICE_WITHOUT_MARK,    /* the sender is told, nothing is marked */
	OUTBOUND_MUTANT_FORGET_RCPT,            /* a retry does not have the last recipient */
	OUTBOUND_MUTANT_COUNT
};

#ifdef OUTBOUND_MUTANTS
/* The only mistake that is on. */
extern enum outbound_mutant outbound_mutant_on;

static inline bool
outbound_mutant(enum outbound_mutant which)
{
	return outbound_mutant_on == which;
}
#else
static inline bool
outbound_mutant(enum outbound_mutant which)
{
	(void)which;
	return false;
}
#endif

#endif
