#include "relay/relay_config_private.h"

#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/units.h"
#include "relay/outbound/route_pattern.h"

/* ---- retry */

/* Nothing changes where the option is not set. */
static int
read_schedule(const struct conf_block *block, const char *option,
    struct retry_schedule *schedule, struct err *err)
{
	size_t count = conf_list_count(block, option);

	if (count > 0)
		schedule->interval_count = count;
	for (size_t i = 0; i < count; i++) {
		struct span text = span_from_cstr(conf_list_string(block, option, i));

		if (units_parse_duration(text, &schedule->interval_ms[i], err) < 0)
			return conf_fail(block, option, err,
			    "\"%.*s\": expected a duration like 30s or 5m", SPAN_ARGS(text));
	}
	return 0;
}

static int
read_schedules(const struct conf_block *block, struct retry_policy *retry, struct err *err)
{
	static const struct {
		const char *option;
		enum retry_class class;
	} classes[] = {
		{ "greylisted", RETRY_GREYLISTED }, { "mailbox_full", RETRY_MAILBOX_FULL },
		{ "rate", RETRY_RATE }, { "dns", RETRY_DNS }, { "tls", RETRY_TLS },
		{ "connect", RETRY_CONNECT }, { "protocol", RETRY_PROTOCOL },
		{ "reputation", RETRY_REPUTATION }, { "uncertain", RETRY_UNCERTAIN },
		{ "other", RETRY_OTHER },
	};

	for (int class = 0; class < RETRY_CLASS_COUNT; class++)
		if (read_schedule(block, "schedule", &retry->by_class[class], err) < 0)
			return -1;
	for (size_t i = 0; i < sizeof(classes) / sizeof(*classes); i++)
		if (read_schedule(block, classes[i].option,
		    &retry->by_class[classes[i].class], err) < 0)
			return -1;
	return 0;
}

static int
read_retry(const struct conf_block *block, struct retry_policy *retry, struct err *err)
{
	retry_policy_init(retry);
	if (read_schedules(block, retry, err) < 0)
		return -1;
	retry->lifetime_ms = conf_duration_ms(block, "lifetime");
	retry->delay_notice_ms = conf_duration_ms(block, "delay_notice");
	retry->jitter_percent = (unsigned)conf_int(block, "jitter");
	retry->hold_uncertain = conf_bool(block, "hold_uncertain");
	return 0;
}

static int
read_retries(struct relay_config *config, struct err *err)
{
	struct retry_policy unused;

	for (size_t i = 0; i < conf_block_count(config->conf, "retry"); i++)
		if (read_retry(conf_block_at(config->conf, "retry", i), &unused, err) < 0)
			return -1;
	return 0;
}

static int
route_retry(struct relay_config *config, const struct conf_block *block,
    struct route_settings *route, struct err *err)
{
	const char *name = conf_string(block, "retry");
	const struct conf_block *named;
	struct retry_policy *retry;

	if (!name)
		return 0;
	named = conf_block_find(config->conf, "retry", name);
	if (!named)
		return conf_fail(block, "retry", err,
		    "there is no section retry \"%s\"; expected the title of one", name);
	retry = arena_alloc(&config->arena, sizeof(*retry));
	if (read_retry(named, retry, err) < 0)
		return -1;
	route->retry = retry;
	return 0;
}

/* ---- conditions */

static int
route_check_patterns(struct relay_config *config, const struct conf_block *block,
    const char *option, struct err *err)
{
	struct route_pattern pattern;
	struct err why;

	for (size_t i = 0; i < conf_list_count(block, option); i++) {
		struct span text = span_from_cstr(conf_list_string(block, option, i));

		if (route_pattern_parse(text, &config->arena, &pattern, &why) < 0)
			return conf_fail(block, option, err, "%s", why.text);
	}
	return 0;
}

static int
route_conditions(struct relay_config *config, const struct conf_block *block,
    struct route_settings *route, struct err *err)
{
	route->clients = conf_list_networks(block, "clients", &config->arena,
	    &route->client_count);
	if (route_check_patterns(config, block, "for", err) < 0 ||
	    route_check_patterns(config, block, "from", err) < 0)
		return -1;
	route->recipients = relay_config_strings(config, block, "for", &route->recipient_count);
	route->senders = relay_config_strings(config, block, "from", &route->sender_count);
	route->listeners = relay_config_strings(config, block, "listeners",
	    &route->listener_count);
	for (size_t i = 0; i < route->listener_count; i++)
		if (!conf_block_find(config->conf, "listener", route->listeners[i]))
			return conf_fail(block, "listeners", err, "there is no section listener "
			    "\"%s\"; expected the title of one", route->listeners[i]);
	return 0;
}

/* ---- where to */

static int
route_hosts(struct relay_config *config, const struct conf_block *block,
    struct route_settings *route, struct err *err)
{
	size_t count = conf_list_count(block, "to");
	struct route_host *hosts = arena_alloc_array(&config->arena, count + 1, sizeof(*hosts));
	uint16_t port = route->via == ROUTE_VIA_LMTP ? ROUTE_LMTP_PORT : ROUTE_SMTP_PORT;
	struct err why;

	if (count == 0 && route->via != ROUTE_VIA_MX)
		return conf_fail(block, "to", err,
		    "expected at least one host to send to, as via = %s has no other way to find "
		    "one", route_via_name(route->via));
	if (count > 0 && route->via == ROUTE_VIA_MX)
		return conf_fail(block, "to", err,
		    "hosts are named, but with via = mx the domain's own are used; expected no to");
	if (count > ROUTE_HOST_COUNT_MAX)
		return conf_fail(block, "to", err, "expected at most %d hosts",
		    ROUTE_HOST_COUNT_MAX);
	for (size_t i = 0; i < count; i++) {
		const char *text = conf_list_string(block, "to", i);

		if (route_host_parse(span_from_cstr(text), port, &hosts[i], &why) < 0)
			return conf_fail(block, "to", err, "%s; expected HOST[:PORT]", why.text);
	}
	route->hosts = hosts;
	route->host_count = count;
	route->mx_port = (uint16_t)conf_int(block, "mx_port");
	return 0;
}

static int
route_tls(struct relay_config *config, const struct conf_block *block,
    struct route_settings *route, struct err *err)
{
	struct tls_policy *tls = &route->tls;
	bool named = route->via != ROUTE_VIA_MX;
	struct err why;

	tls->level = (enum tls_level)conf_enum(block, "tls");   /* the words are in its order */
	tls->implicit = conf_bool(block, "tls_implicit");
	tls->name = conf_string(block, "tls_name");
	tls->identity = conf_string(block, "tls_section");
	if (tls->identity && !node_config_tls(&config->node, tls->identity))
		return conf_fail(block, "tls_section", err,
		    "there is no section tls \"%s\"; expected the title of one", tls->identity);
	for (size_t i = 0; i < conf_list_count(block, "fingerprints"); i++) {
		struct span text = span_from_cstr(conf_list_string(block, "fingerprints", i));

		if (tls_fingerprint_parse(text, tls->fingerprints[i], &why) < 0)
			return conf_fail(block, "fingerprints", err,
			    "%s; expected sha256: and 64 hexadecimal digits", why.text);
		tls->fingerprint_count++;
	}
	if (tls_policy_check(tls, named, &why) < 0)
		return conf_fail(block, "tls", err, "%s", why.text);
	return 0;
}

static int
route_login(const struct conf_block *block, struct route_settings *route, struct err *err)
{
	if (relay_config_read_login(block, &route->login, err) < 0)
		return -1;
	if (route->login && route->via == ROUTE_VIA_MX)
		return conf_fail(block, "auth_user", err,
		    "has no meaning with via = mx: a password is for hosts that are named");
	if (route->login && route->tls.level == TLS_LEVEL_NONE)
		return conf_fail(block, "auth_user", err, "needs tls");
	return 0;
}

static void
route_numbers(const struct conf_block *block, struct route_settings *route)
{
	bool named = route->via != ROUTE_VIA_MX;

	route->own_node = conf_is_set(block, "own") ? conf_bool(block, "own") : named;
	route->window.max = (uint32_t)conf_int(block, "connections");
	route->window.start = (uint32_t)conf_int(block, "connections_at_first");
	if (route->window.start > route->window.max)
		route->window.start = route->window.max;
	route->rate_minute = (uint32_t)conf_int(block, "messages_a_minute");
	route->timeouts.connect_ms = conf_duration_ms(block, "connect_timeout");
	route->timeouts.greeting_ms = conf_duration_ms(block, "greeting_timeout");
	route->timeouts.command_ms = conf_duration_ms(block, "command_timeout");
	route->timeouts.data_ms = conf_duration_ms(block, "data_timeout");
	route->timeouts.body_ms = conf_duration_ms(block, "body_timeout");
	route->timeouts.dot_ms = conf_duration_ms(block, "end_timeout");
	route->timeouts.idle_ms = conf_duration_ms(block, "idle_timeout");
}

static int
read_route(struct relay_config *config, const struct conf_block *block,
    struct route_settings *route, struct err *err)
{
	char *where = mem_format("%s:%u", conf_file_name(config->conf), conf_block_line(block));

	route->where = arena_dup_cstr(&config->arena, where);
	mem_free(&where);
	route->name = conf_block_title(block);
	route->via = (enum route_via)conf_enum(block, "via");           /* in its order */
	route->ours = (enum route_ours)conf_enum(block, "accept");
	if (route_conditions(config, block, route, err) < 0 ||
	    route_hosts(config, block, route, err) < 0 ||
	    route_tls(config, block, route, err) < 0 ||
	    route_login(block, route, err) < 0 ||
	    route_retry(config, block, route, err) < 0)
		return -1;
	route_numbers(block, route);
	return 0;
}

/* What is wrong with one route alone is found by a table of it alone, with its line. */
static int
check_route_alone(const struct conf_block *block, const struct route_settings *route,
    struct err *err)
{
	struct route_table *table = NULL;
	struct err why;

	if (route_table_new(route, 1, &table, &why) < 0)
		return conf_fail(block, NULL, err, "%s", why.text);
	route_table_unref(&table);
	return 0;
}

static int
check_titles(const struct conf *conf, const char *section, struct err *err)
{
	size_t count = conf_block_count(conf, section);

	for (size_t i = 0; i < count; i++)
		for (size_t j = 0; j < i; j++) {
			const struct conf_block *block = conf_block_at(conf, section, i);
			const struct conf_block *before = conf_block_at(conf, section, j);

			if (strcmp(conf_block_title(block), conf_block_title(before)) == 0)
				return conf_fail(block, NULL, err, "the title is used in line %u "
				    "already; expected another", conf_block_line(before));
		}
	return 0;
}

static int
read_routes(struct relay_config *config, struct route_settings *routes, size_t count,
    struct err *err)
{
	if (check_titles(config->conf, "route", err) < 0 ||
	    check_titles(config->conf, "retry", err) < 0 || read_retries(config, err) < 0)
		return -1;
	for (size_t i = 0; i < count; i++) {
		const struct conf_block *block = conf_block_at(config->conf, "route", i);

		if (read_route(config, block, &routes[i], err) < 0 ||
		    check_route_alone(block, &routes[i], err) < 0)
			return -1;
	}
	if (route_table_new(routes, count, &config->outbound.routes, err) < 0)
		return err_wrap(err, "%s", conf_file_name(config->conf));
	return 0;
}

int
relay_config_read_routes(struct relay_config *config, struct err *err)
{
	size_t count = conf_block_count(config->conf, "route");
	struct route_settings *routes = arena_alloc_array(&config->arena, count + 1,
	    sizeof(*routes));
	int result = read_routes(config, routes, count, err);

	/* The table has its own references. */
	for (size_t i = 0; i < count; i++)
		call_login_unref(&routes[i].login);
	return result;
}
