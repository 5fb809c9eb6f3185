#ifndef RELAY_OUTBOUND_WINDOW_H
#define RELAY_OUTBOUND_WINDOW_H

#include <stddef.h>
#include <stdint.h>

/*
 * How many connections a destination is given.  Pure.
 *
 * It grows by one with every message that went well while the window was full,
 * up to twice the connections that were proven to work at the same time, and
 * halves, once a round, when a host fails.  After a breaker has closed it begins
 * again at its start.
 */
struct window_settings {
	uint32_t start;                 /* connections at first; 0: 2 */
	uint32_t max;                   /* 0: 20 */
};

struct window {
	uint32_t start;
	uint32_t max;
	uint32_t size;
	uint32_t proven;                /* connections that worked at the same time */
	uint64_t halved_ms;             /* failures of jobs begun before do not count again */
};

void window_init(struct window *window, const struct window_settings *settings);

/* New settings, same memory. */
void window_configure(struct window *window, const struct window_settings *settings);

/*
 * A job went well.  PROVEN is the number of connections in use when its
 * connection was opened, itself among them; 0 when the connection was warm.
 * IN_USE is the number now.
 */
void window_success(struct window *window, uint32_t proven, uint32_t in_use);

/* A host failed a job that was begun at BEGUN_MS. */
void window_failure(struct window *window, uint64_t begun_ms, uint64_t now_ms);

/* The breaker has closed: begin small. */
void window_restart(struct window *window);

#endif
