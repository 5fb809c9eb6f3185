#ifndef TESTS_CRASH_PEEK_H
#define TESTS_CRASH_PEEK_H

#include "queue/record.h"
#include "tests/crash/chance.h"
#include "tests/crash/disk.h"

/* What a knowing eye sees in the files of a spool. */

/* A slot that is written through and holds no segment: what outcomes and a start fall back on. */
bool peek_has_reserve(const struct crash_disk *disk);

/*
 * Changes one octet of a body and makes all its checksums right again, as no
 * accident does but once in four thousand million: what only the digest of the
 * message can see.  Returns the message, or 0 when there is no body.
 */
uint64_t peek_forge(struct crash_disk *disk, struct chance *chance);

#endif
