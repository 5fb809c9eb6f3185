/*
 * A command costs the receiving engine no allocation: what it needs it has from the first
 * transaction on.  mem.c alone calls malloc, and the linker counts its calls here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/buf.h"
#include "relay/base/span.h"
#include "relay/smtp/smtp_server.h"

static size_t allocation_count;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *memory, size_t size);

void *
__wrap_malloc(size_t size)
{
	allocation_count++;
	return __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
	allocation_count++;
	return __real_calloc(count, size);
}

void *
__wrap_realloc(void *memory, size_t size)
{
	allocation_count++;
	return __real_realloc(memory, size);
}

/* ---- an application that takes everything ---- */

static enum step
yes(struct reply *reply, uint16_t code)
{
	reply_set(reply, code, "2.0.0", "ok");
	return STEP_REPLY;
}

static enum step
on_open(void *ctx, struct reply *reply)
{
	(void)ctx;
	return yes(reply, 220);
}

static enum step
on_hello(void *ctx, const struct smtp_hello *hello, struct reply *reply)
{
	(void)ctx;
	(void)hello;
	return yes(reply, 250);
}

static enum step
on_mail(void *ctx, const struct smtp_mail *mail, struct reply *reply)
{
	(void)ctx;
	(void)mail;
	return yes(reply, 250);
}

static enum step
on_rcpt(void *ctx, const struct smtp_rcpt *rcpt, struct reply *reply)
{
	(void)ctx;
	(void)rcpt;
	return yes(reply, 250);
}

static enum step
on_data(void *ctx, struct reply *reply)
{
	(void)ctx;
	return yes(reply, 354);
}

static size_t
on_body(void *ctx, struct span octets)
{
	(void)ctx;
	return octets.len;
}

static enum step
on_end(void *ctx, const struct smtp_body_facts *facts, struct reply *reply)
{
	(void)ctx;
	(void)facts;
	return yes(reply, 250);
}

static void
on_reset(void *ctx, enum smtp_reset reason)
{
	(void)ctx;
	(void)reason;
}

static void
on_closed(void *ctx)
{
	(void)ctx;
}

static const struct smtp_server_ops ops = {
	.open = on_open, .hello = on_hello, .mail = on_mail, .rcpt = on_rcpt, .data = on_data,
	.body = on_body, .end = on_end, .reset = on_reset, .closed = on_closed,
};

/* ---- conversations ---- */

static const struct {
	const char *name;
	const char *lines[12];
} conversations[] = {
	{ "letters", { "MAIL FROM:<a@b.example> SIZE=10 BODY=8BITMIME RET=HDRS ENVID=x\r\n",
	    "RCPT TO:<c@d.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;c@d.example\r\n",
	    "RCPT TO:<\"c d\"@[192.0.2.1]>\r\nRCPT TO:<@x.example:e@f.example>\r\n", "DATA\r\n",
	    "Subject: x\r\n\r\n..\r\nhello\r\n.\r\n" } },
	{ "chunks", { "MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nBDAT 3\r\na\r\nBDAT 1\r\nb",
	    "BDAT 0 LAST\r\n" } },
	{ "refusals", { "RCPT TO:<c@d.example>\r\nMAIL FROM:<a@b\r\nMAIL FROM:<a@b> FOO=1\r\n",
	    "DATA\r\n", "FOO\r\nEXPN x\r\nVRFY x\r\nNOOP\r\nHELP\r\n", "BDAT 4\r\nNOOP",
	    "MAIL FROM:<a@b>\r\nMAIL FROM:<a@b>\r\nRCPT TO:<>\r\nRSET\r\n", "EHLO x\r\n" } },
};

static void
converse(struct smtp_server *server, const char *const *lines)
{
	for (size_t i = 0; lines[i]; i++) {
		struct span input = span_from_cstr(lines[i]);
		int turns = 0;

		while (input.len > 0 && turns++ < 100) {
			input = span_skip(input, smtp_server_feed(server, input));
			buf_clear(smtp_server_output(server));
		}
		assert_int_equal(smtp_server_feed(server, SPAN("")), 0);
		assert_int_equal(smtp_server_wants(server), SMTP_SERVER_WANTS_INPUT);
		assert_int_equal(input.len, 0);
	}
}

static void
test_commands(void **state)
{
	struct smtp_server_settings settings;
	struct smtp_server *server;

	(void)state;
	smtp_server_settings_init(&settings);
	settings.hostname = SPAN("mx.example.net");
	settings.error_count_max = settings.useless_count_max = 0;
	server = smtp_server_new(&settings, &ops, NULL);
	smtp_server_open(server);
	converse(server, (const char *[]){ "EHLO client.example\r\n", NULL });
	for (size_t i = 0; i < sizeof(conversations) / sizeof(conversations[0]); i++) {
		size_t before;

		converse(server, conversations[i].lines);       /* now it has what it needs */
		before = allocation_count;
		for (int round = 0; round < 100; round++)
			converse(server, conversations[i].lines);
		if (allocation_count != before)
			fail_msg("%s: %zu allocations in 100 rounds", conversations[i].name,
			    allocation_count - before);
	}
	assert_true(allocation_count > 0);              /* they are counted */
	smtp_server_free(&server);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_commands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
