/*
 * The self-check of the sandbox: red where what it tries is possible, without doing harm by it,
 * and green inside of the sandbox.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/daemon/privilege.h"
#include "relay/daemon/sandbox.h"

enum { GOOD = 0, BAD = 1, BROKEN = 2 };

/* Nobody has done anything, and it is told that all is in force. */
static int
claim(void)
{
	const struct sandbox_state state = { .landlock = true, .seccomp = true };

	return sandbox_check(&state) ? GOOD : BAD;
}

static int
enter(void)
{
	struct sandbox *sandbox = sandbox_new();
	struct sandbox_state state;
	struct err err;

	if (privilege_lock(&err) < 0 || sandbox_enter(sandbox, &state, &err) < 0)
		return BROKEN;
	sandbox_free(&sandbox);
	return sandbox_check(&state) ? GOOD : BAD;
}

/* What it printed, at most SIZE - 1 octets; its answer. */
static int
in_child(int (*check)(void), char *said, size_t size)
{
	FILE *file = tmpfile();
	int status = 0;
	pid_t child;

	assert_non_null(file);
	(void)fflush(stdout);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (dup2(fileno(file), STDOUT_FILENO) < 0)
			_exit(BROKEN);
		_exit(check());
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	rewind(file);
	said[fread(said, 1, size - 1, file)] = '\0';
	(void)fclose(file);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

/* Possible for everybody, on every machine: the others need root, or a kernel that has it. */
static const char *const always_possible[] = {
	"list /", "write to /tmp", "run a program", "trace another process",
	"send a signal to another process", "send a signal to a thread of another process",
	"let other processes of the user read its memory", "win privileges by a program",
};

static void
test_red(void **state)
{
	char said[8192], line[200];

	(void)state;
	assert_int_equal(in_child(claim, said, sizeof(said)), BAD);
	for (size_t i = 0; i < sizeof(always_possible) / sizeof(always_possible[0]); i++) {
		(void)snprintf(line, sizeof(line), "BAD   %s: possible", always_possible[i]);
		if (!strstr(said, line))
			fail_msg("\"%s\" is not in:\n%s", line, said);
	}
	assert_int_not_equal(access("/etc/chapar-self-check", F_OK), 0);
	assert_int_not_equal(access("/tmp/chapar-self-check-device", F_OK), 0);
	assert_int_equal(access("/proc/self/status", F_OK), 0);
}

static void
test_green(void **state)
{
	char said[8192];
	int answer = in_child(enter, said, sizeof(said));

	(void)state;
	if (answer != GOOD)
		fail_msg("%d:\n%s", answer, said);
	assert_null(strstr(said, "BAD"));
	assert_non_null(strstr(said, "ok    win privileges"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_red),
		cmocka_unit_test(test_green),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
