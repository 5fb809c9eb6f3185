/* From-quoting: no line of a message begins with "From ", and unquoting gives it back. */
#include "mailbox/mbox_quote.h"
#include "relay/base/buf.h"
#include "relay/base/must.h"
#include "tests/fuzz/fuzz.h"

enum { TEXT_BYTES_MAX = 1 << 20 };

static bool
is_quoted(struct span line)
{
	size_t marks = 0;

	while (marks < line.len && line.data[marks] == '>')
		marks++;
	return marks > 0 && span_starts_with(span_skip(line, marks), SPAN("From "));
}

/* As a reader of mboxrd does it. */
static void
unquote(struct span text, struct buf *out)
{
	while (text.len > 0) {
		size_t at;
		struct span line = text;

		if (span_find_byte(text, '\n', &at))
			line = span_first(text, at + 1);
		text = span_skip(text, line.len);
		must(!span_starts_with(line, SPAN("From ")));
		(void)buf_append(out, span_skip(line, is_quoted(line)));
	}
}

void
fuzz_quote(struct span input)
{
	struct fuzz_pieces pieces = fuzz_pieces_init(fuzz_choice(&input));
	struct mbox_quote quote;
	struct buf quoted;
	struct buf back;
	struct span rest = input;

	if (input.len > TEXT_BYTES_MAX / 2)
		return;
	buf_init(&quoted, TEXT_BYTES_MAX);
	buf_init(&back, TEXT_BYTES_MAX);
	mbox_quote_init(&quote);
	while (rest.len > 0) {
		struct span piece;
		size_t took = mbox_quote_next(&quote,
		    span_first(rest, fuzz_piece(&pieces, rest.len)), &piece);

		must(took > 0 || piece.len > 0);
		must(took <= rest.len);
		must(buf_append(&quoted, piece) == 0);
		rest = span_skip(rest, took);
	}
	must(buf_append(&quoted, mbox_quote_end(&quote)) == 0);
	unquote(buf_span(&quoted), &back);
	must(span_equal(buf_span(&back), input));
	buf_fini(&quoted);
	buf_fini(&back);
}
