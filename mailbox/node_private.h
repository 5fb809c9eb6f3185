/*
 * What the files of node share.
 */
#ifndef MAILBOX_NODE_PRIVATE_H
#define MAILBOX_NODE_PRIVATE_H

#include "mailbox/delivery.h"
#include "mailbox/node.h"
#include "queue/disk.h"
#include "relay/base/log.h"
#include "relay/base/random.h"
#include "relay/daemon/activation.h"
#include "relay/daemon/control.h"
#include "relay/daemon/metrics.h"
#include "relay/daemon/node_sandbox.h"
#include "relay/daemon/notify.h"
#include "relay/daemon/privilege.h"
#include "relay/daemon/pulse.h"
#include "relay/daemon/signals.h"
#include "relay/net/work.h"

/* A reload on its way: made by the helper's thread, taken up on the hub. */
struct node_reload {
	struct work_job job;
	bool running;
	bool again;                     /* asked for once more meanwhile */
	struct crew_plan *plan;         /* NULL: err says why */
	struct err err;
	char refused[ERR_TEXT_BYTES];   /* the last one, for status */
};

struct node {
	struct node_settings settings;
	struct loop *hub;
	struct random own_random;
	struct random *random;
	struct log *log;
	struct log_ring *ring;
	struct work_thread *log_writer;
	struct privilege privilege;
	struct signals *signals;
	struct notify *notify;
	struct activation *activation;
	struct control *control;
	struct disk *disk;
	struct worker *worker;
	struct delivery_place place;
	struct crew *crew;
	struct work_pool *helper;
	struct crew_plan *first_plan;   /* until the crew takes it */
	size_t worker_count;
	int64_t started_wall_ms;

	struct node_reload reload;
	bool stop_wanted;               /* as soon as a reload is through */
	bool stopping;
	struct loop_timer last_moment;
	int exit_code;

	struct sandbox_state sandbox;
	struct metrics *metrics;
	struct pulse *pulse;            /* whether the workers turn */
	struct loop_timer pulse_timer;
};

enum { NODE_PULSE_MS = 10 * 1000 };

/* node_confine.c; on the first thread, before there is another. */
int node_enter_sandbox(struct node *node, const struct mailbox_config *config, struct err *err);

/* The pulse and, at an ADDRESS, numbers and health over HTTP (node_metrics.c). */
int node_metrics_open(struct node *node, const struct endpoint *address, struct err *err);
void node_metrics_close(struct node *node);

/* For the service manager's watchdog. */
bool node_lives(void *node);

/* Makes a plan; takes over the reference to the configuration, also on failure.  Any thread. */
struct crew_plan *node_make_plan(struct node *node, struct mailbox_config **config,
				 struct err *err);

void node_reload_init(struct node *node);

/* Starts the end that was asked for during a reload. */
void node_stop_now(struct node *node);

/* The verbs of the control socket. */
const struct control_verb *node_verbs(size_t *count_out);

#endif
