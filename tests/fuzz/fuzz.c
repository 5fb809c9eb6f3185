#include "tests/fuzz/fuzz.h"

#include "relay/base/must.h"

const struct fuzz_target fuzz_targets[] = {
	{ "address", fuzz_address },
	{ "auth", fuzz_auth },
	{ "body", fuzz_body },
	{ "client", fuzz_client },
	{ "command", fuzz_command },
	{ "config", fuzz_config },
	{ "dns", fuzz_dns },
	{ "header", fuzz_header },
	{ "notice", fuzz_notice },
	{ "proxy", fuzz_proxy },
	{ "quote", fuzz_quote },
	{ "record", fuzz_record },
	{ "reply", fuzz_reply },
	{ "server", fuzz_server },
	{ NULL, NULL },
};

const struct fuzz_target *
fuzz_find(const char *name)
{
	for (const struct fuzz_target *target = fuzz_targets; target->name; target++)
		if (strcmp(target->name, name) == 0)
			return target;
	return NULL;
}

unsigned int
fuzz_choice(struct span *input)
{
	unsigned int choice = input->len > 0 ? (unsigned char)input->data[0] : 0;

	*input = span_skip(*input, 1);
	return choice;
}

struct span
fuzz_field(struct span *input)
{
	struct span field;
	struct span rest;

	(void)span_split(*input, '|', &field, &rest);
	*input = rest;
	return field;
}

struct fuzz_pieces
fuzz_pieces_init(unsigned int seed)
{
	return (struct fuzz_pieces){ .state = seed };
}

size_t
fuzz_piece(struct fuzz_pieces *pieces, size_t max)
{
	if (pieces->state == 0 || max <= 1)
		return max;
	pieces->state = pieces->state * 1664525u + 1013904223u;

	size_t some = (pieces->state >> 16) % 17 + 1;

	return some < max ? some : max;
}

void
fuzz_check_lines(struct span text, size_t line_bytes_max)
{
	size_t line_bytes = 0;

	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];

		must(c != '\0');
		must(c != '\r' || (i + 1 < text.len && text.data[i + 1] == '\n'));
		must(c != '\n' || (i > 0 && text.data[i - 1] == '\r'));
		must(++line_bytes <= line_bytes_max);
		if (c == '\n')
			line_bytes = 0;
	}
	must(line_bytes == 0);
}
