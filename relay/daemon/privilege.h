/*
 * Becoming the service's user, and giving up what a mail relay never needs.
 *
 * The order, on the first thread and before any other exists: privilege_find(); open what only
 * root may open; privilege_drop(); privilege_lock().
 */
#ifndef RELAY_DAEMON_PRIVILEGE_H
#define RELAY_DAEMON_PRIVILEGE_H

#include "relay/base/err.h"

#include <stdbool.h>
#include <sys/types.h>

struct privilege {
	uid_t uid;
	gid_t gid;
	char user[64];          /* for initgroups(); "" when there is nothing to become */
	bool must_change;       /* we are root and are to become somebody else */
};

/*
 * Who we are to be: USER and GROUP by name or number, both may be NULL.  Fails when they do not
 * exist, when GROUP is given without USER, or when we are not root and not already that user.
 */
int
privilege_find(struct privilege *privilege, const char *user, const char *group, struct err *err);

/*
 * Become it, for good.  CAP_NET_BIND_SERVICE is kept, so that a reload may open another port
 * below 1024; every other capability goes, from the bounding set too.  Nothing happens when
 * there is nothing to change.
 */
int privilege_drop(const struct privilege *privilege, struct err *err);

/* No new privileges by exec, no core dumps (they would hold keys), not traceable by others. */
int privilege_lock(struct err *err);

#endif
