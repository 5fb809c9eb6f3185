/*
 * What a relay may see of its machine.
 */
#include "relay/relay_private.h"

#include <sys/stat.h>

#include "relay/base/mem.h"

static void
read_of_block(struct sandbox *sandbox, const struct conf_block *block, const char *option)
{
	char *path;

	/* What the default names is the system's, which every daemon may read. */
	if (!conf_is_written(block, option))
		return;
	path = conf_path(block, option);
	sandbox_read_beside(sandbox, path);
	mem_free(&path);
}

static void
read_option(struct sandbox *sandbox, const struct relay_config *config, const char *section,
    const char *option)
{
	read_of_block(sandbox, conf_block(config->conf, section), option);
}

static struct sandbox *
make_sandbox(const struct relay_config *config, const char *config_path)
{
	struct sandbox *sandbox = node_sandbox_new(&config->node, config_path);

	sandbox_write(sandbox, config->spool);
	read_option(sandbox, config, "auth", "credentials");
	read_option(sandbox, config, "dns", "hosts");
	read_option(sandbox, config, "dns", "trust_anchor");
	for (size_t i = 0; i < conf_block_count(config->conf, "route"); i++)
		read_of_block(sandbox, conf_block_at(config->conf, "route", i), "auth_password");
	return sandbox;
}

int
relay_enter_sandbox(struct relay *relay, const struct relay_config *config, struct err *err)
{
	struct sandbox *sandbox;

	/* Inside its parent is nothing to be made.  disk_posix_open() says what went wrong. */
	(void)mkdir(config->spool, 0700);
	sandbox = make_sandbox(config, relay->settings.config_path);
	return node_sandbox_enter(&sandbox, &config->node, &relay->sandbox, err);
}

bool
relay_self_check(const struct relay_config *config, const char *config_path, struct err *err)
{
	struct sandbox *sandbox = make_sandbox(config, config_path);

	return node_sandbox_check(&sandbox, &config->node, err);
}
