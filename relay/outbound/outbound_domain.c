#include "relay/outbound/outbound_private.h"

#include <stdio.h>
#include <string.h>

#include "relay/base/buf.h"
#include "relay/base/log.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/mail/mail_log.h"
#include "relay/outbound/mx.h"

/*
 * A mail domain becomes a destination: its exchangers are looked up on the hub,
 * and domains with the same set share one.  Whatever goes wrong with DNS defers;
 * only a null MX, and a domain that was found missing twice, fail for good.
 */
enum {
	DOMAIN_KEY_BYTES_MAX = 16 << 10,
	DOMAIN_TTL_MIN_MS = 60 * 1000,
	DOMAIN_TTL_MAX_MS = 3600 * 1000,
};

struct lookup {
	struct outbound *outbound;
	struct domain *domain;
	struct resolver_question *question;
};

static void
end_lookup(struct lookup *lookup)
{
	lookup->domain->question = NULL;
	mem_free(&lookup);
}

/* ---- found ---- */

static uint64_t
ttl_ms(const struct resolver_answer *answer)
{
	uint64_t ms = (uint64_t)answer->ttl_s * 1000;

	if (ms < DOMAIN_TTL_MIN_MS)
		return DOMAIN_TTL_MIN_MS;
	return ms < DOMAIN_TTL_MAX_MS ? ms : DOMAIN_TTL_MAX_MS;
}

static void
found(struct outbound *outbound, struct domain *domain, const struct mx_host *exchangers,
    size_t count, uint64_t lifetime_ms)
{
	const struct route *route = domain->route;
	struct way_host hosts[MX_HOST_COUNT_MAX] = { 0 };
	struct dispatch_host places[MX_HOST_COUNT_MAX];
	char names[MX_HOST_COUNT_MAX][HOST_BYTES_MAX + 8];
	struct buf key;
	struct destination *destination;

	buf_init(&key, DOMAIN_KEY_BYTES_MAX);
	(void)buf_appendf(&key, "mx %.*s:%u", SPAN_ARGS(route->name), route->mx_port);
	for (size_t i = 0; i < count; i++) {
		memcpy(hosts[i].name, exchangers[i].name, sizeof(hosts[i].name));
		hosts[i].port = route->mx_port;
		(void)snprintf(names[i], sizeof(names[i]), "%s:%u", exchangers[i].name,
		    route->mx_port);
		places[i] = (struct dispatch_host){ names[i], exchangers[i].preference,
		    ROUTE_WEIGHT_DEFAULT };
		(void)buf_appendf(&key, " %s,%u", exchangers[i].name, exchangers[i].preference);
	}
	must(!buf_overflowed(&key));
	destination = outbound_destination(outbound, buf_cstr(&key), exchangers[0].name, route,
	    domain->table, hosts, places, count);
	buf_fini(&key);
	dispatch_resolved(&outbound->dispatch, domain, destination, lifetime_ms,
	    outbound_now(outbound));
}

/* ---- not found ---- */

static void
fail_unit(struct outbound *outbound, struct unit *unit, const struct reply *reply)
{
	struct failing *failing = failing_new(unit, unit->rcpt_count);

	for (uint32_t i = 0; i < unit->rcpt_count; i++) {
		failing->rcpts[i].rcpt = unit->rcpts[i];
		failing->rcpts[i].reply = *reply;
	}
	unit->attempt_count++;
	stats_add(outbound->cells, OUTBOUND_STAT_FAILED, unit->rcpt_count);
	dispatch_settling(&outbound->dispatch, unit, outbound_now(outbound));
	failure_add(outbound, unit, failing);
}

static void
recorded(void *ctx, enum queue_result result)
{
	(void)ctx;
	if (result == QUEUE_FAILED || result == QUEUE_FULL)
		log_warn("outbound: a deferral is not recorded (%s)", queue_result_name(result));
}

static void
record_deferral(struct outbound *outbound, struct unit *unit, const struct reply *reply)
{
	struct queue_outcome *changes = mem_alloc_array(unit->rcpt_count, sizeof(*changes));

	for (uint32_t i = 0; i < unit->rcpt_count; i++)
		changes[i] = (struct queue_outcome){
			.rcpt = unit->rcpts[i],
			.state = RCPT_WAITING,
			.reason = REASON_DNS_TEMP,
			.class = RETRY_DNS,
			.due_ms = unit->due_ms,
			.tried = true,
			.reply = *reply,
		};
	(void)queue_update(outbound->queue, unit->message->id, &(struct queue_change){
		.outcomes = changes,
		.outcome_count = unit->rcpt_count,
	}, recorded, NULL);
	mem_free(&changes);
}

static void
log_deferral(struct outbound *outbound, const struct unit *unit, const struct domain *domain,
    const struct reply *reply)
{
	struct letter *letter = letter_of(unit);
	const struct envelope *envelope = letter->envelope;
	uint64_t now_ms = outbound_now(outbound);

	for (uint32_t i = 0; i < unit->rcpt_count; i++)
		mail_log_deferred(&(struct mail_log_outcome){
			.id = letter->message.id,
			.origin = envelope ? envelope->origin : SPAN(""),
			.sender = envelope ? envelope->sender : SPAN(""),
			.rcpt = envelope ? envelope->rcpts[unit->rcpts[i]].address : SPAN(""),
			.destination = span_from_cstr(domain->name),
			.attempt = unit->attempt_count,
			.age_ms = letter_age_ms(letter, now_ms),
			.reply = reply,
			.error_class = span_from_cstr(retry_class_name(RETRY_DNS)),
			.reason = span_from_cstr(queue_reason_name(REASON_DNS_TEMP)),
			.next_ms = (uint64_t)(unit->due_ms - (int64_t)now_ms),
		});
}

static void
defer_unit(struct outbound *outbound, struct unit *unit, const struct domain *domain,
    const struct reply *reply)
{
	uint64_t now_ms = outbound_now(outbound);
	struct letter *letter = letter_of(unit);
	uint64_t interval_ms;
	char words[HISTORY_TEXT_BYTES_MAX];

	unit->class_count = unit->class == RETRY_DNS ? unit->class_count + 1 : 1;
	unit->class = RETRY_DNS;
	unit->attempt_count++;
	unit->tried = true;
	interval_ms = retry_interval_ms(letter_policy(outbound, unit), RETRY_DNS,
	    unit->class_count, letter_age_ms(letter, now_ms), outbound->settings.random);
	(void)snprintf(words, sizeof(words), "%u %s %.120s", reply->code, reply->status,
	    reply->text);
	unit->history = history_add(unit->history, outbound->words, loop_wall_ms(outbound->hub),
	    RETRY_DNS, SPAN(""), span_from_cstr(words));
	dispatch_defer(&outbound->dispatch, unit, (int64_t)(now_ms + interval_ms), now_ms);
	record_deferral(outbound, unit, reply);
	log_deferral(outbound, unit, domain, reply);
}

static void
not_found(struct outbound *outbound, struct domain *domain, enum mx_verdict verdict,
    const char *text)
{
	struct reply temporary, permanent;
	struct unit *unit;
	bool at_once = verdict == MX_NULL;
	bool at_second = verdict == MX_NO_DOMAIN;

	if (verdict == MX_LOOP)
		text = "its best exchanger is this host itself";
	reply_set(&temporary, 451, "4.4.3", "%s: %s", domain->name, text ? text : "no answer");
	if (at_once)
		reply_set(&permanent, 556, "5.1.10", "%s takes no mail (null MX)", domain->name);
	else
		reply_set(&permanent, 550, "5.1.2", "there is no mail domain %s", domain->name);
	dispatch_unresolved(&outbound->dispatch, domain);
	while ((unit = dispatch_take_unresolved(&outbound->dispatch, domain))) {
		/* Said once it may be a slip of somebody's zone; twice it is so. */
		if (at_once || (at_second && unit->class == RETRY_DNS && unit->class_count > 0))
			fail_unit(outbound, unit, &permanent);
		else
			defer_unit(outbound, unit, domain, &temporary);
	}
}

/* ---- questions ---- */

static void
addresses_answered(void *ctx, const struct resolver_answer *answer)
{
	struct lookup *lookup = ctx;
	struct outbound *outbound = lookup->outbound;
	struct domain *domain = lookup->domain;
	enum mx_verdict verdict = mx_choose_implicit(answer);

	end_lookup(lookup);
	if (verdict == MX_HOSTS) {
		struct mx_host itself = { .preference = 0 };

		(void)snprintf(itself.name, sizeof(itself.name), "%s", domain->name);
		found(outbound, domain, &itself, 1, ttl_ms(answer));
	} else {
		not_found(outbound, domain, verdict, answer->text);
	}
	outbound_wake(outbound);
}

static void
exchangers_answered(void *ctx, const struct resolver_answer *answer)
{
	struct lookup *lookup = ctx;
	struct outbound *outbound = lookup->outbound;
	struct domain *domain = lookup->domain;
	struct mx_host hosts[MX_HOST_COUNT_MAX];
	size_t count;
	enum mx_verdict verdict = mx_choose(answer, span_from_cstr(outbound->hostname), hosts,
	    &count);

	if (verdict == MX_IMPLICIT) {
		lookup->question = resolver_ask_addresses(outbound->resolver,
		    span_from_cstr(domain->name), domain->route->mx_port, RESOLVER_DNS,
		    addresses_answered, lookup);
		return;
	}
	end_lookup(lookup);
	if (verdict == MX_HOSTS)
		found(outbound, domain, hosts, count, ttl_ms(answer));
	else
		not_found(outbound, domain, verdict, answer->text);
	outbound_wake(outbound);
}

/* "user@[192.0.2.1]": no name, no question. */
static bool
is_literal(struct outbound *outbound, struct domain *domain)
{
	struct span text = span_from_cstr(domain->name);
	struct endpoint endpoint;
	struct mx_host itself = { .preference = 0 };
	char ip[ENDPOINT_TEXT_BYTES_MAX];

	if (!span_starts_with(text, SPAN("[")) || !span_ends_with(text, SPAN("]")))
		return false;
	text = span_slice(text, 1, text.len - 2);
	if (span_starts_with_nocase(text, SPAN("IPv6:")))
		text = span_skip(text, 5);
	if (!endpoint_parse_ip(text, domain->route->mx_port, &endpoint))
		return false;
	(void)snprintf(itself.name, sizeof(itself.name), "%s",
	    endpoint_print_ip(&endpoint, ip));
	found(outbound, domain, &itself, 1, DOMAIN_TTL_MAX_MS);
	return true;
}

void
domain_resolve(void *ctx, struct domain *domain)
{
	struct outbound *outbound = ctx;
	struct lookup *lookup;

	if (is_literal(outbound, domain))
		return;
	lookup = mem_alloc(sizeof(*lookup));
	lookup->outbound = outbound;
	lookup->domain = domain;
	domain->question = lookup;
	lookup->question = resolver_ask_mx(outbound->resolver, span_from_cstr(domain->name),
	    exchangers_answered, lookup);
}

void
domain_cancel_all(struct outbound *outbound)
{
	for (struct domain *it = outbound->dispatch.domains; it; it = it->hh.next) {
		struct lookup *lookup = it->question;

		if (!lookup)
			continue;
		resolver_cancel(&lookup->question);
		end_lookup(lookup);
		dispatch_unresolved(&outbound->dispatch, it);
	}
}
