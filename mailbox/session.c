#include "mailbox/session.h"

#include <string.h>

#include "relay/base/arena.h"
#include "relay/base/buf.h"
#include "relay/base/container_of.h"
#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/mail/mail_log.h"
#include "relay/session/serve.h"

enum { HELLO_BYTES_MAX = 256 };

struct session {
	struct crew_session crew;
	struct session_place *place;
	struct loop *loop;
	const struct crew_door *door;
	/* held by the door's plan, which the crew's session holds */
	struct mailbox_config *config;
	struct serve *serve;            /* NULL once it ended */
	struct delivery *delivery;      /* of the open transaction, or of the last */
	size_t orphan_count;            /* deliveries that are lent, and not ours any more */
	bool ended;
	bool smtputf8;
	size_t hello_len;
	char hello[HELLO_BYTES_MAX];
	char address[ENDPOINT_TEXT_BYTES_MAX];
};

static bool
is_lmtp(const struct session *session)
{
	return session->door->listener->protocol == NODE_PROTOCOL_LMTP;
}

static struct span
hello_of(const struct session *session)
{
	return span_make(session->hello, session->hello_len);
}

static enum envelope_protocol
protocol_of(const struct session *session)
{
	bool tls = serve_tls(session->serve) != NULL;

	if (is_lmtp(session))
		return tls ? PROTOCOL_LMTPS : PROTOCOL_LMTP;
	if (!smtp_server_is_extended(serve_engine(session->serve)))
		return PROTOCOL_SMTP;
	return tls ? PROTOCOL_ESMTPS : PROTOCOL_ESMTP;
}

/* ------------------------------------------------------------------ coming and going */

/* The crew may only forget us when nothing of ours is on another thread. */
static void
free_if_over(struct session *session)
{
	if (!session->ended || session->orphan_count > 0)
		return;
	crew_session_end(&session->crew);
	mem_free(&session);
}

static void
let_go_of_delivery(struct session *session)
{
	if (session->delivery == NULL)
		return;
	if (delivery_is_lent(session->delivery)) {
		delivery_orphan(session->delivery);
		session->delivery = NULL;
		session->orphan_count++;
	} else {
		delivery_free(&session->delivery);
	}
}

static void
drain(struct crew_session *crew)
{
	struct session *session = container_of(crew, struct session, crew);

	if (session->serve != NULL)
		serve_drain(session->serve);
}

static void
cut(struct crew_session *crew)
{
	struct session *session = container_of(crew, struct session, crew);

	if (session->serve != NULL)
		serve_end_now(session->serve);
}

/* ------------------------------------------------------------------------- refusals */

static void
log_refused(const struct session *session, struct span stage, struct span sender,
	    struct span rcpt, const struct reply *reply)
{
	const struct mail_log_refused refused = {
		.stage = stage,
		.sender = sender,
		.rcpt = rcpt,
		.client_address = span_from_cstr(session->address),
		.client_hello = hello_of(session),
		.listener = span_from_cstr(session->door->listener->name),
		.protocol = protocol_of(session),
		.reply = reply,
	};

	mail_log_refused(&refused);
}

/* May this client deliver at all?  Fills the reply when not. */
static bool
may_deliver(const struct session *session, struct reply *reply)
{
	const struct node_listener *listener = session->door->listener;
	const struct tls_info *tls = serve_tls(session->serve);

	if (tls == NULL && (listener->tls == NODE_LISTENER_TLS_REQUIRE ||
			    listener->client_auth == TLS_CLIENT_AUTH_REQUIRE)) {
		reply_set(reply, 530, "5.7.0", "must issue a STARTTLS command first");
		return false;
	}
	if (!node_listener_admits(listener, tls)) {
		reply_set(reply, 550, "5.7.1", "this client may not deliver here");
		return false;
	}
	if (!worker_may_store(session->place->delivery->worker)) {
		reply_set(reply, 451, "4.3.0", "cannot store mail now, try again later");
		return false;
	}
	return true;
}

/* --------------------------------------------------------------- the engine's questions */

static enum step
on_open(void *ctx, struct reply *reply)
{
	(void)ctx;
	reply_set(reply, 220, "", "ready");
	return STEP_REPLY;
}

/*
 * What is offered depends on who asks: origin ids are taken from own nodes only, whose
 * certificate the listener's CA vouches for.  Notifications of success are the relay's matter
 * (RFC 3461 section 5.2.2), so DSN is not offered.
 */
static uint32_t
offered_to(const struct session *session)
{
	const struct node_listener *listener = session->door->listener;
	const struct tls_info *tls = serve_tls(session->serve);
	uint32_t offered = SMTP_CAPABILITIES_COMMON & ~(uint32_t)SMTP_DSN;

	if (!is_lmtp(session))
		offered |= SMTP_LIMITS;
	if (session->door->tls != NULL && tls == NULL)
		offered |= SMTP_STARTTLS;
	if (tls != NULL && tls->peer_verified && listener->certificate_count > 0 &&
	    listener->certificates[0]->ca_file != NULL)
		offered |= SMTP_XORIGIN;
	return offered;
}

static enum step
on_hello(void *ctx, const struct smtp_hello *hello, struct reply *reply)
{
	struct session *session = ctx;
	size_t len = hello->name.len < HELLO_BYTES_MAX ? hello->name.len : HELLO_BYTES_MAX;

	memcpy(session->hello, hello->name.data, len);
	session->hello_len = len;
	smtp_server_offer(serve_engine(session->serve), offered_to(session));
	reply_set(reply, 250, "", "%s", session->door->hostname);
	return STEP_REPLY;
}

static const struct delivery_ops delivery_ops;

static enum step
on_mail(void *ctx, const struct smtp_mail *mail, struct reply *reply)
{
	struct session *session = ctx;
	const struct tls_info *tls = serve_tls(session->serve);
	struct delivery_client client = {
		.hello = hello_of(session),
		.address = span_from_cstr(session->address),
		.listener = span_from_cstr(session->door->listener->name),
		.protocol = protocol_of(session),
	};
	struct arena arena;

	let_go_of_delivery(session);
	if (!may_deliver(session, reply)) {
		arena_init(&arena, 0);
		log_refused(session, SPAN("mail"), address_text(&mail->from, &arena),
			    span_make("", 0), reply);
		arena_fini(&arena);
		return STEP_REPLY;
	}
	if (tls != NULL) {
		client.tls_version = span_from_cstr(tls->version);
		client.tls_cipher = span_from_cstr(tls->cipher);
		client.tls_verified = tls->peer_verified;
	}
	session->delivery = delivery_new(session->place->delivery, session->loop, session->config,
					 &client, &delivery_ops, session);
	arena_init(&arena, 0);
	delivery_set_sender(session->delivery, address_text(&mail->from, &arena), mail->origin,
			    mail->smtputf8);
	arena_fini(&arena);
	reply_set(reply, 250, "2.1.0", "ok");
	return STEP_REPLY;
}

static enum step
on_rcpt(void *ctx, const struct smtp_rcpt *rcpt, struct reply *reply)
{
	struct session *session = ctx;
	struct arena arena;

	if (delivery_add_rcpt(session->delivery, &rcpt->to)) {
		reply_set(reply, 250, "2.1.5", "ok");
		return STEP_REPLY;
	}
	reply_set(reply, 550, "5.1.1", "no such mailbox here");
	arena_init(&arena, 0);
	log_refused(session, SPAN("rcpt"), delivery_sender(session->delivery),
		    address_text(&rcpt->to, &arena), reply);
	arena_fini(&arena);
	return STEP_REPLY;
}

static enum step
on_data(void *ctx, struct reply *reply)
{
	struct session *session = ctx;

	if (worker_may_store(session->place->delivery->worker))
		reply_set(reply, 354, "", "go on, end with a line that is one dot");
	else
		reply_set(reply, 451, "4.3.0", "cannot store mail now, try again later");
	return STEP_REPLY;
}

static size_t
on_body(void *ctx, struct span octets)
{
	struct session *session = ctx;

	if (delivery_is_lent(session->delivery))
		return 0;
	return delivery_body(session->delivery, octets);
}

/* SMTP: the verdict of the one recipient.  LMTP: nobody reads it. */
static void
verdict(const struct session *session, struct reply *reply)
{
	*reply = *delivery_verdict(session->delivery, 0);
}

static enum step
on_end(void *ctx, const struct smtp_body_facts *facts, struct reply *reply)
{
	struct session *session = ctx;

	(void)facts;
	if (delivery_finish(session->delivery, &session->place->ids))
		return STEP_PARK;
	verdict(session, reply);
	return STEP_REPLY;
}

static void
on_outcome(void *ctx, size_t index, struct reply *reply)
{
	const struct session *session = ctx;

	*reply = *delivery_verdict(session->delivery, index);
}

static void
on_reset(void *ctx, enum smtp_reset reason)
{
	(void)reason;
	let_go_of_delivery(ctx);
}

static void
on_closed(void *ctx)
{
	let_go_of_delivery(ctx);
}

static void
on_ended(void *ctx, enum serve_end end, const struct err *err)
{
	struct session *session = ctx;

	if (end == SERVE_END_TLS)
		log_warn("mailbox: %s: TLS: %s", session->address, err != NULL ? err->text : "");
	session->serve = NULL;
	session->ended = true;
	free_if_over(session);
}

/* ------------------------------------------------------------- what deliveries tell us */

static void
on_spilled(void *ctx, const struct reply *refusal)
{
	struct session *session = ctx;

	if (refusal != NULL)
		serve_refuse_body(session->serve, refusal);
	else
		serve_resume(session->serve);
}

static void
on_decided(void *ctx)
{
	struct session *session = ctx;
	struct reply reply;

	verdict(session, &reply);
	serve_answer(session->serve, &reply);
}

static void
on_gone(void *ctx)
{
	struct session *session = ctx;

	must(session->orphan_count > 0);
	session->orphan_count--;
	free_if_over(session);
}

static const struct delivery_ops delivery_ops = {
	.spilled = on_spilled,
	.decided = on_decided,
	.gone = on_gone,
};

static const struct serve_ops serve_ops = {
	.engine = {
		.open = on_open,
		.hello = on_hello,
		.mail = on_mail,
		.rcpt = on_rcpt,
		.data = on_data,
		.body = on_body,
		.end = on_end,
		.outcome = on_outcome,
		.reset = on_reset,
		.closed = on_closed,
	},
	.ended = on_ended,
};

void
session_start(struct session_place *place, struct crew_worker *worker, const struct crew_door *door,
	      struct conn *conn)
{
	struct session *session = mem_alloc(sizeof(*session));
	const struct node_limits *limits = door->limits;
	struct serve_settings settings = {
		.tls = door->tls,
		.tls_implicit = door->listener->tls == NODE_LISTENER_TLS_IMPLICIT,
		.command_timeout_ms = limits->command_timeout_ms,
		.data_timeout_ms = limits->data_timeout_ms,
	};
	const struct endpoint *peer = conn_peer(conn);

	session->place = place;
	session->loop = crew_worker_loop(worker);
	session->door = door;
	session->config = door->app;
	session->crew.drain = drain;
	session->crew.cut = cut;
	(void)endpoint_print_ip(peer, session->address);
	smtp_server_settings_init(&settings.engine);
	settings.engine.hostname = span_from_cstr(door->hostname);
	settings.engine.lmtp = is_lmtp(session);
	settings.engine.offered = 0;
	settings.engine.size_max = limits->message_bytes_max;
	/* DECISIONS 25: one verdict for one recipient, or a retry would make duplicates. */
	settings.engine.rcpt_count_max = is_lmtp(session) ? limits->rcpt_count_max : 1;
	settings.engine.mail_count_max = limits->message_count_max;
	settings.engine.error_count_max = limits->error_count_max;
	crew_session_begin(&session->crew, worker, door, peer);
	session->serve = serve_start(session->loop, conn, &settings, &serve_ops, session);
}
