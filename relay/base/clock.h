#ifndef RELAY_BASE_CLOCK_H
#define RELAY_BASE_CLOCK_H

#include <stdint.h>

/*
 * Time as an argument.  Monotonic time counts from an unknown point and never
 * goes back; wall time counts from 1970 in UTC and may jump.  clock.c is the
 * only file that asks the system.  A const struct clock may be read by every
 * thread.
 */
struct clock {
	uint64_t (*monotonic_us)(const struct clock *clock);
	int64_t (*wall_us)(const struct clock *clock);
};

/* The system's clock; lives for ever. */
const struct clock *clock_system(void);

/* A clock that stands still until told. */
struct clock_manual {
	struct clock clock;
	uint64_t monotonic_us;
	int64_t wall_us;
};

void clock_manual_init(struct clock_manual *manual, uint64_t monotonic_ms, int64_t wall_ms);

/* Both times go on. */
void clock_manual_advance_ms(struct clock_manual *manual, uint64_t ms);

/* Only the wall time jumps, as when an operator sets the clock. */
void clock_manual_step_wall_ms(struct clock_manual *manual, int64_t ms);

static inline uint64_t
clock_monotonic_us(const struct clock *clock)
{
	return clock->monotonic_us(clock);
}

static inline uint64_t
clock_monotonic_ms(const struct clock *clock)
{
	return clock->monotonic_us(clock) / 1000;
}

static inline int64_t
clock_wall_us(const struct clock *clock)
{
	return clock->wall_us(clock);
}

static inline int64_t
clock_wall_ms(const struct clock *clock)
{
	return clock->wall_us(clock) / 1000;
}

#define CLOCK_TEXT_BYTES 96

/* "2026-03-01T12:30:45.123Z" */
void clock_print_iso(int64_t wall_ms, char text_out[CLOCK_TEXT_BYTES]);

/* RFC 5322 in UTC: "Sun, 01 Mar 2026 12:30:45 +0000" */
void clock_print_rfc5322(int64_t wall_ms, char text_out[CLOCK_TEXT_BYTES]);

#endif
