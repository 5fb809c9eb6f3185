#include "relay/daemon/node_sandbox.h"

#include "relay/base/log.h"

#include <stdio.h>
#include <string.h>

struct sandbox *
node_sandbox_new(const struct node_config *config, const char *config_path)
{
	struct sandbox *sandbox = sandbox_new();

	sandbox_read_beside(sandbox, config_path);
	sandbox_write_beside(sandbox, config->control_path);
	for (size_t i = 0; i < config->tls_count; i++) {
		const struct node_tls *tls = &config->tls[i];

		if (tls->certificate_file)
			sandbox_read_beside(sandbox, tls->certificate_file);
		if (tls->key_file)
			sandbox_read_beside(sandbox, tls->key_file);
		if (tls->ca_file)
			sandbox_read_beside(sandbox, tls->ca_file);
	}
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct node_listener *listener = &config->listeners[i];

		for (size_t j = 0; j < listener->address_count; j++)
			if (listener->addresses[j].family == ENDPOINT_UNIX)
				sandbox_write_beside(sandbox, listener->addresses[j].path);
	}
	if (config->metrics_address && config->metrics_address->family == ENDPOINT_UNIX)
		sandbox_write_beside(sandbox, config->metrics_address->path);
	return sandbox;
}

/* As the configuration has it, or not at all. */
static int
enter(struct sandbox **sandbox, const struct node_config *config, struct sandbox_state *state_out,
      struct err *err)
{
	int result = 0;

	*state_out = (struct sandbox_state){
		.why_no_landlock = "sandbox = no", .why_no_seccomp = "sandbox = no",
	};
	if (config->sandbox)
		result = sandbox_enter(*sandbox, state_out, err);
	sandbox_free(sandbox);
	return result;
}

int
node_sandbox_enter(struct sandbox **sandbox, const struct node_config *config,
		   struct sandbox_state *state_out, struct err *err)
{
	int result = enter(sandbox, config, state_out, err);

	if (result == 0)
		sandbox_log(state_out);
	return result;
}

bool
node_sandbox_check(struct sandbox **sandbox, const struct node_config *config, struct err *err)
{
	struct privilege privilege;
	struct sandbox_state state;

	if (privilege_find(&privilege, config->user, config->group, err) < 0 ||
	    privilege_drop(&privilege, err) < 0 || privilege_lock(err) < 0) {
		sandbox_free(sandbox);
		return false;
	}
	if (enter(sandbox, config, &state, err) < 0)
		return false;
	(void)err_set(err, ERR_DENIED, "something was possible that should not be");
	return sandbox_check(&state);
}

void
node_sandbox_explain(const struct sandbox_state *state, struct err *err)
{
	size_t len = strlen(err->text);

	if (state->landlock && strstr(err->text, "Permission denied"))
		(void)snprintf(err->text + len, sizeof(err->text) - len,
			       " (a directory that the configuration did not name at the start "
			       "needs a restart)");
}
