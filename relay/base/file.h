#ifndef RELAY_BASE_FILE_H
#define RELAY_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "relay/base/buf.h"
#include "relay/base/err.h"
#include "relay/base/span.h"

/*
 * Files for configuration, keys and mailboxes: every failure names the file.
 * All descriptors are close-on-exec.  A directory argument may be AT_FDCWD.
 * These calls block, so hub and workers do not make them (the queue has its own
 * face to the disk).
 */

/* flags as open(2); O_CLOEXEC and O_NOCTTY are added. */
int file_open_at(int dir_fd, const char *name, int flags, mode_t mode, struct err *err);
int file_open_read(const char *path, struct err *err);

/* New, for writing, mode 0600; ERR_EXISTS when the name is taken. */
int file_create_at(int dir_fd, const char *name, struct err *err);
int file_open_dir(const char *path, struct err *err);

/* The fd may be -1; it is -1 afterwards. */
void file_close(int *fd);

/* For descriptors written to: says when the system reports a late failure. */
int file_close_checked(int *fd, struct err *err);

/* All of it, whatever write(2) accepts at a time. */
int file_write_all(int fd, struct span bytes, struct err *err);
int file_write_all_at(int fd, struct span bytes, uint64_t offset, struct err *err);

/* Exactly size bytes; ERR_CLOSED when the file ends before. */
int file_read_all_at(int fd, void *data, size_t size, uint64_t offset, struct err *err);

/* Append the whole file to out; ERR_LIMIT when it does not fit. */
int file_read_whole(const char *path, struct buf *out, struct err *err);
int file_read_whole_fd(int fd, struct buf *out, struct err *err);

/* The same of a file with secrets: ERR_CONFIG when others than owner and group may touch it. */
int file_read_whole_private(const char *path, struct buf *out, struct err *err);

int file_sync(int fd, struct err *err);
int file_sync_data(int fd, struct err *err);
int file_truncate(int fd, uint64_t size, struct err *err);
int file_size(int fd, uint64_t *size_out, struct err *err);

int file_rename_at(int from_fd, const char *from, int to_fd, const char *to, struct err *err);
int file_link_at(int from_fd, const char *from, int to_fd, const char *to, struct err *err);

/* A name that is not there is no failure. */
int file_remove_at(int dir_fd, const char *name, struct err *err);

/* One level; an existing directory is no failure. */
int file_make_dir_at(int dir_fd, const char *name, mode_t mode, struct err *err);

bool file_exists(const char *path);

/*
 * Put content under the name in one step: write a file beside it, sync, rename,
 * sync the directory.  A reader sees the old content or the new.
 */
int file_replace_at(int dir_fd, const char *name, struct span content, mode_t mode,
    struct err *err);

/*
 * Call visit for each name in the directory but "." and ".."; a visit that
 * returns -1 ends it, and that is the result.
 */
typedef int file_visit(void *ctx, const char *name, struct err *err);
int file_list(int dir_fd, file_visit *visit, void *ctx, struct err *err);

/* A lock on the whole file for as long as it is open; ERR_BUSY when taken. */
int file_lock(int fd, struct err *err);

/* The path, or `directory of base` / path when path is relative.  For mem_free(). */
char *file_path_beside(const char *base, const char *path);

#endif
