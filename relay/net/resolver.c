#include "relay/net/resolver_private.h"

#include <stdio.h>
#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/net/dial.h"

enum {
	DNS_CLASS_IN = 1,
	DNS_TYPE_A = 1,
	DNS_TYPE_MX = 15,
	DNS_TYPE_AAAA = 28,
	DNS_RCODE_NOERROR = 0,
	DNS_RCODE_NXDOMAIN = 3,
	DNS_HEADER_BYTES = 12,
	DNS_AUTHORITY_COUNT_AT = 8,
	QUESTION_COUNT_MAX = 1024,
	QUESTION_TIMEOUT_MS = 30 * 1000,
};

LIST_HEAD(resolver_questions, resolver_question);

struct resolver {
	struct loop *loop;
	struct ub_ctx *context;
	struct loop_watch *watch;
	struct resolver_names names;
	uint64_t timeout_ms;
	size_t question_count_max;
	size_t question_count;
	struct resolver_questions questions;    /* here on the hub */
};

struct resolver_client {
	struct resolver *resolver;
	struct loop *loop;
	struct resolver_questions questions;    /* not cancelled */
};

/* ---- back at the asker's */

static void
question_comes_back(void *ctx)
{
	struct resolver_question *question = ctx;

	if (question->client) {
		LIST_REMOVE(question, of_client);
		question->client = NULL;
		question->answer.name = span_from_cstr(question->name);
		question->answer.text = question->text;
		question->answer.addresses = question->addresses;
		question->answer.exchangers = question->exchangers;
		question->answered(question->ctx, &question->answer);
	}
	mem_free(&question);
}

/* ---- on the hub */

static void
question_send_back(struct resolver_question *question)
{
	struct resolver *resolver = question->resolver;

	LIST_REMOVE(question, of_resolver);
	resolver->question_count--;
	loop_timer_stop(resolver->loop, &question->timer);
	for (size_t i = 0; i < 2; i++)
		if (question->async_ids[i] != 0)
			(void)ub_cancel(resolver->context, question->async_ids[i]);
	loop_post_init(&question->post, question_comes_back, question);
	loop_post(question->home, &question->post);
}

static void
question_fail(struct resolver_question *question, enum resolver_status status,
    const char *format, const char *detail)
{
	question->answer.status = status;
	(void)snprintf(question->text, sizeof(question->text), "%s: %s%s", question->name, format,
	    detail);
	question_send_back(question);
}

static void
question_expired(void *ctx)
{
	question_fail(ctx, RESOLVER_TEMPORARY, "no answer in time", "");
}

static void
turn_mapped_into_ipv4(struct endpoint *address)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (memcmp(address->ip, mapped, sizeof(mapped)) != 0)
		return;
	address->family = ENDPOINT_IPV4;
	memmove(address->ip, address->ip + sizeof(mapped), 4);
	memset(address->ip + 4, 0, sizeof(mapped));
}

static void
take_address(struct resolver_question *question, int type, struct span data)
{
	struct resolver_answer *answer = &question->answer;
	struct endpoint *address = &question->addresses[answer->address_count];

	if (answer->address_count == RESOLVER_ADDRESS_COUNT_MAX)
		return;
	*address = (struct endpoint){ .port = question->port };
	if (type == DNS_TYPE_A && data.len == 4)
		address->family = ENDPOINT_IPV4;
	else if (type == DNS_TYPE_AAAA && data.len == 16)
		address->family = ENDPOINT_IPV6;
	else
		return;
	memcpy(address->ip, data.data, data.len);
	if (type == DNS_TYPE_AAAA)
		turn_mapped_into_ipv4(address);
	answer->address_count++;
}

static void
take_exchanger(struct resolver_question *question, struct span data)
{
	struct resolver_answer *answer = &question->answer;
	struct resolver_mx mx;
	size_t at = answer->mx_count;

	if (at == RESOLVER_MX_COUNT_MAX || data.len < 3)
		return;
	mx.preference = (uint16_t)((unsigned char)data.data[0] << 8 |
	    (unsigned char)data.data[1]);
	if (!resolver_wire_name(span_skip(data, 2), mx.host))
		return;
	for (; at > 0 && question->exchangers[at - 1].preference > mx.preference; at--)
		question->exchangers[at] = question->exchangers[at - 1];
	question->exchangers[at] = mx;
	answer->mx_count++;
}

/* "Nothing" with no authority section is what broken servers say, too (RFC 2308 section 2.2). */
static bool
result_is_vouched(const struct ub_result *result)
{
	const unsigned char *packet = result->answer_packet;

	return packet && result->answer_len >= DNS_HEADER_BYTES &&
	    (packet[DNS_AUTHORITY_COUNT_AT] || packet[DNS_AUTHORITY_COUNT_AT + 1]);
}

/* What one answer means; only a complete one may be final (RFC 2308). */
static enum resolver_status
result_status(const struct ub_result *result, struct resolver_question *question)
{
	if (result->bogus) {
		(void)snprintf(question->text, sizeof(question->text),
		    "%s: DNSSEC validation failed", question->name);
		return RESOLVER_TEMPORARY;
	}
	if (result->rcode == DNS_RCODE_NXDOMAIN)
		return RESOLVER_NXDOMAIN;
	if (result->rcode != DNS_RCODE_NOERROR) {
		(void)snprintf(question->text, sizeof(question->text),
		    "%s: the name server answered with code %d", question->name, result->rcode);
		return RESOLVER_TEMPORARY;
	}
	if (!result->havedata && !result_is_vouched(result))
		question->answer.vouched = false;
	return result->havedata ? RESOLVER_OK : RESOLVER_NODATA;
}

static void
take_result(struct resolver_question *question, const struct ub_result *result)
{
	struct resolver_answer *answer = &question->answer;
	uint32_t ttl = result->ttl < 0 ? 0 : (uint32_t)result->ttl;

	for (size_t i = 0; result->havedata && result->data[i]; i++) {
		struct span data = span_make(result->data[i], (size_t)result->len[i]);

		if (question->is_mx)
			take_exchanger(question, data);
		else
			take_address(question, result->qtype, data);
	}
	if (ttl < answer->ttl_s)
		answer->ttl_s = ttl;
	question->all_secure = question->all_secure && result->secure;
}

static void question_ask(struct resolver_question *question);

/* Every answer to the present candidate is there. */
static void
question_conclude(struct resolver_question *question)
{
	struct resolver_answer *answer = &question->answer;

	if (answer->address_count > 0 || answer->mx_count > 0) {
		answer->status = RESOLVER_OK;
		answer->secure = question->all_secure;
		question->text[0] = '\0';
		dial_order(question->addresses, answer->address_count);
		question_send_back(question);
	} else if (question->worst == RESOLVER_TEMPORARY) {
		answer->status = RESOLVER_TEMPORARY;
		question_send_back(question);
	} else if (++question->candidate < question->candidate_count) {
		question_ask(question);
	} else if (question->scope == RESOLVER_CONFIGURED_HOST) {
		question_fail(question, RESOLVER_TEMPORARY, "a configured host is not found",
		    "");
	} else if (question->worst == RESOLVER_NXDOMAIN) {
		question_fail(question, RESOLVER_NXDOMAIN, "there is no such name", "");
	} else {
		question_fail(question, RESOLVER_NODATA, "the name has no ",
		    question->is_mx ? "MX record" : "address");
	}
}

static void
result_came(struct resolver_question *question, size_t which, int failed,
    struct ub_result *result)
{
	enum resolver_status status = RESOLVER_TEMPORARY;

	question->async_ids[which] = 0;
	if (failed || !result)
		(void)snprintf(question->text, sizeof(question->text), "%s: %s", question->name,
		    ub_strerror(failed));
	else
		status = result_status(result, question);
	if (status == RESOLVER_OK)
		take_result(question, result);
	if (status == RESOLVER_TEMPORARY ||
	    (status == RESOLVER_NXDOMAIN && question->worst != RESOLVER_TEMPORARY))
		question->worst = status;
	if (result)
		ub_resolve_free(result);
	if (--question->open_count == 0)
		question_conclude(question);
}

static void
first_result_came(void *ctx, int failed, struct ub_result *result)
{
	result_came(ctx, 0, failed, result);
}

static void
second_result_came(void *ctx, int failed, struct ub_result *result)
{
	result_came(ctx, 1, failed, result);
}

/* Asks for the present candidate.  Callbacks come from ub_process() alone. */
static void
question_ask(struct resolver_question *question)
{
	struct ub_ctx *context = question->resolver->context;
	char *name = question->candidates[question->candidate];
	int failed;

	question->worst = RESOLVER_NODATA;
	question->all_secure = true;
	question->answer.vouched = true;
	question->open_count = 1;
	failed = ub_resolve_async(context, name, question->is_mx ? DNS_TYPE_MX : DNS_TYPE_A,
	    DNS_CLASS_IN, question, first_result_came, &question->async_ids[0]);
	if (!failed && !question->is_mx) {
		question->open_count = 2;
		failed = ub_resolve_async(context, name, DNS_TYPE_AAAA, DNS_CLASS_IN, question,
		    second_result_came, &question->async_ids[1]);
	}
	if (failed)
		question_fail(question, RESOLVER_TEMPORARY, "", ub_strerror(failed));
}

static void
add_candidate(struct resolver_question *question, const char *suffix)
{
	char *candidate = question->candidates[question->candidate_count];
	int len = suffix ? snprintf(candidate, HOST_BYTES_MAX, "%s.%s", question->name, suffix)
			 : snprintf(candidate, HOST_BYTES_MAX, "%s", question->name);

	if (len > 0 && len < HOST_BYTES_MAX)
		question->candidate_count++;
}

/* With a dot the name is tried as it is first, without one last. */
static void
find_candidates(struct resolver_question *question)
{
	const struct resolver_names *names = &question->resolver->names;
	bool has_dot = strchr(question->name, '.') != NULL;

	if (has_dot || question->scope == RESOLVER_DNS)
		add_candidate(question, NULL);
	for (size_t i = 0; question->scope == RESOLVER_CONFIGURED_HOST &&
	    i < names->search_count &&
	    question->candidate_count < RESOLVER_CANDIDATE_COUNT_MAX - 1; i++)
		add_candidate(question, names->search[i]);
	if (!has_dot && question->scope == RESOLVER_CONFIGURED_HOST)
		add_candidate(question, NULL);
}

static void
question_arrives(void *ctx)
{
	struct resolver_question *question = ctx;
	struct resolver *resolver = question->resolver;
	struct resolver_answer *answer = &question->answer;
	struct span name = span_from_cstr(question->name);

	LIST_INSERT_HEAD(&resolver->questions, question, of_resolver);
	resolver->question_count++;
	loop_timer_init(&question->timer, question_expired, question);
	answer->ttl_s = UINT32_MAX;
	if (resolver->question_count > resolver->question_count_max) {
		question_fail(question, RESOLVER_TEMPORARY, "too many questions at a time", "");
		return;
	}
	if (question->scope == RESOLVER_CONFIGURED_HOST && !question->is_mx) {
		answer->address_count = resolver_names_find(&resolver->names, name,
		    question->port, question->addresses, RESOLVER_ADDRESS_COUNT_MAX);
		if (answer->address_count > 0) {
			question_send_back(question);
			return;
		}
	}
	find_candidates(question);
	if (question->candidate_count == 0) {
		question_fail(question, RESOLVER_TEMPORARY, "the name is too long", "");
		return;
	}
	loop_timer_start(resolver->loop, &question->timer, resolver->timeout_ms);
	question_ask(question);
}

/* ---- asking */

static struct resolver_question *
question_new(struct resolver_client *client, struct span name, uint16_t port,
    enum resolver_scope scope, bool is_mx,
    void (*answered)(void *ctx, const struct resolver_answer *answer), void *ctx)
{
	struct resolver_question *question = mem_alloc(sizeof(*question));
	struct endpoint address;

	question->client = client;
	question->home = client->loop;
	question->resolver = client->resolver;
	question->answered = answered;
	question->ctx = ctx;
	question->port = port;
	question->scope = scope;
	question->is_mx = is_mx;
	LIST_INSERT_HEAD(&client->questions, question, of_client);
	if (name.len > 0 && name.len < HOST_BYTES_MAX && !memchr(name.data, '\0', name.len)) {
		memcpy(question->name, name.data, name.len);
	} else {
		question->answer.status = RESOLVER_NXDOMAIN;
		(void)snprintf(question->text, sizeof(question->text), "no name of a host");
		loop_post_init(&question->post, question_comes_back, question);
		loop_post(client->loop, &question->post);
		return question;
	}
	if (!is_mx && endpoint_parse_ip(name, port, &address)) {
		question->addresses[0] = address;
		question->answer.address_count = 1;
		question->answer.ttl_s = UINT32_MAX;
		loop_post_init(&question->post, question_comes_back, question);
		loop_post(client->loop, &question->post);
		return question;
	}
	loop_post_init(&question->post, question_arrives, question);
	loop_post(client->resolver->loop, &question->post);
	return question;
}

struct resolver_question *
resolver_ask_addresses(struct resolver_client *client, struct span name, uint16_t port,
    enum resolver_scope scope,
    void (*answered)(void *ctx, const struct resolver_answer *answer), void *ctx)
{
	return question_new(client, name, port, scope, false, answered, ctx);
}

struct resolver_question *
resolver_ask_mx(struct resolver_client *client, struct span name,
    void (*answered)(void *ctx, const struct resolver_answer *answer), void *ctx)
{
	return question_new(client, name, 0, RESOLVER_DNS, true, answered, ctx);
}

void
resolver_cancel(struct resolver_question **question)
{
	if (*question && (*question)->client) {
		LIST_REMOVE(*question, of_client);
		(*question)->client = NULL;
	}
	*question = NULL;
}

struct resolver_client *
resolver_client_new(struct resolver *resolver, struct loop *loop)
{
	struct resolver_client *client = mem_alloc(sizeof(*client));

	client->resolver = resolver;
	client->loop = loop;
	LIST_INIT(&client->questions);
	return client;
}

void
resolver_client_free(struct resolver_client **client)
{
	if (!*client)
		return;
	while (!LIST_EMPTY(&(*client)->questions)) {
		struct resolver_question *question = LIST_FIRST(&(*client)->questions);

		resolver_cancel(&question);
	}
	mem_free(client);
}

/* ---- birth and death */

static void
resolver_is_ready(void *ctx, unsigned events)
{
	struct resolver *resolver = ctx;

	(void)events;
	(void)ub_process(resolver->context);
}

/*
 * libunbound answers for some domains by itself that are in use in private networks.  A denial
 * is kept for a second only: one that is to be believed must have been asked for twice.  A
 * server that was silent about one name is asked for others all the same.
 */
static int
configure_manners(struct ub_ctx *context)
{
	static const char *const private_domains[] = {
		"test. transparent", "home.arpa. transparent",
	};
	int failed = ub_ctx_set_option(context, "cache-max-negative-ttl:", "1");

	if (!failed)
		failed = ub_ctx_set_option(context, "infra-keep-probing:", "yes");
	for (size_t i = 0; !failed && i < sizeof(private_domains) / sizeof(*private_domains); i++)
		failed = ub_ctx_set_option(context, "local-zone:", private_domains[i]);
	return failed;
}

static int
resolver_configure(struct resolver *resolver, const struct resolver_settings *settings)
{
	struct ub_ctx *context = resolver->context;
	int failed = configure_manners(context);

	if (!failed)
		failed = ub_ctx_async(context, 1);
	for (size_t i = 0; !failed && i < settings->server_count; i++)
		failed = ub_ctx_set_fwd(context, settings->servers[i]);
	if (!failed && settings->server_count == 0)
		(void)ub_ctx_resolvconf(context, settings->resolv_conf);  /* none: from the root */
	if (!failed && settings->trust_anchor_file)
		failed = ub_ctx_add_ta_file(context, settings->trust_anchor_file);
	for (size_t i = 0; !failed && i < settings->insecure_count; i++)
		failed = ub_ctx_set_option(context, "domain-insecure:", settings->insecure[i]);
	if (!failed && settings->allow_localhost_server)
		failed = ub_ctx_set_option(context, "do-not-query-localhost:", "no");
	return failed;
}

struct resolver *
resolver_new(struct loop *loop, const struct resolver_settings *settings, struct err *err)
{
	struct resolver *resolver = mem_alloc(sizeof(*resolver));
	int failed = 0;

	resolver->loop = loop;
	resolver->timeout_ms = settings->timeout_ms ? settings->timeout_ms : QUESTION_TIMEOUT_MS;
	resolver->question_count_max = settings->question_count_max
	    ? settings->question_count_max : QUESTION_COUNT_MAX;
	LIST_INIT(&resolver->questions);
	resolver_names_init(&resolver->names, settings);
	resolver->context = ub_ctx_create();
	if (!resolver->context || (failed = resolver_configure(resolver, settings)) != 0) {
		err_set(err, ERR_SYSTEM, "resolver: %s",
		    failed ? ub_strerror(failed) : "no context");
		resolver_free(&resolver);
		return NULL;
	}
	resolver->watch = loop_watch_new(loop, ub_fd(resolver->context), LOOP_READ,
	    resolver_is_ready, resolver);
	return resolver;
}

void
resolver_free(struct resolver **resolver_address)
{
	struct resolver *resolver = *resolver_address;

	if (!resolver)
		return;
	loop_watch_free(&resolver->watch);
	if (resolver->context)
		ub_ctx_delete(resolver->context);
	while (!LIST_EMPTY(&resolver->questions)) {
		struct resolver_question *question = LIST_FIRST(&resolver->questions);

		LIST_REMOVE(question, of_resolver);
		loop_timer_stop(resolver->loop, &question->timer);
		mem_free(&question);
	}
	resolver_names_fini(&resolver->names);
	mem_free(resolver_address);
}

const char *
resolver_status_name(enum resolver_status status)
{
	switch (status) {
	case RESOLVER_OK:
		return "ok";
	case RESOLVER_NODATA:
		return "nodata";
	case RESOLVER_NXDOMAIN:
		return "nxdomain";
	case RESOLVER_TEMPORARY:
		return "temporary";
	}
	must_not_reach();
}
