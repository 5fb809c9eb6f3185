#ifndef RELAY_BASE_LOG_PRIVATE_H
#define RELAY_BASE_LOG_PRIVATE_H

#include "relay/base/log.h"

/*
 * Between log.c (rings, writer) and log_line.c (text of a line).
 */

/* The ring of the calling thread, or NULL. */
struct log_ring *log_current(void);

const struct log_settings *log_ring_settings(const struct log_ring *ring);
const char *log_ring_thread_name(const struct log_ring *ring);
enum log_level log_ring_level(const struct log_ring *ring);

/* One whole line with its newline, to the thread's ring or descriptor. */
void log_put(struct log_ring *ring, struct span line, bool is_mail);

#endif
