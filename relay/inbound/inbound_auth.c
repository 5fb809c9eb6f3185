#include "relay/inbound/inbound_private.h"

#include "relay/base/log.h"
#include "relay/inbound/login.h"

/* ---- what comes of a step */

static void
log_authenticated(const struct inbound *in)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, "authenticated");
	log_span(&line, "user", login_user(in->login));
	log_span(&line, "mechanism", login_mechanism(in->login));
	log_cstr(&line, "client", in->client_text);
	log_cstr(&line, "listener", in->door->listener->name);
	log_end(&line);
}

static void
auth_answered(void *ctx, const struct reply *reply)
{
	struct inbound *in = ctx;

	if (reply_is_positive(reply))
		log_authenticated(in);
	else
		(void)inbound_refused(in, "auth", SPAN(""), reply);
	serve_answer(in->serve, reply);
}

static void
auth_challenged(void *ctx, struct span challenge)
{
	struct inbound *in = ctx;

	serve_challenge(in->serve, challenge);
}

static const struct login_ops login_ops = {
	.answer = auth_answered,
	.challenge = auth_challenged,
};

/* ---- the engine's questions */

enum step
inbound_auth(void *ctx, const struct smtp_auth_step *auth_step, struct buf *challenge,
    struct reply *reply)
{
	struct inbound *in = ctx;
	enum step step = login_step(in->login, auth_step, serve_tls(in->serve), reply);

	(void)challenge;                /* it comes by auth_challenged() */
	return step == STEP_REPLY ? inbound_refused(in, "auth", SPAN(""), reply) : step;
}

void
inbound_auth_cancelled(void *ctx)
{
	struct inbound *in = ctx;

	login_cancel(in->login);
}

/* ---- for the rest of the session */

static void
let_plan_go(void *holder)
{
	struct crew_plan *plan = holder;

	crew_plan_unref(&plan);
}

void
inbound_begin_auth(struct inbound *in)
{
	const struct login_settings settings = {
		.config = in->config->login,
		.loop = in->worker->loop,
		.pool = in->worker->helpers,
		.holder = in->door->plan,
		.release = let_plan_go,
	};

	if (in->door->listener->auth == NODE_LISTENER_AUTH_NONE || !settings.config ||
	    !settings.pool)
		return;
	(void)crew_plan_ref(in->door->plan);
	in->login = login_new(&settings, &login_ops, in);
}

void
inbound_offer_auth(struct inbound *in)
{
	const struct tls_info *tls = serve_tls(in->serve);
	struct buf names;

	if (!in->login || (!tls && !in->door->listener->auth_in_clear))
		return;
	buf_init(&names, SMTP_AUTH_MECHANISMS_BYTES_MAX - 1);
	login_mechanisms(in->config->login, tls, &names);
	smtp_server_set_mechanisms(serve_engine(in->serve), buf_span(&names));
	buf_fini(&names);
}

bool
inbound_lacks_auth(const struct inbound *in, struct reply *reply)
{
	const struct node_listener *listener = in->door->listener;

	if (listener->auth != NODE_LISTENER_AUTH_REQUIRED ||
	    smtp_server_is_authenticated(serve_engine(in->serve)))
		return false;
	if (!serve_tls(in->serve) && !listener->auth_in_clear)
		reply_set(reply, 530, "5.7.0", "must issue a STARTTLS command first");
	else
		reply_set(reply, 530, "5.7.0", "authentication required");
	return true;
}
