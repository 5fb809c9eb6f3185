#include "relay/net/resolver_private.h"

#include <stdio.h>
#include <string.h>

#include "relay/base/ascii.h"
#include "relay/base/buf.h"
#include "relay/base/file.h"

enum {
	HOSTS_BYTES_MAX = 4 << 20,
	LINES_MAX = 1 << 16,
	LABEL_BYTES_MAX = 63,           /* RFC 1035 section 2.3.4 */
};

struct resolver_host_line {
	struct endpoint address;
	struct span names;              /* as in the file */
};

static struct span
without_comment(struct span line)
{
	size_t at;

	if (span_find_byte(line, '#', &at))
		line = span_first(line, at);
	return line;
}

static void
read_hosts(struct resolver_names *names, const char *path)
{
	struct buf text;
	struct span rest;
	struct span line;
	size_t count = 1;

	buf_init(&text, HOSTS_BYTES_MAX);
	if (file_read_whole(path, &text, NULL) == 0) {
		rest = arena_dup(&names->arena, buf_span(&text));
		for (size_t i = 0; i < rest.len; i++)
			count += rest.data[i] == '\n';
		if (count > LINES_MAX)
			count = LINES_MAX;
		names->lines = arena_alloc_array(&names->arena, count, sizeof(*names->lines));
		while (names->line_count < count && span_take_part(&rest, '\n', &line)) {
			struct resolver_host_line *it = &names->lines[names->line_count];
			struct span address;

			it->names = without_comment(line);
			if (span_take_word(&it->names, &address) &&
			    endpoint_parse_ip(address, 0, &it->address))
				names->line_count++;
		}
	}
	buf_fini(&text);
}

/* "search a b" or "domain a"; the last such line counts, as resolv.conf(5) has it. */
static void
read_search(struct resolver_names *names, const char *path)
{
	struct buf text;
	struct span rest;
	struct span line;
	struct span word;

	names->search = arena_alloc_array(&names->arena, RESOLVER_CANDIDATE_COUNT_MAX,
	    sizeof(*names->search));
	buf_init(&text, HOSTS_BYTES_MAX);
	if (file_read_whole(path, &text, NULL) == 0) {
		rest = buf_span(&text);
		while (span_take_part(&rest, '\n', &line)) {
			line = without_comment(line);
			if (!span_take_word(&line, &word) || (!span_equal_cstr(word, "search") &&
			    !span_equal_cstr(word, "domain")))
				continue;
			names->search_count = 0;
			while (names->search_count < RESOLVER_CANDIDATE_COUNT_MAX - 1 &&
			    span_take_word(&line, &word))
				names->search[names->search_count++] =
				    arena_dup(&names->arena, word).data;
		}
	}
	buf_fini(&text);
}

void
resolver_names_init(struct resolver_names *names, const struct resolver_settings *settings)
{
	*names = (struct resolver_names){0};
	arena_init(&names->arena, 0);
	read_hosts(names, settings->hosts_file ? settings->hosts_file : "/etc/hosts");
	if (settings->search_count == 0) {
		read_search(names, settings->resolv_conf ? settings->resolv_conf
							 : "/etc/resolv.conf");
		return;
	}
	names->search = arena_alloc_array(&names->arena, settings->search_count,
	    sizeof(*names->search));
	for (size_t i = 0; i < settings->search_count; i++)
		names->search[names->search_count++] =
		    arena_dup_cstr(&names->arena, settings->search[i]);
}

void
resolver_names_fini(struct resolver_names *names)
{
	arena_fini(&names->arena);
}

size_t
resolver_names_find(const struct resolver_names *names, struct span name, uint16_t port,
    struct endpoint *addresses_out, size_t count_max)
{
	size_t count = 0;

	for (size_t i = 0; i < names->line_count && count < count_max; i++) {
		struct span rest = names->lines[i].names;
		struct span word;

		while (span_take_word(&rest, &word))
			if (span_equal_nocase(word, name)) {
				addresses_out[count] = names->lines[i].address;
				addresses_out[count++].port = port;
				break;
			}
	}
	if (count == 0 && count_max >= 2 && (span_equal_nocase_cstr(name, "localhost") ||
	    span_ends_with_nocase(name, SPAN(".localhost")))) {
		(void)endpoint_parse_ip(SPAN("::1"), port, &addresses_out[count++]);
		(void)endpoint_parse_ip(SPAN("127.0.0.1"), port, &addresses_out[count++]);
	}
	return count;
}

/* A label may hold anything; what no host name has is refused. */
bool
resolver_wire_name(struct span wire, char name_out[HOST_BYTES_MAX])
{
	size_t len = 0;

	for (;;) {
		if (span_is_empty(wire))
			return false;

		size_t label = (unsigned char)wire.data[0];

		wire = span_skip(wire, 1);
		if (label == 0)
			break;
		if (label > LABEL_BYTES_MAX || label > wire.len ||
		    len + label + 2 > HOST_BYTES_MAX)
			return false;
		if (len > 0)
			name_out[len++] = '.';
		for (size_t i = 0; i < label; i++) {
			char c = ascii_lower(wire.data[i]);

			if (!ascii_is_alnum(c) && c != '-' && c != '_')
				return false;
			name_out[len++] = c;
		}
		wire = span_skip(wire, label);
	}
	name_out[len] = '\0';
	return true;
}
