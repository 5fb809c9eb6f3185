#ifndef RELAY_BASE_LOG_H
#define RELAY_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/err.h"
#include "relay/base/span.h"

struct clock;

/*
 * The log of a node: lines of key=value fields, written to one descriptor.
 *
 *   time=2026-03-01T12:30:45.123Z level=info event=accepted id=0CZ... size=10240
 *   time=2026-03-01T12:30:45.124Z level=warn thread=hub msg="spool: no space"
 *
 * Values with anything but plain characters are quoted; control and foreign
 * bytes are written as \xNN, so that no input makes a second line or a second
 * field.  Well-formed UTF-8 is kept.
 *
 * Each thread that logs has a bounded ring of its own; one thread, made by
 * relay/net/work.h, runs log_run_writer() and moves the rings to the descriptor.
 * Logging never blocks: a full ring drops the line and counts it, and the last
 * quarter of a ring is kept for the lines of mail events.  In synchronous mode
 * (tools, tests, simulation) a line is written at once by the caller.
 *
 * One lock guards the list of rings; it is taken by attach and by the writer, and
 * never while a line is logged.
 *
 * Which log a thread writes to is a handle of the thread: log_attach() makes a
 * ring, log_use() picks it.  A simulation with many nodes on one thread calls
 * log_use() whenever it lets another node run.  With no handle, warnings and
 * errors go to standard error.
 */
enum log_level {
	LOG_LEVEL_ERROR,        /* an operator must act */
	LOG_LEVEL_WARN,         /* odd, but handled */
	LOG_LEVEL_INFO,         /* one line per event in a letter's life */
	LOG_LEVEL_DEBUG,
};

struct log;
struct log_ring;

struct log_settings {
	const struct clock *clock;      /* outlives the log */
	int fd;                         /* borrowed; not closed */
	enum log_level level;
	bool synchronous;
	bool without_time;              /* for journald, which has its own */
	size_t ring_bytes;              /* 0 means LOG_RING_BYTES */
};

#define LOG_RING_BYTES ((size_t)256 << 10)
#define LOG_LINE_BYTES_MAX 2048

struct log *log_new(const struct log_settings *settings);

/* After the writer has returned and every thread has detached. */
void log_free(struct log **log);

/*
 * A ring for the calling thread, which is used from here on.  The name appears
 * as thread=NAME; NULL leaves the field out.  Rings belong to the log.
 */
struct log_ring *log_attach(struct log *log, const char *thread_name);

/* Pick a ring of this thread, or none with NULL.  Returns the one used before. */
struct log_ring *log_use(struct log_ring *ring);

/* The thread ends: what is in the ring will still be written.  Picks none. */
void log_detach(struct log_ring *ring);

/* Any thread, at any time. */
void log_set_level(struct log *log, enum log_level level);

/*
 * The writer's whole life: writes what the rings have, sleeps when there is
 * nothing, returns after log_stop_writer() when all is written.
 */
void log_run_writer(struct log *log);
void log_stop_writer(struct log *log);

/* Wake the writer; logging does it by itself. */
void log_wake(struct log *log);

/* Lines dropped because a ring was full, and writes that failed. */
uint64_t log_dropped(const struct log *log);
uint64_t log_write_failures(const struct log *log);

/* "warn" and back. */
const char *log_level_name(enum log_level level);
bool log_level_parse(struct span text, enum log_level *level_out);

/* Whether the thread's log would write this level: to spare costly arguments. */
bool log_wants(enum log_level level);

/* One line with the text as msg=.  Safe for any bytes in arguments. */
void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * A line with fields, made on the stack:
 *
 *	struct log_line line;
 *
 *	log_begin(&line, LOG_LEVEL_INFO, "connected");
 *	log_span(&line, "peer", name);
 *	log_u64(&line, "ms", took_ms);
 *	log_end(&line);
 *
 * A line too long for its room loses what does not fit and ends in cut=1.
 * Fields with an empty span are written as key="".
 */
struct log_line {
	size_t len;
	bool wanted;
	bool cut;
	bool is_mail;
	char text[LOG_LINE_BYTES_MAX];
};

/* event may be NULL.  Nothing happens in a line whose level is not wanted. */
void log_begin(struct log_line *line, enum log_level level, const char *event);

/* The same for events in the life of mail, which are dropped last. */
void log_begin_mail(struct log_line *line, const char *event);

void log_span(struct log_line *line, const char *key, struct span value);
void log_cstr(struct log_line *line, const char *key, const char *value);
void log_u64(struct log_line *line, const char *key, uint64_t value);
void log_i64(struct log_line *line, const char *key, int64_t value);
void log_bool(struct log_line *line, const char *key, bool value);

/* A wall time as ISO 8601. */
void log_time(struct log_line *line, const char *key, int64_t wall_ms);

/* A duration as "1d12h". */
void log_duration(struct log_line *line, const char *key, uint64_t ms);

/* 64 bits as base32: a queue id. */
void log_id(struct log_line *line, const char *key, uint64_t id);

void log_end(struct log_line *line);

#endif
