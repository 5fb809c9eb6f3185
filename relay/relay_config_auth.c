#include "relay/relay_config_private.h"

#include "relay/base/mem.h"

/* The best first: a client takes the first that it knows. */
static const char mechanisms_unset[] = "SCRAM-SHA-256 PLAIN LOGIN EXTERNAL";

int
relay_config_check_mechanism(struct span value, struct err *err)
{
	if (!sasl_knows(value))
		return err_set(err, ERR_CONFIG,
		    "expected PLAIN, LOGIN, SCRAM-SHA-256 or EXTERNAL");
	return 0;
}

static const char *
read_mechanisms(struct relay_config *config, const struct conf_block *block)
{
	struct buf names;
	const char *kept;

	if (conf_list_count(block, "mechanisms") == 0)
		return mechanisms_unset;
	buf_init(&names, SMTP_AUTH_MECHANISMS_BYTES_MAX - 1);
	for (size_t i = 0; i < conf_list_count(block, "mechanisms"); i++)
		(void)buf_appendf(&names, "%s%s", i > 0 ? " " : "",
		    conf_list_string(block, "mechanisms", i));
	kept = arena_dup_cstr(&config->arena, buf_cstr(&names));
	buf_fini(&names);
	return kept;
}

static int
read_credentials(struct relay_config *config, const struct conf_block *block, struct err *err)
{
	char *path;

	if (!conf_is_set(block, "credentials"))
		return 0;
	path = conf_path(block, "credentials");
	config->credentials = credentials_load(path, err);
	config->login.credentials = config->credentials;
	mem_free(&path);
	return config->credentials ? 0 : -1;
}

/* A listener that asks for what nobody can have would take no mail at all. */
static int
check_listener(const struct relay_config *config, size_t index, struct err *err)
{
	const struct node_listener *listener = &config->node.listeners[index];
	const struct conf_block *block = conf_block_at(config->conf, "listener", index);
	const struct tls_info somebody = { .peer_verified = true, .peer_name = "x" };
	bool has_certificates = listener->client_auth != TLS_CLIENT_AUTH_NONE;
	struct buf names;
	bool none;

	if (listener->auth == NODE_LISTENER_AUTH_NONE)
		return 0;
	buf_init(&names, SMTP_AUTH_MECHANISMS_BYTES_MAX - 1);
	login_mechanisms(&config->login, has_certificates ? &somebody : NULL, &names);
	none = buf_is_empty(&names);
	buf_fini(&names);
	if (none)
		return conf_fail(block, "auth", err, "no client could: expected credentials in "
		    "section auth, or client certificates and EXTERNAL among its mechanisms");
	return 0;
}

int
relay_config_read_login(const struct conf_block *block, struct call_login **login_out,
    struct err *err)
{
	const char *user = conf_string(block, "auth_user");
	size_t count = conf_list_count(block, "auth_mechanisms");
	struct err why;
	struct buf names;
	char *path = NULL;

	if (!user && !conf_is_set(block, "auth_password") && count == 0)
		return 0;
	if (!user)
		return conf_fail(block, NULL, err,
		    "expected auth_user beside the other options of auth");
	buf_init(&names, SMTP_AUTH_MECHANISMS_BYTES_MAX - 1);
	for (size_t i = 0; i < count; i++)
		(void)buf_appendf(&names, "%s%s", i > 0 ? " " : "",
		    conf_list_string(block, "auth_mechanisms", i));
	if (conf_is_set(block, "auth_password")) {
		path = conf_path(block, "auth_password");
		*login_out = call_login_load(buf_span(&names), span_from_cstr(user), path, &why);
	} else if (span_equal(buf_span(&names), SPAN("EXTERNAL"))) {
		*login_out = call_login_new(buf_span(&names), span_from_cstr(user), SPAN(""), &why);
	} else {
		(void)err_set(&why, ERR_CONFIG, "expected auth_password, the file that it is in");
	}
	mem_free(&path);
	buf_fini(&names);
	return *login_out ? 0 : conf_fail(block, "auth_user", err, "%s", why.text);
}

int
relay_config_read_auth(struct relay_config *config, struct err *err)
{
	const struct conf_block *block = conf_block(config->conf, "auth");
	struct login_config *login = &config->login;

	login->mechanisms = read_mechanisms(config, block);
	login->show_user = conf_bool(block, "show_user");
	login->delay_ms = conf_duration_ms(block, "delay");
	login->failure_count_max = (uint32_t)conf_int(block, "failures");
	login->sasl = sasl_new(err);
	if (!login->sasl || read_credentials(config, block, err) < 0)
		return -1;
	for (size_t i = 0; i < config->node.listener_count; i++)
		if (check_listener(config, i, err) < 0)
			return -1;
	return 0;
}
