/*
 * The journal of a mailbox node: what is about to be done to boxes (intents), what came of it
 * (ends), and which deliveries were made (keys), so that a crash leaves no half message and a
 * second arrival of a message makes no second copy.
 *
 * An intent is durable before its box is touched; an end rides along with a later batch, because
 * the box itself tells what became of an intent.  Keys are remembered for as long as the caller
 * wants them.
 *
 * Blocks; one thread at a time.  The format is at the head of mbox_journal_format.h.
 */
#ifndef MAILBOX_MBOX_JOURNAL_H
#define MAILBOX_MBOX_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mailbox/intent.h"
#include "queue/disk.h"
#include "relay/base/err.h"
#include "relay/base/random.h"

enum {
	MBOX_JOURNAL_BATCH_INTENTS_MAX = 64,
	MBOX_JOURNAL_BATCH_ENDS_MAX = 8192,
	MBOX_JOURNAL_SEGMENT_BYTES = 4 * 1024 * 1024,
	MBOX_JOURNAL_SEGMENT_BYTES_MIN = 64 * 1024,
	MBOX_JOURNAL_SEGMENTS_MAX = 64,
};

struct mbox_journal;

struct mbox_journal_settings {
	struct disk *disk;              /* borrowed */
	struct random *random;          /* borrowed; used while opening and writing */
	uint64_t segment_bytes;         /* 0: MBOX_JOURNAL_SEGMENT_BYTES */
	int64_t wall_ms;                /* now */
	uint64_t remember_ms;           /* keys older than this are forgotten */
};

/* What a journal tells when it is opened. */
struct mbox_journal_found {
	/* An intent without an end: its box must be repaired.  Borrowed during the call. */
	void (*intent)(void *ctx, const struct intent *intent);
	void (*key)(void *ctx, const struct intent_key *key, int64_t wall_ms);
	void *ctx;
};

/* What came of an intent: bit I says that its entry I is in the box. */
struct mbox_journal_end {
	uint64_t intent_id;
	uint64_t delivered;
};

struct mbox_journal_state {
	uint64_t node;                  /* random, made with the journal */
	uint64_t damaged_count;         /* parts that could not be read when it was opened */
	size_t segment_count;
	size_t open_intent_count;
	size_t pending_end_count;       /* told, and not yet durable */
	uint64_t batch_count;           /* written and synced, since it was opened */
	uint64_t intent_count;          /* written since it was opened */
	bool failed;                    /* the last write failed */
};

/*
 * Opens the journal of the directory, or makes one.  ERR_BUSY when another process has it.  Ends
 * with everything it told durable in a fresh segment.
 */
int mbox_journal_open(struct mbox_journal **journal_out,
		      const struct mbox_journal_settings *settings,
		      const struct mbox_journal_found *found, struct err *err);

/* Ends that are pending are not written: flush before, if they are to be. */
void mbox_journal_close(struct mbox_journal **journal);

struct mbox_journal_state mbox_journal_state(const struct mbox_journal *journal);

/*
 * Make these intents durable, at most MBOX_JOURNAL_BATCH_INTENTS_MAX, and pending ends with
 * them.  Sets their ids.  On -1 none of them may be acted upon; the journal goes on in a fresh
 * segment if the disk lets it, and the next call tries again.
 */
int mbox_journal_write(struct mbox_journal *journal, struct intent *const *intents,
		       size_t intent_count, struct err *err);

/* Note an end; it becomes durable with the next batch.  WALL_MS is the time for its keys. */
void mbox_journal_end(struct mbox_journal *journal, const struct mbox_journal_end *end,
		      int64_t wall_ms);

/* Write pending ends, if there are any. */
int mbox_journal_flush(struct mbox_journal *journal, struct err *err);

/* Remove what is only about keys older than the time to remember. */
void mbox_journal_forget(struct mbox_journal *journal, int64_t wall_ms);

#endif
