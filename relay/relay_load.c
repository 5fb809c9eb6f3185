#include "relay/relay_private.h"

#include <limits.h>
#include <linux/close_range.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
	LOOK_MS = 1000,
	DESCRIPTORS_OF_OURS = 64,       /* loops, spool, control, log */
};

uint64_t
relay_raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	return getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY
	    ? 0 : limit.rlim_cur;
}

/* The mean of the commits since the last look. */
static uint64_t
commit_ms(struct relay_load *load, const struct queue_stats *stats)
{
	uint64_t batches = stats->batch_count - load->batch_count;
	uint64_t sync_us = stats->sync_us_total - load->sync_us_total;

	load->batch_count = stats->batch_count;
	load->sync_us_total = stats->sync_us_total;
	return batches > 0 ? sync_us / batches / 1000 : 0;
}

static void
log_level(const struct load *load)
{
	struct log_line line;

	log_begin(&line, load->level == LOAD_GREEN ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "load");
	log_cstr(&line, "level", load_level_name(load->level));
	log_cstr(&line, "why", load->why);
	log_u64(&line, "percent", load->percent);
	log_end(&line);
}

static void
look(void *ctx)
{
	struct relay *relay = ctx;
	struct relay_load *it = &relay->load;
	const struct relay_config *config = relay_configuration(relay);
	struct outbound_totals totals;
	struct queue_stats stats;

	queue_stats(relay->queue, &stats);
	outbound_totals(relay->outbound, &totals);

	const struct load_gauges gauges = {
		.connections = crew_session_count(relay->crew),
		.connections_max = config->node.limits.connection_count_max,
		.descriptors = crew_session_count(relay->crew) + totals.connection_count +
		    DESCRIPTORS_OF_OURS,
		.descriptors_max = it->descriptors_max,
		.memory_bytes = stats.body_memory_bytes,
		.memory_bytes_max = config->body_memory_bytes,
		.disk_free_bytes = stats.disk_free_bytes,
		.disk_floor_bytes = config->floor_bytes,
		.commit_ms = commit_ms(it, &stats),
	};

	if (load_update(&it->load, &config->gate.load, &gauges, loop_now_ms(relay->hub)))
		log_level(&it->load);
	gate_set_level(relay->gate, it->load.level);
	loop_timer_start(relay->hub, &it->timer, LOOK_MS);
}

/* libunbound opens sockets that a program would inherit, if ever we started one. */
static void
close_all_on_exec(void)
{
	(void)close_range(STDERR_FILENO + 1, UINT_MAX, CLOSE_RANGE_CLOEXEC);
}

void
relay_load_start(struct relay *relay)
{
	close_all_on_exec();
	load_init(&relay->load.load);
	loop_timer_init(&relay->load.timer, look, relay);
	loop_timer_start(relay->hub, &relay->load.timer, LOOK_MS);
}

void
relay_load_stop(struct relay *relay)
{
	if (relay->load.timer.fired)
		loop_timer_stop(relay->hub, &relay->load.timer);
}
