#include "relay/daemon/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Each tries something in a child: 0 when it was possible, else errno.  What is possible where it
 * should not be does no harm and leaves nothing behind.
 */

static int
try_open(const char *path, int flags)
{
	if (open(path, flags | O_CLOEXEC, 0600) < 0)
		return errno;
	if (flags & O_CREAT)
		(void)unlink(path);
	return 0;
}

static int
read_shadow(void)
{
	return try_open("/etc/shadow", O_RDONLY);
}

static int
read_root_directory(void)
{
	return try_open("/", O_RDONLY | O_DIRECTORY);
}

static int
write_tmp(void)
{
	char path[] = "/tmp/chapar-self-check-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);

	if (fd < 0)
		return errno;
	(void)unlink(path);
	return 0;
}

static int
write_etc(void)
{
	return try_open("/etc/chapar-self-check", O_WRONLY | O_CREAT | O_EXCL);
}

static int
make_device(void)
{
	static const char path[] = "/tmp/chapar-self-check-device";

	if (mknod(path, S_IFCHR | 0600, 0) < 0)
		return errno;
	(void)unlink(path);
	return 0;
}

static int
run_program(void)
{
	char *const words[] = { (char *)(uintptr_t)"true", NULL };

	(void)execv("/usr/bin/true", words);
	return errno;
}

static int
trace(void)
{
	return ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 0 : errno;
}

/* A place that is nowhere: the call is made, and all that it can do is to say so. */
static int
mount_something(void)
{
	return mount("none", "", "tmpfs", 0, NULL) == 0 || errno == ENOENT ? 0 : errno;
}

static int
open_raw_socket(void)
{
	return socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0) >= 0 ? 0 : errno;
}

static int
read_kernel_keys(void)
{
	return syscall(SYS_keyctl, 0, -3, 0, 0, 0) >= 0 ? 0 : errno;
}

static int
make_namespace(void)
{
	return unshare(CLONE_NEWUSER) == 0 ? 0 : errno;
}

static int
kill_another(void)
{
	return kill(getppid(), SIGURG) == 0 ? 0 : errno;
}

/* This child is another process than the one that the filter was made for. */
static int
signal_thread(void)
{
	return syscall(SYS_tgkill, getpid(), getpid(), 0) == 0 ? 0 : errno;
}

static int
be_looked_into(void)
{
	return prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? EPERM : 0;
}

static int
become_root(void)
{
	return setuid(0) == 0 && geteuid() == 0 ? 0 : errno;
}

static int
dump_core(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_max == 0)
		return EPERM;
	return 0;
}

static int
win_privileges(void)
{
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ? EPERM : 0;
}

enum needs {
	NEEDS_NOTHING,
	NEEDS_LANDLOCK,
	NEEDS_SECCOMP,
	NEEDS_NO_ROOT,                  /* a daemon that was told to stay root is root */
};

static const struct {
	const char *what;
	enum needs needs;
	int (*attempt)(void);
} attempts[] = {
	{ "read /etc/shadow", NEEDS_LANDLOCK, read_shadow },
	{ "list /", NEEDS_LANDLOCK, read_root_directory },
	{ "write to /tmp", NEEDS_LANDLOCK, write_tmp },
	{ "write to /etc", NEEDS_LANDLOCK, write_etc },
	{ "make a device", NEEDS_LANDLOCK, make_device },
	{ "run a program", NEEDS_LANDLOCK, run_program },
	{ "trace another process", NEEDS_SECCOMP, trace },
	{ "mount a file system", NEEDS_SECCOMP, mount_something },
	{ "open a raw socket", NEEDS_SECCOMP, open_raw_socket },
	{ "read the kernel's keys", NEEDS_SECCOMP, read_kernel_keys },
	{ "make a namespace", NEEDS_SECCOMP, make_namespace },
	{ "send a signal to another process", NEEDS_SECCOMP, kill_another },
	{ "send a signal to a thread of another process", NEEDS_SECCOMP, signal_thread },
	{ "let other processes of the user read its memory", NEEDS_SECCOMP, be_looked_into },
	{ "become root", NEEDS_NO_ROOT, become_root },
	{ "write a core dump with keys in it", NEEDS_NOTHING, dump_core },
	{ "win privileges by a program", NEEDS_NOTHING, win_privileges },
};

static const char *
why_skipped(const struct sandbox_state *state, enum needs needs)
{
	switch (needs) {
	case NEEDS_LANDLOCK:
		return state->landlock ? NULL : state->why_no_landlock;
	case NEEDS_SECCOMP:
		return state->seccomp ? NULL : state->why_no_seccomp;
	case NEEDS_NO_ROOT:
		return geteuid() != 0 ? NULL : "section node names no user to become";
	case NEEDS_NOTHING:
		break;
	}
	return NULL;
}

/* Whether it was refused. */
static bool
was_refused(int (*attempt)(void), char *how, size_t how_size)
{
	int status = 0;
	pid_t child = fork();

	if (child == 0)
		_exit(attempt() == 0 ? 0 : 1);
	if (child < 0 || waitpid(child, &status, 0) != child) {
		(void)snprintf(how, how_size, "could not be tried");
		return false;
	}
	if (WIFSIGNALED(status)) {
		(void)snprintf(how, how_size, "ended by the kernel");
		return WTERMSIG(status) == SIGSYS;
	}
	(void)snprintf(how, how_size, WEXITSTATUS(status) == 0 ? "possible" : "refused");
	return WEXITSTATUS(status) != 0;
}

bool
sandbox_check(const struct sandbox_state *state)
{
	bool good = true;

	for (size_t i = 0; i < sizeof(attempts) / sizeof(attempts[0]); i++) {
		const char *why = why_skipped(state, attempts[i].needs);
		char how[40];

		if (why) {
			(void)printf("skip  %s: %s\n", attempts[i].what, why);
			continue;
		}
		(void)fflush(stdout);
		bool refused = was_refused(attempts[i].attempt, how, sizeof(how));

		good &= refused;
		(void)printf("%-4s  %s: %s\n", refused ? "ok" : "BAD", attempts[i].what, how);
	}
	(void)fflush(stdout);
	return good;
}
