#include "relay/inbound/load.h"

#include <stddef.h>

#include "relay/base/must.h"

enum {
	AMBER_PERCENT = 70,
	RED_PERCENT = 90,
	LEAVE_PERCENT = 5,              /* below where it began */
	AMBER_COMMIT_MS = 250,
	RED_COMMIT_MS = 1000,
	SLOW_MS = 5000,
};

void
load_init(struct load *load)
{
	*load = (struct load){ .why = "" };
}

static unsigned
percent_of(uint64_t value, uint64_t max)
{
	if (max == 0)
		return 0;
	if (value >= max)
		return 100;
	return (unsigned)((double)value * 100.0 / (double)max);
}

/* The disk is full, for us, at the floor; half used when twice the floor is free. */
static unsigned
disk_percent(const struct load_gauges *gauges)
{
	if (gauges->disk_floor_bytes == 0 || gauges->disk_free_bytes == 0)
		return gauges->disk_floor_bytes == 0 ? 0 : 100;
	return percent_of(gauges->disk_floor_bytes, gauges->disk_free_bytes);
}

static unsigned
fullest(const struct load_gauges *gauges, const char **why_out)
{
	const struct {
		const char *name;
		unsigned percent;
	} parts[] = {
		{ "connections", percent_of(gauges->connections, gauges->connections_max) },
		{ "descriptors", percent_of(gauges->descriptors, gauges->descriptors_max) },
		{ "memory", percent_of(gauges->memory_bytes, gauges->memory_bytes_max) },
		{ "disk", disk_percent(gauges) },
	};
	size_t most = 0;

	for (size_t i = 1; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (parts[i].percent > parts[most].percent)
			most = i;
	*why_out = parts[most].name;
	return parts[most].percent;
}

static unsigned
amber_percent(const struct load_limits *limits)
{
	return limits->amber_percent ? limits->amber_percent : AMBER_PERCENT;
}

static unsigned
red_percent(const struct load_limits *limits)
{
	return limits->red_percent ? limits->red_percent : RED_PERCENT;
}

/* A level once entered is left only LEAVE_PERCENT below. */
static enum load_level
level_by_percent(const struct load_limits *limits, enum load_level now, unsigned percent)
{
	unsigned to_red = red_percent(limits) - (now == LOAD_RED ? LEAVE_PERCENT : 0);
	unsigned to_amber = amber_percent(limits) - (now != LOAD_GREEN ? LEAVE_PERCENT : 0);

	if (percent >= to_red)
		return LOAD_RED;
	return percent >= to_amber ? LOAD_AMBER : LOAD_GREEN;
}

static enum load_level
level_by_commits(struct load *load, const struct load_limits *limits, uint64_t commit_ms,
    uint64_t now_ms)
{
	uint64_t amber_ms = limits->amber_commit_ms ? limits->amber_commit_ms : AMBER_COMMIT_MS;
	uint64_t red_ms = limits->red_commit_ms ? limits->red_commit_ms : RED_COMMIT_MS;

	if (commit_ms <= red_ms)
		load->commits_are_slow = false;
	else if (!load->commits_are_slow) {
		load->commits_are_slow = true;
		load->slow_since_ms = now_ms;
	}
	if (load->commits_are_slow && now_ms - load->slow_since_ms >= SLOW_MS)
		return LOAD_RED;
	return commit_ms > amber_ms ? LOAD_AMBER : LOAD_GREEN;
}

bool
load_update(struct load *load, const struct load_limits *limits,
    const struct load_gauges *gauges, uint64_t now_ms)
{
	enum load_level before = load->level;
	const char *why;
	unsigned percent = fullest(gauges, &why);
	enum load_level level = level_by_percent(limits, before, percent);
	enum load_level commits = level_by_commits(load, limits, gauges->commit_ms, now_ms);

	if (commits > level) {
		level = commits;
		why = "commits";
	}
	load->level = level;
	load->percent = percent;
	load->why = level == LOAD_GREEN ? "" : why;
	return level != before;
}

enum load_level
load_level_of(const struct load_limits *limits, uint64_t value, uint64_t max)
{
	return level_by_percent(limits, LOAD_GREEN, percent_of(value, max));
}

const char *
load_level_name(enum load_level level)
{
	switch (level) {
	case LOAD_GREEN:
		return "green";
	case LOAD_AMBER:
		return "amber";
	case LOAD_RED:
		return "red";
	}
	must_not_reach();
}
