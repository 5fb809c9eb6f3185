#include "relay/outbound/dispatch.h"

#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/outbound/dispatch_private.h"
#include "relay/outbound/mx.h"
#include "relay/outbound/route.h"

/* ---- whether a destination can start something ---- */

static void
set_active(struct dispatch *dispatch, struct destination *destination, bool active)
{
	if (destination->is_active == active)
		return;
	destination->is_active = active;
	if (active)
		TAILQ_INSERT_TAIL(&dispatch->active, destination, active);
	else
		TAILQ_REMOVE(&dispatch->active, destination, active);
}

static void
sleep_until(struct dispatch *dispatch, struct destination *destination, int64_t at_ms)
{
	heap_remove(&dispatch->wakes, &destination->wake);
	if (at_ms == INT64_MAX)
		return;
	destination->wake_ms = at_ms;
	heap_add(&dispatch->wakes, &destination->wake);
}

void
dispatch_refresh(struct dispatch *dispatch, struct destination *destination, uint64_t now_ms)
{
	bool active = false;
	int64_t wake_ms = INT64_MAX;

	if (destination->suspended) {
		wake_ms = destination->suspend_until_ms;
	} else if (destination->ready_count > 0) {
		int64_t rate_ms = destination_rate_ms(destination);

		if (rate_ms > (int64_t)now_ms) {
			wake_ms = rate_ms;
		} else if (destination_is_open_for_mail(destination)) {
			active = destination->running_count < destination_capacity(destination);
		} else {
			int64_t allowed_ms = destination_allowed_ms(destination, now_ms);

			active = allowed_ms == 0;
			wake_ms = active ? INT64_MAX : allowed_ms;
		}
	}
	set_active(dispatch, destination, active);
	if (wake_ms != INT64_MAX || heap_has(&destination->wake))
		sleep_until(dispatch, destination, wake_ms);
}

static void
refresh_all_of(struct dispatch *dispatch, struct host *host, uint64_t now_ms)
{
	struct destination_host *place;

	LIST_FOREACH(place, &host->places, of_host)
		dispatch_refresh(dispatch, place->destination, now_ms);
}

/* ---- choosing ---- */

static size_t
allowed_hosts(const struct destination *destination, const struct unit *unit, uint8_t *order,
    uint64_t now_ms)
{
	size_t count = 0;

	for (size_t i = 0; unit->bound && i < destination->host_count; i++)
		if (destination->hosts[i].host == unit->bound)
			order[count++] = (uint8_t)i;
	if (unit->bound)
		return count;
	for (size_t i = 0; i < destination->host_count; i++)
		if (destination_may_use(destination, i) &&
		    breaker_allows(&destination->hosts[i].host->breaker, now_ms))
			order[count++] = (uint8_t)i;
	return count;
}

bool
dispatch_choose_hosts(struct dispatch *dispatch, struct destination *destination,
    const struct unit *unit, struct dispatch_order *order, uint64_t now_ms)
{
	uint16_t preferences[DESTINATION_HOST_COUNT_MAX];
	uint16_t weights[DESTINATION_HOST_COUNT_MAX];

	order->host_count = allowed_hosts(destination, unit, order->hosts, now_ms);
	if (order->host_count == 0)
		return false;
	for (size_t i = 0; i < destination->host_count; i++) {
		preferences[i] = destination->hosts[i].preference;
		weights[i] = destination->hosts[i].weight;
	}
	mx_order(order->hosts, order->host_count, preferences, weights,
	    dispatch->settings.random);
	if (order->host_count > dispatch->settings.host_max)
		order->host_count = dispatch->settings.host_max;
	for (size_t i = 0; i < order->host_count; i++)
		breaker_begin(&destination->hosts[order->hosts[i]].host->breaker, now_ms);
	return true;
}

/*
 * The worker that has a connection to spare; else one that has room on those it
 * has; else the one with the least to do.
 */
void
dispatch_choose_worker(const struct dispatch *dispatch, const struct destination *destination,
    struct dispatch_order *order)
{
	size_t best = 0;
	uint64_t best_cost = UINT64_MAX;
	uint32_t others = 0;

	for (size_t i = 0; i < dispatch->settings.worker_count; i++) {
		const struct destination_worker *worker = &destination->workers[i];
		uint64_t cost = dispatch->worker_running[i];

		if (worker->running >= worker->connections)
			cost += (uint64_t)1 << 40;
		if (worker->connections == 0)
			cost += (uint64_t)1 << 30;
		if (cost < best_cost) {
			best_cost = cost;
			best = i;
		}
	}
	for (size_t i = 0; i < dispatch->settings.worker_count; i++)
		if (i != best)
			others += destination->workers[i].connections;
	order->worker = best;
	order->connection_max = destination->window.size > others ?
	    destination->window.size - others : 1;
}

/* ---- hosts and destinations ---- */

/*
 * What a route demands may fail where another succeeds: its TLS, its password.  So a host that is
 * reached in another manner is another one here, or one route's mail would wait for the sake of
 * another's.  Who demands nothing shares, which is all mail by MX.
 */
static char *
host_key(const char *name, const struct route *route)
{
	enum tls_level level = tls_policy_level(&route->tls, route->via != ROUTE_VIA_MX);
	bool demands = level != TLS_LEVEL_NONE && level != TLS_LEVEL_MAY;
	bool is_own_way = route->login || level == TLS_LEVEL_FINGERPRINT || route->tls.identity;

	return mem_format("%s%s%s%s%s%s%s%s%.*s", name, route->via == ROUTE_VIA_LMTP ? " lmtp" : "",
	    demands ? " " : "", demands ? tls_level_name(level) : "",
	    route->tls.implicit ? " implicit" : "", route->tls.name ? " as " : "",
	    route->tls.name ? route->tls.name : "", is_own_way ? " for " : "",
	    is_own_way ? (int)route->name.len : 0, route->name.data);
}

struct host *
dispatch_host(struct dispatch *dispatch, const char *name, const struct route *route,
    uint64_t now_ms)
{
	struct breaker_settings breaker = dispatch->settings.breaker;
	char *key = route ? host_key(name, route) : mem_dup_cstr(name);
	struct host *host;

	HASH_FIND_STR(dispatch->hosts, key, host);
	if (host) {
		mem_free(&key);
		return host;
	}
	host = mem_alloc(sizeof(*host));
	host->key = key;
	host->name = mem_dup_text(name, strcspn(name, " "));
	LIST_INIT(&host->places);
	if (route && route->own_node)
		breaker.backoff_max_ms = dispatch->settings.probe_own_ms;
	breaker_init(&host->breaker, &breaker, now_ms);
	HASH_ADD_KEYPTR(hh, dispatch->hosts, host->key, strlen(host->key), host);
	return host;
}

struct destination *
dispatch_destination(struct dispatch *dispatch, const char *key, const char *name,
    const struct route *route, const struct dispatch_host *hosts, size_t host_count,
    uint64_t now_ms, bool *created_out)
{
	struct destination *destination;

	must(host_count > 0 && host_count <= DESTINATION_HOST_COUNT_MAX);
	HASH_FIND_STR(dispatch->destinations, key, destination);
	*created_out = !destination;
	if (destination) {
		destination->used_ms = now_ms;
		return destination;
	}

	destination = mem_alloc(sizeof(*destination));
	destination_init(destination, dispatch->settings.worker_count);
	destination->key = mem_dup_cstr(key);
	destination->name = mem_dup_cstr(name);
	destination->number = ++dispatch->destination_number;
	destination->route = route;
	destination->used_ms = now_ms;
	window_init(&destination->window, &route->window);
	destination->hosts = mem_alloc_array(host_count, sizeof(*destination->hosts));
	destination->host_count = host_count;
	for (size_t i = 0; i < host_count; i++) {
		struct destination_host *place = &destination->hosts[i];

		place->host = dispatch_host(dispatch, hosts[i].name, route, now_ms);
		place->destination = destination;
		place->preference = hosts[i].preference;
		place->weight = hosts[i].weight;
		LIST_INSERT_HEAD(&place->host->places, place, of_host);
	}
	HASH_ADD_KEYPTR(hh, dispatch->destinations, destination->key, strlen(destination->key),
	    destination);
	return destination;
}

static bool
is_called(const struct destination *destination, struct span name)
{
	return span_equal_nocase_cstr(name, destination->name) ||
	    span_equal_cstr(name, destination->key);
}

struct destination *
dispatch_next_destination(const struct dispatch *dispatch, struct span name,
    const struct destination *last)
{
	struct destination *it = dispatch->destinations;
	bool by_route;

	while (it && !is_called(it, name))
		it = it->hh.next;
	by_route = !it;
	for (it = last ? last->hh.next : dispatch->destinations; it; it = it->hh.next)
		if (by_route ? span_equal(name, it->route->name) : is_called(it, name))
			return it;
	return NULL;
}

static bool
is_needed(const struct destination *destination, uint64_t idle_ms, uint64_t now_ms)
{
	if (destination->ready_count || destination->waiting_count ||
	    destination->running_count || destination->domain_count)
		return true;
	if (idle_ms && destination->suspended)
		return true;
	/* What is known of a host that is down is worth more than the memory. */
	if (idle_ms && !destination_is_open_for_mail(destination))
		return now_ms - destination->used_ms < 24 * idle_ms;
	return idle_ms && now_ms - destination->used_ms < idle_ms;
}

static void
sweep_domains(struct dispatch *dispatch, uint64_t idle_ms, uint64_t now_ms)
{
	struct domain *domain, *next;

	HASH_ITER(hh, dispatch->domains, domain, next) {
		if (domain->unit_count || domain->state == DOMAIN_RESOLVING ||
		    (idle_ms && domain->expires_ms > (int64_t)now_ms))
			continue;
		if (domain->destination)
			domain->destination->domain_count--;
		HASH_DEL(dispatch->domains, domain);
		route_table_unref(&domain->table);
		mem_free(&domain->key);
		mem_free(&domain);
	}
}

void
dispatch_sweep(struct dispatch *dispatch, uint64_t idle_ms, uint64_t now_ms,
    void (*drop)(void *ctx, struct destination *destination), void *ctx)
{
	struct destination *destination, *next;
	struct host *host, *next_host;

	sweep_domains(dispatch, idle_ms, now_ms);
	HASH_ITER(hh, dispatch->destinations, destination, next) {
		if (is_needed(destination, idle_ms, now_ms))
			continue;
		HASH_DEL(dispatch->destinations, destination);
		set_active(dispatch, destination, false);
		heap_remove(&dispatch->wakes, &destination->wake);
		drop(ctx, destination);
		destination_fini(destination);
		mem_free(&destination);
	}
	HASH_ITER(hh, dispatch->hosts, host, next_host) {
		if (!LIST_EMPTY(&host->places) || host->bound_count)
			continue;
		HASH_DEL(dispatch->hosts, host);
		mem_free(&host->name);
		mem_free(&host->key);
		mem_free(&host);
	}
}

struct domain *
dispatch_domain(struct dispatch *dispatch, struct span name, const struct route *route,
    struct route_table *table)
{
	char *key = mem_format("%.*s %.*s", SPAN_ARGS(route->name), SPAN_ARGS(name));
	struct domain *domain;

	HASH_FIND_STR(dispatch->domains, key, domain);
	if (domain) {
		mem_free(&key);
		if (domain->table != table) {
			/* The route is of a new configuration: what it says holds from here on. */
			route_table_unref(&domain->table);
			domain->table = route_table_ref(table);
			domain->route = route;
			domain->expires_ms = INT64_MIN;
		}
		return domain;
	}
	domain = mem_alloc(sizeof(*domain));
	domain->key = key;
	domain->name = key + route->name.len + 1;
	domain->route = route;
	domain->table = route_table_ref(table);
	TAILQ_INIT(&domain->waiting);
	HASH_ADD_KEYPTR(hh, dispatch->domains, domain->key, strlen(domain->key), domain);
	return domain;
}

/* ---- steering ---- */

void
dispatch_suspend(struct dispatch *dispatch, struct destination *destination, struct span reason,
    int64_t until_ms, uint64_t now_ms)
{
	mem_free(&destination->suspend_reason);
	destination->suspend_reason = mem_dup_text(reason.data ? reason.data : "", reason.len);
	destination->suspended = true;
	destination->suspend_until_ms = until_ms;
	dispatch_refresh(dispatch, destination, now_ms);
}

void
dispatch_resume(struct dispatch *dispatch, struct destination *destination, uint64_t now_ms)
{
	mem_free(&destination->suspend_reason);
	destination->suspended = false;
	dispatch_refresh(dispatch, destination, now_ms);
}

void
dispatch_hurry_host(struct dispatch *dispatch, struct host *host, uint64_t now_ms)
{
	breaker_hurry(&host->breaker, now_ms);
	refresh_all_of(dispatch, host, now_ms);
}

void
dispatch_hurry(struct dispatch *dispatch, struct destination *destination, uint64_t now_ms)
{
	for (size_t i = 0; i < destination->host_count; i++)
		dispatch_hurry_host(dispatch, destination->hosts[i].host, now_ms);
}

void
dispatch_bind(struct unit *unit, struct host *host, int64_t until_ms)
{
	if (unit->bound)
		unit->bound->bound_count--;
	unit->bound = host;
	unit->bound_ms = until_ms;
	if (host)
		host->bound_count++;
}

/* ---- what attempts said ---- */

void
dispatch_returned(struct dispatch *dispatch, struct unit *unit, size_t worker,
    uint32_t connections, uint64_t now_ms)
{
	struct destination *destination = unit->destination;

	must(unit->state == UNIT_RUNNING && destination->running_count > 0);
	destination->running_count--;
	destination->workers[worker].running--;
	destination->workers[worker].connections = connections;
	destination->used_ms = now_ms;
	dispatch->running_count--;
	dispatch->worker_running[worker]--;
	dispatch_refresh(dispatch, destination, now_ms);
}

void
dispatch_connections(struct dispatch *dispatch, struct destination *destination, size_t worker,
    uint32_t connections)
{
	(void)dispatch;
	destination->workers[worker].connections = connections;
}

static size_t
closed_count(const struct destination *destination)
{
	size_t count = 0;

	for (size_t i = 0; i < destination->host_count; i++)
		count += destination->hosts[i].host->breaker.state == BREAKER_CLOSED &&
		    destination_may_use(destination, i);
	return count;
}

void
dispatch_host_is_own(struct dispatch *dispatch, struct host *host, bool is_own)
{
	(void)dispatch;
	host->is_own = is_own;          /* good() or bad() follows, and refreshes */
}

bool
dispatch_host_good(struct dispatch *dispatch, struct destination *destination, size_t host_index,
    uint32_t proven, uint64_t now_ms)
{
	struct host *host = destination->hosts[host_index].host;
	bool closed = breaker_success(&host->breaker, now_ms);
	struct destination_host *place;

	host->last_error[0] = '\0';
	host->error_class = RETRY_OTHER;
	if (closed) {
		/* It comes back where it was away altogether: gently at first. */
		LIST_FOREACH(place, &host->places, of_host)
			if (closed_count(place->destination) == 1) {
				window_restart(&place->destination->window);
				destination_forget_proven(place->destination);
			}
	}
	window_success(&destination->window, proven, destination->running_count);
	if (closed)
		refresh_all_of(dispatch, host, now_ms);
	return closed;
}

bool
dispatch_host_bad(struct dispatch *dispatch, struct destination *destination, size_t host_index,
    enum retry_class class, struct span error, uint64_t begun_ms, uint64_t now_ms)
{
	struct host *host = destination->hosts[host_index].host;
	size_t len = error.len < HOST_ERROR_BYTES ? error.len : HOST_ERROR_BYTES - 1;
	bool opened = breaker_failure(&host->breaker, now_ms, dispatch->settings.random);

	if (len)
		memcpy(host->last_error, error.data, len);
	host->last_error[len] = '\0';
	host->error_class = class;
	window_failure(&destination->window, begun_ms, now_ms);
	destination_forget_proven(destination);
	refresh_all_of(dispatch, host, now_ms);
	return opened;
}

void
dispatch_host_unused(struct dispatch *dispatch, struct destination *destination,
    size_t host_index, uint64_t now_ms)
{
	struct host *host = destination->hosts[host_index].host;

	if (host->breaker.state != BREAKER_HALF_OPEN)
		return;
	breaker_abandon(&host->breaker, now_ms);
	refresh_all_of(dispatch, host, now_ms);
}
