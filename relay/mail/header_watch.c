#include "relay/base/ascii.h"
#include "relay/mail/header.h"
#include "relay/mail/message_id.h"

/*
 * One state a byte: where in a field the next byte stands.  The watcher is fed
 * whatever pieces the network makes.
 */
enum watch_state {
	AT_LINE_START,
	IN_NAME,
	IN_BLANKS_BEFORE_COLON,
	IN_VALUE,
	AT_CR_OF_EMPTY_LINE,
};

enum watch_field {
	FIELD_OTHER,
	FIELD_RECEIVED,
	FIELD_MESSAGE_ID,
};

void
header_watch_init(struct header_watch *watch, struct span own_id)
{
	*watch = (struct header_watch){ .own_id = own_id };
}

static bool
name_is(const struct header_watch *watch, const char *name)
{
	return span_equal_nocase_cstr(span_make(watch->name, watch->name_len), name);
}

static void
begin_value(struct header_watch *watch)
{
	watch->state = IN_VALUE;
	watch->field = FIELD_OTHER;
	watch->own_id_matched = 0;
	if (name_is(watch, "Received")) {
		watch->field = FIELD_RECEIVED;
		watch->received_count++;
	} else if (name_is(watch, "Message-ID") && !watch->has_message_id) {
		watch->field = FIELD_MESSAGE_ID;
		watch->has_message_id = true;
		watch->id_len = 0;
	} else if (name_is(watch, "Date")) {
		watch->has_date = true;
	} else if (name_is(watch, "From")) {
		watch->has_from = true;
	}
}

/* The collected Message-ID, when it was one. */
static void
end_field(struct header_watch *watch)
{
	struct span id;

	if (watch->field == FIELD_MESSAGE_ID && watch->id_len < HEADER_WATCH_ID_BYTES &&
	    message_id_find(span_make(watch->message_id, watch->id_len), &id) &&
	    id.data == watch->message_id && id.len < HEADER_WATCH_ID_BYTES)
		watch->message_id[id.len] = '\0';
	else if (watch->field == FIELD_MESSAGE_ID)
		watch->message_id[0] = '\0';
	watch->field = FIELD_OTHER;
}

/* Characters that a name of ours may be part of: a match must not begin or end in one. */
static bool
is_id_byte(char c)
{
	return ascii_is_alnum(c) || c == '-' || c == '.' || c == '_';
}

/*
 * Look for own_id as a whole word in the value of a Received field.  A word
 * begins behind a byte that is none of a name; own_id_matched counts what fits
 * so far, and is past the length when the word at hand is another.
 */
static void
match_own_id(struct header_watch *watch, char c)
{
	size_t len = watch->own_id.len;

	if (!is_id_byte(c)) {
		watch->is_own_loop |= len > 0 && watch->own_id_matched == len;
		watch->own_id_matched = 0;
	} else if (watch->own_id_matched < len &&
	    ascii_lower(c) == ascii_lower(watch->own_id.data[watch->own_id_matched])) {
		watch->own_id_matched++;
	} else {
		watch->own_id_matched = len + 1;
	}
}

static void
take_value_byte(struct header_watch *watch, char c)
{
	if (watch->field == FIELD_RECEIVED) {
		match_own_id(watch, c);
	} else if (watch->field == FIELD_MESSAGE_ID) {
		if (watch->id_len == 0 && ascii_is_space(c))
			return;
		if (watch->id_len < HEADER_WATCH_ID_BYTES)
			watch->message_id[watch->id_len] = c;
		if (watch->id_len <= HEADER_WATCH_ID_BYTES)
			watch->id_len++;
	}
}

static void
begin_line(struct header_watch *watch, char c)
{
	if (ascii_is_blank(c)) {                /* a fold goes on with the field */
		watch->state = IN_VALUE;
		take_value_byte(watch, c);
		return;
	}
	end_field(watch);
	if (c == '\r') {
		watch->state = AT_CR_OF_EMPTY_LINE;
	} else if (c == '\n' || !ascii_is_graph(c) || c == ':') {
		watch->ended = true;
	} else {
		watch->state = IN_NAME;
		watch->name[0] = c;
		watch->name_len = 1;
	}
}

static void
take_name_byte(struct header_watch *watch, char c)
{
	if (c == ':') {
		begin_value(watch);
	} else if (ascii_is_blank(c)) {
		watch->state = IN_BLANKS_BEFORE_COLON;
	} else if (!ascii_is_graph(c)) {
		watch->ended = true;            /* no field: the body begins */
	} else if (watch->name_len < HEADER_WATCH_NAME_BYTES) {
		watch->name[watch->name_len++] = c;
	}
}

static void
take_byte(struct header_watch *watch, char c)
{
	watch->bytes++;
	watch->has_utf8 |= ascii_is_foreign(c);
	switch ((enum watch_state)watch->state) {
	case AT_LINE_START:
		begin_line(watch, c);
		break;
	case IN_NAME:
		take_name_byte(watch, c);
		break;
	case IN_BLANKS_BEFORE_COLON:
		if (c == ':')
			begin_value(watch);
		else if (!ascii_is_blank(c))
			watch->ended = true;
		break;
	case IN_VALUE:
		take_value_byte(watch, c);
		if (c == '\n')
			watch->state = AT_LINE_START;
		break;
	case AT_CR_OF_EMPTY_LINE:
		watch->ended = true;
		break;
	}
}

void
header_watch_feed(struct header_watch *watch, struct span piece)
{
	for (size_t i = 0; i < piece.len && !watch->ended; i++)
		take_byte(watch, piece.data[i]);
}
