/*
 * What a daemon cannot do even if somebody else has taken it over: see files other than its own
 * (Landlock), and make system calls that mail never needs (seccomp).
 *
 * The first thread enters before any other exists; all inherit it.  A kernel without Landlock, or
 * one that is too old, is said in the log and tolerated.  A call that is not on the list fails
 * with EPERM and is a line of the kernel's log; to start a program, to trace a process or to
 * mount ends the daemon at once.
 */
#ifndef RELAY_DAEMON_SANDBOX_H
#define RELAY_DAEMON_SANDBOX_H

#include "relay/base/err.h"

#include <stdbool.h>
#include <stddef.h>

struct sandbox;

/* Knows already what every daemon reads of its system: libraries, names, the machine's id. */
struct sandbox *sandbox_new(void);
void sandbox_free(struct sandbox **sandbox);

/*
 * A directory with all below it, or a file.  One that is not there is passed over.  PATH is
 * copied.
 */
void sandbox_read(struct sandbox *sandbox, const char *path);
void sandbox_write(struct sandbox *sandbox, const char *path);

/* The directory that a file is in, so that the file may be replaced. */
void sandbox_read_beside(struct sandbox *sandbox, const char *file);
void sandbox_write_beside(struct sandbox *sandbox, const char *file);

struct sandbox_state {
	bool landlock;
	bool seccomp;
	char why_no_landlock[80];
	char why_no_seccomp[80];
};

/* For good.  -1 when what the kernel has cannot be put into force. */
int sandbox_enter(const struct sandbox *sandbox, struct sandbox_state *state_out, struct err *err);

void sandbox_log(const struct sandbox_state *state);

/*
 * Try what is forbidden, each in a child, and print a line for each.  False when something was
 * possible that should not be.
 */
bool sandbox_check(const struct sandbox_state *state);

#endif
