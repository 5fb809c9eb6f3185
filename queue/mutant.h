#ifndef QUEUE_MUTANT_H
#define QUEUE_MUTANT_H

#include <stdbool.h>

/*
 * Deliberate durability mistakes, switched on at run time in one build of the
 * tests (queue/libqueue_mutants.a, made with -DQUEUE_MUTANTS; who links it sets
 * that too), so that the crash tests prove that they would notice.  In every
 * other build mutant() is constant false and the compiler removes it.
 * A mistake sits in the code at the place where a person would make it:
 *
 *	if (!mutant(MUTANT_NO_DIR_SYNC) && disk_sync_dir(disk, err) < 0)
 */
enum mutant {
	MUTANT_NONE,
	MUTANT_NO_DIR_SYNC,             /* a new segment's name is not made durable */
	MUTANT_NO_HEADER_SYNC,          /* a new segment is used before its header is durable */
	MUTANT_REPORT_BEFORE_SYNC,      /* a batch is reported before it is synced */
	MUTANT_NO_SYNC,                 /* a batch is never synced */
	MUTANT_NO_PAYLOAD_CHECKSUM,     /* payloads are believed */
	MUTANT_NO_HEADER_CHECKSUM,      /* record headers are believed */
	MUTANT_NO_SALT,                 /* every segment has the same salt */
	MUTANT_NO_DIGEST,               /* a body read from disk is not compared with its digest */
	MUTANT_APPEND_AFTER_TAIL,       /* a start goes on behind the last valid record */
	MUTANT_BELIEVE_SECOND_SYNC,     /* a failed sync is tried again and believed */
	MUTANT_KEEP_FAILED_SEGMENT,     /* after a failed sync the same segment is used on */
	MUTANT_NO_COPY_OF_SUSPECTS,     /* unvouched batches are not copied at start */
	MUTANT_MANIFEST_BEFORE_COPY,    /* suspects are cut off before their copy is durable */
	MUTANT_VOUCH_TOO_FAR,           /* a batch vouches for itself */
	MUTANT_MANIFEST_KEEPS_FAILED,   /* the end of a failed segment is where it was written to */
	MUTANT_FREE_BEFORE_DURABLE,     /* a slot is used again though no FREE is durable */
	MUTANT_FREE_FORGETS_MARKS,      /* marks in a freed segment are not carried forward */
	MUTANT_FREE_WITH_SURVIVORS,     /* a segment with one live message is freed */
	MUTANT_MOVE_WITHOUT_SYNC,       /* a survivor counts as moved before the move is durable */
	MUTANT_MOVE_FORGETS_CHUNK,      /* the last chunk of a survivor is not moved */
	MUTANT_MOVE_FORGETS_STATE,      /* the state of a survivor is not moved */
	MUTANT_OUTCOME_BEFORE_DURABLE,  /* an outcome is reported before it is durable */
	MUTANT_OUTCOME_NOT_RELOGGED,    /* outcomes of a failed batch are not written again */
	MUTANT_OLD_STATE_WINS,          /* of two states the one read last wins */
	MUTANT_NOTICE_APART,            /* a notification and its mark are two records */
	MUTANT_NO_RESERVE,              /* messages may use the reserve */
	MUTANT_TRUST_FOOTER,            /* an index footer is used unchecked */
	MUTANT_UNALIGNED_BATCH,         /* batches are not padded: a block is written twice */
	MUTANT_BATCH_IS_WHOLE,          /* a batch with a valid header is believed whole */
	MUTANT_TRUST_HEADER,            /* a slot's header is believed though it was freed */
	MUTANT_READ_UNPINNED,           /* a reader does not pin its segment */
	MUTANT_ID_AGAIN,                /* ids start anew after a restart */
	MUTANT_NO_IDENTITY_SYNC,        /* the file "spool" is renamed before it is durable */
	MUTANT_NO_SYNC_AT_START,        /* a start builds on names that may not be durable */
	MUTANT_NAME_HOLLOW,             /* a manifest names what may not be durable */
	MUTANT_NO_RESERVE_AT_START,     /* a start may not use the reserve */
	MUTANT_COUNT
};

/* "no-dir-sync", and what it does in a sentence.  In libqueue_mutants.a only. */
const char *mutant_name(enum mutant mutant);
const char *mutant_text(enum mutant mutant);

/* MUTANT_COUNT: no such name. */
enum mutant mutant_of_name(const char *name);

#ifdef QUEUE_MUTANTS
/* The only mistake that is on.  For a program that has one spool at a time. */
extern enum mutant mutant_on;

static inline bool
mutant(enum mutant which)
{
	return __builtin_expect(mutant_on == which, 0);
}
#else
static inline bool
mutant(enum mutant which)
{
	(void)which;
	return false;
}
#endif

#endif
