#include "relay/inbound/completion.h"

#include "relay/base/ascii.h"
#include "relay/base/clock.h"
#include "relay/mail/message_id.h"

void
completion_init(struct completion *completion)
{
	*completion = (struct completion){ .at_line_start = true };
}

static void
name_is_whole(struct completion *it)
{
	struct span name = span_trim(span_make(it->name, it->name_len));

	it->in_name = false;
	it->is_field = true;
	it->has_date = it->has_date || span_equal_nocase(name, SPAN("Date"));
	it->has_message_id = it->has_message_id || span_equal_nocase(name, SPAN("Message-ID"));
}

/* The first octet of a line; false when this is where the header ends. */
static bool
begin_line(struct completion *it, char octet)
{
	it->at_line_start = false;
	if (octet == '\r') {
		it->ended = true;
		return false;
	}
	if (octet == ' ' || octet == '\t') {
		it->ended = !it->is_field;      /* a fold of nothing */
		return true;
	}
	it->in_name = true;
	it->name_len = 0;
	return true;
}

/* RFC 5322 section 2.2: printable octets, and of old blanks, before the colon. */
static void
take_name(struct completion *it, char octet)
{
	if (octet == ':' && it->name_len > 0) {
		name_is_whole(it);
	} else if (octet == ':' || !(ascii_is_graph(octet) || ascii_is_blank(octet))) {
		it->ended = true;               /* a line that is no field */
	} else if (it->name_len < sizeof(it->name)) {
		it->name[it->name_len++] = octet;
	} else {
		it->name[0] = '?';              /* none that we look for is so long */
	}
}

size_t
completion_scan(struct completion *it, struct span octets, bool *is_here_out)
{
	*is_here_out = false;
	for (size_t i = 0; i < octets.len && !it->ended; i++) {
		char octet = octets.data[i];

		if (it->at_line_start && !begin_line(it, octet)) {
			*is_here_out = !it->has_date || !it->has_message_id;
			return *is_here_out ? i : octets.len;
		}
		if (it->in_name)
			take_name(it, octet);
		if (octet == '\n')
			it->at_line_start = true;
	}
	return octets.len;
}

bool
completion_at_end(const struct completion *it)
{
	return !it->ended && it->at_line_start && it->is_field &&
	    !(it->has_date && it->has_message_id);
}

void
completion_fields(const struct completion *it, uint64_t queue_id, int64_t wall_ms,
    struct span hostname, struct buf *out)
{
	char date[CLOCK_TEXT_BYTES];

	if (!it->has_date) {
		clock_print_rfc5322(wall_ms, date);
		(void)buf_appendf(out, "Date: %s\r\n", date);
	}
	if (!it->has_message_id) {
		(void)buf_append(out, SPAN("Message-ID: "));
		(void)message_id_make(queue_id, wall_ms, hostname, out);
		(void)buf_append(out, SPAN("\r\n"));
	}
}
