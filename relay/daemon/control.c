#include "relay/daemon/control_private.h"

#include "relay/base/log.h"
#include "relay/base/mem.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	BACKLOG = 16,
	SOCKET_MODE = 0660,
	PEER_GROUPS_MAX = 1024,
	ACCEPTS_A_TURN_MAX = 16,
};

static int
set_address(struct sockaddr_un *address, const char *path, struct err *err)
{
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (strlen(path) >= sizeof(address->sun_path))
		return err_set(err, ERR_LIMIT, "%s: the path of a socket has at most %zu bytes",
			       path, sizeof(address->sun_path) - 1);
	memcpy(address->sun_path, path, strlen(path));
	return 0;
}

/* Does somebody listen there?  A socket file without a listener is a leftover. */
static int
check_nobody_listens(const char *path, struct err *err)
{
	struct sockaddr_un address;
	struct stat status;

	if (lstat(path, &status) < 0)
		return errno == ENOENT ? 0 : err_set_errno(err, "%s", path);
	if (!S_ISSOCK(status.st_mode))
		return err_set(err, ERR_EXISTS, "%s: is there and is no socket", path);
	if (set_address(&address, path, err) < 0)
		return -1;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return err_set_errno(err, "socket");
	int result = connect(fd, (const struct sockaddr *)&address, sizeof(address));
	int why = errno;

	(void)close(fd);
	/* EAGAIN: its backlog is full, so it lives. */
	if (result == 0 || why == EAGAIN)
		return err_set(err, ERR_BUSY, "%s: another daemon listens on it", path);
	if (why != ECONNREFUSED && why != ENOENT) {
		errno = why;
		return err_set_errno(err, "%s", path);
	}
	return 0;
}

static int
find_group(struct control *control, const char *name, struct err *err)
{
	if (!name)
		return 0;
	errno = 0;
	const struct group *entry = getgrnam(name);

	if (!entry)
		return err_set(err, ERR_NOT_FOUND, "control_group: there is no group \"%s\"", name);
	control->group = entry->gr_gid;
	control->has_group = true;
	return 0;
}

/*
 * The socket is made under another name and renamed when it is complete: nobody finds it with a
 * mode or an owner it should not have, and a leftover is replaced in one step.
 */
static int
make_socket(struct control *control, const char *made_path, struct err *err)
{
	struct sockaddr_un address;
	struct stat status;
	uid_t owner = geteuid() == 0 ? control->uid : (uid_t)-1;
	gid_t group = control->has_group ? control->group : (gid_t)-1;

	if (set_address(&address, made_path, err) < 0)
		return -1;
	/* what bind() makes has no more than this */
	if (fchmod(control->fd, SOCKET_MODE) < 0)
		return err_set_errno(err, "%s", made_path);
	(void)unlink(made_path);                        /* of a process of our number that died */
	if (bind(control->fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return err_set_errno(err, "%s", made_path);
	if (chmod(made_path, 0600) < 0 || lchown(made_path, owner, group) < 0 ||
	    chmod(made_path, SOCKET_MODE) < 0 || listen(control->fd, BACKLOG) < 0 ||
	    lstat(made_path, &status) < 0 || rename(made_path, control->path) < 0) {
		(void)err_set_errno(err, "%s", control->path);
		(void)unlink(made_path);
		return -1;
	}
	control->device = status.st_dev;
	control->inode = status.st_ino;
	return 0;
}

static bool
peer_is_in_group(int fd, const struct ucred *peer, gid_t group)
{
	gid_t groups[PEER_GROUPS_MAX];
	socklen_t len = sizeof(groups);

	if (peer->gid == group)
		return true;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
		return false;
	for (size_t i = 0; i < len / sizeof(groups[0]); i++)
		if (groups[i] == group)
			return true;
	return false;
}

static enum control_right
right_of_peer(const struct control *control, int fd, const struct ucred *peer)
{
	if (peer->uid == 0 || peer->uid == control->uid || peer->uid == geteuid())
		return CONTROL_CHANGE;
	if (control->has_group && peer_is_in_group(fd, peer, control->group))
		return control->group_may_change ? CONTROL_CHANGE : CONTROL_LOOK;
	return CONTROL_NOTHING;
}

static void
refuse(int fd, const char *line)
{
	/* It fits into an empty socket buffer; a peer that is gone misses nothing. */
	(void)send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
	(void)close(fd);
}

static void
admit(struct control *control, int fd)
{
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0) {
		(void)close(fd);
		return;
	}
	enum control_right right = right_of_peer(control, fd, &peer);

	if (right == CONTROL_NOTHING) {
		log_warn("control: refused a peer of uid %u", peer.uid);
		refuse(fd, "{\"end\":{\"code\":77,\"error\":\"you may not use this socket\"}}\n");
	} else if (control->session_count >= CONTROL_SESSIONS_MAX) {
		refuse(fd, "{\"end\":{\"code\":75,\"error\":\"too many sessions, "
			   "try again later\"}}\n");
	} else {
		control_session_start(control, fd, right, peer.uid);
	}
}

static void
accept_peers(void *ctx, unsigned events)
{
	struct control *control = ctx;

	(void)events;
	for (int i = 0; i < ACCEPTS_A_TURN_MAX; i++) {
		int fd = accept4(control->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0) {
			if (errno == EINTR || errno == ECONNABORTED)
				continue;
			if (errno != EAGAIN)
				log_warn("control: accept: errno %d", errno);
			return;
		}
		admit(control, fd);
	}
}

struct control *
control_open(struct loop *loop, const struct control_settings *settings, struct err *err)
{
	struct control *control = mem_alloc(sizeof(*control));
	char *made_path = mem_format("%s.%d", settings->path, (int)getpid());

	control->loop = loop;
	control->path = mem_dup_cstr(settings->path);
	control->verbs = settings->verbs;
	control->verb_count = settings->verb_count;
	control->ctx = settings->ctx;
	control->uid = settings->uid;
	control->group_may_change = settings->group_may_change;
	control->fd = -1;
	LIST_INIT(&control->sessions);
	if (find_group(control, settings->group, err) < 0 ||
	    check_nobody_listens(control->path, err) < 0)
		goto failed;
	control->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (control->fd < 0) {
		(void)err_set_errno(err, "control socket");
		goto failed;
	}
	if (make_socket(control, made_path, err) < 0)
		goto failed;
	control->watch = loop_watch_new(loop, control->fd, LOOP_READ, accept_peers, control);
	mem_free(&made_path);
	return control;
failed:
	if (control->fd >= 0)
		(void)close(control->fd);
	mem_free(&made_path);
	mem_free(&control->path);
	mem_free(&control);
	return NULL;
}

void
control_close(struct control **control_address)
{
	struct control *control = *control_address;
	struct stat status;

	if (!control)
		return;
	while (!LIST_EMPTY(&control->sessions))
		control_session_free(LIST_FIRST(&control->sessions));
	loop_watch_free(&control->watch);
	(void)close(control->fd);
	if (lstat(control->path, &status) == 0 && status.st_dev == control->device &&
	    status.st_ino == control->inode)
		(void)unlink(control->path);            /* a leftover does no harm */
	mem_free(&control->path);
	mem_free(control_address);
}

size_t
control_session_count(const struct control *control)
{
	return control->session_count;
}
