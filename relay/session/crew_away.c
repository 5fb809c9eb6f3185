#include "relay/session/crew_private.h"

#include "relay/base/buf.h"
#include "relay/base/mem.h"

/*
 * Clients that come while there is no room for them.  They are told 421 and are not
 * read; their number is bounded too, and those beyond it are closed without a word.
 */
enum {
	TURNED_AWAY_COUNT_MAX = 64,
	TURNED_AWAY_LINGER_MS = 2000,
	TURNED_AWAY_BYTES_MAX = 512,
};

struct crew_turned_away {
	struct crew_turned_away *next;
	struct crew_turned_away **previous;
	struct crew_worker *worker;
	struct conn *conn;
};

static void
turned_away_free(struct crew_turned_away *away)
{
	*away->previous = away->next;
	if (away->next)
		away->next->previous = away->previous;
	away->worker->turned_away_count--;
	conn_free(&away->conn);
	mem_free(&away);
}

static size_t
away_input(void *ctx, struct span input)
{
	(void)ctx;
	return input.len;
}

static void
away_nothing(void *ctx)
{
	(void)ctx;
}

static void
away_closed(void *ctx, enum conn_end end, const struct err *err)
{
	(void)end;
	(void)err;
	turned_away_free(ctx);
}

static const struct conn_ops away_ops = {
	.input = away_input,
	.drained = away_nothing,
	.secured = away_nothing,
	.expired = away_nothing,
	.closed = away_closed,
};

void
crew_turn_away(struct crew_worker *worker, const struct crew_door *door, struct conn *conn,
    const char *status, const char *words)
{
	/* Under implicit TLS a word in clear would only be noise. */
	if (door->listener->tls == NODE_LISTENER_TLS_IMPLICIT ||
	    worker->turned_away_count == TURNED_AWAY_COUNT_MAX) {
		conn_free(&conn);
		return;
	}

	struct crew_turned_away *away = mem_alloc(sizeof(*away));
	struct buf line;

	away->worker = worker;
	away->conn = conn;
	away->next = worker->turned_away;
	away->previous = &worker->turned_away;
	if (away->next)
		away->next->previous = &away->next;
	worker->turned_away = away;
	worker->turned_away_count++;

	buf_init(&line, TURNED_AWAY_BYTES_MAX);
	(void)buf_appendf(&line, "421 %s %s %s\r\n", status, door->hostname, words);
	conn_start(conn, worker->loop, &(struct conn_settings){0}, &away_ops, away);
	conn_write(conn, buf_span(&line));
	conn_close_after_output(conn, TURNED_AWAY_LINGER_MS);
	buf_fini(&line);
}

void
crew_turn_away_end(struct crew_worker *worker)
{
	while (worker->turned_away)
		turned_away_free(worker->turned_away);
}
