/*
 * relayd: the relay.  Options, exit codes, and nothing else.
 */
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "relay/base/buf.h"
#include "relay/base/file.h"
#include "relay/base/version.h"
#include "relay/relay.h"

#ifndef CHAPAR_SYSCONFDIR
#define CHAPAR_SYSCONFDIR "/etc"
#endif

#define CONFIG_FILE CHAPAR_SYSCONFDIR "/chapar/relayd.conf"

enum { OUTPUT_BYTES_MAX = 1 << 20 };

enum task {
	TASK_RUN,
	TASK_CHECK,
	TASK_SELF_CHECK,
	TASK_DUMP,
	TASK_EXAMPLE,
	TASK_OPTIONS_MANUAL,
	TASK_VERSION,
	TASK_HELP,
};

/* One row an option; the help and the manual's test are made from it. */
struct program_option {
	const char *name;
	enum task task;
	bool has_value;         /* only -f */
	const char *help;
};

static const struct program_option program_options[] = {
	{ "-f", TASK_RUN, true, "FILE  the configuration, instead of " CONFIG_FILE },
	{ "-n", TASK_CHECK, false, "      check the configuration and end" },
	{ "--self-check", TASK_SELF_CHECK, false,
	    "try what the sandbox forbids, say what became of it, and end" },
	{ "--dump", TASK_DUMP, false, "  print all values in effect and end" },
	{ "--example", TASK_EXAMPLE, false, "print an annotated configuration and end" },
	{ "--options-man", TASK_OPTIONS_MANUAL, false,
	    "print the options for the manual and end" },
	{ "--version", TASK_VERSION, false, "print the version and end" },
	{ "--help", TASK_HELP, false, "  print this and end" },
};

enum { PROGRAM_OPTION_COUNT = sizeof(program_options) / sizeof(program_options[0]) };

struct arguments {
	const char *config_path;
	enum task task;
};

static const struct program_option *
find_option(const char *word)
{
	for (size_t i = 0; i < PROGRAM_OPTION_COUNT; i++)
		if (strcmp(word, program_options[i].name) == 0)
			return &program_options[i];
	return NULL;
}

static int
parse_arguments(int argc, char **argv, struct arguments *arguments)
{
	for (int i = 1; i < argc; i++) {
		const struct program_option *option = find_option(argv[i]);

		if (!option) {
			(void)fprintf(stderr, "relayd: %s: no such option; try --help\n", argv[i]);
			return -1;
		}
		if (!option->has_value) {
			arguments->task = option->task;
			continue;
		}
		if (++i == argc) {
			(void)fprintf(stderr, "relayd: %s needs a value; try --help\n",
			    option->name);
			return -1;
		}
		arguments->config_path = argv[i];
	}
	return 0;
}

static int
print_help(void)
{
	(void)printf("relayd takes mail by SMTP, keeps it safe, and sends it on.\n\n"
	    "usage: relayd [-f FILE] [option]\n\n");
	for (size_t i = 0; i < PROGRAM_OPTION_COUNT; i++)
		(void)printf("  %s %s\n", program_options[i].name, program_options[i].help);
	(void)printf("\nIt stays in the foreground and logs to standard error. "
	    "SIGHUP reloads, SIGTERM ends.\n");
	return EX_OK;
}

static int
print_buf(struct buf *text, int failed)
{
	struct err err;
	int code = EX_OK;

	if (failed < 0 || buf_overflowed(text)) {
		(void)fprintf(stderr, "relayd: the output is too long\n");
		code = EX_SOFTWARE;
	} else if (file_write_all(STDOUT_FILENO, buf_span(text), &err) < 0) {
		(void)fprintf(stderr, "relayd: %s\n", err.text);
		code = EX_IOERR;
	}
	buf_fini(text);
	return code;
}

static int
print_schema(enum task task)
{
	struct buf text;

	buf_init(&text, OUTPUT_BYTES_MAX);
	if (task == TASK_EXAMPLE)
		return print_buf(&text, conf_print_example(relay_config_schema(), &text));
	return print_buf(&text, conf_print_manual(relay_config_schema(), &text));
}

/* One line: file, line, what was expected. */
static int
complain(const struct err *err)
{
	(void)fprintf(stderr, "relayd: %s\n", err->text);
	return EX_CONFIG;
}

static int
print_dump(const char *path)
{
	struct relay_config *config;
	struct buf text;
	struct err err;
	int code;

	config = relay_config_load(path, &err);
	if (!config)
		return complain(&err);
	buf_init(&text, OUTPUT_BYTES_MAX);
	code = print_buf(&text, conf_dump(config->conf, &text));
	relay_config_free(&config);
	return code;
}

static int
check(const char *path)
{
	struct relay_config *config;
	struct err err;

	config = relay_config_load(path, &err);
	if (!config)
		return complain(&err);
	(void)printf("%s: ok\n", path);
	relay_config_free(&config);
	return EX_OK;
}

static int
self_check(const char *path)
{
	struct relay_config *config;
	struct err err;
	bool good;

	config = relay_config_load(path, &err);
	if (!config)
		return complain(&err);
	good = relay_self_check(config, path, &err);
	relay_config_free(&config);
	if (good)
		return EX_OK;
	(void)fprintf(stderr, "relayd: %s\n", err.text);
	return EX_SOFTWARE;
}

static int
run(const char *path)
{
	const struct relay_settings settings = {
		.config_path = path,
		.clock = clock_system(),
		.log_fd = STDERR_FILENO,
	};
	struct relay_config *config;
	struct relay *relay;
	struct err err;
	int code = EX_SOFTWARE;

	config = relay_config_load(path, &err);
	if (!config)
		return complain(&err);
	relay = relay_new(&settings, &config, &code, &err);
	if (!relay) {
		(void)fprintf(stderr, "relayd: %s\n", err.text);
		return code;
	}
	code = relay_run(relay);
	relay_free(&relay);
	return code;
}

int
main(int argc, char **argv)
{
	struct arguments arguments = { .config_path = CONFIG_FILE, .task = TASK_RUN };

	if (parse_arguments(argc, argv, &arguments) < 0)
		return EX_USAGE;
	switch (arguments.task) {
	case TASK_RUN:
		return run(arguments.config_path);
	case TASK_CHECK:
		return check(arguments.config_path);
	case TASK_SELF_CHECK:
		return self_check(arguments.config_path);
	case TASK_DUMP:
		return print_dump(arguments.config_path);
	case TASK_EXAMPLE:
	case TASK_OPTIONS_MANUAL:
		return print_schema(arguments.task);
	case TASK_VERSION:
		(void)printf("relayd %s\n", version_text());
		return EX_OK;
	case TASK_HELP:
		return print_help();
	}
	return EX_SOFTWARE;
}
