#include "mailbox/mbox_head.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "relay/base/ascii.h"

void
mbox_head_print_time(int64_t wall_ms, char text_out[MBOX_TIME_BYTES])
{
	static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
					      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm tm = { 0 };

	/* Years of four digits: readers know the line by its columns. */
	if (wall_ms < 0 || seconds >= INT64_C(253402300800))
		seconds = 0;
	(void)gmtime_r(&seconds, &tm);
	(void)snprintf(text_out, MBOX_TIME_BYTES, "%s %s %2u %02u:%02u:%02u %04u", days[tm.tm_wday],
		       months[tm.tm_mon], (unsigned)tm.tm_mday % 100, (unsigned)tm.tm_hour % 100,
		       (unsigned)tm.tm_min % 100, (unsigned)tm.tm_sec % 100,
		       (unsigned)(tm.tm_year + 1900) % 10000);
}

/*
 * Readers split the From_ line at blanks, so blanks in a quoted local part become '_'; the sender
 * as it was is in Return-Path.
 */
static int
put_from_line(struct span sender, int64_t wall_ms, struct buf *out)
{
	char time_text[MBOX_TIME_BYTES];

	mbox_head_print_time(wall_ms, time_text);
	(void)buf_append_cstr(out, "From ");
	if (sender.len == 0)
		(void)buf_append_cstr(out, "MAILER-DAEMON");
	for (size_t i = 0; i < sender.len; i++) {
		char c = sender.data[i];

		(void)buf_append_byte(out, c == ' ' || ascii_is_control(c) ? '_' : c);
	}
	return buf_appendf(out, " %s\n", time_text);
}

/* The same line ends as in the box: the fields were made for the wire. */
static int
put_without_cr(const struct buf *fields, struct buf *out)
{
	struct span rest = buf_span(fields), part;

	while (span_take_part(&rest, '\r', &part))
		(void)buf_append(out, part);
	return buf_overflowed(out) ? -1 : 0;
}

int
mbox_head_compose(const struct mbox_head *head, struct buf *out)
{
	struct buf fields;
	int result = -1;

	buf_init(&fields, MBOX_HEAD_BYTES_MAX);
	if (head->from_line &&
	    put_from_line(head->sender, head->received->wall_ms, out) < 0)
		goto done;
	if (trace_fields_return_path(head->sender, &fields) < 0)
		goto done;
	if (!span_equal_nocase(head->original_to, head->delivered_to)) {
		(void)buf_append_cstr(&fields, "X-Original-To: ");
		(void)buf_append(&fields, head->original_to);
		(void)buf_append_cstr(&fields, "\r\n");
	}
	if (trace_fields_delivered_to(head->delivered_to, &fields) < 0 ||
	    trace_fields_received(head->received, &fields) < 0 || buf_overflowed(&fields))
		goto done;
	result = put_without_cr(&fields, out);
done:
	buf_fini(&fields);
	return result;
}
