#include "relay/daemon/activation.h"

#include "relay/base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifdef HAVE_LIBSYSTEMD
#include <systemd/sd-daemon.h>
#else
/* Built without libsystemd: nobody gives us sockets. */
static int
sd_listen_fds(int unset_environment)
{
	(void)unset_environment;
	return 0;
}

#define SD_LISTEN_FDS_START 3
#endif

struct inherited {
	int fd;                 /* -1: taken */
	struct endpoint address;
};

struct activation {
	struct inherited *sockets;
	size_t count;
};

static int
read_address(int fd, struct endpoint *address_out, struct err *err)
{
	struct sockaddr_storage storage = { 0 };
	const struct sockaddr_in *in4 = (const struct sockaddr_in *)&storage;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&storage;
	const struct sockaddr_un *un = (const struct sockaddr_un *)&storage;
	socklen_t len = sizeof(storage);

	*address_out = (struct endpoint){ 0 };
	if (getsockname(fd, (struct sockaddr *)&storage, &len) < 0)
		return err_set_errno(err, "inherited descriptor %d", fd);
	if (storage.ss_family == AF_INET) {
		address_out->family = ENDPOINT_IPV4;
		address_out->port = ntohs(in4->sin_port);
		memcpy(address_out->ip, &in4->sin_addr, 4);
	} else if (storage.ss_family == AF_INET6) {
		address_out->family = ENDPOINT_IPV6;
		address_out->port = ntohs(in6->sin6_port);
		address_out->scope = in6->sin6_scope_id;
		memcpy(address_out->ip, &in6->sin6_addr, 16);
	} else if (storage.ss_family == AF_UNIX) {
		size_t path_len = len > offsetof(struct sockaddr_un, sun_path)
			? len - offsetof(struct sockaddr_un, sun_path) : 0;

		if (path_len == 0 || un->sun_path[0] == '\0')
			return err_set(err, ERR_UNSUPPORTED, "inherited descriptor %d: a unix "
				       "socket without a path", fd);
		address_out->family = ENDPOINT_UNIX;
		(void)snprintf(address_out->path, sizeof(address_out->path), "%.*s",
			       (int)path_len, un->sun_path);
	} else {
		return err_set(err, ERR_UNSUPPORTED, "inherited descriptor %d: not a socket of "
			       "IPv4, IPv6 or unix", fd);
	}
	return 0;
}

static int
take_over(struct inherited *socket_out, int fd, struct err *err)
{
	int type = 0;
	int listens = 0;
	socklen_t len = sizeof(type);

	*socket_out = (struct inherited){ .fd = fd };
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return err_set_errno(err, "inherited descriptor %d", fd);
	len = sizeof(listens);
	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0)
		return err_set_errno(err, "inherited descriptor %d", fd);
	if (type != SOCK_STREAM || !listens)
		return err_set(err, ERR_UNSUPPORTED, "inherited descriptor %d: expected a "
			       "listening stream socket (Accept=no)", fd);
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_set_errno(err, "inherited descriptor %d", fd);
	return read_address(fd, &socket_out->address, err);
}

struct activation *
activation_open(struct err *err)
{
	int count = sd_listen_fds(1);

	if (count < 0) {
		errno = -count;
		(void)err_set_errno(err, "socket activation");
		return NULL;
	}
	struct activation *activation = mem_alloc(sizeof(*activation));

	activation->sockets = mem_alloc_array((size_t)count, sizeof(*activation->sockets));
	for (int i = 0; i < count; i++) {
		activation->count = (size_t)i + 1;
		if (take_over(&activation->sockets[i], SD_LISTEN_FDS_START + i, err) < 0) {
			activation_close(&activation);
			return NULL;
		}
	}
	return activation;
}

void
activation_close(struct activation **activation)
{
	if (!*activation)
		return;
	for (size_t i = 0; i < (*activation)->count; i++)
		if ((*activation)->sockets[i].fd >= 0)
			(void)close((*activation)->sockets[i].fd);
	mem_free(&(*activation)->sockets);
	mem_free(activation);
}

int
activation_take(struct activation *activation, const struct endpoint *address)
{
	for (size_t i = 0; i < activation->count; i++) {
		struct inherited *candidate = &activation->sockets[i];

		if (candidate->fd >= 0 && endpoint_compare(&candidate->address, address) == 0) {
			int fd = candidate->fd;

			candidate->fd = -1;
			return fd;
		}
	}
	return -1;
}

size_t
activation_rest_count(const struct activation *activation)
{
	size_t rest = 0;

	for (size_t i = 0; i < activation->count; i++)
		rest += activation->sockets[i].fd >= 0;
	return rest;
}

struct endpoint
activation_rest(const struct activation *activation, size_t index)
{
	for (size_t i = 0; i < activation->count; i++)
		if (activation->sockets[i].fd >= 0 && index-- == 0)
			return activation->sockets[i].address;
	return (struct endpoint){ 0 };
}
