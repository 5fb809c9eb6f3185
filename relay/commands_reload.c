/* reload: asks for it, and tells what came of it. */
#include "relay/commands_private.h"

#include "relay/base/mem.h"
#include "relay/relay_private.h"

enum {
	LOOK_MS = 20,
	LOOKS_MAX = 60 * 1000 / LOOK_MS,
};

struct reload {
	struct relay *relay;
	struct control_request *request;
	struct loop_timer timer;
	unsigned looks;
};

static void
reload_release(void *state)
{
	struct reload *reload = state;

	loop_timer_stop(relay_hub(reload->relay), &reload->timer);
	mem_free(&reload);
}

static void
look(void *ctx)
{
	struct reload *reload = ctx;
	const char *refused = relay_reload_error(reload->relay);

	if (reload->relay->reload.running && ++reload->looks < LOOKS_MAX) {
		loop_timer_start(relay_hub(reload->relay), &reload->timer, LOOK_MS);
		return;
	}
	if (reload->relay->reload.running)
		control_fail(reload->request, CONTROL_TRY_AGAIN, "the reload still goes on");
	else if (refused[0])
		control_fail(reload->request, CONTROL_BAD_CONFIG, "%s", refused);
	else
		control_end(reload->request, CONTROL_OK);
}

void
commands_reload(void *ctx, struct control_request *request)
{
	static const struct control_hold_ops hold_ops = { .release = reload_release };
	struct relay *relay = ctx;

	if (relay_is_stopping(relay)) {
		control_fail(request, CONTROL_UNAVAILABLE, "the relay is about to end");
		return;
	}
	struct reload *reload = mem_alloc(sizeof(*reload));

	reload->relay = relay;
	reload->request = request;
	loop_timer_init(&reload->timer, look, reload);
	control_hold(request, &hold_ops, reload);
	relay_reload(relay);
	loop_timer_start(relay_hub(relay), &reload->timer, LOOK_MS);
}
