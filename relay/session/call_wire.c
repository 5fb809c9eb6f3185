#include "relay/session/call_private.h"

#include "relay/base/mem.h"
#include "relay/base/must.h"

/*
 * Bytes flow in call_pump(): input is fed to the engine, its output goes to the
 * connection, and what the engine wants next decides.  What the user has to hear is
 * noted and told by call_tell() at the end of the turn, so that no callback comes
 * from inside a call to us or to the engine.
 */

/* ---- the end ---- */

static void
tell_later(struct call *call)
{
	loop_at_turn_end(call->loop, &call->tell);
}

void
call_end(struct call *call, enum call_end end, const struct reply *reply, const struct err *err)
{
	if (call->ended)
		return;
	call->ended = true;
	call->result.end = end;
	call->result.was_ready = call->was_ready;
	call->result.address = call->peer;
	if (err)
		call->result.err = *err;
	if (reply)
		call->result.reply = *reply;
	else if (end != CALL_END_QUIT && end != CALL_END_IDLE)
		reply_set(&call->result.reply, 451, end == CALL_END_TLS ? "4.7.5" : "4.4.2",
		    "%s", err ? err->text : call_end_name(end));
	tell_later(call);
}

/* Whatever is under way has an outcome now: ours. */
static void
give_up_message(struct call *call)
{
	struct reply reply = call->result.reply;

	if (!call->client)
		return;
	if (reply.code < 400 || reply.code > 499)
		reply_set(&reply, 451, "4.4.2", "%s", call->result.err.text[0] ?
		    call->result.err.text : call_end_name(call->result.end));
	smtp_client_lost(call->client, &reply);
}

void
call_end_with_message(struct call *call, enum call_end end, const struct reply *reply,
    const struct err *err)
{
	call_end(call, end, reply, err);
	give_up_message(call);
}

/* ---- what the user hears ---- */

void
call_forget_message(struct call *call)
{
	mem_free(&call->rcpts);
	mem_free(&call->client_rcpts);
	mem_free(&call->outcomes);
	call->rcpt_count = call->outcome_count = 0;
	call->body = NULL;
	call->sending = call->done_due = false;
}

void
call_close_wire(struct call *call)
{
	loop_timer_stop(call->loop, &call->open_timer);
	loop_timer_stop(call->loop, &call->idle_timer);
	loop_task_cancel(call->loop, &call->begin_tls);
	dial_cancel(&call->dial);
	conn_free(&call->conn);
	smtp_client_free(&call->client);
	sasl_client_free(&call->sasl);
}

static void
tell_done(struct call *call)
{
	struct call_outcome *outcomes = call->outcomes;
	size_t count = call->outcome_count;

	call->outcomes = NULL;
	call_forget_message(call);
	call->message_count++;
	call->ops->message_done(call->ctx, call, outcomes, count);
	mem_free(&outcomes);
}

void
call_tell(void *ctx)
{
	struct call *call = ctx;

	if (call->done_due) {
		tell_done(call);
		if (call->freed)
			return;
	}
	if (call->ended) {
		call_close_wire(call);
		call->ops->closed(call->ctx, call, &call->result);
		return;
	}
	if (call->ready_due) {
		call->ready_due = false;
		call->was_ready = true;
		call->ops->ready(call->ctx, call);
	}
	if (!call->freed && call_is_ready(call) && !call->quitting)
		loop_timer_start(call->loop, &call->idle_timer, call->settings.idle_timeout_ms);
}

/* ---- the engine's operations ---- */

static void
client_ready(void *ctx)
{
	struct call *call = ctx;

	loop_timer_stop(call->loop, &call->open_timer);
	if (call->was_ready || call->ready_due)
		return;
	call->ready_due = true;
	tell_later(call);
}

static enum smtp_client_body
client_body(void *ctx, struct span *piece_out)
{
	struct call *call = ctx;

	switch (call->body->pull(call->body, piece_out)) {
	case BODY_PIECE:
		call->piece = *piece_out;
		call->piece_written = 0;
		return SMTP_CLIENT_BODY_PIECE;
	case BODY_WAIT:
		return SMTP_CLIENT_BODY_WAIT;
	case BODY_END:
		return SMTP_CLIENT_BODY_END;
	case BODY_FAILED:
		return SMTP_CLIENT_BODY_FAILED;
	}
	must_not_reach();
}

static enum call_fate
fate_of(const struct smtp_client_outcome *outcome)
{
	if (outcome->uncertain)
		return CALL_FATE_UNCERTAIN;
	if (reply_is_positive(&outcome->reply))
		return CALL_FATE_DELIVERED;
	if (reply_is_permanent(&outcome->reply))
		return CALL_FATE_FAILED;
	return outcome->from_peer ? CALL_FATE_DEFERRED : CALL_FATE_UNTRIED;
}

static void
client_outcome(void *ctx, const struct smtp_client_outcome *outcome)
{
	struct call *call = ctx;

	must(call->outcome_count < call->rcpt_count && outcome->rcpt < call->rcpt_count);
	call->outcomes[call->outcome_count++] = (struct call_outcome){
		.rcpt = call->rcpts[outcome->rcpt],
		.fate = fate_of(outcome),
		.reply = outcome->reply,
	};
}

void
call_release_piece(struct call *call)
{
	struct span piece = call->piece;

	call->piece = SPAN("");
	if (piece.len > 0 && call->body)
		call->body->release(call->body, piece);
}

static void
client_done(void *ctx)
{
	struct call *call = ctx;

	must(call->outcome_count == call->rcpt_count);
	call_release_piece(call);
	call->done_due = true;
	tell_later(call);
}

static int
client_auth(void *ctx, bool has_challenge, struct span challenge, struct buf *response)
{
	struct call *call = ctx;

	if (!has_challenge) {
		sasl_client_free(&call->sasl);
		call->sasl = call_login_begin(call->settings.login,
		    smtp_client_mechanism(call->client));
	}
	return call->sasl ? sasl_client_step(call->sasl, has_challenge, challenge, response) : -1;
}

static bool
client_auth_accepted(void *ctx)
{
	struct call *call = ctx;
	bool satisfied = call->sasl && sasl_client_is_satisfied(call->sasl);

	sasl_client_free(&call->sasl);
	return satisfied;
}

static enum call_end
end_of_failure(const struct smtp_client_failure *failure)
{
	if (failure->is_closing)
		return CALL_END_CLOSING;
	if (failure->at == SMTP_CLIENT_AT_STARTTLS)
		return CALL_END_TLS;
	if (failure->is_protocol_error)
		return CALL_END_PROTOCOL;
	if (failure->at == SMTP_CLIENT_AT_AUTH &&
	    (failure->from_peer || failure->reply.code == 454))
		return CALL_END_GREETING;
	if (failure->from_peer &&
	    (failure->at == SMTP_CLIENT_AT_GREETING || failure->at == SMTP_CLIENT_AT_HELLO))
		return CALL_END_GREETING;
	return CALL_END_LOST;
}

static bool
may_go_in_clear(const struct call *call)
{
	return call->settings.tls == CALL_TLS_MAY && !call->in_clear && !call->secured &&
	    !call->was_ready && !call->ready_due;
}

static void
client_failed(void *ctx, const struct smtp_client_failure *failure)
{
	struct call *call = ctx;
	struct reply reply = failure->reply;
	struct err err = failure->err;

	if (end_of_failure(failure) == CALL_END_TLS && may_go_in_clear(call)) {
		call_dial_again(call);
		return;
	}
	/* What is wrong with our password is no fault of the letter: it waits. */
	if (failure->at == SMTP_CLIENT_AT_AUTH && reply_is_permanent(&reply)) {
		(void)err_set(&err, ERR_REFUSED, "AUTH was refused: %u %s %.200s", reply.code,
		    reply.status, reply.text);
		reply_set(&reply, 454, "4.7.0", "%s", err.text);
	}
	call->result.from_peer = failure->from_peer;
	call_end(call, end_of_failure(failure), &reply, &err);
}

const struct smtp_client_ops call_client_ops = {
	.ready = client_ready,
	.body = client_body,
	.outcome = client_outcome,
	.done = client_done,
	.failed = client_failed,
	.auth = client_auth,
	.auth_accepted = client_auth_accepted,
};

/* ---- bytes ---- */

static void
wrote(struct call *call, size_t octets, bool is_body)
{
	if (is_body)
		call->piece_written += octets;
	smtp_client_wrote(call->client, octets);
	if (is_body && call->piece.len > 0 && call->piece_written >= call->piece.len)
		call_release_piece(call);
}

/* The connection takes a copy, as much as it has room for. */
static void
flush(struct call *call)
{
	while (!call->redial && !conn_output_is_full(call->conn)) {
		bool is_body;
		struct span piece = smtp_client_output(call->client, &is_body);

		if (piece.len == 0)
			return;
		conn_write(call->conn, piece);
		wrote(call, piece.len, is_body);
	}
	call->waits_for_drain = true;
}

static uint64_t
timeout_of(const struct call *call, enum smtp_client_at at)
{
	const struct call_settings *settings = &call->settings;

	switch (at) {
	case SMTP_CLIENT_AT_GREETING:
		return settings->greeting_timeout_ms;
	case SMTP_CLIENT_AT_HELLO:
	case SMTP_CLIENT_AT_STARTTLS:
	case SMTP_CLIENT_AT_AUTH:
		return settings->hello_timeout_ms;
	case SMTP_CLIENT_AT_READY:
	case SMTP_CLIENT_AT_MAIL:
	case SMTP_CLIENT_AT_RCPT:
		return settings->mail_timeout_ms;
	case SMTP_CLIENT_AT_DATA:
		return settings->data_timeout_ms;
	case SMTP_CLIENT_AT_BODY:
		return settings->body_timeout_ms;
	case SMTP_CLIENT_AT_END:
		return settings->dot_timeout_ms;
	case SMTP_CLIENT_AT_QUIT:
		return settings->quit_timeout_ms;
	}
	must_not_reach();
}

/* Every whole reply, and every step of the dialogue, begins a new wait. */
static void
update_deadline(struct call *call)
{
	enum smtp_client_at at = smtp_client_at(call->client);
	uint64_t count = smtp_client_reply_count(call->client);

	if (call->has_deadline && at == call->at && count == call->reply_count &&
	    at != SMTP_CLIENT_AT_BODY)
		return;
	call->has_deadline = true;
	call->at = at;
	call->reply_count = count;
	conn_set_deadline(call->conn, timeout_of(call, at));
}

static void
clear_deadline(struct call *call)
{
	conn_clear_deadline(call->conn);
	call->has_deadline = false;
}

static void
obey(struct call *call)
{
	switch (smtp_client_wants(call->client)) {
	case SMTP_CLIENT_WANTS_INPUT:
		update_deadline(call);
		return;
	case SMTP_CLIENT_WANTS_MAIL:
	case SMTP_CLIENT_WANTS_BODY:
		clear_deadline(call);
		return;
	case SMTP_CLIENT_WANTS_TLS:
		clear_deadline(call);
		conn_pause_input(call->conn);
		if (!call->tls_began)
			loop_at_turn_end(call->loop, &call->begin_tls);
		return;
	case SMTP_CLIENT_WANTS_CLOSE:
	case SMTP_CLIENT_WANTS_CUT:
		call_end(call, call->idle_over ? CALL_END_IDLE : CALL_END_QUIT, NULL, NULL);
		return;
	}
	must_not_reach();
}

/*
 * More replies are owed, and we have nothing to say that would carry the acknowledgement of those
 * that came: so it is with pipelining (RFC 2920), and most of all with BDAT behind the commands.
 */
static void
hurry_replies(struct call *call)
{
	if (!call->redial && !call->ended && conn_output_bytes(call->conn) == 0 &&
	    smtp_client_wants(call->client) == SMTP_CLIENT_WANTS_INPUT)
		conn_acknowledge(call->conn);
}

static size_t
feed(struct call *call, struct span input)
{
	size_t consumed = smtp_client_feed(call->client, input);

	if (call->redial || call->ended)
		return input.len;
	flush(call);
	if (!call->redial && !call->ended)
		obey(call);
	hurry_replies(call);
	return consumed;
}

/* After something else than input has moved the engine. */
void
call_pump(struct call *call)
{
	if (call->ended || call->redial || !call->conn || !call->client)
		return;
	flush(call);
	if (!call->redial && !call->ended)
		obey(call);
}

static size_t
conn_has_input(void *ctx, struct span input)
{
	struct call *call = ctx;

	return call->ended || call->redial ? input.len : feed(call, input);
}

static void
conn_drained(void *ctx)
{
	struct call *call = ctx;

	if (!call->waits_for_drain)
		return;
	call->waits_for_drain = false;
	call_pump(call);
}

static void
conn_secured(void *ctx)
{
	struct call *call = ctx;

	call->secured = true;
	smtp_client_tls_done(call->client);
	call_pump(call);
}

static void
conn_expired(void *ctx)
{
	struct call *call = ctx;
	struct err err;

	(void)err_set(&err, ERR_TIMEOUT, "no answer in time (%s)",
	    smtp_client_at_name(call->at));
	call_end_with_message(call, call->at == SMTP_CLIENT_AT_QUIT ? CALL_END_QUIT :
	    CALL_END_TIMEOUT, NULL, &err);
}

static void
conn_closed(void *ctx, enum conn_end end, const struct err *why)
{
	struct call *call = ctx;
	struct err err = *why;
	bool in_handshake = call->tls_began && !call->secured;

	if (call->redial || call->ended)
		return;
	if ((end == CONN_END_TLS || in_handshake) && may_go_in_clear(call)) {
		call_dial_again(call);
		return;
	}
	if (err.kind == ERR_NONE)
		(void)err_set(&err, ERR_CLOSED, "%s", end == CONN_END_TIMEOUT ?
		    "the peer takes no output" : "the peer closed the connection");
	call_end_with_message(call, call->quitting && !call->sending ? CALL_END_QUIT :
	    end == CONN_END_TLS || in_handshake ? CALL_END_TLS :
	    end == CONN_END_TIMEOUT ? CALL_END_TIMEOUT : CALL_END_LOST, NULL, &err);
}

const struct conn_ops call_conn_ops = {
	.input = conn_has_input,
	.drained = conn_drained,
	.secured = conn_secured,
	.expired = conn_expired,
	.closed = conn_closed,
};

