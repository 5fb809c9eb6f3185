#include "mailbox/mbox_stream.h"

#include "relay/base/must.h"

size_t
mbox_message_tail_bytes(const struct mbox_message *message)
{
	return letter_ends_in_lf(message->letter) ? 1 : 2;
}

uint64_t
mbox_message_bytes(const struct mbox_message *message)
{
	return message->head.len + letter_quoted_bytes(message->letter) +
	       mbox_message_tail_bytes(message);
}

void
mbox_stream_init(struct mbox_stream *stream, struct span lead, const struct mbox_message *messages,
		 size_t message_count)
{
	*stream = (struct mbox_stream){
		.messages = messages,
		.message_count = message_count,
		.lead = lead,
		.stage = MBOX_STREAM_LEAD,
	};
}

void
mbox_stream_fini(struct mbox_stream *stream)
{
	letter_reader_fini(&stream->reader);
}

/* A piece of the body; empty when it is over. */
static int
next_of_body(struct mbox_stream *stream, struct span *piece_out, struct err *err)
{
	piece_out->len = 0;
	while (piece_out->len == 0) {
		if (stream->text.len == 0) {
			if (letter_read(&stream->reader, &stream->text, err) < 0)
				return -1;
			if (stream->text.len == 0) {
				*piece_out = mbox_quote_end(&stream->quote);
				return 0;
			}
		}

		size_t used = stream->text.len;

		if (stream->quotes)
			used = mbox_quote_next(&stream->quote, stream->text, piece_out);
		else
			*piece_out = stream->text;
		stream->text = span_skip(stream->text, used);
	}
	return 0;
}

static void
begin_body(struct mbox_stream *stream)
{
	const struct letter *letter = stream->messages[stream->at].letter;

	letter_reader_fini(&stream->reader);
	letter_reader_init(&stream->reader, letter);
	mbox_quote_init(&stream->quote);
	stream->text = span_make("", 0);
	stream->quotes = letter_quoted_bytes(letter) != letter_bytes(letter);
}

int
mbox_stream_next(struct mbox_stream *stream, struct span *piece_out, struct err *err)
{
	piece_out->len = 0;
	while (piece_out->len == 0) {
		const struct mbox_message *message = &stream->messages[stream->at];

		if (stream->stage != MBOX_STREAM_LEAD && stream->at == stream->message_count)
			return 0;
		switch (stream->stage) {
		case MBOX_STREAM_LEAD:
			*piece_out = stream->lead;
			stream->stage = MBOX_STREAM_HEAD;
			break;
		case MBOX_STREAM_HEAD:
			*piece_out = message->head;
			begin_body(stream);
			stream->stage = MBOX_STREAM_BODY;
			break;
		case MBOX_STREAM_BODY:
			if (next_of_body(stream, piece_out, err) < 0)
				return -1;
			if (piece_out->len == 0)
				stream->stage = MBOX_STREAM_TAIL;
			break;
		case MBOX_STREAM_TAIL:
			*piece_out = letter_ends_in_lf(message->letter) ? SPAN("\n") : SPAN("\n\n");
			stream->stage = MBOX_STREAM_HEAD;
			stream->at++;
			break;
		}
	}
	return 0;
}

bool
mbox_stream_will_overwrite(const struct mbox_stream *stream)
{
	return stream->reader.window != NULL && stream->text.len == 0;
}
