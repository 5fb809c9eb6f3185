/*
 * Headers of the PROXY protocol, read as listeners read them: never more than was wanted.  How
 * much comes at a time changes nothing, and what stands behind the header is left alone.
 */
#include "relay/base/must.h"
#include "relay/net/proxy_header.h"
#include "tests/fuzz/fuzz.h"

struct seen {
	enum proxy_parse result;
	size_t read;
	struct proxy_header header;
};

static struct seen
read_by(struct span input, struct fuzz_pieces pieces)
{
	struct seen seen = { .result = PROXY_MORE };
	size_t wanted = PROXY_HEADER_BYTES_MIN;

	while (seen.result == PROXY_MORE) {
		size_t some = fuzz_piece(&pieces, wanted);

		if (some > input.len - seen.read)
			some = input.len - seen.read;
		if (some == 0)
			return seen;            /* the rest never comes */
		seen.read += some;
		seen.header = (struct proxy_header){ 0 };
		seen.result = proxy_header_parse(span_first(input, seen.read), &seen.header);
		wanted = seen.header.wanted;
		must(seen.result != PROXY_MORE || wanted > 0);
		must(seen.read + (seen.result == PROXY_MORE ? wanted : 0) <=
		    PROXY_HEADER_BYTES_MAX);
	}
	return seen;
}

void
fuzz_proxy(struct span input)
{
	struct fuzz_pieces pieces = fuzz_pieces_init(fuzz_choice(&input));
	struct seen whole = read_by(input, fuzz_pieces_init(0));
	struct seen split = read_by(input, pieces);
	char text[ENDPOINT_TEXT_BYTES_MAX];

	must((whole.result == PROXY_DONE) == (split.result == PROXY_DONE));
	must(whole.result != PROXY_BAD || whole.header.why);
	if (whole.result != PROXY_DONE)
		return;
	must(whole.read == split.read);
	must(whole.header.has_addresses == split.header.has_addresses);
	if (!whole.header.has_addresses)
		return;
	must(endpoint_compare(&whole.header.client, &split.header.client) == 0);
	must(endpoint_compare(&whole.header.server, &split.header.server) == 0);
	must(endpoint_print(&whole.header.client, text)[0] != '\0');
	must(whole.header.client.family != ENDPOINT_UNIX);
}
