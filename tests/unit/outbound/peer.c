#include "tests/unit/outbound/peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/mem.h"

struct peer_conn {
	struct peer *peer;
	struct conn *conn;
	bool in_mail;
	bool in_data;
	size_t rcpts;
	struct buf body;
};

static void
peer_drop(struct peer_conn *it)
{
	it->peer->open--;
	conn_free(&it->conn);
	buf_fini(&it->body);
	mem_free(&it);
}

/* False: the connection is gone. */
static bool
peer_say(struct peer_conn *it, enum stage stage, const char *good)
{
	struct peer *peer = it->peer;
	const char *reply = good;

	if (peer->at == stage && peer->times > 0) {
		peer->times--;
		reply = peer->reply;
	}
	if (strcmp(reply, CUT) == 0) {
		peer_drop(it);
		return false;
	}
	if (strcmp(reply, SILENCE) == 0)
		return true;
	conn_write(it->conn, span_from_cstr(reply));
	conn_write(it->conn, SPAN("\r\n"));
	return true;
}

static bool
peer_end_of_body(struct peer_conn *it)
{
	struct peer *peer = it->peer;
	size_t replies = peer->lmtp ? it->rcpts : 1;
	bool took = !(peer->at == AT_END && peer->times > 0) || peer->reply[0] == '2';

	it->in_data = false;
	peer->messages += took;
	buf_clear(&peer->last_body);
	(void)buf_append(&peer->last_body, buf_span(&it->body));
	buf_clear(&it->body);
	it->rcpts = 0;
	for (size_t i = 0; i < replies; i++)
		if (!peer_say(it, AT_END, "250 2.0.0 taken"))
			return false;
	return true;
}

static bool
peer_command(struct peer_conn *it, struct span line)
{
	struct peer *peer = it->peer;

	if (span_starts_with(line, SPAN("EHLO ")) || span_starts_with(line, SPAN("LHLO ")))
		return peer_say(it, AT_HELLO, "250-peer.example\r\n250-PIPELINING\r\n"
		    "250 ENHANCEDSTATUSCODES");
	if (span_starts_with(line, SPAN("MAIL "))) {
		it->in_mail = !(peer->at == AT_MAIL && peer->times > 0);
		it->rcpts = 0;
		return peer_say(it, AT_MAIL, "250 2.1.0 sender");
	}
	if (span_starts_with(line, SPAN("RCPT "))) {
		if (!it->in_mail) {
			conn_write(it->conn, SPAN("503 5.5.1 MAIL first\r\n"));
			return true;
		}
		if (peer->rcpts_max && it->rcpts == peer->rcpts_max) {
			conn_write(it->conn, SPAN("452 4.5.3 too many\r\n"));
			return true;
		}
		bool fails = peer->at == AT_RCPT && peer->times > 0;

		it->rcpts += !fails;
		peer->rcpts += !fails;
		return peer_say(it, AT_RCPT, "250 2.1.5 recipient");
	}
	if (span_starts_with(line, SPAN("DATA"))) {
		bool fails = peer->at == AT_DATA && peer->times > 0;

		if (it->rcpts == 0) {
			conn_write(it->conn, SPAN("554 5.5.1 no recipients\r\n"));
			return true;
		}
		it->in_data = !fails;
		return peer_say(it, AT_DATA, "354 go on");
	}
	if (span_starts_with(line, SPAN("RSET"))) {
		it->rcpts = 0;
		conn_write(it->conn, SPAN("250 2.0.0 reset\r\n"));
		return true;
	}
	if (span_starts_with(line, SPAN("QUIT"))) {
		conn_write(it->conn, SPAN("221 2.0.0 bye\r\n"));
		conn_close_after_output(it->conn, 100);
		return true;
	}
	conn_write(it->conn, SPAN("500 5.5.2 what\r\n"));
	return true;
}

static size_t
peer_input(void *ctx, struct span input)
{
	struct peer_conn *it = ctx;
	size_t consumed = 0, at;

	while (span_find(span_skip(input, consumed), SPAN("\r\n"), &at)) {
		struct span line = span_slice(input, consumed, at);

		consumed += at + 2;
		if (!it->in_data) {
			if (!peer_command(it, line))
				return consumed;
		} else if (span_equal_cstr(line, ".")) {
			if (!peer_end_of_body(it))
				return consumed;
		} else {
			(void)buf_append(&it->body, line);
			(void)buf_append(&it->body, SPAN("\r\n"));
		}
	}
	return consumed;
}

static void
peer_closed(void *ctx, enum conn_end end, const struct err *err)
{
	(void)end;
	(void)err;
	peer_drop(ctx);
}

static const struct conn_ops peer_conn_ops = {
	.input = peer_input,
	.closed = peer_closed,
};

static void
peer_accepted(void *ctx, struct conn *conn)
{
	struct peer *peer = ctx;
	struct peer_conn *it = mem_alloc(sizeof(*it));

	it->peer = peer;
	it->conn = conn;
	buf_init(&it->body, 16 << 20);
	peer->connections++;
	if (++peer->open > peer->open_max)
		peer->open_max = peer->open;
	conn_start(conn, peer->loop, &(struct conn_settings){ .input_bytes_max = 1 << 20 },
	    &peer_conn_ops, it);
	(void)peer_say(it, AT_GREETING, "220 peer.example");
}

static const struct listener_ops peer_listener_ops = { .accepted = peer_accepted };

void
peer_open(struct peer *peer, struct loop *loop, uint16_t port)
{
	struct endpoint address;
	struct err err;

	*peer = (struct peer){ .loop = loop, .at = AT_NOWHERE };
	buf_init(&peer->last_body, 16 << 20);
	assert_int_equal(endpoint_parse(SPAN("127.0.0.1:0"), 1, &address, &err), 0);
	address.port = port;
	peer->listener = listener_open(loop, &(struct listener_settings){
		.addresses = &address,
		.address_count = 1,
	}, &peer_listener_ops, peer, &err);
	if (!peer->listener)
		fail_msg("%s", err.text);
	peer->port = listener_address(peer->listener, 0).port;
}

void
peer_close(struct peer *peer)
{
	listener_abort(&peer->listener);
	buf_fini(&peer->last_body);
}
