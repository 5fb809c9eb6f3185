/*
 * Deliberate mistakes in what keeps mail over crashes, switched on at run time in one build of the
 * tests (mailbox/libmailbox_mutants.a, made with -DMAILBOX_MUTANTS; who links it sets that too), so
 * that the crash test proves that it would notice.  In every other build mailbox_mutant() is
 * constant false and the compiler removes it.
 */
#ifndef MAILBOX_MUTANT_H
#define MAILBOX_MUTANT_H

#include <stdbool.h>

enum mailbox_mutant {
	MAILBOX_MUTANT_NONE,
	MAILBOX_MUTANT_NO_INTENT_SYNC,        /* an intent is acted upon before it is durable */
	MAILBOX_MUTANT_NO_APPEND_SYNC,        /* 250 before the append is durable */
	MAILBOX_MUTANT_NO_NAME_SYNC,          /* a new box's name is not made durable */
	MAILBOX_MUTANT_NO_UNDO_SYNC,          /* an undone append may come back */
	MAILBOX_MUTANT_BELIEVE_CACHE,         /* what a kill left is not made durable */
	MAILBOX_MUTANT_NO_CUT,                /* torn tails are left */
	MAILBOX_MUTANT_CUT_ALL,               /* whole messages before a torn one are cut */
	MAILBOX_MUTANT_CUT_CHANGED,           /* what a reader changed is taken for torn */
	MAILBOX_MUTANT_CUT_FOREIGN,           /* what another wrote behind is cut, too */
	MAILBOX_MUTANT_NO_SEARCH,             /* messages are sought at their place only */
	MAILBOX_MUTANT_ID_IS_ENOUGH,          /* a message is known by its id, without its body */
	MAILBOX_MUTANT_NO_GENERATION,         /* old octets of a slot are taken for new ones */
	MAILBOX_MUTANT_NO_BATCH_CHECKSUM,     /* torn batches of the journal are believed */
	MAILBOX_MUTANT_BELIEVE_HEADER,        /* the newest header may be in memory only */
	MAILBOX_MUTANT_HEADER_FIRST,          /* a segment is live before its intents are in it */
	MAILBOX_MUTANT_NO_SEGMENT_NAME_SYNC,  /* a segment's name is not made durable */
	MAILBOX_MUTANT_KEYS_LOST,             /* a start forgets what old segments knew */
	MAILBOX_MUTANT_KEYS_NOT_SYNCED,       /* it does not, and does not sync it */
	MAILBOX_MUTANT_IGNORE_SYNC_ERROR,     /* the journal takes a failed sync for done */
	MAILBOX_MUTANT_BELIEVE_SECOND_SYNC,   /* a failed sync of a box is tried again */
	MAILBOX_MUTANT_NO_FILE_SYNC,          /* a file is renamed before it is durable */
	MAILBOX_MUTANT_NO_NEW_SYNC,           /* 250 before the name in new/ is durable */
	MAILBOX_MUTANT_WRITE_INTO_NEW,        /* a message is written in new/ itself */
	MAILBOX_MUTANT_LOOK_IN_NEW_ONLY,      /* what a reader moved to cur/ is not found */
	MAILBOX_MUTANT_COUNT
};

/* "no-name-sync", and what it does in a sentence.  In libmailbox_mutants.a only. */
const char *mailbox_mutant_name(enum mailbox_mutant mutant);
const char *mailbox_mutant_text(enum mailbox_mutant mutant);

/* MAILBOX_MUTANT_COUNT: no such name. */
enum mailbox_mutant mailbox_mutant_of_name(const char *name);

#ifdef MAILBOX_MUTANTS
/* The only mistake that is on. */
extern enum mailbox_mutant mailbox_mutant_on;

static inline bool
mailbox_mutant(enum mailbox_mutant which)
{
	return __builtin_expect(mailbox_mutant_on == which, 0);
}
#else
static inline bool
mailbox_mutant(enum mailbox_mutant which)
{
	(void)which;
	return false;
}
#endif

#endif
