/*
 * MAIL and RCPT as typed values: the path and the ESMTP parameters behind it (RFC 5321 section
 * 4.1.2; RFC 1870, 6152, 6531, 3461, 4954, 1845).  One table of keywords, a row each: a new
 * parameter is a row in smtp_param.c and a field here.  Any thread.
 */
#ifndef RELAY_SMTP_PARAM_H
#define RELAY_SMTP_PARAM_H

#include "relay/base/arena.h"
#include "relay/base/span.h"
#include "relay/mail/address.h"
#include "relay/mail/envelope.h"
#include "relay/mail/reply.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SMTP_ENVID_BYTES_MAX = 100,     /* RFC 3461 section 4.4 */
	SMTP_ORCPT_BYTES_MAX = 500,     /* RFC 3461 section 4.2 */
	SMTP_AUTH_PARAM_BYTES_MAX = 500, /* RFC 4954 section 5 */
	SMTP_TRANSID_BYTES_MAX = 80,    /* RFC 1845 section 4.1.1, without the brackets */
	SMTP_ORIGIN_BYTES_MAX = 100,
};

/*
 * Everything MAIL says.  The address lives in the arena that the parser was given; the other
 * spans borrow from the command line.  Whoever keeps them copies them.
 */
struct smtp_mail {
	struct address from;            /* null sender: both parts empty */
	bool has_size;
	uint64_t size;                  /* SIZE=, octets; 0 when not given */
	enum envelope_body body;        /* BODY= */
	bool smtputf8;                  /* SMTPUTF8 was given */
	enum envelope_ret ret;          /* RET= */
	struct span envid;              /* ENVID=, still in xtext; "" if none */
	/* AUTH=, still in xtext, "<>" for none known; "" if not given */
	struct span auth;
	struct span transid;            /* TRANSID=, without its brackets; "" if none */
	struct span origin;             /* XORIGIN=, still in xtext; "" if none */
};

/* Everything RCPT says; spans as above. */
struct smtp_rcpt {
	struct address to;
	struct span orcpt;              /* ORCPT=, "rfc822;..." still in xtext; "" if none */
	uint8_t notify;                 /* set of enum envelope_notify; 0: not given */
	/* number of recipients accepted before, set by the engine */
	size_t index;
};

/*
 * Parse the arguments of MAIL ("FROM:<a@b> SIZE=1") under the capabilities that were OFFERED.
 * On false the reply says why: 501, 553, 555 with its enhanced status.
 */
bool
smtp_mail_parse(struct smtp_mail *mail_out, struct span args, uint32_t offered,
		struct arena *arena, struct reply *reply_out);

/* Parse the arguments of RCPT; UTF8_ALLOWED where MAIL had SMTPUTF8. */
bool
smtp_rcpt_parse(struct smtp_rcpt *rcpt_out, struct span args, uint32_t offered,
		bool utf8_allowed, struct arena *arena, struct reply *reply_out);

#endif
