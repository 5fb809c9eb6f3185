#include "relay/mail/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "relay/base/ascii.h"

/* RFC 1035 section 2.3.4. */
#define LABEL_BYTES_MAX 63

/* RFC 5322 section 3.2.3 atext, and any byte of UTF-8 by RFC 6531 section 3.3. */
static bool
is_atext(char c)
{
	return ascii_is_alnum(c) || ascii_is_foreign(c) ||
	    (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* What may stand in quotes, RFC 5321 section 4.1.2: printable, also behind a backslash. */
static bool
is_quotable(char c)
{
	return ascii_is_print(c) || ascii_is_foreign(c);
}

/* Bytes of the Dot-string at the front; 0 when there is none. */
static size_t
dot_string_len(struct span text)
{
	size_t len = 0;

	while (len < text.len && is_atext(text.data[len])) {
		len++;
		if (len + 1 < text.len && text.data[len] == '.' && is_atext(text.data[len + 1]))
			len++;
	}
	return len;
}

/*
 * The Quoted-string at the front: what it means goes to `meant`, which has as
 * many bytes as text.  Returns the bytes it takes, 0 when there is none.
 */
static size_t
unquote(struct span text, char *meant, size_t *meant_len_out)
{
	size_t at = 1;
	size_t meant_len = 0;

	if (text.len == 0 || text.data[0] != '"')
		return 0;
	while (at < text.len && text.data[at] != '"') {
		if (text.data[at] == '\\')
			at++;
		if (at == text.len || !is_quotable(text.data[at]))
			return 0;
		meant[meant_len++] = text.data[at++];
	}
	if (at == text.len)
		return 0;
	*meant_len_out = meant_len;
	return at + 1;
}

/* Let-dig [Ldh-str]; an underscore is let through, as names in use have it. */
static bool
is_label(struct span label)
{
	if (label.len == 0 || label.len > LABEL_BYTES_MAX)
		return false;
	if (label.data[0] == '-' || label.data[label.len - 1] == '-')
		return false;
	for (size_t i = 0; i < label.len; i++) {
		char c = label.data[i];

		if (!ascii_is_alnum(c) && c != '-' && c != '_' && !ascii_is_foreign(c))
			return false;
	}
	return true;
}

/* RFC 5321 section 4.1.3, without the brackets: IPv4, or "IPv6:" and IPv6. */
static bool
is_literal(struct span text)
{
	char address[INET6_ADDRSTRLEN];
	unsigned char bytes[16];
	bool is_six = span_starts_with_nocase(text, SPAN("IPv6:"));

	text = is_six ? span_skip(text, 5) : text;
	if (text.len == 0 || text.len >= sizeof(address) || memchr(text.data, '\0', text.len))
		return false;
	memcpy(address, text.data, text.len);
	address[text.len] = '\0';
	return inet_pton(is_six ? AF_INET6 : AF_INET, address, bytes) == 1;
}

static enum address_syntax
check_domain(struct span domain, bool utf8_allowed)
{
	struct span rest = domain;
	struct span label;

	if (domain.len == 0)
		return ADDRESS_BAD;
	if (domain.len > ADDRESS_DOMAIN_BYTES_MAX)
		return ADDRESS_TOO_LONG;
	if (domain.data[0] == '[') {
		if (domain.data[domain.len - 1] != ']' || domain.len < 3)
			return ADDRESS_BAD;
		return is_literal(span_slice(domain, 1, domain.len - 2)) ? ADDRESS_OK : ADDRESS_BAD;
	}
	while (span_take_part(&rest, '.', &label))
		if (!is_label(label))
			return ADDRESS_BAD;
	if (span_is_ascii(domain))
		return ADDRESS_OK;
	if (!span_is_utf8(domain))
		return ADDRESS_BAD;
	return utf8_allowed ? ADDRESS_OK : ADDRESS_IS_UTF8;
}

bool
address_domain_is_valid(struct span domain, bool utf8_allowed)
{
	return check_domain(domain, utf8_allowed) == ADDRESS_OK;
}

/* A domain in lower case; a literal with its tag as the RFC writes it. */
static struct span
canonical_domain(struct span domain, struct arena *arena)
{
	char *copy = arena_alloc(arena, domain.len + 1);

	if (!copy)
		return span_make(NULL, 0);
	for (size_t i = 0; i < domain.len; i++)
		copy[i] = ascii_lower(domain.data[i]);
	if (span_starts_with(span_make(copy, domain.len), SPAN("[ipv6:")))
		memcpy(copy, "[IPv6:", 6);
	return span_make(copy, domain.len);
}

/*
 * The local part at the front of text, copied unquoted into the arena; how many
 * bytes it takes, 0 when there is none.
 */
static size_t
take_local(struct span text, struct span *local_out, struct arena *arena)
{
	size_t len = dot_string_len(text);

	if (len > 0) {
		*local_out = arena_dup(arena, span_first(text, len));
		return len;
	}
	if (text.len == 0 || text.data[0] != '"')
		return 0;

	char *meant = arena_alloc(arena, text.len);
	size_t meant_len = 0;

	if (!meant)
		return 0;
	len = unquote(text, meant, &meant_len);
	*local_out = span_make(meant, meant_len);
	return len;
}

enum address_syntax
address_parse(struct address *address_out, struct span text, bool utf8_allowed, struct arena *arena)
{
	struct address address = { .local = span_make("", 0), .domain = span_make("", 0) };

	/* Nothing so long can be within its limits, and nobody need copy it. */
	if (text.len > ADDRESS_TEXT_BYTES_MAX)
		return ADDRESS_TOO_LONG;

	size_t local_len = take_local(text, &address.local, arena);

	if (local_len == 0 || local_len == text.len || text.data[local_len] != '@')
		return ADDRESS_BAD;

	struct span domain = span_skip(text, local_len + 1);
	enum address_syntax syntax = check_domain(domain, utf8_allowed);

	if (syntax != ADDRESS_OK)
		return syntax;
	/* In a path there are the brackets, too. */
	if (address.local.len > ADDRESS_LOCAL_BYTES_MAX ||
	    address.local.len + domain.len + 3 > ADDRESS_PATH_BYTES_MAX)
		return ADDRESS_TOO_LONG;
	if (!span_is_utf8(address.local))
		return ADDRESS_BAD;
	address.needs_utf8 = !span_is_ascii(address.local) || !span_is_ascii(domain);
	if (address.needs_utf8 && !utf8_allowed)
		return ADDRESS_IS_UTF8;
	address.domain = canonical_domain(domain, arena);
	if (!address.domain.data)
		return ADDRESS_TOO_LONG;        /* the arena has a ceiling, and this is it */
	*address_out = address;
	return ADDRESS_OK;
}

/*
 * Take the brackets and a source route off: "<@x,@y:a@b>" leaves "a@b".  False
 * when the form is wrong; domains of the route are checked, then forgotten.
 */
static bool
open_path(struct span path, struct span *inside_out)
{
	struct span route, hop;

	if (path.len < 2 || path.data[0] != '<' || path.data[path.len - 1] != '>')
		return false;
	*inside_out = span_slice(path, 1, path.len - 2);
	if (inside_out->len == 0 || inside_out->data[0] != '@')
		return true;

	size_t at = 0;
	bool in_literal = false;

	/* The colon that ends the route, not one of an IPv6 literal in it. */
	while (at < inside_out->len && (in_literal || inside_out->data[at] != ':')) {
		if (inside_out->data[at] == '[')
			in_literal = true;
		else if (inside_out->data[at] == ']')
			in_literal = false;
		at++;
	}
	if (at == inside_out->len)
		return false;
	route = span_first(*inside_out, at);
	*inside_out = span_skip(*inside_out, at + 1);
	while (span_take_part(&route, ',', &hop))
		if (hop.len < 2 || hop.data[0] != '@' ||
		    !address_domain_is_valid(span_skip(hop, 1), true))
			return false;
	return true;
}

static const struct address null_address = { .local = { "", 0 }, .domain = { "", 0 } };

enum address_syntax
address_parse_reverse_path(struct address *address_out, struct span path, bool utf8_allowed,
    struct arena *arena)
{
	struct span inside;

	if (!open_path(path, &inside))
		return ADDRESS_BAD;
	if (path.len == 2) {
		*address_out = null_address;
		return ADDRESS_OK;
	}
	return address_parse(address_out, inside, utf8_allowed, arena);
}

enum address_syntax
address_parse_forward_path(struct address *address_out, struct span path, bool utf8_allowed,
    struct arena *arena)
{
	struct span inside;

	if (!open_path(path, &inside))
		return ADDRESS_BAD;
	/* RFC 5321 section 4.1.1.3: alone, without a route before it. */
	if (span_equal_nocase(path, SPAN("<postmaster>"))) {
		*address_out = null_address;
		address_out->local = SPAN("postmaster");
		return ADDRESS_OK;
	}
	return address_parse(address_out, inside, utf8_allowed, arena);
}

bool
address_is_null(const struct address *address)
{
	return address->local.len == 0 && address->domain.len == 0;
}

bool
address_equal(const struct address *a, const struct address *b)
{
	return span_equal(a->local, b->local) && span_equal_nocase(a->domain, b->domain);
}

void
address_print(const struct address *address, struct buf *out)
{
	struct span local = address->local;

	if (address_is_null(address))
		return;
	/* A full out is the caller's to see: the buf keeps a mark. */
	if (local.len > 0 && dot_string_len(local) == local.len) {
		(void)buf_append(out, local);
	} else {
		(void)buf_append_byte(out, '"');
		for (size_t i = 0; i < local.len; i++) {
			if (local.data[i] == '"' || local.data[i] == '\\')
				(void)buf_append_byte(out, '\\');
			(void)buf_append_byte(out, local.data[i]);
		}
		(void)buf_append_byte(out, '"');
	}
	if (address->domain.len > 0) {
		(void)buf_append_byte(out, '@');
		(void)buf_append(out, address->domain);
	}
}

struct span
address_text(const struct address *address, struct arena *arena)
{
	struct buf text;

	buf_init(&text, ADDRESS_TEXT_BYTES_MAX);
	address_print(address, &text);

	struct span kept = arena_dup(arena, buf_span(&text));

	buf_fini(&text);
	return kept;
}
