/*
 * What a mailbox node may see of its machine.
 */
#include "mailbox/node_private.h"

#include <sys/stat.h>

static struct sandbox *
make_sandbox(const struct mailbox_config *config, const char *config_path)
{
	struct sandbox *sandbox = node_sandbox_new(&config->node, config_path);

	sandbox_write(sandbox, config->spool);
	/* Locks and new files are made beside a box. */
	for (size_t i = 0; i < boxes_count(config->boxes); i++)
		sandbox_write_beside(sandbox, boxes_at(config->boxes, i)->path);
	return sandbox;
}

int
node_enter_sandbox(struct node *node, const struct mailbox_config *config, struct err *err)
{
	struct sandbox *sandbox;

	/* Inside its parent nothing is to be made; open_spool() says what went wrong. */
	(void)mkdir(config->spool, 0700);
	sandbox = make_sandbox(config, node->settings.config_path);
	return node_sandbox_enter(&sandbox, &config->node, &node->sandbox, err);
}

bool
node_self_check(const struct mailbox_config *config, const char *config_path, struct err *err)
{
	struct sandbox *sandbox = make_sandbox(config, config_path);

	return node_sandbox_check(&sandbox, &config->node, err);
}
