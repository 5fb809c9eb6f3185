#include "relay/outbound/way.h"

#include <string.h>

#include "relay/base/mem.h"

struct way *
way_new(const struct route *route, const char *hello, const struct way_host *hosts,
    size_t host_count, struct tls_context *const *contexts, size_t worker_count)
{
	struct way *way = mem_alloc(sizeof(*way) + host_count * sizeof(*hosts));

	atomic_init(&way->holders, 1);
	way->is_named = route->via != ROUTE_VIA_MX;
	way->protocol = route->via == ROUTE_VIA_LMTP ? CALL_LMTP : CALL_SMTP;
	way->tls = tls_policy_call(&route->tls, way->is_named);
	way->policy = route->tls;
	/* The route's texts live as long as its table; the way may live longer. */
	way->policy.name = route->tls.name ? mem_dup_cstr(route->tls.name) : NULL;
	way->policy.identity = NULL;
	way->timeouts = route->timeouts;
	if (route->login)
		way->login = call_login_ref(route->login);
	way->hello = mem_dup_cstr(hello);
	way->worker_count = worker_count;
	way->contexts = mem_alloc_array(worker_count, sizeof(struct tls_context *));
	for (size_t i = 0; i < worker_count; i++)
		if (contexts[i])
			way->contexts[i] = tls_context_ref(contexts[i]);
	way->host_count = host_count;
	memcpy(way->hosts, hosts, host_count * sizeof(*hosts));
	return way;
}

struct way *
way_ref(struct way *way)
{
	atomic_fetch_add_explicit(&way->holders, 1, memory_order_relaxed);
	return way;
}

void
way_unref(struct way **way_pointer)
{
	struct way *way = *way_pointer;

	*way_pointer = NULL;
	if (!way || atomic_fetch_sub_explicit(&way->holders, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < way->worker_count; i++)
		tls_context_unref(&way->contexts[i]);
	mem_free(&way->contexts);
	mem_free(&way->policy.name);
	call_login_unref(&way->login);
	mem_free(&way->own_addresses);
	mem_free(&way->hello);
	mem_free(&way);
}

static bool
is_own(const struct way *way, const struct endpoint *address)
{
	for (size_t i = 0; i < way->own_address_count; i++) {
		const struct endpoint *own = &way->own_addresses[i];

		if (own->port == address->port && own->family == address->family &&
		    endpoint_same_ip(own, address))
			return true;
	}
	return false;
}

bool
way_leads_home(const struct way *way, const struct endpoint *addresses, size_t address_count)
{
	for (size_t i = 0; i < address_count; i++)
		if (!way->is_named && is_own(way, &addresses[i]))
			return true;
	return false;
}

size_t
way_filter(const struct way *way, struct endpoint *addresses, size_t address_count)
{
	size_t kept = 0;

	for (size_t i = 0; i < address_count; i++) {
		const struct endpoint *address = &addresses[i];

		if (endpoint_is_unspecified(address))
			continue;
		/* Whoever puts such an address into DNS would have us talk to ourselves. */
		if (!way->is_named && (endpoint_is_loopback(address) || is_own(way, address)))
			continue;
		addresses[kept++] = *address;
	}
	return kept;
}
