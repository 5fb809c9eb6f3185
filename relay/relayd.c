/*
 * relayd: the relay.  What its command line does; the options are in relay/daemon/program.c.
 */
#include <sysexits.h>
#include <unistd.h>

#include "relay/daemon/program.h"
#include "relay/relay.h"

#ifndef CHAPAR_SYSCONFDIR
#define CHAPAR_SYSCONFDIR "/etc"
#endif

static int
check(const char *path, struct buf *out, struct err *err)
{
	struct relay_config *config = relay_config_load(path, err);

	if (!config)
		return EX_CONFIG;
	(void)buf_appendf(out, "%s: ok\n", path);
	relay_config_free(&config);
	return EX_OK;
}

static int
self_check(const char *path, struct buf *out, struct err *err)
{
	struct relay_config *config = relay_config_load(path, err);
	bool good;

	(void)out;
	if (!config)
		return EX_CONFIG;
	good = relay_self_check(config, path, err);
	relay_config_free(&config);
	return good ? EX_OK : EX_SOFTWARE;
}

static int
dump(const char *path, struct buf *out, struct err *err)
{
	struct relay_config *config = relay_config_load(path, err);
	int failed;

	if (!config)
		return EX_CONFIG;
	failed = conf_dump(config->conf, out);
	relay_config_free(&config);
	return failed < 0 ? EX_SOFTWARE : EX_OK;
}

static int
run(const char *path, struct buf *out, struct err *err)
{
	const struct relay_settings settings = {
		.config_path = path,
		.clock = clock_system(),
		.log_fd = STDERR_FILENO,
	};
	struct relay_config *config = relay_config_load(path, err);
	struct relay *relay;
	int code = EX_SOFTWARE;

	(void)out;
	if (!config)
		return EX_CONFIG;
	relay = relay_new(&settings, &config, &code, err);
	if (!relay)
		return code;
	code = relay_run(relay);
	relay_free(&relay);
	return code;
}

int
main(int argc, char **argv)
{
	const struct program program = {
		.name = "relayd",
		.purpose = "takes mail by SMTP, keeps it safe, and sends it on.",
		.config_path = CHAPAR_SYSCONFDIR "/chapar/relayd.conf",
		.schema = relay_config_schema(),
		.check = check,
		.self_check = self_check,
		.dump = dump,
		.run = run,
	};

	return program_main(&program, argc, argv);
}
