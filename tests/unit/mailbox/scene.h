/*
 * What the tests of repairs share: a box with old mail, and an append to it of which the intent is
 * known.  A test says what is found in the file, repairs it, and looks at what is there then.
 */
#ifndef TESTS_UNIT_MAILBOX_SCENE_H
#define TESTS_UNIT_MAILBOX_SCENE_H

#include <stdint.h>

#include "mailbox/mbox_repair.h"
#include "relay/base/arena.h"
#include "tests/unit/mailbox/rig.h"

enum { SCENE_MESSAGES = 3, SCENE_FILE_BYTES_MAX = 1 << 20 };

extern const char scene_old_mail[];
extern const char scene_foreign_mail[];

struct scene {
	struct rig rig;
	struct arena arena;
	struct intent intent;
	struct letter *letters[SCENE_MESSAGES];
	struct mbox_message messages[SCENE_MESSAGES];
	struct buf before;
	struct buf whole;               /* the file with all of the append */
	uint64_t starts[SCENE_MESSAGES + 1];    /* of messages, in the file; and the end */
	struct buf file;                /* the file as it is found */
};

void scene_init(struct scene *scene, const char *before);
void scene_fini(struct scene *scene);

/* The file is as scene->file has it: repair it; scene->file gets what it is then. */
struct mbox_repair scene_repair(struct scene *scene);

/* Which of the messages are delivered. */
unsigned scene_bits(const struct mbox_repair *result);

/* Where the content of message I ends: what follows only parts it from the next one. */
uint64_t scene_content_end(const struct scene *scene, size_t i);

/* Add to scene->file. */
void scene_put(struct scene *scene, struct span text);
void scene_put_message(struct scene *scene, size_t i);

#endif
