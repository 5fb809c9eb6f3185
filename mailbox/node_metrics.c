/*
 * The mailbox node's numbers and its health, for relay/daemon/metrics.h.
 */
#include "mailbox/node_private.h"
#include "relay/base/version.h"

static void
collect(void *ctx, struct metrics_page *page)
{
	const struct node *node = ctx;
	const struct worker_counts counts = worker_counts(node->worker);
	const struct {
		const char *name, *help;
		enum metrics_kind kind;
		uint64_t value;
	} rows[] = {
		{ "sessions", "Clients connected.", METRICS_GAUGE,
		  crew_session_count(node->crew) },
		{ "sessions_total", "Clients served since the start.", METRICS_COUNTER,
		  crew_session_total(node->crew) },
		{ "sessions_refused_total", "Clients refused by a limit of connections.",
		  METRICS_COUNTER, crew_refused_total(node->crew) },
		{ "box_stored_total", "Messages put into boxes.", METRICS_COUNTER, counts.stored },
		{ "box_absorbed_total", "Messages that were there already.", METRICS_COUNTER,
		  counts.absorbed },
		{ "box_failed_total", "Messages refused or put off.", METRICS_COUNTER,
		  counts.failed },
		{ "box_over_quota_total", "Messages for which a box had no room.",
		  METRICS_COUNTER, counts.over_quota },
		{ "box_appends_total", "Appends; one may put several messages into a box.",
		  METRICS_COUNTER, counts.batches },
		{ "box_lock_waits_total", "Tries that found a box locked.", METRICS_COUNTER,
		  counts.lock_waits },
		{ "box_locks_broken_total", "Stale locks removed.", METRICS_COUNTER,
		  counts.locks_broken },
		{ "box_waiting", "Messages that wait for their box.", METRICS_GAUGE,
		  counts.waiting },
		{ "repairs_pending", "Boxes whose last append is not repaired yet.",
		  METRICS_GAUGE, counts.repairs_pending },
		{ "repairs_cut_total", "Torn appends cut off.", METRICS_COUNTER,
		  counts.repairs_cut },
		{ "repairs_left_total", "Torn appends left, as others had written behind them.",
		  METRICS_COUNTER, counts.repairs_left },
		{ "journal_syncs_total", "Syncs of the journal.", METRICS_COUNTER,
		  counts.journal_syncs },
		{ "journal_failures_total", "Syncs of the journal that failed.",
		  METRICS_COUNTER, counts.journal_failures },
		{ "journal_damaged", "Entries of the journal that cannot be read.",
		  METRICS_GAUGE, counts.journal_damaged },
		{ "remembered", "Deliveries that would be known again.", METRICS_GAUGE,
		  counts.remembered },
	};

	metrics_family(page, "build_info", METRICS_GAUGE, "The program and its version.");
	metrics_sample(page, (struct metrics_label){ "program", SPAN("mailboxd") },
		       (struct metrics_label){ "version", span_from_cstr(version_text()) }, 1);
	metrics_number(page, "start_time_seconds", METRICS_GAUGE, "When it started.",
		       node->started_wall_ms / 1000);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		metrics_number(page, rows[i].name, rows[i].kind, rows[i].help,
			       (int64_t)rows[i].value);
	if (node->log != NULL)
		metrics_number(page, "log_dropped_total", METRICS_COUNTER,
			       "Lines of the log that were dropped.",
			       (int64_t)log_dropped(node->log));
}

static bool
is_alive(void *ctx, struct buf *why)
{
	const struct node *node = ctx;
	const char *missing = pulse_missing(node->pulse);

	if (missing != NULL)
		(void)buf_appendf(why, "a thread hangs: %s", missing);
	return missing == NULL;
}

static bool
is_ready(void *ctx, struct buf *why)
{
	const struct node *node = ctx;
	const struct worker_counts counts = worker_counts(node->worker);

	if (node->stopping || node->stop_wanted)
		(void)buf_append_cstr(why, "stopping");
	else if (!is_alive(ctx, why))
		return false;
	else if (counts.journal_damaged > 0)
		(void)buf_appendf(why, "journal: %llu damaged entries",
				  (unsigned long long)counts.journal_damaged);
	else
		return true;
	return false;
}

static void
beat(void *ctx)
{
	struct node *node = ctx;
	const char *before = pulse_missing(node->pulse);
	const char *missing = pulse_beat(node->pulse);

	if (missing != NULL && before == NULL)
		log_error("no sign of life from a thread: %s", missing);
	else if (before != NULL && missing == NULL)
		log_info("all threads give signs of life again");
	loop_timer_start(node->hub, &node->pulse_timer, NODE_PULSE_MS);
}

bool
node_lives(void *ctx)
{
	const struct node *node = ctx;

	return node->pulse == NULL || pulse_missing(node->pulse) == NULL;
}

int
node_metrics_open(struct node *node, const struct endpoint *address, struct err *err)
{
	static const struct metrics_ops ops = {
		.collect = collect, .is_alive = is_alive, .is_ready = is_ready,
	};
	char text[ENDPOINT_TEXT_BYTES_MAX];
	struct endpoint real;

	if (node->settings.embedding != NULL)
		return 0;               /* no threads, and nobody to ask */
	node->pulse = pulse_new();
	for (size_t i = 0; i < node->worker_count; i++)
		pulse_watch(node->pulse, crew_worker_loop(crew_worker_at(node->crew, i)),
			    "worker");
	loop_timer_init(&node->pulse_timer, beat, node);
	loop_timer_start(node->hub, &node->pulse_timer, NODE_PULSE_MS);
	if (address == NULL)
		return 0;
	node->metrics = metrics_open(node->hub, address, &ops, node, err);
	if (node->metrics == NULL)
		return -1;
	real = metrics_address(node->metrics);
	log_info("metrics: http://%s/metrics", endpoint_print(&real, text));
	return 0;
}

void
node_metrics_close(struct node *node)
{
	if (node->pulse != NULL)
		loop_timer_stop(node->hub, &node->pulse_timer);
	metrics_close(&node->metrics);
}
