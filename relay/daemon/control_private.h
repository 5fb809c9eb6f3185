/* What control.c (the socket) and control_session.c (a peer) share. */
#ifndef RELAY_DAEMON_CONTROL_PRIVATE_H
#define RELAY_DAEMON_CONTROL_PRIVATE_H

#include "relay/base/buf.h"
#include "relay/daemon/control.h"

#include <sys/queue.h>

struct control_session;

LIST_HEAD(control_sessions, control_session);

struct control {
	struct loop *loop;
	char *path;
	const struct control_verb *verbs;
	size_t verb_count;
	void *ctx;
	uid_t uid;
	gid_t group;
	bool has_group;
	bool group_may_change;
	int fd;
	struct loop_watch *watch;
	dev_t device;                   /* of the socket file we made */
	ino_t inode;
	struct control_sessions sessions;
	size_t session_count;
};

struct control_request {
	struct control_session *session;
	struct json *document;          /* the line as parsed; NULL: no request is open */
	struct json *no_args;           /* stands for arguments that were not given */
	const struct json *args;
	struct json *end_fields;
	const struct control_hold_ops *hold_ops;
	void *hold_state;
	bool waits;                     /* more() said CONTROL_WAIT */
	bool ended;
};

struct control_session {
	LIST_ENTRY(control_session) entry;
	struct control *control;
	int fd;
	struct loop_watch *watch;
	enum control_right right;
	uid_t uid;
	struct buf input;
	struct buf output;
	struct control_request request;
	struct loop_timer work_timer;   /* 0 ms: the next turn, after sockets had theirs */
	struct loop_timer limit_timer;  /* nothing asked, or nothing read, for too long */
	bool input_ended;
	bool is_lost;
};

/* Takes the descriptor over. */
void control_session_start(struct control *control, int fd, enum control_right right, uid_t uid);

/* Ends it now; what it holds is released. */
void control_session_free(struct control_session *session);

#endif
