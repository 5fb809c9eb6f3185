#include <string.h>

#include "relay/base/ascii.h"
#include "relay/base/clock.h"
#include "relay/mail/dsn_private.h"
#include "relay/mail/xtext.h"

/* RFC 3461 section 4.4 and RFC 3464 section 2.2.1: longest ENVID and ORCPT. */
#define XTEXT_BYTES_MAX 500

/* "rfc822; address", or RFC 6533's "utf-8; address". */
static void
append_typed_address(struct buf *out, struct span address)
{
	(void)buf_append_cstr(out, span_is_ascii(address) ? "rfc822; " : "utf-8; ");
	dsn_append_clean(out, address);
}

/* ORCPT as the sender gave it, decoded; what does not decode is left out. */
static void
append_original_recipient(struct buf *out, struct span orcpt, bool is_global)
{
	struct span type, address;
	struct buf plain;

	if (!span_split(orcpt, ';', &type, &address))
		return;
	buf_init(&plain, XTEXT_BYTES_MAX);
	if (xtext_decode_orcpt(orcpt, &plain) == 0) {
		(void)buf_append_cstr(out, "Original-Recipient: ");
		dsn_append_ascii(out, type);
		(void)buf_append_cstr(out, "; ");
		/* RFC 6533 section 3: UTF-8 only in a global report; else as it was given. */
		if (is_global && span_is_utf8(buf_span(&plain)))
			dsn_append_clean(out, buf_span(&plain));
		else
			dsn_append_ascii(out, span_is_ascii(buf_span(&plain)) ? buf_span(&plain)
									  : address);
		(void)buf_append_cstr(out, "\r\n");
	}
	buf_fini(&plain);
}

/* Status of RFC 3464 section 2.3.4: the peer's, with the class that the action has. */
static void
append_status_code(struct buf *out, const struct dsn_rcpt *rcpt)
{
	const char *status = rcpt->reply ? reply_status_or_default(rcpt->reply) : "";
	char class = '2';

	if (rcpt->action == DSN_FAILED)
		class = '5';
	else if (rcpt->action == DSN_DELAYED)
		class = '4';
	/* Expired: x.4.7 of RFC 3463 section 3.5 says it better than the last deferral. */
	if (rcpt->expired)
		(void)buf_append_cstr(out, "Status: 5.4.7\r\n");
	else if (status[0] != '\0')
		(void)buf_appendf(out, "Status: %c%s\r\n", class, status + 1);
	else
		(void)buf_appendf(out, "Status: %c.0.0\r\n", class);
}

/* Of "host[192.0.2.1]:25", "host:25" and "[192.0.2.1]:25" the name or the address. */
static struct span
name_of_host(struct span host)
{
	size_t at;

	if (host.len > 0 && host.data[0] == '[') {
		host = span_skip(host, 1);
		return span_find_byte(host, ']', &at) ? span_first(host, at) : host;
	}
	if (span_find_byte(host, '[', &at))
		return span_first(host, at);
	if (span_find_byte(host, ':', &at) && !memchr(host.data + at + 1, ':', host.len - at - 1))
		return span_first(host, at);
	return host;
}

/* RFC 3464 section 2.1.2: a domain, or an address as RFC 5321 writes it in place of one. */
static void
append_host(struct buf *out, struct span host)
{
	struct span name = name_of_host(host);
	bool is_ipv6 = name.len > 0 && memchr(name.data, ':', name.len);
	size_t digits = 0;

	while (digits < name.len && (ascii_is_digit(name.data[digits]) || name.data[digits] == '.'))
		digits++;
	if (!is_ipv6 && digits < name.len) {
		dsn_append_ascii(out, span_first(name, DSN_HOST_BYTES_MAX));
		return;
	}
	(void)buf_append_cstr(out, is_ipv6 ? "[IPv6:" : "[");
	dsn_append_ascii(out, span_first(name, DSN_HOST_BYTES_MAX));
	(void)buf_append_byte(out, ']');
}

static void
append_date(struct buf *out, const char *name, int64_t wall_ms)
{
	char date[CLOCK_TEXT_BYTES];

	clock_print_rfc5322(wall_ms, date);
	(void)buf_appendf(out, "%s: %s\r\n", name, date);
}

static void
append_rcpt(const struct dsn_rcpt *rcpt, bool is_global, struct buf *out)
{
	(void)buf_append_cstr(out, "\r\n");
	append_original_recipient(out, rcpt->orcpt, is_global);
	(void)buf_append_cstr(out, "Final-Recipient: ");
	append_typed_address(out, rcpt->address);
	(void)buf_appendf(out, "\r\nAction: %s\r\n", dsn_action_name(rcpt->action));
	append_status_code(out, rcpt);
	if (rcpt->remote_host.len > 0) {
		(void)buf_append_cstr(out, "Remote-MTA: dns; ");
		append_host(out, rcpt->remote_host);
		(void)buf_append_cstr(out, "\r\n");
	}
	if (rcpt->reply && rcpt->reply->code != 0) {
		(void)buf_appendf(out, "Diagnostic-Code: smtp; %u %s%s", rcpt->reply->code,
		    rcpt->reply->status, rcpt->reply->status[0] ? " " : "");
		dsn_append_clean(out, span_from_cstr(rcpt->reply->text));
		(void)buf_append_cstr(out, "\r\n");
	}
	if (rcpt->last_attempt_ms != 0)
		append_date(out, "Last-Attempt-Date", rcpt->last_attempt_ms);
	if (rcpt->action == DSN_DELAYED && rcpt->retry_until_ms != 0)
		append_date(out, "Will-Retry-Until", rcpt->retry_until_ms);
}

void
dsn_append_status(const struct dsn *dsn, struct buf *out)
{
	bool is_global = dsn->smtputf8 || dsn_needs_utf8(dsn);
	struct buf envid;

	(void)buf_appendf(out, "Content-Type: message/%sdelivery-status\r\n",
	    is_global ? "global-" : "");
	if (dsn_needs_8bit(dsn))
		(void)buf_append_cstr(out, "Content-Transfer-Encoding: 8bit\r\n");
	(void)buf_append_cstr(out, "\r\n");

	buf_init(&envid, XTEXT_BYTES_MAX);
	if (dsn->envid.len > 0 && xtext_decode(dsn->envid, &envid) == 0) {
		(void)buf_append_cstr(out, "Original-Envelope-Id: ");
		dsn_append_ascii(out, buf_span(&envid));        /* RFC 3461 section 4.4 */
		(void)buf_append_cstr(out, "\r\n");
	}
	buf_fini(&envid);
	(void)buf_append_cstr(out, "Reporting-MTA: dns; ");
	dsn_append_clean(out, dsn->hostname);
	(void)buf_append_cstr(out, "\r\n");
	append_date(out, "Arrival-Date", dsn->arrival_ms);
	for (size_t i = 0; i < dsn->rcpt_count; i++)
		append_rcpt(&dsn->rcpts[i], is_global, out);
}
