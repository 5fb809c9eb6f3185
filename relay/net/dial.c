#include "relay/net/dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "relay/base/mem.h"
#include "relay/net/conn_private.h"
#include "relay/net/socket_address.h"

enum {
	STAGGER_MS = 250,               /* RFC 8305 section 5 */
	ADDRESS_TIMEOUT_MS = 30 * 1000,
	TIMEOUT_MS = 2 * 60 * 1000,
};

/* One address under way. */
struct leg {
	struct dial *dial;
	size_t index;
	int fd;                         /* -1 when it is not */
	ev_io io;
	struct loop_timer timeout;
};

struct dial {
	struct loop *loop;
	void (*done)(void *ctx, const struct dial_result *result);
	void *ctx;
	struct dial_settings settings;
	struct endpoint sources[2];
	struct dial_attempt *attempts;
	struct leg *legs;
	size_t count, begun, failed;
	bool over;
	struct loop_timer stagger, timeout;
};

static void begin_next(struct dial *dial);

/* ---- the end -------------------------------------------------------------- */

static void
drop_leg(struct leg *leg)
{
	if (leg->fd < 0)
		return;
	ev_io_stop(leg->dial->loop->ev, &leg->io);
	loop_timer_stop(leg->dial->loop, &leg->timeout);
	(void)close(leg->fd);
	leg->fd = -1;
}

static void
release(void *object)
{
	struct dial *dial = object;

	mem_free(&dial->attempts);
	mem_free(&dial->legs);
	mem_free(&dial);
}

static void
stop(struct dial *dial)
{
	dial->over = true;
	loop_timer_stop(dial->loop, &dial->stagger);
	loop_timer_stop(dial->loop, &dial->timeout);
	for (size_t i = 0; i < dial->begun; i++)
		drop_leg(&dial->legs[i]);
	loop_defer_free(dial->loop, release, dial);
}

void
dial_cancel(struct dial **dial)
{
	struct dial *d = *dial;

	*dial = NULL;
	if (d && !d->over)
		stop(d);
}

/* All failures in one line: the operator reads which address said what. */
static void
sum_up(const struct dial *dial, enum err_kind kind, struct err *err)
{
	size_t len = 0;

	(void)err_set(err, kind, "no address to connect to");
	for (size_t i = 0; i < dial->begun && len < sizeof(err->text) - 1; i++) {
		const struct dial_attempt *attempt = &dial->attempts[i];
		char address[ENDPOINT_TEXT_BYTES_MAX];
		int more = snprintf(err->text + len, sizeof(err->text) - len, "%s%s: %s", len ? "; "
		    : "",
		    endpoint_print(&attempt->address, address),
		    attempt->text[0] ? attempt->text : "no answer in time");

		if (more > 0)
			len += (size_t)more;
	}
	if (dial->failed > 0 && kind != ERR_TIMEOUT)
		err->kind = dial->attempts[0].kind;
}

static void
give_up(struct dial *dial, enum err_kind kind)
{
	struct err err;
	const struct dial_result result = {
		.attempts = dial->attempts, .attempt_count = dial->begun, .err = &err,
	};

	sum_up(dial, kind, &err);
	stop(dial);
	dial->done(dial->ctx, &result);
}

static void
succeed(struct dial *dial, struct leg *leg)
{
	struct endpoint local = socket_address_local(leg->fd);
	struct conn *conn;
	int fd = leg->fd;
	const int on = 1;

	ev_io_stop(dial->loop->ev, &leg->io);
	loop_timer_stop(dial->loop, &leg->timeout);
	leg->fd = -1;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	conn = conn_new(fd, &dial->attempts[leg->index].address, &local);
	stop(dial);
	dial->done(dial->ctx, &(struct dial_result){
		.conn = conn, .winner = leg->index, .attempts = dial->attempts,
		.attempt_count = dial->begun,
	});
}

/* ---- one address ---------------------------------------------------------- */

static void
fail_leg(struct leg *leg, const struct err *err)
{
	struct dial *dial = leg->dial;
	struct dial_attempt *attempt = &dial->attempts[leg->index];

	drop_leg(leg);
	attempt->kind = err->kind;
	(void)snprintf(attempt->text, sizeof(attempt->text), "%s", err->text);
	dial->failed++;
	if (dial->begun < dial->count)
		begin_next(dial);
	else if (dial->failed == dial->count)
		give_up(dial, ERR_SYSTEM);
}

static void
leg_ready(struct ev_loop *ev, ev_io *io, int events)
{
	struct leg *leg = io->data;
	int os_errno = 0;
	socklen_t len = sizeof(os_errno);

	(void)ev;
	(void)events;
	if (getsockopt(leg->fd, SOL_SOCKET, SO_ERROR, &os_errno, &len) < 0)
		os_errno = errno;
	if (os_errno == 0) {
		succeed(leg->dial, leg);
		return;
	}

	struct err err;

	errno = os_errno;
	(void)err_set_errno(&err, "connect");
	fail_leg(leg, &err);
}

static void
leg_timed_out(void *ctx)
{
	struct err err;

	(void)err_set(&err, ERR_TIMEOUT, "connect: no answer in time");
	fail_leg(ctx, &err);
}

static int
bind_source(const struct dial *dial, int fd, enum endpoint_family family)
{
	const struct endpoint *source = family == ENDPOINT_IPV4 ? dial->settings.source_ipv4
	    : family == ENDPOINT_IPV6 ? dial->settings.source_ipv6 : NULL;
	struct sockaddr_storage address;

	if (!source)
		return 0;

	socklen_t len = socket_address_of(source, &address);

	return bind(fd, (const struct sockaddr *)&address, len);
}

/* -1 with errno when it failed at once. */
static int
connect_to(const struct dial *dial, const struct endpoint *endpoint)
{
	struct sockaddr_storage address;
	socklen_t len = socket_address_of(endpoint, &address);
	int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (bind_source(dial, fd, endpoint->family) == 0 &&
	    (connect(fd, (const struct sockaddr *)&address, len) == 0 || errno == EINPROGRESS))
		return fd;

	int os_errno = errno;

	(void)close(fd);
	errno = os_errno;
	return -1;
}

static uint64_t
or_default(uint64_t value, uint64_t fallback)
{
	return value ? value : fallback;
}

/* Tries the next address; one that fails at once gives its turn to the one behind it. */
static void
begin_next(struct dial *dial)
{
	while (dial->begun < dial->count) {
		struct leg *leg = &dial->legs[dial->begun];
		struct err err;

		*leg = (struct leg){ .dial = dial, .index = dial->begun++ };
		loop_timer_init(&leg->timeout, leg_timed_out, leg);
		leg->fd = connect_to(dial, &dial->attempts[leg->index].address);
		if (leg->fd >= 0) {
			ev_io_init(&leg->io, leg_ready, leg->fd, EV_WRITE);
			leg->io.data = leg;
			ev_io_start(dial->loop->ev, &leg->io);
			loop_timer_start(dial->loop, &leg->timeout,
			    or_default(dial->settings.address_timeout_ms, ADDRESS_TIMEOUT_MS));
			if (dial->begun < dial->count)
				loop_timer_start(dial->loop, &dial->stagger,
				    or_default(dial->settings.stagger_ms, STAGGER_MS));
			return;
		}
		(void)err_set_errno(&err, "connect");
		dial->attempts[leg->index].kind = err.kind;
		(void)snprintf(dial->attempts[leg->index].text, ERR_TEXT_BYTES, "%s", err.text);
		dial->failed++;
	}
	if (dial->failed == dial->count)
		give_up(dial, ERR_SYSTEM);
}

static void
stagger_over(void *ctx)
{
	begin_next(ctx);
}

static void
timed_out(void *ctx)
{
	give_up(ctx, ERR_TIMEOUT);
}

struct dial *
dial_start(struct loop *loop, const struct dial_settings *settings,
    void (*done)(void *ctx, const struct dial_result *result), void *ctx)
{
	struct dial *dial = mem_alloc(sizeof(*dial));

	dial->loop = loop;
	dial->done = done;
	dial->ctx = ctx;
	dial->settings = *settings;
	dial->count = settings->address_count < DIAL_ADDRESS_COUNT_MAX ? settings->address_count
	    : DIAL_ADDRESS_COUNT_MAX;
	if (settings->source_ipv4) {
		dial->sources[0] = *settings->source_ipv4;
		dial->settings.source_ipv4 = &dial->sources[0];
	}
	if (settings->source_ipv6) {
		dial->sources[1] = *settings->source_ipv6;
		dial->settings.source_ipv6 = &dial->sources[1];
	}
	dial->attempts = mem_alloc_array(dial->count, sizeof(*dial->attempts));
	dial->legs = mem_alloc_array(dial->count, sizeof(*dial->legs));
	for (size_t i = 0; i < dial->count; i++)
		dial->attempts[i].address = settings->addresses[i];
	loop_timer_init(&dial->stagger, stagger_over, dial);
	loop_timer_init(&dial->timeout, timed_out, dial);
	loop_timer_start(loop, &dial->timeout, or_default(settings->timeout_ms, TIMEOUT_MS));
	/* The first try, too, begins in the loop: done() never comes from inside this call. */
	loop_timer_start(loop, &dial->stagger, 0);
	return dial;
}

void
dial_order(struct endpoint *addresses, size_t address_count)
{
	struct endpoint ordered[DIAL_ADDRESS_COUNT_MAX];
	size_t count = address_count < DIAL_ADDRESS_COUNT_MAX ? address_count
	    : DIAL_ADDRESS_COUNT_MAX;
	size_t next[2] = { 0, 0 };

	for (size_t placed = 0; placed < count; placed++) {
		/* The families in turn, IPv6 first; one that has no more gives way. */
		for (size_t turn = 0; turn < 2; turn++) {
			bool wants_ipv6 = (placed + turn) % 2 == 0;
			size_t *at = &next[wants_ipv6];

			while (*at < count &&
			    (addresses[*at].family == ENDPOINT_IPV6) != wants_ipv6)
				(*at)++;
			if (*at < count) {
				ordered[placed] = addresses[(*at)++];
				break;
			}
		}
	}
	for (size_t i = 0; i < count; i++)
		addresses[i] = ordered[i];
}
