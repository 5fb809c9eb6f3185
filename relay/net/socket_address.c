#include "relay/net/socket_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/un.h>

socklen_t
socket_address_of(const struct endpoint *endpoint, struct sockaddr_storage *address_out)
{
	memset(address_out, 0, sizeof(*address_out));
	if (endpoint->family == ENDPOINT_IPV4) {
		struct sockaddr_in *in = (struct sockaddr_in *)address_out;

		in->sin_family = AF_INET;
		in->sin_port = htons(endpoint->port);
		memcpy(&in->sin_addr, endpoint->ip, 4);
		return sizeof(*in);
	}
	if (endpoint->family == ENDPOINT_IPV6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)address_out;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(endpoint->port);
		in6->sin6_scope_id = endpoint->scope;
		memcpy(&in6->sin6_addr, endpoint->ip, 16);
		return sizeof(*in6);
	}

	struct sockaddr_un *un = (struct sockaddr_un *)address_out;

	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, endpoint->path, sizeof(un->sun_path));
	un->sun_path[sizeof(un->sun_path) - 1] = '\0';
	return sizeof(*un);
}

struct endpoint
socket_address_read(const struct sockaddr_storage *address)
{
	static const uint8_t mapped_prefix[12] = { [10] = 0xff, [11] = 0xff };
	struct endpoint endpoint = { .family = ENDPOINT_NONE };

	if (address->ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)address;

		endpoint.family = ENDPOINT_IPV4;
		endpoint.port = ntohs(in->sin_port);
		memcpy(endpoint.ip, &in->sin_addr, 4);
	} else if (address->ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
		const uint8_t *ip = in6->sin6_addr.s6_addr;
		bool mapped = memcmp(ip, mapped_prefix, sizeof(mapped_prefix)) == 0;

		endpoint.family = mapped ? ENDPOINT_IPV4 : ENDPOINT_IPV6;
		endpoint.port = ntohs(in6->sin6_port);
		endpoint.scope = mapped ? 0 : in6->sin6_scope_id;
		memcpy(endpoint.ip, mapped ? ip + sizeof(mapped_prefix) : ip, mapped ? 4 : 16);
	} else if (address->ss_family == AF_UNIX) {
		const struct sockaddr_un *un = (const struct sockaddr_un *)address;

		endpoint.family = ENDPOINT_UNIX;
		memcpy(endpoint.path, un->sun_path, sizeof(endpoint.path) - 1);
	}
	return endpoint;
}

struct endpoint
socket_address_local(int fd)
{
	struct sockaddr_storage address = { 0 };
	socklen_t len = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &len) < 0)
		return (struct endpoint){ .family = ENDPOINT_NONE };
	return socket_address_read(&address);
}
