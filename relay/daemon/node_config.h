/*
 * The configuration sections that every Chapar daemon has: node, tls, listener, limits, log and
 * metrics.
 *
 * A daemon puts the tables below beside its own sections into one struct conf_schema, and reads
 * the parsed file into the typed values of struct node_config:
 *
 *	static const struct conf_option node_options[] = {
 *		NODE_CONFIG_NODE_OPTIONS("/run/chapar/relayd.sock"),
 *		{ .name = "spool", .type = CONF_STRING, ... },
 *	};
 *	static const struct conf_section sections[] = {
 *		NODE_CONFIG_NODE_SECTION(node_options),
 *		NODE_CONFIG_TLS_SECTION,
 *		NODE_CONFIG_LISTENER_SECTION,
 *		NODE_CONFIG_LIMITS_SECTION,
 *		NODE_CONFIG_LOG_SECTION,
 *		NODE_CONFIG_METRICS_SECTION,
 *		{ .name = "route", ... },
 *	};
 *
 * What node_config_read() made is immutable and owns all it points to; every thread may read it.
 */
#ifndef RELAY_DAEMON_NODE_CONFIG_H
#define RELAY_DAEMON_NODE_CONFIG_H

#include "relay/base/arena.h"
#include "relay/base/conf.h"
#include "relay/base/err.h"
#include "relay/base/log.h"
#include "relay/base/network.h"
#include "relay/net/endpoint.h"
#include "relay/net/tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	NODE_CONFIG_TLS_OPTION_COUNT = 4,
	NODE_CONFIG_LISTENER_OPTION_COUNT = 9,
	NODE_CONFIG_LIMITS_OPTION_COUNT = 10,
	NODE_CONFIG_LOG_OPTION_COUNT = 2,
	NODE_CONFIG_METRICS_OPTION_COUNT = 1,
	NODE_CONFIG_WORKERS_MAX = 256,
	NODE_CONFIG_ADDRESSES_MAX = 64,         /* of one listener */
};

extern const struct conf_option node_config_tls_options[NODE_CONFIG_TLS_OPTION_COUNT];
extern const struct conf_option node_config_listener_options[NODE_CONFIG_LISTENER_OPTION_COUNT];
extern const struct conf_option node_config_limits_options[NODE_CONFIG_LIMITS_OPTION_COUNT];
extern const struct conf_option node_config_log_options[NODE_CONFIG_LOG_OPTION_COUNT];
extern const struct conf_option node_config_metrics_options[NODE_CONFIG_METRICS_OPTION_COUNT];
extern const char *const node_config_control_group_may[];

int node_config_check_hostname(struct span value, struct err *err);
int node_config_check_path(struct span value, struct err *err);

/*
 * Rows of the section "node" that all daemons share; a daemon adds its own behind them.  These
 * are macros because tables of constants cannot be joined in any other way.
 */
#define NODE_CONFIG_NODE_OPTIONS(control_path)                                                    \
	{ .name = "hostname", .type = CONF_STRING, .required = true,                              \
	  .check = node_config_check_hostname, .example = "relay1.example.net",                   \
	  .help = "Name of this node: in greetings, Received fields and notifications." },        \
	{ .name = "control", .type = CONF_STRING, .fallback = control_path,                       \
	  .check = node_config_check_path, .needs_restart = true,                                 \
	  .help = "Socket that relayctl talks to." },                                             \
	{ .name = "control_group", .type = CONF_STRING, .needs_restart = true,                    \
	  .example = "adm",                                                                       \
	  .help = "Group of the control socket; its members may use it beside root and the "      \
		  "service's own user." },                                                        \
	{ .name = "control_group_may", .type = CONF_ENUM, .fallback = "look",                     \
	  .choices = node_config_control_group_may, .needs_restart = true,                        \
	  .help = "Whether members of control_group may only look, or change things too." },      \
	{ .name = "user", .type = CONF_STRING, .needs_restart = true, .example = "chapar",        \
	  .help = "User to become when started as root." },                                       \
	{ .name = "group", .type = CONF_STRING, .needs_restart = true, .example = "chapar",       \
	  .help = "Group to become when started as root; unset: the group of user." },            \
	{ .name = "sandbox", .type = CONF_BOOL, .fallback = "yes", .needs_restart = true,         \
	  .help = "Whether the daemon gives up all files but its own (Landlock) and all system "  \
		  "calls that it never needs (seccomp); directories that a reload names anew "    \
		  "are then out of reach until a restart." },                                     \
	{ .name = "workers", .type = CONF_INT, .fallback = "0", .min = 0,                         \
	  .max = NODE_CONFIG_WORKERS_MAX, .needs_restart = true,                                  \
	  .help = "Threads that serve connections; 0: one less than there are processors." }

#define NODE_CONFIG_NODE_SECTION(node_options)                                                    \
	{ .name = "node", .required = true, .options = (node_options),                            \
	  .options_count = sizeof(node_options) / sizeof((node_options)[0]),                      \
	  .help = "The node as a whole." }
#define NODE_CONFIG_TLS_SECTION                                                                   \
	{ .name = "tls", .titled = true, .example_title = "relay1",                               \
	  .options = node_config_tls_options, .options_count = NODE_CONFIG_TLS_OPTION_COUNT,      \
	  .help = "A certificate with its key, and whom to trust. Files are beside this file "    \
		  "unless they begin with a slash." }
#define NODE_CONFIG_LISTENER_SECTION                                                              \
	{ .name = "listener", .titled = true, .required = true, .example_title = "mx",            \
	  .options = node_config_listener_options,                                                \
	  .options_count = NODE_CONFIG_LISTENER_OPTION_COUNT,                                     \
	  .help = "Addresses to accept mail on." }
#define NODE_CONFIG_LIMITS_SECTION                                                                \
	{ .name = "limits", .options = node_config_limits_options,                                \
	  .options_count = NODE_CONFIG_LIMITS_OPTION_COUNT,                                       \
	  .help = "Bounds on what one client can use up." }
#define NODE_CONFIG_LOG_SECTION                                                                   \
	{ .name = "log", .options = node_config_log_options,                                      \
	  .options_count = NODE_CONFIG_LOG_OPTION_COUNT,                                          \
	  .help = "Lines on standard error." }
#define NODE_CONFIG_METRICS_SECTION                                                               \
	{ .name = "metrics", .options = node_config_metrics_options,                              \
	  .options_count = NODE_CONFIG_METRICS_OPTION_COUNT,                                      \
	  .help = "Numbers and health over HTTP: /metrics (Prometheus), /healthz, /readyz." }

enum node_protocol {
	NODE_PROTOCOL_SMTP,
	NODE_PROTOCOL_LMTP,
};

enum node_listener_tls {
	NODE_LISTENER_TLS_NONE,         /* STARTTLS is not offered */
	NODE_LISTENER_TLS_STARTTLS,     /* offered */
	NODE_LISTENER_TLS_REQUIRE,      /* offered, and no mail without it (530 5.7.0) */
	NODE_LISTENER_TLS_IMPLICIT,     /* TLS from the first byte, RFC 8314 */
};

/* Whether clients may, or have to, prove who they are (RFC 4954). */
enum node_listener_auth {
	NODE_LISTENER_AUTH_NONE,
	NODE_LISTENER_AUTH_OFFERED,
	NODE_LISTENER_AUTH_REQUIRED,    /* no mail without it (530 5.7.0) */
};

/* A section tls "name". */
struct node_tls {
	const char *name;
	const char *certificate_file;           /* NULL: only `ca` is given */
	const char *key_file;
	const char *ca_file;                    /* NULL: the system's */
	enum tls_version version_min;
};

/* A section listener "name". */
struct node_listener {
	const char *name;
	const struct endpoint *addresses;
	size_t address_count;
	enum node_protocol protocol;
	enum node_listener_tls tls;
	const struct node_tls *const *certificates;     /* the first is for clients without SNI */
	size_t certificate_count;                       /* 0 exactly with NODE_LISTENER_TLS_NONE */
	enum tls_client_auth client_auth;
	/* Names of the clients that may give us mail; none: any client may. */
	const char *const *client_names;
	size_t client_name_count;
	enum node_listener_auth auth;
	bool auth_in_clear;                     /* passwords may be said without TLS */
	/* Only these connect, and speak for others by the PROXY protocol; none: clients do. */
	const struct network *proxies;
	size_t proxy_count;
	unsigned line;                                  /* in the file, for messages */
};

struct node_limits {
	uint64_t message_bytes_max;             /* SIZE; more is 552 5.3.4 */
	uint32_t rcpt_count_max;                /* a transaction; more is 452 4.5.3 */
	uint32_t connection_count_max;          /* of the node; more is 421 4.3.2 */
	uint32_t client_connection_count_max;   /* of one client address; 0: no limit of its own */
	uint32_t error_count_max;               /* refused commands of a session, then 421 */
	uint32_t message_count_max;             /* of a session, then 421; 0: no limit */
	uint64_t command_timeout_ms;            /* for one whole command line */
	uint64_t data_timeout_ms;               /* without any progress inside a body */
	uint64_t drain_timeout_ms;              /* after SIGTERM, and for a listener that goes */
	uint64_t ticket_period_ms;              /* of keys for TLS sessions; 0: no tickets */
};

struct node_config {
	struct arena arena;

	const char *hostname;
	const char *control_path;
	const char *control_group;              /* NULL: none */
	bool control_group_may_change;
	const char *user;                       /* NULL: stay who we are */
	const char *group;                      /* NULL: the group of `user` */
	bool sandbox;
	unsigned worker_count;                  /* as written; 0: choose */

	const struct node_tls *tls;
	size_t tls_count;
	const struct node_listener *listeners;
	size_t listener_count;
	struct node_limits limits;
	enum log_level log_level;
	bool log_time;                          /* false: journald has its own */
	const struct endpoint *metrics_address; /* NULL: none */
};

/*
 * Read the shared sections of CONF.  Checks what tables cannot: titles that are referred to
 * exist, addresses are not given twice, certificates and keys can be read and fit each other.
 * On -1 there is nothing to release, and the error begins with "FILE:LINE: ".
 */
int node_config_read(struct node_config *config, const struct conf *conf, struct err *err);
void node_config_fini(struct node_config *config);

/* NULL when there is none.  With TITLE NULL: the only tls section, NULL if none or several. */
const struct node_tls *
node_config_tls(const struct node_config *config, const char *title);

/*
 * The tls section that OPTION (a string, may be unset) of BLOCK names; unset means the only one.
 * For routes and whatever else refers to one.  Fails with file and line.
 */
int
node_config_tls_option(const struct node_config *config, const struct conf_block *block,
		       const char *option, const struct node_tls **tls_out, struct err *err);

/* A context for a listener with TLS; a new one for every worker.  It gives no tickets yet. */
struct tls_context *
node_listener_tls_context(const struct node_listener *listener, struct err *err);

/* A context for connections to others; TLS may be NULL: the system's CAs, no certificate. */
struct tls_context *
node_tls_client_context(const struct node_tls *tls, struct err *err);

/*
 * May this client, by its certificate, give mail to the listener?  INFO is NULL in clear.  Always
 * true for a listener without client_names.
 */
bool
node_listener_admits(const struct node_listener *listener, const struct tls_info *info);

/* Certificate trouble that hinders nothing ("expires in 5 days"): calls WARN for each. */
void
node_config_tls_warnings(const struct node_config *config, int64_t wall_ms,
			 void (*warn)(void *ctx, const char *text), void *ctx);

#endif
