#ifndef RELAY_INBOUND_LOAD_H
#define RELAY_INBOUND_LOAD_H

#include <stdbool.h>
#include <stdint.h>

/*
 * How much of what the node has is in use, and what follows from it.  Pure: gauges and
 * time in, a level out.
 *
 *	green   everybody is served as he comes
 *	amber   deadlines are short; strangers wait for the greeting, and only a few of
 *	        one network come in
 *	red     new clients hear 421 4.3.2 before TLS, MAIL gets 452 4.3.1; our own nodes
 *	        are served as long as there is anything left
 *
 * What was accepted is never given up, and no answer of these is a 5yz.  A level is left
 * only some way below where it began, so that it does not flicker.
 */
enum load_level {
	LOAD_GREEN,
	LOAD_AMBER,
	LOAD_RED,
};

/* What there is and how much of it may be; a maximum of 0 is not looked at. */
struct load_gauges {
	uint64_t connections, connections_max;
	uint64_t descriptors, descriptors_max;
	uint64_t memory_bytes, memory_bytes_max;        /* bodies */
	uint64_t disk_free_bytes, disk_floor_bytes;     /* the queue refuses below the floor */
	uint64_t commit_ms;                             /* one commit takes, on the average */
};

struct load_limits {
	unsigned amber_percent;         /* 0: 70 */
	unsigned red_percent;           /* 0: 90 */
	uint64_t amber_commit_ms;       /* 0: 250 */
	uint64_t red_commit_ms;         /* 0: 1000, for five seconds */
};

struct load {
	enum load_level level;
	const char *why;                /* the gauge that decided; "" when green */
	unsigned percent;               /* of that gauge, or of the fullest */
	bool commits_are_slow;
	uint64_t slow_since_ms;
};

void load_init(struct load *load);

/* Returns true when the level changed. */
bool load_update(struct load *load, const struct load_limits *limits,
    const struct load_gauges *gauges, uint64_t now_ms);

/* The level for a single gauge that rises between two updates: no memory, no flicker guard. */
enum load_level load_level_of(const struct load_limits *limits, uint64_t value, uint64_t max);

const char *load_level_name(enum load_level level);

#endif
