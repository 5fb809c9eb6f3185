/*
 * Who may use the control socket and for what: peers of every kind, each a child with its own
 * user and groups, ask a verb that looks and one that changes.
 */
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/clock.h"
#include "relay/daemon/control.h"
#include "relay/daemon/control_client.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum {
	SERVICE = 64101,                /* users that no machine has */
	STRANGER = 64102,
	PLAIN_GROUP = 64103,
	TURNS_MAX = 2000,
	NO_CONNECTION = 200,            /* the file's mode kept it out */
};

static void
answer(void *ctx, struct control_request *request)
{
	(void)ctx;
	control_end(request, CONTROL_OK);
}

static const struct control_verb verbs[] = {
	{ "look", CONTROL_LOOK, answer, "Looks." },
	{ "change", CONTROL_CHANGE, answer, "Changes." },
};

static const struct {
	const char *name;
	uid_t uid;
	bool in_group;                  /* of the control group, as a supplementary group */
	bool group_first;               /* or as its own group */
	bool has_group, group_may_change;
	bool open_mode;                 /* an operator made the file everybody's */
	int look, change;
} cases[] = {
	{ "root", 0, false, false, false, false, false, CONTROL_OK, CONTROL_OK },
	{ "the service's user", SERVICE, false, false, false, false, false, CONTROL_OK,
	    CONTROL_OK },
	{ "a stranger", STRANGER, false, false, false, false, false, NO_CONNECTION,
	    NO_CONNECTION },
	{ "a stranger at an open file", STRANGER, false, false, false, false, true,
	    CONTROL_DENIED, CONTROL_DENIED },
	{ "a stranger where there is a group", STRANGER, false, false, true, true, false,
	    NO_CONNECTION, NO_CONNECTION },
	{ "the same at an open file", STRANGER, false, false, true, true, true, CONTROL_DENIED,
	    CONTROL_DENIED },
	{ "a member who may look", STRANGER, true, false, true, false, false, CONTROL_OK,
	    CONTROL_DENIED },
	{ "a member who may change", STRANGER, true, false, true, true, false, CONTROL_OK,
	    CONTROL_OK },
	{ "a member by its own group", STRANGER, false, true, true, false, false, CONTROL_OK,
	    CONTROL_DENIED },
	{ "a member of a group that is not asked for", STRANGER, true, false, false, true, true,
	    CONTROL_DENIED, CONTROL_DENIED },
};

/* In the child: the code that VERB ends with, as the peer sees it. */
static int
ask_as(size_t i, const char *path, gid_t group, const char *verb)
{
	gid_t groups[2] = { PLAIN_GROUP, group };
	struct control_client *client;
	enum control_client_line line;
	const struct json *end;
	struct err err;
	int64_t code = 0;

	if (setgroups(cases[i].in_group ? 2 : 1, groups) < 0 ||
	    setresgid(cases[i].group_first ? group : PLAIN_GROUP,
	    cases[i].group_first ? group : PLAIN_GROUP, PLAIN_GROUP) < 0 ||
	    setresuid(cases[i].uid, cases[i].uid, cases[i].uid) < 0)
		return 201;
	client = control_client_open(path, 5000, &err);
	if (!client)
		return err.kind == ERR_DENIED ? NO_CONNECTION : 202;
	/* A peer that is turned away at the door may be told before it has asked. */
	(void)control_client_ask(client, verb, NULL, &err);
	if (control_client_next(client, &line, &end, &err) < 0 || line != CONTROL_CLIENT_END)
		return 203;
	if (!json_get_int(end, "code", &code))
		return 204;
	control_client_close(&client);
	return (int)code;
}

static int
code_for(struct loop *loop, size_t i, const char *path, gid_t group, const char *verb)
{
	int status = 0;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0)
		_exit(ask_as(i, path, group, verb));
	for (int turn = 0; turn < TURNS_MAX; turn++) {
		if (waitpid(child, &status, WNOHANG) == child)
			return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
		loop_turn(loop, 5);
	}
	fail_msg("the child does not end");
	return -1;
}

static void
test_rights(void **state)
{
	char directory[] = "/tmp/rights.XXXXXX", path[64];
	struct err err;
	struct loop *loop = loop_new(clock_system(), &err);
	const struct group *group = getgrnam("adm");
	gid_t gid = group ? group->gr_gid : 0;

	(void)state;
	assert_non_null(loop);
	if (geteuid() != 0 || !group) {
		loop_free(&loop);
		skip();                 /* needs root, to be somebody else, and the group adm */
	}
	assert_non_null(mkdtemp(directory));
	assert_int_equal(chmod(directory, 0755), 0);
	(void)snprintf(path, sizeof(path), "%s/sock", directory);
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct control *control = control_open(loop, &(struct control_settings){
			.path = path, .verbs = verbs, .verb_count = COUNT(verbs),
			.group = cases[i].has_group ? "adm" : NULL,
			.group_may_change = cases[i].group_may_change, .uid = SERVICE,
		}, &err);
		struct stat file;
		int look, change;

		assert_non_null(control);
		assert_int_equal(stat(path, &file), 0);
		assert_int_equal(file.st_mode & 0777, 0660);
		assert_int_equal(file.st_uid, SERVICE);
		if (cases[i].open_mode)
			assert_int_equal(chmod(path, 0666), 0);
		look = code_for(loop, i, path, gid, "look");
		change = code_for(loop, i, path, gid, "change");
		if (look != cases[i].look || change != cases[i].change)
			fail_msg("%s: %d and %d", cases[i].name, look, change);
		control_close(&control);
	}
	loop_free(&loop);
	assert_int_equal(rmdir(directory), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rights),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
