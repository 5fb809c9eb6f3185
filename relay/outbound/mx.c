#include "relay/outbound/mx.h"

#include <stdlib.h>
#include <string.h>

#include "relay/base/must.h"

static int
compare_hosts(const void *a, const void *b)
{
	const struct mx_host *left = a, *right = b;

	if (left->preference != right->preference)
		return left->preference < right->preference ? -1 : 1;
	return strcmp(left->name, right->name);
}

static bool
is_localhost(struct span name)
{
	return span_equal_nocase_cstr(name, "localhost") ||
	    span_ends_with_nocase(name, SPAN(".localhost")) ||
	    span_equal_nocase_cstr(name, "localhost.localdomain");
}

/* Sorted by preference, so the first of a name is its best. */
static size_t
drop_repeated(struct mx_host *hosts, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		size_t at = 0;

		while (at < kept && strcmp(hosts[at].name, hosts[i].name) != 0)
			at++;
		if (at == kept)
			hosts[kept++] = hosts[i];
	}
	return kept;
}

enum mx_verdict
mx_choose(const struct resolver_answer *answer, struct span own_name,
    struct mx_host hosts_out[MX_HOST_COUNT_MAX], size_t *count_out)
{
	struct mx_host hosts[RESOLVER_MX_COUNT_MAX];
	uint32_t limit = UINT32_MAX;
	size_t count = 0;

	*count_out = 0;
	switch (answer->status) {
	case RESOLVER_OK:
		break;
	case RESOLVER_NODATA:
	case RESOLVER_NXDOMAIN:
		return MX_IMPLICIT;
	case RESOLVER_TEMPORARY:
		return MX_TEMPORARY;
	}
	/* RFC 7505 section 3: a null MX is alone; beside others it means nothing. */
	if (answer->mx_count == 1 && answer->exchangers[0].host[0] == '\0')
		return MX_NULL;
	for (size_t i = 0; i < answer->mx_count && count < RESOLVER_MX_COUNT_MAX; i++) {
		const struct resolver_mx *mx = &answer->exchangers[i];
		struct span name = span_from_cstr(mx->host);

		if (span_equal_nocase(name, own_name) && mx->preference < limit)
			limit = mx->preference;
		if (span_is_empty(name) || is_localhost(name))
			continue;
		hosts[count].preference = mx->preference;
		memcpy(hosts[count++].name, mx->host, HOST_BYTES_MAX);
	}
	qsort(hosts, count, sizeof(*hosts), compare_hosts);
	count = drop_repeated(hosts, count);
	for (size_t i = 0; i < count && *count_out < MX_HOST_COUNT_MAX; i++)
		if (hosts[i].preference < limit)
			hosts_out[(*count_out)++] = hosts[i];
	if (*count_out > 0)
		return MX_HOSTS;
	/* A list with nothing usable in it is somebody's mistake, which may be mended. */
	return limit < UINT32_MAX ? MX_LOOP : MX_TEMPORARY;
}

enum mx_verdict
mx_choose_implicit(const struct resolver_answer *answer)
{
	switch (answer->status) {
	case RESOLVER_OK:
		return MX_HOSTS;
	case RESOLVER_NODATA:
		return answer->vouched ? MX_NO_DOMAIN : MX_TEMPORARY;
	case RESOLVER_NXDOMAIN:
		return MX_NO_DOMAIN;
	case RESOLVER_TEMPORARY:
		return MX_TEMPORARY;
	}
	must_not_reach();
}

const char *
mx_verdict_name(enum mx_verdict verdict)
{
	switch (verdict) {
	case MX_HOSTS:
		return "hosts";
	case MX_IMPLICIT:
		return "implicit";
	case MX_NULL:
		return "null";
	case MX_NO_DOMAIN:
		return "no-domain";
	case MX_LOOP:
		return "loop";
	case MX_TEMPORARY:
		return "temporary";
	}
	must_not_reach();
}

/* One of the same preference, by weight; weight 0 only when nothing else is left. */
static size_t
draw(const uint8_t *order, size_t count, const uint16_t *weights, struct random *random)
{
	uint64_t total = 0;

	for (size_t i = 0; i < count; i++)
		total += weights[order[i]];
	if (total == 0)
		return random_below(random, count);

	uint64_t ticket = random_below(random, total);

	for (size_t i = 0; i < count; i++) {
		if (ticket < weights[order[i]])
			return i;
		ticket -= weights[order[i]];
	}
	must_not_reach();
}

void
mx_order(uint8_t *order, size_t count, const uint16_t *preferences, const uint16_t *weights,
    struct random *random)
{
	/* Few: an insertion sort. */
	for (size_t i = 1; i < count; i++)
		for (size_t j = i; j > 0 &&
		    preferences[order[j]] < preferences[order[j - 1]]; j--) {
			uint8_t other = order[j];

			order[j] = order[j - 1];
			order[j - 1] = other;
		}
	for (size_t first = 0; first < count; first++) {
		size_t end = first + 1;

		while (end < count && preferences[order[end]] == preferences[order[first]])
			end++;
		if (end - first == 1)
			continue;

		size_t chosen = first + draw(order + first, end - first, weights, random);
		uint8_t winner = order[chosen];

		order[chosen] = order[first];
		order[first] = winner;
	}
}
