#include "relay/outbound/outbound_private.h"

#include <stdio.h>
#include <string.h>

#include "relay/base/buf.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

#define OUTBOUND_PROBE_OWN_MS ((uint64_t)10 * 1000)
#define OUTBOUND_PROBE_MS ((uint64_t)5 * 60 * 1000)
#define OUTBOUND_UNCERTAIN_HOLD_MS ((uint64_t)4 * 3600 * 1000)
#define OUTBOUND_NOTICE_BYTES_MAX ((uint64_t)50 << 10)

enum {
	OUTBOUND_ATTEMPT_HOST_MAX = 10,
	OUTBOUND_NOTICE_RATE_MAX = 60,
	OUTBOUND_KEY_BYTES_MAX = 64 << 10,
};

/* ---- TLS ---- */

static void
free_tls(struct tls_set *sets, size_t count, size_t worker_count)
{
	for (size_t i = 0; i < count; i++) {
		for (size_t w = 0; sets[i].contexts && w < worker_count; w++)
			tls_context_unref(&sets[i].contexts[w]);
		mem_free(&sets[i].contexts);
		mem_free(&sets[i].name);
	}
	mem_free(&sets);
}

static bool
wants_tls(const struct outbound_config *config)
{
	for (size_t i = 0; i < route_table_count(config->routes); i++) {
		const struct route *route = route_table_at(config->routes, i);

		if (tls_policy_call(&route->tls, route->via != ROUTE_VIA_MX) != CALL_TLS_NONE)
			return true;
	}
	return false;
}

/* Without a `tls` section there is one without a name: the system's CAs. */
static int
make_tls(const struct outbound_config *config, size_t worker_count, struct tls_set **sets_out,
    size_t *count_out, struct err *err)
{
	static const struct outbound_tls unnamed = { .name = "" };
	const struct outbound_tls *given = config->tls_count ? config->tls : &unnamed;
	size_t count = config->tls_count ? config->tls_count : wants_tls(config) ? 1 : 0;
	struct tls_set *sets = mem_alloc_array(count, sizeof(*sets));

	for (size_t i = 0; i < count; i++) {
		sets[i].name = mem_dup_cstr(given[i].name);
		sets[i].contexts = mem_alloc_array(worker_count, sizeof(*sets[i].contexts));
		for (size_t w = 0; w < worker_count; w++) {
			sets[i].contexts[w] = tls_client_context_new(&given[i].client, err);
			if (sets[i].contexts[w])
				continue;
			err_wrap(err, "tls \"%s\"", given[i].name);
			free_tls(sets, i + 1, worker_count);
			return -1;
		}
	}
	*sets_out = sets;
	*count_out = count;
	return 0;
}

static const struct tls_set *
find_tls(const struct tls_set *sets, size_t count, const char *name)
{
	if (!name)
		return count ? &sets[0] : NULL;
	for (size_t i = 0; i < count; i++)
		if (strcmp(sets[i].name, name) == 0)
			return &sets[i];
	return NULL;
}

static int
check_identities(const struct outbound_config *config, const struct tls_set *sets, size_t count,
    struct err *err)
{
	for (size_t i = 0; i < route_table_count(config->routes); i++) {
		const struct route *route = route_table_at(config->routes, i);
		const char *name = route->tls.identity;

		if (name && !find_tls(sets, count, name))
			return err_set(err, ERR_CONFIG, "%.*s: route \"%.*s\": there is no tls "
			    "section \"%s\"", SPAN_ARGS(route->where), SPAN_ARGS(route->name),
			    name);
	}
	return 0;
}

int
outbound_config_check(const struct outbound_config *config, struct err *err)
{
	struct tls_set *sets;
	size_t count;
	int result;

	if (make_tls(config, 1, &sets, &count, err) < 0)
		return -1;
	result = check_identities(config, sets, count, err);
	free_tls(sets, count, 1);
	return result;
}

/* ---- ways ---- */

static struct way *
make_way(struct outbound *outbound, const struct route *route, const struct way_host *hosts,
    size_t host_count)
{
	struct tls_context **none = mem_alloc_array(outbound->worker_count, sizeof(*none));
	const struct tls_set *set = find_tls(outbound->tls, outbound->tls_count,
	    route->tls.identity);
	struct way *way = way_new(route, outbound->hostname, hosts, host_count,
	    set ? set->contexts : none, outbound->worker_count);
	const struct outbound_config *config = &outbound->config;

	mem_free(&none);
	way->has_source_ipv4 = config->source_ipv4 != NULL;
	way->has_source_ipv6 = config->source_ipv6 != NULL;
	way->source_ipv4 = outbound->source_ipv4;
	way->source_ipv6 = outbound->source_ipv6;
	way->own_address_count = config->own_address_count;
	if (config->own_address_count)
		way->own_addresses = mem_dup(outbound->own_addresses,
		    config->own_address_count * sizeof(*outbound->own_addresses));
	return way;
}

static void
configure_breakers(struct outbound *outbound, struct destination *destination)
{
	struct breaker_settings breaker = outbound->dispatch.settings.breaker;

	if (destination->route->own_node)
		breaker.backoff_max_ms = outbound->dispatch.settings.probe_own_ms;
	for (size_t i = 0; i < destination->host_count; i++)
		breaker_configure(&destination->hosts[i].host->breaker, &breaker,
		    outbound_now(outbound));
}

struct destination *
outbound_destination(struct outbound *outbound, const char *key, const char *name,
    const struct route *route, struct route_table *table, const struct way_host *hosts,
    const struct dispatch_host *places, size_t host_count)
{
	bool created;
	struct destination *destination = dispatch_destination(&outbound->dispatch, key, name,
	    route, places, host_count, outbound_now(outbound), &created);
	struct route_table *old = destination->table;

	if (old == table && destination->epoch == outbound->epoch)
		return destination;
	/* New, or known from before a reload: it goes on with what holds now. */
	destination->epoch = outbound->epoch;
	destination->route = route;
	destination->table = route_table_ref(table);
	route_table_unref(&old);
	window_configure(&destination->window, &route->window);
	way_unref(&destination->way);
	destination->way = make_way(outbound, route, hosts, host_count);
	configure_breakers(outbound, destination);
	if (created)
		memory_apply(outbound, destination);
	return destination;
}

void
outbound_destination_dropped(void *ctx, struct destination *destination)
{
	(void)ctx;
	way_unref(&destination->way);
	route_table_unref(&destination->table);
}

static void
host_name(const struct route_host *host, char name_out[HOST_BYTES_MAX + 16])
{
	if (host->at.is_endpoint)
		(void)endpoint_print(&host->at.endpoint, name_out);
	else
		(void)snprintf(name_out, HOST_BYTES_MAX + 16, "%s:%u", host->at.host,
		    host->at.port);
}

struct destination *
outbound_named_destination(struct outbound *outbound, const struct route *route)
{
	struct destination *found = outbound->named[route->number];
	struct way_host hosts[ROUTE_HOST_COUNT_MAX] = { 0 };
	struct dispatch_host places[ROUTE_HOST_COUNT_MAX];
	char names[ROUTE_HOST_COUNT_MAX][HOST_BYTES_MAX + 16];
	struct buf key;

	if (found) {
		found->used_ms = outbound_now(outbound);
		return found;
	}
	buf_init(&key, OUTBOUND_KEY_BYTES_MAX);
	(void)buf_appendf(&key, "%s %.*s", route_via_name(route->via), SPAN_ARGS(route->name));
	for (size_t i = 0; i < route->host_count; i++) {
		const struct route_host *host = &route->hosts[i];

		host_name(host, names[i]);
		memcpy(hosts[i].name, host->at.host, sizeof(hosts[i].name));
		hosts[i].port = host->at.port;
		places[i] = (struct dispatch_host){ names[i], host->preference, host->weight };
		(void)buf_appendf(&key, " %s,%u,%u", names[i], host->preference, host->weight);
	}
	must(!buf_overflowed(&key));

	char *name = mem_dup_text(route->name.data, route->name.len);

	found = outbound_destination(outbound, buf_cstr(&key), name, route, outbound->routes,
	    hosts, places, route->host_count);
	/* It stays as long as the route is in force. */
	found->domain_count++;
	outbound->named[route->number] = found;
	mem_free(&name);
	buf_fini(&key);
	return found;
}

/* ---- taking over ---- */

void
outbound_release_named(struct outbound *outbound)
{
	for (size_t i = 0; outbound->routes && i < route_table_count(outbound->routes); i++)
		if (outbound->named[i])
			outbound->named[i]->domain_count--;
	mem_free(&outbound->named);
}

void
outbound_drop_config(struct outbound *outbound)
{
	free_tls(outbound->tls, outbound->tls_count, outbound->worker_count);
	outbound->tls = NULL;
	outbound->tls_count = 0;
	mem_free(&outbound->hostname);
	mem_free(&outbound->postmaster);
	mem_free(&outbound->own_addresses);
}

static uint64_t
or_default(uint64_t value, uint64_t otherwise)
{
	return value ? value : otherwise;
}

static void
copy_numbers(struct outbound *outbound, const struct outbound_config *config)
{
	struct outbound_config *own = &outbound->config;
	struct dispatch_settings *settings = &outbound->dispatch.settings;

	*own = *config;
	own->probe_own_ms = or_default(config->probe_own_ms, OUTBOUND_PROBE_OWN_MS);
	own->probe_ms = or_default(config->probe_ms, OUTBOUND_PROBE_MS);
	own->uncertain_hold_ms = or_default(config->uncertain_hold_ms,
	    OUTBOUND_UNCERTAIN_HOLD_MS);
	own->notice_bytes_max = or_default(config->notice_bytes_max,
	    OUTBOUND_NOTICE_BYTES_MAX);
	own->notice_rate_max = (uint32_t)or_default(config->notice_rate_max,
	    OUTBOUND_NOTICE_RATE_MAX);
	own->attempt_host_max = (uint32_t)or_default(config->attempt_host_max,
	    OUTBOUND_ATTEMPT_HOST_MAX);
	if (own->attempt_host_max > JOB_HOST_COUNT_MAX)
		own->attempt_host_max = JOB_HOST_COUNT_MAX;
	if (config->source_ipv4)
		outbound->source_ipv4 = *config->source_ipv4;
	if (config->source_ipv6)
		outbound->source_ipv6 = *config->source_ipv6;

	settings->host_max = own->attempt_host_max;
	settings->breaker = config->breaker;
	settings->breaker.backoff_max_ms = own->probe_ms;
	settings->probe_own_ms = own->probe_own_ms;
	if (config->connection_max)
		settings->running_max = (size_t)config->connection_max * 4;
}

/*
 * What is under way is not placed anew, so the destinations of named hosts change over here: the
 * next attempt goes by what holds now.
 */
static void
renew_named(struct outbound *outbound)
{
	size_t count = route_table_count(outbound->routes);
	const struct route **in_use = mem_alloc_array(count, sizeof(struct route *));
	struct destination *destination;
	struct destination *next;

	HASH_ITER(hh, outbound->dispatch.destinations, destination, next) {
		const struct route *route = route_table_find_name(outbound->routes,
		    destination->route->name);

		if (route && route->via != ROUTE_VIA_MX &&
		    destination->route->via != ROUTE_VIA_MX)
			in_use[route->number] = route;
	}
	for (size_t i = 0; i < count; i++)
		if (in_use[i])
			(void)outbound_named_destination(outbound, in_use[i]);
	mem_free(&in_use);
}

int
outbound_configure(struct outbound *outbound, const struct outbound_config *config,
    struct err *err)
{
	struct tls_set *sets;
	size_t count;
	struct route_table *old = outbound->routes;

	if (make_tls(config, outbound->worker_count, &sets, &count, err) < 0)
		return -1;
	if (check_identities(config, sets, count, err) < 0) {
		free_tls(sets, count, outbound->worker_count);
		return -1;
	}
	outbound_release_named(outbound);
	outbound_drop_config(outbound);
	outbound->tls = sets;
	outbound->tls_count = count;
	outbound->hostname = mem_dup_cstr(config->hostname);
	outbound->postmaster = config->postmaster ? mem_dup_cstr(config->postmaster) : NULL;
	if (config->own_address_count)
		outbound->own_addresses = mem_dup(config->own_addresses,
		    config->own_address_count * sizeof(*config->own_addresses));
	copy_numbers(outbound, config);

	outbound->routes = route_table_ref(config->routes);
	outbound->named = mem_alloc_array(route_table_count(config->routes),
	    sizeof(struct destination *));
	outbound->epoch++;
	renew_named(outbound);
	route_table_unref(&old);
	outbound_wake(outbound);
	return 0;
}
