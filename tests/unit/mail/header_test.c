#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/random.h"
#include "relay/mail/header.h"
#include "relay/mail/trace_fields.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char message[] =
    "Received: from a by b\r\n\tid 1;\r\n Mon\r\n"
    "received : from c\r\n"
    "Message-ID:\r\n <x@y> (z)\r\n"
    "Date: now\r\n"
    "Subject: caf\xc3\xa9\r\n"
    "FROM: a@b\r\n"
    "\r\n"
    "Received: in the body\r\n";

static void
scans_fields(void **state)
{
	struct header_scan scan;
	struct header_field field;
	struct span value;
	struct buf line;

	(void)state;
	header_scan_init(&scan, span_from_cstr(message));
	assert_true(header_scan_next(&scan, &field));
	assert_true(span_equal_cstr(field.name, "Received"));
	assert_true(span_equal_cstr(field.value, " from a by b\r\n\tid 1;\r\n Mon"));
	buf_init(&line, 128);
	assert_int_equal(header_unfold(field.value, &line), 0);
	assert_string_equal(buf_cstr(&line), "from a by b id 1; Mon");
	buf_fini(&line);
	assert_true(header_scan_next(&scan, &field));
	assert_true(span_equal_cstr(field.name, "received"));
	assert_true(span_equal_cstr(field.value, " from c"));

	assert_int_equal(header_count(span_from_cstr(message), SPAN("RECEIVED")), 2);
	assert_true(header_find(span_from_cstr(message), SPAN("date"), &value));
	assert_true(span_equal_cstr(value, " now"));
	assert_false(header_find(span_from_cstr(message), SPAN("To"), &value));
}

static const struct {
	const char *name, *text;
	size_t bytes;
} end_cases[] = {
	{ "header and body", "A: b\r\n\r\nbody", 8 },
	{ "lf only", "A: b\n\nbody", 6 },
	{ "no body", "A: b\r\n\r\n", 8 },
	{ "no end", "A: b\r\nC: d\r\n", 12 },
	{ "half a line", "A: b\r\nC: d", 10 },
	{ "nothing", "", 0 },
	{ "no header", "\r\nbody", 2 },
	{ "a line that is no field", "A: b\r\nbody\r\n", 6 },
	{ "a colon first", "A: b\r\n: x\r\n", 6 },
};

static void
finds_where_the_body_begins(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(end_cases); i++)
		if (header_bytes(span_from_cstr(end_cases[i].text)) != end_cases[i].bytes)
			fail_msg("%s: %zu", end_cases[i].name,
			    header_bytes(span_from_cstr(end_cases[i].text)));
}

/* Whole, byte by byte and in random pieces, the watcher sees the same. */
static void
watches_a_message_in_any_pieces(void **state)
{
	struct random_seeded random;

	(void)state;
	random_init_seeded(&random, 3);
	for (int round = 0; round < 300; round++) {
		struct header_watch watch;
		struct span rest = span_from_cstr(message);

		header_watch_init(&watch, SPAN("b"));
		while (rest.len > 0) {
			size_t len = round == 0 ? rest.len
			    : round == 1 ? 1 : 1 + random_below(&random.random, 20);

			header_watch_feed(&watch, span_first(rest, len));
			rest = span_skip(rest, len);
		}
		assert_int_equal(watch.received_count, 2);
		assert_true(watch.has_date && watch.has_from && watch.has_message_id);
		assert_true(watch.has_utf8 && watch.ended && watch.is_own_loop);
		assert_string_equal(watch.message_id, "<x@y>");
		assert_int_equal(watch.bytes, header_bytes(span_from_cstr(message)));
	}
}

static const struct {
	const char *name, *text, *own_id;
	bool is_loop;
} loop_cases[] = {
	{ "by us", "Received: from x by relay1.example.net with SMTP\r\n", "relay1.example.net",
	  true },
	{ "any case", "Received: by RELAY1.example.NET;\r\n", "relay1.example.net", true },
	{ "at the end", "Received: by relay1\r\n", "relay1", true },
	{ "over a fold", "Received: by\r\n\trelay1\r\n", "relay1", true },
	{ "a longer name", "Received: by relay1.example.net.org x\r\n", "relay1.example.net",
	  false },
	{ "behind another", "Received: by xrelay1 x\r\n", "relay1", false },
	{ "another field", "X-Received: by relay1\r\n", "relay1", false },
	{ "nothing to look for", "Received: by relay1\r\n", "", false },
	{ "the body", "A: b\r\n\r\nReceived: by relay1\r\n", "relay1", false },
};

static void
knows_its_own_traces(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT(loop_cases); i++) {
		struct header_watch watch;

		header_watch_init(&watch, span_from_cstr(loop_cases[i].own_id));
		header_watch_feed(&watch, span_from_cstr(loop_cases[i].text));
		if (watch.is_own_loop != loop_cases[i].is_loop)
			fail_msg("%s", loop_cases[i].name);
	}
}

static void
keeps_no_message_id_that_is_none(void **state)
{
	static const char *const texts[] = {
		"Message-ID: x\r\n\r\n", "Message-ID: <a b>\r\n\r\n", "Message-ID:\r\n\r\n",
	};
	struct header_watch watch;

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++) {
		header_watch_init(&watch, SPAN(""));
		header_watch_feed(&watch, span_from_cstr(texts[i]));
		assert_true(watch.has_message_id && watch.ended);
		assert_string_equal(watch.message_id, "");
	}
	header_watch_init(&watch, SPAN(""));
	header_watch_feed(&watch, SPAN("Message-ID: <"));
	for (int i = 0; i < 1000; i++)
		header_watch_feed(&watch, SPAN("a"));
	header_watch_feed(&watch, SPAN("@b>\r\n\r\n"));
	assert_string_equal(watch.message_id, "");
}

static void
writes_received(void **state)
{
	struct trace_received trace = {
		.client_hello = SPAN("mail.example.org"),
		.client_address = SPAN("192.0.2.7"),
		.hostname = SPAN("relay1.example.net"),
		.protocol = PROTOCOL_ESMTPS,
		.tls_version = SPAN("TLSv1.3"),
		.tls_cipher = SPAN("TLS_AES_256_GCM_SHA384"),
		.queue_id = SPAN("0CZ1234567890"),
		.for_address = SPAN("user@example.net"),
		.wall_ms = 1772368245123,
	};
	struct buf out;

	(void)state;
	buf_init(&out, TRACE_FIELDS_BYTES_MAX);
	assert_int_equal(trace_fields_received(&trace, &out), 0);
	assert_string_equal(buf_cstr(&out),
	    "Received: from mail.example.org ([192.0.2.7])\r\n"
	    "\tby relay1.example.net with ESMTPS (TLSv1.3\r\n"
	    "\tcipher=TLS_AES_256_GCM_SHA384 unverified) id 0CZ1234567890\r\n"
	    "\tfor <user@example.net>;\r\n"
	    "\tSun, 01 Mar 2026 12:30:45 +0000\r\n");
	buf_clear(&out);
	trace.smtputf8 = true;
	trace.protocol = PROTOCOL_LMTPSA;
	trace.client_address = SPAN("2001:db8::1");
	trace.client_name = SPAN("client.example");
	trace.auth_user = SPAN("joe");
	assert_int_equal(trace_fields_received(&trace, &out), 0);
	assert_non_null(strstr(buf_cstr(&out), "(client.example [IPv6:2001:db8::1])"));
	assert_non_null(strstr(buf_cstr(&out), "with UTF8LMTPSA"));
	assert_non_null(strstr(buf_cstr(&out), "as joe)"));
	buf_fini(&out);
}

/* Whatever a client says, it stays in one field and in one comment. */
static void
lets_nothing_out_of_a_field(void **state)
{
	struct random_seeded random;

	(void)state;
	random_init_seeded(&random, 11);
	for (int round = 0; round < 3000; round++) {
		char noise[400];
		size_t len = random_below(&random.random, sizeof(noise));
		struct trace_received trace = { .hostname = SPAN("h"), .queue_id = SPAN("q") };
		struct header_scan scan;
		struct header_field field;
		struct buf out;

		random_fill(&random.random, noise, sizeof(noise));
		trace.client_hello = trace.client_address = trace.client_name = span_make(noise,
		    len);
		trace.auth_user = trace.for_address = trace.tls_version = span_make(noise, len);
		trace.tls_cipher = span_make(noise, len);
		trace.protocol = PROTOCOL_ESMTP;
		trace.smtputf8 = round & 1;
		buf_init(&out, TRACE_FIELDS_BYTES_MAX);
		assert_int_equal(trace_fields_received(&trace, &out), 0);
		(void)buf_append_cstr(&out, "\r\n");
		header_scan_init(&scan, buf_span(&out));
		assert_true(header_scan_next(&scan, &field));
		assert_int_equal(field.whole.len + 2, buf_len(&out));
		for (size_t i = 0; i + 1 < field.whole.len; i++) {
			char c = field.whole.data[i];

			if (c == '\n')
				assert_int_equal(field.whole.data[i + 1], '\t');
			assert_true(c == '\t' || c == '\r' || c == '\n' ||
			    (unsigned char)c >= 0x20);
		}
		buf_clear(&out);
		assert_int_equal(trace_fields_return_path(span_make(noise, len), &out), 0);
		assert_int_equal(header_count(buf_span(&out), SPAN("Return-Path")), 1);
		assert_false(span_has_control(span_first(buf_span(&out), buf_len(&out) - 2)));
		buf_fini(&out);
	}
}

static void
writes_path_fields(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 256);
	assert_int_equal(trace_fields_return_path(SPAN(""), &out), 0);
	assert_int_equal(trace_fields_return_path(SPAN("\"a b\"@c"), &out), 0);
	assert_int_equal(trace_fields_delivered_to(SPAN("a@b\r\nc"), &out), 0);
	assert_string_equal(buf_cstr(&out), "Return-Path: <>\r\nReturn-Path: <\"a b\"@c>\r\n"
	    "Delivered-To: a@b??c\r\n");
	buf_fini(&out);
	buf_init(&out, 10);
	assert_int_equal(trace_fields_return_path(SPAN("a@b"), &out), -1);
	buf_fini(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scans_fields),
		cmocka_unit_test(finds_where_the_body_begins),
		cmocka_unit_test(watches_a_message_in_any_pieces),
		cmocka_unit_test(knows_its_own_traces),
		cmocka_unit_test(keeps_no_message_id_that_is_none),
		cmocka_unit_test(writes_received),
		cmocka_unit_test(lets_nothing_out_of_a_field),
		cmocka_unit_test(writes_path_fields),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
