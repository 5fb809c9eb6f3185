/*
 * What name servers say of a domain's exchangers, from the octets of a record to the order in
 * which hosts are tried.  The same set gives the same hosts however it is ordered, nobody is worse
 * than ourselves, and nothing is a name that no host could have.
 *
 * Input: a seed, who we are, "|", and for each record its preference (two octets), the length of
 * its name (one) and its name as on the wire.
 */
#include <string.h>

#include "relay/base/ascii.h"
#include "relay/base/must.h"
#include "relay/net/resolver_private.h"
#include "relay/outbound/mx.h"
#include "tests/fuzz/fuzz.h"

struct chosen {
	enum mx_verdict verdict;
	struct mx_host hosts[MX_HOST_COUNT_MAX];
	size_t count;
};

static struct chosen
choose(const struct resolver_mx *records, size_t count, struct span own_name)
{
	struct chosen chosen;

	memset(&chosen, 0, sizeof(chosen));
	chosen.verdict = mx_choose(&(struct resolver_answer){
		.status = RESOLVER_OK,
		.exchangers = records,
		.mx_count = count,
	}, own_name, chosen.hosts, &chosen.count);
	return chosen;
}

static size_t
read_records(struct span input, struct resolver_mx records[RESOLVER_MX_COUNT_MAX])
{
	size_t count = 0;

	while (!span_is_empty(input) && count < RESOLVER_MX_COUNT_MAX) {
		struct resolver_mx *record = &records[count];
		unsigned int high = fuzz_choice(&input), low = fuzz_choice(&input);
		unsigned int len = fuzz_choice(&input);

		record->preference = (uint16_t)(high << 8 | low);
		count += resolver_wire_name(span_first(input, len), record->host);
		input = span_skip(input, len);
	}
	return count;
}

static void
check_names(const struct resolver_mx *records, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		size_t len = strnlen(records[i].host, HOST_BYTES_MAX);

		must(len < HOST_BYTES_MAX);
		for (size_t j = 0; j < len; j++) {
			char c = records[i].host[j];

			must(ascii_is_alnum(c) || c == '-' || c == '_' || c == '.');
			must(c == ascii_lower(c));
		}
	}
}

/* In order, each name once, each better than we are. */
static void
check_hosts(const struct chosen *chosen, const struct resolver_mx *records, size_t count,
    struct span own_name)
{
	must(chosen->count <= MX_HOST_COUNT_MAX);
	must((chosen->verdict == MX_HOSTS) == (chosen->count > 0));
	for (size_t i = 0; i < chosen->count; i++) {
		const struct mx_host *host = &chosen->hosts[i];

		must(host->name[0] != '\0' && strcmp(host->name, "localhost") != 0);
		must(i == 0 || host[-1].preference <= host->preference);
		for (size_t j = 0; j < i; j++)
			must(strcmp(chosen->hosts[j].name, host->name) != 0);
		for (size_t j = 0; j < count; j++)
			must(!span_equal_nocase_cstr(own_name, records[j].host) ||
			    host->preference < records[j].preference);
	}
}

static void
check_order(const struct chosen *chosen, unsigned int seed)
{
	uint8_t order[MX_HOST_COUNT_MAX];
	uint16_t preferences[MX_HOST_COUNT_MAX], weights[MX_HOST_COUNT_MAX];
	bool seen[MX_HOST_COUNT_MAX] = { false };
	struct random_seeded random;

	for (size_t i = 0; i < chosen->count; i++) {
		order[i] = (uint8_t)i;
		preferences[i] = chosen->hosts[i].preference;
		weights[i] = (uint16_t)chosen->hosts[i].name[0] % 3;
	}
	random_init_seeded(&random, seed);
	mx_order(order, chosen->count, preferences, weights, &random.random);
	for (size_t i = 0; i < chosen->count; i++) {
		must(order[i] < chosen->count && !seen[order[i]]);
		seen[order[i]] = true;
		must(i == 0 || preferences[order[i - 1]] <= preferences[order[i]]);
	}
}

void
fuzz_dns(struct span input)
{
	struct resolver_mx records[RESOLVER_MX_COUNT_MAX], turned[RESOLVER_MX_COUNT_MAX];
	unsigned int seed = fuzz_choice(&input);
	struct span own_name = fuzz_field(&input);
	size_t count = read_records(input, records);
	struct chosen chosen, again;

	check_names(records, count);
	for (size_t i = 0; i < count; i++)
		turned[i] = records[count - 1 - i];
	chosen = choose(records, count, own_name);
	again = choose(turned, count, own_name);
	must(chosen.verdict == again.verdict && chosen.count == again.count);
	for (size_t i = 0; i < chosen.count; i++)
		must(strcmp(chosen.hosts[i].name, again.hosts[i].name) == 0 &&
		    chosen.hosts[i].preference == again.hosts[i].preference);
	check_hosts(&chosen, records, count, own_name);
	check_order(&chosen, seed);
}
