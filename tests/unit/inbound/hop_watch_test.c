#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "relay/base/buf.h"
#include "relay/inbound/hop_watch.h"

#define OURS "Received: from x (y [192.0.2.1])\r\n\tby relay.example with ESMTPS\r\n" \
	     "\tid 0CZ7F2QK8M3AB"
#define FOR(address) OURS "\r\n\tfor <" address ">; Sun, 01 Mar 2026 12:00:00 +0000\r\n"
#define SEVERAL OURS "; Sun, 01 Mar 2026 12:00:00 +0000\r\n"
#define THEIRS "Received: from a by b.example with SMTP id 1; Sun, 01 Mar 2026 12:00:00 +0000\r\n"

static const struct {
	const char *name;
	const char *head;
	enum hop_loop found;
} cases[] = {
	{ "no trace at all", "Subject: x\r\n\r\nbody", HOP_LOOP_NONE },
	{ "a hop of somebody else", THEIRS "\r\n", HOP_LOOP_NONE },
	{ "it was here", FOR("a@site.example") THEIRS "\r\n", HOP_LOOP_OWN },
	{ "below others", THEIRS THEIRS FOR("a@site.example") "\r\n", HOP_LOOP_OWN },
	{ "for somebody else", FOR("list@lists.example") "\r\n", HOP_LOOP_OWN },
	{ "for several", SEVERAL "\r\n", HOP_LOOP_OWN },
	{ "our name in another place", "Received: from relay.example by b.example id 0CZ7F2QK8M3AB "
	  "for <a@site.example>; x\r\n\r\n", HOP_LOOP_NONE },
	{ "our name below another", "Received: by a.relay.example id 0CZ7F2QK8M3AB; x\r\n\r\n",
	  HOP_LOOP_NONE },
	{ "an id that is none of ours", "Received: by relay.example id short for <a@site.example>;"
	  " x\r\n\r\n", HOP_LOOP_NONE },
	{ "no id", "Received: by relay.example with ESMTP; x\r\n\r\n", HOP_LOOP_NONE },
	{ "a name of any case", "RECEIVED: by RELAY.EXAMPLE id 0CZ7F2QK8M3AB for <a@site.example>;"
	  " x\r\n\r\n", HOP_LOOP_OWN },
	{ "a client that calls itself by", "Received: from by ([192.0.2.1])\r\n\tby relay.example "
	  "with ESMTP id 0CZ7F2QK8M3AB; x\r\n\r\n", HOP_LOOP_OWN },
	{ "a client that calls itself id", "Received: from id (id [192.0.2.1])\r\n\tby "
	  "relay.example with ESMTP id 0CZ7F2QK8M3AB; x\r\n\r\n", HOP_LOOP_OWN },
	{ "in the body it is text", "Subject: x\r\n\r\n" FOR("a@site.example"), HOP_LOOP_NONE },
	{ "in another field it is text", "X-Received: y\r\n by relay.example id 0CZ7F2QK8M3AB "
	  "for <a@site.example>\r\n\r\n", HOP_LOOP_NONE },
};

static enum hop_loop
watch_head(struct span head, size_t piece)
{
	struct hop_watch watch;
	enum hop_loop found = HOP_LOOP_NONE;

	hop_watch_init(&watch, SPAN("relay.example"));
	for (size_t at = 0; at < head.len; at += piece)
		found = hop_watch_feed(&watch, span_slice(head, at, piece));
	return found;
}

static void
test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		for (size_t piece = 1; piece < 70; piece += 17)
			if (watch_head(span_from_cstr(cases[i].head), piece) !=
			    cases[i].found)
				fail_msg("%s, in pieces of %zu", cases[i].name, piece);
}

static void
test_hops(void **state)
{
	struct buf head;

	(void)state;
	buf_init(&head, 1 << 16);
	for (int i = 0; i < HOP_WATCH_RECEIVED_COUNT_MAX; i++)
		assert_int_equal(buf_append_cstr(&head, THEIRS), 0);
	assert_int_equal(buf_append_cstr(&head, "\r\n"), 0);
	assert_int_equal(watch_head(buf_span(&head), 1000), HOP_LOOP_NONE);
	buf_truncate(&head, buf_len(&head) - 2);
	assert_int_equal(buf_append_cstr(&head, THEIRS "\r\n"), 0);
	assert_int_equal(watch_head(buf_span(&head), 1000), HOP_LOOP_TOO_LONG);
	buf_fini(&head);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_hops),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
