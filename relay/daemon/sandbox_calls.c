#include "relay/daemon/sandbox_private.h"

#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A sanitizer makes calls of its own, and traces its own process. */
#ifdef CHAPAR_SANITIZED
enum { IS_SANITIZED = 1 };
#else
enum { IS_SANITIZED = 0 };
#endif

/* What the daemons and their libraries call; names that an architecture lacks are passed over. */
static const char *const allowed[] = {
	/* memory and threads */
	"brk", "mmap", "mmap2", "mprotect", "mremap", "munmap", "madvise", "mincore", "membarrier",
	"clone", "clone3", "fork", "vfork", "wait4", "waitid", "exit", "exit_group", "futex",
	"futex_waitv", "set_robust_list", "get_robust_list", "set_tid_address", "rseq", "gettid",
	"getpid", "getppid", "getpgrp", "getpgid", "sched_yield", "sched_getaffinity",
	"sched_getparam", "sched_getscheduler", "getcpu", "get_mempolicy", "prctl", "arch_prctl",
	"restart_syscall", "getrandom",
	/* signals and time */
	"rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigtimedwait",
	"sigaltstack", "sigreturn", "signalfd", "signalfd4", "clock_gettime",
	"clock_gettime64", "clock_getres", "clock_getres_time64", "clock_nanosleep",
	"clock_nanosleep_time64", "nanosleep", "gettimeofday", "time", "times", "timerfd_create",
	"timerfd_settime", "timerfd_gettime", "alarm", "setitimer", "getitimer",
	/* who and where we are; limits may be looked at and lowered */
	"getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "capget",
	"uname", "sysinfo", "getrlimit", "ugetrlimit", "setrlimit", "prlimit64", "getrusage",
	"umask", "getcwd", "chdir", "fchdir",
	/* waiting */
	"epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2",
	"poll", "ppoll", "ppoll_time64", "select", "_newselect", "pselect6", "pselect6_time64",
	"eventfd", "eventfd2", "pipe", "pipe2", "inotify_init1", "inotify_add_watch",
	"inotify_rm_watch",
	/* files */
	"open", "openat", "openat2", "creat", "close", "close_range", "dup", "dup2", "dup3",
	"read", "readv", "pread64", "preadv", "preadv2", "write", "writev", "pwrite64", "pwritev",
	"pwritev2", "lseek", "_llseek", "sendfile", "sendfile64", "copy_file_range", "fsync",
	"fdatasync", "sync_file_range", "syncfs", "fallocate", "ftruncate", "ftruncate64",
	"truncate", "truncate64", "fadvise64", "fadvise64_64", "readahead", "stat", "stat64",
	"fstat", "fstat64", "lstat", "lstat64", "newfstatat", "fstatat64", "statx", "statfs",
	"statfs64", "fstatfs", "fstatfs64", "access", "faccessat", "faccessat2", "readlink",
	"readlinkat", "getdents", "getdents64", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat",
	"rename", "renameat", "renameat2", "link", "linkat", "chmod", "fchmod", "fchmodat",
	"chown", "fchown", "lchown", "fchownat", "utimensat", "utimensat_time64", "utime",
	"utimes", "futimesat", "flock", "fcntl", "fcntl64", "ioctl", "fgetxattr", "getxattr",
	/* the network; socket() is ruled below */
	"socketpair", "bind", "listen", "accept", "accept4", "connect", "shutdown",
	"getsockname", "getpeername", "setsockopt", "getsockopt", "send", "sendto", "sendmsg",
	"sendmmsg", "recv", "recvfrom", "recvmsg", "recvmmsg", "recvmmsg_time64",
};

static const char *const deadly[] = {
	"execve", "execveat", "ptrace", "mount", "umount2", "move_mount", "fsmount", "pivot_root",
};

static const int families[] = { AF_UNIX, AF_INET, AF_INET6, AF_NETLINK };

/* -1 when the filter cannot have the rule; a call that is not of this machine needs none. */
static int
add_names(scmp_filter_ctx filter, uint32_t action, const char *const *names, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		int call = seccomp_syscall_resolve_name(names[i]);

		if (call == __NR_SCMP_ERROR || call < 0)
			continue;
		if (seccomp_rule_add(filter, action, call, 0) < 0)
			return -1;
	}
	return 0;
}

static int
add_rules(scmp_filter_ctx filter)
{
	if (add_names(filter, SCMP_ACT_ALLOW, allowed, sizeof(allowed) / sizeof(allowed[0])) < 0 ||
	    add_names(filter, SCMP_ACT_KILL_PROCESS, deadly,
		      sizeof(deadly) / sizeof(deadly[0])) < 0)
		return -1;
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++)
		if (seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
				     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)families[i])) < 0)
			return -1;
	/* Our own threads; abort() does it so, too. */
	if (seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
			     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid())) < 0)
		return -1;
	/* Whether the owner of a lock lives, and nothing else. */
	return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(kill), 1,
				SCMP_A1(SCMP_CMP_EQ, 0));
}

int
sandbox_filter_calls(struct sandbox_state *state, struct err *err)
{
	scmp_filter_ctx filter;
	int result = 0;

	if (IS_SANITIZED) {
		(void)snprintf(state->why_no_seccomp, sizeof(state->why_no_seccomp),
			       "built with a sanitizer");
		return 0;
	}
	if (seccomp_api_get() == 0) {
		(void)snprintf(state->why_no_seccomp, sizeof(state->why_no_seccomp),
			       "the kernel has no seccomp filters");
		return 0;
	}
	/* Not a signal: threads of libraries block all of them, and would die of one. */
	filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	if (!filter)
		return err_set(err, ERR_SYSTEM, "seccomp: no filter");
	/* The kernel's log tells what was refused; a kernel that cannot is no reason to stop. */
	(void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 1);
	(void)seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (add_rules(filter) < 0) {
		result = err_set(err, ERR_SYSTEM, "seccomp: a rule is not taken");
	} else {
		int error = seccomp_load(filter);

		if (error < 0) {
			errno = -error;
			result = err_set_errno(err, "seccomp");
		}
	}
	seccomp_release(filter);
	state->seccomp = result == 0;
	return result;
}
