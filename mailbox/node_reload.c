#include "mailbox/node_private.h"

#include <stdio.h>

/*
 * A reload: the helper's thread reads and checks the file and the certificates, the hub changes
 * over.  Whatever goes wrong leaves what was in force.
 */

static void
release_config(void *app)
{
	struct mailbox_config *config = app;

	mailbox_config_unref(&config);
}

struct crew_plan *
node_make_plan(struct node *node, struct mailbox_config **config, struct err *err)
{
	const struct crew_plan_settings settings = {
		.config = &(*config)->node,
		.worker_count = node->worker_count,
		.app = *config,
		.app_release = release_config,
	};
	struct crew_plan *plan = crew_plan_new(&settings, err);

	if (plan == NULL)
		mailbox_config_unref(config);
	*config = NULL;
	return plan;
}

/* On the helper's thread. */
static void
run(void *ctx)
{
	struct node *node = ctx;
	struct mailbox_config *config;

	node->reload.plan = NULL;
	if (mailbox_config_load(&config, node->settings.config_path, &node->reload.err) == 0)
		node->reload.plan = node_make_plan(node, &config, &node->reload.err);
	if (node->reload.plan == NULL)
		node_sandbox_explain(&node->sandbox, &node->reload.err);
}

static void
end(struct node *node, const struct err *err)
{
	struct node_reload *reload = &node->reload;

	reload->running = false;
	(void)snprintf(reload->refused, sizeof(reload->refused), "%s", err ? err->text : "");
	if (err)
		log_error("reload refused, the configuration in force stays: %s", err->text);
	else
		log_info("reloaded %s", node->settings.config_path);
	notify_ready(node->notify);
	if (node->stop_wanted) {
		node_stop_now(node);
	} else if (reload->again) {
		reload->again = false;
		node_reload(node);
	}
}

static void
crew_done(void *ctx, const struct err *err)
{
	struct node *node = ctx;

	if (err == NULL)
		log_set_level(node->log, node_configuration(node)->node.log_level);
	end(node, err);
}

/* On the hub again. */
static void
done(void *ctx)
{
	struct node *node = ctx;
	struct node_reload *reload = &node->reload;
	const char *option;

	if (reload->plan == NULL) {
		end(node, &reload->err);
		return;
	}
	option = mailbox_config_needs_restart(node_configuration(node),
					      crew_plan_app(reload->plan));
	if (option[0] != '\0')
		log_warn("reload: a change of %s takes effect at the next start only", option);
	crew_reload(node->crew, &reload->plan, crew_done, node);
}

void
node_reload_init(struct node *node)
{
	work_job_init(&node->reload.job, run, done, NULL, node);
}

void
node_reload(struct node *node)
{
	struct node_reload *reload = &node->reload;

	if (node->stop_wanted)
		return;
	if (reload->running) {
		reload->again = true;
		return;
	}
	reload->running = true;
	notify_reloading(node->notify);
	if (work_submit(node->helper, node->hub, &reload->job, &reload->err) < 0)
		end(node, &reload->err);
}

const char *
node_reload_error(const struct node *node)
{
	return node->reload.refused;
}
