#include "relay/session/call_private.h"

#include <stdio.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	CALL_EAGER_BYTES_MAX = 128 << 10,
	CALL_SECOND_MS = 1000,
};

#define CALL_MINUTE_MS ((uint64_t)60 * 1000)

/* ---- opening ---- */

static enum smtp_client_tls
client_tls(const struct call *call)
{
	switch (call->settings.tls) {
	case CALL_TLS_NONE:
		return SMTP_CLIENT_TLS_NEVER;
	case CALL_TLS_MAY:
		return call->in_clear ? SMTP_CLIENT_TLS_NEVER : SMTP_CLIENT_TLS_IF_OFFERED;
	case CALL_TLS_REQUIRE:
	case CALL_TLS_VERIFY:
	case CALL_TLS_FINGERPRINT:
		return SMTP_CLIENT_TLS_REQUIRED;
	}
	must_not_reach();
}

static void
begin_tls(void *ctx)
{
	struct call *call = ctx;
	const struct call_settings *settings = &call->settings;

	call->tls_began = true;
	conn_start_tls_client(call->conn, settings->tls_context, &(struct tls_peer){
		.verify = settings->tls == CALL_TLS_VERIFY ? TLS_VERIFY_NAME :
		    settings->tls == CALL_TLS_FINGERPRINT ? TLS_VERIFY_FINGERPRINT :
		    TLS_VERIFY_NONE,
		.name = call->host,
		.fingerprints = settings->fingerprints,
		.fingerprint_count = settings->fingerprint_count,
	});
	conn_resume_input(call->conn);
}

static void
name_peer(struct call *call)
{
	char text[ENDPOINT_TEXT_BYTES_MAX];

	call->peer = *conn_peer(call->conn);
	(void)snprintf(call->peer_text, sizeof(call->peer_text), "%s[%s]:%u", call->host,
	    endpoint_print_ip(&call->peer, text), call->peer.port);
}

/* Before there is a connection: the address, if there is but one to try. */
static void
name_goal(struct call *call)
{
	char text[ENDPOINT_TEXT_BYTES_MAX];

	if (call->settings.address_count == 1)
		(void)snprintf(call->peer_text, sizeof(call->peer_text), "%s[%s]:%u", call->host,
		    endpoint_print_ip(call->addresses, text), call->addresses[0].port);
	else
		(void)snprintf(call->peer_text, sizeof(call->peer_text), "%s:%u", call->host,
		    call->addresses[0].port);
}

static void
dialled(void *ctx, const struct dial_result *result)
{
	struct call *call = ctx;

	call->dial = NULL;
	if (!result->conn) {
		call_end(call, CALL_END_CONNECT, NULL, result->err);
		return;
	}
	call->conn = result->conn;
	name_peer(call);
	conn_start(call->conn, call->loop, &(struct conn_settings){ 0 }, &call_conn_ops, call);
	call->client_settings = (struct smtp_client_settings){
		.hostname = call->settings.hello,
		.lmtp = call->settings.protocol == CALL_LMTP,
		.tls = call->settings.tls_implicit ? SMTP_CLIENT_TLS_NEVER : client_tls(call),
		.use_chunking = true,
		.eager_bytes_max = CALL_EAGER_BYTES_MAX,
	};
	if (call->settings.login) {
		call->client_settings.mechanism = call_login_mechanisms(call->settings.login);
		call->client_settings.auth_needs_tls = true;
	}
	call->client = smtp_client_new(&call->client_settings, &call_client_ops, call);
	if (call->settings.tls_implicit)
		begin_tls(call);
	else
		call_pump(call);
}

static void
start_dial(struct call *call)
{
	call->dial = dial_start(call->loop, &(struct dial_settings){
		.addresses = call->addresses,
		.address_count = call->settings.address_count,
		.source_ipv4 = call->settings.source_ipv4,
		.source_ipv6 = call->settings.source_ipv6,
		.address_timeout_ms = call->settings.connect_timeout_ms,
	}, dialled, call);
}

/* At the end of a turn, since it may be asked for from inside the engine. */
static void
redial(void *ctx)
{
	struct call *call = ctx;

	loop_task_cancel(call->loop, &call->begin_tls);
	conn_free(&call->conn);
	smtp_client_free(&call->client);
	sasl_client_free(&call->sasl);
	call->redial = false;
	call->tls_began = call->secured = call->has_deadline = call->waits_for_drain = false;
	start_dial(call);
}

void
call_dial_again(struct call *call)
{
	call->in_clear = true;
	call->redial = true;
	loop_at_turn_end(call->loop, &call->redial_task);
}

static void
open_expired(void *ctx)
{
	struct err err;

	(void)err_set(&err, ERR_TIMEOUT, "the session was not open in time");
	call_end_with_message(ctx, CALL_END_TIMEOUT, NULL, &err);
}

static void
idle_expired(void *ctx)
{
	struct call *call = ctx;

	call->idle_over = true;
	call_quit(call);
}

static uint64_t
or_default(uint64_t value, uint64_t otherwise)
{
	return value ? value : otherwise;
}

static void
copy_settings(struct call *call, const struct call_settings *settings)
{
	struct call_settings *own = &call->settings;

	*own = *settings;
	call->host = mem_dup_text(settings->host.data, settings->host.len);
	call->hello = mem_dup_text(settings->hello.data, settings->hello.len);
	call->addresses = mem_dup(settings->addresses,
	    settings->address_count * sizeof(*settings->addresses));
	own->host = span_from_cstr(call->host);
	own->hello = span_from_cstr(call->hello);
	own->addresses = call->addresses;
	if (settings->fingerprint_count)
		call->fingerprints = mem_dup(settings->fingerprints,
		    settings->fingerprint_count * sizeof(*settings->fingerprints));
	own->fingerprints = (const uint8_t (*)[TLS_FINGERPRINT_BYTES])call->fingerprints;
	if (settings->tls_context)
		own->tls_context = tls_context_ref(settings->tls_context);
	if (settings->login)
		own->login = call_login_ref(settings->login);
	if (settings->source_ipv4) {
		call->source_ipv4 = *settings->source_ipv4;
		own->source_ipv4 = &call->source_ipv4;
	}
	if (settings->source_ipv6) {
		call->source_ipv6 = *settings->source_ipv6;
		own->source_ipv6 = &call->source_ipv6;
	}
	own->open_timeout_ms = or_default(settings->open_timeout_ms, 5 * CALL_MINUTE_MS);
	own->greeting_timeout_ms = or_default(settings->greeting_timeout_ms, 5 * CALL_MINUTE_MS);
	own->hello_timeout_ms = or_default(settings->hello_timeout_ms, 5 * CALL_MINUTE_MS);
	own->mail_timeout_ms = or_default(settings->mail_timeout_ms, 5 * CALL_MINUTE_MS);
	own->data_timeout_ms = or_default(settings->data_timeout_ms, 2 * CALL_MINUTE_MS);
	own->body_timeout_ms = or_default(settings->body_timeout_ms, 3 * CALL_MINUTE_MS);
	own->dot_timeout_ms = or_default(settings->dot_timeout_ms, 10 * CALL_MINUTE_MS);
	own->quit_timeout_ms = or_default(settings->quit_timeout_ms, 5 * CALL_SECOND_MS);
	own->idle_timeout_ms = or_default(settings->idle_timeout_ms, 30 * CALL_SECOND_MS);
}

struct call *
call_start(struct loop *loop, const struct call_settings *settings, const struct call_ops *ops,
    void *ctx)
{
	struct call *call = mem_alloc(sizeof(*call));

	must(settings->address_count > 0);
	must(settings->tls_context || settings->tls == CALL_TLS_NONE);
	call->loop = loop;
	call->ops = ops;
	call->ctx = ctx;
	copy_settings(call, settings);
	name_goal(call);
	loop_task_init(&call->tell, call_tell, call);
	loop_task_init(&call->begin_tls, begin_tls, call);
	loop_task_init(&call->redial_task, redial, call);
	loop_timer_init(&call->open_timer, open_expired, call);
	loop_timer_init(&call->idle_timer, idle_expired, call);
	loop_timer_start(loop, &call->open_timer, call->settings.open_timeout_ms);
	start_dial(call);
	return call;
}

/* ---- a message ---- */

bool
call_is_ready(const struct call *call)
{
	return !call->ended && !call->quitting && !call->redial && !call->sending &&
	    call->client && smtp_client_wants(call->client) == SMTP_CLIENT_WANTS_MAIL;
}

void
call_send(struct call *call, const struct call_message *message)
{
	const struct envelope *envelope = message->envelope;
	size_t count = message->rcpt_count;

	must(call_is_ready(call) && count > 0);
	loop_timer_stop(call->loop, &call->idle_timer);
	call->sending = true;
	call->body = message->body;
	call->rcpt_count = count;
	call->rcpts = mem_dup(message->rcpts, count * sizeof(*message->rcpts));
	call->outcomes = mem_alloc_array(count, sizeof(*call->outcomes));
	call->client_rcpts = mem_alloc_array(count, sizeof(*call->client_rcpts));
	for (size_t i = 0; i < count; i++) {
		const struct envelope_rcpt *rcpt = &envelope->rcpts[message->rcpts[i]];

		call->client_rcpts[i] = (struct smtp_client_rcpt){
			.address = rcpt->address,
			.orcpt = rcpt->orcpt,
			.notify = rcpt->notify,
		};
	}
	call->mail = (struct smtp_client_mail){
		.sender = envelope->sender,
		.rcpts = call->client_rcpts,
		.rcpt_count = count,
		.body_bytes = message->body_bytes,
		.needs_8bit = envelope->requires_8bit,
		.needs_utf8 = envelope->needs_utf8,
		.ret = envelope->ret,
		.envid = envelope->envid,
		.origin = envelope->origin,
	};
	smtp_client_send(call->client, &call->mail);
	call_pump(call);
}

void
call_body_ready(struct call *call)
{
	if (call->ended || call->redial || !call->client || !call->sending)
		return;
	smtp_client_resume(call->client);
	call_pump(call);
}

void
call_quit(struct call *call)
{
	if (call->quitting || call->ended)
		return;
	call->quitting = true;
	loop_timer_stop(call->loop, &call->idle_timer);
	if (!call->client || call->redial) {
		call_end(call, CALL_END_QUIT, NULL, NULL);
		return;
	}
	smtp_client_quit(call->client);
	call_pump(call);
}

/* ---- the rest ---- */

static void
release_call(void *object)
{
	struct call *call = object;

	mem_free(&call->host);
	mem_free(&call->hello);
	mem_free(&call->addresses);
	mem_free(&call->fingerprints);
	tls_context_unref(&call->settings.tls_context);
	call_login_unref(&call->settings.login);
	mem_free(&call);
}

void
call_free(struct call **call_pointer)
{
	struct call *call = *call_pointer;

	*call_pointer = NULL;
	if (!call || call->freed)
		return;
	call->freed = true;
	call->ended = true;
	loop_task_cancel(call->loop, &call->tell);
	loop_task_cancel(call->loop, &call->redial_task);
	call_close_wire(call);
	call_release_piece(call);
	call_forget_message(call);
	loop_defer_free(call->loop, release_call, call);
}

void
call_set_ops(struct call *call, const struct call_ops *ops, void *ctx)
{
	call->ops = ops;
	call->ctx = ctx;
}

const char *
call_peer_text(const struct call *call)
{
	return call->peer_text;
}

const struct endpoint *
call_peer(const struct call *call)
{
	return &call->peer;
}

const struct tls_info *
call_tls_info(const struct call *call)
{
	return call->conn ? conn_tls(call->conn) : NULL;
}

bool
call_passes_notices(const struct call *call)
{
	return call->client && smtp_peer_offers(smtp_client_peer(call->client), SMTP_DSN);
}

struct call_limits
call_limits(const struct call *call)
{
	const struct smtp_peer *peer = call->client ? smtp_client_peer(call->client) : NULL;

	return (struct call_limits){
		.rcpt_count_max = peer ? peer->rcpt_count_max : 0,
		.message_count_max = peer ? peer->mail_count_max : 0,
	};
}

size_t
call_message_count(const struct call *call)
{
	return call->message_count;
}

const char *
call_end_name(enum call_end end)
{
	switch (end) {
	case CALL_END_QUIT:
		return "quit";
	case CALL_END_IDLE:
		return "idle";
	case CALL_END_CONNECT:
		return "connect";
	case CALL_END_TLS:
		return "tls";
	case CALL_END_GREETING:
		return "greeting";
	case CALL_END_PROTOCOL:
		return "protocol";
	case CALL_END_TIMEOUT:
		return "timeout";
	case CALL_END_LOST:
		return "lost";
	case CALL_END_CLOSING:
		return "closing";
	}
	must_not_reach();
}

const char *
call_fate_name(enum call_fate fate)
{
	switch (fate) {
	case CALL_FATE_DELIVERED:
		return "delivered";
	case CALL_FATE_DEFERRED:
		return "deferred";
	case CALL_FATE_FAILED:
		return "failed";
	case CALL_FATE_UNCERTAIN:
		return "uncertain";
	case CALL_FATE_UNTRIED:
		return "untried";
	}
	must_not_reach();
}
