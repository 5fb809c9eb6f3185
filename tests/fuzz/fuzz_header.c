/* What looks at a header while it arrives says the same whatever the pieces are. */
#include "relay/base/must.h"
#include "relay/inbound/hop_watch.h"
#include "relay/mail/header.h"
#include "relay/mail/trace_fields.h"
#include "tests/fuzz/fuzz.h"

static void
watch(struct header_watch *watch, struct span input, struct fuzz_pieces pieces)
{
	header_watch_init(watch, SPAN("relay1.example.net"));
	while (input.len > 0) {
		size_t len = fuzz_piece(&pieces, input.len);

		header_watch_feed(watch, span_first(input, len));
		input = span_skip(input, len);
	}
}

static enum hop_loop
hop(struct span input, struct fuzz_pieces pieces)
{
	struct hop_watch hops;
	enum hop_loop found = HOP_LOOP_NONE;

	hop_watch_init(&hops, SPAN("relay1.example.net"));
	while (input.len > 0 && found == HOP_LOOP_NONE) {
		size_t len = fuzz_piece(&pieces, input.len);

		found = hop_watch_feed(&hops, span_first(input, len));
		input = span_skip(input, len);
	}
	return found;
}

static void
scan(struct span input)
{
	struct header_field field;
	struct header_scan scan;
	struct span value;
	size_t count = 0;

	header_scan_init(&scan, input);
	while (header_scan_next(&scan, &field)) {
		must(field.name.len > 0 && field.whole.len > field.name.len);
		must(field.whole.data >= input.data);
		must(field.whole.data + field.whole.len <= input.data + input.len);
		count++;
	}
	must(count <= input.len);
	must(header_bytes(input) <= input.len);
	if (header_find(input, SPAN("subject"), &value)) {
		struct buf line;

		buf_init(&line, 4096);
		if (header_unfold(value, &line) == 0) {
			size_t at;

			must(!span_find_byte(buf_span(&line), '\n', &at));
		}
		buf_fini(&line);
	}
}

void
fuzz_header(struct span input)
{
	struct fuzz_pieces pieces = fuzz_pieces_init(fuzz_choice(&input));
	struct header_watch whole;
	struct header_watch split;

	watch(&whole, input, fuzz_pieces_init(0));
	watch(&split, input, pieces);
	must(whole.received_count == split.received_count);
	must(whole.has_date == split.has_date && whole.has_from == split.has_from);
	must(whole.has_message_id == split.has_message_id && whole.has_utf8 == split.has_utf8);
	must(whole.is_own_loop == split.is_own_loop && whole.ended == split.ended);
	must(strcmp(whole.message_id, split.message_id) == 0);
	must(!whole.ended || whole.bytes == split.bytes);

	must(hop(input, fuzz_pieces_init(0)) == hop(input, pieces));
	scan(input);
}
