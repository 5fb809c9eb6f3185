/*
 * What the files of relay share.
 */
#ifndef RELAY_RELAY_PRIVATE_H
#define RELAY_RELAY_PRIVATE_H

#include "queue/disk.h"
#include "relay/base/random.h"
#include "relay/base/stats.h"
#include "relay/daemon/activation.h"
#include "relay/daemon/control.h"
#include "relay/daemon/metrics.h"
#include "relay/daemon/node_sandbox.h"
#include "relay/daemon/notify.h"
#include "relay/daemon/privilege.h"
#include "relay/daemon/pulse.h"
#include "relay/daemon/signals.h"
#include "relay/inbound/gate.h"
#include "relay/inbound/inbound.h"
#include "relay/inbound/load.h"
#include "relay/net/resolver.h"
#include "relay/net/work.h"
#include "relay/relay.h"

/* What sessions go by: the configuration, with the routes as inbound may ask them. */
struct relay_snapshot {
	struct inbound_config inbound;          /* first: the `app` of the crew's plan */
	struct relay_config *config;            /* owned */
};

/* A reload on its way: made by the helper's thread, taken up on the hub. */
struct relay_reload {
	struct work_job job;
	bool running;
	bool again;                     /* asked for once more meanwhile */
	struct crew_plan *plan;         /* NULL: err says why */
	struct err err;
	char refused[ERR_TEXT_BYTES];   /* the last one, for status */
};

/* What outbound remembers, on its way to the disk. */
struct relay_memory {
	struct work_job job;
	struct loop_timer delay;
	struct buf text;
	struct err err;
	bool is_writing;
	bool is_due;                    /* it has changed meanwhile */
};

/* How full the node is, looked at once a second on the hub. */
struct relay_load {
	struct load load;
	struct loop_timer timer;
	uint64_t descriptors_max;
	uint64_t batch_count;           /* of the queue, at the last look */
	uint64_t sync_us_total;
};

struct relay {
	struct relay_settings settings;
	struct loop *hub;
	struct random own_random;
	struct random *random;
	struct stats *stats;
	struct log *log;
	struct log_ring *ring;
	struct work_thread *log_writer;
	struct privilege privilege;
	struct signals *signals;
	struct notify *notify;
	struct activation *activation;
	struct control *control;
	struct disk *disk;
	struct queue *queue;
	struct resolver *resolver;
	struct outbound *outbound;
	struct crew *crew;
	struct gate *gate;
	struct relay_load load;
	struct relay_memory memory;
	struct work_pool *helper;
	struct work_pool *login_helpers;
	struct crew_plan *first_plan;   /* until the crew takes it */
	size_t worker_count;
	int64_t started_wall_ms;

	struct relay_reload reload;
	bool stopping;
	bool stop_wanted;               /* as soon as the reload is through */
	bool crew_drained;
	bool outbound_stopped;
	struct loop_timer last_moment;
	int exit_code;

	struct sandbox_state sandbox;
	struct metrics *metrics;
	struct pulse *pulse;            /* whether committer and workers turn */
	struct loop_timer pulse_timer;
};

enum { RELAY_PULSE_MS = 10 * 1000 };

/* relay_sandbox.c; on the first thread, before there is another. */
int relay_enter_sandbox(struct relay *relay, const struct relay_config *config, struct err *err);

/*
 * The pulse and, at an ADDRESS, numbers and health over HTTP (relay_metrics.c).  When queue and
 * crew are there.
 */
int relay_metrics_open(struct relay *relay, const struct endpoint *address, struct err *err);

/* Before what it shows is taken down; the pulse is freed when the threads have ended. */
void relay_metrics_close(struct relay *relay);

/* For the service manager's watchdog. */
bool relay_lives(void *relay);

/* Makes a plan; takes the configuration, also on failure.  Any thread. */
struct crew_plan *relay_make_plan(struct relay *relay, struct relay_config **config,
    struct err *err);
const struct relay_config *relay_plan_config(const struct crew_plan *plan);

void relay_reload_init(struct relay *relay);

/*
 * The file of what outbound knows of destinations (relay_memory.c): read once, before mail
 * is offered; written a moment after a change; flushed before the helper ends.
 */
void relay_memory_init(struct relay *relay);
void relay_memory_fini(struct relay *relay);
void relay_memory_read(struct relay *relay);
void relay_memory_changed(void *relay);
void relay_memory_flush(struct relay *relay);

/*
 * As many descriptors as we may have; returns how many.  Before anything is opened.
 * Then the looking at the load, from the first plan on.
 */
uint64_t relay_raise_descriptors(void);
void relay_load_start(struct relay *relay);
void relay_load_stop(struct relay *relay);

/* Starts the end that was asked for during a reload. */
void relay_stop_now(struct relay *relay);

#endif
