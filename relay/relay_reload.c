#include "relay/relay_private.h"

#include <stdio.h>

#include "relay/base/container_of.h"
#include "relay/base/mem.h"

/*
 * A reload: the helper's thread reads and checks the file and the certificates, the hub
 * changes over: routes first, which cannot half fail, then the workers.  Whatever goes
 * wrong leaves what was in force.
 */

/* ---- snapshots */

static bool
snapshot_is_ours(void *ctx, const struct inbound_question *question)
{
	const struct relay_config *config = ctx;
	const struct route_question route = {
		.recipient = question->rcpt,
		.sender = question->sender,
		.client_address = question->client_address,
		.listener = question->listener,
	};

	return route_table_is_ours(config->outbound.routes, &route);
}

static void
snapshot_release(void *app)
{
	struct relay_snapshot *snapshot = app;

	relay_config_free(&snapshot->config);
	mem_free(&snapshot);
}

struct crew_plan *
relay_make_plan(struct relay *relay, struct relay_config **config, struct err *err)
{
	struct relay_snapshot *snapshot = mem_alloc(sizeof(*snapshot));
	struct crew_plan_settings settings = {
		.config = &(*config)->node,
		.worker_count = relay->worker_count,
		.app = &snapshot->inbound,
		.app_release = snapshot_release,
	};
	struct crew_plan *plan;

	snapshot->config = *config;
	snapshot->inbound.policy = &snapshot->config->policy;
	snapshot->inbound.gate = &snapshot->config->gate;
	snapshot->inbound.login = &snapshot->config->login;
	snapshot->inbound.postmaster = snapshot->config->outbound.postmaster;
	snapshot->inbound.is_ours = snapshot_is_ours;
	snapshot->inbound.ctx = snapshot->config;
	*config = NULL;
	plan = crew_plan_new(&settings, err);
	if (!plan)
		snapshot_release(snapshot);
	return plan;
}

const struct relay_config *
relay_plan_config(const struct crew_plan *plan)
{
	const struct relay_snapshot *snapshot = crew_plan_app(plan);

	return snapshot->config;
}

/* ---- the reload */

/* On the helper's thread. */
static void
reload_run(void *ctx)
{
	struct relay *relay = ctx;
	struct relay_config *config;

	relay->reload.plan = NULL;
	config = relay_config_load(relay->settings.config_path, &relay->reload.err);
	if (config)
		relay->reload.plan = relay_make_plan(relay, &config, &relay->reload.err);
	if (!relay->reload.plan)
		node_sandbox_explain(&relay->sandbox, &relay->reload.err);
}

static void
reload_ends(struct relay *relay, const struct err *err)
{
	struct relay_reload *reload = &relay->reload;

	reload->running = false;
	(void)snprintf(reload->refused, sizeof(reload->refused), "%s", err ? err->text : "");
	if (err)
		log_error("reload refused, the configuration in force stays: %s", err->text);
	else
		log_info("reloaded %s", relay->settings.config_path);
	notify_ready(relay->notify);
	if (relay->stop_wanted) {
		relay_stop_now(relay);
	} else if (reload->again) {
		reload->again = false;
		relay_reload(relay);
	}
}

static void
reload_crew_done(void *ctx, const struct err *err)
{
	struct relay *relay = ctx;
	const struct relay_config *config = relay_configuration(relay);
	struct err again;

	if (err && outbound_configure(relay->outbound, &config->outbound, &again) < 0)
		log_error("the routes that were in force cannot be set again: %s", again.text);
	if (!err)
		log_set_level(relay->log, config->node.log_level);
	reload_ends(relay, err);
}

/* On the hub again. */
static void
reload_done(void *ctx)
{
	struct relay *relay = ctx;
	struct relay_reload *reload = &relay->reload;
	const struct relay_config *wanted;
	const char *option;

	if (!reload->plan) {
		reload_ends(relay, &reload->err);
		return;
	}
	wanted = relay_plan_config(reload->plan);
	option = relay_config_needs_restart(relay_configuration(relay), wanted);
	if (option)
		log_warn("reload: a change of %s takes effect at the next start only", option);
	if (outbound_configure(relay->outbound, &wanted->outbound, &reload->err) < 0) {
		crew_plan_unref(&reload->plan);
		reload_ends(relay, &reload->err);
		return;
	}
	crew_reload(relay->crew, &reload->plan, reload_crew_done, relay);
}

void
relay_reload_init(struct relay *relay)
{
	work_job_init(&relay->reload.job, reload_run, reload_done, NULL, relay);
}

void
relay_reload(struct relay *relay)
{
	struct relay_reload *reload = &relay->reload;

	if (relay->stopping || relay->stop_wanted)
		return;
	if (reload->running) {
		reload->again = true;
		return;
	}
	reload->running = true;
	notify_reloading(relay->notify);
	if (work_submit(relay->helper, relay->hub, &reload->job, &reload->err) < 0)
		reload_ends(relay, &reload->err);
}

const char *
relay_reload_error(const struct relay *relay)
{
	return relay->reload.refused;
}
