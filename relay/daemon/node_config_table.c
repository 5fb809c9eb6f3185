#include "relay/daemon/node_config.h"

static const char *const protocol_choices[] = { "smtp", "lmtp", NULL };
static const char *const tls_choices[] = { "none", "starttls", "require", "implicit", NULL };
static const char *const auth_choices[] = { "none", "offered", "required", NULL };
static const char *const version_choices[] = { "1.2", "1.3", NULL };
static const char *const client_choices[] = { "none", "ask", "require", NULL };
static const char *const level_choices[] = { "error", "warn", "info", "debug", NULL };
const char *const node_config_control_group_may[] = { "look", "change", NULL };

int
node_config_check_hostname(struct span value, struct err *err)
{
	struct span rest = value;
	struct span label;

	if (value.len == 0 || value.len >= HOST_BYTES_MAX)
		return err_set(err, ERR_CONFIG, "expected a host name of 1 to %d characters",
			       HOST_BYTES_MAX - 1);
	if (value.data[value.len - 1] == '.')
		return err_set(err, ERR_CONFIG, "expected a host name without a dot at its end");
	while (span_take_part(&rest, '.', &label)) {
		if (label.len == 0 || label.len > 63)
			return err_set(err, ERR_CONFIG,
				       "expected labels of 1 to 63 characters between the dots");
		if (label.data[0] == '-' || label.data[label.len - 1] == '-')
			return err_set(err, ERR_CONFIG, "a label begins or ends with '-'");
		for (size_t i = 0; i < label.len; i++) {
			char c = label.data[i];

			if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			      (c >= '0' && c <= '9') || c == '-'))
				return err_set(err, ERR_CONFIG,
					       "expected letters, digits, '-' and dots");
		}
	}
	return 0;
}

/* The path of a socket, with room for the name it is made under (control.c). */
int
node_config_check_path(struct span value, struct err *err)
{
	if (value.len == 0 || value.len >= ENDPOINT_PATH_BYTES_MAX - 12)
		return err_set(err, ERR_CONFIG, "expected a path of 1 to %d characters",
			       ENDPOINT_PATH_BYTES_MAX - 13);
	if (span_has_control(value))
		return err_set(err, ERR_CONFIG, "expected a path without control characters");
	return 0;
}

static int
check_file(struct span value, struct err *err)
{
	if (value.len == 0)
		return err_set(err, ERR_CONFIG, "expected the name of a file");
	return 0;
}

static int
check_address(struct span value, struct err *err)
{
	struct endpoint endpoint;

	if (endpoint_parse(value, 0, &endpoint, err) < 0)
		return err_set(err, ERR_CONFIG, "expected an address and a port, like "
			       "\"0.0.0.0:25\", \"[::]:25\" or \"unix:/run/x.sock\"");
	return 0;
}

const struct conf_option node_config_tls_options[NODE_CONFIG_TLS_OPTION_COUNT] = {
	{ .name = "certificate", .type = CONF_STRING, .check = check_file,
	  .example = "relay1.pem",
	  .help = "PEM file with the certificate of this node and its chain, leaf first." },
	{ .name = "key", .type = CONF_STRING, .check = check_file, .example = "relay1.key",
	  .help = "PEM file with the private key; unset: it is in the certificate's file." },
	{ .name = "ca", .type = CONF_STRING, .check = check_file, .example = "ca.pem",
	  .help = "PEM file of the authorities that peers are verified against; unset: the "
		  "system's." },
	{ .name = "version", .type = CONF_ENUM, .fallback = "1.2", .choices = version_choices,
	  .help = "Lowest version of TLS that is spoken." },
};

const struct conf_option node_config_listener_options[NODE_CONFIG_LISTENER_OPTION_COUNT] = {
	{ .name = "address", .type = CONF_STRING_LIST, .required = true, .min = 1,
	  .max = NODE_CONFIG_ADDRESSES_MAX, .check = check_address,
	  .example = "[::]:25, 0.0.0.0:25",
	  .help = "Addresses with ports to listen on; a port of 0 is the kernel's choice." },
	{ .name = "protocol", .type = CONF_ENUM, .fallback = "smtp", .choices = protocol_choices,
	  .help = "What is spoken: smtp, or lmtp (one answer for each recipient)." },
	{ .name = "tls", .type = CONF_ENUM, .fallback = "none", .choices = tls_choices,
	  .help = "none; starttls: offered; require: STARTTLS before any mail; implicit: TLS "
		  "from the first byte." },
	{ .name = "tls_name", .type = CONF_STRING_LIST, .example = "relay1",
	  .help = "Sections tls to take certificates from, the first for clients that name no "
		  "host; unset: the only one." },
	{ .name = "client_certificate", .type = CONF_ENUM, .choices = client_choices,
	  .example = "ask",
	  .help = "Whether clients show certificates: none, ask, require (one that ca vouches "
		  "for); unset: ask where the tls section has a ca, else none." },
	{ .name = "client_names", .type = CONF_STRING_LIST, .check = node_config_check_hostname,
	  .example = "relay2.example.net",
	  .help = "Only clients with a verified certificate of one of these names may give "
		  "mail; unset: any client." },
	{ .name = "auth", .type = CONF_ENUM, .fallback = "none", .choices = auth_choices,
	  .help = "Whether clients may prove who they are: none; offered; required, before any "
		  "mail. Section auth says how." },
	{ .name = "auth_in_clear", .type = CONF_BOOL, .fallback = "no",
	  .help = "Whether that may be done without TLS, where everybody on the way can listen." },
	{ .name = "proxy_from", .type = CONF_NETWORK_LIST, .example = "192.0.2.10",
	  .help = "Networks of the proxies in front of this listener, which say by the PROXY "
		  "protocol (version 1 or 2) whom they speak for; nobody else may connect then. "
		  "Unset: clients connect themselves." },
};

const struct conf_option node_config_limits_options[NODE_CONFIG_LIMITS_OPTION_COUNT] = {
	{ .name = "message_size", .type = CONF_SIZE, .fallback = "50M", .min = 64 << 10,
	  .max = (int64_t)4 << 30, .help = "Largest message that is accepted." },
	{ .name = "recipients", .type = CONF_INT, .fallback = "1000", .min = 100, .max = 10000,
	  .help = "Most recipients of one transaction; RFC 5321 asks for at least 100." },
	{ .name = "connections", .type = CONF_INT, .fallback = "30000", .min = 1, .max = 1000000,
	  .help = "Most clients at one time." },
	{ .name = "client_connections", .type = CONF_INT, .fallback = "0", .min = 0,
	  .max = 1000000,
	  .help = "Most connections of one client address at one time; 0: no limit of its own." },
	{ .name = "errors", .type = CONF_INT, .fallback = "20", .min = 1, .max = 100000,
	  .help = "Refused commands after which a connection is ended." },
	{ .name = "messages", .type = CONF_INT, .fallback = "0", .min = 0, .max = 1000000000,
	  .help = "Most messages of one connection; 0: no limit." },
	{ .name = "command_timeout", .type = CONF_DURATION, .fallback = "5m", .min = 1000,
	  .max = 3600 * 1000, .help = "Time for one whole command line." },
	{ .name = "data_timeout", .type = CONF_DURATION, .fallback = "3m", .min = 1000,
	  .max = 3600 * 1000, .help = "Longest silence inside a message." },
	{ .name = "drain_timeout", .type = CONF_DURATION, .fallback = "8s", .min = 1,
	  .max = 3600 * 1000,
	  .help = "Time that sessions under way have to end by themselves when the daemon stops." },
	{ .name = "ticket_period", .type = CONF_DURATION, .fallback = "2h", .min = 0,
	  .max = 24 * 3600 * 1000,
	  .help = "How often the keys change by which clients go on with a TLS session of before; "
		  "the last ones stay for one period more. 0s: no session goes on." },
};

const struct conf_option node_config_log_options[NODE_CONFIG_LOG_OPTION_COUNT] = {
	{ .name = "level", .type = CONF_ENUM, .fallback = "info", .choices = level_choices,
	  .help = "The least important lines that are written." },
	{ .name = "time", .type = CONF_BOOL, .fallback = "yes", .needs_restart = true,
	  .help = "Whether lines begin with the time; the journal has its own." },
};

const struct conf_option node_config_metrics_options[NODE_CONFIG_METRICS_OPTION_COUNT] = {
	{ .name = "address", .type = CONF_STRING, .check = check_address, .needs_restart = true,
	  .example = "127.0.0.1:9025",
	  .help = "Where to listen, for everybody who reaches it; unset: nowhere." },
};
