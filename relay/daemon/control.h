/*
 * The control socket: operators ask, the hub answers.
 *
 * A UNIX stream socket, mode 0660.  A request is one JSON document on a line,
 *
 *	{"verb":"list","args":{"state":"held"}}
 *
 * and the answer is any number of {"item":...} lines and one last line {"end":{"code":0,...}}, or
 * {"end":{"code":77,"error":"..."}}.  Requests of a session are answered one after the other; the
 * session reads no further line while it answers.  Who may what is decided by the credentials of
 * the peer (SO_PEERCRED, SO_PEERGROUPS): root and the service's own user may look and change, a
 * configured group what the settings say, and nobody else anything.
 *
 * Garbage, a line that is too long, or a peer that does not read costs that session only.
 * Everything here is for the hub's thread.
 */
#ifndef RELAY_DAEMON_CONTROL_H
#define RELAY_DAEMON_CONTROL_H

#include "relay/base/err.h"
#include "relay/base/json.h"
#include "relay/net/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	CONTROL_LINE_BYTES_MAX = 256 * 1024,    /* of a request */
	CONTROL_ANSWER_BYTES_MAX = 1024 * 1024, /* of one line of an answer */
	CONTROL_SESSIONS_MAX = 32,
	CONTROL_ITEMS_A_TURN = 256,             /* what more() should give at most */
};

/* How a request ended: sysexits, and 1 for "nothing matched".  relayctl exits with it. */
enum control_code {
	CONTROL_OK = 0,
	CONTROL_NO_MATCH = 1,
	CONTROL_USAGE = 64,
	CONTROL_UNAVAILABLE = 69,
	CONTROL_SOFTWARE = 70,
	CONTROL_IO = 74,
	CONTROL_TRY_AGAIN = 75,
	CONTROL_DENIED = 77,
	CONTROL_BAD_CONFIG = 78,
};

enum control_right {
	CONTROL_NOTHING,
	CONTROL_LOOK,
	CONTROL_CHANGE,
};

struct control;
struct control_request;

/* One row of a daemon's table of verbs. */
struct control_verb {
	const char *name;
	enum control_right right;       /* what the peer must be allowed */
	/* Answers now, or calls control_hold() and answers later. */
	void (*handle)(void *ctx, struct control_request *request);
	const char *help;               /* one sentence */
};

struct control_settings {
	const char *path;
	const struct control_verb *verbs;       /* outlive the control */
	size_t verb_count;
	void *ctx;                              /* for handle() */
	const char *group;                      /* NULL: none */
	bool group_may_change;
	uid_t uid;                              /* the service's own user, owner of the socket */
};

/*
 * Bind and listen.  A socket file that nobody listens on is replaced; one that answers is
 * ERR_BUSY; any other file in its place is left alone and is an error.  As root the file is
 * given to UID, so this may come before privileges are dropped.
 */
struct control *
control_open(struct loop *loop, const struct control_settings *settings, struct err *err);

/*
 * Ends every session and removes the socket file if it is still ours.  Calls release() of every
 * request that is held.
 */
void control_close(struct control **control);

size_t control_session_count(const struct control *control);

/* The arguments: an object, empty where none were given.  Valid until the request ends. */
const struct json *control_args(const struct control_request *request);

/* What the peer may do; who it is. */
enum control_right control_request_right(const struct control_request *request);
uid_t control_request_uid(const struct control_request *request);

/* Give one item; takes ITEM over.  One that is longer than the bound is replaced by a note. */
void control_item(struct control_request *request, struct json *item);

/* Is there so much output waiting that the giver should return to the loop? */
bool control_is_full(const struct control_request *request);

/* An object for fields of the end line beside code and error; lent. */
struct json *control_end_fields(struct control_request *request);

/*
 * End the answer.  Once for each request, after which REQUEST is gone.  ERROR is what the
 * operator reads; NULL format where there is nothing to say.
 */
void control_end(struct control_request *request, enum control_code code);
void control_fail(struct control_request *request, enum control_code code, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* What more() says. */
enum control_pace {
	CONTROL_AGAIN,          /* call me again, next turn, when the peer has read */
	CONTROL_WAIT,           /* I wait for something: I call control_go_on() when it came */
	CONTROL_ENDED,          /* control_end() or control_fail() was called */
};

struct control_hold_ops {
	/*
	 * May be NULL when the answer comes in one piece.  Gives at most CONTROL_ITEMS_A_TURN
	 * items.
	 */
	enum control_pace (*more)(void *state, struct control_request *request);
	/*
	 * Exactly once: the request has ended, or its session is lost.  From then on REQUEST is
	 * gone, so what still runs for it must be cancelled here.
	 */
	void (*release)(void *state);
};

/*
 * For an answer that takes more than one turn; to be called inside handle(), once.  With more()
 * it is first called after handle() has returned; without, the request waits as if it had
 * returned CONTROL_WAIT, and control_item(), control_end() may be called at any time.
 */
void
control_hold(struct control_request *request, const struct control_hold_ops *ops, void *state);

void control_go_on(struct control_request *request);

#endif
