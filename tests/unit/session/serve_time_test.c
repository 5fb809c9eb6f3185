/*
 * The time that a client has in its session: deadlines of lines and bodies, and their pace.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/sockios.h>

#include <cmocka.h>

#include "tests/unit/session/serve_rig.h"

/* What was sent has come as far as the relay's side of the connection, and been read. */
static void
arrive(struct rig *rig)
{
	uint64_t end_ms = test_now_ms() + TEST_WAIT_MS;
	int on_its_way;

	while (ioctl(rig->fd, SIOCOUTQ, &on_its_way) == 0 && on_its_way > 0 &&
	    test_now_ms() < end_ms)
		loop_turn(rig->loop, 1);
	loop_turn(rig->loop, 0);
	loop_turn(rig->loop, 0);
	listen_once(rig);
}

/* Says TEXT octet by octet, one every 20 ms, until the session has ended; the time it took. */
static uint64_t
trickle(struct rig *rig, struct clock_manual *clock, const char *text, bool again)
{
	size_t at = 0, len = strlen(text);
	uint64_t ms = 0;

	for (; !rig->ended && !rig->heard_end && ms < TEST_WAIT_MS; ms += 20) {
		if (at < len)
			(void)send(rig->fd, text + at++, 1, MSG_NOSIGNAL);
		if (at == len && again)
			at = 0;
		arrive(rig);
		clock_manual_advance_ms(clock, 20);
		arrive(rig);
	}
	return ms;
}

static const struct {
	const char *name, *before, *heard;
	const char *trickled;
	bool again;
	uint64_t command_ms, data_ms, session_ms;
	uint64_t took_ms;
} deadline_cases[] = {
	/* An octet now and then does not move it. */
	{ "a command line", "", "220 ", "N", true, 200, 10000, 0, 200 },
	{ "silence", "", "220 ", "", false, 150, 10000, 0, 160 },
	/* The last of 18 octets comes after 340. */
	{ "whole commands move it, then silence", "", "220 ", "NOOP\r\nNOOP\r\nNOOP\r\n", false,
	    250, 10000, 0, 600 },
	{ "a body without progress", "MAIL FROM:<>\r\nRCPT TO:<b@c>\r\nDATA\r\n", "354 ",
	    "", false, 10000, 150, 0, 160 },
	/* The last of 21 comes after 400. */
	{ "a body with progress, then without", "MAIL FROM:<>\r\nRCPT TO:<b@c>\r\n"
	    "DATA\r\n", "354 ", "xxxxxxxxxxxxxxxxxxxxx", false, 10000, 250, 0, 660 },
	{ "the session as a whole", "", "220 ", "NOOP\r\n", true, 10000, 10000, 300, 300 },
};

static void
test_deadlines(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(deadline_cases) / sizeof(deadline_cases[0]); i++) {
		struct clock_manual clock;
		struct rig rig;

		print_message("%s\n", deadline_cases[i].name);
		clock_manual_init(&clock, 1000, 0);
		rig_open_with_clock(&rig, &clock.clock);
		rig.settings.command_timeout_ms = deadline_cases[i].command_ms;
		rig.settings.data_timeout_ms = deadline_cases[i].data_ms;
		rig.settings.session_timeout_ms = deadline_cases[i].session_ms;
		rig_call(&rig);
		if (deadline_cases[i].before[0])
			greet(&rig);
		say(&rig, deadline_cases[i].before);
		HEAR(&rig, deadline_cases[i].heard);
		assert_int_equal(trickle(&rig, &clock, deadline_cases[i].trickled,
		    deadline_cases[i].again), deadline_cases[i].took_ms);
		HEAR(&rig, "421 4.4.2 ");
		wait_ended(&rig, SERVE_END_TIMEOUT);
		rig_close(&rig);
	}
}

static const struct {
	const char *name, *begins, *piece;
} pace_cases[] = {
	{ "octets of DATA", "DATA\r\n", "x" },
	/* Each ends before a deadline of its own could pass: the pace is that of the message. */
	{ "chunks of an octet", "BDAT 1\r\nx", "BDAT 1\r\nx" },
	{ "octets of a chunk", "BDAT 100000\r\n", "x" },
	{ "silence between chunks", "BDAT 1\r\nx", "" },
};

/* A body that is slower than it may be ends the session, whatever it is cut into. */
static void
test_pace(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(pace_cases) / sizeof(pace_cases[0]); i++) {
		struct rig rig;
		uint64_t end_ms;

		print_message("%s\n", pace_cases[i].name);
		rig_open(&rig);
		rig.settings.body_bytes_second_min = 1000;
		rig.settings.body_grace_ms = 200;
		rig_call(&rig);
		greet(&rig);
		say(&rig, "MAIL FROM:<>\r\nRCPT TO:<b@c>\r\n");
		HEAR(&rig, "250 2.1.5");
		say(&rig, pace_cases[i].begins);
		end_ms = loop_now_ms(rig.loop) + TEST_WAIT_MS;
		while (!rig.ended && !rig.heard_end && loop_now_ms(rig.loop) < end_ms) {
			uint64_t next_ms = loop_now_ms(rig.loop) + 20;

			(void)send(rig.fd, pace_cases[i].piece, strlen(pace_cases[i].piece),
			    MSG_NOSIGNAL);
			while (loop_now_ms(rig.loop) < next_ms)
				loop_turn(rig.loop, 5);
			listen_once(&rig);
		}
		HEAR(&rig, "421 4.4.2 ");
		wait_ended(&rig, SERVE_END_TIMEOUT);
		rig_close(&rig);
	}
}

/* Who was refused may say QUIT, and has little time for it, whatever else he says. */
static void
test_refused(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct rig rig;
		uint64_t begun_ms;

		(void)state;
		rig_open(&rig);
		rig.refuses = true;
		rig.settings.refused_timeout_ms = 400;
		begun_ms = loop_now_ms(rig.loop);
		rig_call(&rig);
		HEAR(&rig, "554 ");
		if (i == 1) {
			say(&rig, "EHLO x\r\n");
			HEAR(&rig, "503 5.5.1 ");
		}
		HEAR(&rig, "421 4.4.2 ");
		wait_ended(&rig, SERVE_END_TIMEOUT);
		assert_true(loop_now_ms(rig.loop) - begun_ms >= 400);
		rig_close(&rig);

		rig_open(&rig);
		rig.refuses = true;
		rig_call(&rig);
		HEAR(&rig, "554 ");
		say(&rig, "QUIT\r\n");
		HEAR(&rig, "221 ");
		wait_ended(&rig, SERVE_END_QUIT);
		rig_close(&rig);
	}
}

static void
test_no_deadline_while_we_think(void **state)
{
	const struct reply answer = { 250, "2.1.0", "late" };
	struct rig rig;
	uint64_t end_ms;

	(void)state;
	rig_open(&rig);
	rig.parks = true;
	rig.settings.command_timeout_ms = 100;
	rig_call(&rig);
	greet(&rig);
	say(&rig, "MAIL FROM:<>\r\n");
	assert_true(RUN_UNTIL(rig.loop, rig.parked));
	end_ms = loop_now_ms(rig.loop) + 300;
	while (loop_now_ms(rig.loop) < end_ms)
		loop_turn(rig.loop, 20);
	assert_int_equal(rig.ended, 0);
	serve_answer(rig.serve, &answer);
	HEAR(&rig, "250 2.1.0 late");
	wait_ended(&rig, SERVE_END_TIMEOUT);
	rig_close(&rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_deadlines),
		cmocka_unit_test(test_pace),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_no_deadline_while_we_think),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
