#include "relay/net/endpoint.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "relay/base/ascii.h"

static const uint8_t mapped_prefix[12] = { [10] = 0xff, [11] = 0xff };

static size_t
ip_bytes(const struct endpoint *endpoint)
{
	return endpoint->family == ENDPOINT_IPV4 ? 4 : 16;
}

/* "fe80::1%eth0": the part behind the percent sign is the interface, by name or number. */
static bool
parse_scope(struct span zone, uint32_t *scope_out)
{
	char name[IF_NAMESIZE];

	if (zone.len == 0 || zone.len >= sizeof(name))
		return false;
	if (span_parse_u32(zone, UINT32_MAX, scope_out))
		return *scope_out != 0;
	memcpy(name, zone.data, zone.len);
	name[zone.len] = '\0';
	*scope_out = if_nametoindex(name);
	return *scope_out != 0;
}

bool
endpoint_parse_ip(struct span text, uint16_t port, struct endpoint *endpoint_out)
{
	struct endpoint endpoint = { .port = port };
	char copy[INET6_ADDRSTRLEN];
	struct span address, zone;
	bool has_zone = span_split(text, '%', &address, &zone);
	size_t at;

	if (address.len == 0 || address.len >= sizeof(copy) || span_find_byte(address, '\0', &at))
		return false;
	memcpy(copy, address.data, address.len);
	copy[address.len] = '\0';
	if (!has_zone && inet_pton(AF_INET, copy, endpoint.ip) == 1) {
		endpoint.family = ENDPOINT_IPV4;
	} else if (inet_pton(AF_INET6, copy, endpoint.ip) == 1) {
		endpoint.family = ENDPOINT_IPV6;
		if (has_zone && !parse_scope(zone, &endpoint.scope))
			return false;
		if (memcmp(endpoint.ip, mapped_prefix, sizeof(mapped_prefix)) == 0) {
			if (has_zone)
				return false;
			memmove(endpoint.ip, endpoint.ip + sizeof(mapped_prefix), 4);
			memset(endpoint.ip + 4, 0, 12);
			endpoint.family = ENDPOINT_IPV4;
		}
	} else {
		return false;
	}
	*endpoint_out = endpoint;
	return true;
}

/*
 * "host:port", "[v6]:port", "host", "[v6]": the host without brackets, and the port's text, empty
 * where there is none.  A bare IPv6 address has colons and no port.
 */
static bool
split_host_port(struct span text, struct span *host_out, struct span *port_out, bool *has_port_out)
{
	size_t at;

	*port_out = SPAN("");
	*has_port_out = false;
	if (text.len && text.data[0] == '[') {
		if (!span_find_byte(text, ']', &at))
			return false;
		*host_out = span_slice(text, 1, at - 1);
		text = span_skip(text, at + 1);
		if (text.len == 0)
			return true;
		*has_port_out = text.data[0] == ':';
		*port_out = span_skip(text, 1);
		return *has_port_out;
	}
	*host_out = text;
	if (span_find_byte(text, ':', &at) && !span_find_byte(span_skip(text, at + 1), ':', &at)) {
		(void)span_split(text, ':', host_out, port_out);
		*has_port_out = true;
	}
	return true;
}

static int
parse_port(struct span text, bool has_port, uint16_t default_port, uint16_t *port_out,
    struct err *err)
{
	uint32_t port = default_port;

	if (!has_port && default_port == 0)
		return err_set(err, ERR_FORMAT,
		    "expected a port behind the address (\"192.0.2.1:25\")");
	if (has_port && !span_parse_u32(text, UINT16_MAX, &port))
		return err_set(err, ERR_FORMAT, "the port must be a number from 0 to 65535");
	*port_out = (uint16_t)port;
	return 0;
}

int
endpoint_parse(struct span text, uint16_t default_port, struct endpoint *endpoint_out,
    struct err *err)
{
	struct span host, port_text;
	uint16_t port;
	bool has_port;

	if (span_starts_with(text, SPAN("unix:"))) {
		struct span path = span_skip(text, 5);
		struct endpoint endpoint = { .family = ENDPOINT_UNIX };
		size_t at;

		if (path.len == 0 || path.len >= ENDPOINT_PATH_BYTES_MAX ||
		    span_find_byte(path, '\0', &at))
			return err_set(err, ERR_FORMAT,
			    "expected a path of at most %d octets behind unix:",
			    ENDPOINT_PATH_BYTES_MAX - 1);
		memcpy(endpoint.path, path.data, path.len);
		*endpoint_out = endpoint;
		return 0;
	}
	if (!split_host_port(text, &host, &port_text, &has_port))
		return err_set(err, ERR_FORMAT,
		    "expected an address such as \"192.0.2.1:25\" or \"[::]:25\"");
	if (parse_port(port_text, has_port, default_port, &port, err) < 0)
		return -1;
	if (!endpoint_parse_ip(host, port, endpoint_out))
		return err_set(err, ERR_FORMAT,
		    "expected an address such as \"192.0.2.1:25\" or \"[::]:25\"");
	return 0;
}

const char *
endpoint_print_ip(const struct endpoint *endpoint, char text_out[ENDPOINT_TEXT_BYTES_MAX])
{
	size_t len;

	switch (endpoint->family) {
	case ENDPOINT_NONE:
		(void)snprintf(text_out, ENDPOINT_TEXT_BYTES_MAX, "none");
		break;
	case ENDPOINT_UNIX:
		(void)snprintf(text_out, ENDPOINT_TEXT_BYTES_MAX, "unix:%s", endpoint->path);
		break;
	case ENDPOINT_IPV4:
		(void)inet_ntop(AF_INET, endpoint->ip, text_out, ENDPOINT_TEXT_BYTES_MAX);
		break;
	case ENDPOINT_IPV6:
		(void)inet_ntop(AF_INET6, endpoint->ip, text_out, ENDPOINT_TEXT_BYTES_MAX);
		len = strlen(text_out);
		if (endpoint->scope)
			(void)snprintf(text_out + len, ENDPOINT_TEXT_BYTES_MAX - len, "%%%u",
			    endpoint->scope);
		break;
	}
	return text_out;
}

const char *
endpoint_print(const struct endpoint *endpoint, char text_out[ENDPOINT_TEXT_BYTES_MAX])
{
	char ip[ENDPOINT_TEXT_BYTES_MAX];

	(void)endpoint_print_ip(endpoint, ip);
	if (endpoint->family == ENDPOINT_IPV4)
		(void)snprintf(text_out, ENDPOINT_TEXT_BYTES_MAX, "%s:%u", ip, endpoint->port);
	else if (endpoint->family == ENDPOINT_IPV6)
		(void)snprintf(text_out, ENDPOINT_TEXT_BYTES_MAX, "[%s]:%u", ip, endpoint->port);
	else
		memcpy(text_out, ip, sizeof(ip));
	return text_out;
}

int
endpoint_compare(const struct endpoint *a, const struct endpoint *b)
{
	int order;

	if (a->family != b->family)
		return a->family < b->family ? -1 : 1;
	if (a->family == ENDPOINT_NONE)
		return 0;
	if (a->family == ENDPOINT_UNIX)
		return strcmp(a->path, b->path);
	order = memcmp(a->ip, b->ip, ip_bytes(a));
	if (order != 0)
		return order;
	if (a->scope != b->scope)
		return a->scope < b->scope ? -1 : 1;
	return (a->port > b->port) - (a->port < b->port);
}

bool
endpoint_same_ip(const struct endpoint *a, const struct endpoint *b)
{
	return a->family == b->family &&
	    (a->family == ENDPOINT_IPV4 || a->family == ENDPOINT_IPV6) &&
	    memcmp(a->ip, b->ip, ip_bytes(a)) == 0 && a->scope == b->scope;
}

bool
endpoint_is_loopback(const struct endpoint *endpoint)
{
	static const uint8_t loopback[16] = { [15] = 1 };

	return endpoint->family == ENDPOINT_UNIX ||
	    (endpoint->family == ENDPOINT_IPV4 && endpoint->ip[0] == 127) ||
	    (endpoint->family == ENDPOINT_IPV6 && memcmp(endpoint->ip, loopback, 16) == 0);
}

bool
endpoint_is_unspecified(const struct endpoint *endpoint)
{
	static const uint8_t zeros[16];

	return (endpoint->family == ENDPOINT_IPV4 || endpoint->family == ENDPOINT_IPV6) &&
	    memcmp(endpoint->ip, zeros, ip_bytes(endpoint)) == 0;
}

/*
 * RFC 1123 section 2.1, with the underscore that service names have.  The last label is no
 * number: that is an address which somebody misspelt.
 */
static bool
is_host_name(struct span name)
{
	struct span label = name, rest = name;
	uint64_t number;

	if (name.len == 0 || name.len >= HOST_BYTES_MAX)
		return false;
	while (span_take_part(&rest, '.', &label)) {
		if (label.len == 0 || label.len > 63 || label.data[0] == '-' ||
		    label.data[label.len - 1] == '-')
			return false;
		for (size_t i = 0; i < label.len; i++)
			if (!ascii_is_alnum(label.data[i]) && label.data[i] != '-' &&
			    label.data[i] != '_')
				return false;
	}
	return !span_parse_u64(label, UINT64_MAX, &number);
}

int
host_port_parse(struct span text, uint16_t default_port, struct host_port *host_port_out,
    struct err *err)
{
	struct host_port result = { 0 };
	struct span host, port_text;
	bool has_port;

	if (!split_host_port(text, &host, &port_text, &has_port))
		return err_set(err, ERR_FORMAT,
		    "expected a host such as \"mbox1:2424\" or \"[::1]:25\"");
	if (parse_port(port_text, has_port, default_port, &result.port, err) < 0)
		return -1;
	if (result.port == 0)
		return err_set(err, ERR_FORMAT, "the port must be a number from 1 to 65535");
	if (host.len > 1 && host.data[host.len - 1] == '.')
		host.len--;
	result.is_endpoint = endpoint_parse_ip(host, result.port, &result.endpoint);
	if (!result.is_endpoint && !is_host_name(host))
		return err_set(err, ERR_FORMAT,
		    "expected a host such as \"mbox1:2424\" or \"[::1]:25\"");
	for (size_t i = 0; i < host.len; i++)
		result.host[i] = ascii_lower(host.data[i]);
	*host_port_out = result;
	return 0;
}

bool
endpoint_ip16(const struct endpoint *endpoint, uint8_t ip_out[16])
{
	if (endpoint->family == ENDPOINT_IPV6) {
		memcpy(ip_out, endpoint->ip, 16);
		return true;
	}
	if (endpoint->family != ENDPOINT_IPV4)
		return false;
	memcpy(ip_out, mapped_prefix, sizeof(mapped_prefix));
	memcpy(ip_out + sizeof(mapped_prefix), endpoint->ip, 4);
	return true;
}

bool
endpoint_is_in(const struct endpoint *endpoint, const struct network *network)
{
	uint8_t ip[16];

	return endpoint_ip16(endpoint, ip) && network_has(network, ip);
}

bool
endpoint_network(const struct endpoint *endpoint, unsigned ipv4_bits, unsigned ipv6_bits,
    struct network *network_out)
{
	bool ipv4 = endpoint->family == ENDPOINT_IPV4;
	unsigned bits = ipv4 ? 96 + ipv4_bits : ipv6_bits;

	if (!endpoint_ip16(endpoint, network_out->bytes) || bits > 128)
		return false;
	network_out->prefix_bits = (uint8_t)bits;
	for (unsigned bit = bits; bit < 128; bit++)
		network_out->bytes[bit / 8] &= (uint8_t)~(0x80u >> bit % 8);
	return true;
}
