#include "relay/relay_config_private.h"

/*
 * Who may send what to whom, as written in the sections accept and user; and how much,
 * as written in fairness.
 */
static void
add_networks(struct relay_config *config, const struct conf_block *block, const char *option,
    enum policy_rule rule)
{
	for (size_t i = 0; i < conf_list_count(block, option); i++)
		policy_add_network(&config->policy, rule, conf_list_network(block, option, i),
		    conf_line(block, option));
}

static int
add_texts(struct relay_config *config, const struct conf_block *block, const char *option,
    enum policy_rule rule, struct err *err)
{
	struct err why;

	for (size_t i = 0; i < conf_list_count(block, option); i++) {
		struct span text = span_from_cstr(conf_list_string(block, option, i));

		if (policy_add(&config->policy, rule, text, conf_line(block, option), &why) < 0)
			return conf_fail(block, option, err, "\"%.*s\": %s", SPAN_ARGS(text),
			    why.text);
	}
	return 0;
}

static int
add_user(struct relay_config *config, const struct conf_block *block, struct err *err)
{
	struct span name = span_from_cstr(conf_block_title(block));
	struct err why;

	if (span_is_empty(name))
		return conf_fail(block, NULL, err, "expected the name of a user, or *");
	for (size_t i = 0; i < conf_list_count(block, "senders"); i++) {
		struct span sender = span_from_cstr(conf_list_string(block, "senders", i));

		if (policy_add_user(&config->policy, name, sender, conf_line(block, "senders"),
		    &why) < 0)
			return conf_fail(block, "senders", err, "\"%.*s\": %s",
			    SPAN_ARGS(sender), why.text);
	}
	policy_close_user(&config->policy, name, conf_block_line(block));
	return 0;
}

static struct rate_limit
read_rate(const struct conf_block *block, const char *option)
{
	return (struct rate_limit){ .minute_count = (uint32_t)conf_int(block, option) };
}

static int
read_gate(struct relay_config *config, struct err *err)
{
	const struct conf_block *block = conf_block(config->conf, "fairness");
	struct gate_settings *gate = &config->gate;

	gate->own_networks = conf_list_networks(block, "own_from", &config->arena,
	    &gate->own_network_count);
	gate->own_listeners = relay_config_strings(config, block, "own_listeners",
	    &gate->own_listener_count);
	for (size_t i = 0; i < gate->own_listener_count; i++)
		if (!conf_block_find(config->conf, "listener", gate->own_listeners[i]))
			return conf_fail(block, "own_listeners", err, "there is no section "
			    "listener \"%s\"; expected the title of one",
			    gate->own_listeners[i]);
	gate->address = read_rate(block, "address_rate");
	gate->network = read_rate(block, "network_rate");
	gate->user = read_rate(block, "user_rate");
	gate->sender = read_rate(block, "sender_rate");
	gate->network_connection_count_max = (uint32_t)conf_int(block, "network_connections");
	gate->amber_network_connection_count_max = (uint32_t)conf_int(block,
	    "amber_network_connections");
	gate->amber_greeting_ms = conf_duration_ms(block, "amber_greeting");
	gate->amber_command_timeout_ms = conf_duration_ms(block, "amber_command_timeout");
	gate->connection_count_max = config->node.limits.connection_count_max;
	gate->load.amber_percent = (unsigned)conf_int(block, "amber");
	gate->load.red_percent = (unsigned)conf_int(block, "red");
	if (gate->load.amber_percent >= gate->load.red_percent)
		return conf_fail(block, "amber", err, "expected less than red");
	return 0;
}

int
relay_config_read_accept(struct relay_config *config, struct err *err)
{
	const struct conf_block *block = conf_block(config->conf, "accept");

	add_networks(config, block, "refuse_from", POLICY_REFUSE_CLIENT);
	add_networks(config, block, "relay_from", POLICY_RELAY_NETWORK);
	if (add_texts(config, block, "refuse_senders", POLICY_REFUSE_SENDER, err) < 0 ||
	    add_texts(config, block, "refuse_recipients", POLICY_REFUSE_RCPT, err) < 0 ||
	    add_texts(config, block, "relay_certificates", POLICY_RELAY_CERTIFICATE, err) < 0)
		return -1;
	if (conf_bool(block, "relay_authenticated") &&
	    policy_add(&config->policy, POLICY_RELAY_AUTHENTICATED, SPAN("*"),
	    conf_line(block, "relay_authenticated"), err) < 0)
		return -1;
	for (size_t i = 0; i < conf_block_count(config->conf, "user"); i++)
		if (add_user(config, conf_block_at(config->conf, "user", i), err) < 0)
			return -1;
	policy_seal(&config->policy);
	return read_gate(config, err);
}
