#include "mailbox/mbox_quote.h"

#include "relay/base/must.h"

enum { FROM_BYTES = 5 };

static const char quoted_from[] = ">From ";

/* "From " without the '>'. */
static const char *
from_text(void)
{
	return quoted_from + 1;
}

void
mbox_quote_init(struct mbox_quote *quote)
{
	*quote = (struct mbox_quote){ 0 };
}

/* How much of "From " stands at the front of TEXT when `matched` octets of it came before. */
static unsigned
match_from(struct span text, unsigned matched)
{
	size_t at = 0;

	while (matched < FROM_BYTES && at < text.len && text.data[at] == from_text()[matched]) {
		matched++;
		at++;
	}
	return matched;
}

/* A cut went through what may be "From ". */
static size_t
go_on_with_held(struct mbox_quote *quote, struct span text, struct span *piece_out)
{
	unsigned matched = match_from(text, quote->held);
	size_t used = matched - quote->held;

	if (matched == FROM_BYTES) {
		*piece_out = span_make(quoted_from, sizeof(quoted_from) - 1);
	} else if (used == text.len) {
		*piece_out = span_make(text.data, 0);
		quote->held = matched;
		return used;
	} else {
		*piece_out = span_make(from_text(), matched);
	}
	quote->held = 0;
	quote->in_line = true;
	return used;
}

/* Where the next line begins that may have to be quoted: its 'F'; text.len if there is none. */
static size_t
find_candidate(struct mbox_quote *quote, struct span text)
{
	size_t at = 0;

	while (at < text.len) {
		if (quote->in_line) {
			const char *lf = memchr(text.data + at, '\n', text.len - at);

			if (lf == NULL)
				return text.len;
			at = (size_t)(lf - text.data) + 1;
			quote->in_line = false;
		} else if (text.data[at] == '>' || text.data[at] == '\n') {
			at++;
		} else if (text.data[at] == 'F') {
			unsigned matched = match_from(span_skip(text, at), 0);

			if (matched == FROM_BYTES || at + matched == text.len)
				return at;
			quote->in_line = true;
		} else {
			quote->in_line = true;
		}
	}
	return at;
}

size_t
mbox_quote_next(struct mbox_quote *quote, struct span text, struct span *piece_out)
{
	must(text.len > 0);
	if (quote->held > 0)
		return go_on_with_held(quote, text, piece_out);

	size_t at = find_candidate(quote, text);

	*piece_out = span_first(text, at);
	if (at > 0 && text.len - at >= FROM_BYTES)
		return at;
	if (at == text.len)
		return at;

	unsigned matched = match_from(span_skip(text, at), 0);

	if (matched < FROM_BYTES) {
		quote->held = matched;
		return text.len;
	}
	*piece_out = span_make(quoted_from, sizeof(quoted_from) - 1);
	quote->in_line = true;
	return FROM_BYTES;
}

struct span
mbox_quote_end(struct mbox_quote *quote)
{
	struct span rest = span_make(from_text(), quote->held);

	mbox_quote_init(quote);
	return rest;
}

bool
mbox_quote_is_added(struct span piece)
{
	return piece.data == quoted_from;
}
