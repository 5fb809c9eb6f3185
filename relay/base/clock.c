#include "relay/base/clock.h"

#include <stdio.h>
#include <time.h>

#include "relay/base/container_of.h"
#include "relay/base/must.h"

static uint64_t
system_monotonic_us(const struct clock *clock)
{
	struct timespec now;

	(void)clock;
	must(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static int64_t
system_wall_us(const struct clock *clock)
{
	struct timespec now;

	(void)clock;
	must(clock_gettime(CLOCK_REALTIME, &now) == 0);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

const struct clock *
clock_system(void)
{
	static const struct clock clock = {
		.monotonic_us = system_monotonic_us,
		.wall_us = system_wall_us,
	};

	return &clock;
}

static uint64_t
manual_monotonic_us(const struct clock *clock)
{
	return container_of(clock, const struct clock_manual, clock)->monotonic_us;
}

static int64_t
manual_wall_us(const struct clock *clock)
{
	return container_of(clock, const struct clock_manual, clock)->wall_us;
}

void
clock_manual_init(struct clock_manual *manual, uint64_t monotonic_ms, int64_t wall_ms)
{
	*manual = (struct clock_manual){
		.clock = { .monotonic_us = manual_monotonic_us, .wall_us = manual_wall_us },
		.monotonic_us = monotonic_ms * 1000,
		.wall_us = wall_ms * 1000,
	};
}

void
clock_manual_advance_ms(struct clock_manual *manual, uint64_t ms)
{
	manual->monotonic_us += ms * 1000;
	manual->wall_us += (int64_t)ms * 1000;
}

void
clock_manual_step_wall_ms(struct clock_manual *manual, int64_t ms)
{
	manual->wall_us += ms * 1000;
}

/* Broken-down UTC; the year is kept printable whatever the clock says. */
static struct tm
utc(int64_t wall_ms, unsigned int *ms_out)
{
	int64_t ms = wall_ms % 1000;
	int64_t seconds = wall_ms / 1000;
	struct tm tm = { 0 };

	if (ms < 0) {
		ms += 1000;
		seconds--;
	}
	if (seconds < 0 || seconds > 253402300799)      /* 9999-12-31T23:59:59Z */
		seconds = seconds < 0 ? 0 : 253402300799;

	time_t when = (time_t)seconds;

	must(gmtime_r(&when, &tm) != NULL);
	*ms_out = (unsigned int)ms;
	return tm;
}

void
clock_print_iso(int64_t wall_ms, char text_out[CLOCK_TEXT_BYTES])
{
	unsigned int ms;
	struct tm tm = utc(wall_ms, &ms);

	(void)snprintf(text_out, CLOCK_TEXT_BYTES, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
	    (unsigned int)(tm.tm_year + 1900) % 10000, (unsigned int)(tm.tm_mon + 1) % 100,
	    (unsigned int)tm.tm_mday % 100, (unsigned int)tm.tm_hour % 100,
	    (unsigned int)tm.tm_min % 100, (unsigned int)tm.tm_sec % 100, ms % 1000);
}

void
clock_print_rfc5322(int64_t wall_ms, char text_out[CLOCK_TEXT_BYTES])
{
	static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char months[12][4] = {
		"Jan", "Feb", "Mar", "Apr", "May", "Jun",
		"Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
	};
	unsigned int ms;
	struct tm tm = utc(wall_ms, &ms);

	(void)snprintf(text_out, CLOCK_TEXT_BYTES, "%s, %02u %s %04u %02u:%02u:%02u +0000",
	    days[tm.tm_wday % 7], (unsigned int)tm.tm_mday % 100, months[tm.tm_mon % 12],
	    (unsigned int)(tm.tm_year + 1900) % 10000, (unsigned int)tm.tm_hour % 100,
	    (unsigned int)tm.tm_min % 100, (unsigned int)tm.tm_sec % 100);
}
