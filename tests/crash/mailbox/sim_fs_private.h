/*
 * What the parts of the simulated file system share: sim_fs.c has files and names, sim_fs_faces.c
 * the two faces that the mailbox sees, sim_fs_crash.c what a crash leaves.
 */
#ifndef TESTS_CRASH_MAILBOX_SIM_FS_PRIVATE_H
#define TESTS_CRASH_MAILBOX_SIM_FS_PRIVATE_H

#include "tests/crash/mailbox/sim_fs.h"

enum {
	SIM_SECTOR_BYTES = 512,
	SIM_INODES_MAX = 384,
	SIM_NAMES_MAX = 160,
	SIM_NAME_BYTES = 80,
};

/* A change of a file that is not durable yet. */
struct sim_change {
	enum { CHANGE_DATA, CHANGE_SIZE } kind;
	uint64_t offset;                /* or the new size */
	size_t len;
	char *data;
};

struct sim_inode {
	bool in_use;
	char *now, *durable;            /* contents */
	uint64_t size, durable_size;
	struct sim_change *changes;
	size_t change_count, change_capacity;
};

struct sim_name {
	char name[SIM_NAME_BYTES];
	int inode;
};

struct sim_names {
	struct sim_name rows[SIM_NAMES_MAX];
	size_t count;
};

struct sim_directory {
	struct sim_names now, durable;
};

/* A name that goes, or comes, or both: a rename. */
struct sim_name_change {
	enum sim_dir from_dir, to_dir;  /* SIM_DIRS: none */
	char from[SIM_NAME_BYTES], to[SIM_NAME_BYTES];
	int inode;
};

struct sim_fs {
	struct disk disk;
	struct box_disk boxes;
	struct random *random;
	struct sim_inode inodes[SIM_INODES_MAX];
	int inode_count;
	struct sim_directory dirs[SIM_DIRS];
	struct sim_name_change *changes;        /* of names, not yet durable */
	size_t change_count, change_capacity;
	void (*hook)(void *ctx);
	void *ctx;
	unsigned fail_one_in;
};

/* ---- files */

void sim_resize(char **content, uint64_t *size, uint64_t wanted);
void sim_add_change(struct sim_inode *inode, struct sim_change change);
void sim_make_durable(struct sim_inode *inode);
void sim_drop_changes(struct sim_inode *inode);

/* A sync that failed: chance says what of it got to the disk, and the rest never does. */
void sim_fail_file(struct sim_inode *inode, struct random *random);
void sim_write(struct sim_inode *inode, const void *data, size_t len, uint64_t offset);
void sim_set_size(struct sim_inode *inode, uint64_t size);
size_t sim_read(const struct sim_inode *inode, void *data, size_t size, uint64_t offset);

/* ---- names; 0 or a positive errno number, and the hook is called before a change */

int sim_find(const struct sim_names *names, const char *name);
void sim_apply(struct sim_fs *fs, bool durable, const struct sim_name_change *change);
void sim_note(struct sim_fs *fs, const struct sim_name_change *change);
int sim_open(struct sim_fs *fs, enum sim_dir dir, const char *name, bool create, int *file_out);
int sim_rename(struct sim_fs *fs, enum sim_dir from_dir, const char *from, enum sim_dir to_dir,
	       const char *to);
int sim_remove(struct sim_fs *fs, enum sim_dir dir, const char *name);

/* ---- both */

void sim_touch(struct sim_fs *fs);
int sim_sync_file(struct sim_fs *fs, int file);
int sim_sync_names(struct sim_fs *fs, enum sim_dir dir);

/* The tables of functions. */
const struct disk_ops *sim_disk_ops(void);
const struct box_disk_ops *sim_box_ops(void);

#endif
