#ifndef TESTS_UNIT_SESSION_SERVE_RIG_H
#define TESTS_UNIT_SESSION_SERVE_RIG_H

#include "relay/session/serve.h"
#include "tests/unit/net/net_fixture.h"

/*
 * One connection of a client over loopback: an application by script on one side, raw
 * octets on the other.  What is waited for comes within ten seconds or the test fails.
 */
struct rig {
	struct loop *loop;
	struct listener *listener;
	struct endpoint address;
	struct serve_settings settings;
	struct tls_context *tls;

	/* the application */
	struct serve *serve;
	struct conn *conn;              /* the serve's; looked at only */
	bool refuses;                   /* everybody, by 554 */
	bool parks;                     /* MAIL is answered when the test says so */
	bool parked;
	bool no_room;                   /* body() takes nothing */
	size_t body_octets;
	size_t resets, closed, ended, secured;
	enum serve_end end;
	char end_text[ERR_TEXT_BYTES];

	/* the client */
	int fd;
	struct buf heard;
	bool heard_end;
};

/*
 * A listener on 127.0.0.1 with settings that may be changed before rig_call().  With a clock of
 * the test, time stands still unless the test moves it.
 */
void rig_open(struct rig *rig);
void rig_open_with_clock(struct rig *rig, const struct clock *clock);
void rig_close(struct rig *rig);

/* A client connects. */
void rig_call(struct rig *rig);
void hang_up(struct rig *rig);

/* What the client says, and what it has heard so far. */
void say(struct rig *rig, const char *text);
void listen_once(struct rig *rig);
bool has_heard(struct rig *rig, const char *text);

#define HEAR(rig, text)                                                         \
	do {                                                                    \
		if (!RUN_UNTIL((rig)->loop, has_heard((rig), (text))))          \
			fail_msg("not heard: %s; heard: %s", (text),            \
			    buf_cstr(&(rig)->heard));                           \
	} while (0)

/* Past EHLO, which no command may follow in one packet. */
void greet(struct rig *rig);

/* Until the session has ended, and in this way. */
void wait_ended(struct rig *rig, enum serve_end end);

#endif
