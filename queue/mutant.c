#include "queue/mutant.h"

#include <string.h>

#include "relay/base/must.h"

enum mutant mutant_on = MUTANT_NONE;

static const struct {
	const char *name, *text;
} mutants[MUTANT_COUNT] = {
	[MUTANT_NONE] = { "none", "no mistake" },
	[MUTANT_NO_DIR_SYNC] = { "no-dir-sync", "a new segment's name is not made durable" },
	[MUTANT_NO_HEADER_SYNC] = { "no-header-sync",
	    "a new segment is used before its header is durable" },
	[MUTANT_REPORT_BEFORE_SYNC] = { "report-before-sync",
	    "a batch is reported before it is synced" },
	[MUTANT_NO_SYNC] = { "no-sync", "a batch is never synced" },
	[MUTANT_NO_PAYLOAD_CHECKSUM] = { "no-payload-checksum", "payloads are believed" },
	[MUTANT_NO_HEADER_CHECKSUM] = { "no-header-checksum", "record headers are believed" },
	[MUTANT_NO_SALT] = { "no-salt", "every segment has the same salt" },
	[MUTANT_NO_DIGEST] = { "no-digest",
	    "a body read from disk is not compared with its digest" },
	[MUTANT_APPEND_AFTER_TAIL] = { "append-after-tail",
	    "a start goes on behind the last valid record" },
	[MUTANT_BELIEVE_SECOND_SYNC] = { "believe-second-sync",
	    "a failed sync is tried again and believed" },
	[MUTANT_KEEP_FAILED_SEGMENT] = { "keep-failed-segment",
	    "after a failed sync the same segment is used on" },
	[MUTANT_NO_COPY_OF_SUSPECTS] = { "no-copy-of-suspects",
	    "unvouched batches are not copied at start" },
	[MUTANT_MANIFEST_BEFORE_COPY] = { "manifest-before-copy",
	    "suspects are cut off before their copy is durable" },
	[MUTANT_VOUCH_TOO_FAR] = { "vouch-too-far", "a batch vouches for itself" },
	[MUTANT_MANIFEST_KEEPS_FAILED] = { "manifest-keeps-failed",
	    "the end of a failed segment is where it was written to" },
	[MUTANT_FREE_BEFORE_DURABLE] = { "free-before-durable",
	    "a slot is used again though no FREE is durable" },
	[MUTANT_FREE_FORGETS_MARKS] = { "free-forgets-marks",
	    "marks in a freed segment are not carried forward" },
	[MUTANT_FREE_WITH_SURVIVORS] = { "free-with-survivors",
	    "a segment with one live message is freed" },
	[MUTANT_MOVE_WITHOUT_SYNC] = { "move-without-sync",
	    "a survivor counts as moved before the move is durable" },
	[MUTANT_MOVE_FORGETS_CHUNK] = { "move-forgets-chunk",
	    "the last chunk of a survivor is not moved" },
	[MUTANT_MOVE_FORGETS_STATE] = { "move-forgets-state",
	    "the state of a survivor is not moved" },
	[MUTANT_OUTCOME_BEFORE_DURABLE] = { "outcome-before-durable",
	    "an outcome is reported before it is durable" },
	[MUTANT_OUTCOME_NOT_RELOGGED] = { "outcome-not-relogged",
	    "outcomes of a failed batch are not written again" },
	[MUTANT_OLD_STATE_WINS] = { "old-state-wins", "of two states the one read last wins" },
	[MUTANT_NOTICE_APART] = { "notice-apart", "a notification and its mark are two records" },
	[MUTANT_NO_RESERVE] = { "no-reserve", "messages may use the reserve" },
	[MUTANT_TRUST_FOOTER] = { "trust-footer", "an index footer is used unchecked" },
	[MUTANT_UNALIGNED_BATCH] = { "unaligned-batch",
	    "batches are not padded: a block is written twice" },
	[MUTANT_BATCH_IS_WHOLE] = { "batch-is-whole",
	    "a batch with a valid header is believed whole" },
	[MUTANT_TRUST_HEADER] = { "trust-header",
	    "a slot's header is believed though it was freed" },
	[MUTANT_READ_UNPINNED] = { "read-unpinned", "a reader does not pin its segment" },
	[MUTANT_ID_AGAIN] = { "id-again", "ids start anew after a restart" },
	[MUTANT_NO_SYNC_AT_START] = { "no-sync-at-start",
	    "a start builds on names that may not be durable" },
	[MUTANT_NAME_HOLLOW] = { "name-hollow",
	    "a manifest names a segment whose head may not be durable" },
	[MUTANT_NO_RESERVE_AT_START] = { "no-reserve-at-start",
	    "a start may not use the reserve" },
	[MUTANT_NO_IDENTITY_SYNC] = { "no-identity-sync",
	    "the file \"spool\" is renamed before it is durable" },
};

const char *
mutant_name(enum mutant mutant)
{
	must(mutant < MUTANT_COUNT);
	return mutants[mutant].name;
}

const char *
mutant_text(enum mutant mutant)
{
	must(mutant < MUTANT_COUNT);
	return mutants[mutant].text;
}

enum mutant
mutant_of_name(const char *name)
{
	for (unsigned int i = 0; i < MUTANT_COUNT; i++) {
		if (strcmp(mutants[i].name, name) == 0)
			return (enum mutant)i;
	}
	return MUTANT_COUNT;
}
