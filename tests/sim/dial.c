/* relay/net/dial.h and listener.h in the simulation: who reaches whom. */
#include "relay/net/dial.h"

#include <stdio.h>
#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "tests/sim/listener_private.h"
#include "tests/sim/loop_private.h"
#include "tests/sim/wire.h"

enum {
	ANSWER_US_MIN = 100,
	ANSWER_US_MAX = 30 * 1000,
	ADDRESS_TIMEOUT_MS = 30 * 1000,
};

/* The addresses one after the other; that they may race is for the tests of relay/net. */
struct dial {
	struct loop *loop;
	struct sim_host *from;
	unsigned life;
	void (*done)(void *ctx, const struct dial_result *result);
	void *ctx;
	struct dial_attempt attempts[DIAL_ADDRESS_COUNT_MAX];
	size_t count, at;
	uint64_t address_timeout_ms;
	struct sim_event answer;
	struct sim_ready ready;
	struct loop_timer timeout;
	struct conn *conn;
	bool refused;
};

static void try_next(struct dial *dial);

static void
dial_release(void *object)
{
	struct dial *dial = object;

	mem_free(&dial);
}

static void
dial_let_go(struct dial *dial)
{
	sim_event_stop(&dial->answer);
	sim_loop_not_ready(dial->loop, &dial->ready);
	loop_timer_stop(dial->loop, &dial->timeout);
	loop_defer_free(dial->loop, dial_release, dial);
}

static void
finish(struct dial *dial)
{
	struct dial_result result = { .conn = dial->conn, .winner = dial->at,
	    .attempts = dial->attempts, .attempt_count = dial->count };
	char text[ENDPOINT_TEXT_BYTES_MAX];
	struct err err;

	if (!result.conn) {
		size_t last = dial->count > 0 ? dial->count - 1 : 0;

		(void)err_set(&err, dial->attempts[last].kind ? dial->attempts[last].kind
		    : ERR_NOT_FOUND, "%s: %s", endpoint_print(&dial->attempts[last].address, text),
		    dial->attempts[last].text);
		result.err = &err;
	}
	dial->conn = NULL;
	dial->done(dial->ctx, &result);
	dial_let_go(dial);
}

static void
attempt_failed(struct dial *dial, enum err_kind kind, const char *text)
{
	dial->attempts[dial->at].kind = kind;
	(void)snprintf(dial->attempts[dial->at].text, ERR_TEXT_BYTES, "%s", text);
	dial->at++;
	try_next(dial);
}

/* In the loop's turn. */
static void
answer_is_there(void *ctx)
{
	struct dial *dial = ctx;

	loop_timer_stop(dial->loop, &dial->timeout);
	if (dial->conn)
		finish(dial);
	else
		attempt_failed(dial, ERR_SYSTEM, "connect: Connection refused");
}

/* In the world: the first packet has come there, or nobody takes it. */
static void
packet_is_there(void *ctx)
{
	struct dial *dial = ctx;
	const struct endpoint *address = &dial->attempts[dial->at].address;
	struct sim_host *to = sim_host_by_address(address);

	if (dial->life != dial->from->life)
		return;                         /* who dialled has crashed meanwhile */
	if (!to || !sim_path_is_open(dial->from, to) || (!to->up && sim_chance(1, 3)))
		return;                         /* silence; the timeout comes */
	if (to->up) {
		struct endpoint local = dial->from->address;
		struct sim_wire *wire;

		local.port = (uint16_t)sim_between(32768, 60999);
		wire = sim_wire_new(dial->from, to);
		if (sim_listener_offer(wire, address, &local)) {
			dial->conn = sim_conn_new(wire, 0, address, &local);
		} else {
			sim_wire_leave(wire, 0);
			sim_wire_leave(wire, 1);
		}
	}
	sim_loop_ready(dial->loop, &dial->ready);
}

static void
no_answer(void *ctx)
{
	struct dial *dial = ctx;

	sim_event_stop(&dial->answer);
	attempt_failed(dial, ERR_TIMEOUT, "connect: no answer in time");
}

static void
try_next(struct dial *dial)
{
	if (dial->at == dial->count) {
		finish(dial);
		return;
	}
	loop_timer_start(dial->loop, &dial->timeout, dial->address_timeout_ms);
	sim_event_start(&dial->answer, sim_between(ANSWER_US_MIN, ANSWER_US_MAX));
}

static void
begin(void *ctx)
{
	struct dial *dial = ctx;

	dial->ready.run = answer_is_there;
	try_next(dial);
}

struct dial *
dial_start(struct loop *loop, const struct dial_settings *settings,
    void (*done)(void *ctx, const struct dial_result *result), void *ctx)
{
	struct dial *dial = mem_alloc(sizeof(*dial));

	dial->loop = loop;
	dial->from = loop->runner.host;
	dial->life = dial->from->life;
	dial->done = done;
	dial->ctx = ctx;
	dial->count = settings->address_count < DIAL_ADDRESS_COUNT_MAX ? settings->address_count
	    : DIAL_ADDRESS_COUNT_MAX;
	for (size_t i = 0; i < dial->count; i++)
		dial->attempts[i].address = settings->addresses[i];
	dial->address_timeout_ms = settings->address_timeout_ms ? settings->address_timeout_ms
	    : ADDRESS_TIMEOUT_MS;
	sim_event_init(&dial->answer, packet_is_there, dial);
	loop_timer_init(&dial->timeout, no_answer, dial);
	dial->ready = (struct sim_ready){ .run = begin, .ctx = dial };
	sim_loop_ready(loop, &dial->ready);
	return dial;
}

void
dial_cancel(struct dial **dial)
{
	if (!*dial)
		return;
	conn_free(&(*dial)->conn);
	dial_let_go(*dial);
	*dial = NULL;
}

/* There is one family. */
void
dial_order(struct endpoint *addresses, size_t address_count)
{
	(void)addresses;
	(void)address_count;
}
