/*
 * A mailbox address and the paths of MAIL and RCPT.
 *
 * RFC 5321 section 4.1.2 (Mailbox, Path, quoted strings, source routes), section 4.1.3 (address
 * literals), section 4.5.3.1 (limits), RFC 6531 section 3.3 (UTF-8 in both parts).
 *
 * An address is kept in its canonical form: the local part as it is meant (quoted only where it
 * must be, RFC 5321 section 4.1.2: "foo" and foo are the same), its case untouched; the domain in
 * lower case ASCII or UTF-8 as given, an address literal as given with its tag in upper case.
 * All text is borrowed from the buffer or arena that the caller passed.  Any thread.
 */
#ifndef RELAY_MAIL_ADDRESS_H
#define RELAY_MAIL_ADDRESS_H

#include "relay/base/arena.h"
#include "relay/base/buf.h"
#include "relay/base/span.h"

#include <stdbool.h>

enum {
	ADDRESS_LOCAL_BYTES_MAX = 64,     /* RFC 5321 4.5.3.1.1, counted without quoting */
	ADDRESS_DOMAIN_BYTES_MAX = 255,   /* RFC 5321 4.5.3.1.2 */
	/* RFC 5321 4.5.3.1.3: with the brackets, without a source route and quoting. */
	ADDRESS_PATH_BYTES_MAX = 256,
	ADDRESS_TEXT_BYTES_MAX = 2 * ADDRESS_LOCAL_BYTES_MAX + 2 + 1 + ADDRESS_DOMAIN_BYTES_MAX,
};

struct address {
	struct span local;      /* unquoted: the octets that are meant */
	struct span domain;     /* "example.net", "[192.0.2.1]"; "" for <postmaster> */
	bool needs_utf8;        /* an octet above 127 in either part: SMTPUTF8 is needed */
};

enum address_syntax {
	ADDRESS_OK,
	ADDRESS_BAD,            /* 501 5.1.3 (recipient) or 5.1.7 (sender) */
	ADDRESS_TOO_LONG,       /* one of the limits above */
	ADDRESS_IS_UTF8,        /* octets above 127, but UTF8 was not allowed: 553 5.6.7 */
};

/*
 * Parse a Mailbox, "local@domain", whole.  Copies what it keeps into ARENA.  UTF8_ALLOWED says
 * whether the transaction asked for SMTPUTF8.  Control characters, NUL, bare CR and LF are
 * always bad, also inside quotes.
 */
enum address_syntax
address_parse(struct address *address_out, struct span text, bool utf8_allowed,
	      struct arena *arena);

/*
 * Parse a Reverse-path: "<>" (null sender; both parts empty), "<a@b>", "<@x,@y:a@b>" (the source
 * route is ignored, RFC 5321 appendix F.2).  PATH includes the brackets.
 */
enum address_syntax
address_parse_reverse_path(struct address *address_out, struct span path, bool utf8_allowed,
			   struct arena *arena);

/* Parse a Forward-path; "<postmaster>" in any case is allowed without a domain. */
enum address_syntax
address_parse_forward_path(struct address *address_out, struct span path, bool utf8_allowed,
			   struct arena *arena);

/* Is it a valid Domain or address literal (the argument of EHLO, a configured name)? */
bool
address_domain_is_valid(struct span domain, bool utf8_allowed);

/* The null reverse-path <>. */
bool address_is_null(const struct address *address);

/* Same local part octet by octet, same domain without regard to ASCII case. */
bool address_equal(const struct address *a, const struct address *b);

/* Append "local@domain", quoted where it must be, without brackets; "" for the null path. */
void
address_print(const struct address *address, struct buf *out);

/* The printed form, allocated in ARENA. */
struct span
address_text(const struct address *address, struct arena *arena);

#endif
