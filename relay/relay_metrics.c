/*
 * The relay's numbers and its health, for relay/daemon/metrics.h.
 */
#include "relay/base/version.h"
#include "relay/outbound/breaker.h"
#include "relay/relay_private.h"

enum { DESTINATIONS_SHOWN_MAX = 500 };         /* of strangers there may be many thousands */

static const struct metrics_label no_label;

static struct metrics_label
label(const char *key, struct span value)
{
	return (struct metrics_label){ key, value };
}

static struct metrics_label
label_of(const char *key, const char *value)
{
	return label(key, span_from_cstr(value));
}

/* ---- the queue */

static void
put_queue(struct metrics_page *page, const struct queue_stats *stats)
{
	const struct {
		const char *name, *help;
		enum metrics_kind kind;
		uint64_t value;
	} rows[] = {
		{ "queue_messages", "Messages in the queue.", METRICS_GAUGE, stats->message_count },
		{ "queue_bytes", "Octets of the messages in the queue.", METRICS_GAUGE,
		    stats->message_bytes },
		{ "queue_held", "Messages that an operator holds.", METRICS_GAUGE,
		    stats->held_count },
		{ "queue_open_recipients", "Recipients not settled yet.", METRICS_GAUGE,
		    stats->open_rcpt_count },
		{ "queue_accepted_total", "Messages accepted since the start.", METRICS_COUNTER,
		    stats->accepted_count },
		{ "queue_settled_total", "Messages settled since the start.", METRICS_COUNTER,
		    stats->settled_count },
		{ "commits_total", "Batches written and synced.", METRICS_COUNTER,
		    stats->batch_count },
		{ "commit_messages_total", "Messages in these batches.", METRICS_COUNTER,
		    stats->batch_message_count },
		{ "commit_bytes_total", "Octets written to the log.", METRICS_COUNTER,
		    stats->written_bytes },
		{ "commit_failures_total", "Syncs that failed.", METRICS_COUNTER,
		    stats->sync_failed_count },
		{ "spool_segments", "Segments that hold something alive.", METRICS_GAUGE,
		    stats->segment_live_count },
		{ "spool_live_bytes", "Octets in them that are alive.", METRICS_GAUGE,
		    stats->live_bytes },
		{ "spool_moved_bytes_total", "Octets moved to win space back.", METRICS_COUNTER,
		    stats->moved_bytes },
		{ "spool_damaged", "Messages that cannot be read back whole.", METRICS_GAUGE,
		    stats->damaged_count },
		{ "spool_scrubbed_bytes_total", "Octets read again to see whether they are right.",
		    METRICS_COUNTER, stats->scrubbed_bytes },
		{ "spool_scrub_damaged_total", "Damage found in this way.", METRICS_COUNTER,
		    stats->scrub_damaged_count },
		{ "disk_free_bytes", "Room on the disk of the spool.", METRICS_GAUGE,
		    stats->disk_free_bytes },
		{ "body_memory_bytes", "Bodies in memory.", METRICS_GAUGE,
		    stats->body_memory_bytes },
		{ "index_bytes", "Memory of the queue's index.", METRICS_GAUGE,
		    stats->index_bytes },
		{ "queue_pressure", "0: mail is accepted; 1: no room; 2: nothing can be recorded.",
		    METRICS_GAUGE, (uint64_t)stats->pressure },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		metrics_number(page, rows[i].name, rows[i].kind, rows[i].help,
		    (int64_t)rows[i].value);
	metrics_family(page, "commit_sync_seconds_total", METRICS_COUNTER,
	    "Time spent in syncs; with chapar_commits_total the mean latency.");
	metrics_sample_millionths(page, (int64_t)stats->sync_us_total);
	metrics_family(page, "commit_sync_seconds_max", METRICS_GAUGE,
	    "The longest sync since the start.");
	metrics_sample_millionths(page, (int64_t)stats->sync_us_max);
}

/* ---- destinations: each family goes over all of them */

enum column {
	COLUMN_READY,
	COLUMN_WAITING,
	COLUMN_RUNNING,
	COLUMN_CONNECTIONS,
	COLUMN_WINDOW,
	COLUMN_DELIVERED,
	COLUMN_DEFERRED,
	COLUMN_FAILED,
	COLUMN_UNCERTAIN,
	COLUMN_BREAKER,
	COLUMN_COUNT,
};

static const struct {
	const char *name, *help;
	enum metrics_kind kind;
} columns[COLUMN_COUNT] = {
	[COLUMN_READY] = { "destination_ready", "What waits for room at the destination.",
	    METRICS_GAUGE },
	[COLUMN_WAITING] = { "destination_waiting", "What waits for a time of its own.",
	    METRICS_GAUGE },
	[COLUMN_RUNNING] = { "destination_running", "Attempts under way.", METRICS_GAUGE },
	[COLUMN_CONNECTIONS] = { "destination_connections", "Connections open.", METRICS_GAUGE },
	[COLUMN_WINDOW] = { "destination_window", "Connections allowed at present.",
	    METRICS_GAUGE },
	[COLUMN_DELIVERED] = { "destination_delivered_total", "Recipients delivered.",
	    METRICS_COUNTER },
	[COLUMN_DEFERRED] = { "destination_deferred_total", "Recipients deferred.",
	    METRICS_COUNTER },
	[COLUMN_FAILED] = { "destination_failed_total", "Recipients refused for good.",
	    METRICS_COUNTER },
	[COLUMN_UNCERTAIN] = { "destination_uncertain_total",
	    "Recipients whose outcome is not known.", METRICS_COUNTER },
	[COLUMN_BREAKER] = { "host_down", "1 while the host is not used but for probes.",
	    METRICS_GAUGE },
};

struct table {
	struct metrics_page *page;
	enum column column;
	size_t seen;
};

static uint64_t
cell(const struct outbound_destination *it, enum column column)
{
	switch (column) {
	case COLUMN_READY:
		return it->ready_count;
	case COLUMN_WAITING:
		return it->waiting_count;
	case COLUMN_RUNNING:
		return it->running_count;
	case COLUMN_CONNECTIONS:
		return it->connection_count;
	case COLUMN_WINDOW:
		return it->window.size;
	case COLUMN_DELIVERED:
		return it->delivered_count;
	case COLUMN_DEFERRED:
		return it->deferred_count;
	case COLUMN_FAILED:
		return it->failed_count;
	case COLUMN_UNCERTAIN:
		return it->uncertain_count;
	case COLUMN_BREAKER:
	case COLUMN_COUNT:
		break;
	}
	return 0;
}

static void
put_cell(void *ctx, const struct outbound_destination *it)
{
	struct table *table = ctx;

	if (table->seen++ >= DESTINATIONS_SHOWN_MAX)
		return;
	if (table->column != COLUMN_BREAKER) {
		metrics_sample(table->page, label("destination", it->name), no_label,
		    (int64_t)cell(it, table->column));
		return;
	}
	for (size_t i = 0; i < it->host_count; i++)
		metrics_sample(table->page, label("destination", it->name),
		    label("host", it->hosts[i].name), it->hosts[i].breaker != BREAKER_CLOSED);
}

static void
put_destinations(struct metrics_page *page, const struct outbound *outbound)
{
	struct table table = { .page = page };

	for (int i = 0; i < COLUMN_COUNT; i++) {
		table.column = (enum column)i;
		table.seen = 0;
		metrics_family(page, columns[i].name, columns[i].kind, columns[i].help);
		outbound_destinations(outbound, put_cell, &table);
	}
	metrics_number(page, "destinations", METRICS_GAUGE,
	    "Destinations known; the first 500 have numbers of their own.",
	    (int64_t)table.seen);
}

/* ---- the rest */

static void
put_outgoing(struct metrics_page *page, const struct outbound *outbound)
{
	struct outbound_totals totals;

	outbound_totals(outbound, &totals);
	metrics_number(page, "outgoing_running", METRICS_GAUGE, "Attempts under way.",
	    (int64_t)totals.running_count);
	metrics_number(page, "outgoing_connections", METRICS_GAUGE, "Connections to next hops.",
	    (int64_t)totals.connection_count);
	metrics_family(page, "queue_waiting", METRICS_GAUGE,
	    "What is in the queue, by the reason why it waits.");
	for (int i = 0; i < REASON_COUNT; i++)
		metrics_sample(page,
		    label_of("reason", queue_reason_name((enum queue_reason)i)), no_label,
		    (int64_t)totals.by_reason[i]);
}

static void
put_sessions(struct metrics_page *page, const struct relay *relay)
{
	metrics_number(page, "sessions", METRICS_GAUGE, "Clients connected.",
	    (int64_t)crew_session_count(relay->crew));
	metrics_number(page, "sessions_total", METRICS_COUNTER, "Clients served since the start.",
	    (int64_t)crew_session_total(relay->crew));
	metrics_number(page, "sessions_refused_total", METRICS_COUNTER,
	    "Clients refused by a limit of connections.",
	    (int64_t)crew_refused_total(relay->crew));
	metrics_family(page, "turned_away_total", METRICS_COUNTER,
	    "Clients and messages put off for fairness or load, by the reason.");
	for (int i = GATE_ADMITTED + 1; i < GATE_ANSWER_COUNT; i++)
		metrics_sample(page,
		    label_of("reason", gate_answer_name((enum gate_answer)i)), no_label,
		    (int64_t)gate_count(relay->gate, (enum gate_answer)i));
	metrics_number(page, "load_level", METRICS_GAUGE, "0: green, 1: amber, 2: red.",
	    (int64_t)relay->load.load.level);
}

static void
collect(void *ctx, struct metrics_page *page)
{
	struct relay *relay = ctx;
	struct queue_stats stats;

	metrics_family(page, "build_info", METRICS_GAUGE, "The program and its version.");
	metrics_sample(page, label_of("program", "relayd"), label_of("version", version_text()),
	    1);
	metrics_number(page, "start_time_seconds", METRICS_GAUGE, "When it started.",
	    relay->started_wall_ms / 1000);
	queue_stats(relay->queue, &stats);
	put_queue(page, &stats);
	put_outgoing(page, relay->outbound);
	put_destinations(page, relay->outbound);
	put_sessions(page, relay);
	if (relay->log)
		metrics_number(page, "log_dropped_total", METRICS_COUNTER,
		    "Lines of the log that were dropped.", (int64_t)log_dropped(relay->log));
	metrics_stats(page, relay->stats);
}

static bool
is_alive(void *ctx, struct buf *why)
{
	const struct relay *relay = ctx;
	const char *missing = pulse_missing(relay->pulse);

	if (missing)
		(void)buf_appendf(why, "a thread hangs: %s", missing);
	return !missing;
}

static bool
is_ready(void *ctx, struct buf *why)
{
	const struct relay *relay = ctx;
	struct queue_stats stats;

	queue_stats(relay->queue, &stats);
	if (relay->stopping || relay->stop_wanted)
		(void)buf_append_cstr(why, "stopping");
	else if (!is_alive(ctx, why))
		return false;
	else if (stats.pressure != PRESSURE_NONE)
		(void)buf_appendf(why, "queue: %s: %s", stats.pressure == PRESSURE_NO_LOG
		    ? "nothing can be recorded" : "no mail is accepted", stats.pressure_why);
	else if (stats.damaged_count > 0)
		(void)buf_appendf(why, "queue: %llu damaged messages, see relayctl list "
		    "reason=damaged", (unsigned long long)stats.damaged_count);
	else
		return true;
	return false;
}

bool
relay_lives(void *ctx)
{
	const struct relay *relay = ctx;

	return !relay->pulse || !pulse_missing(relay->pulse);
}

static void
beat(void *ctx)
{
	struct relay *relay = ctx;
	const char *before = pulse_missing(relay->pulse);
	const char *missing = pulse_beat(relay->pulse);

	if (missing && !before)
		log_error("no sign of life from a thread: %s", missing);
	else if (before && !missing)
		log_info("all threads give signs of life again");
	loop_timer_start(relay->hub, &relay->pulse_timer, RELAY_PULSE_MS);
}

int
relay_metrics_open(struct relay *relay, const struct endpoint *address, struct err *err)
{
	static const struct metrics_ops ops = {
		.collect = collect, .is_alive = is_alive, .is_ready = is_ready,
	};
	struct loop *writer = queue_writer_loop(relay->queue);
	char text[ENDPOINT_TEXT_BYTES_MAX];
	struct endpoint real;

	if (relay->settings.embedding)
		return 0;               /* no threads, and nobody to ask */
	relay->pulse = pulse_new();
	if (writer)
		pulse_watch(relay->pulse, writer, "committer");
	for (size_t i = 0; i < relay->worker_count; i++)
		pulse_watch(relay->pulse,
		    crew_worker_loop(crew_worker_at(relay->crew, i)), "worker");
	loop_timer_init(&relay->pulse_timer, beat, relay);
	loop_timer_start(relay->hub, &relay->pulse_timer, RELAY_PULSE_MS);
	if (!address)
		return 0;
	relay->metrics = metrics_open(relay->hub, address, &ops, relay, err);
	if (!relay->metrics)
		return -1;
	real = metrics_address(relay->metrics);
	log_info("metrics: http://%s/metrics", endpoint_print(&real, text));
	return 0;
}

void
relay_metrics_close(struct relay *relay)
{
	if (relay->pulse)
		loop_timer_stop(relay->hub, &relay->pulse_timer);
	metrics_close(&relay->metrics);
}
