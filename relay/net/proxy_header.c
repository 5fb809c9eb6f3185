#include "relay/net/proxy_header.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "relay/net/socket_address.h"

enum {
	V1_BYTES_MAX = 107,
	V2_HEAD_BYTES = 16,
	V2_SIGNATURE_BYTES = 12,
	V2_IPV4_BYTES = 12,
	V2_IPV6_BYTES = 36,
};

static const char v2_signature[V2_SIGNATURE_BYTES] = "\r\n\r\n\0\r\nQUIT\n";

static enum proxy_parse
bad(struct proxy_header *out, const char *why)
{
	out->why = why;
	return PROXY_BAD;
}

static enum proxy_parse
more(struct proxy_header *out, size_t wanted)
{
	out->wanted = wanted;
	return PROXY_MORE;
}

/* ---- version 1 */

/* A number has one spelling: what is odd is not from a proxy. */
static bool
parse_port(struct span text, uint16_t *port_out)
{
	uint32_t port;

	if (!span_parse_u32(text, UINT16_MAX, &port) || (text.len > 1 && text.data[0] == '0'))
		return false;
	*port_out = (uint16_t)port;
	return true;
}

/* The words behind "PROXY TCP4 ". */
static bool
parse_addresses(struct span text, enum endpoint_family family, struct proxy_header *out)
{
	struct span words[4];
	uint16_t client_port, server_port;

	for (size_t i = 0; i < 4; i++)
		if (!span_take_part(&text, ' ', &words[i]))
			return false;
	if (text.len > 0 || !parse_port(words[2], &client_port) ||
	    !parse_port(words[3], &server_port))
		return false;
	/* A mapped address is of IPv4 once it is read, whatever it was called. */
	out->has_addresses = endpoint_parse_ip(words[0], client_port, &out->client) &&
	    endpoint_parse_ip(words[1], server_port, &out->server) &&
	    (family == ENDPOINT_IPV6 || (out->client.family == family &&
	    out->server.family == family)) &&
	    (family == ENDPOINT_IPV4) == !memchr(words[0].data, ':', words[0].len);
	return out->has_addresses;
}

static enum proxy_parse
parse_v1(struct span input, struct proxy_header *out)
{
	static const struct span start = { "PROXY ", 6 };
	struct span line;

	if (!span_equal(span_first(input, start.len), span_first(start, input.len)))
		return bad(out, "no PROXY header");
	if (input.len < PROXY_HEADER_BYTES_MIN)
		return more(out, PROXY_HEADER_BYTES_MIN - input.len);
	if (!span_ends_with(input, SPAN("\r\n"))) {
		size_t wanted = input.data[input.len - 1] == '\r' ? 1 : 2;

		/* Of a line that never ends nobody waits for the end. */
		if (input.len + wanted > V1_BYTES_MAX)
			return bad(out, "a PROXY line is too long");
		return more(out, wanted);
	}
	line = span_slice(input, start.len, input.len - start.len - 2);
	if (span_has_control(line) || !span_is_ascii(line))
		return bad(out, "a control in a PROXY line");
	if (span_equal(line, SPAN("UNKNOWN")) || span_starts_with(line, SPAN("UNKNOWN ")))
		return PROXY_DONE;
	if (span_starts_with(line, SPAN("TCP4 ")) &&
	    parse_addresses(span_skip(line, 5), ENDPOINT_IPV4, out))
		return PROXY_DONE;
	if (span_starts_with(line, SPAN("TCP6 ")) &&
	    parse_addresses(span_skip(line, 5), ENDPOINT_IPV6, out))
		return PROXY_DONE;
	return bad(out, "a malformed PROXY line");
}

/* ---- version 2 */

static size_t
number_at(struct span input, size_t at)
{
	return (size_t)((unsigned char)input.data[at] << 8 | (unsigned char)input.data[at + 1]);
}

static struct endpoint
ipv4_at(struct span input, size_t at, size_t port_at)
{
	struct sockaddr_storage storage = { 0 };
	struct sockaddr_in *address = (struct sockaddr_in *)&storage;

	address->sin_family = AF_INET;
	address->sin_port = htons((uint16_t)number_at(input, port_at));
	memcpy(&address->sin_addr, input.data + at, sizeof(address->sin_addr));
	return socket_address_read(&storage);
}

static struct endpoint
ipv6_at(struct span input, size_t at, size_t port_at)
{
	struct sockaddr_storage storage = { 0 };
	struct sockaddr_in6 *address = (struct sockaddr_in6 *)&storage;

	address->sin6_family = AF_INET6;
	address->sin6_port = htons((uint16_t)number_at(input, port_at));
	memcpy(&address->sin6_addr, input.data + at, sizeof(address->sin6_addr));
	return socket_address_read(&storage);
}

static enum proxy_parse
parse_v2_addresses(struct span body, unsigned family, struct proxy_header *out)
{
	switch (family) {
	case 0x00:                      /* unspecified: the connection is what it is */
	case 0x31:                      /* a unix socket: nothing that has an address */
		return PROXY_DONE;
	case 0x11:
		if (body.len < V2_IPV4_BYTES)
			return bad(out, "a PROXY header without its addresses");
		out->client = ipv4_at(body, 0, 8);
		out->server = ipv4_at(body, 4, 10);
		break;
	case 0x21:
		if (body.len < V2_IPV6_BYTES)
			return bad(out, "a PROXY header without its addresses");
		out->client = ipv6_at(body, 0, 32);
		out->server = ipv6_at(body, 16, 34);
		break;
	default:
		return bad(out, "a PROXY header of a family that has no TCP");
	}
	out->has_addresses = true;
	return PROXY_DONE;
}

static enum proxy_parse
parse_v2(struct span input, struct proxy_header *out)
{
	size_t signed_len = input.len < V2_SIGNATURE_BYTES ? input.len : V2_SIGNATURE_BYTES;
	unsigned char version;
	size_t len;

	if (!span_equal(span_first(input, signed_len), span_make(v2_signature, signed_len)))
		return bad(out, "no PROXY header");
	if (input.len < V2_HEAD_BYTES)
		return more(out, V2_HEAD_BYTES - input.len);
	version = (unsigned char)input.data[12];
	if (version != 0x20 && version != 0x21)
		return bad(out, "a PROXY header of another version or command");
	len = V2_HEAD_BYTES + number_at(input, 14);
	if (len > PROXY_HEADER_BYTES_MAX)
		return bad(out, "a PROXY header is too long");
	if (input.len < len)
		return more(out, len - input.len);
	if (version == 0x20)
		return PROXY_DONE;      /* LOCAL: whatever else it says */
	return parse_v2_addresses(span_skip(input, V2_HEAD_BYTES),
	    (unsigned char)input.data[13], out);
}

enum proxy_parse
proxy_header_parse(struct span input, struct proxy_header *header_out)
{
	*header_out = (struct proxy_header){ .wanted = 0 };
	if (input.len == 0)
		return more(header_out, PROXY_HEADER_BYTES_MIN);
	return input.data[0] == 'P' ? parse_v1(input, header_out) : parse_v2(input, header_out);
}
