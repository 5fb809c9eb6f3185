#ifndef RELAY_MAIL_TRACE_FIELDS_H
#define RELAY_MAIL_TRACE_FIELDS_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/base/buf.h"
#include "relay/base/span.h"
#include "relay/mail/envelope.h"

/*
 * The trace fields of RFC 5321 section 4.4 that we put on top of a message.
 * Every foreign text is cleaned: what is neither printable ASCII nor (with
 * smtputf8) UTF-8 becomes '?', so that no text can end a line or a comment.
 * Lines are folded below 78 columns where blanks allow and end in CRLF.
 */
#define TRACE_FIELDS_BYTES_MAX 4096

struct trace_received {
	struct span client_hello;       /* argument of HELO, EHLO or LHLO */
	struct span client_address;     /* "192.0.2.7" or "2001:db8::1"; "" for our own */
	struct span client_name;        /* verified reverse name; "" if none is known */
	struct span hostname;           /* ours */
	enum envelope_protocol protocol; /* "with", RFC 3848 */
	bool smtputf8;                  /* "with UTF8SMTP...", RFC 6531 section 4.3 */
	struct span tls_version;        /* "TLSv1.3"; "" without TLS */
	struct span tls_cipher;         /* "TLS_AES_256_GCM_SHA384" */
	bool tls_verified;              /* the client's certificate was verified */
	struct span auth_user;          /* "" to keep it out */
	struct span queue_id;           /* printed */
	struct span for_address;        /* the only recipient; "" if several, to hide none */
	int64_t wall_ms;
};

/* Append the field; -1 when out is full. */
int trace_fields_received(const struct trace_received *trace, struct buf *out);

/* "Return-Path: <sender>"; the null sender gives "<>". */
int trace_fields_return_path(struct span sender, struct buf *out);

/* "Delivered-To: address" */
int trace_fields_delivered_to(struct span address, struct buf *out);

#endif
