#include "relay/inbound/inbound_private.h"

#include "relay/base/container_of.h"
#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/mail/address.h"
#include "relay/mail/mail_log.h"

/* ---- what is known of the client */

static struct span
client_text(const struct inbound *in)
{
	return span_from_cstr(in->client_text);
}

static struct span
listener_name(const struct inbound *in)
{
	return span_from_cstr(in->door->listener->name);
}

static bool
is_lmtp(const struct inbound *in)
{
	return in->door->listener->protocol == NODE_PROTOCOL_LMTP;
}

/* RFC 3848. */
static enum envelope_protocol
session_protocol(const struct inbound *in)
{
	const struct smtp_server *engine = serve_engine(in->serve);
	bool tls = smtp_server_is_tls(engine);
	bool auth = smtp_server_is_authenticated(engine);

	if (is_lmtp(in)) {
		if (auth)
			return tls ? PROTOCOL_LMTPSA : PROTOCOL_LMTPA;
		return tls ? PROTOCOL_LMTPS : PROTOCOL_LMTP;
	}
	if (!smtp_server_is_extended(engine))
		return PROTOCOL_SMTP;
	if (auth)
		return tls ? PROTOCOL_ESMTPSA : PROTOCOL_ESMTPA;
	return tls ? PROTOCOL_ESMTPS : PROTOCOL_ESMTP;
}

static struct policy_facts
session_facts(const struct inbound *in)
{
	return (struct policy_facts){
		.client_ip = in->has_client_ip ? in->client_ip : NULL,
		.tls = in->serve ? serve_tls(in->serve) : NULL,
		.auth_user = login_user(in->login),
		.sender = in->envelope ? in->envelope->sender : SPAN(""),
		.rcpt = SPAN(""),
	};
}

/* ---- refusals */

enum step
inbound_refused(const struct inbound *in, const char *stage, struct span rcpt,
    const struct reply *reply)
{
	const struct mail_log_refused event = {
		.stage = span_from_cstr(stage),
		.sender = in->envelope ? in->envelope->sender : SPAN(""),
		.rcpt = rcpt,
		.client_address = client_text(in),
		.client_hello = in->hello,
		.listener = listener_name(in),
		.protocol = in->serve ? session_protocol(in) : PROTOCOL_SMTP,
		.reply = reply,
	};

	mail_log_refused(&event);
	return STEP_REPLY;
}

/* ---- greeting */

static enum step
inbound_open(void *ctx, struct reply *reply)
{
	struct inbound *in = ctx;
	struct policy_facts facts = session_facts(in);
	struct policy_verdict verdict = policy_judge_client(in->config->policy, &facts);

	if (!verdict.admitted) {
		*reply = verdict.reply;
		return inbound_refused(in, "connect", SPAN(""), reply);
	}
	if (queue_port_pressure(in->worker->intakes.port) == PRESSURE_NO_LOG) {
		reply_set(reply, 421, "4.3.0", "the queue cannot be written, try again later");
		return inbound_refused(in, "connect", SPAN(""), reply);
	}
	if (inbound_holds_greeting(in))
		return STEP_PARK;
	reply_set(reply, 220, "", "ready");
	return STEP_REPLY;
}

static void
forget_hello(struct inbound *in)
{
	char *text = (char *)(uintptr_t)in->hello.data;

	in->hello = span_make(NULL, 0);
	mem_free(&text);
}

static enum step
inbound_hello(void *ctx, const struct smtp_hello *hello, struct reply *reply)
{
	struct inbound *in = ctx;

	forget_hello(in);
	in->hello = span_make(mem_dup_text(hello->name.data, hello->name.len), hello->name.len);
	inbound_offer_auth(in);
	reply_set(reply, 250, "", "%s", in->door->hostname);
	return STEP_REPLY;
}

/* Who has a certificate of our authority is a node of ours (DECISIONS.md 1). */
static void
inbound_secured(void *ctx, const struct tls_info *info)
{
	struct inbound *in = ctx;

	login_forget(in->login);
	if (info && info->peer_verified)
		smtp_server_offer(serve_engine(in->serve), SMTP_XORIGIN);
}

/* ---- the transaction */

static bool
may_begin(const struct inbound *in, struct reply *reply)
{
	const struct queue_port *port = in->worker->intakes.port;
	const struct node_listener *listener = in->door->listener;
	const struct tls_info *tls = serve_tls(in->serve);

	if (listener->tls == NODE_LISTENER_TLS_REQUIRE && !tls) {
		reply_set(reply, 530, "5.7.0", "must issue a STARTTLS command first");
		return false;
	}
	if (inbound_lacks_auth(in, reply))
		return false;
	if (!node_listener_admits(listener, tls)) {
		reply_set(reply, 550, "5.7.1", "your certificate does not admit you here");
		return false;
	}
	switch (queue_port_pressure(port)) {
	case PRESSURE_NONE:
		break;
	case PRESSURE_REFUSE:
		reply_set(reply, 452, "4.3.1", "out of space, try again later");
		return false;
	case PRESSURE_NO_LOG:
		reply_set(reply, 421, "4.3.0", "the queue cannot be written, try again later");
		return false;
	}
	if (!queue_may_deliver(port)) {
		reply_set(reply, 451, "4.3.0", "the queue is not ready, try again later");
		return false;
	}
	return true;
}

static void
begin_envelope(struct inbound *in, const struct smtp_mail *mail)
{
	struct envelope *envelope = envelope_new();

	envelope->sender = address_text(&mail->from, envelope->arena);
	envelope->envid = envelope_keep(envelope, mail->envid);
	envelope->ret = mail->ret;
	envelope->body = mail->body;
	envelope->smtputf8 = mail->smtputf8;
	envelope->needs_utf8 = mail->from.needs_utf8;
	envelope->origin = envelope_keep(envelope, mail->origin);
	envelope->protocol = session_protocol(in);
	envelope->client_address = envelope_keep(envelope, client_text(in));
	envelope->client_hello = envelope_keep(envelope, in->hello);
	envelope->auth_user = envelope_keep(envelope, login_user(in->login));
	envelope->listener = envelope_keep(envelope, listener_name(in));
	envelope->parent = SPAN("");
	in->envelope = envelope;
	in->size_hint = mail->size;
	in->body_is_refused = false;
}

static enum step
inbound_mail(void *ctx, const struct smtp_mail *mail, struct reply *reply)
{
	struct inbound *in = ctx;
	struct policy_verdict verdict;
	struct policy_facts facts;

	must(!in->envelope && !in->intake);
	if (!may_begin(in, reply))
		return inbound_refused(in, "mail", SPAN(""), reply);
	begin_envelope(in, mail);
	facts = session_facts(in);
	verdict = policy_judge_sender(in->config->policy, &facts);
	if (!verdict.admitted)
		*reply = verdict.reply;
	if (!verdict.admitted || !gate_mail(in->worker->gate, in->config->gate, in->standing,
	    facts.auth_user, facts.sender, loop_now_ms(in->worker->loop), reply)) {
		(void)inbound_refused(in, "mail", SPAN(""), reply);
		envelope_free(&in->envelope);
		return STEP_REPLY;
	}
	reply_set(reply, 250, "2.1.0", "sender ok");
	return STEP_REPLY;
}

/* RFC 5321 section 4.5.1: <postmaster> without a domain is always somebody here. */
static struct span
rcpt_text(struct inbound *in, const struct smtp_rcpt *rcpt, bool *is_postmaster_out)
{
	struct address address = rcpt->to;
	struct arena *arena = in->envelope->arena;

	*is_postmaster_out = span_is_empty(address.domain);
	if (!*is_postmaster_out)
		return address_text(&address, arena);
	if (in->config->postmaster)
		return arena_dup(arena, span_from_cstr(in->config->postmaster));
	address.domain = span_from_cstr(in->door->hostname);
	return address_text(&address, arena);
}

static bool
rcpt_is_ours(struct inbound *in, struct span rcpt)
{
	const struct inbound_question question = {
		.rcpt = rcpt,
		.sender = in->envelope->sender,
		.client_address = client_text(in),
		.listener = listener_name(in),
	};

	return in->config->is_ours(in->config->ctx, &question);
}

/* The same address twice is one recipient: nobody wants two copies. */
static struct envelope_rcpt *
find_rcpt(struct envelope *envelope, struct span address)
{
	for (size_t i = 0; i < envelope->rcpt_count; i++)
		if (span_equal(envelope->rcpts[i].address, address))
			return &envelope->rcpts[i];
	return NULL;
}

static void
add_rcpt(struct inbound *in, struct span address, const struct smtp_rcpt *rcpt)
{
	struct envelope *envelope = in->envelope;
	struct envelope_rcpt *it = find_rcpt(envelope, address);

	if (it)
		return;
	it = envelope_add_rcpt(envelope, address);
	it->orcpt = envelope_keep(envelope, rcpt->orcpt);
	it->notify = rcpt->notify;
	envelope->needs_utf8 = envelope->needs_utf8 || rcpt->to.needs_utf8;
}

static enum step
inbound_rcpt(void *ctx, const struct smtp_rcpt *rcpt, struct reply *reply)
{
	struct inbound *in = ctx;
	bool is_postmaster;
	struct span address = rcpt_text(in, rcpt, &is_postmaster);
	struct policy_facts facts = session_facts(in);
	struct policy_verdict verdict;

	facts.rcpt = address;
	facts.rcpt_is_ours = rcpt_is_ours(in, address) ||
	    (is_postmaster && in->config->postmaster);
	verdict = policy_judge_rcpt(in->config->policy, &facts);
	if (!verdict.admitted) {
		*reply = verdict.reply;
		return inbound_refused(in, "rcpt", address, reply);
	}
	add_rcpt(in, address, rcpt);
	reply_set(reply, 250, "2.1.5", "recipient ok");
	return STEP_REPLY;
}

/* ---- the body */

static void
intake_has_room(void *ctx)
{
	struct inbound *in = ctx;

	serve_resume(in->serve);
}

static void
keep_outcome(struct inbound *in, const struct reply *reply)
{
	if (!is_lmtp(in))
		return;
	mem_free(&in->outcome);
	in->outcome = mem_dup(reply, sizeof(*reply));
}

static void
intake_is_done(void *ctx, const struct reply *reply)
{
	struct inbound *in = ctx;

	in->intake = NULL;
	keep_outcome(in, reply);
	if (!reply_is_positive(reply))
		(void)inbound_refused(in, "data", SPAN(""), reply);
	serve_answer(in->serve, reply);
}

static const struct intake_ops intake_ops = {
	.room = intake_has_room,
	.done = intake_is_done,
};

static enum step
inbound_data(void *ctx, struct reply *reply)
{
	struct inbound *in = ctx;
	const struct tls_info *tls = serve_tls(in->serve);
	struct trace_received trace = {
		.client_hello = in->hello,
		.client_address = client_text(in),
		.hostname = span_from_cstr(in->door->hostname),
		.protocol = in->envelope->protocol,
		.smtputf8 = in->envelope->smtputf8,
	};

	if (!may_begin(in, reply))
		return inbound_refused(in, "data", SPAN(""), reply);
	if (in->login && in->config->login->show_user)
		trace.auth_user = login_user(in->login);
	if (tls) {
		trace.tls_version = span_from_cstr(tls->version);
		trace.tls_cipher = span_from_cstr(tls->cipher);
		trace.tls_verified = tls->peer_verified;
	}
	in->intake = intake_begin(&in->worker->intakes, &in->envelope, &trace, in->size_hint,
	    &intake_ops, in);
	reply_set(reply, 354, "", "end data with <CR><LF>.<CR><LF>");
	return STEP_REPLY;
}

static size_t
inbound_body(void *ctx, struct span octets)
{
	struct inbound *in = ctx;
	struct reply reply;
	size_t took = intake_append(in->intake, octets, &reply);

	if (took != SIZE_MAX)
		return took;
	(void)inbound_refused(in, "data", SPAN(""), &reply);
	smtp_server_refuse_body(serve_engine(in->serve), &reply);
	return octets.len;
}

static enum step
inbound_end(void *ctx, const struct smtp_body_facts *facts, struct reply *reply)
{
	struct inbound *in = ctx;

	if (intake_commit(in->intake, facts->has_8bit, facts->header_has_8bit, reply) == 0)
		return STEP_PARK;
	intake_leave(&in->intake);
	keep_outcome(in, reply);
	return inbound_refused(in, "data", SPAN(""), reply);
}

static void
inbound_outcome(void *ctx, size_t index, struct reply *reply)
{
	struct inbound *in = ctx;

	(void)index;
	*reply = *in->outcome;
}

static void
inbound_reset(void *ctx, enum smtp_reset reason)
{
	struct inbound *in = ctx;

	(void)reason;
	intake_leave(&in->intake);
	envelope_free(&in->envelope);
}

/* ---- the end */

static void
inbound_closed(void *ctx)
{
	(void)ctx;      /* ended() follows */
}

static void
inbound_ended(void *ctx, enum serve_end end, const struct err *err)
{
	struct inbound *in = ctx;

	must(!in->intake && !in->envelope);
	if (end != SERVE_END_QUIT && log_wants(LOG_LEVEL_DEBUG)) {
		struct log_line line;

		log_begin(&line, LOG_LEVEL_DEBUG, "session_ended");
		log_span(&line, "client", client_text(in));
		log_span(&line, "listener", listener_name(in));
		log_cstr(&line, "how", serve_end_name(end));
		log_cstr(&line, "why", err ? err->text : "");
		log_end(&line);
	}
	inbound_leave(in);
	login_free(&in->login);
	crew_session_end(&in->crew);
	forget_hello(in);
	mem_free(&in->outcome);
	mem_free(&in);
}

static void
inbound_drain(struct crew_session *session)
{
	struct inbound *in = container_of(session, struct inbound, crew);

	serve_drain(in->serve);
}

static void
inbound_cut(struct crew_session *session)
{
	struct inbound *in = container_of(session, struct inbound, crew);

	serve_end_now(in->serve);
}

static const struct serve_ops serve_ops = {
	.engine = {
		.open = inbound_open,
		.hello = inbound_hello,
		.mail = inbound_mail,
		.rcpt = inbound_rcpt,
		.data = inbound_data,
		.body = inbound_body,
		.end = inbound_end,
		.outcome = inbound_outcome,
		.reset = inbound_reset,
		.auth = inbound_auth,
		.auth_cancelled = inbound_auth_cancelled,
		.closed = inbound_closed,
	},
	.secured = inbound_secured,
	.ended = inbound_ended,
};

/* ---- the face */

void
inbound_serve(struct inbound_worker *worker, struct crew_worker *crew_worker,
    const struct crew_door *door, struct conn *conn)
{
	struct inbound *in = mem_alloc(sizeof(*in));
	const struct endpoint *peer = conn_peer(conn);
	struct serve_settings settings;

	in->worker = worker;
	in->config = door->app;
	in->door = door;
	(void)endpoint_print_ip(peer, in->client_text);
	in->has_client_ip = endpoint_ip16(peer, in->client_ip);
	in->crew.drain = inbound_drain;
	in->crew.cut = inbound_cut;
	crew_session_begin(&in->crew, crew_worker, door, peer);
	inbound_enter(in);
	inbound_begin_auth(in);
	inbound_fill_settings(in, &settings);
	in->serve = serve_start(worker->loop, conn, &settings, &serve_ops, in);
}
