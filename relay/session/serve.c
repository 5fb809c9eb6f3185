#include "relay/session/serve.h"

#include "relay/base/mem.h"
#include "relay/base/must.h"

/*
 * Bytes flow in serve_pump(): input is fed to the engine, its output goes to the
 * connection, and what the engine wants next decides.  Everything that ends the
 * session passes serve_finish().
 */
enum {
	SERVE_COMMAND_TIMEOUT_MS = 5 * 60 * 1000,       /* RFC 5321 section 4.5.3.2.7 */
	SERVE_DATA_TIMEOUT_MS = 3 * 60 * 1000,          /* RFC 5321 section 4.5.3.2.5 */
	SERVE_BODY_GRACE_MS = 30 * 1000,
	SERVE_REFUSED_TIMEOUT_MS = 10 * 1000,
	SERVE_LINGER_MS = 2000,
};

struct serve {
	struct loop *loop;
	struct conn *conn;
	struct smtp_server *server;
	struct serve_settings settings;
	struct serve_ops ops;
	void *ctx;
	struct loop_task begin_tls;
	struct loop_task end;
	struct loop_timer session_timer;
	enum serve_end end_reason;
	uint64_t command_count;         /* as the deadline has it */
	enum smtp_server_stage stage;
	uint64_t deadline_ms;           /* when it passes */
	uint64_t body_bytes;            /* of the body that comes in */
	uint64_t body_began_ms;         /* moved on by the time in which we did not read */
	uint64_t body_rest_ms;          /* since then we do not read; 0: we do */
	bool has_deadline;
	bool is_open;                   /* the banner was asked for */
	bool greeting;                  /* and the answer may be a while off */
	bool input_is_over;             /* the client has closed its direction */
	bool waits_for_drain;
	bool tls_began;
	bool closing;                   /* only output is left */
	bool finished;
};

static void serve_pump_output(struct serve *serve);

/* ---- the end */

static void
serve_free(void *object)
{
	struct serve *serve = object;

	tls_context_unref(&serve->settings.tls);
	mem_free(&serve);
}

/* Not from inside an operation. */
static void
serve_finish(struct serve *serve, enum serve_end end, const struct err *err)
{
	if (serve->finished)
		return;
	serve->finished = true;
	loop_task_cancel(serve->loop, &serve->begin_tls);
	loop_task_cancel(serve->loop, &serve->end);
	loop_timer_stop(serve->loop, &serve->session_timer);
	smtp_server_free(&serve->server);
	serve->ops.ended(serve->ctx, end, err);
	conn_free(&serve->conn);
	loop_defer_free(serve->loop, serve_free, serve);
}

static void
serve_end_task(void *ctx)
{
	struct serve *serve = ctx;

	serve_finish(serve, serve->end_reason, NULL);
}

static void
serve_end_later(struct serve *serve, enum serve_end end)
{
	serve->end_reason = end;
	conn_pause_input(serve->conn);
	loop_at_turn_end(serve->loop, &serve->end);
}

/* ---- deadlines */

/* Until when the body may stay away: a while, and no longer than it keeps its pace. */
static uint64_t
serve_body_time_ms(const struct serve *serve)
{
	const struct serve_settings *settings = &serve->settings;
	uint64_t now = loop_now_ms(serve->loop);
	uint64_t until = now + settings->data_timeout_ms;
	uint64_t paced = serve->body_began_ms;

	if (settings->body_bytes_second_min == 0)
		return settings->data_timeout_ms;
	paced += serve->body_bytes * 1000 / settings->body_bytes_second_min;
	if (paced < serve->body_began_ms + settings->body_grace_ms)
		paced = serve->body_began_ms + settings->body_grace_ms;
	if (paced < until)
		until = paced;
	return until > now ? until - now : 1;
}

static void
serve_set_deadline(struct serve *serve, uint64_t delay_ms)
{
	serve->has_deadline = true;
	serve->deadline_ms = loop_now_ms(serve->loop) + delay_ms;
	conn_set_deadline(serve->conn, delay_ms);
}

/*
 * A body has come on by so many octets.  Chunks of one message are one body, and the time
 * between them is the client's; the time in which we do not read is not.
 */
static void
serve_count_body(struct serve *serve, size_t bytes, bool reads)
{
	uint64_t now = loop_now_ms(serve->loop);

	if (!smtp_server_has_body(serve->server)) {
		serve->body_began_ms = serve->body_rest_ms = 0;
		return;
	}
	if (serve->body_began_ms == 0) {
		serve->body_began_ms = now;
		serve->body_bytes = 0;
	}
	serve->body_bytes += bytes;
	if (reads && serve->body_rest_ms > 0) {
		serve->body_began_ms += now - serve->body_rest_ms;
		serve->body_rest_ms = 0;
	} else if (!reads && serve->body_rest_ms == 0) {
		serve->body_rest_ms = now;
	}
}

/* For the next command.  Between chunks the pace of their message goes on; QUIT takes no time. */
static uint64_t
serve_command_time_ms(const struct serve *serve)
{
	uint64_t command_ms = serve->settings.command_timeout_ms;
	uint64_t most_ms = command_ms;

	if (smtp_server_was_refused(serve->server))
		most_ms = serve->settings.refused_timeout_ms;
	else if (serve->body_began_ms != 0)
		most_ms = serve_body_time_ms(serve);
	return most_ms < command_ms ? most_ms : command_ms;
}

/*
 * A command line has one deadline for all of it, so that a byte a minute holds nobody's
 * place; a body has one for each bit of progress, and for its pace; while we think there
 * is none.
 */
static void
serve_update_deadline(struct serve *serve, enum smtp_server_wants wants, size_t progress)
{
	enum smtp_server_stage stage = smtp_server_stage(serve->server);
	uint64_t count = smtp_server_command_count(serve->server);
	bool same = stage == serve->stage && count == serve->command_count;
	bool reads = wants == SMTP_SERVER_WANTS_INPUT;

	serve_count_body(serve, progress, reads);
	serve->stage = stage;
	serve->command_count = count;
	if (!reads || serve->closing) {
		conn_clear_deadline(serve->conn);
		serve->has_deadline = false;
		return;
	}
	if (serve->has_deadline && same && !(stage == SMTP_SERVER_STAGE_BODY && progress > 0))
		return;
	serve_set_deadline(serve, stage == SMTP_SERVER_STAGE_BODY
	    ? serve_body_time_ms(serve) : serve_command_time_ms(serve));
}

static void
serve_expired(void *ctx)
{
	struct serve *serve = ctx;
	struct reply reply;

	serve->has_deadline = false;
	serve->end_reason = SERVE_END_TIMEOUT;
	reply_set(&reply, 421, "4.4.2", "timeout, closing");
	smtp_server_hang_up(serve->server, &reply);
	serve_pump_output(serve);
}

static void
serve_session_expired(void *ctx)
{
	serve_expired(ctx);
}

/* ---- bytes */

static void
serve_flush(struct serve *serve)
{
	struct buf *output = smtp_server_output(serve->server);

	if (buf_is_empty(output))
		return;
	conn_write(serve->conn, buf_span(output));
	buf_consume(output, buf_len(output));
	buf_release_if_empty(output);
}

static void
serve_begin_tls(void *ctx)
{
	struct serve *serve = ctx;

	serve->tls_began = true;
	conn_start_tls_server(serve->conn, serve->settings.tls);
	conn_resume_input(serve->conn);
}

static void
serve_close(struct serve *serve)
{
	if (serve->closing)
		return;
	serve->closing = true;
	conn_resume_input(serve->conn);
	conn_close_after_output(serve->conn, SERVE_LINGER_MS);
}

/* The client has closed its half, has been told everything, and has not said QUIT. */
static void
serve_close_lost(struct serve *serve)
{
	serve->end_reason = SERVE_END_LOST;
	serve_close(serve);
}

/* Does what the engine wants, but for feeding it. */
static void
serve_obey(struct serve *serve, enum smtp_server_wants wants)
{
	switch (wants) {
	case SMTP_SERVER_WANTS_INPUT:
		if (conn_input_is_paused(serve->conn))
			conn_resume_input(serve->conn);
		return;
	case SMTP_SERVER_WANTS_DRAIN:
		serve->waits_for_drain = true;
		conn_pause_input(serve->conn);
		return;
	case SMTP_SERVER_WANTS_ANSWER:
		if (serve->greeting)
			return;         /* who speaks before the greeting is heard, and refused */
		/* fallthrough */
	case SMTP_SERVER_WANTS_ROOM:
		conn_pause_input(serve->conn);
		return;
	case SMTP_SERVER_WANTS_TLS:
		/* Not in the midst of the input callback, which has yet to say what it took. */
		conn_pause_input(serve->conn);
		if (!serve->tls_began)
			loop_at_turn_end(serve->loop, &serve->begin_tls);
		return;
	case SMTP_SERVER_WANTS_CLOSE:
		serve_close(serve);
		return;
	case SMTP_SERVER_WANTS_CUT:
		serve_end_later(serve, SERVE_END_CUT);
		return;
	}
	must_not_reach();
}

/* Feeds and flushes until the engine has to wait.  Returns the bytes consumed. */
static size_t
serve_pump(struct serve *serve, struct span input, bool is_all)
{
	size_t consumed = 0;
	enum smtp_server_wants wants;

	for (;;) {
		size_t took = smtp_server_feed(serve->server, span_skip(input, consumed));

		consumed += took;
		serve_flush(serve);
		wants = smtp_server_wants(serve->server);
		/* The output has been drained, from the engine's view, when it is with the conn. */
		if (wants != SMTP_SERVER_WANTS_DRAIN || conn_output_is_full(serve->conn))
			break;
	}
	if (wants == SMTP_SERVER_WANTS_INPUT && conn_output_is_full(serve->conn))
		wants = SMTP_SERVER_WANTS_DRAIN;        /* who does not read is not read */
	serve_update_deadline(serve, wants, consumed);
	serve->greeting = serve->greeting && wants == SMTP_SERVER_WANTS_ANSWER;
	serve_obey(serve, wants);
	if (wants == SMTP_SERVER_WANTS_INPUT && serve->input_is_over && is_all && !serve->closing)
		serve_close_lost(serve);
	return consumed;
}

/* After something else than input has moved the engine. */
static void
serve_pump_output(struct serve *serve)
{
	if (serve->finished || serve->closing)
		return;
	(void)serve_pump(serve, SPAN(""), conn_input_bytes(serve->conn) == 0);
}

static size_t
serve_input(void *ctx, struct span input)
{
	struct serve *serve = ctx;

	if (serve->closing || serve->finished)
		return input.len;
	return serve_pump(serve, input, true);
}

static void
serve_input_ended(void *ctx)
{
	struct serve *serve = ctx;

	serve->input_is_over = true;
	if (!serve->is_open)
		serve_end_later(serve, SERVE_END_LOST);
	else if (!conn_input_is_paused(serve->conn) && !serve->closing)
		serve_close_lost(serve);
}

static void
serve_drained(void *ctx)
{
	struct serve *serve = ctx;

	if (!serve->waits_for_drain)
		return;
	serve->waits_for_drain = false;
	serve_pump_output(serve);
}

static void
serve_open(struct serve *serve)
{
	serve->is_open = true;
	serve->greeting = true;
	smtp_server_open(serve->server);
	serve_pump_output(serve);
}

static void
serve_secured(void *ctx)
{
	struct serve *serve = ctx;

	smtp_server_tls_done(serve->server);
	if (serve->ops.secured)
		serve->ops.secured(serve->ctx, conn_tls(serve->conn));
	if (serve->is_open)
		serve_pump_output(serve);
	else
		serve_open(serve);
}

static void
serve_closed(void *ctx, enum conn_end end, const struct err *err)
{
	struct serve *serve = ctx;

	switch (end) {
	case CONN_END_FLUSHED:
		serve_finish(serve, serve->end_reason, NULL);
		return;
	case CONN_END_PEER:
		serve_finish(serve, serve->closing ? serve->end_reason : SERVE_END_LOST, err);
		return;
	case CONN_END_TLS:
		serve_finish(serve, SERVE_END_TLS, err);
		return;
	case CONN_END_TIMEOUT:
		serve_finish(serve, SERVE_END_TIMEOUT, err);
		return;
	case CONN_END_LIMIT:
	case CONN_END_ERROR:
		serve_finish(serve, SERVE_END_LOST, err);
		return;
	}
	must_not_reach();
}

static const struct conn_ops serve_conn_ops = {
	.input = serve_input,
	.input_ended = serve_input_ended,
	.drained = serve_drained,
	.secured = serve_secured,
	.expired = serve_expired,
	.closed = serve_closed,
};

/* ---- the face */

struct serve *
serve_start(struct loop *loop, struct conn *conn, const struct serve_settings *settings,
    const struct serve_ops *ops, void *ctx)
{
	struct serve *serve = mem_alloc(sizeof(*serve));
	const struct conn_settings conn_settings = {
		.input_bytes_max = SMTP_SERVER_INPUT_BYTES_MIN,
	};

	serve->loop = loop;
	serve->conn = conn;
	serve->settings = *settings;
	serve->ops = *ops;
	serve->ctx = ctx;
	serve->end_reason = SERVE_END_QUIT;
	if (settings->tls)
		serve->settings.tls = tls_context_ref(settings->tls);
	if (serve->settings.command_timeout_ms == 0)
		serve->settings.command_timeout_ms = SERVE_COMMAND_TIMEOUT_MS;
	if (serve->settings.data_timeout_ms == 0)
		serve->settings.data_timeout_ms = SERVE_DATA_TIMEOUT_MS;
	if (serve->settings.body_grace_ms == 0)
		serve->settings.body_grace_ms = SERVE_BODY_GRACE_MS;
	if (serve->settings.refused_timeout_ms == 0)
		serve->settings.refused_timeout_ms = SERVE_REFUSED_TIMEOUT_MS;
	loop_task_init(&serve->begin_tls, serve_begin_tls, serve);
	loop_task_init(&serve->end, serve_end_task, serve);
	loop_timer_init(&serve->session_timer, serve_session_expired, serve);
	serve->server = smtp_server_new(&serve->settings.engine, &serve->ops.engine, ctx);
	conn_start(conn, loop, &conn_settings, &serve_conn_ops, serve);
	if (settings->session_timeout_ms > 0)
		loop_timer_start(loop, &serve->session_timer, settings->session_timeout_ms);
	if (settings->tls_implicit) {
		serve->tls_began = true;
		conn_start_tls_server(conn, serve->settings.tls);
	} else if (!conn_input_waits(conn)) {
		serve_open(serve);
	}
	/* Else the engine sees what was said before the greeting, and refuses it. */
	return serve;
}

struct smtp_server *
serve_engine(const struct serve *serve)
{
	return serve->server;
}

const struct endpoint *
serve_peer(const struct serve *serve)
{
	return conn_peer(serve->conn);
}

const struct endpoint *
serve_local(const struct serve *serve)
{
	return conn_local(serve->conn);
}

const struct tls_info *
serve_tls(const struct serve *serve)
{
	return conn_tls(serve->conn);
}

void
serve_answer(struct serve *serve, const struct reply *reply)
{
	if (serve->finished || serve->closing)
		return;
	smtp_server_answer(serve->server, reply);
	serve_pump_output(serve);
}

void
serve_challenge(struct serve *serve, struct span challenge)
{
	if (serve->finished || serve->closing)
		return;
	smtp_server_challenge(serve->server, challenge);
	serve_pump_output(serve);
}

void
serve_resume(struct serve *serve)
{
	if (serve->finished || serve->closing)
		return;
	smtp_server_resume(serve->server);
	serve_pump_output(serve);
}

void
serve_refuse_body(struct serve *serve, const struct reply *reply)
{
	if (serve->finished || serve->closing)
		return;
	smtp_server_refuse_body(serve->server, reply);
	serve_pump_output(serve);
}

void
serve_set_command_timeout(struct serve *serve, uint64_t timeout_ms)
{
	serve->settings.command_timeout_ms = timeout_ms;
	if (serve->finished || serve->closing || !serve->has_deadline ||
	    serve->stage == SMTP_SERVER_STAGE_BODY)
		return;
	if (serve->deadline_ms > loop_now_ms(serve->loop) + timeout_ms)
		serve_set_deadline(serve, timeout_ms);
}

void
serve_cut(struct serve *serve)
{
	if (serve->finished)
		return;
	serve_end_later(serve, SERVE_END_CUT);
}

void
serve_drain(struct serve *serve)
{
	if (serve->finished || serve->closing)
		return;
	if (!serve->is_open) {
		serve_end_later(serve, SERVE_END_CUT);  /* in the handshake: nothing can be said */
		return;
	}
	smtp_server_drain(serve->server, "4.3.2", "shutting down");
	serve_pump_output(serve);
}

void
serve_end_now(struct serve *serve)
{
	serve_finish(serve, SERVE_END_CUT, NULL);
}

const char *
serve_end_name(enum serve_end end)
{
	switch (end) {
	case SERVE_END_QUIT:
		return "quit";
	case SERVE_END_LOST:
		return "lost";
	case SERVE_END_TLS:
		return "tls";
	case SERVE_END_TIMEOUT:
		return "timeout";
	case SERVE_END_CUT:
		return "cut";
	}
	must_not_reach();
}
