#include "relay/commands.h"

#include "relay/base/units.h"
#include "relay/base/version.h"
#include "relay/commands_private.h"
#include "relay/outbound/breaker.h"
#include "relay/relay_private.h"

/* ------------------------------------------------------------------ status */

static void
put_queue(struct json *item, const struct queue_stats *stats)
{
	static const char *const pressures[] = { "none", "refuse", "no-log" };
	struct json *queue = json_put_object(item, "queue");
	const struct {
		const char *key;
		uint64_t value;
	} numbers[] = {
		{ "messages", stats->message_count },
		{ "bytes", stats->message_bytes },
		{ "held", stats->held_count },
		{ "open_recipients", stats->open_rcpt_count },
		{ "accepted", stats->accepted_count },
		{ "settled", stats->settled_count },
		{ "batches", stats->batch_count },
		{ "batch_messages", stats->batch_message_count },
		{ "written_bytes", stats->written_bytes },
		{ "sync_us_total", stats->sync_us_total },
		{ "sync_us_max", stats->sync_us_max },
		{ "sync_failed", stats->sync_failed_count },
		{ "segments", stats->segment_live_count },
		{ "segments_pool", stats->segment_pool_count },
		{ "live_bytes", stats->live_bytes },
		{ "moved_bytes", stats->moved_bytes },
		{ "disk_free_bytes", stats->disk_free_bytes },
		{ "damaged", stats->damaged_count },
		{ "scrubbed_bytes", stats->scrubbed_bytes },
		{ "scrub_damaged", stats->scrub_damaged_count },
		{ "body_memory_bytes", stats->body_memory_bytes },
		{ "index_bytes", stats->index_bytes },
		{ "partials", stats->partial_count },
		{ "transactions", stats->transaction_count },
	};

	json_put_cstr(queue, "place", stats->place);
	json_put_cstr(queue, "node_id", stats->node_id);
	json_put_cstr(queue, "pressure", pressures[stats->pressure]);
	json_put_cstr(queue, "pressure_why", stats->pressure_why);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		json_put_int(queue, numbers[i].key, (int64_t)numbers[i].value);
}

static void
put_listeners(struct json *item, const struct crew *crew)
{
	struct json *list = json_put_list(item, "listening");

	for (size_t i = 0; i < crew_address_count(crew); i++) {
		const struct node_listener *listener = NULL;
		const struct endpoint *address = crew_address(crew, i, &listener);
		char text[ENDPOINT_TEXT_BYTES_MAX];
		struct json *row = json_add_object(list);

		json_put_cstr(row, "address", endpoint_print(address, text));
		json_put_cstr(row, "listener", listener ? listener->name : "");
	}
}

static void
put_load(struct json *item, const struct relay *relay)
{
	const struct load *load = &relay->load.load;
	struct json *row = json_put_object(item, "load");
	struct json *turned_away = json_put_object(row, "turned_away");

	json_put_cstr(row, "level", load_level_name(load->level));
	json_put_cstr(row, "why", load->why);
	json_put_int(row, "percent", load->percent);
	for (int i = GATE_ADMITTED + 1; i < GATE_ANSWER_COUNT; i++)
		json_put_int(turned_away, gate_answer_name((enum gate_answer)i),
		    (int64_t)gate_count(relay->gate, (enum gate_answer)i));
}

static void
status(void *ctx, struct control_request *request)
{
	struct relay *relay = ctx;
	const struct crew *crew = relay_crew(relay);
	struct json *item = json_new_object();
	struct outbound_totals totals;
	struct queue_stats stats;
	struct json *reasons;

	json_put_cstr(item, "program", "relayd");
	json_put_cstr(item, "version", version_text());
	json_put_cstr(item, "hostname", relay_configuration(relay)->node.hostname);
	commands_put_time(item, "started", relay_started_wall_ms(relay));
	json_put_int(item, "up_ms", loop_wall_ms(relay_hub(relay)) - relay_started_wall_ms(relay));
	json_put_bool(item, "stopping", relay_is_stopping(relay));
	json_put_cstr(item, "reload_error", relay_reload_error(relay));
	put_listeners(item, crew);
	json_put_int(item, "sessions", (int64_t)crew_session_count(crew));
	json_put_int(item, "sessions_total", (int64_t)crew_session_total(crew));
	json_put_int(item, "sessions_refused", (int64_t)crew_refused_total(crew));
	put_load(item, relay);
	queue_stats(relay_queue(relay), &stats);
	put_queue(item, &stats);
	outbound_totals(relay_outbound(relay), &totals);
	json_put_int(item, "outgoing_messages", (int64_t)totals.message_count);
	json_put_int(item, "outgoing_running", (int64_t)totals.running_count);
	json_put_int(item, "outgoing_connections", (int64_t)totals.connection_count);
	reasons = json_put_object(item, "reasons");
	for (size_t i = 0; i < REASON_COUNT; i++)
		if (totals.by_reason[i] > 0)
			json_put_int(reasons, queue_reason_name((enum queue_reason)i),
			    (int64_t)totals.by_reason[i]);
	control_item(request, item);
	control_end(request, CONTROL_OK);
}

/* ------------------------------------------------------------------ damage */

/* Also of what belongs to no message any more, or to one that nobody knows. */
static void
damaged(void *ctx, struct control_request *request)
{
	struct queue *queue = relay_queue(ctx);
	struct queue_damage damage;
	size_t count = 0;

	while (queue_list_damage(queue, count, &damage)) {
		struct json *item = json_new_object();

		if (damage.id != 0)
			commands_put_id(item, "queue_id", damage.id);
		json_put_int(item, "segment", (int64_t)damage.segment);
		json_put_int(item, "offset", (int64_t)damage.offset);
		json_put_cstr(item, "what", damage.what);
		control_item(request, item);
		count++;
	}
	control_end(request, count > 0 ? CONTROL_OK : CONTROL_NO_MATCH);
}

/* ------------------------------------------------------------------ destinations */

struct destination_list {
	struct control_request *request;
	struct span pattern;
	size_t matched;
};

static void
put_host(struct json *list, const struct outbound_host *host)
{
	struct json *row = json_add_object(list);

	json_put_text(row, "name", host->name);
	json_put_cstr(row, "breaker", breaker_state_name(host->breaker));
	commands_put_time(row, "since", host->since_wall_ms);
	if (host->probe_wall_ms)
		commands_put_time(row, "probe", host->probe_wall_ms);
	json_put_int(row, "failures", host->failure_count);
	json_put_text(row, "last_error", host->last_error);
	json_put_text(row, "tls", host->tls);
}

static void
put_destination(void *ctx, const struct outbound_destination *it)
{
	struct destination_list *out = ctx;

	if (!commands_glob(out->pattern, it->name))
		return;
	struct json *item = json_new_object();
	struct json *hosts;

	out->matched++;
	json_put_text(item, "destination", it->name);
	json_put_text(item, "route", it->route);
	json_put_text(item, "route_where", it->route_where);
	json_put_cstr(item, "reason", queue_reason_name(it->reason));
	json_put_cstr(item, "because", queue_reason_explain(it->reason));
	json_put_int(item, "ready", (int64_t)it->ready_count);
	json_put_int(item, "waiting", (int64_t)it->waiting_count);
	json_put_int(item, "running", it->running_count);
	json_put_int(item, "connections", it->connection_count);
	json_put_int(item, "window", it->window.size);
	json_put_int(item, "window_max", it->window.max);
	json_put_int(item, "delivered", (int64_t)it->delivered_count);
	json_put_int(item, "deferred", (int64_t)it->deferred_count);
	json_put_int(item, "failed", (int64_t)it->failed_count);
	json_put_int(item, "uncertain", (int64_t)it->uncertain_count);
	json_put_text(item, "suspend_reason", it->suspend_reason);
	if (it->suspend_until_wall_ms)
		commands_put_time(item, "suspend_until", it->suspend_until_wall_ms);
	hosts = json_put_list(item, "hosts");
	for (size_t i = 0; i < it->host_count; i++)
		put_host(hosts, &it->hosts[i]);
	control_item(out->request, item);
}

static void
dest(void *ctx, struct control_request *request)
{
	struct destination_list out = { .request = request, .pattern = SPAN("*") };

	(void)json_get_text(control_args(request), "dest", &out.pattern);
	outbound_destinations(relay_outbound(ctx), put_destination, &out);
	control_end(request, out.matched > 0 ? CONTROL_OK : CONTROL_NO_MATCH);
}

static bool
take_destination(struct control_request *request, struct span *name_out)
{
	if (json_get_text(control_args(request), "dest", name_out) && name_out->len > 0)
		return true;
	control_fail(request, CONTROL_USAGE, "expected the name of a destination, as `relayctl "
	    "dest` shows it");
	return false;
}

static void
suspend(void *ctx, struct control_request *request)
{
	const struct json *args = control_args(request);
	struct relay *relay = ctx;
	struct span name;
	struct span reason;
	struct span duration;
	uint64_t for_ms = 0;
	struct err err;

	if (!take_destination(request, &name))
		return;
	if (!json_get_text(args, "reason", &reason) || reason.len == 0) {
		control_fail(request, CONTROL_USAGE, "say why: --reason \"...\"");
		return;
	}
	if (json_get_text(args, "for", &duration) &&
	    units_parse_duration(duration, &for_ms, &err) < 0) {
		control_fail(request, CONTROL_USAGE, "--for: %s", err.text);
		return;
	}
	if (outbound_suspend(relay_outbound(relay), name, reason,
	    for_ms ? loop_wall_ms(relay_hub(relay)) + (int64_t)for_ms : 0))
		control_end(request, CONTROL_OK);
	else
		control_fail(request, CONTROL_NO_MATCH, "there is no such destination now");
}

static void
resume(void *ctx, struct control_request *request)
{
	struct span name;

	if (!take_destination(request, &name))
		return;
	if (outbound_resume(relay_outbound(ctx), name))
		control_end(request, CONTROL_OK);
	else
		control_fail(request, CONTROL_NO_MATCH,
		    "there is no such destination, or it is not "
		    "suspended");
}

/* ------------------------------------------------------------------ the table */

static const struct control_verb verbs[] = {
	{ "status", CONTROL_LOOK, status, "What the relay is, does and has." },
	{ "list", CONTROL_LOOK, commands_list, "Messages in the queue." },
	{ "count", CONTROL_LOOK, commands_count, "How many messages match." },
	{ "show", CONTROL_LOOK, commands_show, "One message with every recipient." },
	{ "cat", CONTROL_CHANGE, commands_cat, "The message itself." },
	{ "explain", CONTROL_LOOK, commands_explain, "Why a message is here and what ends it." },
	{ "retry", CONTROL_CHANGE, commands_retry, "Try now." },
	{ "hold", CONTROL_CHANGE, commands_hold, "Keep, and try no more until released." },
	{ "release", CONTROL_CHANGE, commands_release, "Let go what is held." },
	{ "drop", CONTROL_CHANGE, commands_drop, "Remove; nobody is told." },
	{ "bounce", CONTROL_CHANGE, commands_bounce, "Give up; the senders are told." },
	{ "damaged", CONTROL_LOOK, damaged, "What of the spool cannot be read back." },
	{ "dest", CONTROL_LOOK, dest, "Where mail goes, and how it goes there." },
	{ "suspend", CONTROL_CHANGE, suspend, "Make no attempts for a destination." },
	{ "resume", CONTROL_CHANGE, resume, "End that." },
	{ "route", CONTROL_LOOK, commands_route, "What would become of a recipient." },
	{ "reload", CONTROL_CHANGE, commands_reload, "Read the configuration again." },
};

const struct control_verb *
commands_verbs(size_t *count_out)
{
	*count_out = sizeof(verbs) / sizeof(verbs[0]);
	return verbs;
}
