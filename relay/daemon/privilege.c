#include "relay/daemon/privilege.h"

#include "relay/base/mem.h"
#include "relay/base/span.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The leak checker of a sanitizer build traces its own process, which must allow that. */
#ifdef CHAPAR_SANITIZED
enum { MAY_BE_TRACED = 1 };
#else
enum { MAY_BE_TRACED = 0 };
#endif

static int
find_user(struct privilege *privilege, const char *user, struct err *err)
{
	const struct passwd *entry;
	uint32_t number;

	errno = 0;
	if (span_parse_u32(span_from_cstr(user), UINT32_MAX - 1, &number))
		entry = getpwuid(number);
	else
		entry = getpwnam(user);
	if (!entry && errno != 0 && errno != ENOENT && errno != ESRCH)
		return err_set_errno(err, "user \"%s\"", user);
	if (!entry)
		return err_set(err, ERR_NOT_FOUND, "there is no user \"%s\"", user);
	if (strlen(entry->pw_name) >= sizeof(privilege->user))
		return err_set(err, ERR_LIMIT, "the name of user \"%s\" is too long", user);
	privilege->uid = entry->pw_uid;
	privilege->gid = entry->pw_gid;
	(void)snprintf(privilege->user, sizeof(privilege->user), "%s", entry->pw_name);
	return 0;
}

static int
find_group(struct privilege *privilege, const char *group, struct err *err)
{
	const struct group *entry;
	uint32_t number;

	errno = 0;
	if (span_parse_u32(span_from_cstr(group), UINT32_MAX - 1, &number))
		entry = getgrgid(number);
	else
		entry = getgrnam(group);
	if (!entry && errno != 0 && errno != ENOENT && errno != ESRCH)
		return err_set_errno(err, "group \"%s\"", group);
	if (!entry)
		return err_set(err, ERR_NOT_FOUND, "there is no group \"%s\"", group);
	privilege->gid = entry->gr_gid;
	return 0;
}

int
privilege_find(struct privilege *privilege, const char *user, const char *group, struct err *err)
{
	*privilege = (struct privilege){ .uid = geteuid(), .gid = getegid() };
	if (!user && group)
		return err_set(err, ERR_CONFIG, "a group to become needs a user to become");
	if (!user)
		return 0;
	if (find_user(privilege, user, err) < 0 ||
	    (group && find_group(privilege, group, err) < 0))
		return -1;
	privilege->must_change = geteuid() == 0 &&
		(privilege->uid != 0 || privilege->gid != getegid());
	if (!privilege->must_change && privilege->uid != geteuid())
		return err_set(err, ERR_DENIED, "cannot become user \"%s\": not started as root",
			       user);
	return 0;
}

/* Every capability but the one to keep, out of the bounding set: exec can never bring it back. */
static int
limit_bounding_set(struct err *err)
{
	for (int capability = 0; capability <= CAP_LAST_CAP; capability++) {
		if (capability == CAP_NET_BIND_SERVICE)
			continue;
		/* EINVAL: the kernel is older than the header and does not have it. */
		if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EINVAL)
			return err_set_errno(err, "capability %d", capability);
	}
	return 0;
}

static int
keep_one_capability(struct err *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { 0 };

	data[0].effective = data[0].permitted = 1U << CAP_NET_BIND_SERVICE;
	if (syscall(SYS_capset, &header, data) < 0)
		return err_set_errno(err, "capset");
	return 0;
}

int
privilege_drop(const struct privilege *privilege, struct err *err)
{
	if (!privilege->must_change)
		return 0;
	if (limit_bounding_set(err) < 0)
		return -1;
	if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return err_set_errno(err, "prctl(PR_SET_KEEPCAPS)");
	if (initgroups(privilege->user, privilege->gid) < 0)
		return err_set_errno(err, "groups of user \"%s\"", privilege->user);
	if (setresgid(privilege->gid, privilege->gid, privilege->gid) < 0)
		return err_set_errno(err, "setresgid(%u)", privilege->gid);
	if (setresuid(privilege->uid, privilege->uid, privilege->uid) < 0)
		return err_set_errno(err, "setresuid(%u)", privilege->uid);
	if (keep_one_capability(err) < 0)
		return -1;
	if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0)
		return err_set_errno(err, "prctl(PR_SET_KEEPCAPS)");
	/* Believe nothing: root must not be a call away. */
	if (privilege->uid != 0 && (setuid(0) == 0 || geteuid() == 0))
		return err_set(err, ERR_DENIED, "could become root again after giving it up");
	return 0;
}

int
privilege_lock(struct err *err)
{
	struct rlimit none = { 0, 0 };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set_errno(err, "prctl(PR_SET_NO_NEW_PRIVS)");
	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return err_set_errno(err, "setrlimit(RLIMIT_CORE)");
	if (prctl(PR_SET_DUMPABLE, MAY_BE_TRACED, 0, 0, 0) < 0)
		return err_set_errno(err, "prctl(PR_SET_DUMPABLE)");
	return 0;
}
