#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "relay/mail/dsn.h"
#include "relay/mail/header.h"

static struct reply no_user = { 550, "5.1.1", "no such user" };
static struct reply later = { 451, "", "try later" };

static struct dsn_rcpt failed_rcpt = {
	.address = { "bob@example.org", 15 },
	.orcpt = { "rfc822;b+2Bob@example.org", 25 },
	.action = DSN_FAILED,
	.reply = &no_user,
	.remote_host = { "mx.example.org[192.0.2.9]:25", 28 },
	.last_attempt_ms = 1772368245123,
};

static struct dsn
report_of(const struct dsn_rcpt *rcpts, size_t count)
{
	return (struct dsn){
		.hostname = SPAN("relay1.example.net"),
		.id = 77,
		.original_id = SPAN("0CZ1234567890"),
		.sender = SPAN("alice@example.net"),
		.arrival_ms = 1772368000000,
		.now_ms = 1772368300000,
		.rcpts = rcpts,
		.rcpt_count = count,
	};
}

static void
must_have(const char *text, const char *piece)
{
	if (!strstr(text, piece))
		fail_msg("\"%s\" is not in\n%s", piece, text);
}

static void
composes_a_failure(void **state)
{
	struct dsn dsn = report_of(&failed_rcpt, 1);
	struct buf out;

	(void)state;
	dsn.envid = SPAN("x+2By");
	buf_init(&out, 1 << 20);
	assert_int_equal(dsn_compose(&dsn, SPAN("Subject: hello\r\n"), false, &out), 0);

	const char *text = buf_cstr(&out);

	must_have(text, "From: Mail Delivery System <MAILER-DAEMON@relay1.example.net>\r\n");
	must_have(text, "To: alice@example.net\r\n");
	must_have(text, "Auto-Submitted: auto-replied\r\n");
	must_have(text, "multipart/report; report-type=delivery-status;\r\n");
	must_have(text, "Content-Type: message/delivery-status\r\n\r\n"
	    "Original-Envelope-Id: x+y\r\n");
	must_have(text, "Reporting-MTA: dns; relay1.example.net\r\n");
	must_have(text, "\r\n\r\nOriginal-Recipient: rfc822; b+ob@example.org\r\n"
	    "Final-Recipient: rfc822; bob@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n"
	    "Remote-MTA: dns; mx.example.org\r\n"
	    "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n");
	must_have(text, "Content-Type: text/rfc822-headers\r\n\r\nSubject: hello\r\n");
	must_have(text, "\r\n--=_000000000002D.0CZ1234567890--\r\n");
	assert_true(span_is_ascii(buf_span(&out)));
	assert_int_equal(header_count(buf_span(&out), SPAN("Content-Type")), 1);
	buf_fini(&out);
}

/* RFC 3464 section 2.1.2: a domain, or an address in brackets; never a port. */
static void
names_hosts_as_they_should_be(void **state)
{
	static const struct { const char *host, *named; } cases[] = {
		{ "mx.example.org[192.0.2.9]:25", "dns; mx.example.org\r\n" },
		{ "mx.example.org:25", "dns; mx.example.org\r\n" },
		{ "mx.example.org", "dns; mx.example.org\r\n" },
		{ "192.0.2.9[192.0.2.9]:25", "dns; [192.0.2.9]\r\n" },
		{ "[192.0.2.9]:25", "dns; [192.0.2.9]\r\n" },
		{ "2001:db8::7[2001:db8::7]:25", "dns; [IPv6:2001:db8::7]\r\n" },
		{ "[2001:db8::7]:25", "dns; [IPv6:2001:db8::7]\r\n" },
		{ "[", "dns; []\r\n" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct dsn_rcpt rcpt = failed_rcpt;
		struct dsn dsn = report_of(&rcpt, 1);
		struct buf out;

		rcpt.remote_host = span_from_cstr(cases[i].host);
		buf_init(&out, 1 << 20);
		assert_int_equal(dsn_compose(&dsn, SPAN("A: b\r\n"), false, &out), 0);
		must_have(buf_cstr(&out), cases[i].named);
		buf_fini(&out);
	}
}

static void
makes_the_same_bytes_again(void **state)
{
	struct dsn dsn = report_of(&failed_rcpt, 1);
	struct buf one, two;

	(void)state;
	buf_init(&one, 1 << 20);
	buf_init(&two, 1 << 20);
	assert_int_equal(dsn_compose(&dsn, SPAN("A: b\r\n"), false, &one), 0);
	assert_int_equal(dsn_compose(&dsn, SPAN("A: b\r\n"), false, &two), 0);
	assert_true(span_equal(buf_span(&one), buf_span(&two)));
	buf_fini(&one);
	buf_fini(&two);
}

static void
speaks_of_each_recipient(void **state)
{
	struct dsn_rcpt rcpts[] = {
		failed_rcpt,
		{ .address = SPAN("c@x"), .action = DSN_FAILED, .expired = true, .reply = &later },
		{ .address = SPAN("d@x"), .action = DSN_DELAYED, .reply = &later,
		  .retry_until_ms = 1772500000000 },
		{ .address = SPAN("e@x"), .action = DSN_DELIVERED },
		{ .address = SPAN("f@x"), .action = DSN_RELAYED },
	};
	struct dsn dsn = report_of(rcpts, 5);
	struct buf out;

	(void)state;
	buf_init(&out, 1 << 20);
	assert_int_equal(dsn_compose(&dsn, SPAN("A: b\r\n"), false, &out), 0);
	must_have(buf_cstr(&out), "c@x\r\nAction: failed\r\nStatus: 5.4.7\r\n"
	    "Diagnostic-Code: smtp; 451 try later\r\n");
	must_have(buf_cstr(&out), "d@x\r\nAction: delayed\r\nStatus: 4.0.0\r\n");
	must_have(buf_cstr(&out), "Will-Retry-Until: Tue, 03 Mar 2026 01:06:40 +0000\r\n");
	must_have(buf_cstr(&out), "e@x\r\nAction: delivered\r\nStatus: 2.0.0\r\n");
	must_have(buf_cstr(&out), "f@x\r\nAction: relayed\r\nStatus: 2.0.0\r\n");
	buf_fini(&out);
}

static void
uses_utf8_forms_when_needed(void **state)
{
	struct dsn_rcpt rcpt = { .address = SPAN("\xc3\xa9@x"), .action = DSN_FAILED };
	struct dsn dsn = report_of(&rcpt, 1);
	struct buf out;

	(void)state;
	assert_true(dsn_needs_utf8(&dsn) && dsn_needs_8bit(&dsn));
	buf_init(&out, 1 << 20);
	assert_int_equal(dsn_compose(&dsn, SPAN("A: b\r\n"), true, &out), 0);
	must_have(buf_cstr(&out), "message/global-delivery-status\r\n");
	must_have(buf_cstr(&out), "Final-Recipient: utf-8; \xc3\xa9@x\r\n");
	must_have(buf_cstr(&out), "Content-Type: message/global\r\n");
	buf_fini(&out);

	dsn = report_of(&failed_rcpt, 1);
	assert_false(dsn_needs_utf8(&dsn) || dsn_needs_8bit(&dsn));
	dsn.original_is_8bit = true;
	assert_true(dsn_needs_8bit(&dsn));
}

/* Foreign words with line ends in them make no fields of their own. */
static void
keeps_foreign_words_in_their_lines(void **state)
{
	struct reply evil = { 550, "5.0.0", "a\r\nAction: delivered" };
	struct dsn_rcpt rcpt = {
		.address = SPAN("a@x\r\nStatus: 2.0.0"), .action = DSN_FAILED, .reply = &evil,
		.orcpt = SPAN("rfc822;a+0D+0AAction:+20delivered"),
		.remote_host = SPAN("h\r\nAction: delivered"),
	};
	struct dsn dsn = report_of(&rcpt, 1);
	struct buf out;

	(void)state;
	dsn.envid = SPAN("e+0D+0AAction:+20delivered");
	buf_init(&out, 1 << 20);
	assert_int_equal(dsn_compose(&dsn, SPAN("A: b\r\n"), false, &out), 0);
	assert_null(strstr(buf_cstr(&out), "\nAction: delivered"));
	assert_null(strstr(buf_cstr(&out), "\nStatus: 2"));
	buf_fini(&out);
}

static void
returns_what_the_sender_asked_for(void **state)
{
	struct dsn dsn = report_of(&failed_rcpt, 1);
	struct dsn_rcpt delayed = failed_rcpt;

	(void)state;
	assert_false(dsn_returns_body(&dsn, 10, 100));
	dsn.ret = RET_FULL;
	assert_true(dsn_returns_body(&dsn, 100, 100));
	assert_false(dsn_returns_body(&dsn, 101, 100));
	delayed.action = DSN_DELAYED;
	dsn.rcpts = &delayed;
	assert_false(dsn_returns_body(&dsn, 10, 100));
}

static void
knows_who_wants_to_hear(void **state)
{
	(void)state;
	assert_true(dsn_is_wanted(0, DSN_FAILED));
	assert_true(dsn_is_wanted(0, DSN_DELAYED));
	assert_false(dsn_is_wanted(0, DSN_DELIVERED));
	assert_true(dsn_is_wanted(NOTIFY_SUCCESS, DSN_RELAYED));
	assert_false(dsn_is_wanted(NOTIFY_SUCCESS, DSN_FAILED));
	assert_true(dsn_is_wanted(NOTIFY_SUCCESS | NOTIFY_FAILURE, DSN_FAILED));
	assert_false(dsn_is_wanted(NOTIFY_FAILURE, DSN_DELAYED));
	assert_false(dsn_is_wanted(NOTIFY_NEVER, DSN_FAILED));
}

static void
says_when_there_is_no_room(void **state)
{
	struct dsn dsn = report_of(&failed_rcpt, 1);
	struct buf out;

	(void)state;
	buf_init(&out, 500);
	assert_int_equal(dsn_compose(&dsn, SPAN("A: b\r\n"), false, &out), -1);
	buf_fini(&out);
}

static void
keeps_envelopes(void **state)
{
	struct envelope *envelope = envelope_new();
	char address[] = "\"a@b\"@example.net";

	(void)state;
	assert_true(envelope_sender_is_null(envelope));
	envelope->sender = envelope_keep(envelope, SPAN("s@x"));
	for (int i = 0; i < 100; i++)
		envelope_add_rcpt(envelope, span_from_cstr(address))->attempt_count = (uint32_t)i;
	address[0] = 'X';
	assert_int_equal(envelope->rcpt_count, 100);
	assert_true(span_equal_cstr(envelope->rcpts[99].address, "\"a@b\"@example.net"));
	assert_true(span_equal_cstr(envelope->rcpts[99].domain, "example.net"));
	envelope->rcpts[3].state = RCPT_DELIVERED;
	envelope->rcpts[4].state = RCPT_UNCERTAIN;
	assert_int_equal(envelope_open_count(envelope), 99);

	struct envelope *copy = envelope_copy(envelope);

	envelope_free(&envelope);
	assert_null(envelope);
	assert_true(span_equal_cstr(copy->sender, "s@x"));
	assert_int_equal(copy->rcpts[57].attempt_count, 57);
	assert_true(span_equal_cstr(copy->rcpts[57].domain, "example.net"));
	assert_int_equal(envelope_open_count(copy), 99);
	(void)envelope_add_rcpt(copy, SPAN("z@y"));
	assert_int_equal(copy->rcpt_count, 101);
	envelope_free(&copy);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(composes_a_failure),
		cmocka_unit_test(names_hosts_as_they_should_be),
		cmocka_unit_test(makes_the_same_bytes_again),
		cmocka_unit_test(speaks_of_each_recipient),
		cmocka_unit_test(uses_utf8_forms_when_needed),
		cmocka_unit_test(keeps_foreign_words_in_their_lines),
		cmocka_unit_test(returns_what_the_sender_asked_for),
		cmocka_unit_test(knows_who_wants_to_hear),
		cmocka_unit_test(says_when_there_is_no_room),
		cmocka_unit_test(keeps_envelopes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
