/*
 * route: what would become of a recipient, asked of the same tables that sessions and
 * deliveries ask, with the line of the configuration that decided each step.
 */
#include "relay/commands_private.h"

#include <stdio.h>

#include "relay/base/arena.h"
#include "relay/base/buf.h"
#include "relay/mail/address.h"

enum { WORDS_BYTES_MAX = 2048 };

/* A question with its answers on the way. */
struct inquiry {
	struct relay *relay;
	const struct relay_config *config;
	struct arena arena;
	struct policy_facts facts;
	uint8_t client_ip[16];
	struct tls_info tls;
	struct route_question route;
	bool refused;                   /* what comes later is not asked any more */
};

/* "relay_from 127.0.0.0/8 (relayd.conf:12)" */
static void
print_line(const struct inquiry *inquiry, const struct policy_verdict *verdict, struct buf *out)
{
	const struct policy_line *line = verdict->line;

	if (!line)
		return;
	(void)buf_appendf(out, "%s", policy_rule_name(line->rule));
	if (line->rule == POLICY_USER_SENDER)
		(void)buf_appendf(out, " \"%.*s\"", SPAN_ARGS(line->user));
	if (line->refuses)
		(void)buf_append_cstr(out, " has no such sender");
	else
		(void)buf_appendf(out, " %.*s", SPAN_ARGS(line->text));
	if (line->line > 0)
		(void)buf_appendf(out, " (%s:%u)", conf_file_name(inquiry->config->conf),
		    line->line);
	else
		(void)buf_append_cstr(out, " (default)");
}

/* KEY: "yes: relay_from ..." or "550 5.7.1 relaying denied: ...". */
static void
put_verdict(struct inquiry *inquiry, struct json *item, const char *key,
    const struct policy_verdict *verdict, const char *otherwise)
{
	struct buf words;

	buf_init(&words, WORDS_BYTES_MAX);
	if (verdict->admitted)
		(void)buf_append_cstr(&words, "yes: ");
	else
		(void)buf_appendf(&words, "%u %s %s: ", verdict->reply.code,
		    verdict->reply.status, verdict->reply.text);
	if (verdict->line)
		print_line(inquiry, verdict, &words);
	else
		(void)buf_append_cstr(&words, otherwise);
	json_put_text(item, key, buf_span(&words));
	buf_fini(&words);
	inquiry->refused = !verdict->admitted;
}

/* What a session would answer, up to the first refusal. */
static void
put_policy(struct inquiry *inquiry, struct json *item)
{
	const struct policy *policy = &inquiry->config->policy;
	struct policy_verdict verdict = policy_judge_client(policy, &inquiry->facts);

	put_verdict(inquiry, item, "client", &verdict, "no line refuses it");
	if (!inquiry->refused) {
		verdict = policy_judge_sender(policy, &inquiry->facts);
		put_verdict(inquiry, item, "sender", &verdict, "no line refuses it");
	}
	if (!inquiry->refused) {
		verdict = policy_judge_rcpt(policy, &inquiry->facts);
		put_verdict(inquiry, item, "recipient", &verdict,
		    verdict.admitted ? "a route takes it from anybody"
				     : "no line admits it, and no route takes it from anybody");
	}
	json_put_cstr(item, "would", inquiry->refused ? "refuse" : "accept");
}

static void
put_route(struct json *item, const struct route_match *match)
{
	struct json *hosts;

	json_put_text(item, "route", match->route->name);
	json_put_text(item, "where", match->route->where);
	json_put_text(item, "pattern", match->pattern);
	json_put_cstr(item, "via", route_via_name(match->route->via));
	hosts = json_put_list(item, "hosts");
	for (size_t i = 0; i < match->route->host_count; i++) {
		const struct host_port *at = &match->route->hosts[i].at;
		struct json *row = json_add_object(hosts);

		json_put_cstr(row, "host", at->host);
		json_put_int(row, "port", at->port);
	}
}

/* ---- the question */

static bool
take_address(struct inquiry *inquiry, struct control_request *request, const char *key,
    struct span *address_out)
{
	struct address address;
	struct span text;

	*address_out = SPAN("");
	if (!json_get_text(control_args(request), key, &text) || text.len == 0 ||
	    span_equal_cstr(text, "<>"))
		return true;
	if (address_parse(&address, text, true, &inquiry->arena) != ADDRESS_OK) {
		control_fail(request, CONTROL_USAGE, "\"%.*s\": expected an address like "
		    "user@example.net", SPAN_ARGS(text));
		return false;
	}
	*address_out = address_text(&address, &inquiry->arena);
	return true;
}

static bool
take_client(struct inquiry *inquiry, struct control_request *request)
{
	struct endpoint client;
	struct span text;
	struct span certificate;

	if (json_get_text(control_args(request), "client", &text) && text.len > 0) {
		if (!endpoint_parse_ip(text, 0, &client) ||
		    !endpoint_ip16(&client, inquiry->client_ip)) {
			control_fail(request, CONTROL_USAGE, "--client: expected an IP address");
			return false;
		}
		inquiry->facts.client_ip = inquiry->client_ip;
		inquiry->route.client_address = text;
	}
	if (json_get_text(control_args(request), "certificate", &certificate)) {
		(void)snprintf(inquiry->tls.peer_name, sizeof(inquiry->tls.peer_name), "%.*s",
		    SPAN_ARGS(certificate));
		inquiry->tls.peer_has_certificate = inquiry->tls.peer_verified = true;
		inquiry->facts.tls = &inquiry->tls;
	}
	return true;
}

/* False when the request was answered with what is wrong. */
static bool
take_question(struct inquiry *inquiry, struct control_request *request)
{
	struct policy_facts *facts = &inquiry->facts;

	facts->auth_user = SPAN("");
	(void)json_get_text(control_args(request), "user", &facts->auth_user);
	(void)json_get_text(control_args(request), "listener", &inquiry->route.listener);
	if (!take_address(inquiry, request, "to", &facts->rcpt) ||
	    !take_address(inquiry, request, "from", &facts->sender) ||
	    !take_client(inquiry, request))
		return false;
	if (span_is_empty(facts->rcpt)) {
		control_fail(request, CONTROL_USAGE, "expected a recipient's address");
		return false;
	}
	inquiry->route.recipient = facts->rcpt;
	inquiry->route.sender = facts->sender;
	return true;
}

void
commands_route(void *ctx, struct control_request *request)
{
	struct inquiry inquiry = {
		.relay = ctx,
		.config = relay_configuration(ctx),
	};

	arena_init(&inquiry.arena, 0);
	if (take_question(&inquiry, request)) {
		const struct outbound *outbound = relay_outbound(ctx);
		struct route_match match = outbound_route(relay_outbound(ctx), &inquiry.route);
		struct json *item = json_new_object();

		inquiry.facts.rcpt_is_ours = route_table_is_ours(outbound_routes(outbound),
		    &inquiry.route);
		put_policy(&inquiry, item);
		json_put_bool(item, "ours", inquiry.facts.rcpt_is_ours);
		if (match.route)
			put_route(item, &match);
		control_item(request, item);
		if (match.route)
			control_end(request, CONTROL_OK);
		else
			control_fail(request, CONTROL_NO_MATCH, "no route takes it");
	}
	arena_fini(&inquiry.arena);
}
