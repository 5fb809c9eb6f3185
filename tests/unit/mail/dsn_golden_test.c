/*
 * Notifications octet by octet: what the composer makes is what lies in tests/golden, which bounce
 * parsers of others read in tests/system/case_bounces.py.  With GOLDEN_WRITE set the files are
 * written instead; look at the difference before you commit it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/buf.h"
#include "relay/mail/dsn.h"
#include "relay/mail/header.h"

static const char original[] =
    "Received: from client.example.net ([192.0.2.1])\r\n"
    "\tby relay1.example.net with ESMTPS id 0CZ1234567890;\r\n"
    "\tSun, 01 Mar 2026 12:26:40 +0000\r\n"
    "From: alice@example.net\r\n"
    "To: bob@example.org\r\n"
    "Subject: hello\r\n"
    "Message-ID: <1@example.net>\r\n"
    "\r\n"
    "The body.\r\n"
    "--=_000000000002D.0CZ123456789--\r\n";

static const char original_utf8[] =
    "From: j\xc3\xbcrgen@example.net\r\n"
    "To: d\xc3\xb6rte@example.org\r\n"
    "Subject: gr\xc3\xbc\xc3\x9f dich\r\n"
    "Message-ID: <2@example.net>\r\n"
    "\r\n"
    "Gr\xc3\xbc\xc3\x9f dich.\r\n";

static struct reply no_user = { 550, "5.1.1", "no such user" };
static struct reply refused = { 554, "", "your mail is not wanted here" };
static struct reply later = { 451, "4.2.1", "come again" };
static struct reply taken = { 250, "2.0.0", "taken" };
static struct reply no_utf8 = { 553, "5.6.7", "the next hop does not take addresses in UTF-8" };
static struct reply unreachable = { 451, "4.4.1", "connect: 192.0.2.9:25: Connection refused" };

#define TRIED 1772368245000

static struct dsn_rcpt bob_failed = {
	.address = { "bob@example.org", 15 }, .action = DSN_FAILED, .reply = &no_user,
	.orcpt = { "rfc822;Robert+2Bx@example.org", 29 },
	.remote_host = { "mx.example.org[192.0.2.9]:25", 28 }, .last_attempt_ms = TRIED,
};

static struct dsn_rcpt delayed[] = {
	{ .address = { "bob@example.org", 15 }, .action = DSN_DELAYED, .reply = &later,
	  .remote_host = { "mx.example.org[192.0.2.9]:25", 28 }, .last_attempt_ms = TRIED,
	  .retry_until_ms = 1772800000000 },
};

static struct dsn_rcpt delivered[] = {
	{ .address = { "bob@example.org", 15 }, .action = DSN_DELIVERED, .reply = &taken,
	  .remote_host = { "box.example.org[192.0.2.9]:24", 29 }, .last_attempt_ms = TRIED },
};

static struct dsn_rcpt relayed[] = {
	{ .address = { "bob@example.org", 15 }, .action = DSN_RELAYED, .reply = &taken,
	  .remote_host = { "mx.example.org[192.0.2.9]:25", 28 }, .last_attempt_ms = TRIED },
};

static struct dsn_rcpt expanded[] = {
	{ .address = { "all@example.org", 15 }, .action = DSN_EXPANDED },
};

static struct dsn_rcpt in_utf8[] = {
	{ .address = { "d\xc3\xb6rte@example.org", 18 }, .action = DSN_FAILED, .reply = &no_utf8,
	  .orcpt = { "utf-8;d\\x{F6}rte@example.org", 28 }, .last_attempt_ms = TRIED },
};

static struct dsn_rcpt several[] = {
	{ .address = { "bob@example.org", 15 }, .action = DSN_FAILED, .reply = &no_user,
	  .remote_host = { "mx.example.org[192.0.2.9]:25", 28 }, .last_attempt_ms = TRIED },
	{ .address = { "\"c d\"@example.org", 17 }, .action = DSN_FAILED, .reply = &refused,
	  .remote_host = { "192.0.2.10[192.0.2.10]:25", 25 }, .last_attempt_ms = TRIED },
	{ .address = { "eve@example.com", 15 }, .action = DSN_FAILED, .expired = true,
	  .reply = &unreachable, .remote_host = { "2001:db8::7[2001:db8::7]:25", 27 },
	  .last_attempt_ms = TRIED },
	{ .address = { "fay@example.com", 15 }, .action = DSN_FAILED, .expired = true },
};

static const struct {
	const char *name;
	const struct dsn_rcpt *rcpts;
	size_t rcpt_count;
	enum envelope_ret ret;
	bool utf8;
	const char *envid;
} fixtures[] = {
	{ "failure-hdrs", &bob_failed, 1, RET_HEADERS, false, "QQ+2B314" },
	{ "failure-full", &bob_failed, 1, RET_FULL, false, "QQ+2B314" },
	{ "delay", delayed, 1, RET_FULL, false, "" },
	{ "delivered", delivered, 1, RET_HEADERS, false, "QQ314" },
	{ "relayed", relayed, 1, RET_HEADERS, false, "" },
	{ "expanded", expanded, 1, RET_HEADERS, false, "" },
	{ "several", several, 4, RET_HEADERS, false, "" },
	{ "utf8-hdrs", in_utf8, 1, RET_HEADERS, true, "" },
	{ "utf8-full", in_utf8, 1, RET_FULL, true, "" },
};

static void
compose(size_t i, struct buf *out)
{
	bool utf8 = fixtures[i].utf8;
	struct span message = span_from_cstr(utf8 ? original_utf8 : original);
	const struct dsn dsn = {
		.hostname = SPAN("relay1.example.net"),
		.postmaster = SPAN("postmaster@example.net"),
		.id = 77,
		.original_id = SPAN("0CZ1234567890"),
		.sender = utf8 ? SPAN("j\xc3\xbcrgen@example.net") : SPAN("alice@example.net"),
		.envid = span_from_cstr(fixtures[i].envid),
		.arrival_ms = 1772368000000,
		.now_ms = 1772368300000,
		.ret = fixtures[i].ret,
		.original_is_8bit = utf8,
		.smtputf8 = utf8,
		.rcpts = fixtures[i].rcpts,
		.rcpt_count = fixtures[i].rcpt_count,
	};

	bool whole = dsn_returns_body(&dsn, message.len, 1 << 20);

	if (!whole)
		message = span_first(message, header_bytes(message));
	assert_int_equal(dsn_compose(&dsn, message, whole, out), 0);
}

static void
notifications_are_as_they_were(void **state)
{
	bool writes = getenv("GOLDEN_WRITE") != NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(fixtures) / sizeof(fixtures[0]); i++) {
		char path[1000], kept[1 << 14];
		struct buf out;
		FILE *file;
		size_t size;

		buf_init(&out, sizeof(kept));
		compose(i, &out);
		(void)snprintf(path, sizeof(path), CHAPAR_SOURCE_DIR "/tests/golden/%s.eml",
		    fixtures[i].name);
		file = fopen(path, writes ? "wb" : "rb");
		if (!file)
			fail_msg("cannot open %s", path);
		if (writes) {
			assert_int_equal(fwrite(buf_cstr(&out), 1, buf_len(&out), file),
			    buf_len(&out));
		} else {
			size = fread(kept, 1, sizeof(kept), file);
			if (!span_equal(span_make(kept, size), buf_span(&out)))
				fail_msg("%s is not what is composed now:\n%s", path,
				    buf_cstr(&out));
		}
		(void)fclose(file);
		buf_fini(&out);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(notifications_are_as_they_were),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
