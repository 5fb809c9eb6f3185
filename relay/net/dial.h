#ifndef RELAY_NET_DIAL_H
#define RELAY_NET_DIAL_H

#include <stddef.h>
#include <stdint.h>

#include "relay/base/err.h"
#include "relay/net/conn.h"
#include "relay/net/endpoint.h"
#include "relay/net/loop.h"

/*
 * Connects to the first of several addresses that answers (RFC 8305): they are
 * tried in the given order, the next one when the one before failed or did not
 * answer within the stagger, several at a time; the first that connects wins
 * and the others are given up.  dial_order() puts addresses of both families
 * into a good order first.
 */
struct dial;

enum { DIAL_ADDRESS_COUNT_MAX = 32 };

struct dial_settings {
	const struct endpoint *addresses;       /* copied */
	size_t address_count;                   /* those past the limit are not tried */
	const struct endpoint *source_ipv4;     /* NULL: the kernel's choice; port 0 */
	const struct endpoint *source_ipv6;
	uint64_t stagger_ms;                    /* 0: 250 */
	uint64_t address_timeout_ms;            /* 0: 30 s */
	uint64_t timeout_ms;                    /* for all of it; 0: 2 minutes */
};

/* What became of one address.  A text of "" means that it was not tried to its end. */
struct dial_attempt {
	struct endpoint address;
	enum err_kind kind;
	char text[ERR_TEXT_BYTES];
};

struct dial_result {
	struct conn *conn;                      /* silent, and the callee's; NULL: none answered */
	size_t winner;                          /* index into the attempts */
	const struct dial_attempt *attempts;
	size_t attempt_count;
	const struct err *err;                  /* set without a conn: all of it in one line */
};

/* done() comes once, from the loop, never before the return, unless cancelled. */
struct dial *dial_start(struct loop *loop, const struct dial_settings *settings,
    void (*done)(void *ctx, const struct dial_result *result), void *ctx);
void dial_cancel(struct dial **dial);

/* Interleaves the families, IPv6 first, keeping the order inside each (RFC 8305, 4). */
void dial_order(struct endpoint *addresses, size_t address_count);

#endif
