/*
 * mailboxd: the node where mail arrives for people.  What its command line does; the options are
 * in relay/daemon/program.c.
 */
#include <sysexits.h>
#include <unistd.h>

#include "mailbox/mailbox_config.h"
#include "mailbox/node.h"
#include "relay/daemon/program.h"

#ifndef CHAPAR_SYSCONFDIR
#define CHAPAR_SYSCONFDIR "/etc"
#endif

static int
check(const char *path, struct buf *out, struct err *err)
{
	struct mailbox_config *config;

	if (mailbox_config_load(&config, path, err) < 0)
		return EX_CONFIG;
	(void)buf_appendf(out, "%s: ok\n", path);
	mailbox_config_unref(&config);
	return EX_OK;
}

static int
self_check(const char *path, struct buf *out, struct err *err)
{
	struct mailbox_config *config;
	bool good;

	(void)out;
	if (mailbox_config_load(&config, path, err) < 0)
		return EX_CONFIG;
	good = node_self_check(config, path, err);
	mailbox_config_unref(&config);
	return good ? EX_OK : EX_SOFTWARE;
}

/* What is dumped is what was checked. */
static int
dump(const char *path, struct buf *out, struct err *err)
{
	struct mailbox_config *config;
	struct conf *conf;
	int code = EX_CONFIG;

	if (conf_parse_file(&conf, &mailbox_config_schema, path, err) < 0)
		return EX_CONFIG;
	if (mailbox_config_from(&config, conf, err) == 0) {
		mailbox_config_unref(&config);
		code = conf_dump(conf, out) < 0 ? EX_SOFTWARE : EX_OK;
	}
	conf_free(&conf);
	return code;
}

static int
run(const char *path, struct buf *out, struct err *err)
{
	const struct node_settings settings = {
		.config_path = path,
		.clock = clock_system(),
		.log_fd = STDERR_FILENO,
	};
	struct mailbox_config *config;
	struct node *node;
	int code = EX_SOFTWARE;

	(void)out;
	if (mailbox_config_load(&config, path, err) < 0)
		return EX_CONFIG;
	node = node_new(&settings, &config, &code, err);
	if (node == NULL)
		return code;
	code = node_run(node);
	node_free(&node);
	return code;
}

int
main(int argc, char **argv)
{
	const struct program program = {
		.name = "mailboxd",
		.purpose = "takes mail by LMTP or SMTP and puts it into mailboxes.",
		.config_path = CHAPAR_SYSCONFDIR "/chapar/mailboxd.conf",
		.schema = &mailbox_config_schema,
		.check = check,
		.self_check = self_check,
		.dump = dump,
		.run = run,
	};

	return program_main(&program, argc, argv);
}
