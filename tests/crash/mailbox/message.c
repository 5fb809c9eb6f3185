#include <stdio.h>

#include "relay/base/base32.h"
#include "relay/base/must.h"
#include "tests/crash/mailbox/life.h"

/* Longer than what an intent keeps of a message's beginning, so that changes lie behind it. */
static const char padding[] = "X-Padding: abcdefghijklmnopqrstuvwxyz abcdefghijklm\n";

/* Some are short, some span several sectors. */
static void
compose_body(size_t number, struct buf *out)
{
	size_t lines = number * 7 % 23;

	(void)buf_append_cstr(out, "\n");
	for (size_t i = 0; i < lines; i++)
		(void)buf_appendf(out, "%zu.%zu abcdefghijklmnopqrstuvwxyz abcdefghijklm\n", number,
				  i);
	(void)buf_appendf(out, "end of %zu\n", number);
}

static void
compose(const struct fact *fact, size_t number, enum message_look look, struct buf *out)
{
	char id[BASE32_U64_BYTES];

	base32_print_u64(fact->delivery_id, id);
	buf_clear(out);
	(void)buf_appendf(out,
			  "From s@example.org Tue Nov 24 00:00:00 2026\n"
			  "Return-Path: <s@example.org>\nReceived: by x id %s\n%sSubject: %zu\n",
			  id, padding, number);
	if (look != MESSAGE_CLEANED)
		(void)buf_append_cstr(out, "Lines: 12\n");
	if (look == MESSAGE_MARKED)
		(void)buf_append_cstr(out, "Status: RO\n");
	compose_body(number, out);
}

void
message_make(struct fact *fact, size_t number, uint64_t delivery_id, struct arena *texts)
{
	char id[BASE32_U64_BYTES];
	struct buf text;

	fact->delivery_id = delivery_id;
	base32_print_u64(delivery_id, id);
	buf_init(&text, LIFE_TEXT_BYTES_MAX);
	for (int look = 0; look < MESSAGE_LOOKS; look++) {
		compose(fact, number, (enum message_look)look, &text);
		must(!buf_overflowed(&text));
		fact->texts[look] = arena_dup(texts, buf_span(&text));
	}
	buf_fini(&text);
	must(span_find(fact->texts[0], span_make(id, BASE32_U64_CHARS), &fact->id_at));
}

struct span
message_head(const struct fact *fact)
{
	return span_first(fact->texts[MESSAGE_AS_DELIVERED],
			  fact->id_at + BASE32_U64_CHARS + 1);
}

struct span
message_letter(const struct fact *fact)
{
	return span_skip(fact->texts[MESSAGE_AS_DELIVERED], message_head(fact).len);
}

/* Does it begin where readers look for a From_ line: at the start, or behind an empty line? */
static bool
is_start(struct span content, size_t at)
{
	return at == 0 || (at >= 2 && content.data[at - 1] == '\n' && content.data[at - 2] == '\n');
}

size_t
message_count(const struct fact *fact, struct span content, size_t *at_out)
{
	struct span text = fact->texts[fact->look];
	struct span id = span_first(span_skip(text, fact->id_at), BASE32_U64_CHARS);
	size_t base = 0, at, count = 0;

	while (span_find(span_skip(content, base), id, &at)) {
		size_t start = base + at - fact->id_at;

		base += at + id.len;
		if (start <= content.len && is_start(content, start) &&
		    span_equal(span_first(span_skip(content, start), text.len), text)) {
			*at_out = start;
			count++;
		}
	}
	return count;
}

void
message_compose_foreign(size_t number, struct buf *out)
{
	buf_clear(out);
	(void)buf_appendf(out, "From f@example.org Tue Nov 24 01:00:00 2026\nForeign: %zu\n\nx\n\n",
			  number);
}
