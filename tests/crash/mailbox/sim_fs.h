/*
 * A file system in memory that forgets: a directory for the journal (struct disk), one for boxes
 * and a Maildir in it (struct box_disk).  What was written is pending until it is synced; of what
 * is pending a power cut keeps what chance wants:
 *   - of data, for every sector of 512 octets its content at some moment since the last sync;
 *   - of the sizes of a file, a beginning of their changes;
 *   - of names, a beginning of the changes of each directory; a rename is one change.
 * A failed sync leaves on the disk what a power cut would, drops the rest of what was pending, and
 * the next one knows nothing of it.  Syncs of directories do not fail.
 *
 * Before every operation that changes something, the hook is called: it may make an image of the
 * disk as a crash at this moment would leave it, and live on that.
 */
#ifndef TESTS_CRASH_MAILBOX_SIM_FS_H
#define TESTS_CRASH_MAILBOX_SIM_FS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mailbox/box_disk.h"
#include "queue/disk.h"
#include "relay/base/random.h"
#include "relay/base/span.h"

enum sim_dir {
	SIM_JOURNAL,
	SIM_BOXES,              /* "/boxes" */
	SIM_MAILDIR,            /* "/boxes/m", with the three below in it */
	SIM_TMP,
	SIM_NEW,
	SIM_CUR,
	SIM_DIRS,
};

enum sim_crash {
	SIM_POWER,              /* what is pending may be gone */
	SIM_KILL,               /* the process is gone, the kernel has it all: still pending */
};

struct sim_fs;

struct sim_fs *sim_fs_new(struct random *random);
void sim_fs_free(struct sim_fs **fs);

/* As a crash would leave it. */
struct sim_fs *sim_fs_image(const struct sim_fs *fs, enum sim_crash how, struct random *random);

void sim_fs_set_hook(struct sim_fs *fs, void (*hook)(void *ctx), void *ctx);

/* One sync of a file in so many fails; 0: none. */
void sim_fs_set_sync_failures(struct sim_fs *fs, unsigned one_in);

/* Borrowed; they live as long as the file system. */
struct disk *sim_fs_disk(struct sim_fs *fs);
struct box_disk *sim_fs_boxes(struct sim_fs *fs);

/* "" where there is none. */
struct span sim_fs_content(const struct sim_fs *fs, enum sim_dir dir, const char *name);

/* The name in the directory at INDEX; NULL behind the last. */
const char *sim_fs_name(const struct sim_fs *fs, enum sim_dir dir, size_t index);

/* Another program's doing: at once, and durable. */
void sim_fs_put(struct sim_fs *fs, enum sim_dir dir, const char *name, struct span content);
void sim_fs_move(struct sim_fs *fs, enum sim_dir from_dir, const char *from, enum sim_dir to_dir,
		 const char *to);
void sim_fs_take(struct sim_fs *fs, enum sim_dir dir, const char *name);

#endif
