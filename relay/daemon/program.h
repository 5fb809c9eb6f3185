#ifndef RELAY_DAEMON_PROGRAM_H
#define RELAY_DAEMON_PROGRAM_H

#include "relay/base/buf.h"
#include "relay/base/conf.h"
#include "relay/base/err.h"

/*
 * The command line of a daemon: its options, its exit codes, and its words on standard output
 * and standard error.  What the daemon is comes as deeds.
 */

/*
 * Reads the configuration at PATH and does something with it.  Returns an exit code of
 * sysexits.h; with an error in err if it is to be told.  What it writes to OUT is printed.
 */
typedef int program_deed(const char *path, struct buf *out, struct err *err);

struct program {
	const char *name;               /* "relayd" */
	const char *purpose;            /* a sentence */
	const char *config_path;        /* unless -f says another */
	const struct conf_schema *schema;
	program_deed *check;            /* -n */
	program_deed *self_check;       /* --self-check */
	program_deed *dump;             /* --dump */
	program_deed *run;
};

/* All of main(). */
int program_main(const struct program *program, int argc, char **argv);

#endif
