#include "relay/net/interface.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

static bool
take(const struct sockaddr *from, enum endpoint_family family, struct endpoint *address_out)
{
	if (!from)
		return false;
	if (from->sa_family == AF_INET && family == ENDPOINT_IPV4) {
		struct sockaddr_in in;

		memcpy(&in, from, sizeof(in));
		memcpy(address_out->ip, &in.sin_addr, sizeof(in.sin_addr));
		return true;
	}
	if (from->sa_family == AF_INET6 && family == ENDPOINT_IPV6) {
		struct sockaddr_in6 in6;

		memcpy(&in6, from, sizeof(in6));
		memcpy(address_out->ip, &in6.sin6_addr, sizeof(in6.sin6_addr));
		return true;
	}
	return false;
}

size_t
interface_addresses(enum endpoint_family family, uint16_t port, struct endpoint *addresses_out,
    size_t count_max)
{
	struct ifaddrs *list = NULL;
	size_t count = 0;

	if (getifaddrs(&list) < 0)
		return 0;
	for (const struct ifaddrs *it = list; it && count < count_max; it = it->ifa_next) {
		struct endpoint address = { .family = family, .port = port };

		if (take(it->ifa_addr, family, &address))
			addresses_out[count++] = address;
	}
	freeifaddrs(list);
	return count;
}
