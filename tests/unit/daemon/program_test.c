/*
 * The command line of a daemon: which deed is done, what it exits with, what it prints; and
 * that the manuals know each option.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/file.h"
#include "relay/base/version.h"
#include "relay/daemon/program.h"

static const struct conf_option options[] = {
	{ .name = "color", .type = CONF_STRING, .fallback = "red", .help = "What it looks like." },
};

static const struct conf_section sections[] = {
	{ .name = "box", .options = options, .options_count = 1, .help = "A box." },
};

static const struct conf_schema schema = {
	.file_name = "x.conf", .help = "For a test.", .sections = sections, .sections_count = 1,
};

/* Each deed says its name and its path; some paths fail. */
static int
deed(const char *name, const char *path, struct buf *out, struct err *err)
{
	if (strcmp(path, "bad") == 0) {
		(void)err_set(err, ERR_CONFIG, "bad:7: expected good");
		return EX_CONFIG;
	}
	if (strcmp(path, "silent") == 0)
		return EX_IOERR;
	(void)buf_appendf(out, "%s %s\n", name, path);
	return EX_OK;
}

#define DEED(name)                                                              \
	static int name(const char *path, struct buf *out, struct err *err)     \
	{                                                                       \
		return deed(#name, path, out, err);                             \
	}
DEED(check)
DEED(self_check)
DEED(dump)
DEED(run)

static const struct program program = {
	.name = "xd", .purpose = "does nothing.", .config_path = "/etc/x.conf", .schema = &schema,
	.check = check, .self_check = self_check, .dump = dump, .run = run,
};

/* What is written to DESCRIPTOR goes to a file meanwhile. */
struct capture {
	int descriptor, saved, file;
};

static void
capture_begin(struct capture *capture, int descriptor)
{
	FILE *file = tmpfile();

	assert_non_null(file);
	(void)fflush(NULL);
	capture->descriptor = descriptor;
	capture->saved = dup(descriptor);
	capture->file = dup(fileno(file));
	(void)fclose(file);
	assert_int_equal(dup2(capture->file, descriptor), descriptor);
}

static void
capture_end(struct capture *capture, char *text_out, size_t size)
{
	ssize_t got;

	(void)fflush(NULL);
	(void)dup2(capture->saved, capture->descriptor);
	got = pread(capture->file, text_out, size - 1, 0);
	text_out[got < 0 ? 0 : got] = '\0';
	(void)close(capture->saved);
	(void)close(capture->file);
}

struct said {
	int code;
	char out[4096], err[4096];
};

static struct said
call(const char *line)
{
	char words[128], *argv[8] = { words }, *rest = words;
	struct capture out, err;
	struct said said;
	int argc = 0;

	(void)snprintf(words, sizeof(words), "xd %s", line);
	for (char *word; (word = strsep(&rest, " ")) != NULL; )
		if (word[0])
			argv[argc++] = word;
	capture_begin(&out, STDOUT_FILENO);
	capture_begin(&err, STDERR_FILENO);
	said.code = program_main(&program, argc, argv);
	capture_end(&err, said.err, sizeof(said.err));
	capture_end(&out, said.out, sizeof(said.out));
	return said;
}

static const struct {
	const char *line;
	int code;
	const char *out, *err;
} cases[] = {
	{ "", EX_OK, "run /etc/x.conf\n", "" },
	{ "-f y", EX_OK, "run y\n", "" },
	{ "-n", EX_OK, "check /etc/x.conf\n", "" },
	{ "-f y -n", EX_OK, "check y\n", "" },
	{ "-n -f y", EX_OK, "check y\n", "" },
	{ "--dump -f y", EX_OK, "dump y\n", "" },
	{ "--self-check", EX_OK, "self_check /etc/x.conf\n", "" },
	{ "-f bad -n", EX_CONFIG, "", "xd: bad:7: expected good\n" },
	{ "-f bad", EX_CONFIG, "", "xd: bad:7: expected good\n" },
	{ "-f silent --dump", EX_IOERR, "", "" },
	{ "-f", EX_USAGE, "", "xd: -f needs a value; try --help\n" },
	{ "--bogus", EX_USAGE, "", "xd: --bogus: no such option; try --help\n" },
	{ "file", EX_USAGE, "", "xd: file: no such option; try --help\n" },
};

static void
test_lines(void **state)
{
	size_t failures = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct said said = call(cases[i].line);

		if (said.code != cases[i].code || strcmp(said.out, cases[i].out) != 0 ||
		    strcmp(said.err, cases[i].err) != 0) {
			print_error("\"%s\": %d \"%s\" \"%s\"\n", cases[i].line, said.code,
			    said.out, said.err);
			failures++;
		}
	}
	assert_int_equal(failures, 0);
}

static void
test_prints(void **state)
{
	struct said said = call("--version");
	char expected[128];

	(void)state;
	(void)snprintf(expected, sizeof(expected), "xd %s\n", version_text());
	assert_string_equal(said.out, expected);
	said = call("--example");
	assert_non_null(strstr(said.out, "#color = "));
	said = call("--options-man");
	assert_non_null(strstr(said.out, "color"));
	assert_int_equal(said.code, EX_OK);
}

/* Each option of --help stands in both manuals. */
static void
test_manuals(void **state)
{
	static const char *const manuals[] = {
		CHAPAR_SOURCE_DIR "/relay/relayd.8.in", CHAPAR_SOURCE_DIR "/mailbox/mailboxd.8.in",
	};
	struct said said = call("--help");
	size_t options_seen = 0;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct buf manual;
		struct err err;

		buf_init(&manual, 1 << 20);
		if (file_read_whole(manuals[i], &manual, &err) < 0)
			fail_msg("%s", err.text);
		for (const char *at = said.out; (at = strstr(at, "\n  -")) != NULL; at++) {
			char wanted[64];
			size_t len = 0;

			for (const char *c = at + 3; *c != ' '; c++) {
				if (*c == '-')
					wanted[len++] = '\\';
				wanted[len++] = *c;
			}
			wanted[len] = '\0';
			options_seen++;
			if (!strstr(buf_cstr(&manual), wanted))
				fail_msg("%s is not in %s", wanted, manuals[i]);
		}
		buf_fini(&manual);
	}
	assert_int_equal(options_seen, 16);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_prints),
		cmocka_unit_test(test_manuals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
