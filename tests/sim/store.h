#ifndef TESTS_SIM_STORE_H
#define TESTS_SIM_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "mailbox/box_disk.h"
#include "queue/disk.h"
#include "tests/sim/world.h"

/*
 * A machine's disk: one flat directory of files, of which the kernel has one content and the
 * platter another.  A sync makes them the same.  A power cut keeps, of what was not synced, any
 * sectors and any prefix of the changes of names; a crash of the process alone keeps everything.
 *
 * A crash may come at any call: from there on every call fails, nothing changes any more, and the
 * machine is doomed (world.h): its packets are not sent, and it is gone at the end of the turn.
 */
struct sim_store;

enum { SIM_STORE_FILES_MAX = 192 };

struct sim_store *sim_store_new(struct sim_host *host);
void sim_store_free(struct sim_store **store);

/* The n-th call from now is where it ends; power or the process.  0: never. */
void sim_store_crash_at(struct sim_store *store, uint64_t calls, bool power);

/* The same now, where no call has done it. */
void sim_store_crash_now(struct sim_store *store, bool power);

/* After a crash: the machine starts again on what is left. */
void sim_store_revive(struct sim_store *store);

/* The next COUNT syncs fail: what they were for is forgotten, and the one after them succeeds. */
void sim_store_fail_syncs(struct sim_store *store, unsigned count);

/* Writes that need space fail. */
void sim_store_set_full(struct sim_store *store, bool full);

/* The two faces of it. */
struct disk *sim_store_spool(struct sim_store *store);
struct box_disk *sim_store_boxes(struct sim_store *store);

/* What is in a file now; false: there is none. */
bool sim_store_read(const struct sim_store *store, const char *name, const char **data_out,
    size_t *size_out);

/* ---- for the faces: 0 or a positive errno number */

int store_open(struct sim_store *store, const char *name, bool create, int *inode_out);
int store_size(struct sim_store *store, int inode, uint64_t *size_out);
int store_read(struct sim_store *store, int inode, void *data, size_t size, uint64_t offset,
    size_t *got_out);
int store_write(struct sim_store *store, int inode, const struct iovec *vectors, int vector_count,
    uint64_t offset, bool sync, size_t *written_out);
int store_sync(struct sim_store *store, int inode);
int store_truncate(struct sim_store *store, int inode, uint64_t size);
int store_link(struct sim_store *store, const char *from, const char *to);
int store_rename(struct sim_store *store, const char *from, const char *to);
int store_remove(struct sim_store *store, const char *name);
int store_sync_dir(struct sim_store *store);
int store_list(struct sim_store *store, void (*each)(void *ctx, const char *name), void *ctx);
bool store_is_dead(const struct sim_store *store);
int64_t store_modified_ms(const struct sim_store *store, int inode);
uint64_t store_link_count(const struct sim_store *store, int inode);
bool store_find(const struct sim_store *store, const char *name, int *inode_out);
struct sim_host *store_host(const struct sim_store *store);
struct sim_store *sim_store_of_spool(struct disk *disk);
struct sim_store *sim_store_of_boxes(struct box_disk *disk);
const struct disk_ops *sim_spool_ops(void);
const struct box_disk_ops *sim_boxes_ops(void);

#endif
