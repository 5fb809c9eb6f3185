#include "relay/outbound/route.h"

#include <stdatomic.h>
#include <uthash.h>

#include "relay/base/arena.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/outbound/route_pattern.h"

/*
 * Recipients' patterns are found by their key: an address is at most a handful
 * of keys (itself, its local part, its domain, each parent domain, "*").  Behind
 * each key are the routes that have it, in their order; the lowest route whose
 * other conditions hold wins.
 */
struct route_key {
	UT_hash_handle hh;
	struct span key;
	struct route_use *uses;
	size_t use_count;
};

struct route_use {
	size_t route;
	struct span text;               /* the pattern as written */
};

struct route_rule {
	struct route route;
	struct route_pattern *senders;
	size_t sender_count;
	struct network *clients;
	size_t client_count;
	struct span *listeners;
	size_t listener_count;
};

struct route_table {
	atomic_uint holders;
	struct arena arena;
	struct route_rule *rules;
	size_t rule_count;
	struct route_key *keys;
	struct route_key *address_domains;      /* domains that have patterns with a local part */
	size_t local_first;                     /* the first route with "local@"; SIZE_MAX none */
};

int
route_host_parse(struct span text, uint16_t default_port, struct route_host *host_out,
    struct err *err)
{
	struct span rest = span_trim(text);
	struct span word, name, value;
	uint32_t number;

	*host_out = (struct route_host){ .weight = ROUTE_WEIGHT_DEFAULT };
	if (!span_take_word(&rest, &word))
		return err_set(err, ERR_CONFIG, "a host is missing");
	if (host_port_parse(word, default_port, &host_out->at, err) < 0)
		return -1;
	while (span_take_word(&rest, &word)) {
		if (span_equal_cstr(word, "fallback")) {
			host_out->preference = ROUTE_FALLBACK_PREFERENCE;
			continue;
		}
		if (!span_split(word, '=', &name, &value) ||
		    !span_parse_u32(value, UINT16_MAX, &number))
			return err_set(err, ERR_CONFIG, "\"%.*s\": expected preference=N, "
			    "weight=N or fallback behind the host", SPAN_ARGS(word));
		if (span_equal_cstr(name, "preference"))
			host_out->preference = (uint16_t)number;
		else if (span_equal_cstr(name, "weight"))
			host_out->weight = (uint16_t)number;
		else
			return err_set(err, ERR_CONFIG, "\"%.*s\": a host has preference, "
			    "weight and fallback", SPAN_ARGS(word));
	}
	return 0;
}

/* ---- making ---- */

static void
add_use(struct route_key **hash, struct span key, size_t route,
    struct span text)
{
	struct route_key *entry;

	HASH_FIND(hh, *hash, key.data, key.len, entry);
	if (!entry) {
		entry = mem_alloc(sizeof(*entry));
		entry->key = key;
		HASH_ADD_KEYPTR(hh, *hash, entry->key.data, entry->key.len, entry);
	}
	if (entry->use_count && entry->uses[entry->use_count - 1].route == route)
		return;
	entry->uses = mem_resize_array(entry->uses, entry->use_count + 1, sizeof(*entry->uses));
	entry->uses[entry->use_count++] = (struct route_use){ route, text };
}

static int
add_recipients(struct route_table *table, const struct route_settings *from, size_t number,
    struct err *err)
{
	if (from->recipient_count == 0)
		return err_set(err, ERR_CONFIG, "there is no pattern it is for");
	for (size_t i = 0; i < from->recipient_count; i++) {
		struct route_pattern pattern;
		struct span local, domain;

		if (route_pattern_parse(span_from_cstr(from->recipients[i]), &table->arena,
		    &pattern, err) < 0)
			return -1;
		if (pattern.kind == PATTERN_NULL)
			return err_set(err, ERR_CONFIG, "\"<>\" is no recipient");
		if (pattern.kind == PATTERN_ANY && from->ours == ROUTE_OURS_YES &&
		    from->client_count == 0 && from->listener_count == 0)
			return err_set(err, ERR_CONFIG, "anybody could send anywhere: \"*\" "
			    "for everybody needs a condition on client or listener");
		add_use(&table->keys, pattern.key, number, pattern.text);
		if (pattern.kind == PATTERN_ADDRESS) {
			(void)span_split_last(pattern.key, '@', &local, &domain);
			add_use(&table->address_domains, domain, number, pattern.text);
		}
		if (pattern.kind == PATTERN_LOCAL && number < table->local_first)
			table->local_first = number;
	}
	return 0;
}

static int
add_conditions(struct route_table *table, const struct route_settings *from,
    struct route_rule *rule, struct err *err)
{
	struct arena *arena = &table->arena;

	rule->senders = arena_alloc_array(arena, from->sender_count, sizeof(*rule->senders));
	for (size_t i = 0; i < from->sender_count; i++)
		if (route_pattern_parse(span_from_cstr(from->senders[i]), arena,
		    &rule->senders[i], err) < 0)
			return -1;
	rule->sender_count = from->sender_count;

	rule->clients = arena_alloc_array(arena, from->client_count, sizeof(*rule->clients));
	for (size_t i = 0; i < from->client_count; i++)
		rule->clients[i] = from->clients[i];
	rule->client_count = from->client_count;

	rule->listeners = arena_alloc_array(arena, from->listener_count,
	    sizeof(*rule->listeners));
	for (size_t i = 0; i < from->listener_count; i++)
		rule->listeners[i] = arena_dup(arena, span_from_cstr(from->listeners[i]));
	rule->listener_count = from->listener_count;
	return 0;
}

static int
add_hosts(struct route_table *table, const struct route_settings *from, struct route *route,
    struct err *err)
{
	if (from->via == ROUTE_VIA_MX && from->host_count > 0)
		return err_set(err, ERR_CONFIG, "hosts are named, but via = mx finds its own");
	if (from->via != ROUTE_VIA_MX && from->host_count == 0)
		return err_set(err, ERR_CONFIG, "via = %s needs hosts", route_via_name(from->via));
	if (from->host_count > ROUTE_HOST_COUNT_MAX)
		return err_set(err, ERR_CONFIG, "more than %d hosts", ROUTE_HOST_COUNT_MAX);

	struct route_host *hosts = arena_alloc_array(&table->arena, from->host_count,
	    sizeof(*hosts));

	for (size_t i = 0; i < from->host_count; i++)
		hosts[i] = from->hosts[i];
	route->hosts = hosts;
	route->host_count = from->host_count;
	return tls_policy_check(&from->tls, from->via != ROUTE_VIA_MX, err);
}

static int
add_rule(struct route_table *table, const struct route_settings *from, struct err *err)
{
	size_t number = table->rule_count;
	struct route_rule *rule = &table->rules[table->rule_count++];
	struct route *route = &rule->route;
	struct arena *arena = &table->arena;

	*route = (struct route){
		.number = number,
		.name = arena_dup(arena, span_from_cstr(from->name)),
		.where = arena_dup(arena, span_from_cstr(from->where)),
		.via = from->via,
		.ours = from->ours,
		.own_node = from->own_node,
		.mx_port = from->mx_port ? from->mx_port : ROUTE_SMTP_PORT,
		.tls = from->tls,
		.window = from->window,
		.rate_minute = from->rate_minute,
		.timeouts = from->timeouts,
	};
	if (from->login)
		route->login = call_login_ref(from->login);
	if (from->tls.name)
		route->tls.name = arena_dup_cstr(arena, from->tls.name);
	if (from->tls.identity)
		route->tls.identity = arena_dup_cstr(arena, from->tls.identity);
	if (from->retry)
		route->retry = *from->retry;
	else
		retry_policy_init(&route->retry);

	if (span_is_empty(route->name))
		return err_set(err, ERR_CONFIG, "it has no name");
	for (size_t i = 0; i < number; i++)
		if (span_equal(table->rules[i].route.name, route->name))
			return err_set(err, ERR_CONFIG, "there are two of this name");
	if (add_recipients(table, from, number, err) < 0 ||
	    add_conditions(table, from, rule, err) < 0)
		return -1;
	return add_hosts(table, from, route, err);
}

int
route_table_new(const struct route_settings *routes, size_t route_count,
    struct route_table **table_out, struct err *err)
{
	struct route_table *table = mem_alloc(sizeof(*table));

	atomic_init(&table->holders, 1);
	arena_init(&table->arena, 0);
	table->local_first = SIZE_MAX;
	table->rules = arena_alloc_array(&table->arena, route_count, sizeof(*table->rules));
	for (size_t i = 0; i < route_count; i++) {
		const char *where = routes[i].where;

		if (add_rule(table, &routes[i], err) == 0)
			continue;
		err_wrap(err, "%s%sroute \"%s\"", where ? where : "", where ? ": " : "",
		    routes[i].name ? routes[i].name : "");
		route_table_unref(&table);
		return -1;
	}
	*table_out = table;
	return 0;
}

struct route_table *
route_table_ref(struct route_table *table)
{
	atomic_fetch_add_explicit(&table->holders, 1, memory_order_relaxed);
	return table;
}

static void
free_keys(struct route_key **hash)
{
	struct route_key *entry, *next;

	HASH_ITER(hh, *hash, entry, next) {
		HASH_DEL(*hash, entry);
		mem_free(&entry->uses);
		mem_free(&entry);
	}
}

void
route_table_unref(struct route_table **table_pointer)
{
	struct route_table *table = *table_pointer;

	*table_pointer = NULL;
	if (!table || atomic_fetch_sub_explicit(&table->holders, 1, memory_order_acq_rel) != 1)
		return;
	free_keys(&table->keys);
	free_keys(&table->address_domains);
	for (size_t i = 0; i < table->rule_count; i++)
		call_login_unref(&table->rules[i].route.login);
	arena_fini(&table->arena);
	mem_free(&table);
}

/* ---- asking ---- */

struct route_search {
	const struct route_table *table;
	const struct route_question *question;
	struct route_address recipient;
	struct route_address sender;
	bool client_known;
	bool client_parsed;
	uint8_t client[16];
	bool for_ours;                  /* is it ours? else: where does it go? */
	size_t best;                    /* route */
	struct span pattern;
	size_t doubt;                   /* the first route that only the address can settle */
};

static bool
client_is_in(struct route_search *search, const struct route_rule *rule)
{
	struct endpoint endpoint;

	if (!search->client_parsed) {
		search->client_parsed = true;
		search->client_known =
		    endpoint_parse_ip(search->question->client_address, 0, &endpoint) &&
		    endpoint_ip16(&endpoint, search->client);
	}
	if (!search->client_known)
		return false;
	for (size_t i = 0; i < rule->client_count; i++)
		if (network_has(&rule->clients[i], search->client))
			return true;
	return false;
}

static bool
sender_is_meant(const struct route_search *search, const struct route_rule *rule)
{
	for (size_t i = 0; i < rule->sender_count; i++)
		if (route_pattern_matches(&rule->senders[i], &search->sender))
			return true;
	return false;
}

static bool
listener_is_meant(const struct route_search *search, const struct route_rule *rule)
{
	for (size_t i = 0; i < rule->listener_count; i++)
		if (span_equal(rule->listeners[i], search->question->listener))
			return true;
	return false;
}

static bool
accepts_strangers(const struct route_rule *rule, struct span pattern)
{
	switch (rule->route.ours) {
	case ROUTE_OURS_YES:
		return true;
	case ROUTE_OURS_NO:
		return false;
	case ROUTE_OURS_DEFAULT:
		return rule->route.via != ROUTE_VIA_MX && rule->sender_count == 0 &&
		    !span_equal_cstr(pattern, "*");
	}
	must_not_reach();
}

static void
consider(struct route_search *search, const struct route_use *use)
{
	const struct route_rule *rule = &search->table->rules[use->route];

	if (search->for_ours && !accepts_strangers(rule, use->text))
		return;
	if (rule->sender_count > 0 && !sender_is_meant(search, rule))
		return;
	if (rule->client_count > 0 && !client_is_in(search, rule))
		return;
	if (rule->listener_count > 0) {
		if (search->recipient.whole.len == 0) {
			if (use->route < search->doubt)
				search->doubt = use->route;
			return;
		}
		if (!listener_is_meant(search, rule))
			return;
	}
	search->best = use->route;
	search->pattern = use->text;
}

static void
look_up(struct route_search *search, struct span key)
{
	const struct route_key *entry;

	if (key.len == 0)
		return;
	HASH_FIND(hh, search->table->keys, key.data, key.len, entry);
	if (!entry)
		return;
	for (size_t i = 0; i < entry->use_count && entry->uses[i].route < search->best; i++)
		consider(search, &entry->uses[i]);
}

static void
doubt_addresses(struct route_search *search)
{
	const struct route_table *table = search->table;
	struct span domain = search->recipient.domain;
	const struct route_key *entry;

	if (table->local_first < search->doubt)
		search->doubt = table->local_first;
	HASH_FIND(hh, table->address_domains, domain.data, domain.len, entry);
	if (entry && entry->uses[0].route < search->doubt)
		search->doubt = entry->uses[0].route;
}

static void
search_run(struct route_search *search, const struct route_table *table,
    const struct route_question *question, bool for_ours)
{
	struct span rest;
	size_t dot;

	search->table = table;
	search->question = question;
	search->client_parsed = false;
	search->for_ours = for_ours;
	search->best = search->doubt = SIZE_MAX;
	search->pattern = SPAN("");
	route_address_set(&search->recipient, question->recipient, question->domain);
	route_address_set(&search->sender, question->sender, SPAN(""));

	if (search->recipient.whole.len == 0)
		doubt_addresses(search);
	look_up(search, search->recipient.whole);
	look_up(search, search->recipient.local_at);
	look_up(search, search->recipient.domain);
	rest = search->recipient.domain;
	while (span_find_byte(rest, '.', &dot)) {
		look_up(search, span_skip(rest, dot));
		rest = span_skip(rest, dot + 1);
	}
	look_up(search, SPAN("*"));
}

struct route_match
route_table_match(const struct route_table *table, const struct route_question *question)
{
	struct route_search search;

	search_run(&search, table, question, false);
	if (search.doubt < search.best)
		return (struct route_match){ .needs_address = true };
	if (search.best == SIZE_MAX)
		return (struct route_match){ 0 };
	return (struct route_match){
		.route = &table->rules[search.best].route,
		.pattern = search.pattern,
	};
}

bool
route_table_is_ours(const struct route_table *table, const struct route_question *question)
{
	struct route_search search;

	search_run(&search, table, question, true);
	return search.best != SIZE_MAX;
}

size_t
route_table_count(const struct route_table *table)
{
	return table->rule_count;
}

const struct route *
route_table_at(const struct route_table *table, size_t number)
{
	must(number < table->rule_count);
	return &table->rules[number].route;
}

const struct route *
route_table_find_name(const struct route_table *table, struct span name)
{
	for (size_t i = 0; i < table->rule_count; i++)
		if (span_equal(table->rules[i].route.name, name))
			return &table->rules[i].route;
	return NULL;
}

const char *
route_via_name(enum route_via via)
{
	switch (via) {
	case ROUTE_VIA_SMTP:
		return "smtp";
	case ROUTE_VIA_LMTP:
		return "lmtp";
	case ROUTE_VIA_MX:
		return "mx";
	}
	must_not_reach();
}
