#include "relay/inbound/policy.h"

#include <string.h>

#include "relay/base/mem.h"
#include "relay/base/must.h"
#include "relay/mail/address.h"

#define FINGERPRINT_PREFIX SPAN("sha256:")

const char *
policy_rule_name(enum policy_rule rule)
{
	switch (rule) {
	case POLICY_REFUSE_CLIENT:
		return "refuse_from";
	case POLICY_REFUSE_SENDER:
		return "refuse_senders";
	case POLICY_USER_SENDER:
		return "user";
	case POLICY_REFUSE_RCPT:
		return "refuse_recipients";
	case POLICY_RELAY_NETWORK:
		return "relay_from";
	case POLICY_RELAY_CERTIFICATE:
	case POLICY_RELAY_FINGERPRINT:
		return "relay_certificates";
	case POLICY_RELAY_AUTHENTICATED:
		return "relay_authenticated";
	case POLICY_OURS:
		return "ours";
	case POLICY_NOT_OURS:
		return "relaying denied";
	}
	must_not_reach();
}

/* ---- patterns */

static bool
domain_is_below(struct span domain, struct span parent)
{
	return domain.len > parent.len + 1 && span_ends_with_nocase(domain, parent) &&
	    domain.data[domain.len - parent.len - 1] == '.';
}

bool
policy_pattern_matches(struct span pattern, struct span address)
{
	struct span local = SPAN("");
	struct span domain = SPAN("");
	struct span wanted_local;
	struct span wanted_domain;

	if (span_equal_cstr(pattern, "*"))
		return true;
	if (span_equal_cstr(pattern, "<>"))
		return span_is_empty(address);
	if (span_is_empty(address))
		return false;
	if (!span_split_last(address, '@', &local, &domain))
		local = address;                /* <postmaster> */
	if (!span_split_last(pattern, '@', &wanted_local, &wanted_domain)) {
		if (span_starts_with(pattern, SPAN("*.")))
			return domain_is_below(domain, span_skip(pattern, 2));
		return span_equal_nocase(domain, pattern);
	}
	return span_equal_nocase(local, wanted_local) &&
	    (span_is_empty(wanted_domain) || span_equal_nocase(domain, wanted_domain));
}

/* "self" and "self@example.net" are about the user; the rest are patterns of addresses. */
static bool
user_pattern_matches(struct span pattern, struct span user, struct span sender)
{
	struct span word;
	struct span domain;
	struct span local;
	struct span sender_domain;

	(void)span_split(pattern, '@', &word, &domain);
	if (!span_equal_nocase_cstr(word, "self"))
		return policy_pattern_matches(pattern, sender);
	if (span_is_empty(domain))
		return span_equal_nocase(sender, user);
	return span_split_last(sender, '@', &local, &sender_domain) &&
	    span_equal_nocase(local, user) && span_equal_nocase(sender_domain, domain);
}

int
policy_check_user_pattern(struct span text, struct err *err)
{
	if (span_equal_nocase_cstr(text, "self"))
		return 0;
	if (policy_check_pattern(text, NULL) == 0)
		return 0;
	return err_set(err, ERR_CONFIG, "expected self, self@example.net, *, <>, example.net, "
	    "*.example.net, user@ or user@example.net");
}

int
policy_check_pattern(struct span text, struct err *err)
{
	struct span local;
	struct span domain;

	if (span_equal_cstr(text, "*") || span_equal_cstr(text, "<>"))
		return 0;
	if (!span_split_last(text, '@', &local, &domain)) {
		domain = span_starts_with(text, SPAN("*.")) ? span_skip(text, 2) : text;
		if (!span_is_empty(domain) && address_domain_is_valid(domain, true))
			return 0;
	} else if (!span_is_empty(local) && !span_has_control(local) &&
	    (span_is_empty(domain) || address_domain_is_valid(domain, true))) {
		return 0;
	}
	return err_set(err, ERR_CONFIG, "expected *, <>, example.net, *.example.net, user@ or "
	    "user@example.net");
}

/* ---- building */

void
policy_init(struct policy *policy)
{
	*policy = (struct policy){0};
	arena_init(&policy->arena, 0);
}

void
policy_fini(struct policy *policy)
{
	mem_free(&policy->building);
	arena_fini(&policy->arena);
	policy->lines = NULL;
	policy->line_count = 0;
}

static struct policy_line *
policy_new_line(struct policy *policy, enum policy_rule rule, unsigned line)
{
	if (policy->line_count == policy->capacity) {
		policy->capacity = policy->capacity ? 2 * policy->capacity : 16;
		policy->building = mem_resize_array(policy->building, policy->capacity,
		    sizeof(*policy->building));
	}

	struct policy_line *it = &policy->building[policy->line_count++];

	*it = (struct policy_line){ .rule = rule, .line = line, .text = SPAN(""),
	    .user = SPAN("") };
	return it;
}

void
policy_add_network(struct policy *policy, enum policy_rule rule, const struct network *network,
    unsigned line)
{
	char text[NETWORK_TEXT_BYTES];
	struct policy_line *it = policy_new_line(policy, rule, line);

	must(rule == POLICY_REFUSE_CLIENT || rule == POLICY_RELAY_NETWORK);
	network_print(network, text);
	it->network = *network;
	it->text = arena_dup(&policy->arena, span_from_cstr(text));
}

/* "*", a name, "*.example.net". */
static int
policy_check_name(struct span text, struct err *err)
{
	struct span rest = span_starts_with(text, SPAN("*.")) ? span_skip(text, 2) : text;

	if (span_equal_cstr(text, "*") || address_domain_is_valid(rest, false))
		return 0;
	return err_set(err, ERR_CONFIG,
	    "expected a host name, *.example.net, * or sha256:FINGERPRINT");
}

int
policy_add(struct policy *policy, enum policy_rule rule, struct span text, unsigned line,
    struct err *err)
{
	struct network network;
	uint8_t fingerprint[TLS_FINGERPRINT_BYTES] = {0};

	switch (rule) {
	case POLICY_REFUSE_CLIENT:
	case POLICY_RELAY_NETWORK:
		if (network_parse(text, &network, err) < 0)
			return -1;
		policy_add_network(policy, rule, &network, line);
		return 0;
	case POLICY_REFUSE_SENDER:
	case POLICY_REFUSE_RCPT:
		if (policy_check_pattern(text, err) < 0)
			return -1;
		break;
	case POLICY_RELAY_CERTIFICATE:
	case POLICY_RELAY_FINGERPRINT:
		rule = POLICY_RELAY_CERTIFICATE;
		if (span_starts_with_nocase(text, FINGERPRINT_PREFIX)) {
			rule = POLICY_RELAY_FINGERPRINT;
			if (tls_fingerprint_parse(text, fingerprint, err) < 0)
				return -1;
		} else if (policy_check_name(text, err) < 0) {
			return -1;
		}
		break;
	case POLICY_RELAY_AUTHENTICATED:
		break;
	case POLICY_USER_SENDER:
	case POLICY_OURS:
	case POLICY_NOT_OURS:
		must_not_reach();
	}

	struct policy_line *it = policy_new_line(policy, rule, line);

	it->text = arena_dup(&policy->arena, text);
	memcpy(it->fingerprint, fingerprint, sizeof(it->fingerprint));
	return 0;
}

int
policy_add_user(struct policy *policy, struct span name, struct span sender, unsigned line,
    struct err *err)
{
	struct policy_line *it;

	if (policy_check_user_pattern(sender, err) < 0)
		return -1;
	it = policy_new_line(policy, POLICY_USER_SENDER, line);
	it->user = arena_dup(&policy->arena, name);
	it->text = arena_dup(&policy->arena, sender);
	return 0;
}

void
policy_close_user(struct policy *policy, struct span name, unsigned line)
{
	struct policy_line *it = policy_new_line(policy, POLICY_USER_SENDER, line);

	it->user = arena_dup(&policy->arena, name);
	it->text = SPAN("*");
	it->refuses = true;
}

/* Stable: lines of one rule keep the order of the file. */
void
policy_seal(struct policy *policy)
{
	struct policy_line *sorted = arena_alloc_array(&policy->arena, policy->line_count + 1,
	    sizeof(*sorted));
	size_t count = 0;

	for (int rule = POLICY_REFUSE_CLIENT; rule < POLICY_OURS; rule++)
		for (size_t i = 0; i < policy->line_count; i++)
			if (policy->building[i].rule == (enum policy_rule)rule)
				sorted[count++] = policy->building[i];
	must(count == policy->line_count);
	mem_free(&policy->building);
	policy->lines = sorted;
}

/* ---- asking */

static bool
certificate_has(const struct tls_info *tls, struct span wanted)
{
	struct span name;

	if (!tls || !tls->peer_verified)
		return false;
	name = span_from_cstr(tls->peer_name);
	if (span_equal_cstr(wanted, "*"))
		return true;
	if (span_starts_with(wanted, SPAN("*.")))
		return domain_is_below(name, span_skip(wanted, 2));
	return span_equal_nocase(name, wanted);
}

static bool
line_matches(const struct policy_line *line, const struct policy_facts *facts)
{
	switch (line->rule) {
	case POLICY_REFUSE_CLIENT:
	case POLICY_RELAY_NETWORK:
		return facts->client_ip && network_has(&line->network, facts->client_ip);
	case POLICY_REFUSE_SENDER:
		return policy_pattern_matches(line->text, facts->sender);
	case POLICY_USER_SENDER:
		return !span_is_empty(facts->auth_user) &&
		    (span_equal_cstr(line->user, "*") ||
		    span_equal(line->user, facts->auth_user)) &&
		    user_pattern_matches(line->text, facts->auth_user, facts->sender);
	case POLICY_REFUSE_RCPT:
		return policy_pattern_matches(line->text, facts->rcpt);
	case POLICY_RELAY_CERTIFICATE:
		return certificate_has(facts->tls, line->text);
	case POLICY_RELAY_FINGERPRINT:
		return facts->tls && facts->tls->peer_has_certificate &&
		    memcmp(facts->tls->peer_fingerprint, line->fingerprint,
		    sizeof(line->fingerprint)) == 0;
	case POLICY_RELAY_AUTHENTICATED:
		return !span_is_empty(facts->auth_user);
	case POLICY_OURS:
	case POLICY_NOT_OURS:
		break;
	}
	return false;
}

/* The first line of the rules FIRST to LAST that matches, or NULL. */
static const struct policy_line *
policy_first(const struct policy *policy, const struct policy_facts *facts,
    enum policy_rule first, enum policy_rule last)
{
	for (size_t i = 0; i < policy->line_count; i++) {
		const struct policy_line *line = &policy->lines[i];

		if (line->rule >= first && line->rule <= last && line_matches(line, facts))
			return line;
	}
	return NULL;
}

static void
verdict_refuse(struct policy_verdict *verdict, enum policy_rule rule)
{
	struct reply *reply = &verdict->reply;

	verdict->admitted = false;
	verdict->rule = rule;
	switch (rule) {
	case POLICY_REFUSE_CLIENT:
		reply_set(reply, 554, "5.7.1", "your address may not send mail here");
		return;
	case POLICY_REFUSE_SENDER:
		reply_set(reply, 550, "5.7.1", "this sender is refused");
		return;
	case POLICY_USER_SENDER:
		reply_set(reply, 550, "5.7.1", "you may not send as this sender");
		return;
	case POLICY_REFUSE_RCPT:
		reply_set(reply, 550, "5.7.1", "this recipient is refused");
		return;
	case POLICY_NOT_OURS:
		reply_set(reply, 550, "5.7.1", "relaying denied");
		return;
	case POLICY_RELAY_NETWORK:
	case POLICY_RELAY_CERTIFICATE:
	case POLICY_RELAY_FINGERPRINT:
	case POLICY_RELAY_AUTHENTICATED:
	case POLICY_OURS:
		break;
	}
	must_not_reach();
}

static struct policy_verdict
policy_judge_refusal(const struct policy *policy, const struct policy_facts *facts,
    enum policy_rule rule)
{
	struct policy_verdict verdict = { .admitted = true, .rule = rule };

	verdict.line = policy_first(policy, facts, rule, rule);
	if (verdict.line)
		verdict_refuse(&verdict, rule);
	return verdict;
}

struct policy_verdict
policy_judge_client(const struct policy *policy, const struct policy_facts *facts)
{
	return policy_judge_refusal(policy, facts, POLICY_REFUSE_CLIENT);
}

struct policy_verdict
policy_judge_sender(const struct policy *policy, const struct policy_facts *facts)
{
	struct policy_verdict verdict = policy_judge_refusal(policy, facts,
	    POLICY_REFUSE_SENDER);

	if (!verdict.admitted)
		return verdict;
	verdict.rule = POLICY_USER_SENDER;
	verdict.line = policy_first(policy, facts, POLICY_USER_SENDER, POLICY_USER_SENDER);
	if (verdict.line && verdict.line->refuses)
		verdict_refuse(&verdict, POLICY_USER_SENDER);
	return verdict;
}

struct policy_verdict
policy_judge_rcpt(const struct policy *policy, const struct policy_facts *facts)
{
	struct policy_verdict verdict = policy_judge_refusal(policy, facts, POLICY_REFUSE_RCPT);

	if (!verdict.admitted)
		return verdict;
	verdict.line = policy_first(policy, facts, POLICY_RELAY_NETWORK,
	    POLICY_RELAY_AUTHENTICATED);
	if (verdict.line)
		verdict.rule = verdict.line->rule;
	else if (facts->rcpt_is_ours)
		verdict.rule = POLICY_OURS;
	else
		verdict_refuse(&verdict, POLICY_NOT_OURS);
	return verdict;
}

bool
policy_may_relay(const struct policy *policy, const struct policy_facts *facts)
{
	return policy_first(policy, facts, POLICY_RELAY_NETWORK, POLICY_RELAY_AUTHENTICATED);
}
