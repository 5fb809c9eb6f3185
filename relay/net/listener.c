#include "relay/net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/net/conn_private.h"
#include "relay/net/proxy_wait.h"
#include "relay/net/socket_address.h"

enum {
	BACKLOG = 1024,
	ACCEPTS_A_TURN = 64,            /* of one socket: others want their turn too */
	DRAIN_ACCEPTS_MAX = 16384,      /* while closing; no backlog is larger */
	REST_MS = 200,
};

struct listener_socket {
	struct listener *listener;
	struct endpoint address;
	struct loop_watch *watch;
	int fd;
	bool inherited;                 /* its file is not ours to remove */
};

struct listener {
	struct loop *loop;
	const struct listener_ops *ops;
	void *ctx;
	struct listener_settings settings;
	struct loop_timer rest;
	int reserve_fd;                 /* given up for a moment to refuse a client cleanly */
	bool paused, resting;
	struct proxy_waits proxies;
	size_t socket_count;
	struct listener_socket sockets[];
};

static void socket_ready(void *ctx, unsigned events);

/* ---- watching */

static void
update_watches(struct listener *listener)
{
	bool on = !listener->paused && !listener->resting;

	for (size_t i = 0; i < listener->socket_count; i++)
		if (listener->sockets[i].watch)
			loop_watch_set(listener->sockets[i].watch, on ? LOOP_READ : 0);
}

static void
rest_is_over(void *ctx)
{
	struct listener *listener = ctx;

	listener->resting = false;
	if (listener->reserve_fd < 0)
		listener->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	update_watches(listener);
}

static void
rest(struct listener *listener, const char *what)
{
	struct err err;

	(void)err_set_errno(&err, "%s", what);
	listener->resting = true;
	loop_timer_start(listener->loop, &listener->rest, REST_MS);
	update_watches(listener);
	if (listener->ops->troubled)
		listener->ops->troubled(listener->ctx, &err);
}

/* ---- accepting */

/* No descriptor is left: with the one in reserve the first in line is turned away. */
static void
turn_one_away(struct listener_socket *socket)
{
	struct listener *listener = socket->listener;
	int error = errno, fd;

	if (listener->reserve_fd >= 0) {
		(void)close(listener->reserve_fd);
		fd = accept4(socket->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			(void)close(fd);
		listener->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	}
	errno = error;
	rest(listener, "accept: a client was turned away");
}

/* Errors that concern one client, or nobody (accept(2) passes pending network errors on). */
static bool
is_of_one_client(int error)
{
	switch (error) {
	case ECONNABORTED: case EINTR: case EPERM: case EPROTO: case ENOPROTOOPT:
	case ENETDOWN: case EHOSTDOWN: case ENONET: case EHOSTUNREACH: case EOPNOTSUPP:
	case ENETUNREACH: case ETIMEDOUT:
		return true;
	default:
		return false;
	}
}

static void
client_is_known(void *ctx, int fd, const struct endpoint *peer, const struct endpoint *local)
{
	struct listener *listener = ctx;

	listener->ops->accepted(listener->ctx, conn_new(fd, peer, local));
}

static void
client_is_distrusted(void *ctx, const struct endpoint *peer, const char *why)
{
	struct listener *listener = ctx;

	if (listener->ops->distrusted)
		listener->ops->distrusted(listener->ctx, peer, why);
}

static void
take_client(struct listener *listener, int fd, const struct endpoint *peer,
    const struct endpoint *local)
{
	enum listener_trust trust = listener->ops->trust
	    ? listener->ops->trust(listener->ctx, peer) : LISTENER_CLIENT;

	switch (trust) {
	case LISTENER_CLIENT:
		client_is_known(listener, fd, peer, local);
		return;
	case LISTENER_PROXY:
		proxy_waits_add(&listener->proxies, fd, peer, local);
		return;
	case LISTENER_STRANGER:
		(void)close(fd);
		client_is_distrusted(listener, peer, "it is none of our proxies");
		return;
	}
	must_not_reach();
}

/* One client.  False when there is none, or none can be taken now. */
static bool
accept_one(struct listener_socket *socket)
{
	struct listener *listener = socket->listener;
	struct sockaddr_storage storage = { 0 };
	socklen_t len = sizeof(storage);
	struct endpoint peer, local;
	const int on = 1;
	int fd = accept4(socket->fd, (struct sockaddr *)&storage, &len,
	    SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (is_of_one_client(errno))
			return true;
		if (errno == EMFILE || errno == ENFILE)
			turn_one_away(socket);
		else if (errno != EAGAIN && errno != EWOULDBLOCK)
			rest(listener, "accept");
		return false;
	}
	peer = socket_address_read(&storage);
	local = socket_address_local(fd);
	/* A reply must not wait for the acknowledgement of the one before it. */
	if (local.family != ENDPOINT_UNIX)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	take_client(listener, fd, &peer, &local);
	return true;
}

static void
listener_release(void *object)
{
	struct listener *listener = object;

	mem_free(&listener);
}

static void
socket_ready(void *ctx, unsigned events)
{
	struct listener_socket *socket = ctx;
	struct listener *listener = socket->listener;

	(void)events;
	/* accepted() may pause the listener, or close it. */
	for (int i = 0; i < ACCEPTS_A_TURN; i++)
		if (socket->fd < 0 || listener->paused || listener->resting ||
		    !accept_one(socket))
			break;
}

/* ---- opening */

/* A unix socket that nobody listens on any more is in the way of a new one. */
static void
remove_dead_socket(const struct endpoint *address)
{
	struct sockaddr_storage storage;
	socklen_t len = socket_address_of(address, &storage);
	struct stat status;
	int fd, result;

	if (lstat(address->path, &status) < 0 || !S_ISSOCK(status.st_mode))
		return;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return;
	result = connect(fd, (const struct sockaddr *)&storage, len);
	if (result < 0 && errno == ECONNREFUSED)
		(void)unlink(address->path);
	(void)close(fd);
}

static int
set_options(int fd, const struct endpoint *address, const struct listener_settings *settings)
{
	int on = 1;

	if (address->family == ENDPOINT_UNIX)
		return 0;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -1;
	if (settings->reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0)
		return -1;
	if (address->family == ENDPOINT_IPV6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		return -1;
	return 0;
}

static int
open_address(struct listener_socket *out, const struct endpoint *address,
    const struct listener_settings *settings, struct err *err)
{
	char text[ENDPOINT_TEXT_BYTES_MAX];
	struct sockaddr_storage storage;
	socklen_t len = socket_address_of(address, &storage);
	int fd = socket(storage.ss_family,
	    SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (address->family == ENDPOINT_UNIX)
		remove_dead_socket(address);
	if (fd < 0 || set_options(fd, address, settings) < 0 ||
	    bind(fd, (const struct sockaddr *)&storage, len) < 0 ||
	    (address->family == ENDPOINT_UNIX &&
	    chmod(address->path, settings->unix_mode ? settings->unix_mode : 0666) < 0) ||
	    listen(fd, settings->backlog > 0 ? settings->backlog : BACKLOG) < 0) {
		(void)err_set_errno(err, "cannot listen on %s", endpoint_print(address, text));
		if (fd >= 0)
			(void)close(fd);
		return -1;
	}
	out->fd = fd;
	return 0;
}

static int
open_sockets(struct listener *listener, struct err *err)
{
	const struct listener_settings *settings = &listener->settings;

	for (size_t i = 0; i < settings->inherited_fd_count; i++) {
		struct listener_socket *socket = &listener->sockets[i];
		int flags = fcntl(settings->inherited_fds[i], F_GETFL);

		socket->fd = settings->inherited_fds[i];
		socket->inherited = true;
		if (flags < 0 || fcntl(socket->fd, F_SETFL, flags | O_NONBLOCK) < 0)
			return err_set_errno(err, "an inherited socket");
	}
	for (size_t i = 0; i < settings->address_count; i++)
		if (open_address(&listener->sockets[settings->inherited_fd_count + i],
		    &settings->addresses[i], settings, err) < 0)
			return -1;
	for (size_t i = 0; i < listener->socket_count; i++) {
		struct listener_socket *socket = &listener->sockets[i];

		/* The port may have been the kernel's choice. */
		socket->address = socket_address_local(socket->fd);
		socket->watch = loop_watch_new(listener->loop, socket->fd, LOOP_READ,
		    socket_ready, socket);
	}
	return 0;
}

struct listener *
listener_open(struct loop *loop, const struct listener_settings *settings,
    const struct listener_ops *ops, void *ctx, struct err *err)
{
	size_t count = settings->address_count + settings->inherited_fd_count;
	struct listener *listener = mem_alloc(sizeof(*listener) +
	    count * sizeof(listener->sockets[0]));

	must(count > 0);
	listener->loop = loop;
	listener->settings = *settings;
	listener->ops = ops;
	listener->ctx = ctx;
	listener->socket_count = count;
	for (size_t i = 0; i < count; i++) {
		listener->sockets[i].listener = listener;
		listener->sockets[i].fd = -1;
	}
	proxy_waits_init(&listener->proxies, loop);
	listener->proxies.done = client_is_known;
	listener->proxies.failed = client_is_distrusted;
	listener->proxies.ctx = listener;
	loop_timer_init(&listener->rest, rest_is_over, listener);
	listener->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (open_sockets(listener, err) < 0)
		listener_abort(&listener);
	return listener;
}

size_t
listener_address_count(const struct listener *listener)
{
	return listener->socket_count;
}

struct endpoint
listener_address(const struct listener *listener, size_t index)
{
	must(index < listener->socket_count);
	return listener->sockets[index].address;
}

void
listener_pause(struct listener *listener)
{
	listener->paused = true;
	update_watches(listener);
}

void
listener_resume(struct listener *listener)
{
	listener->paused = false;
	update_watches(listener);
}

/* ---- closing */

void
listener_close(struct listener **listener_address_of)
{
	struct listener *listener = *listener_address_of;

	if (!listener)
		return;
	listener->resting = false;
	for (size_t i = 0; i < listener->socket_count; i++)
		for (int n = 0; n < DRAIN_ACCEPTS_MAX && !listener->resting; n++)
			if (!accept_one(&listener->sockets[i]))
				break;
	listener_abort(listener_address_of);
}

void
listener_abort(struct listener **listener_address_of)
{
	struct listener *listener = *listener_address_of;

	*listener_address_of = NULL;
	if (!listener)
		return;
	loop_timer_stop(listener->loop, &listener->rest);
	proxy_waits_abort(&listener->proxies);
	for (size_t i = 0; i < listener->socket_count; i++) {
		struct listener_socket *socket = &listener->sockets[i];

		loop_watch_free(&socket->watch);
		if (socket->fd < 0)
			continue;
		if (socket->address.family == ENDPOINT_UNIX && !socket->inherited)
			(void)unlink(socket->address.path);
		(void)close(socket->fd);
		socket->fd = -1;
	}
	if (listener->reserve_fd >= 0)
		(void)close(listener->reserve_fd);
	/* accepted() may be on the stack. */
	loop_defer_free(listener->loop, listener_release, listener);
}
