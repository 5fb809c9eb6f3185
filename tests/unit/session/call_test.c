/*
 * A call to a next hop that does one thing otherwise: why the call ended, and what is known of
 * each recipient.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/clock.h"
#include "relay/base/container_of.h"
#include "relay/session/call.h"
#include "tests/unit/net/net_fixture.h"
#include "tests/unit/outbound/peer.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { RCPTS = 2 };

/* The caller: it sends one letter when the call is ready, and then quits. */
struct rig {
	struct loop *loop;
	struct peer peer;
	struct call_settings settings;
	struct endpoint address;
	struct envelope *envelope;
	struct body_source body;
	bool sends, quits;
	size_t pulled, released;

	struct call *call;
	size_t ready, done, closed;
	struct call_outcome outcomes[RCPTS];
	struct call_result result;
};

static enum body_step
pull(struct body_source *source, struct span *piece_out)
{
	struct rig *rig = container_of(source, struct rig, body);
	static const char text[] = "Subject: x\r\n\r\n.hello\r\n";

	if (rig->pulled > 0)
		return BODY_END;
	rig->pulled++;
	*piece_out = span_from_cstr(text);
	return BODY_PIECE;
}

static void
release(struct body_source *source, struct span piece)
{
	(void)piece;
	container_of(source, struct rig, body)->released++;
}

static void
is_ready(void *ctx, struct call *call)
{
	static const size_t rcpts[RCPTS] = { 0, 1 };
	struct rig *rig = ctx;

	rig->ready++;
	assert_true(call_is_ready(call));
	if (rig->sends)
		call_send(call, &(struct call_message){ .envelope = rig->envelope, .rcpts = rcpts,
		    .rcpt_count = RCPTS, .body = &rig->body, .body_bytes = 22 });
	else if (rig->quits)
		call_quit(call);
}

static void
is_done(void *ctx, struct call *call, const struct call_outcome *outcomes, size_t count)
{
	struct rig *rig = ctx;

	assert_int_equal(rig->closed, 0);
	assert_int_equal(count, RCPTS);
	rig->done++;
	memcpy(rig->outcomes, outcomes, sizeof(rig->outcomes));
	if (rig->quits && call_is_ready(call))
		call_quit(call);
}

static void
is_closed(void *ctx, struct call *call, const struct call_result *result)
{
	struct rig *rig = ctx;

	(void)call;
	rig->closed++;
	rig->result = *result;
}

static const struct call_ops ops = {
	.ready = is_ready,
	.message_done = is_done,
	.closed = is_closed,
};

static void
rig_open(struct rig *rig)
{
	struct err err;

	*rig = (struct rig){ .body = { pull, release }, .sends = true, .quits = true };
	rig->loop = loop_new(clock_system(), &err);
	assert_non_null(rig->loop);
	peer_open(&rig->peer, rig->loop, 0);
	assert_int_equal(endpoint_parse(SPAN("127.0.0.1:0"), 1, &rig->address, &err), 0);
	rig->address.port = rig->peer.port;
	rig->envelope = envelope_new();
	rig->envelope->sender = SPAN("a@example.org");
	envelope_add_rcpt(rig->envelope, SPAN("b@example.net"));
	envelope_add_rcpt(rig->envelope, SPAN("c@example.net"));
	rig->settings = (struct call_settings){ .host = SPAN("peer.example"),
		.addresses = &rig->address, .address_count = 1, .hello = SPAN("us.example"),
		.tls = CALL_TLS_NONE };
}

static void
rig_close(struct rig *rig)
{
	call_free(&rig->call);
	assert_true(RUN_UNTIL(rig->loop, rig->peer.open == 0));
	peer_close(&rig->peer);
	loop_turn(rig->loop, 0);
	envelope_free(&rig->envelope);
	loop_free(&rig->loop);
}

static void
rig_run(struct rig *rig)
{
	rig->call = call_start(rig->loop, &rig->settings, &ops, rig);
	assert_true(RUN_UNTIL(rig->loop, rig->closed));
	assert_int_equal(rig->closed, 1);
	assert_true(rig->done <= 1 && rig->ready <= 1 && rig->done <= rig->ready);
	assert_int_equal(rig->result.was_ready, rig->ready);
	assert_int_equal(rig->pulled, rig->released);
}

#define DELIVERED CALL_FATE_DELIVERED
#define DEFERRED CALL_FATE_DEFERRED
#define FAILED CALL_FATE_FAILED
#define UNCERTAIN CALL_FATE_UNCERTAIN
#define UNTRIED CALL_FATE_UNTRIED

/* A peer that says something else at one stage, so many times. */
static const struct {
	const char *name;
	enum stage at;
	const char *reply;
	size_t times;
	bool lmtp;
	enum call_end end;
	uint16_t code;                  /* of the call's end; 0: any */
	bool sends;                     /* it came so far that the letter has outcomes */
	enum call_fate fates[RCPTS];
} cases[] = {
	{ "all goes well", AT_NOWHERE, "", 0, false, CALL_END_QUIT, 0, true,
	    { DELIVERED, DELIVERED } },
	{ "all goes well, LMTP", AT_NOWHERE, "", 0, true, CALL_END_QUIT, 0, true,
	    { DELIVERED, DELIVERED } },
	{ "turned away for now", AT_GREETING, "450 4.3.2 busy", 1, false, CALL_END_GREETING, 450,
	    false, { 0 } },
	{ "turned away for good", AT_GREETING, "554 5.7.1 not you", 1, false, CALL_END_GREETING,
	    554, false, { 0 } },
	{ "it is closing", AT_GREETING, "421 4.3.2 closing", 1, false, CALL_END_CLOSING, 421,
	    false, { 0 } },
	{ "another protocol", AT_GREETING, "SSH-2.0-x", 1, false, CALL_END_PROTOCOL, 0, false,
	    { 0 } },
	{ "no greeting", AT_GREETING, SILENCE, 1, false, CALL_END_TIMEOUT, 0, false, { 0 } },
	{ "cut at the greeting", AT_GREETING, CUT, 1, false, CALL_END_LOST, 0, false, { 0 } },
	{ "no EHLO today", AT_HELLO, "451 4.3.0 later", 1, false, CALL_END_GREETING, 451, false,
	    { 0 } },
	{ "cut at EHLO", AT_HELLO, CUT, 1, false, CALL_END_LOST, 0, false, { 0 } },
	{ "no answer to EHLO", AT_HELLO, SILENCE, 1, false, CALL_END_TIMEOUT, 0, false, { 0 } },
	{ "a bad sender", AT_MAIL, "550 5.1.7 sender", 1, false, CALL_END_QUIT, 0, true,
	    { FAILED, FAILED } },
	{ "a sender for later", AT_MAIL, "451 4.1.8 sender", 1, false, CALL_END_QUIT, 0, true,
	    { DEFERRED, DEFERRED } },
	{ "one recipient is bad", AT_RCPT, "550 5.1.1 who", 1, false, CALL_END_QUIT, 0, true,
	    { FAILED, DELIVERED } },
	{ "both are bad", AT_RCPT, "550 5.1.1 who", 2, false, CALL_END_QUIT, 0, true,
	    { FAILED, FAILED } },
	{ "one for later, LMTP", AT_RCPT, "452 4.2.2 full", 1, true, CALL_END_QUIT, 0, true,
	    { DEFERRED, DELIVERED } },
	{ "no DATA", AT_DATA, "451 4.3.0 later", 1, false, CALL_END_QUIT, 0, true,
	    { DEFERRED, DEFERRED } },
	{ "cut at RCPT", AT_RCPT, CUT, 1, false, CALL_END_LOST, 0, true, { UNTRIED, UNTRIED } },
	{ "leaves at MAIL", AT_MAIL, "421 4.3.2 going", 1, false, CALL_END_CLOSING, 421, true,
	    { DEFERRED, DEFERRED } },
	{ "no, after the dot", AT_END, "554 5.6.0 spam", 1, false, CALL_END_QUIT, 0, true,
	    { FAILED, FAILED } },
	{ "later, after the dot", AT_END, "451 4.3.0 later", 1, false, CALL_END_QUIT, 0, true,
	    { DEFERRED, DEFERRED } },
	{ "one box is full, LMTP", AT_END, "452 4.2.2 full", 1, true, CALL_END_QUIT, 0, true,
	    { DEFERRED, DELIVERED } },
	{ "cut after the dot", AT_END, CUT, 1, false, CALL_END_LOST, 0, true,
	    { UNCERTAIN, UNCERTAIN } },
	{ "cut after the dot, LMTP", AT_END, CUT, 1, true, CALL_END_LOST, 0, true,
	    { UNCERTAIN, UNCERTAIN } },
	{ "silent after the dot", AT_END, SILENCE, 1, false, CALL_END_TIMEOUT, 0, true,
	    { UNCERTAIN, UNCERTAIN } },
};

static bool
case_holds(size_t i)
{
	struct rig rig;
	bool good;

	rig_open(&rig);
	rig.peer.at = cases[i].at;
	rig.peer.reply = cases[i].reply;
	rig.peer.times = cases[i].times;
	rig.peer.lmtp = cases[i].lmtp;
	rig.settings.protocol = cases[i].lmtp ? CALL_LMTP : CALL_SMTP;
	if (strcmp(cases[i].reply, SILENCE) == 0)
		rig.settings.greeting_timeout_ms = rig.settings.hello_timeout_ms =
		    rig.settings.dot_timeout_ms = 100;
	rig_run(&rig);
	good = rig.result.end == cases[i].end &&
	    (cases[i].code == 0 || rig.result.reply.code == cases[i].code) &&
	    rig.done == cases[i].sends &&
	    (rig.result.end == CALL_END_QUIT) == (rig.result.err.kind == ERR_NONE);
	for (size_t n = 0; good && cases[i].sends && n < RCPTS; n++)
		good = rig.outcomes[n].rcpt == n && rig.outcomes[n].fate == cases[i].fates[n] &&
		    rig.outcomes[n].reply.code != 0;
	if (!good)
		print_error("%s: ended by %s with %u %s, %zu done: %s, %s\n", cases[i].name,
		    call_end_name(rig.result.end), (unsigned)rig.result.reply.code,
		    rig.result.err.text, rig.done, call_fate_name(rig.outcomes[0].fate),
		    call_fate_name(rig.outcomes[1].fate));
	rig_close(&rig);
	return good;
}

static void
test_peers(void **state)
{
	size_t failures = 0;

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		failures += !case_holds(i);
	assert_int_equal(failures, 0);
}

static void
test_nobody_is_there(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig);
	listener_abort(&rig.peer.listener);
	rig_run(&rig);
	assert_int_equal(rig.result.end, CALL_END_CONNECT);
	assert_int_equal(rig.ready, 0);
	rig_close(&rig);
}

/* The next address is tried inside the same call. */
static void
test_the_second_address(void **state)
{
	struct endpoint both[2];
	struct rig rig;
	struct err err;

	(void)state;
	rig_open(&rig);
	assert_int_equal(endpoint_parse(SPAN("127.9.2.1:1"), 1, &both[0], &err), 0);
	both[1] = rig.address;
	rig.settings.addresses = both;
	rig.settings.address_count = 2;
	rig_run(&rig);
	assert_int_equal(rig.result.end, CALL_END_QUIT);
	assert_int_equal(rig.outcomes[1].fate, CALL_FATE_DELIVERED);
	assert_int_equal(rig.result.address.port, rig.peer.port);
	rig_close(&rig);
}

/* Who wants TLS and is not offered it says nothing of the letter. */
static void
test_no_tls_where_it_must_be(void **state)
{
	struct rig rig;
	struct err err;

	(void)state;
	rig_open(&rig);
	rig.settings.tls = CALL_TLS_REQUIRE;
	rig.settings.tls_context = tls_client_context_new(&(struct tls_client_settings){ 0 }, &err);
	assert_non_null(rig.settings.tls_context);
	rig_run(&rig);
	assert_int_equal(rig.result.end, CALL_END_TLS);
	assert_int_equal(rig.ready + rig.done + rig.peer.rcpts, 0);
	tls_context_unref(&rig.settings.tls_context);
	rig_close(&rig);
}

static void
test_idle(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig);
	rig.sends = rig.quits = false;
	rig.settings.idle_timeout_ms = 50;
	rig_run(&rig);
	assert_int_equal(rig.result.end, CALL_END_IDLE);
	assert_int_equal(rig.ready, 1);
	rig_close(&rig);
}

/* Freed at any stage it says nothing more, and gives back what it had of the body. */
static void
test_freed(void **state)
{
	(void)state;
	for (size_t turns = 0; turns < 12; turns++) {
		struct rig rig;

		rig_open(&rig);
		rig.peer.at = AT_END;
		rig.peer.reply = SILENCE;
		rig.peer.times = 1;
		rig.call = call_start(rig.loop, &rig.settings, &ops, &rig);
		for (size_t i = 0; i < turns; i++)
			loop_turn(rig.loop, 5);
		assert_int_equal(rig.done + rig.closed, 0);
		call_free(&rig.call);
		assert_null(rig.call);
		assert_int_equal(rig.pulled, rig.released);
		assert_true(RUN_UNTIL(rig.loop, rig.peer.open == 0));
		assert_int_equal(rig.done + rig.closed, 0);
		rig_close(&rig);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_peers),
		cmocka_unit_test(test_nobody_is_there),
		cmocka_unit_test(test_the_second_address),
		cmocka_unit_test(test_no_tls_where_it_must_be),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_freed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
