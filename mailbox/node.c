#include "mailbox/node_private.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "mailbox/session.h"
#include "relay/base/file.h"
#include "relay/base/mem.h"
#include "relay/base/version.h"

enum { LAST_MOMENT_MS = 1500 };         /* behind the grace: then we leave whatever is open */

/* --------------------------------------------------------------------------- workers */

static int
crew_worker_begin(void *ctx, struct crew_worker *worker, struct err *err)
{
	struct node *node = ctx;
	struct session_place *place = mem_alloc(sizeof(*place));

	(void)err;
	place->delivery = &node->place;
	delivery_ids_init(&place->ids, crew_worker_number(worker), node->random);
	crew_worker_set_app(worker, place);
	return 0;
}

static void
crew_worker_end(void *ctx, struct crew_worker *worker)
{
	struct session_place *place = crew_worker_app(worker);

	(void)ctx;
	mem_free(&place);
}

static void
crew_worker_serve(void *ctx, struct crew_worker *worker, const struct crew_door *door,
		  struct conn *conn)
{
	(void)ctx;
	session_start(crew_worker_app(worker), worker, door, conn);
}

/* --------------------------------------------------------------------------- signals */

static void
leave_at_once(struct node *node, int exit_code)
{
	/* What was answered 250 is in the boxes; the journal survives this. */
	control_close(&node->control);
	log_stop_writer(node->log);
	work_join(&node->log_writer);
	_exit(exit_code);
}

static void
signal_terminate(void *ctx)
{
	struct node *node = ctx;

	if (!node->stop_wanted) {
		node_stop(node);
		return;
	}
	log_warn("told to stop a second time: leaving at once");
	leave_at_once(node, EX_OK);
}

static void
signal_reload(void *ctx)
{
	node_reload(ctx);
}

static const struct signals_ops signal_ops = {
	.terminate = signal_terminate,
	.reload = signal_reload,
};

/* Passing RLIMIT_FSIZE is an error of write(2) that one message suffers, and not our end. */
static void
ignore_file_size_signal(void)
{
	const struct sigaction ignore = { .sa_handler = SIG_IGN };

	(void)sigaction(SIGXFSZ, &ignore, NULL);
}

/* ------------------------------------------------- birth, step by step */

static void
run_log_writer(void *ctx)
{
	log_run_writer(ctx);
}

static int
open_base(struct node *node, const struct mailbox_config *config, struct err *err)
{
	const struct node_embedding *embedding = node->settings.embedding;
	const struct log_settings log_settings = {
		.clock = node->settings.clock,
		.fd = node->settings.log_fd,
		.level = config->node.log_level,
		.without_time = !config->node.log_time,
	};

	random_init_system(&node->own_random);
	node->random = embedding != NULL ? embedding->random : &node->own_random;
	node->started_wall_ms = clock_wall_ms(node->settings.clock);
	node->worker_count = config->node.worker_count;
	if (node->worker_count == 0) {
		long cores = sysconf(_SC_NPROCESSORS_ONLN);

		node->worker_count = cores > 2 ? (size_t)cores - 1 : 1;
	}
	if (embedding == NULL) {
		node->log = log_new(&log_settings);
		node->ring = log_attach(node->log, "hub");
	}
	node->hub = loop_new(node->settings.clock, err);
	return node->hub != NULL ? 0 : -1;
}

/* What only root may do comes first, then we are the service's user, then threads begin. */
static int
open_privileged(struct node *node, const struct mailbox_config *config, struct err *err)
{
	const struct node_config *shared = &config->node;
	struct control_settings control = {
		.path = shared->control_path,
		.ctx = node,
		.group = shared->control_group,
		.group_may_change = shared->control_group_may_change,
	};

	if (privilege_find(&node->privilege, shared->user, shared->group, err) < 0)
		return -1;
	node->activation = activation_open(err);
	if (node->activation == NULL)
		return -1;
	control.uid = node->privilege.uid;
	control.verbs = node_verbs(&control.verb_count);
	node->control = control_open(node->hub, &control, err);
	if (node->control == NULL)
		return -1;
	if (privilege_drop(&node->privilege, err) < 0 || privilege_lock(err) < 0 ||
	    node_enter_sandbox(node, config, err) < 0)
		return -1;
	ignore_file_size_signal();
	node->signals = signals_open(node->hub, &signal_ops, node, err);
	if (node->signals == NULL)
		return -1;
	node->log_writer = work_service_start("log", run_log_writer, node->log, err);
	return node->log_writer != NULL ? 0 : -1;
}

/* The directory of the journal: ours alone, made if it is not there. */
static int
open_spool(struct node *node, const struct mailbox_config *config, struct err *err)
{
	enum disk_kind kind = DISK_KIND_STABLE;

	if (node->settings.embedding != NULL) {
		node->disk = node->settings.embedding->journal_disk;
		return 0;
	}
	if (mkdir(config->spool, 0700) < 0 && errno != EEXIST)
		return err_set_errno(err, "%s: cannot make the spool", config->spool);
	node->disk = disk_posix_open(config->spool, err);
	if (node->disk == NULL)
		return -1;
	if (node->disk->ops->kind(node->disk, &kind) == 0 && kind != DISK_KIND_STABLE) {
		if (!config->allow_volatile_spool)
			return err_set(err, ERR_REFUSED, "%s: this file system forgets; say "
				       "allow_volatile_spool = yes if that is meant",
				       config->spool);
		log_warn("the spool is on a disk that keeps nothing through a power cut");
	}
	node->place.spool_fd = file_open_dir(config->spool, err);
	return node->place.spool_fd < 0 ? -1 : 0;
}

static int
open_worker(struct node *node, const struct mailbox_config *config, struct err *err)
{
	const struct node_embedding *embedding = node->settings.embedding;
	const struct worker_settings settings = {
		.hub = node->hub,
		.journal_disk = node->disk,
		.box_disk = embedding != NULL ? embedding->box_disk : box_disk_posix(),
		.witness = lock_witness_system(),
		.random = node->random,
		.hostname = config->node.hostname,
		.thread_count = config->box_thread_count,
		.remember_ms = config->remember_ms,
	};
	struct worker_counts counts;
	struct log_line line;

	node->worker = worker_new(&settings, err);
	if (node->worker == NULL)
		return err_wrap(err, "spool %s", config->spool);
	node->place.hub = node->hub;
	node->place.worker = node->worker;
	node->place.budget.bytes_max = config->memory_bytes_max;
	counts = worker_counts(node->worker);
	log_begin(&line, LOG_LEVEL_INFO, "journal");
	log_cstr(&line, "place", config->spool);
	log_id(&line, "node", worker_node_id(node->worker));
	log_u64(&line, "remembered", counts.remembered);
	log_u64(&line, "repairs", counts.repairs_pending);
	log_u64(&line, "damaged", counts.journal_damaged);
	log_end(&line);
	return 0;
}

static int
open_crew(struct node *node, struct mailbox_config **config, struct err *err)
{
	const struct work_pool_settings helper = {
		.name = "helper", .thread_count = 1, .job_count_max = 16,
	};
	const struct crew_settings crew = {
		.hub = node->hub,
		.clock = node->settings.clock,
		.log = node->log,
		.worker_count = node->worker_count,
		.ops = { .worker_begin = crew_worker_begin, .worker_end = crew_worker_end,
			 .serve = crew_worker_serve },
		.ctx = node,
	};

	node->helper = work_pool_new(&helper, err);
	if (node->helper == NULL)
		return -1;
	node->crew = crew_new(&crew, err);
	if (node->crew == NULL)
		return -1;
	node->first_plan = node_make_plan(node, config, err);
	return node->first_plan != NULL ? 0 : -1;
}

static void
log_starting(const struct node *node, const struct mailbox_config *config)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, "starting");
	log_cstr(&line, "program", "mailboxd");
	log_cstr(&line, "version", version_text());
	log_cstr(&line, "hostname", config->node.hostname);
	log_u64(&line, "workers", node->worker_count);
	log_u64(&line, "boxes", boxes_count(config->boxes));
	log_u64(&line, "aliases", boxes_alias_count(config->boxes));
	log_end(&line);
}

static void
warn_of_certificate(void *ctx, const char *text)
{
	(void)ctx;
	log_warn("%s", text);
}

static int
open_all(struct node *node, struct mailbox_config **config, int *exit_code_out, struct err *err)
{
	*exit_code_out = EX_OSERR;
	if (open_base(node, *config, err) < 0)
		return -1;
	log_starting(node, *config);
	node_config_tls_warnings(&(*config)->node, node->started_wall_ms, warn_of_certificate,
				 NULL);
	*exit_code_out = EX_NOPERM;
	if (node->settings.embedding == NULL && open_privileged(node, *config, err) < 0)
		return -1;
	*exit_code_out = EX_IOERR;
	if (open_spool(node, *config, err) < 0 || open_worker(node, *config, err) < 0)
		return -1;
	*exit_code_out = EX_OSERR;
	if (open_crew(node, config, err) < 0)
		return -1;
	*exit_code_out = EX_UNAVAILABLE;
	if (crew_start(node->crew, &node->first_plan, node->activation, err) < 0)
		return -1;
	return node_metrics_open(node, node_configuration(node)->node.metrics_address, err);
}

static void
log_listening(const struct node *node)
{
	const struct node_listener *listener;
	char text[ENDPOINT_TEXT_BYTES_MAX];
	struct log_line line;

	for (size_t i = 0; i < crew_address_count(node->crew); i++) {
		const struct endpoint *address = crew_address(node->crew, i, &listener);

		log_begin(&line, LOG_LEVEL_INFO, "listening");
		log_cstr(&line, "listener", listener->name);
		log_cstr(&line, "address", endpoint_print(address, text));
		log_end(&line);
	}
	for (size_t i = 0; node->activation != NULL && i < activation_rest_count(node->activation);
	     i++) {
		struct endpoint rest = activation_rest(node->activation, i);

		log_warn("the service manager opened %s, which no listener has",
			 endpoint_print(&rest, text));
	}
}

struct node *
node_new(const struct node_settings *settings, struct mailbox_config **config, int *exit_code_out,
	 struct err *err)
{
	struct node *node = mem_alloc(sizeof(*node));

	node->settings = *settings;
	node->place.spool_fd = -1;
	node_reload_init(node);
	if (open_all(node, config, exit_code_out, err) < 0) {
		mailbox_config_unref(config);
		node_free(&node);
		return NULL;
	}
	log_listening(node);
	activation_close(&node->activation);
	node->notify = notify_open(node->hub, node_lives, node);
	return node;
}

struct loop *
node_hub(const struct node *node)
{
	return node->hub;
}

void
node_start(struct node *node)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, "ready");
	log_u64(&line, "addresses", crew_address_count(node->crew));
	log_end(&line);
	notify_ready(node->notify);
}

int
node_run(struct node *node)
{
	node_start(node);
	loop_run(node->hub);
	return node->exit_code;
}

/* ------------------------------------------------------------------------- the end */

static void
worker_has_stopped(void *ctx)
{
	struct node *node = ctx;

	loop_stop(node->hub);
}

/* No session is left, so nothing more is submitted. */
static void
crew_has_drained(void *ctx)
{
	struct node *node = ctx;

	worker_stop(node->worker, worker_has_stopped, node);
}

static void
last_moment_is_over(void *ctx)
{
	struct node *node = ctx;

	log_error("did not come to an end in time: leaving");
	leave_at_once(node, EX_SOFTWARE);
}

void
node_stop_now(struct node *node)
{
	uint64_t grace_ms = node_configuration(node)->node.limits.drain_timeout_ms;

	node->stopping = true;
	loop_timer_init(&node->last_moment, last_moment_is_over, node);
	loop_timer_start(node->hub, &node->last_moment, grace_ms + LAST_MOMENT_MS);
	worker_hurry(node->worker);
	crew_drain(node->crew, grace_ms, crew_has_drained, node);
}

void
node_stop(struct node *node)
{
	if (node->stop_wanted)
		return;
	log_info("stopping");
	notify_stopping(node->notify);
	node->stop_wanted = true;
	if (!node->reload.running)
		node_stop_now(node);
}

static void
close_log(struct node *node)
{
	if (node->log == NULL)
		return;
	log_info("stopped");
	log_detach(node->ring);
	log_stop_writer(node->log);
	if (node->log_writer != NULL)
		work_join(&node->log_writer);
	else
		log_run_writer(node->log);      /* we failed before there was one */
	log_free(&node->log);
}

void
node_free(struct node **node_ptr)
{
	struct node *node = *node_ptr;

	if (node == NULL)
		return;
	if (node->stopping)
		loop_timer_stop(node->hub, &node->last_moment);
	control_close(&node->control);
	node_metrics_close(node);
	crew_free(&node->crew);
	pulse_free(&node->pulse);
	crew_plan_unref(&node->first_plan);
	if (node->helper != NULL)
		work_pool_free(&node->helper);
	worker_free(&node->worker);
	if (node->settings.embedding == NULL)
		disk_posix_close(&node->disk);
	file_close(&node->place.spool_fd);
	activation_close(&node->activation);
	notify_close(&node->notify);
	signals_close(&node->signals);
	close_log(node);
	loop_free(&node->hub);
	mem_free(node_ptr);
}

/* ----------------------------------------------------------- for the control socket */

struct crew *
node_crew(const struct node *node)
{
	return node->crew;
}

struct worker *
node_worker(const struct node *node)
{
	return node->worker;
}

const struct mailbox_config *
node_configuration(const struct node *node)
{
	return crew_plan_app(crew_current_plan(node->crew));
}

int64_t
node_started_wall_ms(const struct node *node)
{
	return node->started_wall_ms;
}

int64_t
node_wall_ms(const struct node *node)
{
	return loop_wall_ms(node->hub);
}
