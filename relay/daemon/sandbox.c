#include "relay/daemon/sandbox.h"

#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/daemon/sandbox_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/landlock.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Since ABI 3; older headers do not have it. */
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif

enum {
	ABI_LEAST = 2,                  /* before it no file could go to another directory */
	ABI_TRUNCATE = 3,
};

#define READ_RIGHTS (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define WRITE_RIGHTS                                                                              \
	(READ_RIGHTS | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE |           \
	 LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |                            \
	 LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_REFER)
#define NOBODYS_RIGHTS                                                                            \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_MAKE_CHAR |                              \
	 LANDLOCK_ACCESS_FS_MAKE_FIFO | LANDLOCK_ACCESS_FS_MAKE_BLOCK |                           \
	 LANDLOCK_ACCESS_FS_MAKE_SYM)
#define FILE_RIGHTS                                                                               \
	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |                           \
	 LANDLOCK_ACCESS_FS_TRUNCATE)

struct place {
	char *path;
	bool may_write;
};

struct sandbox {
	struct place *places;
	size_t count, capacity;
};

/* What libraries read when they feel like it: NSS, OpenSSL, libunbound, the C library. */
static const char *const system_places[] = {
	"/usr", "/lib", "/lib64", "/proc", "/sys", "/etc/ssl", "/etc/pki", "/etc/ca-certificates",
	"/etc/resolv.conf", "/run/systemd/resolve", "/etc/hosts", "/etc/host.conf",
	"/etc/nsswitch.conf", "/etc/gai.conf", "/etc/services", "/etc/protocols", "/etc/passwd",
	"/etc/group", "/etc/machine-id", "/etc/localtime", "/etc/ld.so.cache",
	"/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/unbound", "/dev/urandom", "/dev/random",
};

static void
add(struct sandbox *sandbox, const char *path, bool may_write)
{
	for (size_t i = 0; i < sandbox->count; i++) {
		if (strcmp(sandbox->places[i].path, path) == 0) {
			sandbox->places[i].may_write |= may_write;
			return;
		}
	}
	if (sandbox->count == sandbox->capacity) {
		sandbox->capacity = sandbox->capacity ? 2 * sandbox->capacity : 64;
		sandbox->places = mem_resize_array(sandbox->places, sandbox->capacity,
						   sizeof(*sandbox->places));
	}
	sandbox->places[sandbox->count++] = (struct place){ mem_dup_cstr(path), may_write };
}

struct sandbox *
sandbox_new(void)
{
	struct sandbox *sandbox = mem_alloc(sizeof(*sandbox));

	for (size_t i = 0; i < sizeof(system_places) / sizeof(system_places[0]); i++)
		add(sandbox, system_places[i], false);
	add(sandbox, "/dev/null", true);
	return sandbox;
}

void
sandbox_free(struct sandbox **sandbox)
{
	if (!*sandbox)
		return;
	for (size_t i = 0; i < (*sandbox)->count; i++)
		mem_free(&(*sandbox)->places[i].path);
	mem_free(&(*sandbox)->places);
	mem_free(sandbox);
}

void
sandbox_read(struct sandbox *sandbox, const char *path)
{
	add(sandbox, path, false);
}

void
sandbox_write(struct sandbox *sandbox, const char *path)
{
	add(sandbox, path, true);
}

static void
add_directory_of(struct sandbox *sandbox, const char *file, bool may_write)
{
	const char *slash = strrchr(file, '/');
	char *directory = !slash ? mem_dup_cstr(".")
		: slash == file ? mem_dup_cstr("/")
		: mem_dup_text(file, (size_t)(slash - file));

	add(sandbox, directory, may_write);
	mem_free(&directory);
}

/* A link leads to another directory, where the next version of the file will be. */
static void
add_beside(struct sandbox *sandbox, const char *file, bool may_write)
{
	char target[PATH_MAX];

	add_directory_of(sandbox, file, may_write);
	if (realpath(file, target))
		add_directory_of(sandbox, target, may_write);
}

void
sandbox_read_beside(struct sandbox *sandbox, const char *file)
{
	add_beside(sandbox, file, false);
}

void
sandbox_write_beside(struct sandbox *sandbox, const char *file)
{
	add_beside(sandbox, file, true);
}

/* ---- Landlock */

static int
add_rule(int ruleset, const struct place *place, uint64_t handled, struct err *err)
{
	struct landlock_path_beneath_attr rule = {
		.allowed_access = place->may_write
			? WRITE_RIGHTS | LANDLOCK_ACCESS_FS_TRUNCATE : READ_RIGHTS,
		.parent_fd = open(place->path, O_PATH | O_CLOEXEC),
	};
	struct stat status;
	int result = 0;

	if (rule.parent_fd < 0)
		return 0;
	if (fstat(rule.parent_fd, &status) == 0 && !S_ISDIR(status.st_mode))
		rule.allowed_access &= FILE_RIGHTS;
	rule.allowed_access &= handled;
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0)
		result = err_set_errno(err, "landlock: %s", place->path);
	(void)close(rule.parent_fd);
	return result;
}

static int
enter_landlock(const struct sandbox *sandbox, struct sandbox_state *state, struct err *err)
{
	struct landlock_ruleset_attr attr = {
		.handled_access_fs = WRITE_RIGHTS | NOBODYS_RIGHTS,
	};
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0,
			   LANDLOCK_CREATE_RULESET_VERSION);
	int ruleset, result = 0;

	if (abi < ABI_LEAST) {
		(void)snprintf(state->why_no_landlock, sizeof(state->why_no_landlock), "%s",
			       abi > 0 ? "the kernel's Landlock is too old"
			       : "the kernel has no Landlock, or it is switched off");
		return 0;
	}
	if (abi >= ABI_TRUNCATE)
		attr.handled_access_fs |= LANDLOCK_ACCESS_FS_TRUNCATE;
	ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	if (ruleset < 0)
		return err_set_errno(err, "landlock");
	for (size_t i = 0; i < sandbox->count && result == 0; i++)
		result = add_rule(ruleset, &sandbox->places[i], attr.handled_access_fs, err);
	if (result == 0 && syscall(SYS_landlock_restrict_self, ruleset, 0) < 0)
		result = err_set_errno(err, "landlock");
	(void)close(ruleset);
	state->landlock = result == 0;
	return result;
}

int
sandbox_enter(const struct sandbox *sandbox, struct sandbox_state *state_out, struct err *err)
{
	*state_out = (struct sandbox_state){ 0 };
	if (enter_landlock(sandbox, state_out, err) < 0)
		return -1;
	return sandbox_filter_calls(state_out, err);
}

void
sandbox_log(const struct sandbox_state *state)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, "sandbox");
	log_cstr(&line, "landlock", state->landlock ? "on" : "off");
	if (!state->landlock)
		log_cstr(&line, "why_no_landlock", state->why_no_landlock);
	log_cstr(&line, "seccomp", state->seccomp ? "on" : "off");
	if (!state->seccomp)
		log_cstr(&line, "why_no_seccomp", state->why_no_seccomp);
	log_end(&line);
}
