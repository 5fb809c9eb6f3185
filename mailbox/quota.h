/*
 * How much a box may hold, and whether another message fits.  Pure.
 */
#ifndef MAILBOX_QUOTA_H
#define MAILBOX_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

struct quota {
	uint64_t bytes;                 /* 0: as many as there is room for */
	uint64_t messages;              /* 0: the same */
};

/* What is in a box. */
struct usage {
	uint64_t bytes;
	uint64_t messages;
};

static inline bool
quota_is_set(const struct quota *quota)
{
	return quota->bytes != 0 || quota->messages != 0;
}

/* Does a message of so many octets fit? */
static inline bool
quota_admits(const struct quota *quota, const struct usage *usage, uint64_t bytes)
{
	if (quota->messages != 0 && usage->messages >= quota->messages)
		return false;
	return quota->bytes == 0 ||
	       (usage->bytes <= quota->bytes && bytes <= quota->bytes - usage->bytes);
}

static inline void
usage_add(struct usage *usage, uint64_t bytes, uint64_t messages)
{
	usage->bytes += bytes;
	usage->messages += messages;
}

#endif
