#include "relay/session/crew_private.h"

#include "relay/base/mem.h"
#include "relay/base/must.h"

static void
crew_plan_free(struct crew_plan *plan)
{
	for (size_t i = 0; i < plan->worker_count * plan->listener_count; i++)
		tls_context_unref(&plan->doors[i].tls);
	mem_free(&plan->doors);
	if (plan->app_release)
		plan->app_release(plan->app);
	mem_free(&plan);
}

static int
crew_plan_open_doors(struct crew_plan *plan, const struct crew_plan_settings *settings,
    struct err *err)
{
	const struct node_config *config = settings->config;

	for (size_t i = 0; i < plan->worker_count * plan->listener_count; i++) {
		struct crew_door *door = &plan->doors[i];
		const struct node_listener *listener =
		    &config->listeners[i % plan->listener_count];

		door->plan = plan;
		door->listener = listener;
		door->limits = &config->limits;
		door->hostname = config->hostname;
		door->app = settings->app;
		if (listener->tls == NODE_LISTENER_TLS_NONE)
			continue;
		door->tls = node_listener_tls_context(listener, err);
		if (!door->tls)
			return err_wrap(err, "listener \"%s\"", listener->name);
	}
	return 0;
}

struct crew_plan *
crew_plan_new(const struct crew_plan_settings *settings, struct err *err)
{
	struct crew_plan *plan = mem_alloc(sizeof(*plan));

	must(settings->worker_count > 0);
	atomic_init(&plan->holders, 1);
	plan->config = settings->config;
	plan->worker_count = settings->worker_count;
	plan->listener_count = settings->config->listener_count;
	plan->app = settings->app;
	plan->doors = mem_alloc_array(plan->worker_count * plan->listener_count,
	    sizeof(*plan->doors));
	if (crew_plan_open_doors(plan, settings, err) < 0) {
		crew_plan_free(plan);   /* app_release is not set yet */
		return NULL;
	}
	plan->app_release = settings->app_release;
	return plan;
}

struct crew_plan *
crew_plan_ref(struct crew_plan *plan)
{
	atomic_fetch_add(&plan->holders, 1);
	return plan;
}

void
crew_plan_unref(struct crew_plan **plan)
{
	struct crew_plan *gone = *plan;

	*plan = NULL;
	if (gone && atomic_fetch_sub(&gone->holders, 1) == 1)
		crew_plan_free(gone);
}

void *
crew_plan_app(const struct crew_plan *plan)
{
	return plan->app;
}

const struct crew_door *
crew_plan_door(const struct crew_plan *plan, size_t worker, size_t listener)
{
	must(worker < plan->worker_count && listener < plan->listener_count);
	return &plan->doors[worker * plan->listener_count + listener];
}
