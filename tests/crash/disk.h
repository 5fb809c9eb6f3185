#ifndef TESTS_CRASH_DISK_H
#define TESTS_CRASH_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include "queue/disk.h"

/*
 * A disk that forgets.  Each file has the content that a reader sees now and the
 * content that would be there after a power cut; between the two stand pending
 * operations: sectors, sizes and names, each for itself.  A sync makes those it
 * is about durable.  crash_disk_image() makes the disk that a crash would leave.
 *
 * Pages are shared between contents, pending operations and disks, and copied
 * when they are written, so that a copy of a disk is a copy of pointers.
 */
enum {
	CRASH_PAGE_BYTES = 4096,
	CRASH_SECTOR_BYTES = 512,
	CRASH_PAGE_SECTORS = CRASH_PAGE_BYTES / CRASH_SECTOR_BYTES,
	CRASH_FILE_PAGES_MAX = 16,
	CRASH_INODES_MAX = 48,
	CRASH_NAMES_MAX = 48,
	CRASH_NAME_BYTES = 16,
};

struct crash_page {
	uint32_t ref_count;
	char data[CRASH_PAGE_BYTES];
};

/* A page that is not there is zeros; from page_count on none is. */
struct crash_content {
	struct crash_page *pages[CRASH_FILE_PAGES_MAX];
	uint32_t page_count;
	uint32_t size;
};

struct crash_inode {
	bool is_used;
	int open_count;
	struct crash_content now, durable;
};

struct crash_name {
	char name[CRASH_NAME_BYTES];
	int inode;
};

struct crash_names {
	struct crash_name rows[CRASH_NAMES_MAX];
	int count;
};

enum crash_pending_kind {
	PENDING_DATA,                   /* sectors of one page */
	PENDING_SIZE,
	PENDING_ADD,
	PENDING_REMOVE,
	PENDING_RENAME,
};

struct crash_pending {
	enum crash_pending_kind kind;
	int inode;                      /* -1: the directory's */
	uint32_t at;                    /* page, or the new size */
	uint8_t sectors;                /* a bit for each that was written */
	struct crash_page *page;        /* as it was after the write */
	int named;                      /* of an ADD and a RENAME: the file */
	char name[CRASH_NAME_BYTES], to[CRASH_NAME_BYTES];
};

/* Each number says that one call in so many fails in this way; 0 none. */
struct crash_faults {
	uint64_t seed;
	uint32_t sync_in, write_in, short_in, full_in, name_in;
};

struct crash_disk {
	struct disk disk;
	struct crash_inode inodes[CRASH_INODES_MAX];
	int inode_count;                /* from here on none was ever used */
	struct crash_names now, durable;
	struct crash_pending *pending;
	uint32_t pending_count, pending_capacity;
	bool is_locked;
	bool is_dead;                   /* nothing works any more, and nobody is told */
	bool has_forgotten;             /* a failed sync dropped something that readers still see */
	uint64_t bytes_max;             /* UINT32_MAX: no bound */
	struct crash_faults faults;
	uint64_t call_count, fault_count, version;
	bool is_traced;                 /* each call that changes something, on stderr */

	/* Before each call that changes something, and between a write and its sync. */
	void (*boundary)(void *ctx);
	void *ctx;
};

void crash_disk_init(struct crash_disk *disk);
void crash_disk_fini(struct crash_disk *disk);

enum crash_image {
	IMAGE_NONE,                     /* nothing that is pending came to the disk */
	IMAGE_ALL,
	IMAGE_PREFIX,                   /* in the order of the writes */
	IMAGE_DROP_ONE,
	IMAGE_ONLY_ONE,
	IMAGE_SUBSET,
	IMAGE_KILL,                     /* the process died, the machine did not */
	IMAGE_KILL_EVICT,               /* ... and what a failed sync dropped is read anew */
	IMAGE_COUNT
};

struct crash_choice {
	enum crash_image image;
	bool tears;                     /* one sector is half old, half new */
	bool garbles;                   /* a sector under write is garbage */
	bool garbles_page;              /* ... and its neighbours may be: no power-safe overwrite */
	uint64_t seed;
};

const char *crash_image_name(enum crash_image image);

/* What is pending, in sectors, sizes and names. */
uint32_t crash_disk_unit_count(const struct crash_disk *disk);

/* The disk that the next process finds.  *to is new; `from` stays as it is. */
void crash_disk_image(struct crash_disk *to, const struct crash_disk *from,
    const struct crash_choice *choice);

/* Shared by disk.c and image.c. */
void crash_page_release(struct crash_page **page);
struct crash_page *crash_page_hold(struct crash_page *page);
struct crash_page *crash_content_own(struct crash_content *content, uint32_t at);
void crash_content_clear(struct crash_content *content);
void crash_content_copy(struct crash_content *to, const struct crash_content *from);
void crash_content_take(struct crash_content *content, uint32_t at, struct crash_page *page,
    uint8_t sectors);
int crash_names_find(const struct crash_names *names, const char *name);
void crash_names_apply(struct crash_names *names, const struct crash_pending *pending);

#endif
