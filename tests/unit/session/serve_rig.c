#include "tests/unit/session/serve_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/mem.h"

/* ---- the application */

static enum step
ok(struct reply *reply, uint16_t code, const char *status)
{
	reply_set(reply, code, status, "ok");
	return STEP_REPLY;
}

static enum step
app_open(void *ctx, struct reply *reply)
{
	struct rig *rig = ctx;

	return ok(reply, rig->refuses ? 554 : 220, "");
}

static enum step
app_hello(void *ctx, const struct smtp_hello *hello, struct reply *reply)
{
	(void)ctx;
	(void)hello;
	return ok(reply, 250, "");
}

static enum step
app_mail(void *ctx, const struct smtp_mail *mail, struct reply *reply)
{
	struct rig *rig = ctx;

	(void)mail;
	if (!rig->parks)
		return ok(reply, 250, "2.1.0");
	rig->parked = true;
	return STEP_PARK;
}

static enum step
app_rcpt(void *ctx, const struct smtp_rcpt *rcpt, struct reply *reply)
{
	(void)ctx;
	(void)rcpt;
	return ok(reply, 250, "2.1.5");
}

static enum step
app_data(void *ctx, struct reply *reply)
{
	(void)ctx;
	return ok(reply, 354, "");
}

static size_t
app_body(void *ctx, struct span octets)
{
	struct rig *rig = ctx;

	if (rig->no_room)
		return 0;
	rig->body_octets += octets.len;
	return octets.len;
}

static enum step
app_end(void *ctx, const struct smtp_body_facts *facts, struct reply *reply)
{
	struct rig *rig = ctx;

	assert_int_equal(facts->octets, rig->body_octets);
	return ok(reply, 250, "2.0.0");
}

static void
app_reset(void *ctx, enum smtp_reset reason)
{
	(void)reason;
	((struct rig *)ctx)->resets++;
}

static void
app_closed(void *ctx)
{
	((struct rig *)ctx)->closed++;
}

static void
app_secured(void *ctx, const struct tls_info *info)
{
	assert_non_null(info);
	((struct rig *)ctx)->secured++;
}

static void
app_ended(void *ctx, enum serve_end end, const struct err *err)
{
	struct rig *rig = ctx;

	assert_int_equal(rig->closed, 1);
	rig->ended++;
	rig->end = end;
	(void)snprintf(rig->end_text, sizeof(rig->end_text), "%s", err ? err->text : "");
	rig->serve = NULL;
	rig->conn = NULL;
}

static const struct serve_ops app_ops = {
	.engine = {
		.open = app_open, .hello = app_hello, .mail = app_mail, .rcpt = app_rcpt,
		.data = app_data, .body = app_body, .end = app_end, .reset = app_reset,
		.closed = app_closed,
	},
	.secured = app_secured,
	.ended = app_ended,
};

/* ---- the rig */

static void
accepted(void *ctx, struct conn *conn)
{
	struct rig *rig = ctx;

	assert_null(rig->serve);
	rig->conn = conn;
	rig->serve = serve_start(rig->loop, conn, &rig->settings, &app_ops, rig);
}

static const struct listener_ops listener_ops = { .accepted = accepted };

void
rig_open(struct rig *rig)
{
	rig_open_with_clock(rig, clock_system());
}

void
rig_open_with_clock(struct rig *rig, const struct clock *clock)
{
	struct endpoint address;
	struct err err;

	*rig = (struct rig){ .fd = -1 };
	smtp_server_settings_init(&rig->settings.engine);
	rig->settings.engine.hostname = SPAN("relay.example");
	rig->settings.engine.useless_count_max = 0;
	rig->settings.engine.error_count_max = 0;
	rig->loop = loop_new(clock, &err);
	assert_non_null(rig->loop);
	assert_int_equal(endpoint_parse(SPAN("127.0.0.1:0"), 1, &address, &err), 0);
	rig->listener = listener_open(rig->loop, &(struct listener_settings){
		.addresses = &address, .address_count = 1,
	}, &listener_ops, rig, &err);
	assert_non_null(rig->listener);
	rig->address = listener_address(rig->listener, 0);
	buf_init(&rig->heard, 256 << 20);
}

void
rig_call(struct rig *rig)
{
	int room = 64 << 10;

	rig->fd = test_raw_connect(&rig->address);
	/* Else the kernel holds many megabytes of what is not read. */
	assert_int_equal(setsockopt(rig->fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)), 0);
	assert_int_equal(setsockopt(rig->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)), 0);
	assert_true(RUN_UNTIL(rig->loop, rig->serve));
}

void
rig_close(struct rig *rig)
{
	if (rig->serve)
		serve_end_now(rig->serve);
	assert_true(rig->ended <= 1);
	listener_abort(&rig->listener);
	loop_turn(rig->loop, 0);
	tls_context_unref(&rig->settings.tls);
	loop_free(&rig->loop);
	buf_fini(&rig->heard);
	if (rig->fd >= 0)
		(void)close(rig->fd);
}

/* ---- the client */

void
say(struct rig *rig, const char *text)
{
	struct span rest = span_from_cstr(text);

	while (rest.len > 0) {
		ssize_t sent = send(rig->fd, rest.data, rest.len, MSG_NOSIGNAL | MSG_DONTWAIT);

		assert_true(sent > 0);
		rest = span_skip(rest, (size_t)sent);
	}
}

void
listen_once(struct rig *rig)
{
	char piece[65536];
	ssize_t got;

	while ((got = recv(rig->fd, piece, sizeof(piece), MSG_DONTWAIT)) > 0)
		assert_int_equal(buf_append(&rig->heard, span_make(piece, (size_t)got)), 0);
	if (got == 0 || (got < 0 && errno != EAGAIN))
		rig->heard_end = true;
}

bool
has_heard(struct rig *rig, const char *text)
{
	size_t at;

	listen_once(rig);
	return span_find(buf_span(&rig->heard), span_from_cstr(text), &at);
}

void
hang_up(struct rig *rig)
{
	(void)close(rig->fd);
	rig->fd = -1;
}

void
wait_ended(struct rig *rig, enum serve_end end)
{
	assert_true(RUN_UNTIL(rig->loop, (listen_once(rig), rig->ended || rig->heard_end)));
	/* Ours too, or it would wait for us. */
	if (!rig->ended)
		hang_up(rig);
	assert_true(RUN_UNTIL(rig->loop, rig->ended));
	if (rig->end != end)
		fail_msg("ended by %s (%s), not %s", serve_end_name(rig->end), rig->end_text,
		    serve_end_name(end));
}

void
greet(struct rig *rig)
{
	HEAR(rig, "220 relay.example");
	say(rig, "EHLO a\r\n");
	HEAR(rig, "250 DSN");
}
