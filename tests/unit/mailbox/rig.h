/*
 * What the tests of mailboxes share: a directory for files, letters from text, a disk between
 * the code and POSIX that fails where it is told to, and whole appends.
 */
#ifndef TESTS_UNIT_MAILBOX_RIG_H
#define TESTS_UNIT_MAILBOX_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mailbox/box_disk.h"
#include "mailbox/letter.h"
#include "mailbox/mbox.h"
#include "relay/base/buf.h"

enum fault_call {
	FAULT_NONE,
	FAULT_OPEN,
	FAULT_STAT,
	FAULT_READ,
	FAULT_WRITE,
	FAULT_SYNC,
	FAULT_SYNC_DIR,
	FAULT_TRUNCATE,
	FAULT_LOCK,
	FAULT_LINK,
	FAULT_REMOVE,
	FAULT_CALL_COUNT,
};

/* The disk: passes everything on to POSIX, but for the call that fails. */
struct fault_disk {
	struct box_disk disk;
	enum fault_call which;          /* FAULT_NONE: none fails */
	unsigned at;                    /* the n-th such call, from 1 */
	bool for_ever;                  /* and all behind it */
	int error;                      /* 0 with FAULT_WRITE: it is short by half */
	unsigned count;                 /* such calls so far */
	bool hit;
	/* Called before every write, if set: another program at work. */
	void (*before_write)(void *ctx);
	void (*before_lock)(void *ctx);
	void *ctx;
	size_t write_bytes_max;         /* of one call; 0: no bound */
	bool syncs_nothing;             /* for tests of many states, which ask no disk */
	unsigned syncs;
};

void fault_disk_init(struct fault_disk *fault);

struct rig {
	char directory[64];
	char path[96];                  /* of the box */
	struct letter_budget budget;
	struct lock_owner self;
	struct fault_disk fault;
	struct mbox_settings settings;
};

void rig_init(struct rig *rig);
void rig_fini(struct rig *rig);

/* A sealed letter; TEXT has LF line ends. */
struct letter *rig_letter(struct rig *rig, const char *text);

/* The file's octets; assert that there is one. */
void rig_read(struct rig *rig, const char *path, struct buf *out);
void rig_write(const char *path, const char *text);
void rig_write_span(const char *path, struct span text);
bool rig_exists(const char *path);

/*
 * Open, plan, append, close, as a lane does.  The result of the append; when the box could not
 * be opened, MBOX_UNDONE.  The intent is given when INTENT_OUT is not NULL, and lives in ARENA.
 */
enum mbox_append_result
rig_append(struct rig *rig, const struct mbox_message *messages, size_t count,
	   struct arena *arena, struct intent *intent_out, struct err *err);

#endif
