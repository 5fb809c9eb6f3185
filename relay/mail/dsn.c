#include "relay/mail/dsn.h"

#include <stdio.h>
#include <string.h>

#include "relay/base/ascii.h"
#include "relay/base/base32.h"
#include "relay/base/clock.h"
#include "relay/base/must.h"
#include "relay/mail/dsn_private.h"
#include "relay/mail/message_id.h"

/* Recipients named in the words for people; the rest are in the second part. */
#define NAMED_RCPTS_MAX 50

const char *
dsn_action_name(enum dsn_action action)
{
	switch (action) {
	case DSN_FAILED: return "failed";
	case DSN_DELAYED: return "delayed";
	case DSN_DELIVERED: return "delivered";
	case DSN_RELAYED: return "relayed";
	case DSN_EXPANDED: return "expanded";
	}
	must_not_reach();
}

bool
dsn_is_wanted(uint8_t notify, enum dsn_action action)
{
	if (notify & NOTIFY_NEVER)
		return false;
	switch (action) {
	case DSN_FAILED:
		return notify == 0 || (notify & NOTIFY_FAILURE);
	case DSN_DELAYED:
		/* RFC 3461 section 4.1 leaves it to us when nothing was said: we tell. */
		return notify == 0 || (notify & NOTIFY_DELAY);
	case DSN_DELIVERED:
	case DSN_RELAYED:
	case DSN_EXPANDED:
		return notify & NOTIFY_SUCCESS;
	}
	must_not_reach();
}

static bool
has_action(const struct dsn *dsn, enum dsn_action action)
{
	for (size_t i = 0; i < dsn->rcpt_count; i++)
		if (dsn->rcpts[i].action == action)
			return true;
	return false;
}

bool
dsn_returns_body(const struct dsn *dsn, uint64_t body_bytes, uint64_t size_max)
{
	return dsn->ret == RET_FULL && has_action(dsn, DSN_FAILED) && body_bytes <= size_max;
}

bool
dsn_needs_utf8(const struct dsn *dsn)
{
	if (!span_is_ascii(dsn->sender))
		return true;
	for (size_t i = 0; i < dsn->rcpt_count; i++)
		if (!span_is_ascii(dsn->rcpts[i].address))
			return true;
	return false;
}

bool
dsn_needs_8bit(const struct dsn *dsn)
{
	if (dsn->original_is_8bit || dsn->smtputf8 || dsn_needs_utf8(dsn))
		return true;
	for (size_t i = 0; i < dsn->rcpt_count; i++)
		if (dsn->rcpts[i].reply &&
		    !span_is_ascii(span_from_cstr(dsn->rcpts[i].reply->text)))
			return true;
	return false;
}

void
dsn_append_clean(struct buf *out, struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];

		(void)buf_append_byte(out, ascii_is_control(c) ? '?' : c);
	}
}

/* Names on the wire and envelope ids are; what is not came from a liar, and would need 8BITMIME. */
void
dsn_append_ascii(struct buf *out, struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];

		(void)buf_append_byte(out, ascii_is_control(c) || c & 0x80 ? '?' : c);
	}
}

/*
 * The boundary: unlike any line of mail that was written before this id was
 * drawn, and the same each time the notification is made.
 */
static void
append_boundary(const struct dsn *dsn, struct buf *out)
{
	char id[BASE32_U64_BYTES];

	base32_print_u64(dsn->id, id);
	(void)buf_appendf(out, "=_%s.%.*s", id, SPAN_ARGS(dsn->original_id));
}

static void
begin_part(const struct dsn *dsn, struct buf *out)
{
	(void)buf_append_cstr(out, "\r\n--");
	append_boundary(dsn, out);
	(void)buf_append_cstr(out, "\r\n");
}

static void
append_address(struct buf *out, struct span address)
{
	(void)buf_append_byte(out, '<');
	dsn_append_clean(out, address);
	(void)buf_append_byte(out, '>');
}

static const char *
subject_of(const struct dsn *dsn)
{
	if (has_action(dsn, DSN_FAILED))
		return "Undeliverable: your message could not be delivered";
	if (has_action(dsn, DSN_DELAYED))
		return "Delayed: your message is still on its way";
	if (has_action(dsn, DSN_RELAYED))
		return "Relayed: your message has left our network";
	return "Delivered: your message has arrived";
}

static void
append_header(const struct dsn *dsn, struct buf *out)
{
	char date[CLOCK_TEXT_BYTES];

	clock_print_rfc5322(dsn->now_ms, date);
	(void)buf_appendf(out, "Date: %s\r\n"
	    "From: Mail Delivery System <MAILER-DAEMON@%.*s>\r\nTo: ", date,
	    SPAN_ARGS(dsn->hostname));
	dsn_append_clean(out, dsn->sender);
	(void)buf_appendf(out, "\r\nSubject: %s\r\nMessage-ID: ", subject_of(dsn));
	(void)message_id_make(dsn->id, dsn->now_ms, dsn->hostname, out);
	/* RFC 3834: what answers mail by itself leaves this alone. */
	(void)buf_append_cstr(out, "\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n"
	    "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"");
	append_boundary(dsn, out);
	(void)buf_append_cstr(out, "\"\r\n");
	if (dsn_needs_8bit(dsn))
		(void)buf_append_cstr(out, "Content-Transfer-Encoding: 8bit\r\n");
	(void)buf_append_cstr(out,
	    "\r\nThis is a report in MIME format about a message of yours.\r\n");
}

static const char *
words_of(const struct dsn_rcpt *rcpt)
{
	switch (rcpt->action) {
	case DSN_FAILED:
		return rcpt->expired ? "was tried until its time was over"
		    : "could not be delivered";
	case DSN_DELAYED:
		return "has not been delivered yet and is tried again; nothing need be done";
	case DSN_DELIVERED:
		return "was delivered";
	case DSN_RELAYED:
		return "was handed to a host that does not report further";
	case DSN_EXPANDED:
		return "was handed to a list";
	}
	must_not_reach();
}

static void
append_rcpt_words(const struct dsn_rcpt *rcpt, struct buf *out)
{
	append_address(out, rcpt->address);
	(void)buf_appendf(out, "\r\n    %s.\r\n", words_of(rcpt));
	if (rcpt->action == DSN_DELAYED && rcpt->retry_until_ms != 0) {
		char until[CLOCK_TEXT_BYTES];

		clock_print_rfc5322(rcpt->retry_until_ms, until);
		(void)buf_appendf(out, "    It is tried until %s.\r\n", until);
	}
	if (rcpt->reply && rcpt->reply->code != 0) {
		if (rcpt->remote_host.len > 0) {
			(void)buf_append_cstr(out, "    ");
			dsn_append_ascii(out, span_first(rcpt->remote_host, DSN_HOST_BYTES_MAX));
			(void)buf_append_cstr(out, " said:\r\n");
		}
		(void)buf_appendf(out, "    %u %s%s", rcpt->reply->code, rcpt->reply->status,
		    rcpt->reply->status[0] ? " " : "");
		dsn_append_clean(out, span_from_cstr(rcpt->reply->text));
		(void)buf_append_cstr(out, "\r\n");
	}
	(void)buf_append_cstr(out, "\r\n");
}

static void
append_words(const struct dsn *dsn, struct buf *out)
{
	char date[CLOCK_TEXT_BYTES];

	begin_part(dsn, out);
	(void)buf_appendf(out, "Content-Type: text/plain; charset=%s\r\n"
	    "Content-Transfer-Encoding: %s\r\n\r\n", dsn_needs_8bit(dsn) ? "utf-8" : "us-ascii",
	    dsn_needs_8bit(dsn) ? "8bit" : "7bit");
	clock_print_rfc5322(dsn->arrival_ms, date);
	(void)buf_appendf(out, "This is the mail system at %.*s.\r\n\r\n"
	    "It is about the message that came from you on\r\n%s (queue id %.*s).\r\n\r\n",
	    SPAN_ARGS(dsn->hostname), date, SPAN_ARGS(dsn->original_id));
	for (size_t i = 0; i < dsn->rcpt_count && i < NAMED_RCPTS_MAX; i++)
		append_rcpt_words(&dsn->rcpts[i], out);
	if (dsn->rcpt_count > NAMED_RCPTS_MAX)
		(void)buf_appendf(out, "... and %zu more, listed in the report below.\r\n\r\n",
		    dsn->rcpt_count - NAMED_RCPTS_MAX);
	(void)buf_append_cstr(out, "For help, write to ");
	if (dsn->postmaster.len > 0)
		append_address(out, dsn->postmaster);
	else
		(void)buf_appendf(out, "<postmaster@%.*s>", SPAN_ARGS(dsn->hostname));
	(void)buf_append_cstr(out, " and include this report.\r\n");
}

int
dsn_compose_head(const struct dsn *dsn, bool returns_body, struct buf *out)
{
	bool is_global = dsn->smtputf8 || dsn_needs_utf8(dsn);
	const char *type;

	must(dsn->rcpt_count > 0 && dsn->sender.len > 0);
	append_header(dsn, out);
	append_words(dsn, out);
	begin_part(dsn, out);
	dsn_append_status(dsn, out);
	begin_part(dsn, out);
	if (returns_body)
		type = is_global ? "message/global" : "message/rfc822";
	else
		type = is_global ? "message/global-headers" : "text/rfc822-headers";
	(void)buf_appendf(out, "Content-Type: %s\r\n", type);
	if (dsn->original_is_8bit || dsn->smtputf8)
		(void)buf_append_cstr(out, "Content-Transfer-Encoding: 8bit\r\n");
	(void)buf_append_cstr(out, "\r\n");
	return buf_overflowed(out) ? -1 : 0;
}

int
dsn_compose_tail(const struct dsn *dsn, struct buf *out)
{
	(void)buf_append_cstr(out, "\r\n--");
	append_boundary(dsn, out);
	(void)buf_append_cstr(out, "--\r\n");
	return buf_overflowed(out) ? -1 : 0;
}

int
dsn_compose(const struct dsn *dsn, struct span original, bool returns_body, struct buf *out)
{
	if (dsn_compose_head(dsn, returns_body, out) < 0 || buf_append(out, original) < 0)
		return -1;
	return dsn_compose_tail(dsn, out);
}
