#include "relay/base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/log_private.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

/* A ring holds a few lines at least, whatever the settings say. */
#define RING_BYTES_MIN ((size_t)4 * LOG_LINE_BYTES_MAX)

/* What a pipe takes without blocking once poll() says it is writable. */
#define PIPE_BYTES ((size_t)4096)

/* How long the writer waits at its end for a reader that does not read. */
#define LAST_WORDS_MS 1000

#define THREAD_NAME_BYTES 24

/*
 * Bytes of whole lines.  The thread alone moves `tail`, the writer alone `head`;
 * both only grow, and their difference is what the ring holds.
 */
struct log_ring {
	struct log *log;
	char thread_name[THREAD_NAME_BYTES];
	char *bytes;
	size_t size;                    /* a power of two */
	_Atomic uint64_t head;
	_Atomic uint64_t tail;
	_Atomic bool is_detached;
	SLIST_ENTRY(log_ring) next;
};

struct log {
	struct log_settings settings;
	bool is_pipe;                   /* anything but a plain file */
	int wake_fd;
	_Atomic int level;
	_Atomic bool is_stopping;
	_Atomic bool is_asleep;
	_Atomic uint64_t dropped;
	_Atomic uint64_t write_failures;
	uint64_t dropped_told;          /* the writer's */
	pthread_mutex_t rings_lock;
	SLIST_HEAD(, log_ring) rings;
};

/* The handle of a thread: the one thing here that outlives a call without an owner. */
static _Thread_local struct log_ring *current;

struct log_ring *
log_current(void)
{
	return current;
}

const struct log_settings *
log_ring_settings(const struct log_ring *ring)
{
	return &ring->log->settings;
}

const char *
log_ring_thread_name(const struct log_ring *ring)
{
	return ring->thread_name[0] ? ring->thread_name : NULL;
}

enum log_level
log_ring_level(const struct log_ring *ring)
{
	return (enum log_level)atomic_load_explicit(&ring->log->level, memory_order_relaxed);
}

struct log *
log_new(const struct log_settings *settings)
{
	struct log *log = mem_alloc(sizeof(*log));
	struct stat st;

	must(settings->clock != NULL);
	log->settings = *settings;
	log->is_pipe = fstat(settings->fd, &st) < 0 || !S_ISREG(st.st_mode);
	log->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must(log->wake_fd >= 0);
	atomic_store(&log->level, (int)settings->level);
	must(pthread_mutex_init(&log->rings_lock, NULL) == 0);
	SLIST_INIT(&log->rings);
	return log;
}

static void
ring_free(struct log_ring *ring)
{
	mem_free(&ring->bytes);
	mem_free(&ring);
}

void
log_free(struct log **log_address)
{
	struct log *log = *log_address;

	if (!log)
		return;
	while (!SLIST_EMPTY(&log->rings)) {
		struct log_ring *ring = SLIST_FIRST(&log->rings);

		if (current == ring)
			current = NULL;
		SLIST_REMOVE_HEAD(&log->rings, next);
		ring_free(ring);
	}
	must(pthread_mutex_destroy(&log->rings_lock) == 0);
	(void)close(log->wake_fd);              /* an eventfd has nothing to lose */
	mem_free(log_address);
}

struct log_ring *
log_attach(struct log *log, const char *thread_name)
{
	struct log_ring *ring = mem_alloc(sizeof(*ring));
	size_t wanted = log->settings.ring_bytes ? log->settings.ring_bytes : LOG_RING_BYTES;

	ring->log = log;
	(void)snprintf(ring->thread_name, sizeof(ring->thread_name), "%s",
	    thread_name ? thread_name : "");
	if (!log->settings.synchronous) {
		ring->size = RING_BYTES_MIN;
		while (ring->size < wanted)
			ring->size *= 2;
		ring->bytes = mem_alloc(ring->size);
	}
	must(pthread_mutex_lock(&log->rings_lock) == 0);
	SLIST_INSERT_HEAD(&log->rings, ring, next);
	must(pthread_mutex_unlock(&log->rings_lock) == 0);
	current = ring;
	return ring;
}

struct log_ring *
log_use(struct log_ring *ring)
{
	struct log_ring *before = current;

	current = ring;
	return before;
}

void
log_detach(struct log_ring *ring)
{
	if (current == ring)
		current = NULL;
	/* The ring may be gone once this is seen, and what is needed is its log. */
	struct log *log = ring->log;

	atomic_store(&ring->is_detached, true);
	if (!log->settings.synchronous)
		log_wake(log);
}

void
log_set_level(struct log *log, enum log_level level)
{
	atomic_store_explicit(&log->level, (int)level, memory_order_relaxed);
}

uint64_t
log_dropped(const struct log *log)
{
	return atomic_load(&log->dropped);
}

uint64_t
log_write_failures(const struct log *log)
{
	return atomic_load(&log->write_failures);
}

void
log_wake(struct log *log)
{
	uint64_t one = 1;

	/* It can only fail by being awake already. */
	if (atomic_exchange(&log->is_asleep, false))
		(void)!write(log->wake_fd, &one, sizeof(one));
}

/* Bytes of whole lines that one write may take. */
static size_t
piece_len(const struct log *log, struct span lines)
{
	size_t end;

	if (!log->is_pipe || lines.len <= PIPE_BYTES)
		return lines.len;
	if (!span_find_last_byte(span_first(lines, PIPE_BYTES), '\n', &end))
		return PIPE_BYTES;
	return end + 1;
}

/* False when the descriptor takes nothing before the time for last words is over. */
static bool
wait_writable(struct log *log)
{
	int waited_ms = 0;

	for (;;) {
		struct pollfd fd = { .fd = log->settings.fd, .events = POLLOUT };
		bool is_last = atomic_load(&log->is_stopping) || log->settings.synchronous;

		if (poll(&fd, 1, 100) != 0)
			return true;            /* errors show at the write */
		waited_ms += 100;
		if (is_last && waited_ms >= LAST_WORDS_MS)
			return false;
	}
}

static void
write_lines(struct log *log, struct span lines)
{
	while (lines.len > 0) {
		if (log->is_pipe && !wait_writable(log)) {
			atomic_fetch_add(&log->write_failures, 1);
			return;
		}

		ssize_t done = write(log->settings.fd, lines.data, piece_len(log, lines));

		if (done < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (done < 0) {
			atomic_fetch_add(&log->write_failures, 1);
			return;
		}
		lines = span_skip(lines, (size_t)done);
	}
}

void
log_put(struct log_ring *ring, struct span line, bool is_mail)
{
	if (!ring) {
		/* Nobody set a log up: a tool, or a program's first steps. */
		(void)!write(STDERR_FILENO, line.data, line.len);
		return;
	}
	if (ring->log->settings.synchronous) {
		write_lines(ring->log, line);
		return;
	}

	uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
	size_t room = ring->size - (size_t)(tail - head);
	size_t kept = is_mail ? 0 : ring->size / 4;

	if (line.len + kept > room) {
		atomic_fetch_add_explicit(&ring->log->dropped, 1, memory_order_relaxed);
		return;
	}

	size_t at = (size_t)tail & (ring->size - 1);
	size_t first = line.len < ring->size - at ? line.len : ring->size - at;

	memcpy(ring->bytes + at, line.data, first);
	memcpy(ring->bytes, line.data + first, line.len - first);
	atomic_store(&ring->tail, tail + line.len);
	if (atomic_load(&ring->log->is_asleep))
		log_wake(ring->log);
}

/* Write what the ring has.  True when there was something. */
static bool
drain_ring(struct log *log, struct log_ring *ring, char *lines)
{
	uint64_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
	uint64_t tail = atomic_load(&ring->tail);
	size_t len = (size_t)(tail - head);
	size_t at = (size_t)head & (ring->size - 1);
	size_t first = len < ring->size - at ? len : ring->size - at;

	if (len == 0)
		return false;
	/* Copied out, so that the ring has room again while the descriptor is slow. */
	memcpy(lines, ring->bytes + at, first);
	memcpy(lines + first, ring->bytes, len - first);
	atomic_store_explicit(&ring->head, tail, memory_order_release);
	write_lines(log, span_make(lines, len));
	return true;
}

/* The ring behind `ring` in the list, or the first.  Rings are added at the front. */
static struct log_ring *
ring_after(struct log *log, struct log_ring *ring)
{
	must(pthread_mutex_lock(&log->rings_lock) == 0);
	ring = ring ? SLIST_NEXT(ring, next) : SLIST_FIRST(&log->rings);
	must(pthread_mutex_unlock(&log->rings_lock) == 0);
	return ring;
}

static void
forget_ring(struct log *log, struct log_ring *ring)
{
	must(pthread_mutex_lock(&log->rings_lock) == 0);
	SLIST_REMOVE(&log->rings, ring, log_ring, next);
	must(pthread_mutex_unlock(&log->rings_lock) == 0);
	ring_free(ring);
}

static bool
drain_rings(struct log *log)
{
	bool was_busy = false;
	char *lines = NULL;
	size_t lines_size = 0;
	struct log_ring *ring = ring_after(log, NULL);

	while (ring) {
		struct log_ring *next = ring_after(log, ring);
		bool is_detached = atomic_load(&ring->is_detached);

		if (lines_size < ring->size) {
			lines = mem_resize_array(lines, ring->size, 1);
			lines_size = ring->size;
		}
		was_busy |= drain_ring(log, ring, lines);
		if (is_detached)
			forget_ring(log, ring);
		ring = next;
	}
	mem_free(&lines);
	return was_busy;
}

static void
tell_dropped(struct log *log)
{
	uint64_t dropped = log_dropped(log);
	char line[128];

	if (dropped == log->dropped_told)
		return;

	int len = snprintf(line, sizeof(line), "level=warn event=log_dropped lines=%llu\n",
	    (unsigned long long)(dropped - log->dropped_told));

	log->dropped_told = dropped;
	write_lines(log, span_make(line, (size_t)len));
}

static void
sleep_until_woken(struct log *log)
{
	struct pollfd fd = { .fd = log->wake_fd, .events = POLLIN };
	uint64_t count;

	(void)poll(&fd, 1, -1);                 /* whatever woke us, we look */
	(void)!read(log->wake_fd, &count, sizeof(count));
}

void
log_run_writer(struct log *log)
{
	for (;;) {
		/* In this order: what was logged before the stop is written. */
		bool is_stopping = atomic_load(&log->is_stopping);

		atomic_store(&log->is_asleep, true);
		if (drain_rings(log)) {
			atomic_store(&log->is_asleep, false);
			tell_dropped(log);
			continue;
		}
		tell_dropped(log);
		if (is_stopping)
			return;
		sleep_until_woken(log);
	}
}

void
log_stop_writer(struct log *log)
{
	atomic_store(&log->is_stopping, true);
	atomic_store(&log->is_asleep, true);
	log_wake(log);
}
