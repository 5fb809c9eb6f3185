#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/mem.h"
#include "relay/net/tls.h"
#include "tests/unit/net/net_fixture.h"

static struct test_certificates files;

/* ---- contexts from files */

static struct tls_context *
server_context(const char *certificate, const char *key, enum tls_client_auth client_auth,
    struct tls_ticket_keys *keys, struct err *err)
{
	const struct tls_identity identities[] = {
		{ certificate, key }, { files.second, files.second_key },
	};

	return tls_server_context_new(&(struct tls_server_settings){
		.identities = identities,
		.identity_count = 2,
		.ca_file = client_auth == TLS_CLIENT_AUTH_NONE ? NULL : files.ca,
		.client_auth = client_auth,
		.ticket_keys = keys,
	}, err);
}

/* ---- handshakes */

static struct tls_context *
client_context(const char *ca, const char *certificate, const char *key)
{
	const struct tls_identity identity = { certificate, key };
	struct err err;
	struct tls_context *context = tls_client_context_new(&(struct tls_client_settings){
		.ca_file = ca,
		.identity = certificate ? &identity : NULL,
	}, &err);

	if (!context)
		fail_msg("%s", err.text);
	return context;
}

static void
shake_hands(struct test_pair *pair, struct tls_context *server, struct tls_context *client,
    const struct tls_peer *peer)
{
	test_pair_init(pair);
	test_pair_connect(pair);
	conn_start_tls_server(pair->server.conn, server);
	conn_start_tls_client(pair->client.conn, client, peer);
	/* Output written before the handshake is done waits for it. */
	conn_write(pair->server.conn, SPAN("220 hello\r\n"));
	assert_true(RUN_UNTIL(pair->loop, (pair->client.secured_count == 1 &&
	    buf_len(&pair->client.input) > 0) || pair->client.closed_count == 1));
}

struct peer_case {
	const char *name, *certificate, *key, *ca;
	enum tls_verify verify;
	const char *host, *words;       /* NULL: good */
	bool verified;
};

static void
check_peer_case(const struct peer_case *test)
{
	static uint8_t wrong[1][TLS_FINGERPRINT_BYTES];
	struct test_pair pair;
	struct err err;
	struct tls_context *server = server_context(test->certificate, test->key,
	    TLS_CLIENT_AUTH_NONE, NULL, &err);
	struct tls_context *client = client_context(test->ca, NULL, NULL);

	shake_hands(&pair, server, client, &(struct tls_peer){
		.verify = test->verify,
		.name = test->host,
		.fingerprints = (const uint8_t (*)[TLS_FINGERPRINT_BYTES])wrong,
		.fingerprint_count = 1,
	});
	tls_context_unref(&server);
	tls_context_unref(&client);
	bool good = pair.client.secured_count == 1;

	if (good != !test->words ||
	    (!good && (pair.client.how != CONN_END_TLS ||
	    pair.client.err.kind != ERR_TLS || !strstr(pair.client.err.text, test->words))))
		fail_msg("%s: %s", test->name, pair.client.err.text);
	if (good) {
		const struct tls_info *info = conn_tls(pair.client.conn);

		assert_non_null(info);
		if (info->peer_verified != test->verified)
			fail_msg("%s: verified %d", test->name, info->peer_verified);
		assert_true(info->peer_has_certificate);
		assert_string_equal(info->version, "TLSv1.3");
		assert_true(info->cipher_bits >= 128);
		assert_true(buf_len(&pair.client.input) == 11);
	}
	test_pair_fini(&pair);
}

static void
peers_are_who_they_should_be(void **state)
{
	const struct peer_case cases[] = {
		{ "name", files.good, files.good_key, files.ca, TLS_VERIFY_NAME,
		  "localhost.test", NULL, true },
		{ "second name, other case", files.good, files.good_key, files.ca, TLS_VERIFY_NAME,
		  "ALSO.test", NULL, true },
		{ "address", files.good, files.good_key, files.ca, TLS_VERIFY_NAME,
		  "127.0.0.1", NULL, true },
		{ "certificate by SNI", files.good, files.good_key, files.ca, TLS_VERIFY_NAME,
		  "second.test", NULL, true },
		{ "wrong name", files.good, files.good_key, files.ca, TLS_VERIFY_NAME,
		  "wrong.test", "ostname mismatch", false },
		{ "common name is no name", files.good, files.good_key, files.ca, TLS_VERIFY_NAME,
		  "common name", "ostname mismatch", false },
		{ "wrong address", files.good, files.good_key, files.ca, TLS_VERIFY_NAME,
		  "127.0.0.2", "IP address mismatch", false },
		{ "no name", files.good, files.good_key, files.ca, TLS_VERIFY_NAME,
		  NULL, "no name", false },
		{ "expired", files.expired, files.expired_key, files.ca, TLS_VERIFY_NAME,
		  "localhost.test", "expired", false },
		{ "not yet valid", files.future, files.future_key, files.ca, TLS_VERIFY_NAME,
		  "localhost.test", "not yet valid", false },
		{ "unknown CA", files.stranger, files.stranger_key, files.ca, TLS_VERIFY_NAME,
		  "localhost.test", "unable to get local issuer", false },
		{ "any: verified", files.good, files.good_key, files.ca, TLS_VERIFY_NONE,
		  "localhost.test", NULL, true },
		{ "any: wrong name", files.good, files.good_key, files.ca, TLS_VERIFY_NONE,
		  "wrong.test", NULL, false },
		{ "any: unknown CA", files.stranger, files.stranger_key, files.ca, TLS_VERIFY_NONE,
		  "localhost.test", NULL, false },
		{ "any: without a name", files.good, files.good_key, files.ca, TLS_VERIFY_NONE,
		  NULL, NULL, false },
		{ "wrong fingerprint", files.good, files.good_key, files.ca, TLS_VERIFY_FINGERPRINT,
		  "localhost.test", "fingerprint", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check_peer_case(&cases[i]);
}

static void
fingerprints_pin(void **state)
{
	uint8_t pinned[1][TLS_FINGERPRINT_BYTES];
	struct err err;
	struct tls_context *server = server_context(files.stranger, files.stranger_key,
	    TLS_CLIENT_AUTH_NONE, NULL, &err);
	struct tls_context *client = client_context(files.ca, NULL, NULL);
	struct test_pair pair;

	(void)state;
	shake_hands(&pair, server, client, &(struct tls_peer){ .name = "localhost.test" });
	memcpy(pinned[0], conn_tls(pair.client.conn)->peer_fingerprint, sizeof(pinned[0]));
	assert_string_equal(conn_tls(pair.client.conn)->peer_name, "localhost.test");
	assert_string_equal(conn_tls(pair.server.conn)->server_name, "localhost.test");
	test_pair_fini(&pair);
	shake_hands(&pair, server, client, &(struct tls_peer){
		.verify = TLS_VERIFY_FINGERPRINT,
		.fingerprints = (const uint8_t (*)[TLS_FINGERPRINT_BYTES])pinned,
		.fingerprint_count = 1,
	});
	assert_int_equal(pair.client.secured_count, 1);
	test_pair_fini(&pair);
	tls_context_unref(&server);
	tls_context_unref(&client);
}

static void
clients_show_certificates(void **state)
{
	const struct {
		const char *name;
		enum tls_client_auth auth;
		const char *certificate, *key;
		bool enters, verified;
	} cases[] = {
		{ "not asked", TLS_CLIENT_AUTH_NONE, files.good, files.good_key, true, false },
		{ "asked, none", TLS_CLIENT_AUTH_ASK, NULL, NULL, true, false },
		{ "asked, good", TLS_CLIENT_AUTH_ASK, files.good, files.good_key, true, true },
		{ "asked, stranger", TLS_CLIENT_AUTH_ASK, files.stranger, files.stranger_key, true,
		  false },
		{ "asked, expired", TLS_CLIENT_AUTH_ASK, files.expired, files.expired_key, true,
		  false },
		{ "required, none", TLS_CLIENT_AUTH_REQUIRE, NULL, NULL, false, false },
		{ "required, good", TLS_CLIENT_AUTH_REQUIRE, files.good, files.good_key, true,
		  true },
		{ "required, stranger", TLS_CLIENT_AUTH_REQUIRE, files.stranger, files.stranger_key,
		  false, false },
		{ "required, expired", TLS_CLIENT_AUTH_REQUIRE, files.expired, files.expired_key,
		  false, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct test_pair pair;
		struct err err;
		struct tls_context *server = server_context(files.good, files.good_key,
		    cases[i].auth, NULL, &err);
		struct tls_context *client = client_context(files.ca, cases[i].certificate,
		    cases[i].key);

		shake_hands(&pair, server, client, &(struct tls_peer){
			.verify = TLS_VERIFY_NAME, .name = "localhost.test",
		});
		assert_true(RUN_UNTIL(pair.loop, pair.server.secured_count == 1 ||
		    pair.server.closed_count == 1));
		if ((pair.server.secured_count == 1) != cases[i].enters)
			fail_msg("%s: %s", cases[i].name, pair.server.err.text);
		if (cases[i].enters &&
		    conn_tls(pair.server.conn)->peer_verified != cases[i].verified)
			fail_msg("%s: verified %d", cases[i].name, !cases[i].verified);
		test_pair_fini(&pair);
		tls_context_unref(&server);
		tls_context_unref(&client);
	}
}

static void
bodies_pass_whole(void **state)
{
	enum { BYTES = 3 * 1000 * 1000 };
	struct err err;
	struct tls_context *server = server_context(files.good, files.good_key,
	    TLS_CLIENT_AUTH_NONE, NULL, &err);
	struct tls_context *client = client_context(files.ca, NULL, NULL);
	char *body = mem_alloc(BYTES);
	struct conn_segment segment = { .bytes = span_make(body, BYTES) };
	struct test_pair pair;

	(void)state;
	for (size_t i = 0; i < BYTES; i++)
		body[i] = (char)(i * 2654435761U >> 13);
	shake_hands(&pair, server, client, &(struct tls_peer){ 0 });
	/* Many small pieces, a large one, a small one. */
	for (size_t i = 0; i < 1000; i++)
		conn_write(pair.client.conn, span_make(body + i * 3, 3));
	conn_write_segment(pair.client.conn, &segment);
	conn_write(pair.client.conn, SPAN("."));
	assert_true(RUN_UNTIL(pair.loop, buf_len(&pair.server.input) == 3000 + BYTES + 1));
	assert_memory_equal(buf_span(&pair.server.input).data, body, 3000);
	assert_memory_equal(buf_span(&pair.server.input).data + 3000, body, BYTES);
	assert_int_equal(pair.client.drained_count, 1);
	conn_close_after_output(pair.client.conn, 1000);
	assert_true(RUN_UNTIL(pair.loop, pair.server.closed_count == 1));
	assert_int_equal(pair.server.how, CONN_END_PEER);
	test_pair_fini(&pair);
	mem_free(&body);
	tls_context_unref(&server);
	tls_context_unref(&client);
}

/* ---- what may go wrong between STARTTLS and the handshake */

static void
octets_behind_starttls_end_it(void **state)
{
	struct err err;
	struct test_pair pair;

	(void)state;
	test_pair_init(&pair);
	pair.server.starts_tls = true;
	pair.server.consume_max = 10;
	pair.server.tls = server_context(files.good, files.good_key, TLS_CLIENT_AUTH_NONE, NULL,
	    &err);
	test_pair_connect(&pair);
	conn_write(pair.client.conn, SPAN("STARTTLS\r\nMAIL FROM:<>\r\n"));
	assert_true(RUN_UNTIL(pair.loop, pair.server.closed_count == 1));
	assert_int_equal(pair.server.how, CONN_END_TLS);
	assert_int_equal(pair.server.secured_count, 0);
	assert_int_equal(buf_len(&pair.server.input), 10);
	tls_context_unref(&pair.server.tls);
	test_pair_fini(&pair);
}

static void
a_close_while_tls_is_due(void **state)
{
	static char block[64 * 1024];
	struct err err;

	(void)state;
	for (int round = 0; round < 3; round++) {
		struct tls_context *context = server_context(files.good, files.good_key,
		    TLS_CLIENT_AUTH_NONE, NULL, &err);
		struct test_pair pair;

		test_pair_init(&pair);
		test_pair_connect(&pair);
		conn_pause_input(pair.client.conn);
		/* Round 0: the clear output cannot leave; 1: it has left; 2: there is none. */
		for (int i = 0; round == 0 && i < 160; i++)
			conn_write(pair.server.conn, span_make(block, sizeof(block)));
		if (round < 2)
			conn_write(pair.server.conn, SPAN("220 go\r\n"));
		conn_start_tls_server(pair.server.conn, context);
		if (round == 1)
			loop_turn(pair.loop, 0);
		conn_write(pair.server.conn, SPAN("421 closing\r\n"));
		conn_close_after_output(pair.server.conn, 200);
		for (int i = 0; i < 5; i++)
			loop_turn(pair.loop, 0);
		conn_resume_input(pair.client.conn);
		assert_true(RUN_UNTIL(pair.loop, pair.server.closed_count == 1));
		assert_int_equal(pair.server.how, CONN_END_FLUSHED);
		assert_true(RUN_UNTIL(pair.loop, pair.client.closed_count == 1));
		/* What was said behind STARTTLS has not left in clear. */
		assert_false(span_ends_with(buf_span(&pair.client.input), SPAN("421 closing\r\n")));
		assert_true(span_ends_with(buf_span(&pair.client.input), SPAN("220 go\r\n")) ==
		    (round < 2));
		test_pair_fini(&pair);
		tls_context_unref(&context);
	}
}

static void
a_handshake_has_a_deadline(void **state)
{
	const struct tls_identity identity = { files.good, files.good_key };
	struct err err;
	struct tls_context *context = tls_server_context_new(&(struct tls_server_settings){
		.identities = &identity, .identity_count = 1, .handshake_timeout_ms = 40,
	}, &err);
	struct test_pair pair;

	(void)state;
	test_pair_init(&pair);
	test_pair_connect(&pair);
	conn_start_tls_server(pair.server.conn, context);
	conn_write(pair.client.conn, SPAN("\x16\x03\x01"));
	assert_true(RUN_UNTIL(pair.loop, pair.server.closed_count == 1));
	assert_int_equal(pair.server.how, CONN_END_TIMEOUT);
	test_pair_fini(&pair);
	tls_context_unref(&context);
}

static size_t
client_hello(char *hello, size_t size)
{
	struct tls_context *context = client_context(files.ca, NULL, NULL);
	struct test_pair pair;

	test_pair_init(&pair);
	test_pair_connect(&pair);
	conn_start_tls_client(pair.client.conn, context, &(struct tls_peer){ 0 });
	assert_true(RUN_UNTIL(pair.loop, buf_len(&pair.server.input) > 100));

	size_t len = buf_len(&pair.server.input);

	assert_true(len < size);
	memcpy(hello, buf_span(&pair.server.input).data, len);
	test_pair_fini(&pair);
	tls_context_unref(&context);
	return len;
}

static void
a_hello_cut_at_any_octet(void **state)
{
	struct err err;
	struct tls_context *context = server_context(files.good, files.good_key,
	    TLS_CLIENT_AUTH_NONE, NULL, &err);
	static char hello[2048];
	size_t len = client_hello(hello, sizeof(hello));
	struct test_pair pair;

	(void)state;
	test_pair_init(&pair);
	for (size_t cut = 0; cut < len; cut++) {
		int fd = test_raw_connect(&pair.address);

		assert_true(RUN_UNTIL(pair.loop, pair.server.conn));
		conn_start_tls_server(pair.server.conn, context);
		if (cut > 0)
			assert_int_equal(send(fd, hello, cut, MSG_NOSIGNAL), cut);
		(void)close(fd);
		assert_true(RUN_UNTIL(pair.loop, pair.server.closed_count == 1));
		assert_int_equal(pair.server.secured_count, 0);
		assert_true(pair.server.how == CONN_END_TLS || pair.server.how == CONN_END_PEER);
		conn_free(&pair.server.conn);
		buf_fini(&pair.server.input);
		pair.server = (struct test_end){ 0 };
	}
	test_pair_fini(&pair);
	tls_context_unref(&context);
}

static void
clear_text_is_no_handshake(void **state)
{
	struct err err;
	struct tls_context *context = server_context(files.good, files.good_key,
	    TLS_CLIENT_AUTH_NONE, NULL, &err);
	struct test_pair pair;

	(void)state;
	test_pair_init(&pair);
	test_pair_connect(&pair);
	conn_start_tls_server(pair.server.conn, context);
	conn_write(pair.client.conn, SPAN("EHLO client.example\r\nMAIL FROM:<>\r\n"));
	assert_true(RUN_UNTIL(pair.loop, pair.server.closed_count == 1));
	assert_int_equal(pair.server.how, CONN_END_TLS);
	assert_int_equal(buf_len(&pair.server.input), 0);
	assert_null(conn_tls(pair.server.conn));
	test_pair_fini(&pair);
	tls_context_unref(&context);
}

/* ---- once secured: the socket spoils, and there is no way back to clear */

static void
clear_octets_under_tls_end_it(void **state)
{
	static const char record[] = "\x17\x03\x03\x00\x04junk";
	struct err err;
	struct tls_context *server = server_context(files.good, files.good_key,
	    TLS_CLIENT_AUTH_NONE, NULL, &err);
	struct tls_context *client = client_context(files.ca, NULL, NULL);
	struct test_pair pair;
	int fd = -1;

	(void)state;
	shake_hands(&pair, server, client, &(struct tls_peer){ 0 });
	assert_true(RUN_UNTIL(pair.loop, pair.server.secured_count == 1));
	/* The client's own descriptor: the one whose peer has the listener's port. */
	for (int candidate = 0; candidate < 1024 && fd < 0; candidate++) {
		struct sockaddr_in peer = { 0 };
		socklen_t peer_len = sizeof(peer);

		if (getpeername(candidate, (struct sockaddr *)&peer, &peer_len) == 0 &&
		    ntohs(peer.sin_port) == pair.address.port)
			fd = candidate;
	}
	assert_true(fd >= 0);
	assert_int_equal(send(fd, record, sizeof(record) - 1, MSG_NOSIGNAL), sizeof(record) - 1);
	assert_true(RUN_UNTIL(pair.loop, pair.server.closed_count == 1));
	assert_int_equal(pair.server.how, CONN_END_TLS);
	assert_int_equal(buf_len(&pair.server.input), 0);
	test_pair_fini(&pair);
	tls_context_unref(&server);
	tls_context_unref(&client);
}

static int
set_up(void **state)
{
	const struct sigaction ignore = { .sa_handler = SIG_IGN };

	(void)state;
	test_certificates_make(&files);
	return sigaction(SIGPIPE, &ignore, NULL);
}

static int
tear_down(void **state)
{
	(void)state;
	test_certificates_remove(&files);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(peers_are_who_they_should_be),
		cmocka_unit_test(fingerprints_pin),
		cmocka_unit_test(clients_show_certificates),
		cmocka_unit_test(bodies_pass_whole),
		cmocka_unit_test(octets_behind_starttls_end_it),
		cmocka_unit_test(a_close_while_tls_is_due),
		cmocka_unit_test(a_handshake_has_a_deadline),
		cmocka_unit_test(a_hello_cut_at_any_octet),
		cmocka_unit_test(clear_text_is_no_handshake),
		cmocka_unit_test(clear_octets_under_tls_end_it),
	};

	return cmocka_run_group_tests_name("tls", tests, set_up, tear_down);
}
