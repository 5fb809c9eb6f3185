/*
 * What the parts of the journal share: mbox_journal.c writes, mbox_journal_scan.c reads what an
 * earlier process left, mbox_journal_segment.c makes segments and lets them go.
 */
#ifndef MAILBOX_MBOX_JOURNAL_PRIVATE_H
#define MAILBOX_MBOX_JOURNAL_PRIVATE_H

#include <sys/queue.h>
#include <uthash.h>

#include "mailbox/mbox_journal.h"
#include "mailbox/mbox_journal_format.h"

/* Growing array of keys. */
struct journal_keys {
	struct journal_key *keys;
	size_t count;
	size_t capacity;
};

struct journal_segment {
	TAILQ_ENTRY(journal_segment) next;
	struct journal_segment_head head;
	unsigned slot;
	size_t open_count;              /* intents without an end */
	struct journal_keys keys;       /* delivered by its intents */
};

/* An intent without an end. */
struct journal_open_intent {
	uint64_t id;
	struct journal_segment *segment;
	size_t entry_count;
	struct intent_entry entries[INTENT_ENTRY_COUNT_MAX];
	UT_hash_handle hh;
};

struct journal_pending_end {
	struct mbox_journal_end end;
	int64_t wall_ms;
};

struct mbox_journal {
	struct disk *disk;
	struct random *random;
	uint64_t segment_bytes;
	uint64_t remember_ms;
	int lock;
	int file;                       /* of the current segment; -1 when it failed */
	uint64_t write_at;              /* in it */
	uint64_t sequence;
	TAILQ_HEAD(journal_segments, journal_segment) segments;  /* live; the last is current */
	bool slot_used[MBOX_JOURNAL_SEGMENTS_MAX];
	uint64_t next_number;
	uint64_t next_intent_id;
	struct journal_open_intent *open_intents;
	struct journal_pending_end *ends;
	size_t end_count;
	size_t end_capacity;
	struct buf batch;
	struct mbox_journal_state state;
};

void journal_slot_name(unsigned slot, char out[DISK_NAME_BYTES_MAX]);
void journal_seen_name(uint64_t number, char out[DISK_NAME_BYTES_MAX]);

/* The time of a key as files have it, and back. */
uint32_t journal_seconds(int64_t wall_ms);

void journal_keys_add(struct journal_keys *keys, const struct journal_key *key);
void journal_keys_fini(struct journal_keys *keys);

struct journal_segment *journal_segment_new(struct mbox_journal *journal,
					    const struct journal_segment_head *head, unsigned slot);
void journal_segment_free(struct mbox_journal *journal, struct journal_segment **segment);

/* The open intents table. */
void journal_intent_opened(struct mbox_journal *journal, const struct intent *intent,
			   struct journal_segment *segment);
struct journal_open_intent *journal_intent_find(struct mbox_journal *journal, uint64_t id);
void journal_intent_closed(struct mbox_journal *journal, struct journal_open_intent *open,
			   uint64_t delivered, int64_t wall_ms,
			   void (*each)(void *ctx, const struct journal_key *key), void *ctx);

/*
 * Begin a new segment, at least BYTES large.  With COMMIT_LATER its header is left out, to be
 * written by journal_segment_commit() when what it begins with is there.
 */
int journal_segment_begin(struct mbox_journal *journal, uint64_t bytes, bool commit_later,
			  struct err *err);
int journal_segment_commit(struct mbox_journal *journal, struct err *err);

/* Write the batch, closed here, to the current segment, and sync. */
int journal_segment_write(struct mbox_journal *journal, struct buf *batch, struct err *err);

/* Is there room in the current segment? */
bool journal_segment_has_room(const struct mbox_journal *journal, const struct buf *batch);

/* Make keys durable in a file of their own. */
int journal_seen_write(struct mbox_journal *journal, uint64_t number,
		       const struct journal_keys *keys, struct err *err);

/* Remove a file of keys if even its last one is older than that. */
void journal_seen_forget(struct mbox_journal *journal, const char *name, uint32_t oldest);

/* Let go of old segments that hold nothing any more. */
void journal_segments_retire(struct mbox_journal *journal);

/*
 * Read what is there.  Tells FOUND the keys, fills the table of open intents and the list of
 * segments, and gives the open intents (an array to be freed; they live in ARENA) and the keys
 * that only segments have.
 */
int journal_scan(struct mbox_journal *journal, const struct mbox_journal_settings *settings,
		 const struct mbox_journal_found *found, struct arena *arena,
		 struct intent ***carried_out, size_t *carried_count_out,
		 struct journal_keys *keys_out, struct err *err);

#endif
