#include "relay/smtp/smtp_capability.h"

#include <string.h>

#include "relay/base/ascii.h"
#include "relay/base/must.h"

static const struct smtp_capability_name table[] = {
	{ SMTP_PIPELINING, "PIPELINING" },
	{ SMTP_SIZE, "SIZE" },
	{ SMTP_8BITMIME, "8BITMIME" },
	{ SMTP_SMTPUTF8, "SMTPUTF8" },
	{ SMTP_ENHANCEDSTATUSCODES, "ENHANCEDSTATUSCODES" },
	{ SMTP_CHUNKING, "CHUNKING" },
	{ SMTP_DSN, "DSN" },
	{ SMTP_STARTTLS, "STARTTLS" },
	{ SMTP_AUTH, "AUTH" },
	{ SMTP_LIMITS, "LIMITS" },
	{ SMTP_CHECKPOINT, "CHECKPOINT" },
	{ SMTP_XORIGIN, "XORIGIN" },
};

enum { TABLE_COUNT = sizeof(table) / sizeof(table[0]) };

const struct smtp_capability_name *
smtp_capability_table(size_t *count_out)
{
	*count_out = TABLE_COUNT;
	return table;
}

const char *
smtp_capability_keyword(enum smtp_capability capability)
{
	for (size_t i = 0; i < TABLE_COUNT; i++)
		if (table[i].capability == capability)
			return table[i].keyword;
	must_not_reach();
}

void
smtp_peer_init(struct smtp_peer *peer)
{
	*peer = (struct smtp_peer){ 0 };
}

/* Keep the mechanisms that fit, upper case, each once, with one blank between them. */
static void
add_mechanisms(struct smtp_peer *peer, struct span names)
{
	struct span name;

	while (span_take_word(&names, &name)) {
		size_t blank = peer->mechanisms_len ? 1 : 0;

		if (smtp_peer_has_mechanism(peer, name) || name.len + blank >
		    sizeof(peer->mechanisms) - peer->mechanisms_len)
			continue;
		if (blank)
			peer->mechanisms[peer->mechanisms_len++] = ' ';
		for (size_t i = 0; i < name.len; i++)
			peer->mechanisms[peer->mechanisms_len++] = ascii_upper(name.data[i]);
	}
}

/* RFC 9422 section 3: NAME=VALUE pairs. */
static void
add_limits(struct smtp_peer *peer, struct span pairs)
{
	const struct { const char *name; uint64_t *value; } limits[] = {
		{ "MAILMAX", &peer->mail_count_max },
		{ "RCPTMAX", &peer->rcpt_count_max },
		{ "RCPTDOMAINMAX", &peer->rcpt_domain_count_max },
	};
	struct span pair, name, text;

	while (span_take_word(&pairs, &pair)) {
		uint64_t value;

		if (!span_split(pair, '=', &name, &text) || !span_parse_u64(text, 999999, &value))
			continue;
		for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++)
			if (span_equal_nocase_cstr(name, limits[i].name))
				*limits[i].value = value;
	}
}

void
smtp_peer_add(struct smtp_peer *peer, struct span line)
{
	struct span keyword, rest = line;
	uint64_t size;

	if (!span_take_word(&rest, &keyword))
		return;
	rest = span_trim(rest);
	/* "AUTH=LOGIN" is how some said it before RFC 2554. */
	if (span_starts_with_nocase(keyword, SPAN("AUTH="))) {
		peer->offers |= SMTP_AUTH;
		add_mechanisms(peer, span_skip(keyword, 5));
		add_mechanisms(peer, rest);
		return;
	}
	for (size_t i = 0; i < TABLE_COUNT; i++) {
		if (!span_equal_nocase_cstr(keyword, table[i].keyword))
			continue;
		peer->offers |= (uint32_t)table[i].capability;
		if (table[i].capability == SMTP_SIZE && span_parse_u64(rest, UINT64_MAX, &size))
			peer->size_max = size;
		else if (table[i].capability == SMTP_AUTH)
			add_mechanisms(peer, rest);
		else if (table[i].capability == SMTP_LIMITS)
			add_limits(peer, rest);
	}
}

struct span
smtp_peer_mechanisms(const struct smtp_peer *peer)
{
	return span_make(peer->mechanisms, peer->mechanisms_len);
}

bool
smtp_peer_has_mechanism(const struct smtp_peer *peer, struct span mechanism)
{
	struct span rest = smtp_peer_mechanisms(peer), name;

	while (span_take_word(&rest, &name))
		if (span_equal_nocase(name, mechanism))
			return true;
	return false;
}
