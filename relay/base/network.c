#include "relay/base/network.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static const uint8_t mapped_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static void
map_ipv4(uint8_t bytes_out[16], const void *ipv4)
{
	memcpy(bytes_out, mapped_prefix, sizeof(mapped_prefix));
	memcpy(bytes_out + 12, ipv4, 4);
}

static bool
is_ipv4(const struct network *network)
{
	return network->prefix_bits >= 96 &&
	    memcmp(network->bytes, mapped_prefix, sizeof(mapped_prefix)) == 0;
}

/* The bits of byte `index` that belong to the prefix. */
static uint8_t
prefix_mask(unsigned int prefix_bits, unsigned int index)
{
	if (prefix_bits >= 8 * (index + 1))
		return 0xff;
	if (prefix_bits <= 8 * index)
		return 0;
	return (uint8_t)(0xff << (8 * (index + 1) - prefix_bits));
}

int
network_parse(struct span text, struct network *network_out, struct err *err)
{
	static const char expected[] =
	    "expected an address or range such as \"192.0.2.0/24\" or \"2001:db8::/32\"";
	struct network network = { .prefix_bits = 128 };
	struct span address, prefix;
	char address_text[INET6_ADDRSTRLEN];
	struct in_addr ipv4;
	uint32_t bits = 0;
	bool has_prefix = span_split(text, '/', &address, &prefix);

	/* "[2001:db8::]/32", as addresses with ports are written. */
	if (address.len > 2 && address.data[0] == '[' && address.data[address.len - 1] == ']')
		address = span_slice(address, 1, address.len - 2);
	if (address.len >= sizeof(address_text) || memchr(address.data, 0, address.len))
		return err_set(err, ERR_FORMAT, "%s", expected);
	memcpy(address_text, address.data, address.len);
	address_text[address.len] = '\0';

	bool is_four = inet_pton(AF_INET, address_text, &ipv4) == 1;

	if (is_four)
		map_ipv4(network.bytes, &ipv4);
	else if (inet_pton(AF_INET6, address_text, network.bytes) != 1)
		return err_set(err, ERR_FORMAT, "%s", expected);
	if (has_prefix) {
		if (!span_parse_u32(prefix, is_four ? 32 : 128, &bits))
			return err_set(err, ERR_FORMAT, "expected a prefix of 0 to %d bits",
			    is_four ? 32 : 128);
		network.prefix_bits = (uint8_t)(is_four ? bits + 96 : bits);
	}
	for (unsigned int i = 0; i < 16; i++)
		if (network.bytes[i] & ~prefix_mask(network.prefix_bits, i))
			return err_set(err, ERR_FORMAT,
			    "expected a range without bits set behind its prefix");
	*network_out = network;
	return 0;
}

void
network_print(const struct network *network, char text_out[NETWORK_TEXT_BYTES])
{
	bool four = is_ipv4(network);
	unsigned int bits = four ? network->prefix_bits - 96U : network->prefix_bits;
	unsigned int bits_max = four ? 32 : 128;
	size_t len;

	if (!inet_ntop(four ? AF_INET : AF_INET6, network->bytes + (four ? 12 : 0), text_out,
	    NETWORK_TEXT_BYTES))
		text_out[0] = '\0';
	len = strlen(text_out);
	if (bits != bits_max)
		(void)snprintf(text_out + len, NETWORK_TEXT_BYTES - len, "/%u", bits);
}

bool
network_has(const struct network *network, const uint8_t address[16])
{
	/*
	 * "::/0" and the like are ranges of IPv6: the mapped addresses in them
	 * are IPv4, which has ranges of its own.
	 */
	if (!is_ipv4(network) && memcmp(address, mapped_prefix, sizeof(mapped_prefix)) == 0)
		return false;
	for (unsigned int i = 0; i < 16; i++)
		if ((network->bytes[i] ^ address[i]) & prefix_mask(network->prefix_bits, i))
			return false;
	return true;
}

bool
network_has_sockaddr(const struct network *network, const struct sockaddr *address)
{
	uint8_t bytes[16];

	if (address->sa_family == AF_INET) {
		struct sockaddr_in four;

		memcpy(&four, address, sizeof(four));
		map_ipv4(bytes, &four.sin_addr);
	} else if (address->sa_family == AF_INET6) {
		struct sockaddr_in6 six;

		memcpy(&six, address, sizeof(six));
		memcpy(bytes, &six.sin6_addr, sizeof(bytes));
	} else {
		return false;
	}
	return network_has(network, bytes);
}
