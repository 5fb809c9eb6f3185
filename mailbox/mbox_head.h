/*
 * What stands above a message in a box: the From_ line (mbox only), and the fields of the final
 * delivery (RFC 5321 section 4.4).  Lines end in LF.  Pure.
 */
#ifndef MAILBOX_MBOX_HEAD_H
#define MAILBOX_MBOX_HEAD_H

#include <stdbool.h>
#include <stdint.h>

#include "relay/base/buf.h"
#include "relay/base/span.h"
#include "relay/mail/trace_fields.h"

enum {
	MBOX_HEAD_BYTES_MAX = 8192,
};

struct mbox_head {
	bool from_line;
	struct span sender;             /* canonical; "" is the null sender */
	struct span original_to;        /* the recipient as given */
	struct span delivered_to;       /* what the box is called */
	const struct trace_received *received;
};

/*
 * Append it.  From_ has the sender, or MAILER-DAEMON, and the time as asctime() has it, in UTC;
 * X-Original-To is there when it differs from Delivered-To in more than case.
 */
int mbox_head_compose(const struct mbox_head *head, struct buf *out);

/* "Tue Nov 24 00:24:12 2026": C locale, UTC.  Ends in a NUL. */
enum { MBOX_TIME_BYTES = 32 };
void mbox_head_print_time(int64_t wall_ms, char text_out[MBOX_TIME_BYTES]);

#endif
