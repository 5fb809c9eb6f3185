/* Replies of a hostile peer: the same whole and in pieces, and safe to log, store and quote. */
#include "relay/base/must.h"
#include "relay/smtp/reply_reader.h"
#include "relay/smtp/smtp_capability.h"
#include "tests/fuzz/fuzz.h"

enum { REPLIES_MAX = 64 };

struct seen {
	struct reply replies[REPLIES_MAX];
	size_t count, read;
	bool bad;
	struct smtp_peer peer;
};

static void
read_all(struct seen *seen, struct span input, struct fuzz_pieces pieces)
{
	struct reply_reader reader;
	size_t shown = 0;

	*seen = (struct seen){ 0 };
	smtp_peer_init(&seen->peer);
	reply_reader_init(&reader);
	while (seen->count < REPLIES_MAX) {
		struct span text;
		struct err err;
		size_t read = 0;
		enum reply_event event = reply_reader_next(&reader,
		    span_slice(input, seen->read, shown - seen->read), &read, &text, &err);

		if (event == REPLY_BAD) {
			must(!span_has_control(span_from_cstr(err.text)));
			seen->bad = true;
			return;
		}
		if (event == REPLY_MORE) {
			must(shown - seen->read <= REPLY_CHALLENGE_BYTES_MAX + 2);
			if (shown == input.len)
				return;
			shown += fuzz_piece(&pieces, input.len - shown);
			continue;
		}
		must(read > 0 && read <= shown - seen->read);
		seen->read += read;
		smtp_peer_add(&seen->peer, text);
		if (event == REPLY_LAST)
			seen->replies[seen->count++] = reader.reply;
	}
}

static void
check_reply(const struct reply *reply)
{
	struct span text = span_from_cstr(reply->text);

	must(reply->code >= 200 && reply->code <= 599);
	must(text.len <= REPLY_TEXT_BYTES_MAX);
	must(!span_has_control(text) && span_is_utf8(text));
	must(!span_has_control(span_from_cstr(reply->status)));
}

void
fuzz_reply(struct span input)
{
	struct fuzz_pieces pieces = fuzz_pieces_init(fuzz_choice(&input));
	struct seen whole;
	struct seen split;

	read_all(&whole, input, fuzz_pieces_init(0));
	read_all(&split, input, pieces);
	/* A line without end is found to be too long earlier when it comes in pieces. */
	must(whole.count == split.count && whole.read == split.read && whole.bad == split.bad);
	must(memcmp(&whole.peer, &split.peer, sizeof(whole.peer)) == 0);
	for (size_t i = 0; i < whole.count; i++) {
		check_reply(&whole.replies[i]);
		must(whole.replies[i].code == split.replies[i].code);
		must(strcmp(whole.replies[i].text, split.replies[i].text) == 0);
	}
}
