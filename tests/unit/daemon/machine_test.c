/*
 * What the machine does to a daemon and hears of it: signals, the service manager's sockets
 * and words, the change of user.  What changes a process for good runs in a child.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/clock.h"
#include "relay/daemon/activation.h"
#include "relay/daemon/notify.h"
#include "relay/daemon/privilege.h"
#include "relay/daemon/signals.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { NOBODY = 65534 };

/* Runs in a child, whose answer is the line where it went wrong, modulo 250; 0 is good. */
#define CHILD_MUST(condition)                                                   \
	do {                                                                    \
		if (!(condition))                                               \
			_exit(1 + __LINE__ % 250);                              \
	} while (0)

static int
in_child(void (*run)(void))
{
	int status = 0;
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		run();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static struct loop *
new_loop(void)
{
	struct err err;
	struct loop *loop = loop_new(clock_system(), &err);

	assert_non_null(loop);
	return loop;
}

/* ---- signals */

struct seen {
	unsigned terminates, reloads;
	struct signals *signals;
	bool closes;
};

static void
terminate(void *ctx)
{
	struct seen *seen = ctx;

	seen->terminates++;
	if (seen->closes)
		signals_close(&seen->signals);
}

static void
reload(void *ctx)
{
	((struct seen *)ctx)->reloads++;
}

static const struct signals_ops signal_ops = { .terminate = terminate, .reload = reload };

static void
test_signals(void **state)
{
	struct loop *loop = new_loop();
	struct seen seen = { 0 };
	struct err err;
	sigset_t before, during, after;
	int pair[2];

	(void)state;
	assert_int_equal(sigprocmask(SIG_BLOCK, NULL, &before), 0);
	seen.signals = signals_open(loop, &signal_ops, &seen, &err);
	assert_non_null(seen.signals);
	assert_int_equal(sigprocmask(SIG_BLOCK, NULL, &during), 0);
	assert_true(sigismember(&during, SIGTERM) && sigismember(&during, SIGHUP));
	(void)raise(SIGHUP);
	(void)raise(SIGTERM);
	(void)raise(SIGINT);
	assert_int_equal(seen.reloads + seen.terminates, 0);    /* never from inside */
	for (int i = 0; i < 10; i++)
		loop_turn(loop, 1);
	assert_int_equal(seen.reloads, 1);
	assert_int_equal(seen.terminates, 2);
	/* SIGPIPE ends nobody. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	(void)close(pair[0]);
	assert_int_equal(write(pair[1], "x", 1), -1);
	assert_int_equal(errno, EPIPE);
	(void)close(pair[1]);
	/* Closed in a callback, with more to come. */
	seen.closes = true;
	(void)raise(SIGTERM);
	for (int i = 0; i < 10; i++)
		loop_turn(loop, 1);
	assert_int_equal(seen.terminates, 3);
	assert_null(seen.signals);
	assert_int_equal(sigprocmask(SIG_BLOCK, NULL, &after), 0);
	assert_int_equal(sigismember(&after, SIGTERM), sigismember(&before, SIGTERM));
	loop_free(&loop);
}

/* ---- the service manager hears */

struct manager {
	char path[64];
	char directory[32];
	int fd;
	char said[512];
};

static void
manager_open(struct manager *manager)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	(void)snprintf(manager->directory, sizeof(manager->directory), "/tmp/manager.XXXXXX");
	assert_non_null(mkdtemp(manager->directory));
	(void)snprintf(manager->path, sizeof(manager->path), "%s/notify", manager->directory);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", manager->path);
	manager->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	assert_int_equal(bind(manager->fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(setenv("NOTIFY_SOCKET", manager->path, 1), 0);
}

static void
manager_close(struct manager *manager)
{
	(void)unsetenv("NOTIFY_SOCKET");
	(void)close(manager->fd);
	(void)unlink(manager->path);
	(void)rmdir(manager->directory);
}

/* The next word, or "" when there is none. */
static const char *
next_word(struct manager *manager)
{
	ssize_t got = recv(manager->fd, manager->said, sizeof(manager->said) - 1, 0);

	manager->said[got > 0 ? got : 0] = '\0';
	return manager->said;
}

static bool
never_lives(void *ctx)
{
	++*(unsigned *)ctx;
	return false;
}

static void
test_notify(void **state)
{
	struct loop *loop = new_loop();
	struct manager manager;
	struct notify *notify;

	(void)state;
	manager_open(&manager);
	notify = notify_open(loop, NULL, NULL);
	notify_ready(notify);
	assert_string_equal(next_word(&manager), "READY=1");
	notify_reloading(notify);
	assert_non_null(strstr(next_word(&manager), "RELOADING=1\nMONOTONIC_USEC="));
	/* A line break would begin another assignment. */
	notify_status(notify, "three\nREADY=1 %s", "letters");
	assert_string_equal(next_word(&manager), "STATUS=three READY=1 letters");
	notify_stopping(notify);
	assert_string_equal(next_word(&manager), "STOPPING=1");
	notify_close(&notify);
	assert_string_equal(next_word(&manager), "");
	manager_close(&manager);
	/* Nobody there: nothing happens. */
	notify = notify_open(loop, NULL, NULL);
	notify_ready(notify);
	notify_close(&notify);
	loop_free(&loop);
}

static void
test_watchdog(void **state)
{
	struct loop *loop = new_loop();
	struct manager manager;
	struct notify *notify;
	unsigned asked = 0;

	(void)state;
	manager_open(&manager);
	assert_int_equal(setenv("WATCHDOG_USEC", "90000", 1), 0);
	notify = notify_open(loop, NULL, NULL);
	for (int i = 0; i < 20 && !next_word(&manager)[0]; i++)
		loop_turn(loop, 50);
	assert_string_equal(manager.said, "WATCHDOG=1");
	notify_close(&notify);
	while (next_word(&manager)[0])
		;
	/* Who made no progress gives no sign, however often he is asked. */
	notify = notify_open(loop, never_lives, &asked);
	for (int i = 0; i < 40 && asked < 3; i++)
		loop_turn(loop, 50);
	assert_true(asked >= 3);
	assert_string_equal(next_word(&manager), "");
	notify_close(&notify);
	(void)unsetenv("WATCHDOG_USEC");
	manager_close(&manager);
	loop_free(&loop);
}

/* ---- the service manager gives sockets */

static int
listening_socket(int type, bool listens, struct sockaddr_in *address_out)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t len = sizeof(address);
	int fd = socket(AF_INET, type, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	CHILD_MUST(fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0);
	CHILD_MUST(!listens || listen(fd, 4) == 0);
	CHILD_MUST(getsockname(fd, (struct sockaddr *)address_out, &len) == 0);
	return fd;
}

/* As systemd does it: descriptors from 3 on, and two words in the environment. */
static void
give(const int *fds, int count)
{
	char text[16];
	int above[8];

	for (int i = 0; i < count; i++)
		above[i] = fcntl(fds[i], F_DUPFD, 100);
	for (int i = 0; i < count; i++)
		CHILD_MUST(dup2(above[i], 3 + i) == 3 + i);
	(void)snprintf(text, sizeof(text), "%d", (int)getpid());
	(void)setenv("LISTEN_PID", text, 1);
	(void)snprintf(text, sizeof(text), "%d", count);
	(void)setenv("LISTEN_FDS", text, 1);
}

static struct endpoint
endpoint_of(const struct sockaddr_in *address)
{
	struct endpoint endpoint = { .family = ENDPOINT_IPV4, .port = ntohs(address->sin_port) };

	memcpy(endpoint.ip, &address->sin_addr, 4);
	return endpoint;
}

static void
take_sockets(void)
{
	struct sockaddr_in first, second;
	int fds[2];
	struct err err;
	struct activation *activation;
	struct endpoint wanted;

	fds[0] = listening_socket(SOCK_STREAM, true, &first);
	fds[1] = listening_socket(SOCK_STREAM, true, &second);
	give(fds, 2);
	activation = activation_open(&err);
	CHILD_MUST(activation);
	CHILD_MUST(!getenv("LISTEN_FDS"));
	CHILD_MUST(activation_rest_count(activation) == 2);
	wanted = endpoint_of(&second);
	int fd = activation_take(activation, &wanted);

	CHILD_MUST(fd == 4);
	CHILD_MUST(fcntl(fd, F_GETFL) & O_NONBLOCK);
	CHILD_MUST(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	CHILD_MUST(activation_take(activation, &wanted) == -1); /* once */
	CHILD_MUST(activation_rest_count(activation) == 1);
	wanted = activation_rest(activation, 0);
	CHILD_MUST(wanted.port == ntohs(first.sin_port));
	activation_close(&activation);
	CHILD_MUST(fcntl(3, F_GETFL) == -1 && fcntl(4, F_GETFL) >= 0);
	(void)close(4);
}

static void
refuse_datagrams(void)
{
	struct sockaddr_in address;
	struct err err = { .kind = ERR_NONE };
	int fd = listening_socket(SOCK_DGRAM, false, &address);

	give(&fd, 1);
	CHILD_MUST(!activation_open(&err));
	CHILD_MUST(strstr(err.text, "descriptor 3") && strstr(err.text, "listening stream"));
}

static void
refuse_connections(void)
{
	struct sockaddr_in address;
	struct err err = { .kind = ERR_NONE };
	int fd = listening_socket(SOCK_STREAM, false, &address);

	give(&fd, 1);
	CHILD_MUST(!activation_open(&err));
}

static void
refuse_files(void)
{
	struct err err = { .kind = ERR_NONE };
	int fd = open("/dev/null", O_RDONLY);

	give(&fd, 1);
	CHILD_MUST(!activation_open(&err));
}

static void
take_none(void)
{
	struct err err;
	struct activation *activation;
	struct endpoint any = { .family = ENDPOINT_IPV4, .port = 25 };

	/* Meant for another process. */
	(void)setenv("LISTEN_PID", "1", 1);
	(void)setenv("LISTEN_FDS", "1", 1);
	activation = activation_open(&err);
	CHILD_MUST(activation && activation_rest_count(activation) == 0);
	CHILD_MUST(activation_take(activation, &any) == -1);
	activation_close(&activation);
}

static const struct {
	const char *name;
	void (*run)(void);
} activation_cases[] = {
	{ "takes sockets by their address", take_sockets },
	{ "refuses datagrams", refuse_datagrams },
	{ "refuses a socket that does not listen", refuse_connections },
	{ "refuses a file", refuse_files },
	{ "takes none that another was given", take_none },
};

static void
test_activation(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(activation_cases); i++) {
		int code = in_child(activation_cases[i].run);

		if (code != 0)
			fail_msg("%s: code %d", activation_cases[i].name, code);
	}
}

/* ---- another user */

static const struct {
	const char *name, *user, *group;
	bool found;                     /* as root */
	bool must_change;
} find_cases[] = {
	{ "nobody to become", NULL, NULL, true, false },
	{ "a group without a user", NULL, "root", false, false },
	{ "by name", "nobody", NULL, true, true },
	{ "by number", "65534", NULL, true, true },
	{ "with a group", "nobody", "root", true, true },
	{ "root is who we are", "root", NULL, true, false },
	{ "a user that is not there", "no-such-user", NULL, false, false },
	{ "a group that is not there", "nobody", "no-such-group", false, false },
	{ "a number of nobody", "64999", NULL, false, false },
	{ "the number that means none", "4294967295", NULL, false, false },
	{ "an empty name", "", NULL, false, false },
};

static void
test_find(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	for (size_t i = 0; i < COUNT(find_cases); i++) {
		struct privilege privilege;
		struct err err = { .kind = ERR_NONE };
		int result = privilege_find(&privilege, find_cases[i].user, find_cases[i].group,
		    &err);

		if ((result == 0) != find_cases[i].found ||
		    (result == 0 && privilege.must_change != find_cases[i].must_change))
			fail_msg("%s: %s", find_cases[i].name, err.text);
		assert_true(result == 0 || err.text[0] != '\0');
	}
}

static void
become_nobody(void)
{
	struct privilege privilege;
	struct rlimit core;
	struct err err;
	struct sockaddr_in low = { .sin_family = AF_INET, .sin_port = htons(1) };
	gid_t groups[64];
	int fd;

	CHILD_MUST(privilege_find(&privilege, "nobody", NULL, &err) == 0);
	CHILD_MUST(privilege_drop(&privilege, &err) == 0);
	CHILD_MUST(getuid() == NOBODY && geteuid() == NOBODY && getgid() == privilege.gid);
	for (int i = getgroups(64, groups); i-- > 0; )
		CHILD_MUST(groups[i] != 0);
	CHILD_MUST(setuid(0) < 0 && seteuid(0) < 0 && setgid(0) < 0);
	CHILD_MUST(open("/etc/shadow", O_RDONLY) < 0);
	CHILD_MUST(chown("/tmp", NOBODY, NOBODY) < 0);
	/* A reload may open another low port. */
	low.sin_addr.s_addr = htonl(0x7f090909);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	CHILD_MUST(bind(fd, (struct sockaddr *)&low, sizeof(low)) == 0);
	CHILD_MUST(privilege_lock(&err) == 0);
	CHILD_MUST(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	CHILD_MUST(getrlimit(RLIMIT_CORE, &core) == 0 && core.rlim_cur == 0 && core.rlim_max == 0);
#ifndef CHAPAR_SANITIZED
	CHILD_MUST(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0);
#endif
}

static void
stay_who_we_are(void)
{
	struct privilege privilege;
	struct err err;

	CHILD_MUST(setresuid(NOBODY, NOBODY, NOBODY) == 0);
	CHILD_MUST(privilege_find(&privilege, "nobody", NULL, &err) == 0);
	CHILD_MUST(!privilege.must_change && privilege_drop(&privilege, &err) == 0);
	CHILD_MUST(privilege_find(&privilege, "root", NULL, &err) < 0);
	CHILD_MUST(err.kind == ERR_DENIED);
}

static void
test_drop(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(in_child(become_nobody), 0);
	assert_int_equal(in_child(stay_who_we_are), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_signals),
		cmocka_unit_test(test_notify),
		cmocka_unit_test(test_watchdog),
		cmocka_unit_test(test_activation),
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_drop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
