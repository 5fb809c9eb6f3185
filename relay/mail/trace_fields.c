#include "relay/mail/trace_fields.h"

#include <string.h>

#include "relay/base/ascii.h"
#include "relay/base/clock.h"

/* RFC 5322 section 2.1.1. */
#define LINE_COLUMNS_MAX 78

/* No word of a trace field is longer, whatever a client says. */
#define WORD_BYTES_MAX 320

/*
 * A field under composition: words go in with a blank or a fold before them.
 * The buf keeps the mark of an overflow.
 */
struct field {
	struct buf *out;
	size_t column;
};

static void
begin_field(struct field *field, struct buf *out, const char *name)
{
	field->out = out;
	field->column = strlen(name) + 1;
	(void)buf_append_cstr(out, name);
	(void)buf_append_byte(out, ':');
}

static void
add_word(struct field *field, struct span word)
{
	if (field->column + 1 + word.len > LINE_COLUMNS_MAX && field->column > 1) {
		(void)buf_append_cstr(field->out, "\r\n\t");
		field->column = 8;
	} else {
		(void)buf_append_byte(field->out, ' ');
		field->column++;
	}
	(void)buf_append(field->out, word);
	field->column += word.len;
}

/* On a new line, unless the line has just begun. */
static void
add_word_on_new_line(struct field *field, struct span word)
{
	(void)buf_append_cstr(field->out, "\r\n\t");
	(void)buf_append(field->out, word);
	field->column = 8 + word.len;
}

static int
end_field(struct field *field)
{
	(void)buf_append_cstr(field->out, "\r\n");
	return buf_overflowed(field->out) ? -1 : 0;
}

/*
 * Foreign text as one word: what could end the word, a comment or the field
 * becomes '?'.
 */
static void
append_clean(struct buf *out, struct span text, bool utf8_allowed, const char *forbidden)
{
	text = span_first(text, WORD_BYTES_MAX);
	while (text.len > 0) {
		size_t len = span_utf8_len(text);
		char c = text.data[0];

		if (len > 1 && utf8_allowed) {
			(void)buf_append(out, span_first(text, len));
		} else {
			bool is_good = ascii_is_graph(c) && !strchr(forbidden, c);

			(void)buf_append_byte(out, is_good ? c : '?');
			len = len > 0 ? len : 1;
		}
		text = span_skip(text, len);
	}
}

static void
add_clean_word(struct field *field, const char *before, struct span text, bool utf8_allowed,
    const char *after)
{
	struct buf word;

	buf_init(&word, 2 * WORD_BYTES_MAX);
	(void)buf_append_cstr(&word, before);
	append_clean(&word, text, utf8_allowed, "()<>;,\\\"");
	(void)buf_append_cstr(&word, after);
	add_word(field, buf_span(&word));
	buf_fini(&word);
}

/* An address in angle brackets; in quotes it may hold what a word may not. */
static void
append_path(struct buf *out, struct span address, bool utf8_allowed)
{
	(void)buf_append_byte(out, '<');
	while (address.len > 0) {
		size_t len = span_utf8_len(address);
		char c = address.data[0];

		if (len > 1 && utf8_allowed)
			(void)buf_append(out, span_first(address, len));
		else
			(void)buf_append_byte(out, ascii_is_print(c) ? c : '?');
		address = span_skip(address, len > 0 ? len : 1);
	}
	(void)buf_append_byte(out, '>');
}

/* RFC 5321 section 4.4: FROM domain, with (name [address]) as the TCP-info. */
static void
add_from(struct field *field, const struct trace_received *trace)
{
	bool is_six = memchr(trace->client_address.data ? trace->client_address.data : "", ':',
	    trace->client_address.len) != NULL;
	struct span hello = trace->client_hello.len > 0 ? trace->client_hello : SPAN("unknown");

	add_word(field, SPAN("from"));
	add_clean_word(field, "", hello, trace->smtputf8, "");
	if (trace->client_address.len == 0)
		return;
	if (trace->client_name.len > 0) {
		add_clean_word(field, "(", trace->client_name, false, "");
		add_clean_word(field, is_six ? "[IPv6:" : "[", trace->client_address, false, "])");
	} else {
		add_clean_word(field, is_six ? "([IPv6:" : "([", trace->client_address, false,
		    "])");
	}
}

/* RFC 3848, and RFC 6531 section 4.3: UTF8SMTP and its relatives. */
static const char *
with_keyword(const struct trace_received *trace)
{
	if (!trace->smtputf8)
		return envelope_protocol_name(trace->protocol);
	switch (trace->protocol) {
	case PROTOCOL_SMTP:
	case PROTOCOL_ESMTP:
		return "UTF8SMTP";
	case PROTOCOL_ESMTPS:
		return "UTF8SMTPS";
	case PROTOCOL_ESMTPA:
		return "UTF8SMTPA";
	case PROTOCOL_ESMTPSA:
		return "UTF8SMTPSA";
	case PROTOCOL_LMTP:
		return "UTF8LMTP";
	case PROTOCOL_LMTPS:
		return "UTF8LMTPS";
	case PROTOCOL_LMTPA:
		return "UTF8LMTPA";
	case PROTOCOL_LMTPSA:
		return "UTF8LMTPSA";
	case PROTOCOL_LOCAL:
		break;
	}
	return envelope_protocol_name(trace->protocol);
}

static void
add_tls(struct field *field, const struct trace_received *trace)
{
	if (trace->tls_version.len == 0)
		return;
	add_clean_word(field, "(", trace->tls_version, false, "");
	add_clean_word(field, "cipher=", trace->tls_cipher, false, "");
	add_word(field, trace->tls_verified ? SPAN("verified)") : SPAN("unverified)"));
}

int
trace_fields_received(const struct trace_received *trace, struct buf *out)
{
	char date[CLOCK_TEXT_BYTES];
	struct field field;
	struct buf path;

	begin_field(&field, out, "Received");
	if (trace->protocol != PROTOCOL_LOCAL)
		add_from(&field, trace);
	if (trace->protocol != PROTOCOL_LOCAL)
		add_word_on_new_line(&field, SPAN("by"));
	else
		add_word(&field, SPAN("by"));
	add_clean_word(&field, "", trace->hostname, false, "");
	add_word(&field, SPAN("with"));
	add_word(&field, span_from_cstr(with_keyword(trace)));
	add_tls(&field, trace);
	if (trace->auth_user.len > 0) {
		add_word(&field, SPAN("(authenticated"));
		add_clean_word(&field, "as ", trace->auth_user, false, ")");
	}
	add_word(&field, SPAN("id"));
	add_clean_word(&field, "", trace->queue_id, false, "");
	if (trace->for_address.len > 0) {
		buf_init(&path, TRACE_FIELDS_BYTES_MAX);
		(void)buf_append_cstr(&path, "for ");
		append_path(&path, trace->for_address, trace->smtputf8);
		add_word(&field, buf_span(&path));
		buf_fini(&path);
	}
	(void)buf_append_byte(out, ';');
	clock_print_rfc5322(trace->wall_ms, date);
	add_word_on_new_line(&field, span_from_cstr(date));
	return end_field(&field);
}

int
trace_fields_return_path(struct span sender, struct buf *out)
{
	(void)buf_append_cstr(out, "Return-Path: ");
	append_path(out, sender, true);
	(void)buf_append_cstr(out, "\r\n");
	return buf_overflowed(out) ? -1 : 0;
}

int
trace_fields_delivered_to(struct span address, struct buf *out)
{
	struct buf path;

	buf_init(&path, TRACE_FIELDS_BYTES_MAX);
	append_path(&path, address, true);
	(void)buf_append_cstr(out, "Delivered-To: ");
	/* Without the brackets. */
	(void)buf_append(out, span_slice(buf_span(&path), 1, buf_len(&path) - 2));
	(void)buf_append_cstr(out, "\r\n");
	buf_fini(&path);
	return buf_overflowed(out) ? -1 : 0;
}
