#ifndef TESTS_UNIT_OUTBOUND_PEER_H
#define TESTS_UNIT_OUTBOUND_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/buf.h"
#include "relay/net/listener.h"

/*
 * A next hop by script, on the loop of the test: it speaks enough SMTP and LMTP, and
 * at one stage gives another answer, or none, so many times.
 */
enum stage {
	AT_GREETING,
	AT_HELLO,
	AT_MAIL,
	AT_RCPT,
	AT_DATA,
	AT_END,
	AT_NOWHERE,
};

#define CUT "cut"               /* close the connection instead of a reply */
#define SILENCE "silence"       /* no reply */

struct peer {
	struct loop *loop;
	struct listener *listener;
	uint16_t port;
	bool lmtp;
	enum stage at;
	const char *reply;      /* at that stage: CUT, or "550 5.1.1 no" */
	size_t times;           /* how often, then it goes well */
	size_t connections, open, open_max, messages, rcpts;
	size_t rcpts_max;       /* in one transaction: more get 452 4.5.3; 0: any */
	struct buf last_body;
};

/* A port of 0 is the kernel's choice. */
void peer_open(struct peer *peer, struct loop *loop, uint16_t port);
void peer_close(struct peer *peer);

#endif
