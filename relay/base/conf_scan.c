#include <stdio.h>
#include <string.h>

#include "relay/base/ascii.h"
#include "relay/base/conf_private.h"
#include "relay/base/mem.h"

/*
 * The form of a file, as a grammar:
 *
 *	file     = *section
 *	section  = WORD [TEXT / WORD] "{" *option "}"
 *	option   = WORD ("=" / "+=") (value / "{" [value *("," value) [","]] "}")
 *	value    = WORD / TEXT
 *
 * A WORD has letters, digits and a few signs; a TEXT is in double or single
 * quotes on one line.  Comments are "# ...", "// ..." and C's.
 */
enum token_kind {
	TOKEN_END,
	TOKEN_WORD,
	TOKEN_TEXT,
	TOKEN_OPEN,
	TOKEN_CLOSE,
	TOKEN_SET,              /* = or += */
	TOKEN_COMMA,
};

struct scan {
	const struct conf_schema *schema;
	const char *file_name;
	struct span rest;
	unsigned int line;
	enum token_kind token;
	struct span text;       /* of the token, with its quotes */
	struct conf_starts *starts;
	unsigned int token_line;
	struct err *err;
};

/* What an error shows of a token. */
#define SHOWN_BYTES_MAX 40

static int
fail_at(struct scan *scan, unsigned int line, const char *expected, struct span found)
{
	if (scan->token == TOKEN_END && found.len == 0)
		return err_set(scan->err, ERR_CONFIG, "%s:%u: expected %s, not the end of the file",
		    scan->file_name, line, expected);
	return err_set(scan->err, ERR_CONFIG, "%s:%u: expected %s, not %.*s", scan->file_name, line,
	    expected, SPAN_ARGS(span_first(found, SHOWN_BYTES_MAX)));
}

static int
fail_token(struct scan *scan, const char *expected)
{
	return fail_at(scan, scan->token_line, expected, scan->text);
}

static bool
is_word_byte(char c)
{
	return ascii_is_alnum(c) || ascii_is_foreign(c) ||
	    (c != '\0' && strchr("._:/@%~-[];?!<>&|", c) != NULL);
}

/* Skip a C comment, whose start was seen. */
static int
skip_long_comment(struct scan *scan)
{
	unsigned int line = scan->line;
	size_t end;

	if (!span_find(span_skip(scan->rest, 2), SPAN("*/"), &end))
		return err_set(scan->err, ERR_CONFIG, "%s:%u: expected \"*/\" after this comment",
		    scan->file_name, line);
	for (size_t i = 0; i < end + 2; i++)
		scan->line += scan->rest.data[i] == '\n';
	scan->rest = span_skip(scan->rest, end + 4);
	return 0;
}

static int
skip_blanks(struct scan *scan)
{
	while (scan->rest.len > 0) {
		char c = scan->rest.data[0];
		size_t end;

		if (c == '#' || span_starts_with(scan->rest, SPAN("//"))) {
			if (!span_find_byte(scan->rest, '\n', &end))
				end = scan->rest.len;
			scan->rest = span_skip(scan->rest, end);
		} else if (span_starts_with(scan->rest, SPAN("/*"))) {
			if (skip_long_comment(scan) < 0)
				return -1;
		} else if (c == '\n' || ascii_is_blank(c)) {
			scan->line += c == '\n';
			scan->rest = span_skip(scan->rest, 1);
		} else {
			break;
		}
	}
	return 0;
}

/* A text in quotes at the front. */
static int
take_text(struct scan *scan)
{
	char quote = scan->rest.data[0];
	size_t at = 1;

	while (at < scan->rest.len && scan->rest.data[at] != quote && scan->rest.data[at] != '\n') {
		if (quote == '"' && span_starts_with(span_skip(scan->rest, at), SPAN("${")))
			return err_set(scan->err, ERR_CONFIG,
			    "%s:%u: expected no ${...} in double quotes: nothing is replaced",
			    scan->file_name, scan->line);
		at += scan->rest.data[at] == '\\' && at + 1 < scan->rest.len &&
		    scan->rest.data[at + 1] != '\n' ? 2 : 1;
	}
	if (at >= scan->rest.len || scan->rest.data[at] != quote)
		return err_set(scan->err, ERR_CONFIG, "%s:%u: expected %c at the end of this text",
		    scan->file_name, scan->line, quote);
	if (at > CONF_VALUE_BYTES_MAX)
		return err_set(scan->err, ERR_CONFIG, "%s:%u: expected a text of at most %d bytes",
		    scan->file_name, scan->line, CONF_VALUE_BYTES_MAX);
	scan->token = TOKEN_TEXT;
	scan->text = span_first(scan->rest, at + 1);
	return 0;
}

static int
take_word(struct scan *scan)
{
	size_t len = 0;

	while (len < scan->rest.len && is_word_byte(scan->rest.data[len]))
		len++;
	if (len == 0)
		return fail_at(scan, scan->line, "a word, or the value in quotes",
		    span_first(scan->rest, 1));
	if (len > CONF_VALUE_BYTES_MAX)
		return err_set(scan->err, ERR_CONFIG, "%s:%u: expected a word of at most %d bytes",
		    scan->file_name, scan->line, CONF_VALUE_BYTES_MAX);
	scan->token = TOKEN_WORD;
	scan->text = span_first(scan->rest, len);
	return 0;
}

static int
next_token(struct scan *scan)
{
	if (skip_blanks(scan) < 0)
		return -1;
	scan->token_line = scan->line;
	scan->text = span_first(scan->rest, 1);
	if (scan->rest.len == 0) {
		scan->token = TOKEN_END;
		return 0;
	}
	switch (scan->rest.data[0]) {
	case '{':
		scan->token = TOKEN_OPEN;
		break;
	case '}':
		scan->token = TOKEN_CLOSE;
		break;
	case ',':
		scan->token = TOKEN_COMMA;
		break;
	case '=':
		scan->token = TOKEN_SET;
		break;
	case '"':
	case '\'':
		if (take_text(scan) < 0)
			return -1;
		break;
	default:
		if (span_starts_with(scan->rest, SPAN("+="))) {
			scan->token = TOKEN_SET;
			scan->text = span_first(scan->rest, 2);
		} else if (take_word(scan) < 0) {
			return -1;
		}
	}
	scan->rest = span_skip(scan->rest, scan->text.len);
	return 0;
}

static const struct conf_section *
find_section(const struct scan *scan)
{
	for (size_t i = 0; i < scan->schema->sections_count; i++)
		if (span_equal_cstr(scan->text, scan->schema->sections[i].name))
			return &scan->schema->sections[i];
	return NULL;
}

static int
fail_unknown_section(struct scan *scan)
{
	char known[200] = "";
	size_t len = 0;

	for (size_t i = 0; i < scan->schema->sections_count; i++) {
		const char *name = scan->schema->sections[i].name;

		if (len + strlen(name) + 3 > sizeof(known))
			break;
		len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", i ? ", " : "",
		    name);
	}
	return err_set(scan->err, ERR_CONFIG, "%s:%u: unknown section %.*s, expected one of %s",
	    scan->file_name, scan->token_line, SPAN_ARGS(span_first(scan->text, SHOWN_BYTES_MAX)),
	    known);
}

/* The index of the option that the token names, or -1. */
static int
find_option(const struct scan *scan, const struct conf_section *section)
{
	for (size_t i = 0; i < section->options_count; i++)
		if (span_equal_cstr(scan->text, section->options[i].name))
			return (int)i;
	return -1;
}

static int
fail_unknown_option(struct scan *scan, const struct conf_section *section)
{
	char known[220] = "";
	size_t len = 0;

	for (size_t i = 0; i < section->options_count; i++) {
		const char *name = section->options[i].name;

		if (len + strlen(name) + 6 > sizeof(known)) {
			(void)snprintf(known + len, sizeof(known) - len, " ...");
			break;
		}
		len += (size_t)snprintf(known + len, sizeof(known) - len, "%s%s", i ? ", " : "",
		    name);
	}
	return err_set(scan->err, ERR_CONFIG,
	    "%s:%u: unknown option %.*s in %s, expected one of %s", scan->file_name,
	    scan->token_line, SPAN_ARGS(span_first(scan->text, SHOWN_BYTES_MAX)),
	    section->name, known);
}

static void
note_place(struct conf_starts *starts, const struct conf_option *option, unsigned int line)
{
	if (starts->places_count == starts->places_capacity) {
		size_t capacity = starts->places_capacity ? 2 * starts->places_capacity : 64;

		starts->places_capacity = capacity;
		starts->places = mem_resize_array(starts->places, starts->places_capacity,
		    sizeof(starts->places[0]));
	}
	starts->places[starts->places_count++] = (struct conf_place){ option, line };
}

/* The items of a list behind its brace, with the closing one. */
static int
scan_list(struct scan *scan, const struct conf_option *option)
{
	size_t count = 0;

	for (;;) {
		if (next_token(scan) < 0)
			return -1;
		if (scan->token == TOKEN_CLOSE)
			return 0;
		if (scan->token != TOKEN_WORD && scan->token != TOKEN_TEXT)
			return fail_token(scan, "an item of the list or }");
		if (++count > CONF_ITEMS_MAX)
			return err_set(scan->err, ERR_CONFIG, "%s:%u: expected at most %d items",
			    scan->file_name, scan->token_line, CONF_ITEMS_MAX);
		note_place(scan->starts, option, scan->token_line);
		if (next_token(scan) < 0)
			return -1;
		if (scan->token == TOKEN_CLOSE)
			return 0;
		if (scan->token != TOKEN_COMMA)
			return fail_token(scan, "a comma or }");
	}
}

/* The rest of an option, whose name was the token. */
static int
scan_option(struct scan *scan, const struct conf_option *option)
{
	bool is_list = conf_type_is_list(option->type);

	if (next_token(scan) < 0)
		return -1;
	if (scan->token != TOKEN_SET || (scan->text.len == 2 && !is_list))
		return fail_token(scan, "= after the option's name");
	if (next_token(scan) < 0)
		return -1;
	if (scan->token == TOKEN_OPEN && is_list)
		return scan_list(scan, option);
	if (scan->token == TOKEN_OPEN)
		return fail_token(scan, "one value: this option takes no list");
	if (scan->token != TOKEN_WORD && scan->token != TOKEN_TEXT)
		return fail_token(scan, "a value");
	note_place(scan->starts, option, scan->token_line);
	return 0;
}

static int
scan_block(struct scan *scan, const struct conf_section *section)
{
	unsigned int *lines = mem_alloc_array(section->options_count, sizeof(lines[0]));
	int result = -1;

	for (;;) {
		if (next_token(scan) < 0)
			goto out;
		if (scan->token == TOKEN_CLOSE)
			break;
		if (scan->token != TOKEN_WORD) {
			(void)fail_token(scan, "an option's name or }");
			goto out;
		}

		int index = find_option(scan, section);

		if (index < 0) {
			(void)fail_unknown_option(scan, section);
			goto out;
		}
		if (lines[index] != 0) {
			(void)err_set(scan->err, ERR_CONFIG,
			    "%s:%u: expected %s once, it is on line %u already", scan->file_name,
			    scan->token_line, section->options[index].name, lines[index]);
			goto out;
		}
		lines[index] = scan->token_line;
		if (scan_option(scan, &section->options[index]) < 0)
			goto out;
	}
	result = 0;
out:
	mem_free(&lines);
	return result;
}

static struct conf_start *
note_start(struct conf_starts *starts, const struct conf_section *section, unsigned int line)
{
	if (starts->count == starts->capacity) {
		starts->capacity = starts->capacity ? 2 * starts->capacity : 16;
		starts->at = mem_resize_array(starts->at, starts->capacity, sizeof(starts->at[0]));
	}

	struct conf_start *start = &starts->at[starts->count++];

	*start = (struct conf_start){
		.section = section, .line = line, .first_place = starts->places_count,
	};
	return start;
}

/* A title: without quotes and backslashes inside, so that one has one spelling. */
static int
scan_title(struct scan *scan, struct conf_start *start)
{
	size_t at;

	if (scan->token != TOKEN_TEXT && scan->token != TOKEN_WORD)
		return fail_token(scan, "a title in quotes after the section's name");
	start->title = scan->text;
	if (scan->token == TOKEN_TEXT)
		start->title = span_slice(scan->text, 1, scan->text.len - 2);
	if (start->title.len == 0 || span_find_byte(start->title, '"', &at) ||
	    span_find_byte(start->title, '\'', &at) || span_find_byte(start->title, '\\', &at))
		return fail_token(scan, "a title in quotes, without quotes or backslashes in it");
	return next_token(scan);
}

/* The section is there already, with the same title if it has one. */
static int
check_is_first(struct scan *scan)
{
	const struct conf_starts *starts = scan->starts;
	const struct conf_start *last = &starts->at[starts->count - 1];

	for (const struct conf_start *start = starts->at; start < last; start++)
		if (start->section == last->section && span_equal(start->title, last->title))
			return err_set(scan->err, ERR_CONFIG,
			    "%s:%u: expected section %s%s%.*s once, it begins on line %u already",
			    scan->file_name, last->line, last->section->name,
			    last->section->titled ? " " : "",
			    SPAN_ARGS(span_first(last->title, SHOWN_BYTES_MAX)), start->line);
	return 0;
}

/* One section, whose name is the token. */
static int
scan_section(struct scan *scan)
{
	if (scan->token != TOKEN_WORD)
		return fail_token(scan, "a section's name");

	const struct conf_section *section = find_section(scan);

	if (!section)
		return fail_unknown_section(scan);

	struct conf_start *start = note_start(scan->starts, section, scan->token_line);

	if (next_token(scan) < 0)
		return -1;
	if (section->titled && scan_title(scan, start) < 0)
		return -1;
	if (check_is_first(scan) < 0)
		return -1;
	if (scan->token != TOKEN_OPEN)
		return fail_token(scan, "{ to begin the section");
	return scan_block(scan, section);
}

/* Controls have no business in a configuration; libconfuse ends at a NUL in silence. */
static int
check_bytes(struct scan *scan, struct span text)
{
	unsigned int line = 1;

	if (text.len > CONF_FILE_BYTES_MAX)
		return err_set(scan->err, ERR_CONFIG, "%s:1: expected at most %zu bytes",
		    scan->file_name, CONF_FILE_BYTES_MAX);
	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];

		if (ascii_is_control(c) && c != '\n' && c != '\t')
			return err_set(scan->err, ERR_CONFIG,
			    "%s:%u: expected text, not the control character 0x%02x",
			    scan->file_name, line, (unsigned char)c);
		line += c == '\n';
	}
	if (!span_is_utf8(text))
		return err_set(scan->err, ERR_CONFIG, "%s:1: expected UTF-8", scan->file_name);
	return 0;
}

int
conf_scan(const struct conf_schema *schema, struct span text, const char *file_name,
    struct conf_starts *starts_out, struct err *err)
{
	struct scan scan = {
		.schema = schema,
		.file_name = file_name,
		.rest = text,
		.line = 1,
		.starts = starts_out,
		.err = err,
	};

	if (check_bytes(&scan, text) < 0)
		return -1;
	for (;;) {
		if (next_token(&scan) < 0)
			return -1;
		if (scan.token == TOKEN_END)
			return 0;
		if (scan_section(&scan) < 0)
			return -1;
	}
}
