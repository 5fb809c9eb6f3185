#include "relay/inbound/login.h"

#include <stdio.h>
#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"

enum {
	LOGIN_CHALLENGE_BYTES_MAX = 1024,       /* what the engine takes */
	LOGIN_RESPONSE_BYTES_MAX = 12288,       /* RFC 4954 section 4 */
	LOGIN_DELAY_MS_MAX = 30 * 1000,
	LOGIN_MECHANISM_BYTES_MAX = 21,
};

/*
 * While a step is under way (`busy`) the exchange and the texts are the helper's.  A
 * session that ends meanwhile leaves the login to dropped().
 */
struct login {
	struct login_settings settings;
	struct login_ops ops;
	void *ctx;                      /* NULL: the session is gone */
	struct work_job job;
	struct loop_timer delay;
	struct sasl_server *exchange;   /* NULL: none is under way */
	char mechanism[LOGIN_MECHANISM_BYTES_MAX];
	char *user;                     /* NULL: nobody yet */
	uint32_t failure_count;
	bool busy;

	/* of the step under way */
	bool has_response;
	struct buf response, challenge;
	enum sasl_step step;
};

/* ---- questions of the exchange, on a helper's thread */

static bool
password_is(void *ctx, struct span user, struct span password)
{
	const struct login *login = ctx;
	const struct credentials *credentials = login->settings.config->credentials;

	return credentials && credentials_password_is(credentials, user, password);
}

static void
scram_of(void *ctx, struct span user, struct sasl_scram *scram_out)
{
	const struct login *login = ctx;

	credentials_scram_of(login->settings.config->credentials, user, scram_out);
}

static const struct sasl_server_ops sasl_ops = {
	.password_is = password_is,
	.scram_of = scram_of,
};

static void
step_run(void *ctx)
{
	struct login *login = ctx;

	login->step = sasl_server_step(login->exchange, login->has_response,
	    buf_span(&login->response), &login->challenge);
}

/* ---- what comes of a step */

static void
end_exchange(struct login *login)
{
	must(!login->busy);
	sasl_server_free(&login->exchange);
	buf_wipe(&login->response);
	buf_wipe(&login->challenge);
}

static void
answer(struct login *login, uint16_t code, const char *status, const char *text)
{
	struct reply reply;

	reply_set(&reply, code, status, "%s", text);
	login->ops.answer(login->ctx, &reply);
}

static void
delay_is_over(void *ctx)
{
	struct login *login = ctx;

	if (login->failure_count >= login->settings.config->failure_count_max)
		answer(login, 421, "4.7.0", "too many failures to authenticate");
	else
		answer(login, 535, "5.7.8", "authentication failed");
}

/* RFC 4954 section 9 and common sense: who guesses has to wait, longer each time. */
static void
refuse(struct login *login)
{
	uint64_t delay_ms = login->settings.config->delay_ms;

	for (uint32_t i = 0; i < login->failure_count && delay_ms < LOGIN_DELAY_MS_MAX; i++)
		delay_ms *= 2;
	login->failure_count++;
	end_exchange(login);
	loop_timer_start(login->settings.loop, &login->delay,
	    delay_ms < LOGIN_DELAY_MS_MAX ? delay_ms : LOGIN_DELAY_MS_MAX);
}

static void
accept_user(struct login *login)
{
	struct span user = sasl_server_user(login->exchange);

	login->user = mem_dup_text(user.data, user.len);
	end_exchange(login);
	answer(login, 235, "2.7.0", "authentication succeeded");
}

static void
step_done(void *ctx)
{
	struct login *login = ctx;

	login->busy = false;
	switch (login->step) {
	case SASL_CHALLENGE:
		login->ops.challenge(login->ctx, buf_span(&login->challenge));
		return;
	case SASL_DONE:
		accept_user(login);
		return;
	case SASL_REFUSED:
		refuse(login);
		return;
	case SASL_MALFORMED:
		end_exchange(login);
		answer(login, 501, "5.5.2", "this is not what the mechanism wants");
		return;
	case SASL_FAILED:
		end_exchange(login);
		answer(login, 454, "4.7.0", "temporary authentication failure");
		return;
	}
	must_not_reach();
}

static void
finally_free(struct login *login)
{
	end_exchange(login);
	login->settings.release(login->settings.holder);
	mem_free(&login->user);
	mem_free(&login);
}

static void
step_dropped(void *ctx)
{
	struct login *login = ctx;

	login->busy = false;
	finally_free(login);
}

/* ---- the face */

struct login *
login_new(const struct login_settings *settings, const struct login_ops *ops, void *ctx)
{
	struct login *login = mem_alloc(sizeof(*login));

	login->settings = *settings;
	login->ops = *ops;
	login->ctx = ctx;
	work_job_init(&login->job, step_run, step_done, step_dropped, login);
	loop_timer_init(&login->delay, delay_is_over, login);
	buf_init(&login->response, LOGIN_RESPONSE_BYTES_MAX);
	buf_init(&login->challenge, LOGIN_CHALLENGE_BYTES_MAX);
	return login;
}

void
login_free(struct login **login_address)
{
	struct login *login = *login_address;

	*login_address = NULL;
	if (!login)
		return;
	loop_timer_stop(login->settings.loop, &login->delay);
	if (login->busy)
		work_cancel(&login->job);       /* step_dropped() follows */
	else
		finally_free(login);
}

static bool
can_be_offered(const struct login_config *config, struct span mechanism,
    const struct tls_info *tls)
{
	if (span_equal(mechanism, SPAN("EXTERNAL")))
		return tls && tls->peer_verified && tls->peer_name[0];
	if (!config->credentials)
		return false;
	return !span_equal(mechanism, SPAN("SCRAM-SHA-256")) ||
	    credentials_have_scram(config->credentials);
}

void
login_mechanisms(const struct login_config *config, const struct tls_info *tls, struct buf *out)
{
	struct span rest = span_from_cstr(config->mechanisms), mechanism;

	while (span_take_word(&rest, &mechanism)) {
		if (!can_be_offered(config, mechanism, tls))
			continue;
		if (!buf_is_empty(out))
			(void)buf_append_byte(out, ' ');
		(void)buf_append(out, mechanism);
	}
}

static bool
begin_exchange(struct login *login, struct span mechanism, const struct tls_info *tls)
{
	const char *identity = tls && tls->peer_verified ? tls->peer_name : "";

	end_exchange(login);
	(void)snprintf(login->mechanism, sizeof(login->mechanism), "%.*s", SPAN_ARGS(mechanism));
	login->exchange = sasl_server_new(login->settings.config->sasl, mechanism,
	    span_from_cstr(identity), &sasl_ops, login);
	return login->exchange != NULL;
}

enum step
login_step(struct login *login, const struct smtp_auth_step *auth_step,
    const struct tls_info *tls, struct reply *reply)
{
	struct err err;

	must(!login->busy);
	if (auth_step->mechanism.len > 0 && !begin_exchange(login, auth_step->mechanism, tls)) {
		reply_set(reply, 454, "4.7.0", "temporary authentication failure");
		return STEP_REPLY;
	}
	must(login->exchange);
	buf_clear(&login->response);
	if (buf_append(&login->response, auth_step->response) < 0) {
		end_exchange(login);
		reply_set(reply, 501, "5.5.2", "the response is too long");
		return STEP_REPLY;
	}
	login->has_response = auth_step->has_response;
	if (work_submit(login->settings.pool, login->settings.loop, &login->job, &err) < 0) {
		end_exchange(login);
		reply_set(reply, 454, "4.7.0", "too many want to authenticate, try again later");
		return STEP_REPLY;
	}
	login->busy = true;
	return STEP_PARK;
}

void
login_cancel(struct login *login)
{
	if (login && !login->busy)
		end_exchange(login);
}

struct span
login_user(const struct login *login)
{
	return login && login->user ? span_from_cstr(login->user) : SPAN("");
}

struct span
login_mechanism(const struct login *login)
{
	return span_from_cstr(login->mechanism);
}

void
login_forget(struct login *login)
{
	if (!login)
		return;
	must(!login->busy);
	mem_free(&login->user);
	end_exchange(login);
}
