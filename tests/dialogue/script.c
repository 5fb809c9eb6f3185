#include "tests/dialogue/script.h"

#include <stdio.h>
#include <stdlib.h>

#include "relay/base/ascii.h"
#include "relay/base/mem.h"

/* The octet that an escape means; how many characters say it. */
static size_t
take_escape(struct span text, char *octet_out)
{
	static const char letters[] = "rnt0", octets[] = "\r\n\t";

	if (text.len < 2)
		return 0;
	if (text.data[1] == 'x' && text.len >= 4) {
		*octet_out = (char)(ascii_hex_value(text.data[2]) * 16 +
		    ascii_hex_value(text.data[3]));
		return 4;
	}
	*octet_out = text.data[1];
	for (size_t i = 0; i < 4; i++)
		if (text.data[1] == letters[i])
			*octet_out = octets[i];
	return 2;
}

/* "*N{x}"; 0 when it is none. */
static size_t
take_repeat(struct span text, struct buf *out)
{
	struct span count, rest;
	uint32_t number;
	char octet;
	size_t used = 1;

	if (!span_split(span_skip(text, 1), '{', &count, &rest) || rest.len < 2 ||
	    !span_parse_u32(count, SCRIPT_TEXT_MAX, &number))
		return 0;
	octet = rest.data[0];
	if (octet == '\\')
		used = take_escape(rest, &octet);
	if (used == 0 || rest.len <= used || rest.data[used] != '}')
		return 0;
	(void)buf_append_repeat(out, octet, number);
	return 1 + count.len + 1 + used + 1;
}

struct span
script_unescape(struct span text, struct buf *out)
{
	buf_clear(out);
	while (text.len > 0) {
		size_t used = 0;
		char octet = text.data[0];

		if (octet == '*')
			used = take_repeat(text, out);
		if (used > 0) {
			text = span_skip(text, used);
			continue;
		}
		if (octet == '\\')
			used = take_escape(text, &octet);
		(void)buf_append_byte(out, octet);
		text = span_skip(text, used > 0 ? used : 1);
	}
	return buf_span(out);
}

size_t
script_some(struct random_seeded *random, int mode, size_t len)
{
	if (mode == 0)
		return len;
	return mode == 1 ? 1 : 1 + (size_t)random_below(&random->random, len);
}

bool
script_matches(struct span line, struct span expected)
{
	if (expected.len > 0 && expected.data[expected.len - 1] == '*')
		return span_starts_with(line, span_first(expected, expected.len - 1));
	return span_equal(line, expected);
}

void
script_fail(struct script *script, const char *what, struct span got)
{
	if (script->failed)
		return;
	script->failed = true;
	printf("%s:%u (mode %d%s): %s", script->path, script->line, script->mode,
	    script->parks ? ", parked" : "", what);
	if (got.data)
		printf(": got \"%.*s\"", (int)(got.len < 300 ? got.len : 300), got.data);
	printf("\n");
}

static bool
run_file(const char *path, char *text,
    bool (*run)(const char *path, struct span text, int mode, bool parks))
{
	FILE *file = fopen(path, "rb");
	bool good = true;

	if (!file) {
		printf("%s: cannot be read\n", path);
		return false;
	}

	size_t len = fread(text, 1, SCRIPT_TEXT_MAX, file);

	(void)fclose(file);
	for (int mode = 0; mode < SCRIPT_MODE_COUNT && good; mode++)
		for (int parks = 0; parks < 2 && good; parks++)
			good = run(path, span_make(text, len), mode, parks);
	printf("%s %s\n", good ? "ok" : "not ok", path);
	return good;
}

int
script_main(int argc, char **argv,
    bool (*run)(const char *path, struct span text, int mode, bool parks))
{
	char *text = mem_alloc(SCRIPT_TEXT_MAX);
	bool good = argc > 1;

	for (int i = 1; i < argc; i++)
		good &= run_file(argv[i], text, run);
	mem_free(&text);
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
