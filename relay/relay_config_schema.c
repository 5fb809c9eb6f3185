#include "relay/relay_config_private.h"

/*
 * Everything that can be written in relayd.conf: one row an option.
 */
#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const char *const via_words[] = { "smtp", "lmtp", "mx", NULL };
static const char *const ours_words[] = { "default", "yes", "no", NULL };
static const char *const tls_words[] = {
	"default", "none", "may", "require", "verify", "fingerprint", NULL,
};

static const struct conf_option node_options[] = {
	NODE_CONFIG_NODE_OPTIONS("/run/chapar/relayd.sock"),
	{ .name = "spool", .type = CONF_STRING, .fallback = "/var/spool/chapar",
	  .check = node_config_check_path, .needs_restart = true,
	  .help = "Directory of the queue." },
	{ .name = "allow_volatile_spool", .type = CONF_BOOL, .fallback = "no",
	  .needs_restart = true,
	  .help = "Allow a spool on tmpfs or overlay, where nothing survives a power cut." },
};

static const struct conf_option accept_options[] = {
	{ .name = "relay_from", .type = CONF_NETWORK_LIST, .example = "127.0.0.0/8, ::1",
	  .help = "Networks whose clients may send to anybody; all others only to the "
		  "recipients of our routes." },
	{ .name = "relay_certificates", .type = CONF_STRING_LIST,
	  .check = relay_config_check_certificate, .example = "relay2.example.net",
	  .help = "Clients that may send to anybody by their certificate: a name that the "
		  "listener's ca vouches for, *.example.net, * for any such name, or "
		  "sha256:FINGERPRINT." },
	{ .name = "relay_authenticated", .type = CONF_BOOL, .fallback = "yes",
	  .help = "Whether clients that proved who they are (AUTH) may send to anybody." },
	{ .name = "refuse_from", .type = CONF_NETWORK_LIST, .example = "192.0.2.0/24",
	  .help = "Networks whose clients are turned away with 554; counts before all others." },
	{ .name = "refuse_senders", .type = CONF_STRING_LIST, .check = policy_check_pattern,
	  .example = "spam.example",
	  .help = "Senders refused with 550: *, example.net, *.example.net, user@, "
		  "user@example.net, or <>." },
	{ .name = "refuse_recipients", .type = CONF_STRING_LIST,
	  .check = policy_check_pattern, .example = "nobody@example.net",
	  .help = "Recipients refused with 550, whoever sends to them." },
};

static const struct conf_option auth_options[] = {
	{ .name = "credentials", .type = CONF_STRING, .example = "users",
	  .help = "File of users, a line user:secret each, which relayctl passwd makes; it is "
		  "read again at a reload." },
	{ .name = "mechanisms", .type = CONF_STRING_LIST, .check = relay_config_check_mechanism,
	  .example = "SCRAM-SHA-256, PLAIN",
	  .help = "What is offered, the best first; unset: SCRAM-SHA-256, PLAIN, LOGIN, "
		  "EXTERNAL, as far as they are possible. EXTERNAL: who a client is says the "
		  "name in its certificate, which ca vouches for." },
	{ .name = "failures", .type = CONF_INT, .fallback = "3", .min = 1, .max = 100,
	  .help = "Failures in a session; the last one ends it." },
	{ .name = "delay", .type = CONF_DURATION, .fallback = "1s", .max = 30 * 1000,
	  .help = "Time until a failure is answered; it doubles with each." },
	{ .name = "show_user", .type = CONF_BOOL, .fallback = "no",
	  .help = "Whether our Received field names the user." },
};

static const struct conf_option user_options[] = {
	{ .name = "senders", .type = CONF_STRING_LIST, .required = true, .min = 1,
	  .check = policy_check_user_pattern, .example = "self, sales@example.net",
	  .help = "Senders that are his, all others are refused with 550: self, his name as "
		  "address; self@example.net, his name at that domain; or patterns as in "
		  "accept." },
};

/* Rates of clients are off until somebody who knows his clients sets them. */
static const struct conf_option fairness_options[] = {
	{ .name = "own_from", .type = CONF_NETWORK_LIST, .example = "192.0.2.0/28",
	  .help = "Networks of our own nodes: no rates, and when others are turned away they are "
		  "still served." },
	{ .name = "own_listeners", .type = CONF_STRING_LIST, .example = "internal",
	  .help = "Listeners that only our own nodes come to; the same for all their clients." },
	{ .name = "address_rate", .type = CONF_INT, .fallback = "0", .max = 1000000,
	  .help = "Connections a minute of one address of strangers, who are clients outside of "
		  "accept's relay_from; 0: no limit." },
	{ .name = "network_rate", .type = CONF_INT, .fallback = "0", .max = 1000000,
	  .help = "The same of their network: /24 with IPv4, /56 with IPv6." },
	{ .name = "network_connections", .type = CONF_INT, .fallback = "0", .max = 1000000,
	  .help = "Connections of a network of strangers at one time; 0: no limit." },
	{ .name = "user_rate", .type = CONF_INT, .fallback = "0", .max = 1000000,
	  .help = "Messages a minute of a user who proved who he is; 0: no limit." },
	{ .name = "sender_rate", .type = CONF_INT, .fallback = "0", .max = 1000000,
	  .help = "Messages a minute of one sender, the null sender apart; 0: no limit." },
	{ .name = "amber", .type = CONF_INT, .fallback = "70", .min = 1, .max = 99,
	  .help = "Percent of connections, descriptors, memory or disk in use from which "
		  "strangers are served sparingly." },
	{ .name = "red", .type = CONF_INT, .fallback = "90", .min = 2, .max = 100,
	  .help = "Percent from which new clients hear 421 and MAIL gets 452, but for our own "
		  "nodes." },
	{ .name = "amber_network_connections", .type = CONF_INT, .fallback = "2",
	  .max = 1000000,
	  .help = "Connections of a network of strangers from amber on; 0: no limit." },
	{ .name = "amber_command_timeout", .type = CONF_DURATION, .fallback = "10s",
	  .min = 100, .help = "Time of strangers for a command line from amber on." },
	{ .name = "amber_greeting", .type = CONF_DURATION, .fallback = "1s", .max = 60 * 1000,
	  .help = "Time that strangers wait for the greeting from amber on." },
};

static const struct conf_option route_options[] = {
	{ .name = "for", .type = CONF_STRING_LIST, .required = true, .min = 1,
	  .example = "example.net",
	  .help = "Recipients: *, example.net, *.example.net, user@, or user@example.net." },
	{ .name = "from", .type = CONF_STRING_LIST, .example = "*.example.net",
	  .help = "Only for these senders: patterns as above, or <> for the null sender." },
	{ .name = "clients", .type = CONF_NETWORK_LIST, .example = "192.0.2.0/24",
	  .help = "Only for mail from clients in these networks." },
	{ .name = "listeners", .type = CONF_STRING_LIST, .example = "submission",
	  .help = "Only for mail that came through these listeners." },
	{ .name = "via", .type = CONF_ENUM, .choices = via_words, .fallback = "smtp",
	  .help = "How: to the named hosts by SMTP or LMTP, or by the MX of the domain." },
	{ .name = "to", .type = CONF_STRING_LIST, .example = "mbox1:2424",
	  .help = "Hosts, HOST[:PORT], in turn; behind one may stand preference=N (0 is best), "
		  "weight=N, or fallback." },
	{ .name = "mx_port", .type = CONF_INT, .fallback = "25", .min = 1, .max = 65535,
	  .help = "Port of the exchangers with via = mx." },
	{ .name = "accept", .type = CONF_ENUM, .choices = ours_words, .fallback = "default",
	  .help = "Whether anybody may send to it; by default to named hosts and not for "
		  "the pattern *." },
	{ .name = "own", .type = CONF_BOOL,
	  .help = "The hosts are relays or mailbox nodes of ours, and are asked often whether "
		  "they are back; by default yes for named hosts." },
	{ .name = "tls", .type = CONF_ENUM, .choices = tls_words, .fallback = "default",
	  .help = "none; may, in clear if it fails; require, any certificate; verify, the ca "
		  "vouches for the host's name; fingerprint. By default verify for named "
		  "hosts and may for MX." },
	{ .name = "tls_implicit", .type = CONF_BOOL, .fallback = "no",
	  .help = "TLS from the first byte instead of STARTTLS." },
	{ .name = "tls_name", .type = CONF_STRING, .check = node_config_check_hostname,
	  .example = "mbox.example.net",
	  .help = "Name to find in the certificate instead of the host's." },
	{ .name = "tls_section", .type = CONF_STRING, .example = "relay1",
	  .help = "Section tls with our certificate and the ca; unset: the first one." },
	{ .name = "fingerprints", .type = CONF_STRING_LIST,
	  .max = TLS_POLICY_FINGERPRINT_COUNT_MAX, .example = "sha256:0011...",
	  .help = "SHA-256 of the certificates allowed with tls = fingerprint." },
	{ .name = "auth_user", .type = CONF_STRING, .example = "relay1@example.net",
	  .help = "Who we are for the hosts, which ask for AUTH; never said without TLS." },
	{ .name = "auth_password", .type = CONF_STRING, .example = "upstream.password",
	  .help = "File with the password in its first line, read again at a reload." },
	{ .name = "auth_mechanisms", .type = CONF_STRING_LIST,
	  .check = relay_config_check_mechanism, .example = "SCRAM-SHA-256, PLAIN",
	  .help = "The best first; unset: SCRAM-SHA-256, PLAIN, LOGIN. EXTERNAL says that our "
		  "certificate tells who we are, and needs no password." },
	{ .name = "retry", .type = CONF_STRING, .example = "quick",
	  .help = "Section retry with the times of new attempts." },
	{ .name = "connections", .type = CONF_INT, .fallback = "20", .min = 1, .max = 10000,
	  .help = "Connections at a time to one destination." },
	{ .name = "connections_at_first", .type = CONF_INT, .fallback = "2", .min = 1,
	  .max = 10000, .help = "As many before any has succeeded." },
	{ .name = "messages_a_minute", .type = CONF_INT, .fallback = "0", .max = 100000000,
	  .help = "Attempts a minute to one destination, evenly spread; 0: no limit." },
	{ .name = "connect_timeout", .type = CONF_DURATION, .fallback = "30s", .min = 100,
	  .help = "For one address to answer." },
	{ .name = "greeting_timeout", .type = CONF_DURATION, .fallback = "5m", .min = 100,
	  .help = "For the greeting." },
	{ .name = "command_timeout", .type = CONF_DURATION, .fallback = "5m", .min = 100,
	  .help = "For the answer to EHLO, MAIL and RCPT." },
	{ .name = "data_timeout", .type = CONF_DURATION, .fallback = "2m", .min = 100,
	  .help = "For the answer to DATA." },
	{ .name = "body_timeout", .type = CONF_DURATION, .fallback = "3m", .min = 100,
	  .help = "Without any progress of the body." },
	{ .name = "end_timeout", .type = CONF_DURATION, .fallback = "10m", .min = 100,
	  .help = "For the answer to the end of the message." },
	{ .name = "idle_timeout", .type = CONF_DURATION, .fallback = "30s", .min = 100,
	  .help = "How long a connection without work is kept." },
};

/* One kind of failure with a schedule of its own. */
#define RETRY_CLASS_ROW(word, text) \
	{ .name = word, .type = CONF_STRING_LIST, .max = RETRY_INTERVAL_COUNT_MAX, \
	  .check = relay_config_check_interval, .example = "5m, 30m, 1h", \
	  .help = "Instead of schedule, for one kind of failure. " text }

static const struct conf_option retry_options[] = {
	{ .name = "schedule", .type = CONF_STRING_LIST, .max = RETRY_INTERVAL_COUNT_MAX,
	  .check = relay_config_check_interval, .example = "1m, 5m, 30m, 2h",
	  .help = "Times between attempts, the last again and again; unset: a schedule for "
		  "each kind of failure." },
	RETRY_CLASS_ROW("greylisted", "Where the peer says that it greylists."),
	RETRY_CLASS_ROW("mailbox_full", "Where a mailbox is full."),
	RETRY_CLASS_ROW("rate", "Where the peer says that mail comes too fast."),
	RETRY_CLASS_ROW("dns", "Where names cannot be looked up."),
	RETRY_CLASS_ROW("tls", "Where TLS of the wanted kind is not to be had."),
	RETRY_CLASS_ROW("connect", "Where no connection comes about, or a letter loses it again."),
	RETRY_CLASS_ROW("protocol", "Where the peer speaks nonsense."),
	RETRY_CLASS_ROW("reputation", "Where the peer refuses our address for now."),
	RETRY_CLASS_ROW("uncertain", "Where the peer may have the letter and did not say so."),
	{ .name = "hold_uncertain", .type = CONF_BOOL, .fallback = "no",
	  .help = "Do not send again what a peer may have already, unless somebody says retry; "
		  "the sender is told when its lifetime is over." },
	RETRY_CLASS_ROW("other", "For all other refusals for the time being."),
	{ .name = "lifetime", .type = CONF_DURATION, .fallback = "5d", .min = 1000,
	  .help = "After this the sender gets the mail back." },
	{ .name = "delay_notice", .type = CONF_DURATION, .fallback = "4h",
	  .help = "Age at which the sender is told that his mail still waits; 0: never." },
	{ .name = "jitter", .type = CONF_INT, .fallback = "10", .max = 50,
	  .help = "Percent by which times vary, so that not all comes at once." },
};

static const struct conf_option delivery_options[] = {
	{ .name = "postmaster", .type = CONF_STRING, .check = relay_config_check_address,
	  .example = "postmaster@example.net",
	  .help = "Who gets notifications that cannot be delivered; unset: nobody." },
	{ .name = "source_ipv4", .type = CONF_STRING, .example = "192.0.2.1",
	  .help = "Address that our connections come from." },
	{ .name = "source_ipv6", .type = CONF_STRING, .example = "2001:db8::1",
	  .help = "The same for IPv6." },
	{ .name = "connections", .type = CONF_INT, .fallback = "1000", .min = 1,
	  .max = 100000, .help = "Connections at a time to all destinations together." },
	{ .name = "hosts_an_attempt", .type = CONF_INT, .fallback = "10", .min = 1,
	  .max = 100, .help = "Hosts tried in one attempt." },
	{ .name = "breaker_failures", .type = CONF_INT, .fallback = "3", .min = 1, .max = 100,
	  .help = "Failures in a row after which a host is only probed." },
	{ .name = "breaker_backoff", .type = CONF_DURATION, .fallback = "2s", .min = 100,
	  .help = "Time until the first probe; it doubles." },
	{ .name = "probe_own", .type = CONF_DURATION, .fallback = "10s", .min = 100,
	  .help = "Longest time between probes of our own nodes." },
	{ .name = "probe", .type = CONF_DURATION, .fallback = "5m", .min = 100,
	  .help = "The same for foreign hosts." },
	{ .name = "uncertain_hold", .type = CONF_DURATION, .fallback = "4h",
	  .help = "How long mail stays with a host that may have it already." },
	{ .name = "notice_bytes", .type = CONF_SIZE, .fallback = "50k",
	  .help = "Mail up to this size is returned whole in a notification." },
	{ .name = "notices_a_minute", .type = CONF_INT, .fallback = "60", .min = 1,
	  .max = 100000, .help = "Notifications a minute to one sender." },
};

static const struct conf_option queue_options[] = {
	{ .name = "segment", .type = CONF_SIZE, .fallback = "64M", .min = 64 * 1024,
	  .max = INT64_C(1) << 32, .needs_restart = true, .help = "Size of a file of the spool." },
	{ .name = "body_memory", .type = CONF_SIZE, .fallback = "64M", .min = 1 << 20,
	  .needs_restart = true, .help = "Bodies in memory, all together." },
	{ .name = "floor", .type = CONF_SIZE, .fallback = "64M", .needs_restart = true,
	  .help = "Free space below which mail is refused with 452." },
	{ .name = "reserve", .type = CONF_SIZE, .fallback = "8M", .min = 1 << 20,
	  .needs_restart = true,
	  .help = "Space kept so that what became of mail can always be written." },
	{ .name = "scrub", .type = CONF_SIZE, .fallback = "4M", .needs_restart = true,
	  .help = "Bytes a second of old mail that are read again and checked; 0: none." },
	{ .name = "readers", .type = CONF_INT, .fallback = "2", .min = 1, .max = 16,
	  .needs_restart = true, .help = "Threads that read from disk." },
};

static const struct conf_option dns_options[] = {
	{ .name = "servers", .type = CONF_STRING_LIST, .needs_restart = true,
	  .example = "192.0.2.53", .help = "Name servers, ADDRESS[@PORT]; unset: resolv.conf." },
	{ .name = "search", .type = CONF_STRING_LIST, .needs_restart = true,
	  .example = "example.net",
	  .help = "Domains in which the hosts of routes are sought; unset: resolv.conf." },
	{ .name = "hosts", .type = CONF_STRING, .fallback = "/etc/hosts", .needs_restart = true,
	  .help = "File of names and addresses." },
	{ .name = "trust_anchor", .type = CONF_STRING, .needs_restart = true,
	  .example = "/usr/share/dns/root.key",
	  .help = "File with the keys for DNSSEC; unset: no validation." },
	{ .name = "insecure", .type = CONF_STRING_LIST, .needs_restart = true,
	  .example = "internal", .help = "Domains below which DNSSEC is not asked for." },
	{ .name = "timeout", .type = CONF_DURATION, .fallback = "30s", .min = 100,
	  .needs_restart = true, .help = "For one question." },
};

static const struct conf_section sections[] = {
	NODE_CONFIG_NODE_SECTION(node_options),
	NODE_CONFIG_TLS_SECTION,
	NODE_CONFIG_LISTENER_SECTION,
	{ .name = "accept", .options = accept_options, .options_count = COUNT(accept_options),
	  .help = "Who may send what to whom. Refusals count first, then who may relay, then "
		  "whether a route takes the recipient from anybody; the rest is refused." },
	{ .name = "auth", .options = auth_options, .options_count = COUNT(auth_options),
	  .help = "How clients prove who they are, at listeners with auth." },
	{ .name = "user", .titled = true, .example_title = "ann",
	  .options = user_options, .options_count = COUNT(user_options),
	  .help = "As whom a user that proved who he is may send; * is every user whom no "
		  "section before names. Users in no section may send as anybody." },
	{ .name = "fairness", .options = fairness_options,
	  .options_count = COUNT(fairness_options),
	  .help = "How much of the relay one client may use, and what is done under load. What "
		  "is refused for it gets 4xx and may come again." },
	{ .name = "route", .titled = true, .required = true, .example_title = "site",
	  .options = route_options, .options_count = COUNT(route_options),
	  .help = "Where mail goes; the first route whose conditions all hold takes it." },
	{ .name = "retry", .titled = true, .example_title = "quick",
	  .options = retry_options, .options_count = COUNT(retry_options),
	  .help = "When to try again, for the routes that name it." },
	{ .name = "delivery", .options = delivery_options,
	  .options_count = COUNT(delivery_options), .help = "Going out, for all routes." },
	{ .name = "queue", .options = queue_options, .options_count = COUNT(queue_options),
	  .help = "The queue on disk." },
	{ .name = "dns", .options = dns_options, .options_count = COUNT(dns_options),
	  .help = "Names and addresses." },
	NODE_CONFIG_LIMITS_SECTION,
	NODE_CONFIG_LOG_SECTION,
	NODE_CONFIG_METRICS_SECTION,
};

static const struct conf_schema schema = {
	.file_name = "relayd.conf",
	.help = "Configuration of relayd, the relay of the Chapar network.",
	.sections = sections,
	.sections_count = COUNT(sections),
};

const struct conf_schema *
relay_config_schema(void)
{
	return &schema;
}
