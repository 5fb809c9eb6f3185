/*
 * One mailbox node: owns the hub's loop, the journal and the worker, the crew with its sessions,
 * and the control socket.  It is born, reloads, drains and dies here.  A process can hold
 * several.  Everything is for the hub's thread, which is the one that calls.
 */
#ifndef MAILBOX_NODE_H
#define MAILBOX_NODE_H

#include <stdbool.h>
#include <stdint.h>

#include "mailbox/mailbox_config.h"
#include "mailbox/worker.h"
#include "relay/base/clock.h"
#include "relay/base/err.h"
#include "relay/session/crew.h"

struct node;

/*
 * For a node inside another program (the simulation), which gives it disks and chance, keeps the
 * log, turns the hub's loop itself, and has no control socket, signals or users to change.
 * Borrowed, all of it.
 */
struct node_embedding {
	struct disk *journal_disk;
	struct box_disk *box_disk;
	struct random *random;
};

struct node_settings {
	const char *config_path;        /* read again on a reload; borrowed */
	const struct clock *clock;      /* borrowed */
	int log_fd;
	const struct node_embedding *embedding;         /* NULL: a daemon of its own */
};

/*
 * Opens the journal, starts the threads, listens.  Takes over the reference to the configuration,
 * also on failure.  exit_code_out gets what a failure means (sysexits).
 */
struct node *node_new(const struct node_settings *settings, struct mailbox_config **config,
		      int *exit_code_out, struct err *err);

/* For an embedded one: its loop, and that mail may flow as soon as it runs. */
struct loop *node_hub(const struct node *node);
void node_start(struct node *node);

/* Starts, and serves until it is told to end; returns the exit code. */
int node_run(struct node *node);
void node_free(struct node **node);

/*
 * --self-check: gives up what node_new() gives up, tries to have it all the same, and prints
 * what became of each try.  The process is good for nothing else afterwards.
 */
bool node_self_check(const struct mailbox_config *config, const char *config_path,
		     struct err *err);

/* As SIGHUP and SIGTERM do. */
void node_reload(struct node *node);
void node_stop(struct node *node);

/* For the control socket. */
struct crew *node_crew(const struct node *node);
struct worker *node_worker(const struct node *node);
const struct mailbox_config *node_configuration(const struct node *node);
int64_t node_started_wall_ms(const struct node *node);
int64_t node_wall_ms(const struct node *node);

/* Why the last reload was refused; "" if it was not. */
const char *node_reload_error(const struct node *node);

#endif
