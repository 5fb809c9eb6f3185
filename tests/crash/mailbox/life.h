/*
 * One life of a mailbox node on a simulated disk: what the world knows of its messages, and what
 * happens to it.  A life may end at any operation of the disk; what becomes of it then is lived on
 * as another life on an image of the disk (crash.c).
 */
#ifndef TESTS_CRASH_MAILBOX_LIFE_H
#define TESTS_CRASH_MAILBOX_LIFE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mailbox/mbox_journal.h"
#include "relay/base/arena.h"
#include "relay/base/buf.h"
#include "relay/base/random.h"
#include "tests/crash/mailbox/sim_fs.h"

enum {
	LIFE_BOXES = 3,                 /* two mboxes and a Maildir */
	LIFE_MAILDIR = 2,               /* its number among them */
	LIFE_MESSAGES_MAX = 96,
	LIFE_BATCH_MAX = 3,
	LIFE_INTENTS_MAX = 32,
	LIFE_FOREIGN_MAX = 24,
	LIFE_TEXT_BYTES_MAX = 2048,
	LIFE_BOX_BYTES_MAX = 1 << 20,
};

/* How a message looks: readers change headers, and never a body. */
enum message_look {
	MESSAGE_AS_DELIVERED,
	MESSAGE_MARKED,                 /* with a field more */
	MESSAGE_CLEANED,                /* with a field less */
	MESSAGE_LOOKS,
};

/* What the world knows of a message. */
struct fact {
	size_t box;
	bool acked;
	bool expunged;                  /* a reader took it out; then it may be missing */
	uint64_t delivery_id;
	struct intent_key key;
	enum message_look look;
	struct span texts[MESSAGE_LOOKS];       /* in the arena of the first life */
	size_t id_at;
};

/* Of a whole run; the verdict is in it. */
struct tally {
	uint64_t states;
	uint64_t states_max;
	uint64_t cut, left, searched;
	uint64_t maildir_found;
	bool tells;                     /* every step, for a reader of a replay */
	char wrong[512];                /* the first violation; "": none */
};

struct life {
	struct tally *tally;
	struct random *random;
	struct sim_fs *fs;
	struct mbox_journal *journal;
	struct fact facts[LIFE_MESSAGES_MAX];
	size_t fact_count;
	size_t foreign[LIFE_FOREIGN_MAX];       /* the box of each message of another program */
	size_t foreign_count;
	bool was_touched;               /* by others, while it was torn */
	unsigned depth;                 /* so many crashes are behind it */
	bool was_killed;                /* the last of them */
	struct arena *texts;
	bool in_image;                  /* the hook does not call itself */
	struct mbox_journal_settings settings;
	/* What the journal told when it was opened. */
	struct arena arena;
	struct intent intents[LIFE_INTENTS_MAX];
	size_t intent_count;
	struct intent_key keys[2 * LIFE_MESSAGES_MAX];
	size_t key_count;
};

bool life_is_over(const struct life *life);
bool life_chance(struct life *life, unsigned one_in);
void life_violated(struct life *life, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* A line of the story. */
void life_tell(const struct life *life, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* ---- messages (message.c): functions of their number and id */

void message_make(struct fact *fact, size_t number, uint64_t delivery_id, struct arena *texts);

/* What mailboxd puts before the letter, and the letter. */
struct span message_head(const struct fact *fact);
struct span message_letter(const struct fact *fact);

/* How often readers see it, whole and as it looks now; *at_out is where the last of them begins. */
size_t message_count(const struct fact *fact, struct span content, size_t *at_out);

void message_compose_foreign(size_t number, struct buf *out);

/* ---- what the node does (node.c) */

/* A new process on the disk of the life.  False when the disk fails: try again. */
bool life_start(struct life *life);

/* One batch to one box.  False when the node can do no more: then it is started anew. */
bool life_deliver(struct life *life);

/* ---- what others do (others.c) */

const char *life_box_name(size_t box);
void life_read_and_change(struct life *life, size_t box);
void life_append_foreign(struct life *life, size_t box);

/* ---- the judge (judge.c): behind a recovery, and before anything else is written */

void life_judge(struct life *life);

#endif
