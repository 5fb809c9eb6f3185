#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/mail/dsn.h"
#include "relay/mail/envelope.h"
#include "relay/mail/trace_fields.h"

/* Words that operators, mail programs and other servers read. */

static const char *const states[] = {
	[RCPT_WAITING] = "waiting", [RCPT_UNCERTAIN] = "uncertain",
	[RCPT_DELIVERED] = "delivered", [RCPT_FAILED] = "failed", [RCPT_EXPIRED] = "expired",
	[RCPT_REMOVED] = "removed",
};

/* RFC 3848 and RFC 2033; RFC 6531 section 4.3. */
static const struct {
	const char *plain, *utf8;
} protocols[] = {
	[PROTOCOL_SMTP] = { "SMTP", "UTF8SMTP" },
	[PROTOCOL_ESMTP] = { "ESMTP", "UTF8SMTP" },
	[PROTOCOL_ESMTPS] = { "ESMTPS", "UTF8SMTPS" },
	[PROTOCOL_ESMTPA] = { "ESMTPA", "UTF8SMTPA" },
	[PROTOCOL_ESMTPSA] = { "ESMTPSA", "UTF8SMTPSA" },
	[PROTOCOL_LMTP] = { "LMTP", "UTF8LMTP" },
	[PROTOCOL_LMTPS] = { "LMTPS", "UTF8LMTPS" },
	[PROTOCOL_LMTPA] = { "LMTPA", "UTF8LMTPA" },
	[PROTOCOL_LMTPSA] = { "LMTPSA", "UTF8LMTPSA" },
	[PROTOCOL_LOCAL] = { "local", "local" },
};

/* RFC 3464 section 2.3.3. */
static const char *const actions[] = {
	[DSN_FAILED] = "failed", [DSN_DELAYED] = "delayed", [DSN_DELIVERED] = "delivered",
	[DSN_RELAYED] = "relayed", [DSN_EXPANDED] = "expanded",
};

static void
names_are_kept(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		assert_string_equal(rcpt_state_name((enum rcpt_state)i), states[i]);
	for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
		assert_string_equal(dsn_action_name((enum dsn_action)i), actions[i]);
	for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
		assert_string_equal(envelope_protocol_name((enum envelope_protocol)i),
		    protocols[i].plain);
}

static void
received_says_how_it_came(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
		for (int utf8 = 0; utf8 <= 1; utf8++) {
			const struct trace_received trace = {
				.client_hello = SPAN("client.example"),
				.client_address = SPAN("192.0.2.1"),
				.hostname = SPAN("relay1.example.net"),
				.protocol = (enum envelope_protocol)i, .smtputf8 = utf8,
				.queue_id = SPAN("0123456789ABC"),
			};
			const char *keyword = utf8 ? protocols[i].utf8 : protocols[i].plain;
			char wanted[64] = "with ";
			struct buf out;
			size_t at;

			buf_init(&out, TRACE_FIELDS_BYTES_MAX);
			assert_int_equal(trace_fields_received(&trace, &out), 0);
			memcpy(wanted + 5, keyword, strlen(keyword) + 1);
			assert_true(span_find(buf_span(&out), span_from_cstr(wanted), &at));
			/* Nobody gave us what is our own. */
			assert_int_equal(span_find(buf_span(&out), SPAN("from client"), &at),
			    i != PROTOCOL_LOCAL);
			buf_fini(&out);
		}
}

/* Notifications of every kind say so, and name only so many recipients in words. */
static void
notices_say_what_they_are(void **state)
{
	static const char *const subjects[] = {
		[DSN_DELIVERED] = "Delivered", [DSN_RELAYED] = "Relayed",
	};
	struct dsn_rcpt rcpts[200];
	struct dsn dsn = {
		.hostname = SPAN("relay1.example.net"), .postmaster = SPAN(""), .id = 1,
		.original_id = SPAN("0123456789ABC"), .sender = SPAN("a@example.org"),
		.envid = SPAN(""), .rcpts = rcpts, .rcpt_count = 1,
	};

	(void)state;
	for (size_t i = 0; i < 200; i++)
		rcpts[i] = (struct dsn_rcpt){ .address = SPAN("b@example.net"),
		    .orcpt = SPAN(""), .remote_host = SPAN("") };
	for (int action = DSN_DELIVERED; action <= DSN_RELAYED; action++) {
		struct buf out;
		size_t at;

		buf_init(&out, 1 << 20);
		rcpts[0].action = (enum dsn_action)action;
		assert_int_equal(dsn_compose(&dsn, SPAN("Subject: x\r\n\r\n"), false, &out), 0);
		assert_true(span_find(buf_span(&out), span_from_cstr(subjects[action]), &at));
		buf_fini(&out);
	}
	for (size_t i = 0; i < 200; i++)
		rcpts[i].action = DSN_EXPANDED;
	dsn.rcpt_count = 200;

	struct buf out;
	size_t at;

	buf_init(&out, 1 << 20);
	assert_int_equal(dsn_compose(&dsn, SPAN("Subject: x\r\n\r\n"), false, &out), 0);
	assert_true(span_find(buf_span(&out), SPAN("was handed to a list"), &at));
	assert_true(span_find(buf_span(&out), SPAN("more, listed in the report"), &at));
	buf_fini(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_are_kept),
		cmocka_unit_test(received_says_how_it_came),
		cmocka_unit_test(notices_say_what_they_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
