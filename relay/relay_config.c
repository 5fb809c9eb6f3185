#include "relay/relay_config_private.h"

#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/units.h"
#include "relay/mail/address.h"
#include "relay/net/interface.h"

enum { RELAY_INTERFACE_COUNT_MAX = 256 };       /* addresses of this machine */

/* ---- checks of single texts */

int
relay_config_check_certificate(struct span value, struct err *err)
{
	struct policy policy;
	int result;

	policy_init(&policy);
	result = policy_add(&policy, POLICY_RELAY_CERTIFICATE, value, 0, err);
	policy_fini(&policy);
	return result;
}

int
relay_config_check_interval(struct span value, struct err *err)
{
	uint64_t ms;

	if (units_parse_duration(value, &ms, NULL) < 0 || ms == 0)
		return err_set(err, ERR_CONFIG, "expected a duration like 30s or 5m");
	return 0;
}

int
relay_config_check_address(struct span value, struct err *err)
{
	struct arena arena;
	struct address address;
	enum address_syntax syntax;

	arena_init(&arena, 0);
	syntax = address_parse(&address, value, true, &arena);
	arena_fini(&arena);
	if (syntax != ADDRESS_OK)
		return err_set(err, ERR_CONFIG, "expected an address like user@example.net");
	return 0;
}

const char *const *
relay_config_strings(struct relay_config *config, const struct conf_block *block,
    const char *option, size_t *count_out)
{
	size_t count = conf_list_count(block, option);
	const char **list = arena_alloc_array(&config->arena, count + 1, sizeof(*list));

	for (size_t i = 0; i < count; i++)
		list[i] = conf_list_string(block, option, i);
	*count_out = count;
	return list;
}

/* ---- delivery */

static int
read_source(struct relay_config *config, const struct conf_block *block, const char *option,
    enum endpoint_family family, const struct endpoint **source_out, struct err *err)
{
	const char *text = conf_string(block, option);
	struct endpoint *source = arena_alloc(&config->arena, sizeof(*source));

	if (!text)
		return 0;
	if (!endpoint_parse_ip(span_from_cstr(text), 0, source) || source->family != family)
		return conf_fail(block, option, err, "\"%s\": expected an %s address", text,
		    family == ENDPOINT_IPV4 ? "IPv4" : "IPv6");
	*source_out = source;
	return 0;
}

/*
 * What leads to one of our listeners is a loop.  One on all addresses has those that the
 * machine has now; addresses that come later are known after a reload.
 */
static void
read_own_addresses(struct relay_config *config)
{
	const struct node_config *node = &config->node;
	struct endpoint *own;
	size_t count = 0;

	for (size_t i = 0; i < node->listener_count; i++)
		count += node->listeners[i].address_count * RELAY_INTERFACE_COUNT_MAX;
	own = arena_alloc_array(&config->arena, count + 1, sizeof(*own));
	count = 0;
	for (size_t i = 0; i < node->listener_count; i++)
		for (size_t j = 0; j < node->listeners[i].address_count; j++) {
			const struct endpoint *address = &node->listeners[i].addresses[j];

			if (endpoint_is_unspecified(address))
				count += interface_addresses(address->family, address->port,
				    own + count, RELAY_INTERFACE_COUNT_MAX);
			else
				own[count++] = *address;
		}
	config->outbound.own_addresses = own;
	config->outbound.own_address_count = count;
}

/* The sections tls as far as going out needs them. */
static void
read_outbound_tls(struct relay_config *config)
{
	const struct node_config *node = &config->node;
	struct outbound_tls *list = arena_alloc_array(&config->arena, node->tls_count + 1,
	    sizeof(*list));

	for (size_t i = 0; i < node->tls_count; i++) {
		const struct node_tls *tls = &node->tls[i];
		struct tls_identity *identity = NULL;

		if (tls->certificate_file) {
			identity = arena_alloc(&config->arena, sizeof(*identity));
			identity->certificate_file = tls->certificate_file;
			identity->key_file = tls->key_file;
		}
		list[i].name = tls->name;
		list[i].client.ca_file = tls->ca_file;
		list[i].client.identity = identity;
		list[i].client.version_min = tls->version_min;
	}
	config->outbound.tls = list;
	config->outbound.tls_count = node->tls_count;
}

static int
read_delivery(struct relay_config *config, struct err *err)
{
	const struct conf_block *block = conf_block(config->conf, "delivery");
	struct outbound_config *outbound = &config->outbound;

	outbound->hostname = config->node.hostname;
	outbound->postmaster = conf_string(block, "postmaster");
	outbound->connection_max = (uint32_t)conf_int(block, "connections");
	outbound->attempt_host_max = (uint32_t)conf_int(block, "hosts_an_attempt");
	outbound->probe_own_ms = conf_duration_ms(block, "probe_own");
	outbound->probe_ms = conf_duration_ms(block, "probe");
	outbound->notice_bytes_max = conf_size(block, "notice_bytes");
	outbound->notice_rate_max = (uint32_t)conf_int(block, "notices_a_minute");
	outbound->uncertain_hold_ms = conf_duration_ms(block, "uncertain_hold");
	outbound->breaker.failure_count_max = (uint32_t)conf_int(block, "breaker_failures");
	outbound->breaker.backoff_first_ms = conf_duration_ms(block, "breaker_backoff");
	read_outbound_tls(config);
	read_own_addresses(config);
	if (read_source(config, block, "source_ipv4", ENDPOINT_IPV4, &outbound->source_ipv4,
	    err) < 0)
		return -1;
	return read_source(config, block, "source_ipv6", ENDPOINT_IPV6, &outbound->source_ipv6,
	    err);
}

/* ---- queue and names */

static int
read_queue(struct relay_config *config, struct err *err)
{
	const struct conf_block *block = conf_block(config->conf, "queue");
	const struct conf_block *node = conf_block(config->conf, "node");
	char *spool = conf_path(node, "spool");

	config->spool = arena_dup_cstr(&config->arena, spool);
	mem_free(&spool);
	config->allow_volatile_spool = conf_bool(node, "allow_volatile_spool");
	config->segment_bytes = conf_size(block, "segment");
	config->body_memory_bytes = conf_size(block, "body_memory");
	config->floor_bytes = conf_size(block, "floor");
	config->reserve_bytes = conf_size(block, "reserve");
	config->scrub_bytes_second = conf_size(block, "scrub");
	config->reader_count = (uint64_t)conf_int(block, "readers");
	if (config->floor_bytes < config->reserve_bytes)
		return conf_fail(block, "floor", err,
		    "expected at least as much as reserve, which is taken out of it");
	return 0;
}

static void
read_dns(struct relay_config *config)
{
	const struct conf_block *block = conf_block(config->conf, "dns");
	struct resolver_settings *dns = &config->resolver;

	dns->servers = relay_config_strings(config, block, "servers", &dns->server_count);
	dns->search = relay_config_strings(config, block, "search", &dns->search_count);
	dns->insecure = relay_config_strings(config, block, "insecure", &dns->insecure_count);
	dns->hosts_file = conf_string(block, "hosts");
	dns->trust_anchor_file = conf_string(block, "trust_anchor");
	dns->timeout_ms = conf_duration_ms(block, "timeout");
	dns->allow_localhost_server = true;
}

/* ---- the whole */

/* Takes conf over. */
static struct relay_config *
relay_config_read(struct conf *conf, struct err *err)
{
	struct relay_config *config = mem_alloc(sizeof(*config));

	arena_init(&config->arena, 0);
	policy_init(&config->policy);
	config->conf = conf;
	if (node_config_read(&config->node, conf, err) < 0) {
		policy_fini(&config->policy);
		arena_fini(&config->arena);
		conf_free(&config->conf);
		mem_free(&config);
		return NULL;
	}
	read_dns(config);
	if (read_queue(config, err) < 0 || relay_config_read_accept(config, err) < 0 ||
	    relay_config_read_auth(config, err) < 0 ||
	    read_delivery(config, err) < 0 || relay_config_read_routes(config, err) < 0 ||
	    outbound_config_check(&config->outbound, err) < 0) {
		relay_config_free(&config);
		return NULL;
	}
	return config;
}

struct relay_config *
relay_config_load(const char *path, struct err *err)
{
	struct conf *conf;

	if (conf_parse_file(&conf, relay_config_schema(), path, err) < 0)
		return NULL;
	return relay_config_read(conf, err);
}

struct relay_config *
relay_config_load_text(struct span text, const char *file_name, struct err *err)
{
	struct conf *conf;

	if (conf_parse_text(&conf, relay_config_schema(), text, file_name, err) < 0)
		return NULL;
	return relay_config_read(conf, err);
}

void
relay_config_free(struct relay_config **config_address)
{
	struct relay_config *config = *config_address;

	if (!config)
		return;
	route_table_unref(&config->outbound.routes);
	sasl_free(&config->login.sasl);
	credentials_free(&config->credentials);
	policy_fini(&config->policy);
	node_config_fini(&config->node);
	conf_free(&config->conf);
	arena_fini(&config->arena);
	mem_free(config_address);
}

/* ---- what a reload cannot change */

static bool
texts_differ(const char *a, const char *b)
{
	return (a == NULL) != (b == NULL) || (a && strcmp(a, b) != 0);
}

static bool
lists_differ(const struct conf_block *a, const struct conf_block *b, const char *option)
{
	if (conf_list_count(a, option) != conf_list_count(b, option))
		return true;
	for (size_t i = 0; i < conf_list_count(a, option); i++)
		if (texts_differ(conf_list_string(a, option, i), conf_list_string(b, option, i)))
			return true;
	return false;
}

static bool
values_differ(const struct conf_block *a, const struct conf_block *b,
    const struct conf_option *option)
{
	if (conf_is_set(a, option->name) != conf_is_set(b, option->name))
		return true;
	if (!conf_is_set(a, option->name))
		return false;
	switch (option->type) {
	case CONF_BOOL:
		return conf_bool(a, option->name) != conf_bool(b, option->name);
	case CONF_INT:
		return conf_int(a, option->name) != conf_int(b, option->name);
	case CONF_SIZE:
		return conf_size(a, option->name) != conf_size(b, option->name);
	case CONF_DURATION:
		return conf_duration_ms(a, option->name) != conf_duration_ms(b, option->name);
	case CONF_STRING:
		return texts_differ(conf_string(a, option->name), conf_string(b, option->name));
	case CONF_ENUM:
		return conf_enum(a, option->name) != conf_enum(b, option->name);
	case CONF_STRING_LIST:
		return lists_differ(a, b, option->name);
	case CONF_NETWORK:
	case CONF_ENUM_LIST:
	case CONF_NETWORK_LIST:
		break;          /* no option of these types needs a restart */
	}
	return false;
}

const char *
relay_config_needs_restart(const struct relay_config *running, const struct relay_config *wanted)
{
	const struct conf_schema *schema = relay_config_schema();

	for (size_t i = 0; i < schema->sections_count; i++) {
		const struct conf_section *section = &schema->sections[i];

		for (size_t j = 0; !section->titled && j < section->options_count; j++)
			if (section->options[j].needs_restart &&
			    values_differ(conf_block(running->conf, section->name),
			    conf_block(wanted->conf, section->name), &section->options[j]))
				return section->options[j].name;
	}
	return NULL;
}
