/*
 * The whole way out on one loop: a real queue in a directory of its own, the pool,
 * calls over loopback, and peers by script that fail at every stage.  Each case says
 * what must have become of the recipient; nothing may be lost, and nothing told that
 * is not so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "relay/base/buf.h"
#include "relay/base/clock.h"
#include "relay/base/file.h"
#include "relay/base/log.h"
#include "tests/unit/outbound/rig.h"

/* ---- what is to be seen of a message that waits ---- */

struct seen {
	size_t units, rcpts;
	enum queue_reason reason;
	uint32_t attempts;
	size_t history;
};

static void
see_unit(void *ctx, const struct outbound_unit *unit)
{
	struct seen *seen = ctx;

	seen->units++;
	seen->rcpts += unit->rcpt_count;
	seen->reason = unit->reason;
	seen->attempts = unit->attempt_count;
	seen->history = unit->attempt_count_kept;
	assert_true(span_equal_cstr(unit->route, "onward"));
	assert_true(unit->expires_wall_ms > 0);
}

static const struct {
	const char *name;
	bool lmtp;
	enum stage at;
	const char *reply;
	size_t times;
	/* expected */
	size_t messages;                /* the peer has taken */
	bool stays;                     /* in the queue, deferred */
	enum queue_reason reason;
	bool notice;                    /* the sender is told: a second message goes out */
} stage_cases[] = {
	{ "all is well", false, AT_NOWHERE, "", 0, 1, false, 0, false },
	{ "all is well by LMTP", true, AT_NOWHERE, "", 0, 1, false, 0, false },
	/* The host's affairs: tried again by its breaker, with no time of the message's own. */
	{ "cut at the greeting", false, AT_GREETING, CUT, 1, 1, false, 0, false },
	{ "554 greeting", false, AT_GREETING, "554 5.7.1 go away", 2, 1, false, 0, false },
	{ "421 greeting", false, AT_GREETING, "421 4.3.2 later", 2, 1, false, 0, false },
	{ "nonsense greeting", false, AT_GREETING, "hello there", 2, 1, false, 0, false },
	{ "451 greeting", false, AT_GREETING, "451 4.7.1 later", 2, 1, false, 0, false },
	{ "cut at EHLO", false, AT_HELLO, CUT, 2, 1, false, 0, false },
	{ "421 at EHLO", false, AT_HELLO, "421 4.3.2 closing", 2, 1, false, 0, false },
	{ "4yz at EHLO", false, AT_HELLO, "451 4.7.1 later", 2, 1, false, 0, false },
	{ "5yz at EHLO, then HELO", false, AT_HELLO, "502 5.5.1 what?", 1, 1, false, 0, false },
	{ "5yz at EHLO and HELO", false, AT_HELLO, "550 5.7.1 no", 2, 1, false, 0, false },
	{ "5yz at LHLO", true, AT_HELLO, "550 5.7.1 no", 2, 1, false, 0, false },
	{ "four failures: the breaker", false, AT_GREETING, CUT, 4, 1, false, 0, false },
	{ "4.3.1 at MAIL is the host's", false, AT_MAIL, "452 4.3.1 full", 1, 1, false, 0, false },
	{ "421 at MAIL", false, AT_MAIL, "421 4.3.2 closing", 1, 1, false, 0, false },
	{ "cut at MAIL", false, AT_MAIL, CUT, 1, 1, false, 0, false },
	{ "cut at RCPT", false, AT_RCPT, CUT, 1, 1, false, 0, false },
	{ "421 at RCPT", false, AT_RCPT, "421 4.3.2 closing", 1, 1, false, 0, false },
	{ "421 at DATA", false, AT_DATA, "421 4.3.2 closing", 1, 1, false, 0, false },
	{ "421 at the end", false, AT_END, "421 4.3.2 closing", 1, 1, false, 0, false },
	{ "cut at DATA", false, AT_DATA, CUT, 1, 1, false, 0, false },
	{ "cut at MAIL by LMTP", true, AT_MAIL, CUT, 1, 1, false, 0, false },
	{ "cut at RCPT by LMTP", true, AT_RCPT, CUT, 1, 1, false, 0, false },
	{ "cut at DATA by LMTP", true, AT_DATA, CUT, 1, 1, false, 0, false },
	/* The recipient's: each has its own time. */
	{ "4yz at RCPT", false, AT_RCPT, "450 4.2.1 later", 1, 0, true, REASON_WAITING_RETRY,
	    false },
	{ "greylisting", false, AT_RCPT, "451 4.7.1 greylisted", 1, 0, true, REASON_WAITING_RETRY,
	    false },
	{ "4yz at MAIL", false, AT_MAIL, "451 4.2.0 later", 1, 0, true, REASON_WAITING_RETRY,
	    false },
	{ "4yz at DATA", false, AT_DATA, "451 4.2.0 later", 1, 0, true, REASON_WAITING_RETRY,
	    false },
	{ "4yz at RCPT by LMTP", true, AT_RCPT, "450 4.2.1 later", 1, 0, true,
	    REASON_WAITING_RETRY, false },
	{ "cut twice at MAIL", false, AT_MAIL, CUT, 2, 0, true, REASON_WAITING_RETRY, false },
	{ "cut twice at RCPT", false, AT_RCPT, CUT, 2, 0, true, REASON_WAITING_RETRY, false },
	{ "cut twice at DATA", false, AT_DATA, CUT, 2, 0, true, REASON_WAITING_RETRY, false },
	{ "4yz at the end", false, AT_END, "451 4.2.0 later", 1, 0, true, REASON_WAITING_RETRY,
	    false },
	{ "4yz at the end by LMTP", true, AT_END, "451 4.2.0 later", 1, 0, true,
	    REASON_WAITING_RETRY, false },
	/* Lost after the final dot: it may be there. */
	{ "cut after the dot", false, AT_END, CUT, 1, 0, true, REASON_UNCERTAIN, false },
	{ "cut after the dot by LMTP", true, AT_END, CUT, 1, 0, true, REASON_UNCERTAIN, false },
	/* Refused for good: the sender is told, which is one more message. */
	{ "5yz at MAIL", false, AT_MAIL, "550 5.1.8 no", 1, 1, false, 0, true },
	{ "5yz at MAIL by LMTP", true, AT_MAIL, "550 5.1.8 no", 1, 1, false, 0, true },
	{ "5yz at RCPT by LMTP", true, AT_RCPT, "550 5.1.1 no such user", 1, 1, false, 0, true },
	{ "5yz at DATA by LMTP", true, AT_DATA, "554 5.6.0 no", 1, 1, false, 0, true },
	{ "5yz at RCPT", false, AT_RCPT, "550 5.1.1 no such user", 1, 1, false, 0, true },
	{ "5yz at DATA", false, AT_DATA, "554 5.6.0 no", 1, 1, false, 0, true },
	{ "5yz at the end", false, AT_END, "552 5.3.4 too big", 1, 1, false, 0, true },
	{ "5yz at the end by LMTP", true, AT_END, "550 5.2.1 no", 1, 1, false, 0, true },
};

static void
run_stage_case(size_t i, size_t body_bytes)
{
	struct rig rig;
	struct peer peer;
	struct seen seen = { 0 };

	print_message("stage: %s\n", stage_cases[i].name);
	rig_open(&rig);
	peer_open(&peer, rig.loop, 0);
	peer.lmtp = stage_cases[i].lmtp;
	peer.at = stage_cases[i].at;
	peer.reply = stage_cases[i].reply;
	peer.times = stage_cases[i].times;
	rig_configure(&rig, &peer, 1, peer.lmtp);
	queue_start(rig.queue);
	rig_submit(&rig, "ann@example.org", 1, body_bytes);
	if (stage_cases[i].stays) {
		for (int turn = 0; turn < 200 && seen.attempts < stage_cases[i].times; turn++) {
			rig_turn(&rig, 1);
			seen = (struct seen){ 0 };
			assert_true(outbound_explain(rig.outbound, rig.last_id, see_unit, &seen));
		}
		assert_int_equal(seen.units, 1);
		assert_int_equal(seen.rcpts, 1);
		assert_int_equal(seen.reason, stage_cases[i].reason);
		assert_int_equal(seen.history, stage_cases[i].times);
		assert_int_equal(peer.times, 0);
		/* It is tried again when an operator says so, and goes. */
		assert_true(outbound_retry(rig.outbound, rig.last_id));
	}
	rig_until(&rig, 0);
	assert_int_equal(peer.messages,
	    stage_cases[i].stays ? 1 : stage_cases[i].messages);
	if (stage_cases[i].notice) {
		size_t at;

		assert_true(span_find(buf_span(&peer.last_body), SPAN("delivery-status"), &at));
		assert_true(span_find(buf_span(&peer.last_body), SPAN("user0@example.net"), &at));
		assert_true(span_find(buf_span(&peer.last_body),
		    span_from_cstr(strchr(stage_cases[i].reply, ' ') + 7), &at));
	}
	rig_stop(&rig, 200);
	rig_turn(&rig, 5);
	peer_close(&peer);
	rig_close(&rig);
}

static void
test_stages(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(stage_cases) / sizeof(*stage_cases); i++)
		run_stage_case(i, 1000);
}

/* Delivered, and the record of it not yet written: that is no letter which nobody tried. */
static void
test_settled_is_not_new(void **state)
{
	struct rig rig;
	struct peer peer;
	size_t seen_settled = 0;

	(void)state;
	rig_open(&rig);
	peer_open(&peer, rig.loop, 0);
	rig_configure(&rig, &peer, 1, false);
	queue_start(rig.queue);
	for (int letter = 0; letter < 10; letter++) {
		struct outbound_summary summary;
		int turns = 0;

		rig_submit(&rig, "ann@example.org", 1, 1000);
		while (outbound_summary(rig.outbound, rig.last_id, &summary) && turns++ < 500) {
			if (summary.unit_count == 0) {
				assert_int_equal(summary.reason, REASON_SETTLED);
				seen_settled++;
			}
			rig_turn(&rig, 1);
		}
		assert_true(turns < 500);
	}
	assert_true(seen_settled > 0);
	rig_stop(&rig, 200);
	peer_close(&peer);
	rig_close(&rig);
}

/* ---- what the log says ---- */

struct logged {
	struct log *log;
	struct log_ring *before;
	struct buf text;
	int fd;
};

static void
logged_begin(struct logged *logged)
{
	logged->fd = memfd_create("log", MFD_CLOEXEC);
	logged->log = log_new(&(struct log_settings){ .clock = clock_system(), .fd = logged->fd,
	    .level = LOG_LEVEL_INFO, .synchronous = true });
	logged->before = log_use(NULL);
	(void)log_attach(logged->log, NULL);
	buf_init(&logged->text, 1 << 20);
}

static void
logged_end(struct logged *logged)
{
	buf_fini(&logged->text);
	(void)log_use(logged->before);
	log_free(&logged->log);
	(void)close(logged->fd);
}

static struct span
logged_read(struct logged *logged)
{
	buf_clear(&logged->text);
	assert_int_equal(lseek(logged->fd, 0, SEEK_SET), 0);
	assert_int_equal(file_read_whole_fd(logged->fd, &logged->text, NULL), 0);
	return buf_span(&logged->text);
}

/* True when a deferred line tells a time that is not at once. */
static bool
log_tells_a_time(struct logged *logged)
{
	size_t at;

	for (struct span rest = logged_read(logged); span_find(rest, SPAN(" next="), &at);
	    rest = span_skip(rest, at + 6))
		if (rest.data[at + 6] != '0')
			return true;
	return false;
}

static void
test_log_of_a_host_that_is_down(void **state)
{
	struct rig rig;
	struct peer peer;
	struct logged logged;
	char wanted[64];
	size_t at;

	(void)state;
	logged_begin(&logged);
	rig_open(&rig);
	peer_open(&peer, rig.loop, 0);
	snprintf(wanted, sizeof(wanted), " host=127.0.0.1[127.0.0.1]:%u ", peer.port);
	peer_close(&peer);
	rig_configure(&rig, &peer, 1, false);
	queue_start(rig.queue);
	rig_submit(&rig, "ann@example.org", 1, 100);
	for (int turn = 0; turn < 200 && !log_tells_a_time(&logged); turn++)
		rig_turn(&rig, 1);
	assert_true(span_find(buf_span(&logged.text), SPAN("event=deferred"), &at));
	/* Its breaker is open: the line says when the host is asked again. */
	assert_true(log_tells_a_time(&logged));
	assert_true(span_find(buf_span(&logged.text), span_from_cstr(wanted), &at));
	rig_stop(&rig, 200);
	rig_turn(&rig, 5);
	rig_close(&rig);
	logged_end(&logged);
}

/* A host that talks, but takes no mail now: its own words are told, with their code and status. */
static const struct {
	enum stage at;
	const char *reply, *logged;
} refusing_hosts[] = {
	{ AT_GREETING, "451 4.7.1 not you now", "code=451 status=4.7.1 reply=\"not you now\"" },
	{ AT_GREETING, "554 5.7.1 not you", "code=554 status=5.7.1 reply=\"not you\"" },
	{ AT_GREETING, "421 4.3.2 going down", "code=421 status=4.3.2 reply=\"going down\"" },
	{ AT_HELLO, "450 4.7.1 what name", "code=450 status=4.7.1 reply=\"what name\"" },
	{ AT_MAIL, "452 4.3.1 no room", "code=452 status=4.3.1 reply=\"no room\"" },
	{ AT_DATA, "421 4.3.2 going down", "code=421 status=4.3.2 reply=\"going down\"" },
};

static void
test_log_of_a_host_that_refuses(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refusing_hosts) / sizeof(refusing_hosts[0]); i++) {
		struct rig rig;
		struct peer peer;
		struct logged logged;
		size_t at;

		logged_begin(&logged);
		rig_open(&rig);
		peer_open(&peer, rig.loop, 0);
		peer.at = refusing_hosts[i].at;
		peer.reply = refusing_hosts[i].reply;
		peer.times = 1;
		rig_configure(&rig, &peer, 1, false);
		queue_start(rig.queue);
		rig_submit(&rig, "ann@example.org", 1, 100);
		rig_until(&rig, 0);
		if (!span_find(logged_read(&logged), span_from_cstr(refusing_hosts[i].logged), &at))
			fail_msg("%s: %.*s", peer.reply, SPAN_ARGS(buf_span(&logged.text)));
		rig_stop(&rig, 200);
		rig_turn(&rig, 5);
		peer_close(&peer);
		rig_close(&rig);
		logged_end(&logged);
	}
}

/* With OUTBOUND_TEST_LOG set the log's lines appear on standard error. */
static struct log *
start_log(void)
{
	struct log *log;

	if (!getenv("OUTBOUND_TEST_LOG"))
		return NULL;
	log = log_new(&(struct log_settings){
		.clock = clock_system(),
		.fd = STDERR_FILENO,
		.level = LOG_LEVEL_DEBUG,
		.synchronous = true,
	});
	(void)log_attach(log, NULL);
	return log;
}

int
main(void)
{
	struct log *log = start_log();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stages),
		cmocka_unit_test(test_settled_is_not_new),
		cmocka_unit_test(test_log_of_a_host_that_is_down),
		cmocka_unit_test(test_log_of_a_host_that_refuses),
	};

	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	if (log) {
		log_use(NULL);
		log_free(&log);
	}
	return failed;
}
