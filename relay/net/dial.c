#include "relay/net/dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/base/mem.h"
#include "relay/net/conn_private.h"
#include "relay/net/endpoint_private.h"

enum {
	DIAL_STAGGER_MS = 250,
	DIAL_ADDRESS_TIMEOUT_MS = 30 * 1000,
	DIAL_TIMEOUT_MS = 2 * 60 * 1000,
};

/* One address: untried until its turn, then a socket that connects, then a word why not. */
struct candidate {
	struct dial *dial;
	size_t number;
	int fd;                         /* -1: none */
	struct loop_watch *watch;
	struct loop_timer timeout;
};

struct dial {
	struct loop *loop;
	struct dial_settings settings;
	struct endpoint source_ipv4, source_ipv6;
	void (*done)(void *ctx, const struct dial_result *result);
	void *ctx;
	size_t count;
	size_t next;                    /* not tried yet */
	size_t open_count;
	struct loop_timer stagger;
	struct loop_timer timeout;
	struct candidate candidates[DIAL_ADDRESS_COUNT_MAX];
	struct dial_attempt attempts[DIAL_ADDRESS_COUNT_MAX];
};

static void try_next(struct dial *dial);

static void
close_candidate(struct candidate *candidate)
{
	struct dial *dial = candidate->dial;

	if (candidate->fd < 0)
		return;
	loop_watch_free(&candidate->watch);
	loop_timer_stop(dial->loop, &candidate->timeout);
	(void)close(candidate->fd);
	candidate->fd = -1;
	dial->open_count--;
}

static void
free_dial(struct dial *dial)
{
	for (size_t i = 0; i < dial->count; i++)
		close_candidate(&dial->candidates[i]);
	loop_timer_stop(dial->loop, &dial->stagger);
	loop_timer_stop(dial->loop, &dial->timeout);
	mem_free(&dial);
}

static void
finish(struct dial *dial, struct conn *conn, size_t winner)
{
	struct err err = { 0 };
	const struct dial_attempt *last = NULL;
	char text[ENDPOINT_TEXT_BYTES_MAX];

	for (size_t i = 0; i < dial->count; i++) {
		close_candidate(&dial->candidates[i]);
		if (dial->attempts[i].text[0])
			last = &dial->attempts[i];
	}
	if (!conn && last)
		(void)err_set(&err, last->kind, "%s: %.200s%s",
		    endpoint_print(&last->address, text), last->text,
		    dial->count > 1 ? ", and no other address answered" : "");
	else if (!conn)
		(void)err_set(&err, ERR_TIMEOUT, "no address answered in time");
	dial->done(dial->ctx, &(struct dial_result){
		.conn = conn,
		.winner = winner,
		.attempts = dial->attempts,
		.attempt_count = dial->count,
		.err = conn ? NULL : &err,
	});
	free_dial(dial);
}

/* The next one at once, or the end when there is none and nothing is under way. */
static void
go_on(struct dial *dial)
{
	if (dial->next < dial->count)
		loop_timer_start(dial->loop, &dial->stagger, 0);
	else if (dial->open_count == 0)
		finish(dial, NULL, 0);
}

static void
note_failure(struct dial *dial, size_t number, const struct err *err)
{
	struct dial_attempt *attempt = &dial->attempts[number];

	attempt->kind = err->kind;
	for (size_t i = 0; i + 1 < sizeof(attempt->text) && err->text[i]; i++)
		attempt->text[i] = err->text[i];
}

static void
fail(struct candidate *candidate, const struct err *err)
{
	struct dial *dial = candidate->dial;

	note_failure(dial, candidate->number, err);
	close_candidate(candidate);
	go_on(dial);
}

static void
address_timed_out(void *ctx)
{
	struct err err;

	(void)err_set(&err, ERR_TIMEOUT, "no answer to the connection in time");
	fail(ctx, &err);
}

static void
connected(struct candidate *candidate)
{
	struct dial *dial = candidate->dial;
	struct endpoint local = { 0 };
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);
	int fd = candidate->fd, on = 1;
	struct conn *conn;

	if (getsockname(fd, (struct sockaddr *)&address, &len) == 0)
		endpoint_from_sockaddr(&local, &address, len);
	/* All output of a turn leaves in one call: waiting for more only delays. */
	if (dial->attempts[candidate->number].address.family != ENDPOINT_UNIX)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	loop_watch_free(&candidate->watch);
	loop_timer_stop(dial->loop, &candidate->timeout);
	candidate->fd = -1;
	dial->open_count--;
	conn = conn_new(fd, &dial->attempts[candidate->number].address, &local);
	finish(dial, conn, candidate->number);
}

static void
socket_ready(void *ctx, unsigned events)
{
	struct candidate *candidate = ctx;
	socklen_t len = sizeof(int);
	int error = 0;
	struct err err;

	(void)events;
	if (getsockopt(candidate->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error == 0) {
		connected(candidate);
		return;
	}
	errno = error;
	(void)err_set_errno(&err, "connect");
	fail(candidate, &err);
}

static int
bind_source(const struct dial *dial, int fd, enum endpoint_family family, struct err *err)
{
	const struct endpoint *source = family == ENDPOINT_IPV4 ? dial->settings.source_ipv4 :
	    family == ENDPOINT_IPV6 ? dial->settings.source_ipv6 : NULL;
	struct sockaddr_storage address;
	char text[ENDPOINT_TEXT_BYTES_MAX];
	socklen_t len;

	if (!source)
		return 0;
	len = endpoint_to_sockaddr(source, &address);
	if (bind(fd, (const struct sockaddr *)&address, len) < 0)
		return err_set_errno(err, "bind to %s", endpoint_print_ip(source, text));
	return 0;
}

/* -1 when it failed at once. */
static int
begin(struct candidate *candidate, struct err *err)
{
	struct dial *dial = candidate->dial;
	const struct endpoint *to = &dial->attempts[candidate->number].address;
	struct sockaddr_storage address;
	socklen_t len = endpoint_to_sockaddr(to, &address);
	int fd = socket(endpoint_socket_family(to), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_set_errno(err, "socket");
	if (bind_source(dial, fd, to->family, err) < 0) {
		(void)close(fd);
		return -1;
	}
	if (connect(fd, (const struct sockaddr *)&address, len) < 0 && errno != EINPROGRESS) {
		(void)err_set_errno(err, "connect");
		(void)close(fd);
		return -1;
	}
	/* Connected at once or later: both are told by the socket's readiness to write. */
	candidate->fd = fd;
	dial->open_count++;
	candidate->watch = loop_watch_new(dial->loop, fd, LOOP_WRITE, socket_ready, candidate);
	loop_timer_start(dial->loop, &candidate->timeout, dial->settings.address_timeout_ms);
	return 0;
}

static void
try_next(struct dial *dial)
{
	struct candidate *candidate;
	struct err err;

	if (dial->next == dial->count) {
		go_on(dial);
		return;
	}
	candidate = &dial->candidates[dial->next++];
	if (begin(candidate, &err) < 0) {
		note_failure(dial, candidate->number, &err);
		go_on(dial);
		return;
	}
	if (dial->next < dial->count)
		loop_timer_start(dial->loop, &dial->stagger, dial->settings.stagger_ms);
}

static void
stagger_over(void *ctx)
{
	try_next(ctx);
}

static void
timed_out(void *ctx)
{
	finish(ctx, NULL, 0);
}

struct dial *
dial_start(struct loop *loop, const struct dial_settings *settings,
    void (*done)(void *ctx, const struct dial_result *result), void *ctx)
{
	struct dial *dial = mem_alloc(sizeof(*dial));

	dial->loop = loop;
	dial->settings = *settings;
	dial->settings.addresses = NULL;
	dial->done = done;
	dial->ctx = ctx;
	if (settings->source_ipv4) {
		dial->source_ipv4 = *settings->source_ipv4;
		dial->settings.source_ipv4 = &dial->source_ipv4;
	}
	if (settings->source_ipv6) {
		dial->source_ipv6 = *settings->source_ipv6;
		dial->settings.source_ipv6 = &dial->source_ipv6;
	}
	if (dial->settings.stagger_ms == 0)
		dial->settings.stagger_ms = DIAL_STAGGER_MS;
	if (dial->settings.address_timeout_ms == 0)
		dial->settings.address_timeout_ms = DIAL_ADDRESS_TIMEOUT_MS;
	if (dial->settings.timeout_ms == 0)
		dial->settings.timeout_ms = DIAL_TIMEOUT_MS;
	dial->count = settings->address_count < DIAL_ADDRESS_COUNT_MAX ?
	    settings->address_count : DIAL_ADDRESS_COUNT_MAX;
	for (size_t i = 0; i < dial->count; i++) {
		struct candidate *candidate = &dial->candidates[i];

		dial->attempts[i].address = settings->addresses[i];
		candidate->dial = dial;
		candidate->number = i;
		candidate->fd = -1;
		loop_timer_init(&candidate->timeout, address_timed_out, candidate);
	}
	loop_timer_init(&dial->stagger, stagger_over, dial);
	loop_timer_init(&dial->timeout, timed_out, dial);
	loop_timer_start(loop, &dial->stagger, 0);
	loop_timer_start(loop, &dial->timeout, dial->settings.timeout_ms);
	return dial;
}

void
dial_cancel(struct dial **dial)
{
	if (*dial)
		free_dial(*dial);
	*dial = NULL;
}

void
dial_order(struct endpoint *addresses, size_t address_count)
{
	/* Where the other family is due, the nearest address of it moves here. */
	for (size_t i = 0; i < address_count; i++) {
		enum endpoint_family due = i % 2 == 0 ? ENDPOINT_IPV6 : ENDPOINT_IPV4;
		size_t at = i;

		while (at < address_count && addresses[at].family != due)
			at++;
		if (at == address_count)
			return;

		struct endpoint found = addresses[at];

		for (; at > i; at--)
			addresses[at] = addresses[at - 1];
		addresses[i] = found;
	}
}
