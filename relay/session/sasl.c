#include "relay/session/sasl.h"

#include <gsasl.h>
#include <stdio.h>
#include <string.h>

#include "relay/base/base64.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

/*
 * The library calls back from inside of a step; which exchange is meant stands in the
 * hook of its session.  What it does not ask for is not offered: NO_CALLBACK.
 */
struct sasl {
	Gsasl *library;
};

struct sasl_server {
	Gsasl_session *session;
	const struct sasl_server_ops *ops;
	void *ctx;
	char *identity;
	char *user;                     /* NULL: not known yet */
	struct sasl_scram scram;
	bool has_scram;
	bool is_login;
	bool began;
	bool last_word;                 /* all is proven, and the client has to hear of it */
};

struct sasl_client {
	Gsasl_session *session;
	char *user;
	char *password;
	bool is_login, is_scram;
	bool done;
};

/* The library takes either side's callback; the hook tells them apart. */
struct hook {
	struct sasl_server *server;
	struct sasl_client *client;
};

/* ---- callbacks */

static struct span
property(Gsasl_session *session, Gsasl_property name)
{
	const char *text = gsasl_property_fast(session, name);

	return text ? span_from_cstr(text) : SPAN("");
}

static int
set_base64(Gsasl_session *session, Gsasl_property name, const void *data, size_t len)
{
	struct buf text;
	int result;

	buf_init(&text, 4 * SASL_SALT_BYTES_MAX);
	(void)base64_encode(span_make(data, len), &text);
	result = gsasl_property_set(session, name, buf_cstr(&text));
	buf_wipe(&text);
	return result;
}

/* Nobody acts for another here: who one acts as is who one is, or is left out. */
static bool
acts_as_himself(Gsasl_session *session, struct span user)
{
	struct span as = property(session, GSASL_AUTHZID);

	return as.len == 0 || span_equal(as, user);
}

static void
keep_user(struct sasl_server *server, struct span user)
{
	mem_free(&server->user);
	server->user = mem_dup_text(user.data, user.len);
}

static int
check_password(struct sasl_server *server)
{
	struct span user = property(server->session, GSASL_AUTHID);
	struct span password = property(server->session, GSASL_PASSWORD);

	if (user.len == 0 || user.len > SASL_USER_BYTES_MAX || span_has_control(user) ||
	    password.len > SASL_PASSWORD_BYTES_MAX)
		return GSASL_AUTHENTICATION_ERROR;
	keep_user(server, user);
	/* In this order: what the password costs does not tell what the name was worth. */
	if (!server->ops->password_is(server->ctx, user, password) ||
	    !acts_as_himself(server->session, user))
		return GSASL_AUTHENTICATION_ERROR;
	return GSASL_OK;
}

static int
check_certificate(struct sasl_server *server)
{
	struct span user = span_from_cstr(server->identity);

	if (user.len == 0 || !acts_as_himself(server->session, user))
		return GSASL_AUTHENTICATION_ERROR;
	keep_user(server, user);
	return GSASL_OK;
}

static int
give_scram(struct sasl_server *server, Gsasl_property name)
{
	Gsasl_session *session = server->session;
	const struct sasl_scram *scram = &server->scram;
	char number[16];

	if (!server->has_scram) {
		struct span user = property(session, GSASL_AUTHID);

		if (user.len == 0 || user.len > SASL_USER_BYTES_MAX || span_has_control(user))
			return GSASL_AUTHENTICATION_ERROR;
		keep_user(server, user);
		server->ops->scram_of(server->ctx, user, &server->scram);
		server->has_scram = true;
	}
	if (name == GSASL_SCRAM_SALT)
		return set_base64(session, name, scram->salt, scram->salt_len);
	if (name == GSASL_SCRAM_STOREDKEY)
		return set_base64(session, name, scram->stored_key, SASL_KEY_BYTES);
	if (name == GSASL_SCRAM_SERVERKEY)
		return set_base64(session, name, scram->server_key, SASL_KEY_BYTES);
	(void)snprintf(number, sizeof(number), "%u", scram->iterations);
	return gsasl_property_set(session, GSASL_SCRAM_ITER, number);
}

static int
ask_server(struct sasl_server *server, Gsasl_property name)
{
	switch ((int)name) {
	case GSASL_VALIDATE_SIMPLE:
		return check_password(server);
	case GSASL_VALIDATE_EXTERNAL:
		return check_certificate(server);
	case GSASL_SCRAM_ITER: case GSASL_SCRAM_SALT: case GSASL_SCRAM_STOREDKEY:
	case GSASL_SCRAM_SERVERKEY:
		return give_scram(server, name);
	default:                        /* an enum of the library's, which grows */
		return GSASL_NO_CALLBACK;
	}
}

static int
ask_client(struct sasl_client *client, Gsasl_property name)
{
	if (name == GSASL_AUTHID)
		return gsasl_property_set(client->session, name, client->user);
	if (name == GSASL_PASSWORD)
		return gsasl_property_set(client->session, name, client->password);
	return GSASL_NO_CALLBACK;
}

static int
asked(Gsasl *library, Gsasl_session *session, Gsasl_property name)
{
	struct hook *hook = gsasl_session_hook_get(session);

	(void)library;
	if (!hook)
		return GSASL_NO_CALLBACK;
	return hook->server ? ask_server(hook->server, name) : ask_client(hook->client, name);
}

/* ---- the library */

struct sasl *
sasl_new(struct err *err)
{
	Gsasl *library;
	int result = gsasl_init(&library);
	struct sasl *sasl;

	if (result != GSASL_OK) {
		(void)err_set(err, ERR_LIMIT, "gsasl: %s", gsasl_strerror(result));
		return NULL;
	}
	gsasl_callback_set(library, asked);
	sasl = mem_alloc(sizeof(*sasl));
	sasl->library = library;
	return sasl;
}

void
sasl_free(struct sasl **sasl)
{
	if (!*sasl)
		return;
	gsasl_done((*sasl)->library);
	mem_free(sasl);
}

bool
sasl_knows(struct span mechanism)
{
	static const char *const known[] = { "PLAIN", "LOGIN", "SCRAM-SHA-256", "EXTERNAL" };

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (span_equal_cstr(mechanism, known[i]))
			return true;
	return false;
}

int
sasl_scram_derive(struct span password, struct sasl_scram *scram)
{
	char salted[SASL_KEY_BYTES], client_key[SASL_KEY_BYTES];
	char *text = mem_dup_text(password.data, password.len);
	int result;

	must(scram->salt_len <= SASL_SALT_BYTES_MAX);
	result = gsasl_scram_secrets_from_password(GSASL_HASH_SHA256, text, scram->iterations,
	    (const char *)scram->salt, scram->salt_len, salted, client_key,
	    (char *)scram->server_key, (char *)scram->stored_key);
	mem_wipe(text, password.len);
	mem_wipe(salted, sizeof(salted));
	mem_wipe(client_key, sizeof(client_key));
	mem_free(&text);
	return result == GSASL_OK ? 0 : -1;
}

static void
end_session(Gsasl_session *session)
{
	struct hook *hook;

	if (!session)
		return;
	hook = gsasl_session_hook_get(session);
	gsasl_finish(session);
	mem_free(&hook);
}

static void
begin_session(Gsasl_session *session, struct sasl_server *server, struct sasl_client *client)
{
	struct hook *hook = mem_alloc(sizeof(*hook));

	hook->server = server;
	hook->client = client;
	gsasl_session_hook_set(session, hook);
}

/* ---- the server's side */

struct sasl_server *
sasl_server_new(struct sasl *sasl, struct span mechanism, struct span identity,
    const struct sasl_server_ops *ops, void *ctx)
{
	struct sasl_server *server;
	Gsasl_session *session;
	char *name;
	int result;

	if (!sasl_knows(mechanism))
		return NULL;
	name = mem_dup_text(mechanism.data, mechanism.len);
	result = gsasl_server_start(sasl->library, name, &session);
	mem_free(&name);
	if (result != GSASL_OK)
		return NULL;
	server = mem_alloc(sizeof(*server));
	server->session = session;
	server->ops = ops;
	server->ctx = ctx;
	server->identity = mem_dup_text(identity.data, identity.len);
	server->is_login = span_equal(mechanism, SPAN("LOGIN"));
	begin_session(session, server, NULL);
	return server;
}

void
sasl_server_free(struct sasl_server **server_address)
{
	struct sasl_server *server = *server_address;

	if (!server)
		return;
	end_session(server->session);
	mem_wipe(&server->scram, sizeof(server->scram));
	mem_free(&server->identity);
	mem_free(&server->user);
	mem_free(server_address);
}

static enum sasl_step
step_of_result(int result)
{
	switch (result) {
	case GSASL_AUTHENTICATION_ERROR: case GSASL_INTEGRITY_ERROR:
	case GSASL_SASLPREP_ERROR: case GSASL_NO_SERVER_CODE:
		return SASL_REFUSED;
	case GSASL_MECHANISM_PARSE_ERROR: case GSASL_MECHANISM_CALLED_TOO_MANY_TIMES:
		return SASL_MALFORMED;
	default:
		return SASL_FAILED;
	}
}

/* One step of the library's. */
static enum sasl_step
step_once(struct sasl_server *server, bool has_response, struct span response,
    struct buf *challenge)
{
	char *output = NULL;
	size_t output_len = 0;
	int result = gsasl_step(server->session, has_response ? response.data : NULL,
	    has_response ? response.len : 0, &output, &output_len);
	enum sasl_step step;

	if (result != GSASL_OK && result != GSASL_NEEDS_MORE)
		return step_of_result(result);
	step = result == GSASL_NEEDS_MORE ? SASL_CHALLENGE : SASL_DONE;
	/* RFC 4954 section 4: what a server says last goes as a challenge; the answer is empty. */
	if (step == SASL_DONE && output_len > 0) {
		server->last_word = true;
		step = SASL_CHALLENGE;
	}
	buf_clear(challenge);
	if (output_len > 0 && buf_append(challenge, span_make(output, output_len)) < 0)
		step = SASL_FAILED;
	gsasl_free(output);
	return step;
}

enum sasl_step
sasl_server_step(struct sasl_server *server, bool has_response, struct span response,
    struct buf *challenge)
{
	bool first = !server->began;
	enum sasl_step step;

	server->began = true;
	if (server->last_word) {
		server->last_word = false;
		return response.len == 0 ? SASL_DONE : SASL_MALFORMED;
	}
	/* The library asks for the name whatever came with AUTH LOGIN. */
	if (first && server->is_login && has_response) {
		step = step_once(server, false, SPAN(""), challenge);
		if (step != SASL_CHALLENGE)
			return step;
	}
	step = step_once(server, has_response, response, challenge);
	if ((step == SASL_DONE || server->last_word) && (!server->user ||
	    !acts_as_himself(server->session, span_from_cstr(server->user)))) {
		server->last_word = false;
		return SASL_REFUSED;
	}
	return step;
}

struct span
sasl_server_user(const struct sasl_server *server)
{
	return server->user ? span_from_cstr(server->user) : SPAN("");
}

/* ---- the client's side */

struct sasl_client *
sasl_client_new(struct sasl *sasl, struct span mechanism, struct span user,
    struct span password)
{
	struct sasl_client *client;
	Gsasl_session *session;
	char *name;
	int result;

	if (!sasl_knows(mechanism))
		return NULL;
	name = mem_dup_text(mechanism.data, mechanism.len);
	result = gsasl_client_start(sasl->library, name, &session);
	mem_free(&name);
	if (result != GSASL_OK)
		return NULL;
	client = mem_alloc(sizeof(*client));
	client->session = session;
	client->user = mem_dup_text(user.data, user.len);
	client->password = mem_dup_text(password.data, password.len);
	client->is_login = span_equal(mechanism, SPAN("LOGIN"));
	client->is_scram = span_equal(mechanism, SPAN("SCRAM-SHA-256"));
	begin_session(session, NULL, client);
	return client;
}

void
sasl_client_free(struct sasl_client **client_address)
{
	struct sasl_client *client = *client_address;

	if (!client)
		return;
	end_session(client->session);
	mem_wipe(client->password, strlen(client->password));
	mem_free(&client->password);
	mem_free(&client->user);
	mem_free(client_address);
}

/* RFC 5802 section 7: a server says how much we are to work, ",i=4096". */
static bool
asks_too_much(struct span challenge)
{
	struct span part;
	uint32_t iterations;

	while (span_take_part(&challenge, ',', &part))
		if (span_starts_with(part, SPAN("i=")) &&
		    !span_parse_u32(span_skip(part, 2), SASL_CLIENT_ITERATIONS_MAX, &iterations))
			return true;
	return false;
}

int
sasl_client_step(struct sasl_client *client, bool has_challenge, struct span challenge,
    struct buf *response)
{
	char *output = NULL;
	size_t output_len = 0;
	int result;

	/* LOGIN has no initial response that every server understands. */
	if (!has_challenge && client->is_login)
		return -1;
	if (client->done)
		return -1;              /* it asks for more than the mechanism has */
	if (client->is_scram && asks_too_much(challenge))
		return -1;
	result = gsasl_step(client->session, has_challenge ? challenge.data : NULL,
	    has_challenge ? challenge.len : 0, &output, &output_len);
	if (result != GSASL_OK && result != GSASL_NEEDS_MORE)
		return -1;
	client->done = result == GSASL_OK;
	result = buf_append(response, span_make(output ? output : "", output_len));
	if (output)
		mem_wipe(output, output_len);
	gsasl_free(output);
	return result;
}

bool
sasl_client_is_satisfied(const struct sasl_client *client)
{
	return client->done;
}
