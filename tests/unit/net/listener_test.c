/* Sockets that accept: addresses, what is in the way, descriptors that run out, the end. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/clock.h"
#include "tests/unit/net/net_fixture.h"

enum { CLIENTS = 6 };

struct rig {
	struct loop *loop;
	struct listener *listener;
	size_t accepted, troubled;
	bool closes_in_callback;
	char trouble[ERR_TEXT_BYTES];
};

static void
accepted(void *ctx, struct conn *conn)
{
	struct rig *rig = ctx;

	rig->accepted++;
	conn_free(&conn);
	if (rig->closes_in_callback)
		listener_abort(&rig->listener);
}

static void
troubled(void *ctx, const struct err *err)
{
	struct rig *rig = ctx;

	rig->troubled++;
	(void)snprintf(rig->trouble, sizeof(rig->trouble), "%s", err->text);
}

static const struct listener_ops ops = { .accepted = accepted, .troubled = troubled };

static int
setup(void **state)
{
	struct rig *rig = calloc(1, sizeof(*rig));
	struct err err;

	assert_non_null(rig);
	rig->loop = loop_new(clock_system(), &err);
	assert_non_null(rig->loop);
	*state = rig;
	return 0;
}

static int
teardown(void **state)
{
	struct rig *rig = *state;

	listener_abort(&rig->listener);
	loop_free(&rig->loop);
	free(rig);
	return 0;
}

static struct endpoint
of(const char *text)
{
	struct endpoint endpoint;
	struct err err;

	if (endpoint_parse(span_from_cstr(text), 0, &endpoint, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	return endpoint;
}

static struct listener *
open_at(struct rig *rig, const struct endpoint *addresses, size_t count, bool reuse_port,
    struct err *err)
{
	return listener_open(rig->loop, &(struct listener_settings){
		.addresses = addresses, .address_count = count, .reuse_port = reuse_port,
	}, &ops, rig, err);
}

static void
open_one(struct rig *rig)
{
	struct endpoint address = of("127.0.0.1:0");
	struct err err;

	rig->listener = open_at(rig, &address, 1, false, &err);
	assert_non_null(rig->listener);
}

static void
test_both_families_on_one_port(void **state)
{
	struct rig *rig = *state;
	struct endpoint addresses[2] = { of("[::1]:0"), of("127.0.0.1:0") };
	struct err err;
	struct listener *first = open_at(rig, addresses, 1, false, &err);
	int fd;

	if (!first) {
		print_message("no IPv6 on this machine: %s\n", err.text);
		skip();
	}
	/* IPv6 sockets are of IPv6 alone: the same port of IPv4 is free. */
	addresses[0] = of("[::]:0");
	addresses[0].port = addresses[1].port = listener_address(first, 0).port;
	listener_abort(&first);
	rig->listener = open_at(rig, addresses, 2, false, &err);
	if (!rig->listener)
		fail_msg("%s", err.text);
	assert_int_equal(listener_address_count(rig->listener), 2);
	addresses[1] = listener_address(rig->listener, 1);
	fd = test_raw_connect(&addresses[1]);
	assert_true(RUN_UNTIL(rig->loop, rig->accepted == 1));
	(void)close(fd);
}

static void
test_port_in_use(void **state)
{
	struct rig *rig = *state;
	struct endpoint address;
	char wanted[ENDPOINT_TEXT_BYTES_MAX], text[ENDPOINT_TEXT_BYTES_MAX];
	struct err err;

	open_one(rig);
	address = listener_address(rig->listener, 0);
	assert_null(open_at(rig, &address, 1, false, &err));
	(void)snprintf(wanted, sizeof(wanted), "cannot listen on %s: ",
	    endpoint_print(&address, text));
	assert_int_equal(strncmp(err.text, wanted, strlen(wanted)), 0);
	assert_non_null(strstr(err.text, "in use"));
	/* Nor does one that shares get in where the first does not share. */
	assert_null(open_at(rig, &address, 1, true, &err));
}

static void
test_workers_share_a_port(void **state)
{
	struct rig *rig = *state;
	struct endpoint address = of("127.0.0.1:0");
	struct listener *second;
	struct err err;

	rig->listener = open_at(rig, &address, 1, true, &err);
	assert_non_null(rig->listener);
	address = listener_address(rig->listener, 0);
	second = open_at(rig, &address, 1, true, &err);
	assert_non_null(second);
	listener_abort(&second);
}

/* All addresses or none: the first is given back when the second cannot be had. */
static void
test_all_or_none(void **state)
{
	struct rig *rig = *state;
	struct endpoint addresses[2] = { of("127.0.0.1:0"), of("192.0.2.1:2525") };
	struct listener *probe;
	struct err err;

	probe = open_at(rig, addresses, 1, false, &err);
	assert_non_null(probe);
	addresses[0] = listener_address(probe, 0);
	listener_abort(&probe);
	assert_null(open_at(rig, addresses, 2, false, &err));
	assert_non_null(strstr(err.text, "192.0.2.1:2525"));
	rig->listener = open_at(rig, addresses, 1, false, &err);
	assert_non_null(rig->listener);
}

static void
test_pause(void **state)
{
	struct rig *rig = *state;
	struct endpoint address;
	int fd;

	open_one(rig);
	address = listener_address(rig->listener, 0);
	listener_pause(rig->listener);
	fd = test_raw_connect(&address);
	for (int i = 0; i < 10; i++)
		loop_turn(rig->loop, 1);
	assert_int_equal(rig->accepted, 0);
	listener_resume(rig->listener);
	assert_true(RUN_UNTIL(rig->loop, rig->accepted == 1));
	(void)close(fd);
}

static void
test_close_takes_who_waits(void **state)
{
	struct rig *rig = *state;
	struct endpoint address;
	int fds[CLIENTS];

	open_one(rig);
	address = listener_address(rig->listener, 0);
	for (int i = 0; i < CLIENTS; i++)
		fds[i] = test_raw_connect(&address);
	listener_close(&rig->listener);
	assert_int_equal(rig->accepted, CLIENTS);
	for (int i = 0; i < CLIENTS; i++)
		(void)close(fds[i]);
}

static void
test_closed_in_its_callback(void **state)
{
	struct rig *rig = *state;
	struct endpoint address;
	int fds[2];

	open_one(rig);
	rig->closes_in_callback = true;
	address = listener_address(rig->listener, 0);
	fds[0] = test_raw_connect(&address);
	fds[1] = test_raw_connect(&address);
	assert_true(RUN_UNTIL(rig->loop, !rig->listener));
	loop_turn(rig->loop, 1);
	assert_int_equal(rig->accepted, 1);
	(void)close(fds[0]);
	(void)close(fds[1]);
}

/* Without descriptors a client is turned away at once, and the processor does not spin. */
static void
test_descriptors_run_out(void **state)
{
	struct rig *rig = *state;
	struct endpoint address;
	struct rlimit before, few;
	int fds[2], top;
	char octet;

	open_one(rig);
	address = listener_address(rig->listener, 0);
	fds[0] = test_raw_connect(&address);
	fds[1] = test_raw_connect(&address);
	top = open("/dev/null", O_RDONLY | O_CLOEXEC);
	(void)close(top);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	few = before;
	few.rlim_cur = (rlim_t)top;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	for (int i = 0; i < 20; i++)
		loop_turn(rig->loop, 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	assert_int_equal(rig->accepted, 0);
	/* Once, and then it rested though another client waits. */
	assert_int_equal(rig->troubled, 1);
	assert_non_null(strstr(rig->trouble, "turned away"));
	assert_int_equal(recv(fds[0], &octet, 1, MSG_DONTWAIT), 0);
	assert_int_equal(recv(fds[1], &octet, 1, MSG_DONTWAIT), -1);
	/* There are descriptors again: who waited is taken. */
	assert_true(RUN_UNTIL(rig->loop, rig->accepted == 1));
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static int
unix_connect(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void
test_unix_socket(void **state)
{
	struct rig *rig = *state;
	char directory[] = "/tmp/listener_test_XXXXXX", path[64], text[80];
	struct endpoint address;
	struct stat status;
	struct err err;
	FILE *file;
	int fd;

	assert_non_null(mkdtemp(directory));
	(void)snprintf(path, sizeof(path), "%s/sock", directory);
	(void)snprintf(text, sizeof(text), "unix:%s", path);
	address = of(text);
	/* A file that is no socket is left alone. */
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fclose(file), 0);
	assert_null(open_at(rig, &address, 1, false, &err));
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(unlink(path), 0);
	rig->listener = open_at(rig, &address, 1, false, &err);
	assert_non_null(rig->listener);
	fd = unix_connect(path);
	assert_true(RUN_UNTIL(rig->loop, rig->accepted == 1));
	(void)close(fd);
	/* One that somebody listens on is not taken away from him. */
	assert_null(open_at(rig, &address, 1, false, &err));
	fd = unix_connect(path);
	assert_true(RUN_UNTIL(rig->loop, rig->accepted >= 2));
	(void)close(fd);
	listener_abort(&rig->listener);
	assert_int_equal(stat(path, &status), -1);
	/* What a dead one left behind is replaced. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un dead = { .sun_family = AF_UNIX };

	(void)snprintf(dead.sun_path, sizeof(dead.sun_path), "%s", path);
	assert_int_equal(bind(fd, (const struct sockaddr *)&dead, sizeof(dead)), 0);
	(void)close(fd);
	rig->listener = open_at(rig, &address, 1, false, &err);
	if (!rig->listener)
		fail_msg("%s", err.text);
	listener_abort(&rig->listener);
	assert_int_equal(rmdir(directory), 0);
}

static void
test_inherited(void **state)
{
	struct rig *rig = *state;
	struct endpoint address;
	struct err err;
	int fd, client;

	/* A socket that another listener made stands for one of the service manager's. */
	open_one(rig);
	address = listener_address(rig->listener, 0);
	listener_abort(&rig->listener);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(listen(fd, 8), 0);
	rig->listener = listener_open(rig->loop, &(struct listener_settings){
		.inherited_fds = &fd, .inherited_fd_count = 1,
	}, &ops, rig, &err);
	assert_non_null(rig->listener);
	address = listener_address(rig->listener, 0);
	memcpy(address.ip, (uint8_t[]){ 127, 0, 0, 1 }, 4);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	client = test_raw_connect(&address);
	assert_true(RUN_UNTIL(rig->loop, rig->accepted == 1));
	(void)close(client);
}

#define WITH_RIG(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_RIG(test_both_families_on_one_port),
		WITH_RIG(test_port_in_use),
		WITH_RIG(test_workers_share_a_port),
		WITH_RIG(test_all_or_none),
		WITH_RIG(test_pause),
		WITH_RIG(test_close_takes_who_waits),
		WITH_RIG(test_closed_in_its_callback),
		WITH_RIG(test_descriptors_run_out),
		WITH_RIG(test_unix_socket),
		WITH_RIG(test_inherited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
