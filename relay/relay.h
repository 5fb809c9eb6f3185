#ifndef RELAY_RELAY_H
#define RELAY_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "queue/queue.h"
#include "relay/base/clock.h"
#include "relay/base/err.h"
#include "relay/base/log.h"
#include "relay/net/loop.h"
#include "relay/outbound/outbound.h"
#include "relay/relay_config.h"
#include "relay/session/crew.h"

/*
 * One relay: owns the hub's loop, the queue, the resolver, the way out, the workers and
 * the control socket.  It is born, reloads, drains and dies here.  A process can hold
 * several.  Everything is for the hub's thread, which is the one that calls.
 */
struct relay;

/*
 * For a relay inside another program (the simulation), which gives it a disk and chance, keeps
 * the log, turns the hub's loop itself, and has no control socket, signals or users to change.
 * Borrowed, all of it.
 */
struct relay_embedding {
	struct disk *disk;
	struct random *random;
};

struct relay_settings {
	const char *config_path;        /* read again on a reload; borrowed */
	const struct clock *clock;      /* borrowed */
	int log_fd;
	const struct relay_embedding *embedding;        /* NULL: a daemon of its own */
};

/*
 * Opens the spool, recovers, starts the threads, listens.  Takes the configuration, also
 * on failure.  exit_code_out gets what a failure means (sysexits).
 */
struct relay *relay_new(const struct relay_settings *settings, struct relay_config **config,
    int *exit_code_out, struct err *err);

/* Mail begins to flow as soon as the hub's loop runs. */
void relay_start(struct relay *relay);

/* The same, and serves until it is told to end; returns the exit code. */
int relay_run(struct relay *relay);
void relay_free(struct relay **relay);

/*
 * --self-check: gives up what relay_new() gives up, tries to have it all the same, and prints
 * what became of each try.  The process is good for nothing else afterwards.
 */
bool relay_self_check(const struct relay_config *config, const char *config_path,
    struct err *err);

/* As SIGHUP and SIGTERM do. */
void relay_reload(struct relay *relay);
void relay_stop(struct relay *relay);

/* ---- for the commands */

struct loop *relay_hub(const struct relay *relay);
struct queue *relay_queue(const struct relay *relay);
struct outbound *relay_outbound(const struct relay *relay);
struct crew *relay_crew(const struct relay *relay);
const struct relay_config *relay_configuration(const struct relay *relay);
int64_t relay_started_wall_ms(const struct relay *relay);

/* Why the last reload was refused; "" if it was not. */
const char *relay_reload_error(const struct relay *relay);
bool relay_is_stopping(const struct relay *relay);

#endif
