#include "tests/unit/net/net_fixture.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/clock.h"
#include "relay/net/conn_private.h"
#include "relay/net/dial.h"

/* ---- one end */

static void
free_if_wanted(struct test_end *end)
{
	if (end->frees_itself)
		conn_free(&end->conn);
}

static size_t
end_input(void *ctx, struct span input)
{
	struct test_end *end = ctx;
	size_t take = input.len;

	end->input_count++;
	if (end->consume_max && take > end->consume_max)
		take = end->consume_max;
	assert_int_equal(buf_append(&end->input, span_first(input, take)), 0);
	if (end->pauses)
		conn_pause_input(end->conn);
	if (end->closes)
		conn_close_after_output(end->conn, 100);
	if (end->starts_tls && span_ends_with(buf_span(&end->input), SPAN("STARTTLS\r\n"))) {
		end->starts_tls = false;
		conn_write(end->conn, SPAN("220 go\r\n"));
		conn_start_tls_server(end->conn, end->tls);
	}
	free_if_wanted(end);
	return take;
}

static char *
end_space(void *ctx, size_t *len_out)
{
	struct test_end *end = ctx;

	*len_out = end->space_size;
	return end->space;
}

static void
end_filled(void *ctx, size_t len)
{
	struct test_end *end = ctx;

	end->filled_count++;
	assert_int_equal(buf_append(&end->input, span_make(end->space, len)), 0);
}

static void
end_input_ended(void *ctx)
{
	struct test_end *end = ctx;

	end->input_ended_count++;
	end->input_at_end = buf_len(&end->input);
	free_if_wanted(end);
}

static void
end_drained(void *ctx)
{
	struct test_end *end = ctx;

	end->drained_count++;
	free_if_wanted(end);
}

static void
end_secured(void *ctx)
{
	struct test_end *end = ctx;

	end->secured_count++;
	free_if_wanted(end);
}

static void
end_expired(void *ctx)
{
	struct test_end *end = ctx;

	end->expired_count++;
	free_if_wanted(end);
}

static void
end_closed(void *ctx, enum conn_end how, const struct err *err)
{
	struct test_end *end = ctx;

	end->closed_count++;
	end->how = how;
	end->err = *err;
	free_if_wanted(end);
}

static const struct conn_ops end_ops = {
	.input = end_input,
	.space = end_space,
	.filled = end_filled,
	.drained = end_drained,
	.secured = end_secured,
	.expired = end_expired,
	.closed = end_closed,
};

static const struct conn_ops open_end_ops = {
	.input = end_input,
	.input_ended = end_input_ended,
	.drained = end_drained,
	.secured = end_secured,
	.expired = end_expired,
	.closed = end_closed,
};

void
test_end_start(struct test_end *end, struct loop *loop, struct conn *conn,
    const struct conn_settings *settings)
{
	end->conn = conn;
	buf_init(&end->input, 64 << 20);
	conn_start(conn, loop, settings, end->keeps_open ? &open_end_ops : &end_ops, end);
}

/* ---- a pair */

static void
pair_accepted(void *ctx, struct conn *conn)
{
	struct test_pair *pair = ctx;

	assert_null(pair->server.conn);
	test_end_start(&pair->server, pair->loop, conn, &pair->settings);
}

static const struct listener_ops pair_listener_ops = { .accepted = pair_accepted };

void
test_pair_init(struct test_pair *pair)
{
	struct endpoint address;
	struct err err;

	*pair = (struct test_pair){ 0 };
	pair->loop = loop_new(clock_system(), &err);
	assert_non_null(pair->loop);
	assert_int_equal(endpoint_parse(SPAN("127.0.0.1:0"), 1, &address, &err), 0);
	pair->listener = listener_open(pair->loop, &(struct listener_settings){
		.addresses = &address,
		.address_count = 1,
	}, &pair_listener_ops, pair, &err);
	assert_non_null(pair->listener);
	pair->address = listener_address(pair->listener, 0);
	assert_int_not_equal(pair->address.port, 0);
}

static void
pair_dialled(void *ctx, const struct dial_result *result)
{
	struct test_pair *pair = ctx;

	assert_non_null(result->conn);
	test_end_start(&pair->client, pair->loop, result->conn, &pair->settings);
}

void
test_pair_connect(struct test_pair *pair)
{
	(void)dial_start(pair->loop, &(struct dial_settings){
		.addresses = &pair->address,
		.address_count = 1,
	}, pair_dialled, pair);
	assert_true(RUN_UNTIL(pair->loop, pair->server.conn && pair->client.conn));
}

void
test_pair_fini(struct test_pair *pair)
{
	conn_free(&pair->server.conn);
	conn_free(&pair->client.conn);
	listener_abort(&pair->listener);
	loop_free(&pair->loop);
	buf_fini(&pair->server.input);
	buf_fini(&pair->client.input);
}

int
test_raw_connect(const struct endpoint *address)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(address->port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(address->family, ENDPOINT_IPV4);
	memcpy(&to.sin_addr, address->ip, sizeof(to.sin_addr));
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

struct conn *
test_conn_of(int fd, const struct endpoint *peer, const struct endpoint *local)
{
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return conn_new(fd, peer, local);
}
