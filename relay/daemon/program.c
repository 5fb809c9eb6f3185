#include "relay/daemon/program.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "relay/base/file.h"
#include "relay/base/version.h"

enum { OUTPUT_BYTES_MAX = 64 << 20 };

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

/* One row an option; the help is made from it. */
static const struct program_option {
	const char *name;
	enum task task;
	const char *value;              /* only -f has one */
	const char *help;
} options[] = {
	{ "-f", TASK_RUN, " FILE", "the configuration, instead of " },
	{ "-n", TASK_CHECK, "", "check the configuration and end" },
	{ "--self-check", TASK_SELF_CHECK, "",
	  "try what the sandbox forbids, say what became of it, and end" },
	{ "--dump", TASK_DUMP, "", "print all values in effect and end" },
	{ "--example", TASK_EXAMPLE, "", "print an annotated configuration and end" },
	{ "--options-man", TASK_OPTIONS_MANUAL, "", "print the options for the manual and end" },
	{ "--version", TASK_VERSION, "", "print the version and end" },
	{ "--help", TASK_HELP, "", "print this and end" },
};

enum { OPTION_COUNT = sizeof(options) / sizeof(options[0]) };

static const struct program_option *
find_option(const char *word)
{
	for (size_t i = 0; i < OPTION_COUNT; i++)
		if (strcmp(word, options[i].name) == 0)
			return &options[i];
	return NULL;
}

static int
parse_arguments(const struct program *program, int argc, char **argv, const char **path_out,
    enum task *task_out)
{
	for (int i = 1; i < argc; i++) {
		const struct program_option *option = find_option(argv[i]);

		if (!option) {
			(void)fprintf(stderr, "%s: %s: no such option; try --help\n",
			    program->name, argv[i]);
			return -1;
		}
		if (!option->value[0]) {
			*task_out = option->task;
			continue;
		}
		if (++i == argc) {
			(void)fprintf(stderr, "%s: %s needs a value; try --help\n", program->name,
			    option->name);
			return -1;
		}
		*path_out = argv[i];
	}
	return 0;
}

static void
put_help(const struct program *program, struct buf *out)
{
	(void)buf_appendf(out, "%s %s\n\nusage: %s [-f FILE] [option]\n\n", program->name,
	    program->purpose, program->name);
	for (size_t i = 0; i < OPTION_COUNT; i++) {
		char shown[32];

		(void)snprintf(shown, sizeof(shown), "%s%s", options[i].name, options[i].value);
		(void)buf_appendf(out, "  %-14s %s%s\n", shown, options[i].help,
		    options[i].value[0] ? program->config_path : "");
	}
	(void)buf_append_cstr(out, "\nIt stays in the foreground and logs to standard error. "
	    "SIGHUP reloads, SIGTERM ends.\n");
}

/* What the task has to say, in OUT; an exit code. */
static int
do_task(const struct program *program, enum task task, const char *path, struct buf *out,
    struct err *err)
{
	switch (task) {
	case TASK_RUN:
		return program->run(path, out, err);
	case TASK_CHECK:
		return program->check(path, out, err);
	case TASK_SELF_CHECK:
		return program->self_check(path, out, err);
	case TASK_DUMP:
		return program->dump(path, out, err);
	case TASK_EXAMPLE:
		return conf_print_example(program->schema, out) < 0 ? EX_SOFTWARE : EX_OK;
	case TASK_OPTIONS_MANUAL:
		return conf_print_manual(program->schema, out) < 0 ? EX_SOFTWARE : EX_OK;
	case TASK_VERSION:
		(void)buf_appendf(out, "%s %s\n", program->name, version_text());
		return EX_OK;
	case TASK_HELP:
		put_help(program, out);
		return EX_OK;
	}
	return EX_SOFTWARE;
}

int
program_main(const struct program *program, int argc, char **argv)
{
	const char *path = program->config_path;
	enum task task = TASK_RUN;
	struct err err = { .kind = ERR_NONE };
	struct buf out;
	int code;

	if (parse_arguments(program, argc, argv, &path, &task) < 0)
		return EX_USAGE;
	buf_init(&out, OUTPUT_BYTES_MAX);
	code = do_task(program, task, path, &out, &err);
	if (code == EX_OK && buf_overflowed(&out)) {
		code = EX_SOFTWARE;
		(void)err_set(&err, ERR_LIMIT, "the output is too long");
	}
	if (code == EX_OK && file_write_all(STDOUT_FILENO, buf_span(&out), &err) < 0)
		code = EX_IOERR;
	if (code != EX_OK && err.kind != ERR_NONE)
		(void)fprintf(stderr, "%s: %s\n", program->name, err.text);
	buf_fini(&out);
	return code;
}
