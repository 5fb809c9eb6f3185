#ifndef TESTS_SIM_CONN_PRIVATE_H
#define TESTS_SIM_CONN_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/buf.h"
#include "relay/net/conn.h"
#include "relay/net/conn_output.h"
#include "tests/sim/loop_private.h"
#include "tests/sim/tls_private.h"
#include "tests/sim/wire.h"

enum tls_state {
	TLS_CLEAR,
	TLS_DUE,
	TLS_HANDSHAKE,
	TLS_ON,
	TLS_OVER,
};

struct conn {
	struct sim_wire *wire;
	int side;
	bool started, ended, freed;
	bool input_paused, input_eof;
	bool was_full;
	bool end_output_wanted, output_ended, closing;
	enum tls_state tls_state;
	bool tls_server;
	struct sim_tls tls;
	struct loop *loop;
	struct conn_settings settings;
	const struct conn_ops *ops;
	void *ctx;
	struct endpoint peer, local;
	struct buf input;
	struct conn_output output;
	size_t clear_bytes;
	uint64_t linger_ms;
	struct sim_ready ready;
	struct loop_timer deadline, progress;
	struct loop_task task;
	struct err late_err;
};

/* Only from the loop's callbacks. */
void sim_conn_end(struct conn *conn, enum conn_end how, const struct err *err);
void sim_conn_end_with(struct conn *conn, enum conn_end how, enum err_kind kind, const char *text);

/* A packet or room came; the end of a turn. */
void sim_conn_is_ready(void *ctx);
void sim_conn_turn_ends(void *ctx);

#endif
