#include "mailbox/mutant.h"

#include <string.h>

#include "relay/base/must.h"

enum mailbox_mutant mailbox_mutant_on = MAILBOX_MUTANT_NONE;

static const struct {
	const char *name, *text;
} mutants[MAILBOX_MUTANT_COUNT] = {
	[MAILBOX_MUTANT_NONE] = { "none", "no mistake" },
	[MAILBOX_MUTANT_NO_INTENT_SYNC] = { "no-intent-sync",
	    "an intent is acted upon before it is durable" },
	[MAILBOX_MUTANT_NO_APPEND_SYNC] = { "no-append-sync",
	    "250 before the append is durable" },
	[MAILBOX_MUTANT_NO_NAME_SYNC] = { "no-name-sync",
	    "a new box's name is not made durable" },
	[MAILBOX_MUTANT_NO_UNDO_SYNC] = { "no-undo-sync",
	    "an undone append may come back" },
	[MAILBOX_MUTANT_BELIEVE_CACHE] = { "believe-cache",
	    "what a kill left is not made durable" },
	[MAILBOX_MUTANT_NO_CUT] = { "no-cut",
	    "torn tails are left" },
	[MAILBOX_MUTANT_CUT_ALL] = { "cut-all",
	    "whole messages before a torn one are cut" },
	[MAILBOX_MUTANT_CUT_CHANGED] = { "cut-changed",
	    "what a reader changed is taken for torn" },
	[MAILBOX_MUTANT_CUT_FOREIGN] = { "cut-foreign",
	    "what another wrote behind is cut, too" },
	[MAILBOX_MUTANT_NO_SEARCH] = { "no-search",
	    "messages are sought at their place only" },
	[MAILBOX_MUTANT_ID_IS_ENOUGH] = { "id-is-enough",
	    "a message is known by its id, without its body" },
	[MAILBOX_MUTANT_NO_GENERATION] = { "no-generation",
	    "old octets of a slot are taken for new ones" },
	[MAILBOX_MUTANT_NO_BATCH_CHECKSUM] = { "no-batch-checksum",
	    "torn batches of the journal are believed" },
	[MAILBOX_MUTANT_BELIEVE_HEADER] = { "believe-header",
	    "the newest header may be in memory only" },
	[MAILBOX_MUTANT_HEADER_FIRST] = { "header-first",
	    "a segment is live before its intents are in it" },
	[MAILBOX_MUTANT_NO_SEGMENT_NAME_SYNC] = { "no-segment-name-sync",
	    "a segment's name is not made durable" },
	[MAILBOX_MUTANT_KEYS_LOST] = { "keys-lost",
	    "a start forgets what old segments knew" },
	[MAILBOX_MUTANT_KEYS_NOT_SYNCED] = { "keys-not-synced",
	    "it does not, and does not sync it" },
	[MAILBOX_MUTANT_IGNORE_SYNC_ERROR] = { "ignore-sync-error",
	    "the journal takes a failed sync for done" },
	[MAILBOX_MUTANT_BELIEVE_SECOND_SYNC] = { "believe-second-sync",
	    "a failed sync of a box is tried again" },
	[MAILBOX_MUTANT_NO_FILE_SYNC] = { "no-file-sync",
	    "a file is renamed before it is durable" },
	[MAILBOX_MUTANT_NO_NEW_SYNC] = { "no-new-sync",
	    "250 before the name in new/ is durable" },
	[MAILBOX_MUTANT_WRITE_INTO_NEW] = { "write-into-new",
	    "a message is written in new/ itself" },
	[MAILBOX_MUTANT_LOOK_IN_NEW_ONLY] = { "look-in-new-only",
	    "what a reader moved to cur/ is not found" },
};

const char *
mailbox_mutant_name(enum mailbox_mutant mutant)
{
	must(mutant < MAILBOX_MUTANT_COUNT);
	return mutants[mutant].name;
}

const char *
mailbox_mutant_text(enum mailbox_mutant mutant)
{
	must(mutant < MAILBOX_MUTANT_COUNT);
	return mutants[mutant].text;
}

enum mailbox_mutant
mailbox_mutant_of_name(const char *name)
{
	for (int i = 0; i < MAILBOX_MUTANT_COUNT; i++)
		if (strcmp(mutants[i].name, name) == 0)
			return (enum mailbox_mutant)i;
	return MAILBOX_MUTANT_COUNT;
}
