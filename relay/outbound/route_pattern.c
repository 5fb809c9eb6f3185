#include "relay/outbound/route_pattern.h"

#include "relay/base/ascii.h"
#include "relay/base/must.h"
#include "relay/mail/address.h"

static struct span
lower_copy(struct arena *arena, struct span text)
{
	char *copy = arena_alloc(arena, text.len + 1);

	for (size_t i = 0; i < text.len; i++)
		copy[i] = ascii_lower(text.data[i]);
	return span_make(copy, text.len);
}

static bool
is_domain(struct span text)
{
	return address_domain_is_valid(text, true);
}

int
route_pattern_parse(struct span text, struct arena *arena, struct route_pattern *pattern_out,
    struct err *err)
{
	struct span key = lower_copy(arena, text);
	struct span local, domain;
	enum route_pattern_kind kind;

	if (text.len == 0 || text.len >= ROUTE_ADDRESS_BYTES_MAX)
		return err_set(err, ERR_CONFIG, "a pattern is empty or too long");
	if (span_equal_cstr(key, "*")) {
		kind = PATTERN_ANY;
	} else if (span_equal_cstr(key, "<>")) {
		kind = PATTERN_NULL;
	} else if (span_starts_with(key, SPAN("*.")) && is_domain(span_skip(key, 2))) {
		kind = PATTERN_BELOW;
		key = span_skip(key, 1);
	} else if (span_split_last(key, '@', &local, &domain)) {
		if (local.len == 0 || span_has_control(local))
			return err_set(err, ERR_CONFIG,
			    "\"%.*s\": nothing that can be a local part is before the @",
			    SPAN_ARGS(text));
		if (domain.len > 0 && !is_domain(domain))
			return err_set(err, ERR_CONFIG, "\"%.*s\": behind the @ is no domain",
			    SPAN_ARGS(text));
		/* "*@example.net" is what many write for the domain. */
		if (domain.len > 0 && span_equal_cstr(local, "*")) {
			kind = PATTERN_DOMAIN;
			key = domain;
		} else {
			kind = domain.len > 0 ? PATTERN_ADDRESS : PATTERN_LOCAL;
		}
	} else if (is_domain(key)) {
		kind = PATTERN_DOMAIN;
	} else {
		return err_set(err, ERR_CONFIG, "\"%.*s\" is neither a domain, \"*.domain\", "
		    "an address, \"local@\" nor \"*\"", SPAN_ARGS(text));
	}
	*pattern_out = (struct route_pattern){ kind, key, arena_dup(arena, text) };
	return 0;
}

void
route_address_set(struct route_address *address, struct span text, struct span domain)
{
	size_t at;
	char *room = address->room;

	address->is_null = text.len == 0 && domain.len == 0;
	address->whole = address->local_at = address->domain = SPAN("");
	if (text.len >= ROUTE_ADDRESS_BYTES_MAX || domain.len >= ROUTE_ADDRESS_BYTES_MAX)
		return;
	if (text.len == 0) {
		for (size_t i = 0; i < domain.len; i++)
			room[i] = ascii_lower(domain.data[i]);
		address->domain = span_make(room, domain.len);
		return;
	}
	for (size_t i = 0; i < text.len; i++)
		room[i] = ascii_lower(text.data[i]);
	address->whole = span_make(room, text.len);
	if (span_find_last_byte(address->whole, '@', &at)) {
		address->local_at = span_first(address->whole, at + 1);
		address->domain = span_skip(address->whole, at + 1);
	}
}

bool
route_pattern_matches(const struct route_pattern *pattern, const struct route_address *address)
{
	switch (pattern->kind) {
	case PATTERN_ANY:
		return true;
	case PATTERN_NULL:
		return address->is_null;
	case PATTERN_DOMAIN:
		return span_equal(pattern->key, address->domain);
	case PATTERN_BELOW:
		return address->domain.len > pattern->key.len &&
		    span_ends_with(address->domain, pattern->key);
	case PATTERN_ADDRESS:
		return span_equal(pattern->key, address->whole);
	case PATTERN_LOCAL:
		return address->local_at.len > 0 && span_equal(pattern->key, address->local_at);
	}
	must_not_reach();
}
