#ifndef TESTS_UNIT_NET_NET_FIXTURE_H
#define TESTS_UNIT_NET_NET_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/buf.h"
#include "relay/base/clock.h"
#include "relay/net/conn.h"
#include "relay/net/listener.h"
#include "relay/net/loop.h"

/* Two ends of a real connection over loopback, and certificates made on the spot. */

enum { TEST_WAIT_MS = 10 * 1000 };

/* The machine's time, whatever clock the loop has. */
static inline uint64_t
test_now_ms(void)
{
	return clock_monotonic_ms(clock_system());
}

/* Runs the loop until the condition holds; false when it did not in time. */
#define RUN_UNTIL(loop, condition)                                              \
	({                                                                      \
		uint64_t end_ms_ = test_now_ms() + TEST_WAIT_MS;                \
		while (!(condition) && test_now_ms() < end_ms_)                 \
			loop_turn((loop), 20);                                  \
		(condition);                                                    \
	})

/* One end: what it was told. */
struct test_end {
	struct conn *conn;
	struct buf input;
	size_t consume_max;             /* of one input callback; 0: all */
	bool keeps_open;                /* wants input_ended() instead of closed() */
	bool frees_itself;              /* conn_free() in whatever callback comes first */
	bool pauses;                    /* pauses in the input callback */
	bool closes;                    /* conn_close_after_output() in the input callback */
	bool starts_tls;                /* starts TLS as a server when "STARTTLS\r\n" was read */
	struct tls_context *tls;
	size_t input_count, drained_count, secured_count, expired_count;
	size_t closed_count, input_ended_count, filled_count;
	char *space;                    /* where input goes if not NULL */
	size_t space_size;
	size_t input_at_end;            /* octets there when input_ended() came */
	enum conn_end how;
	struct err err;
};

struct test_pair {
	struct loop *loop;
	struct listener *listener;
	struct endpoint address;
	struct conn_settings settings;
	struct test_end server, client;
};

void test_end_start(struct test_end *end, struct loop *loop, struct conn *conn,
    const struct conn_settings *settings);

/* A loop and a listener on 127.0.0.1; connect gives both ends, started. */
void test_pair_init(struct test_pair *pair);
void test_pair_connect(struct test_pair *pair);
void test_pair_fini(struct test_pair *pair);

/* A blocking socket to the listener: a peer of which the test decides every octet. */
int test_raw_connect(const struct endpoint *address);

/* A connection of a socket that is connected already; takes it over. */
struct conn *test_conn_of(int fd, const struct endpoint *peer, const struct endpoint *local);

/* Files in a directory of their own. */
struct test_certificates {
	char directory[64];
	char ca[96], other_ca[96];
	char good[96], good_key[96];            /* localhost.test, 127.0.0.1 */
	char second[96], second_key[96];        /* second.test */
	char expired[96], expired_key[96];      /* localhost.test */
	char future[96], future_key[96];        /* localhost.test */
	char stranger[96], stranger_key[96];    /* localhost.test, by the other CA */
};

void test_certificates_make(struct test_certificates *files);
void test_certificates_remove(struct test_certificates *files);

#endif
