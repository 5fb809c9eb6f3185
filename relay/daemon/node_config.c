#include "relay/daemon/node_config.h"

#include "relay/base/mem.h"
#include "relay/base/must.h"

#include <string.h>

static const char *
keep_string(struct node_config *config, const char *text)
{
	return text ? arena_dup_cstr(&config->arena, text) : NULL;
}

static const char *
keep_path(struct node_config *config, const struct conf_block *block, const char *option)
{
	if (!conf_is_set(block, option))
		return NULL;
	char *path = conf_path(block, option);
	const char *kept = keep_string(config, path);

	mem_free(&path);
	return kept;
}

static void
read_node(struct node_config *config, const struct conf_block *block)
{
	config->hostname = keep_string(config, conf_string(block, "hostname"));
	config->control_path = keep_path(config, block, "control");
	config->control_group = keep_string(config, conf_string(block, "control_group"));
	config->control_group_may_change = conf_enum(block, "control_group_may") == 1;
	config->user = keep_string(config, conf_string(block, "user"));
	config->group = keep_string(config, conf_string(block, "group"));
	config->sandbox = conf_bool(block, "sandbox");
	config->worker_count = (unsigned)conf_int(block, "workers");
}

static void
read_limits(struct node_limits *limits, const struct conf_block *block)
{
	*limits = (struct node_limits){
		.message_bytes_max = conf_size(block, "message_size"),
		.rcpt_count_max = (uint32_t)conf_int(block, "recipients"),
		.connection_count_max = (uint32_t)conf_int(block, "connections"),
		.client_connection_count_max = (uint32_t)conf_int(block, "client_connections"),
		.error_count_max = (uint32_t)conf_int(block, "errors"),
		.message_count_max = (uint32_t)conf_int(block, "messages"),
		.command_timeout_ms = conf_duration_ms(block, "command_timeout"),
		.data_timeout_ms = conf_duration_ms(block, "data_timeout"),
		.drain_timeout_ms = conf_duration_ms(block, "drain_timeout"),
		.ticket_period_ms = conf_duration_ms(block, "ticket_period"),
	};
}

/*
 * Make a context from one section and throw it away: whatever is wrong with its files is said
 * now, beside the line that names them.
 */
static int
check_tls_files(const struct node_tls *tls, const struct conf_block *block, struct err *err)
{
	struct tls_context *context = node_tls_client_context(tls, err);

	if (!context) {
		struct err reason = *err;
		const char *option = tls->certificate_file ? "certificate" : "ca";

		return conf_fail(block, option, err, "%s", reason.text);
	}
	tls_context_unref(&context);
	return 0;
}

static int
read_tls(struct node_config *config, struct node_tls *tls, const struct conf_block *block,
	 struct err *err)
{
	*tls = (struct node_tls){
		.name = keep_string(config, conf_block_title(block)),
		.certificate_file = keep_path(config, block, "certificate"),
		.key_file = keep_path(config, block, "key"),
		.ca_file = keep_path(config, block, "ca"),
		.version_min = conf_enum(block, "version") == 1 ? TLS_VERSION_1_3 : TLS_VERSION_1_2,
	};
	if (!tls->certificate_file && tls->key_file)
		return conf_fail(block, "key", err, "there is no certificate to this key");
	if (!tls->certificate_file && !tls->ca_file)
		return conf_fail(block, NULL, err, "expected a certificate with its key, or a ca");
	if (!tls->key_file)
		tls->key_file = tls->certificate_file;
	return check_tls_files(tls, block, err);
}

static int
read_tls_sections(struct node_config *config, const struct conf *conf, struct err *err)
{
	size_t count = conf_block_count(conf, "tls");
	struct node_tls *all = arena_alloc_array(&config->arena, count, sizeof(*all));

	for (size_t i = 0; i < count; i++)
		if (read_tls(config, &all[i], conf_block_at(conf, "tls", i), err) < 0)
			return -1;
	config->tls = all;
	config->tls_count = count;
	return 0;
}

const struct node_tls *
node_config_tls(const struct node_config *config, const char *title)
{
	if (!title)
		return config->tls_count == 1 ? &config->tls[0] : NULL;
	for (size_t i = 0; i < config->tls_count; i++)
		if (strcmp(config->tls[i].name, title) == 0)
			return &config->tls[i];
	return NULL;
}

/* TITLE as OPTION has it; NULL where it is unset and the only section is meant. */
static const struct node_tls *
find_tls(const struct node_config *config, const struct conf_block *block, const char *option,
	 const char *title, struct err *err)
{
	const struct node_tls *tls = node_config_tls(config, title);

	if (tls)
		return tls;
	if (title)
		(void)conf_fail(block, option, err, "there is no section tls \"%s\"", title);
	else if (config->tls_count == 0)
		(void)conf_fail(block, option, err, "expected a section tls \"name\" "
				"with the certificate to use");
	else
		(void)conf_fail(block, option, err, "expected the name of one of the %zu "
				"sections tls", config->tls_count);
	return NULL;
}

int
node_config_tls_option(const struct node_config *config, const struct conf_block *block,
		       const char *option, const struct node_tls **tls_out, struct err *err)
{
	*tls_out = find_tls(config, block, option, conf_string(block, option), err);
	return *tls_out ? 0 : -1;
}

static int
read_addresses(struct node_config *config, struct node_listener *listener,
	       const struct conf_block *block, struct err *err)
{
	size_t count = conf_list_count(block, "address");
	struct endpoint *all = arena_alloc_array(&config->arena, count, sizeof(*all));

	for (size_t i = 0; i < count; i++) {
		const char *text = conf_list_string(block, "address", i);
		struct err reason;

		if (endpoint_parse(span_from_cstr(text), 0, &all[i], &reason) < 0)
			return conf_fail(block, "address", err, "%s", reason.text);
		/* RFC 2033 section 5: LMTP must not be used on the SMTP port. */
		if (listener->protocol == NODE_PROTOCOL_LMTP && all[i].port == 25)
			return conf_fail(block, "address", err, "%s: lmtp must not be spoken on "
					 "port 25 (RFC 2033)", text);
	}
	listener->addresses = all;
	listener->address_count = count;
	return 0;
}

static int
read_certificates(struct node_config *config, struct node_listener *listener,
		  const struct conf_block *block, struct err *err)
{
	size_t written = conf_list_count(block, "tls_name");
	size_t count = written > 0 ? written : 1;
	const struct node_tls **all = arena_alloc_array(&config->arena, count, sizeof(*all));

	for (size_t i = 0; i < count; i++) {
		const char *title = written ? conf_list_string(block, "tls_name", i) : NULL;

		all[i] = find_tls(config, block, "tls_name", title, err);
		if (!all[i])
			return -1;
		if (!all[i]->certificate_file)
			return conf_fail(block, "tls_name", err, "section tls \"%s\" has no "
					 "certificate", all[i]->name);
	}
	listener->certificates = all;
	listener->certificate_count = count;
	return 0;
}

static int
read_client_names(struct node_config *config, struct node_listener *listener,
		  const struct conf_block *block, struct err *err)
{
	size_t count = conf_list_count(block, "client_names");

	if (count == 0)
		return 0;
	if (listener->client_auth == TLS_CLIENT_AUTH_NONE)
		return conf_fail(block, "client_names", err, "needs client_certificate = ask or "
				 "require, and a tls section with a ca");
	const char **all = arena_alloc_array(&config->arena, count, sizeof(*all));

	for (size_t i = 0; i < count; i++)
		all[i] = keep_string(config, conf_list_string(block, "client_names", i));
	listener->client_names = all;
	listener->client_name_count = count;
	return 0;
}

static int
read_listener_tls(struct node_config *config, struct node_listener *listener,
		  const struct conf_block *block, struct err *err)
{
	static const char *const only_with_tls[] = { "tls_name", "client_certificate",
						     "client_names" };
	int client = conf_enum(block, "client_certificate");

	if (listener->tls == NODE_LISTENER_TLS_NONE) {
		for (size_t i = 0; i < sizeof(only_with_tls) / sizeof(only_with_tls[0]); i++)
			if (conf_is_written(block, only_with_tls[i]))
				return conf_fail(block, only_with_tls[i], err,
						 "has no meaning with tls = none");
		return 0;
	}
	if (read_certificates(config, listener, block, err) < 0)
		return -1;
	bool has_ca = listener->certificates[0]->ca_file != NULL;

	if (client < 0)
		client = has_ca ? TLS_CLIENT_AUTH_ASK : TLS_CLIENT_AUTH_NONE;
	if (client != TLS_CLIENT_AUTH_NONE && !has_ca)
		return conf_fail(block, "client_certificate", err, "needs a ca in section tls "
				 "\"%s\"", listener->certificates[0]->name);
	listener->client_auth = (enum tls_client_auth)client;
	return read_client_names(config, listener, block, err);
}

static int
check_auth(const struct node_listener *listener, const struct conf_block *block, struct err *err)
{
	if (listener->auth == NODE_LISTENER_AUTH_NONE && listener->auth_in_clear)
		return conf_fail(block, "auth_in_clear", err, "has no meaning with auth = none");
	if (listener->auth != NODE_LISTENER_AUTH_NONE && !listener->auth_in_clear &&
	    listener->tls == NODE_LISTENER_TLS_NONE)
		return conf_fail(block, "auth", err, "needs tls, or auth_in_clear = yes");
	return 0;
}

static int
read_listener(struct node_config *config, struct node_listener *listener,
	      const struct conf_block *block, struct err *err)
{
	*listener = (struct node_listener){
		.name = keep_string(config, conf_block_title(block)),
		.protocol = conf_enum(block, "protocol") == 1 ? NODE_PROTOCOL_LMTP
							      : NODE_PROTOCOL_SMTP,
		.tls = (enum node_listener_tls)conf_enum(block, "tls"),
		.auth = (enum node_listener_auth)conf_enum(block, "auth"),
		.auth_in_clear = conf_bool(block, "auth_in_clear"),
		.line = conf_block_line(block),
	};
	listener->proxies = conf_list_networks(block, "proxy_from", &config->arena,
					       &listener->proxy_count);
	if (read_addresses(config, listener, block, err) < 0 ||
	    check_auth(listener, block, err) < 0)
		return -1;
	return read_listener_tls(config, listener, block, err);
}

/* The same address twice would make two listeners share clients by chance. */
static int
check_addresses_differ(const struct node_config *config, const struct conf *conf, size_t last,
		       struct err *err)
{
	const struct node_listener *mine = &config->listeners[last];
	char text[ENDPOINT_TEXT_BYTES_MAX];

	for (size_t a = 0; a < mine->address_count; a++) {
		const struct endpoint *address = &mine->addresses[a];

		if (address->family != ENDPOINT_UNIX && address->port == 0)
			continue;
		for (size_t i = 0; i <= last; i++) {
			const struct node_listener *other = &config->listeners[i];
			size_t end = i == last ? a : other->address_count;

			for (size_t b = 0; b < end; b++)
				if (endpoint_compare(address, &other->addresses[b]) == 0)
					return conf_fail(conf_block_at(conf, "listener", last),
							 "address", err,
							 "%s is given twice (first on line %u)",
							 endpoint_print(address, text),
							 other->line);
		}
	}
	return 0;
}

static int
read_listeners(struct node_config *config, const struct conf *conf, struct err *err)
{
	size_t count = conf_block_count(conf, "listener");
	struct node_listener *all = arena_alloc_array(&config->arena, count, sizeof(*all));

	config->listeners = all;
	config->listener_count = count;
	for (size_t i = 0; i < count; i++)
		if (read_listener(config, &all[i], conf_block_at(conf, "listener", i), err) < 0 ||
		    check_addresses_differ(config, conf, i, err) < 0)
			return -1;
	return 0;
}

static void
read_metrics(struct node_config *config, const struct conf_block *block)
{
	const char *text = conf_string(block, "address");
	struct endpoint *address;

	if (!text)
		return;
	address = arena_alloc(&config->arena, sizeof(*address));
	/* The table has checked it. */
	if (endpoint_parse(span_from_cstr(text), 0, address, NULL) == 0)
		config->metrics_address = address;
}

int
node_config_read(struct node_config *config, const struct conf *conf, struct err *err)
{
	const struct conf_block *node = conf_block(conf, "node");
	const struct conf_block *log = conf_block(conf, "log");
	struct err ours;

	if (!err)
		err = &ours;
	*config = (struct node_config){ 0 };
	arena_init(&config->arena, 0);
	read_node(config, node);
	read_limits(&config->limits, conf_block(conf, "limits"));
	config->log_level = (enum log_level)conf_enum(log, "level");
	config->log_time = conf_bool(log, "time");
	read_metrics(config, conf_block(conf, "metrics"));

	int result = 0;

	if (config->group && !config->user)
		result = conf_fail(node, "group", err, "needs user");
	if (result == 0)
		result = read_tls_sections(config, conf, err);
	if (result == 0)
		result = read_listeners(config, conf, err);
	if (result < 0)
		node_config_fini(config);
	return result;
}

void
node_config_fini(struct node_config *config)
{
	arena_fini(&config->arena);
	*config = (struct node_config){ 0 };
}
