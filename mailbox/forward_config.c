#include "mailbox/forward_config.h"

enum { ADDRESSES_MAX = 16, SMTP_PORT = 25 };

static const char *const tls_names[] = { "none", "may", "require", "verify", NULL };

const struct conf_option forward_config_options[FORWARD_CONFIG_OPTION_COUNT] = {
	{ .name = "to", .type = CONF_STRING_LIST, .min = 1, .max = ADDRESSES_MAX,
	  .example = "192.0.2.1:25",
	  .help = "Addresses of the relay, with ports, in the order to try; no names, because "
		  "mailboxd asks no DNS." },
	{ .name = "host", .type = CONF_STRING, .check = node_config_check_hostname,
	  .example = "relay1.example.net",
	  .help = "The relay's name, which its certificate must have." },
	{ .name = "tls", .type = CONF_ENUM, .fallback = "verify", .choices = tls_names,
	  .help = "Whether the connection must be encrypted (require), and the certificate be "
		  "good for the name (verify)." },
	{ .name = "certificate", .type = CONF_STRING, .example = "mailbox",
	  .help = "The tls section with our certificate and the CA; unset: the only one." },
};

static int
read_addresses(struct forward_route *route, const struct conf_block *block, struct arena *arena,
	       struct err *err)
{
	size_t count = conf_list_count(block, "to");
	struct endpoint *addresses = arena_alloc_array(arena, count + 1, sizeof(*addresses));

	if (count == 0)
		return conf_fail(block, NULL, err, "expected to = {\"192.0.2.1:25\"}");
	for (size_t i = 0; i < count; i++) {
		struct span text = span_from_cstr(conf_list_string(block, "to", i));

		if (endpoint_parse(text, SMTP_PORT, &addresses[i], err) < 0)
			return conf_fail(block, "to", err, "%s", err->text);
	}
	route->addresses = addresses;
	route->address_count = count;
	return 0;
}

static int
read_tls(struct forward_route *route, const struct conf_block *block,
	 const struct node_config *node, struct err *err)
{
	static const enum call_tls levels[] = {
		CALL_TLS_NONE, CALL_TLS_MAY, CALL_TLS_REQUIRE, CALL_TLS_VERIFY,
	};
	const struct node_tls *tls;
	struct tls_identity identity;
	struct tls_client_settings settings = { 0 };

	route->tls = levels[conf_enum(block, "tls")];
	if (route->tls == CALL_TLS_NONE)
		return 0;
	if (node_config_tls_option(node, block, "certificate", &tls, err) < 0)
		return -1;
	if (tls != NULL) {
		identity = (struct tls_identity){
			.certificate_file = tls->certificate_file, .key_file = tls->key_file,
		};
		settings.ca_file = tls->ca_file;
		settings.identity = tls->certificate_file != NULL ? &identity : NULL;
		settings.version_min = tls->version_min;
	}
	route->tls_context = tls_client_context_new(&settings, err);
	return route->tls_context != NULL ? 0
					  : conf_fail(block, "certificate", err, "%s", err->text);
}

int
forward_config_read(struct forward_route *route, const struct conf *conf,
		    const struct node_config *node, struct arena *arena, struct err *err)
{
	const struct conf_block *block = conf_block(conf, "forward");
	const char *host = conf_string(block, "host");

	*route = (struct forward_route){ 0 };
	if (!conf_is_written(block, "to") && host == NULL)
		return 0;
	if (read_addresses(route, block, arena, err) < 0)
		return -1;
	if (host == NULL)
		return conf_fail(block, NULL, err, "expected host, the name of the relay");
	route->host = arena_dup_cstr(arena, host);
	return read_tls(route, block, node, err);
}
