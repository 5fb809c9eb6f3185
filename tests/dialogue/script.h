/*
 * What the two runners of conversations share: how a line of a file is read, and how the octets
 * of both sides are cut into pieces.
 */
#ifndef TESTS_DIALOGUE_SCRIPT_H
#define TESTS_DIALOGUE_SCRIPT_H

#include "relay/base/buf.h"
#include "relay/base/random.h"
#include "relay/base/span.h"

#include <stdbool.h>
#include <stddef.h>

enum {
	SCRIPT_TEXT_MAX = 4 << 20,
	SCRIPT_MODE_COUNT = 12,         /* 0 whole, 1 octet by octet, above: a seed */
};

/*
 * The octets that a text stands for: \r \n \0 \t \\ and \xHH, "*N{x}" is x repeated N times.
 * They lie in OUT, which is cleared before.
 */
struct span script_unescape(struct span text, struct buf *out);

/* How many of LEN octets (at least one) are shown at once in this mode. */
size_t script_some(struct random_seeded *random, int mode, size_t len);

/* A line is as expected; an expectation that ends in '*' is only a beginning. */
bool script_matches(struct span line, struct span expected);

/* What a runner says of a file: complain once, and where. */
struct script {
	const char *path;
	unsigned int line;
	int mode;
	bool parks;
	bool failed;
};

void script_fail(struct script *script, const char *what, struct span got);

/* Runs each file of ARGV in every mode, at once and parked.  The exit status. */
int script_main(int argc, char **argv,
    bool (*run)(const char *path, struct span text, int mode, bool parks));

#endif
