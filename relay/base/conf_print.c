#include <stdio.h>
#include <string.h>

#include "relay/base/ascii.h"
#include "relay/base/conf_private.h"

/* Comments in an example are wrapped at this column. */
#define WRAP_COLUMNS 78

/*
 * Everything here appends to a buf whose sticky overflow is asked for once, at
 * the end of each public function.
 */
static int
finish(const struct buf *out)
{
	return buf_overflowed(out) ? -1 : 0;
}

/* Sentences as comment lines. */
static void
print_comment(struct buf *out, const char *indent, const char *text)
{
	struct span rest = span_from_cstr(text);
	struct span word;
	size_t column = 0;

	while (span_take_word(&rest, &word)) {
		if (column == 0 || column + 1 + word.len > WRAP_COLUMNS) {
			(void)buf_appendf(out, "%s%s#", column == 0 ? "" : "\n", indent);
			column = strlen(indent) + 1;
		}
		(void)buf_append_byte(out, ' ');
		(void)buf_append(out, word);
		column += 1 + word.len;
	}
	if (column > 0)
		(void)buf_append_byte(out, '\n');
}

static bool
needs_quotes(enum conf_type type, struct span text)
{
	if (type != CONF_BOOL && type != CONF_INT && type != CONF_ENUM && type != CONF_SIZE &&
	    type != CONF_DURATION)
		return true;
	for (size_t i = 0; i < text.len; i++)
		if (!ascii_is_alnum(text.data[i]) && text.data[i] != '-' && text.data[i] != '_')
			return true;
	return text.len == 0;
}

/*
 * One value as it would be written.  Single quotes keep "${" from meaning
 * anything; a backslash works in both.
 */
static void
print_text(struct buf *out, enum conf_type type, struct span text)
{
	size_t at;
	char quote = span_find(text, SPAN("${"), &at) ? '\'' : '"';

	if (!needs_quotes(type, text)) {
		(void)buf_append(out, text);
		return;
	}
	(void)buf_append_byte(out, quote);
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] == quote || text.data[i] == '\\')
			(void)buf_append_byte(out, '\\');
		(void)buf_append_byte(out, text.data[i]);
	}
	(void)buf_append_byte(out, quote);
}

/* "a, b" of a table as {"a", "b"}. */
static void
print_written(struct buf *out, const struct conf_option *option, const char *text)
{
	struct span rest = span_from_cstr(text);
	struct span part;
	const char *between = "";

	if (!conf_type_is_list(option->type)) {
		print_text(out, option->type, rest);
		return;
	}
	(void)buf_append_byte(out, '{');
	while (rest.len > 0 && span_take_part(&rest, ',', &part)) {
		(void)buf_append_cstr(out, between);
		print_text(out, option->type, span_trim(part));
		between = ", ";
	}
	(void)buf_append_byte(out, '}');
}

/* What stands behind an option that has no value; without the # it must be right. */
static const char *
empty_value(enum conf_type type)
{
	if (type == CONF_BOOL)
		return "yes";
	return conf_type_is_list(type) ? "{}" : "\"\"";
}

/* The sentence, what is accepted, and the option: a comment when it may be left out. */
static void
print_example_option(struct buf *out, const struct conf_option *option)
{
	const char *shown = option->example ? option->example : option->fallback;
	struct buf note;

	print_comment(out, "\t", option->help);
	buf_init(&note, 1024);
	(void)conf_print_expected(option, &note);
	if (option->required)
		(void)buf_append_cstr(&note, "; must be there");
	else if (option->fallback)
		(void)buf_appendf(&note, "; default: %s",
		    option->fallback[0] ? option->fallback : "empty");
	else
		(void)buf_append_cstr(&note, "; default: unset");
	if (option->needs_restart)
		(void)buf_append_cstr(&note, "; a change needs a restart");
	print_comment(out, "\t", buf_cstr(&note));
	buf_fini(&note);

	(void)buf_appendf(out, "\t%s%s = ", option->required ? "" : "#", option->name);
	if (shown && shown[0])
		print_written(out, option, shown);
	else
		(void)buf_append_cstr(out, empty_value(option->type));
	(void)buf_append_cstr(out, "\n");
}

int
conf_print_example(const struct conf_schema *schema, struct buf *out)
{
	print_comment(out, "", schema->help);
	for (size_t i = 0; i < schema->sections_count; i++) {
		const struct conf_section *section = &schema->sections[i];

		(void)buf_append_cstr(out, "\n");
		print_comment(out, "", section->help);
		(void)buf_append_cstr(out, section->name);
		if (section->titled)
			(void)buf_appendf(out, " \"%s\"",
			    section->example_title ? section->example_title : "name");
		(void)buf_append_cstr(out, " {\n");
		for (size_t k = 0; k < section->options_count; k++) {
			if (k > 0)
				(void)buf_append_cstr(out, "\n");
			print_example_option(out, &section->options[k]);
		}
		(void)buf_append_cstr(out, "}\n");
	}
	return finish(out);
}

static void
dump_value(struct buf *out, const struct conf_value *value)
{
	enum conf_type type = value->option->type;

	if (!value->is_set) {
		(void)buf_appendf(out, "\t# %s is unset\n", value->option->name);
		return;
	}
	(void)buf_appendf(out, "\t%s = ", value->option->name);
	if (conf_type_is_list(type))
		(void)buf_append_byte(out, '{');
	for (size_t i = 0; i < value->count; i++) {
		if (i > 0)
			(void)buf_append_cstr(out, ", ");
		print_text(out, type, span_from_cstr(value->items[i].text));
	}
	if (conf_type_is_list(type))
		(void)buf_append_byte(out, '}');
	if (value->is_written && value->count > 0)
		(void)buf_appendf(out, "  # line %u\n", value->items[0].line);
	else
		(void)buf_append_cstr(out, value->is_written ? "\n" : "  # default\n");
}

int
conf_dump(const struct conf *conf, struct buf *out)
{
	for (size_t i = 0; i < conf->blocks_count; i++) {
		const struct conf_block *block = &conf->blocks[i];

		(void)buf_append_cstr(out, block->section->name);
		if (block->title) {
			(void)buf_append_byte(out, ' ');
			print_text(out, CONF_STRING, span_from_cstr(block->title));
		}
		(void)buf_append_cstr(out, " {\n");
		for (size_t k = 0; k < block->section->options_count; k++)
			dump_value(out, &block->values[k]);
		(void)buf_append_cstr(out, "}\n");
	}
	return finish(out);
}

/* Text for roff: backslashes and dashes kept, no line that begins with a dot. */
static void
print_roff(struct buf *out, const char *text)
{
	if (text[0] == '.' || text[0] == '\'')
		(void)buf_append_cstr(out, "\\&");
	for (; *text; text++) {
		if (*text == '\\')
			(void)buf_append_cstr(out, "\\e");
		else if (*text == '-')
			(void)buf_append_cstr(out, "\\-");
		else
			(void)buf_append_byte(out, *text);
	}
}

static void
print_manual_option(struct buf *out, const struct conf_option *option)
{
	struct buf expected;

	(void)buf_append_cstr(out, ".TP\n.B ");
	print_roff(out, option->name);
	(void)buf_append_cstr(out, "\n");
	print_roff(out, option->help);
	(void)buf_append_cstr(out, "\n");

	buf_init(&expected, 1024);
	(void)conf_print_expected(option, &expected);
	(void)buf_append_cstr(out, "Takes ");
	if (conf_type_is_list(option->type))
		(void)buf_append_cstr(out, "a list; each item is ");
	print_roff(out, buf_cstr(&expected));
	buf_fini(&expected);
	if (option->required) {
		(void)buf_append_cstr(out, "; must be there");
	} else if (option->fallback && option->fallback[0]) {
		(void)buf_append_cstr(out, "; default: ");
		print_roff(out, option->fallback);
	}
	(void)buf_append_cstr(out, ".\n");
	if (option->needs_restart)
		(void)buf_append_cstr(out, "A change needs a restart.\n");
}

int
conf_print_manual(const struct conf_schema *schema, struct buf *out)
{
	for (size_t i = 0; i < schema->sections_count; i++) {
		const struct conf_section *section = &schema->sections[i];

		(void)buf_append_cstr(out, ".SS ");
		print_roff(out, section->name);
		(void)buf_append_cstr(out, section->titled ? " \\(dqNAME\\(dq\n" : "\n");
		print_roff(out, section->help);
		(void)buf_append_cstr(out, "\n");
		for (size_t k = 0; k < section->options_count; k++)
			print_manual_option(out, &section->options[k]);
	}
	return finish(out);
}
