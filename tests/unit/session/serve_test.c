/*
 * A session of a client: how it ends, back-pressure, TLS.  serve_time_test has its deadlines.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "tests/unit/session/serve_rig.h"

/* ---- conversations and their ends */

static const struct {
	const char *name, *said;
	bool half_close;
	const char *heard;              /* at last */
	enum serve_end end;
} end_cases[] = {
	{ "QUIT", "QUIT\r\n", false, "221 ", SERVE_END_QUIT },
	{ "QUIT and a half-close", "QUIT\r\n", true, "221 ", SERVE_END_QUIT },
	{ "a letter and QUIT at once", "MAIL FROM:<>\r\nRCPT TO:<b@c>\r\n"
	    "BDAT 3 LAST\r\nabcQUIT\r\n", true, "221 ", SERVE_END_QUIT },
	{ "a half-close without a word", "", true, "250 DSN", SERVE_END_LOST },
	{ "a half-close without QUIT", "NOOP\r\n", true, "250 ", SERVE_END_LOST },
	{ "a half-close within a line", "NOOP\r\nNOO", true, "250 ", SERVE_END_LOST },
	{ "a half-close within a body", "MAIL FROM:<>\r\nRCPT TO:<b@c>\r\n"
	    "DATA\r\n", true, "354 ", SERVE_END_LOST },
};

static void
test_ends(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(end_cases) / sizeof(end_cases[0]); i++) {
		struct rig rig;

		print_message("%s\n", end_cases[i].name);
		rig_open(&rig);
		rig_call(&rig);
		greet(&rig);
		say(&rig, end_cases[i].said);
		if (end_cases[i].half_close)
			assert_int_equal(shutdown(rig.fd, SHUT_WR), 0);
		HEAR(&rig, end_cases[i].heard);
		wait_ended(&rig, end_cases[i].end);
		rig_close(&rig);
	}
}

static void
test_client_vanishes(void **state)
{
	struct rig rig;
	const struct linger hard = { 1, 0 };

	(void)state;
	rig_open(&rig);
	rig_call(&rig);
	greet(&rig);
	say(&rig, "MAIL FROM:<>\r\n");
	HEAR(&rig, "250 2.1.0");
	assert_int_equal(setsockopt(rig.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
	hang_up(&rig);
	assert_true(RUN_UNTIL(rig.loop, rig.ended));
	assert_int_equal(rig.end, SERVE_END_LOST);
	assert_int_equal(rig.resets, 1);
	rig_close(&rig);
}

/* A client that has closed its half is still told the answer to what it asked. */
static void
test_answers_behind_a_half_close(void **state)
{
	const struct reply answer = { 250, "2.1.0", "late" };
	struct rig rig;

	(void)state;
	rig_open(&rig);
	rig.parks = true;
	rig_call(&rig);
	greet(&rig);
	say(&rig, "MAIL FROM:<>\r\nRCPT TO:<b@c>\r\n");
	assert_int_equal(shutdown(rig.fd, SHUT_WR), 0);
	assert_true(RUN_UNTIL(rig.loop, rig.parked));
	for (int i = 0; i < 20; i++)
		loop_turn(rig.loop, 1);
	assert_int_equal(rig.ended, 0);
	serve_answer(rig.serve, &answer);
	HEAR(&rig, "250 2.1.0 late");
	HEAR(&rig, "250 2.1.5 ok");
	wait_ended(&rig, SERVE_END_LOST);
	assert_int_equal(rig.resets, 1);
	rig_close(&rig);
}

/* ---- who does not read is not read */

enum { FLOOD_BYTES = 48 << 20 };

/* Sends commands for as long as anybody takes them.  Returns how many octets left. */
static size_t
flood(struct rig *rig, const char *line, size_t *held_max_out)
{
	char block[6000];
	size_t len = strlen(line), sent_total = 0;
	unsigned idle = 0;

	for (size_t i = 0; i + len <= sizeof(block); i += len)
		memcpy(block + i, line, len);
	*held_max_out = 0;
	while (idle < 500 && sent_total < FLOOD_BYTES) {
		size_t at = sent_total % (sizeof(block) / len * len);
		ssize_t sent = send(rig->fd, block + at, sizeof(block) / len * len - at,
		    MSG_NOSIGNAL | MSG_DONTWAIT);

		idle = sent > 0 ? 0 : idle + 1;
		sent_total += sent > 0 ? (size_t)sent : 0;
		loop_turn(rig->loop, 1);
		assert_non_null(rig->conn);
		size_t held = conn_output_bytes(rig->conn) + conn_input_bytes(rig->conn);

		if (held > *held_max_out)
			*held_max_out = held;
	}
	return sent_total;
}

/* Lines heard since the last call, which forgets them: there are very many. */
static size_t
take_lines(struct rig *rig)
{
	struct span text;
	size_t count = 0;

	listen_once(rig);
	text = buf_span(&rig->heard);
	for (size_t i = 0; i < text.len; i++)
		count += text.data[i] == '\n';
	buf_clear(&rig->heard);
	return count;
}

static void
test_who_does_not_read_is_not_read(void **state)
{
	struct rig rig;
	size_t sent, held_max, lines = 0;

	(void)state;
	rig_open(&rig);
	rig_call(&rig);
	HEAR(&rig, "220 ");
	buf_clear(&rig.heard);
	sent = flood(&rig, "RSET\r\n", &held_max);
	/* What the kernel holds, and no more: not the flood. */
	assert_true(sent < FLOOD_BYTES / 2);
	assert_true(held_max <= (64 << 10) + SMTP_SERVER_OUTPUT_BYTES_MAX +
	    SMTP_SERVER_INPUT_BYTES_MIN);
	assert_true(conn_input_is_paused(rig.conn));
	/* When it reads at last, every command has its reply. */
	assert_true(RUN_UNTIL(rig.loop, (lines += take_lines(&rig)) >= sent / 6));
	assert_int_equal(lines, sent / 6);
	rig_close(&rig);
}

static void
test_not_read_while_a_question_is_open(void **state)
{
	const struct reply answer = { 250, "2.1.0", "late" };
	struct rig rig;
	size_t sent, held_max, lines = 0;

	(void)state;
	rig_open(&rig);
	rig.parks = true;
	rig_call(&rig);
	greet(&rig);
	say(&rig, "MAIL FROM:<>\r\n");
	assert_true(RUN_UNTIL(rig.loop, rig.parked));
	buf_clear(&rig.heard);
	sent = flood(&rig, "RSET\r\n", &held_max);
	assert_true(sent < FLOOD_BYTES / 2);
	assert_true(held_max <= SMTP_SERVER_INPUT_BYTES_MIN);
	serve_answer(rig.serve, &answer);
	assert_true(RUN_UNTIL(rig.loop, (lines += take_lines(&rig)) >= sent / 6 + 1));
	rig_close(&rig);
}

static void
test_not_read_without_room_for_the_body(void **state)
{
	struct rig rig;
	size_t sent, held_max;

	(void)state;
	rig_open(&rig);
	rig.no_room = true;
	rig_call(&rig);
	greet(&rig);
	say(&rig, "MAIL FROM:<>\r\nRCPT TO:<b@c>\r\nDATA\r\n");
	HEAR(&rig, "354 ");
	sent = flood(&rig, "all work and no play\r\n", &held_max);
	assert_true(sent < FLOOD_BYTES / 2);
	assert_true(held_max <= SMTP_SERVER_INPUT_BYTES_MIN);
	rig.no_room = false;
	serve_resume(rig.serve);
	assert_true(RUN_UNTIL(rig.loop, rig.body_octets >= sent / 22 * 22));
	/* The flood may have ended within a line; then a dot that stands alone. */
	say(&rig, sent % 22 == 0 ? ".\r\n" : "\r\n.\r\n");
	if (sent % 22 != 21) {
		HEAR(&rig, "250 2.0.0 ok");
		say(&rig, "QUIT\r\n");
		wait_ended(&rig, SERVE_END_QUIT);
	}
	rig_close(&rig);
}

/* ---- ended by us */

static void
test_drain(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig);
	rig_call(&rig);
	HEAR(&rig, "220 ");
	serve_drain(rig.serve);
	HEAR(&rig, "421 4.3.2 ");
	wait_ended(&rig, SERVE_END_QUIT);
	rig_close(&rig);

	/* What is under way is finished first. */
	rig_open(&rig);
	rig_call(&rig);
	greet(&rig);
	say(&rig, "MAIL FROM:<>\r\nRCPT TO:<b@c>\r\nDATA\r\n");
	HEAR(&rig, "354 ");
	serve_drain(rig.serve);
	for (int i = 0; i < 10; i++)
		loop_turn(rig.loop, 1);
	assert_int_equal(rig.ended, 0);
	say(&rig, "hello\r\n.\r\n");
	HEAR(&rig, "250 2.0.0 ok");
	HEAR(&rig, "421 4.3.2 ");
	wait_ended(&rig, SERVE_END_QUIT);
	rig_close(&rig);
}

static void
test_cut(void **state)
{
	struct rig rig;

	(void)state;
	rig_open(&rig);
	rig_call(&rig);
	greet(&rig);
	say(&rig, "MAIL FROM:<>\r\n");
	HEAR(&rig, "250 2.1.0");
	serve_cut(rig.serve);
	assert_int_equal(rig.ended, 0);         /* never from inside the call */
	wait_ended(&rig, SERVE_END_CUT);
	assert_int_equal(rig.resets, 1);
	rig_close(&rig);

	rig_open(&rig);
	rig_call(&rig);
	serve_end_now(rig.serve);
	assert_int_equal(rig.ended, 1);
	assert_int_equal(rig.end, SERVE_END_CUT);
	rig_close(&rig);
}

static void
test_refuses_a_body_half_way(void **state)
{
	const struct reply full = { 452, "4.3.1", "no space" };
	struct rig rig;

	(void)state;
	rig_open(&rig);
	rig_call(&rig);
	greet(&rig);
	say(&rig, "MAIL FROM:<>\r\nRCPT TO:<b@c>\r\nDATA\r\n");
	HEAR(&rig, "354 ");
	say(&rig, "half of it\r\n");
	assert_true(RUN_UNTIL(rig.loop, rig.body_octets == 12));
	serve_refuse_body(rig.serve, &full);
	assert_int_equal(rig.resets, 1);
	say(&rig, "the other half\r\n.\r\nRSET\r\nQUIT\r\n");
	HEAR(&rig, "452 4.3.1 no space");
	HEAR(&rig, "221 ");
	assert_int_equal(rig.body_octets, 12);
	wait_ended(&rig, SERVE_END_QUIT);
	rig_close(&rig);
}

/* ---- TLS */

static struct test_certificates files;

static void
rig_open_tls(struct rig *rig, bool implicit)
{
	const struct tls_identity identity = { files.good, files.good_key };
	struct err err;

	rig_open(rig);
	rig->settings.tls = tls_server_context_new(&(struct tls_server_settings){
		.identities = &identity, .identity_count = 1, .handshake_timeout_ms = 300,
	}, &err);
	assert_non_null(rig->settings.tls);
	rig->settings.tls_implicit = implicit;
	rig->settings.engine.offered |= SMTP_STARTTLS;
}

static const struct {
	const char *name;
	bool implicit;
	const char *said[3];            /* one after the other was answered */
	const char *heard[3];
	enum serve_end end;
	const char *never;
} tls_cases[] = {
	{ "nonsense instead of a handshake", true, { "EHLO a\r\nNOOP\r\n" }, { "" },
	    SERVE_END_TLS, "220" },
	{ "silence instead of a handshake", true, { "" }, { "" }, SERVE_END_TIMEOUT, "220" },
	{ "nonsense behind STARTTLS", false, { "EHLO a\r\n", "STARTTLS\r\n", "EHLO a\r\n" },
	    { "250 ", "220 2.0.0", "" }, SERVE_END_TLS, "250 2.0.0" },
	{ "a command in the packet of STARTTLS", false,
	    { "EHLO a\r\n", "STARTTLS\r\nMAIL FROM:<>\r\n" }, { "250 ", "" }, SERVE_END_CUT,
	    "250 2.1.0" },
	{ "half of a command in the packet of STARTTLS", false,
	    { "EHLO a\r\n", "STARTTLS\r\nM" }, { "250 ", "" }, SERVE_END_CUT, "250 2.1.0" },
	{ "silence behind STARTTLS", false, { "EHLO a\r\n", "STARTTLS\r\n" },
	    { "250 ", "220 2.0.0" }, SERVE_END_TIMEOUT, "421" },
};

static void
test_tls_that_fails(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(tls_cases) / sizeof(tls_cases[0]); i++) {
		struct rig rig;
		size_t at;

		print_message("%s\n", tls_cases[i].name);
		rig_open_tls(&rig, tls_cases[i].implicit);
		rig_call(&rig);
		if (!tls_cases[i].implicit)
			HEAR(&rig, "220 relay.example");
		for (size_t j = 0; j < 3 && tls_cases[i].said[j]; j++) {
			say(&rig, tls_cases[i].said[j]);
			HEAR(&rig, tls_cases[i].heard[j]);
		}
		wait_ended(&rig, tls_cases[i].end);
		assert_false(span_find(buf_span(&rig.heard), span_from_cstr(tls_cases[i].never),
		    &at));
		rig_close(&rig);
	}
}

static bool
end_has(struct test_end *end, const char *text)
{
	size_t at;

	return span_find(buf_span(&end->input), span_from_cstr(text), &at);
}

struct tls_client {
	struct test_end end;
	struct tls_context *context;
};

static void
tls_client_start(struct rig *rig, struct tls_client *client)
{
	struct endpoint local = { .family = ENDPOINT_NONE };
	struct err err;

	*client = (struct tls_client){ 0 };
	client->context = tls_client_context_new(&(struct tls_client_settings){
		.ca_file = files.ca }, &err);
	assert_non_null(client->context);
	rig->fd = -1;
	test_end_start(&client->end, rig->loop,
	    test_conn_of(test_raw_connect(&rig->address), &rig->address, &local),
	    &(struct conn_settings){ 0 });
}

static void
tls_client_secure(struct tls_client *client)
{
	conn_start_tls_client(client->end.conn, client->context, &(struct tls_peer){
		.verify = TLS_VERIFY_NAME, .name = "localhost.test" });
}

static void
tls_client_stop(struct tls_client *client)
{
	conn_free(&client->end.conn);
	tls_context_unref(&client->context);
	buf_fini(&client->end.input);
}

static void
test_tls(void **state)
{
	(void)state;
	for (int implicit = 0; implicit < 2; implicit++) {
		struct rig rig;
		struct tls_client client;

		rig_open_tls(&rig, implicit);
		tls_client_start(&rig, &client);
		if (!implicit) {
			assert_true(RUN_UNTIL(rig.loop, end_has(&client.end, "220 relay")));
			assert_null(serve_tls(rig.serve));
			conn_write(client.end.conn, SPAN("EHLO a\r\n"));
			assert_true(RUN_UNTIL(rig.loop, end_has(&client.end, "STARTTLS")));
			conn_write(client.end.conn, SPAN("STARTTLS\r\n"));
			assert_true(RUN_UNTIL(rig.loop, end_has(&client.end, "220 2.0.0")));
		}
		buf_clear(&client.end.input);
		tls_client_secure(&client);
		assert_true(RUN_UNTIL(rig.loop, client.end.secured_count));
		if (implicit)
			assert_true(RUN_UNTIL(rig.loop, end_has(&client.end, "220 relay")));
		assert_true(RUN_UNTIL(rig.loop, rig.secured == 1));
		assert_non_null(serve_tls(rig.serve));
		conn_write(client.end.conn, SPAN("EHLO a\r\n"));
		assert_true(RUN_UNTIL(rig.loop, end_has(&client.end, "250 ")));
		assert_false(end_has(&client.end, "STARTTLS"));
		conn_write(client.end.conn, SPAN("QUIT\r\n"));
		assert_true(RUN_UNTIL(rig.loop, end_has(&client.end, "221 ")));
		conn_close_after_output(client.end.conn, 100);
		assert_true(RUN_UNTIL(rig.loop, rig.ended));
		assert_int_equal(rig.end, SERVE_END_QUIT);
		tls_client_stop(&client);
		rig_close(&rig);
	}
}

/* In the handshake nothing can be said. */
static void
test_drain_in_the_handshake(void **state)
{
	struct rig rig;

	(void)state;
	rig_open_tls(&rig, true);
	rig_call(&rig);
	serve_drain(rig.serve);
	wait_ended(&rig, SERVE_END_CUT);
	rig_close(&rig);
}

static int
group_setup(void **state)
{
	(void)state;
	test_certificates_make(&files);
	return 0;
}

static int
group_teardown(void **state)
{
	(void)state;
	test_certificates_remove(&files);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_client_vanishes),
		cmocka_unit_test(test_answers_behind_a_half_close),
		cmocka_unit_test(test_who_does_not_read_is_not_read),
		cmocka_unit_test(test_not_read_while_a_question_is_open),
		cmocka_unit_test(test_not_read_without_room_for_the_body),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_refuses_a_body_half_way),
		cmocka_unit_test(test_tls_that_fails),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_drain_in_the_handshake),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
