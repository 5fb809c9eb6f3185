#include "relay/relay_private.h"

#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "relay/base/file.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/base/version.h"
#include "relay/commands.h"

enum {
	LAST_MOMENT_MS = 1500,          /* behind the grace: then we leave whatever is open */
	QUEUE_TRACE_BYTES = 64 * 1024,  /* a message in the queue may be so much longer than SIZE */
};

/* ---- the queue's events, handed to the way out */

static void
queue_offers(void *ctx, const struct queue_item *item, struct envelope **envelope)
{
	struct relay *relay = ctx;

	outbound_offered(relay->outbound, item, envelope);
}

static void
queue_revokes(void *ctx, queue_id id, void *user)
{
	struct relay *relay = ctx;

	outbound_revoked(relay->outbound, id, user);
}

static void
queue_changes(void *ctx, const struct queue_item *item)
{
	struct relay *relay = ctx;

	outbound_changed(relay->outbound, item);
}

static void
queue_is_pressed(void *ctx, enum queue_pressure pressure, const char *why)
{
	struct relay *relay = ctx;

	if (pressure == PRESSURE_NONE)
		log_info("queue: mail is accepted again");
	else
		log_error("queue: %s: %s", pressure == PRESSURE_NO_LOG
		    ? "nothing can be recorded, so no mail is taken or given"
		    : "no mail is accepted", why);
	if (relay->outbound)
		outbound_pressure(relay->outbound, pressure);
}

/* ---- workers */

static int
worker_begin(void *ctx, struct crew_worker *worker, struct err *err)
{
	struct relay *relay = ctx;
	struct loop *loop = crew_worker_loop(worker);
	struct queue_port *port = queue_port_open(relay->queue, loop);

	if (!port)
		return err_set(err, ERR_LIMIT, "the queue has no port for another worker");
	crew_worker_set_app(worker,
	    inbound_worker_new(port, loop, relay->gate, relay->login_helpers,
	    queue_node_id(relay->queue)));
	return 0;
}

static void
worker_end(void *ctx, struct crew_worker *worker)
{
	struct inbound_worker *inbound = crew_worker_app(worker);
	struct queue_port *port = inbound_worker_port(inbound);

	(void)ctx;
	inbound_worker_free(&inbound);
	queue_port_close(&port);
}

static bool
worker_admit(void *ctx, struct crew_worker *worker, const struct crew_door *door,
    const struct endpoint *peer, const char **status_out, const char **words_out)
{
	(void)ctx;
	return inbound_admit(crew_worker_app(worker), worker, door, peer, status_out, words_out);
}

static void
worker_serve(void *ctx, struct crew_worker *worker, const struct crew_door *door,
    struct conn *conn)
{
	(void)ctx;
	inbound_serve(crew_worker_app(worker), worker, door, conn);
}

/* ---- signals */

static void
signal_terminate(void *ctx)
{
	struct relay *relay = ctx;

	if (!relay->stopping && !relay->stop_wanted) {
		relay_stop(relay);
		return;
	}
	/* What is under way is lost to us and not to the queue, which survives this. */
	log_warn("told to stop a second time: leaving at once");
	control_close(&relay->control);
	log_stop_writer(relay->log);
	work_join(&relay->log_writer);
	_exit(EX_OK);
}

static void
signal_reload(void *ctx)
{
	relay_reload(ctx);
}

static const struct signals_ops signal_ops = {
	.terminate = signal_terminate,
	.reload = signal_reload,
};

/* ---- birth, step by step; each says what it means to fail */

static void
run_log_writer(void *ctx)
{
	log_run_writer(ctx);
}

static int
open_base(struct relay *relay, const struct relay_config *config, struct err *err)
{
	const struct relay_embedding *embedding = relay->settings.embedding;
	const struct log_settings log_settings = {
		.clock = relay->settings.clock,
		.fd = relay->settings.log_fd,
		.level = config->node.log_level,
		.without_time = !config->node.log_time,
	};

	random_init_system(&relay->own_random);
	relay->random = embedding ? embedding->random : &relay->own_random;
	relay->load.descriptors_max = relay_raise_descriptors();
	relay->started_wall_ms = clock_wall_ms(relay->settings.clock);
	relay->worker_count = config->node.worker_count;
	if (relay->worker_count == 0) {
		long cores = sysconf(_SC_NPROCESSORS_ONLN);

		relay->worker_count = cores > 2 ? (size_t)cores - 1 : 1;
	}
	relay->stats = stats_new();
	if (!embedding) {
		relay->log = log_new(&log_settings);
		relay->ring = log_attach(relay->log, "hub");
	}
	relay->hub = loop_new(relay->settings.clock, err);
	return relay->hub ? 0 : -1;
}

/* What only root may do comes first, then we are the service's user, then threads begin. */
static int
open_privileged(struct relay *relay, const struct relay_config *config, struct err *err)
{
	const struct node_config *node = &config->node;
	struct control_settings control = {
		.path = node->control_path,
		.ctx = relay,
		.group = node->control_group,
		.group_may_change = node->control_group_may_change,
	};

	if (privilege_find(&relay->privilege, node->user, node->group, err) < 0)
		return -1;
	relay->activation = activation_open(err);
	if (!relay->activation)
		return -1;
	control.uid = relay->privilege.uid;
	control.verbs = commands_verbs(&control.verb_count);
	relay->control = control_open(relay->hub, &control, err);
	if (!relay->control)
		return -1;
	if (privilege_drop(&relay->privilege, err) < 0 || privilege_lock(err) < 0 ||
	    relay_enter_sandbox(relay, config, err) < 0)
		return -1;
	relay->signals = signals_open(relay->hub, &signal_ops, relay, err);
	if (!relay->signals)
		return -1;
	relay->log_writer = work_service_start("log", run_log_writer, relay->log, err);
	return relay->log_writer ? 0 : -1;
}

/* systemd's id of this machine; a spool that another one made is not sent from twice. */
static void
read_machine_id(uint8_t id_out[16])
{
	struct buf text;
	uint64_t half[2] = {0};
	struct span hex;

	buf_init(&text, 64);
	if (file_read_whole("/etc/machine-id", &text, NULL) == 0) {
		hex = span_trim(buf_span(&text));
		if (hex.len == 32 && span_parse_hex(span_first(hex, 16), &half[0]) &&
		    span_parse_hex(span_skip(hex, 16), &half[1]))
			memcpy(id_out, half, sizeof(half));
	}
	buf_fini(&text);
}

static void
log_found(const struct relay_config *config, const struct queue_found *found)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, "spool");
	log_cstr(&line, "place", config->spool);
	log_cstr(&line, "node", found->node_id);
	log_u64(&line, "messages", found->message_count);
	log_u64(&line, "bytes", found->message_bytes);
	log_u64(&line, "segments", found->segment_count);
	log_u64(&line, "suspect", found->suspect_count);
	log_u64(&line, "damaged", found->damaged_count);
	log_u64(&line, "torn_bytes", found->torn_bytes);
	log_u64(&line, "ms", found->elapsed_ms);
	log_end(&line);
	if (found->volatile_disk)
		log_warn("the spool is on a disk that keeps nothing through a power cut");
	if (found->foreign_machine)
		log_error("the spool was made by another machine: nothing is sent until "
		    "it is adopted");
}

static int
open_queue(struct relay *relay, const struct relay_config *config, struct err *err)
{
	struct queue_settings settings;
	struct queue_found found;

	if (relay->settings.embedding)
		relay->disk = relay->settings.embedding->disk;
	else
		relay->disk = disk_posix_open(config->spool, err);
	if (!relay->disk)
		return -1;
	queue_settings_init(&settings);
	settings.disk = relay->disk;
	settings.hub = relay->hub;
	settings.random = relay->random;
	settings.events = (struct queue_events){
		.offered = queue_offers, .revoked = queue_revokes, .changed = queue_changes,
		.pressure = queue_is_pressed,
	};
	settings.ctx = relay;
	settings.hostname = span_from_cstr(config->node.hostname);
	read_machine_id(settings.machine_id);
	settings.allow_volatile = config->allow_volatile_spool;
	settings.port_count_max = relay->worker_count + 2;
	settings.reader_count = config->reader_count;
	settings.segment_bytes = config->segment_bytes;
	settings.body_memory_bytes = config->body_memory_bytes;
	settings.body_cache_bytes = config->body_memory_bytes / 2;
	settings.message_bytes_max = config->node.limits.message_bytes_max + QUEUE_TRACE_BYTES;
	settings.floor_bytes = config->floor_bytes;
	settings.reserve_bytes = config->reserve_bytes;
	settings.scrub_bytes_second = config->scrub_bytes_second;
	relay->queue = queue_open(&settings, &found, err);
	if (!relay->queue)
		return err_wrap(err, "spool %s", config->spool);
	log_found(config, &found);
	return 0;
}

/* What may block: the reading of a configuration, and password hashes, many of them. */
static int
open_helpers(struct relay *relay, struct err *err)
{
	const struct work_pool_settings helper = {
		.name = "helper", .thread_count = 1, .job_count_max = 16,
	};
	const struct work_pool_settings login = {
		.name = "login", .thread_count = 2, .job_count_max = 64,
	};

	relay->helper = work_pool_new(&helper, err);
	if (!relay->helper)
		return -1;
	relay->login_helpers = work_pool_new(&login, err);
	return relay->login_helpers ? 0 : -1;
}

static int
open_ways(struct relay *relay, const struct relay_config *config, struct err *err)
{
	const struct crew_settings crew = {
		.hub = relay->hub, .clock = relay->settings.clock, .log = relay->log,
		.worker_count = relay->worker_count,
		.ops = { .worker_begin = worker_begin, .worker_end = worker_end,
		    .admit = worker_admit, .serve = worker_serve },
		.ctx = relay,
	};
	struct outbound_settings outbound = {
		.hub = relay->hub, .queue = relay->queue, .random = relay->random,
		.stats = relay->stats, .worker_count = relay->worker_count,
		.memory_changed = relay_memory_changed, .ctx = relay,
	};
	struct outbound_worker *workers;

	relay->resolver = resolver_new(relay->hub, &config->resolver, err);
	if (!relay->resolver)
		return -1;
	if (open_helpers(relay, err) < 0)
		return -1;
	relay->gate = gate_new(random_u64(relay->random));
	relay->crew = crew_new(&crew, err);
	if (!relay->crew)
		return -1;
	workers = mem_alloc_array(relay->worker_count, sizeof(*workers));
	for (size_t i = 0; i < relay->worker_count; i++) {
		struct crew_worker *worker = crew_worker_at(relay->crew, i);

		workers[i].loop = crew_worker_loop(worker);
		workers[i].port = inbound_worker_port(crew_worker_app(worker));
	}
	outbound.resolver = relay->resolver;
	outbound.workers = workers;
	relay->outbound = outbound_new(&outbound);
	mem_free(&workers);
	if (outbound_configure(relay->outbound, &config->outbound, err) < 0)
		return -1;
	relay_memory_read(relay);
	return 0;
}

static void
log_listening(const struct relay *relay)
{
	const struct node_listener *listener;
	char text[ENDPOINT_TEXT_BYTES_MAX];
	struct log_line line;

	for (size_t i = 0; i < crew_address_count(relay->crew); i++) {
		const struct endpoint *address = crew_address(relay->crew, i, &listener);

		log_begin(&line, LOG_LEVEL_INFO, "listening");
		log_cstr(&line, "listener", listener->name);
		log_cstr(&line, "address", endpoint_print(address, text));
		log_end(&line);
	}
	for (size_t i = 0; relay->activation && i < activation_rest_count(relay->activation); i++) {
		struct endpoint rest = activation_rest(relay->activation, i);

		log_warn("the service manager opened %s, which no listener has",
		    endpoint_print(&rest, text));
	}
}

static void
warn_of_certificate(void *ctx, const char *text)
{
	(void)ctx;
	log_warn("%s", text);
}

static int
relay_open(struct relay *relay, struct relay_config **config_taken, int *exit_code_out,
    struct err *err)
{
	struct relay_config *config = *config_taken;
	struct log_line line;

	*exit_code_out = EX_OSERR;
	if (open_base(relay, config, err) < 0)
		return -1;
	log_begin(&line, LOG_LEVEL_INFO, "starting");
	log_cstr(&line, "program", "relayd");
	log_cstr(&line, "version", version_text());
	log_cstr(&line, "hostname", config->node.hostname);
	log_u64(&line, "workers", relay->worker_count);
	log_end(&line);
	node_config_tls_warnings(&config->node, relay->started_wall_ms, warn_of_certificate,
	    NULL);
	*exit_code_out = EX_NOPERM;
	if (!relay->settings.embedding && open_privileged(relay, config, err) < 0)
		return -1;
	*exit_code_out = EX_IOERR;
	if (open_queue(relay, config, err) < 0)
		return -1;
	*exit_code_out = EX_OSERR;
	if (open_ways(relay, config, err) < 0)
		return -1;
	relay->first_plan = relay_make_plan(relay, config_taken, err);
	if (!relay->first_plan)
		return -1;
	*exit_code_out = EX_UNAVAILABLE;
	if (crew_start(relay->crew, &relay->first_plan, relay->activation, err) < 0)
		return -1;
	return relay_metrics_open(relay, relay_configuration(relay)->node.metrics_address, err);
}

struct relay *
relay_new(const struct relay_settings *settings, struct relay_config **config,
    int *exit_code_out, struct err *err)
{
	struct relay *relay = mem_alloc(sizeof(*relay));

	relay->settings = *settings;
	relay_reload_init(relay);
	relay_memory_init(relay);
	if (relay_open(relay, config, exit_code_out, err) < 0) {
		relay_config_free(config);
		relay_free(&relay);
		return NULL;
	}
	log_listening(relay);
	activation_close(&relay->activation);
	relay->notify = notify_open(relay->hub, relay_lives, relay);
	return relay;
}

void
relay_start(struct relay *relay)
{
	struct log_line line;

	queue_start(relay->queue);
	relay_load_start(relay);
	log_begin(&line, LOG_LEVEL_INFO, "ready");
	log_u64(&line, "addresses", crew_address_count(relay->crew));
	log_end(&line);
	notify_ready(relay->notify);
}

int
relay_run(struct relay *relay)
{
	relay_start(relay);
	loop_run(relay->hub);
	return relay->exit_code;
}

/* ---- the end */

static void
stop_if_done(struct relay *relay)
{
	if (relay->crew_drained && relay->outbound_stopped)
		loop_stop(relay->hub);
}

static void
crew_has_drained(void *ctx)
{
	struct relay *relay = ctx;

	relay->crew_drained = true;
	stop_if_done(relay);
}

static void
outbound_has_stopped(void *ctx)
{
	struct relay *relay = ctx;

	relay->outbound_stopped = true;
	stop_if_done(relay);
}

/* Something hangs.  The queue survives it, the operator's patience need not. */
static void
last_moment_is_over(void *ctx)
{
	struct relay *relay = ctx;

	log_error("did not come to an end in time (%s): leaving",
	    relay->crew_drained ? "deliveries" : "sessions");
	control_close(&relay->control);
	log_stop_writer(relay->log);
	work_join(&relay->log_writer);
	_exit(EX_SOFTWARE);
}

void
relay_stop_now(struct relay *relay)
{
	uint64_t grace_ms = relay_configuration(relay)->node.limits.drain_timeout_ms;

	relay->stopping = true;
	loop_timer_init(&relay->last_moment, last_moment_is_over, relay);
	loop_timer_start(relay->hub, &relay->last_moment, grace_ms + LAST_MOMENT_MS);
	crew_drain(relay->crew, grace_ms, crew_has_drained, relay);
	outbound_stop(relay->outbound, grace_ms, outbound_has_stopped, relay);
}

void
relay_stop(struct relay *relay)
{
	if (relay->stopping || relay->stop_wanted)
		return;
	log_info("stopping");
	notify_stopping(relay->notify);
	relay->stop_wanted = true;
	if (!relay->reload.running)
		relay_stop_now(relay);
}

void
relay_free(struct relay **relay_address)
{
	struct relay *relay = *relay_address;

	if (!relay)
		return;
	if (relay->stopping)
		loop_timer_stop(relay->hub, &relay->last_moment);
	control_close(&relay->control);
	relay_metrics_close(relay);
	relay_load_stop(relay);
	relay_memory_flush(relay);
	outbound_free(&relay->outbound);
	work_pool_free(&relay->login_helpers);          /* its last words are for the workers */
	crew_free(&relay->crew);
	gate_free(&relay->gate);
	crew_plan_unref(&relay->first_plan);
	work_pool_free(&relay->helper);
	resolver_free(&relay->resolver);
	queue_close(&relay->queue);
	pulse_free(&relay->pulse);
	if (!relay->settings.embedding)
		disk_posix_close(&relay->disk);
	activation_close(&relay->activation);
	notify_close(&relay->notify);
	signals_close(&relay->signals);
	if (relay->log) {
		log_info("stopped");
		log_detach(relay->ring);
		log_stop_writer(relay->log);
		if (relay->log_writer)
			work_join(&relay->log_writer);
		else
			log_run_writer(relay->log);     /* we failed before there was one */
		log_free(&relay->log);
	}
	relay_memory_fini(relay);
	loop_free(&relay->hub);
	stats_free(&relay->stats);
	mem_free(relay_address);
}
