#include <confuse.h>
#include <stdio.h>
#include <string.h>

#include "relay/base/conf_private.h"
#include "relay/base/file.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

/*
 * libconfuse gives its error function no place for a pointer of ours, so the one
 * parse that a thread does at a time is found here.
 */
static _Thread_local struct parse *parsing;

struct parse {
	const char *file_name;
	struct err *err;
	bool has_failed;
};

static void __attribute__((format(printf, 2, 0)))
take_error(cfg_t *cfg, const char *format, va_list args)
{
	char text[ERR_TEXT_BYTES];

	if (parsing->has_failed)
		return;                         /* the first says most */
	parsing->has_failed = true;
	(void)vsnprintf(text, sizeof(text), format, args);
	(void)err_set(parsing->err, ERR_CONFIG, "%s:%d: %s", parsing->file_name, cfg->line, text);
}

static int
take_value(cfg_t *cfg, cfg_opt_t *opt, const char *text, void *value_out)
{
	char *copy = mem_dup_cstr(text);

	(void)cfg;
	(void)opt;
	memcpy(value_out, &copy, sizeof(char *));
	return 0;
}

static void
free_value(void *value)
{
	mem_free(&value);
}

/* libconfuse's tables for the schema; they are copied by cfg_init(). */
static cfg_opt_t *
new_options(const struct conf_section *section)
{
	cfg_opt_t *opts = mem_alloc_array(section->options_count + 1, sizeof(opts[0]));

	for (size_t i = 0; i < section->options_count; i++) {
		opts[i] = (cfg_opt_t)CFG_PTR_CB(section->options[i].name, NULL, CFGF_NODEFAULT,
		    take_value, free_value);
		if (conf_type_is_list(section->options[i].type))
			opts[i].flags |= CFGF_LIST;
	}
	opts[section->options_count] = (cfg_opt_t)CFG_END();
	return opts;
}

static cfg_opt_t *
new_sections(const struct conf_schema *schema)
{
	cfg_opt_t *opts = mem_alloc_array(schema->sections_count + 1, sizeof(opts[0]));

	for (size_t i = 0; i < schema->sections_count; i++) {
		const struct conf_section *section = &schema->sections[i];
		cfg_flag_t flags = CFGF_MULTI;

		if (section->titled)
			flags |= CFGF_TITLE | CFGF_NO_TITLE_DUPES;
		opts[i] = (cfg_opt_t)CFG_SEC(section->name, new_options(section), flags);
	}
	opts[schema->sections_count] = (cfg_opt_t)CFG_END();
	return opts;
}

static void
free_sections(cfg_opt_t **sections, size_t count)
{
	for (size_t i = 0; i < count; i++)
		mem_free(&(*sections)[i].subopts);
	mem_free(sections);
}

/* Put the place and the option's name before what err says. */
static int
wrap_place(const struct conf_block *block, const struct conf_value *value, struct err *err)
{
	unsigned int line = block->line;

	if (value->count > 0 && value->items[value->count - 1].line != 0)
		line = value->items[value->count - 1].line;
	if (block->title)
		return err_wrap(err, "%s:%u: %s \"%.60s\": %s", block->conf->file_name, line,
		    block->section->name, block->title, value->option->name);
	return err_wrap(err, "%s:%u: %s: %s", block->conf->file_name, line, block->section->name,
	    value->option->name);
}

/* Lines of the values that a section has for an option, one after the other. */
struct lines {
	const struct conf_starts *starts;
	const struct conf_start *start;
	size_t next;
};

static unsigned int
next_line(struct lines *lines, const struct conf_option *option)
{
	const struct conf_starts *starts = lines->starts;

	while (lines->next < starts->places_count) {
		const struct conf_place *place = &starts->places[lines->next++];

		if (place->option == option)
			return place->line;
	}
	return lines->start->line;
}

static int
fill_value(struct conf_value *value, cfg_opt_t *opt, struct lines *lines, struct arena *arena,
    struct err *err)
{
	unsigned int count = opt ? cfg_opt_size(opt) : 0;

	/* An empty list that is written has no values, but the flag of being written. */
	value->is_written = count > 0 || (opt && (opt->flags & CFGF_MODIFIED));
	if (!value->is_written) {
		conf_value_set_fallback(value, arena);
		return conf_value_check(value, err);
	}
	value->is_set = true;
	value->items = arena_alloc_array(arena, count, sizeof(value->items[0]));
	for (unsigned int i = 0; i < count; i++) {
		const char *text = cfg_opt_getnptr(opt, i);
		struct conf_item *item = &value->items[value->count++];

		item->text = arena_dup_cstr(arena, text);
		item->line = next_line(lines, value->option);
		if (conf_item_parse(value->option, span_from_cstr(text), item, err) < 0)
			return -1;
	}
	return conf_value_check(value, err);
}

/* One section as written, or with nothing but defaults when cfg is NULL. */
static int
fill_block(struct conf_block *block, cfg_t *cfg, struct lines lines, struct arena *arena,
    struct err *err)
{
	const struct conf_section *section = block->section;

	if (cfg && section->titled)
		block->title = arena_dup_cstr(arena, cfg_title(cfg));
	block->values = arena_alloc_array(arena, section->options_count,
	    sizeof(block->values[0]));
	for (size_t i = 0; i < section->options_count; i++) {
		struct conf_value *value = &block->values[i];
		cfg_opt_t *opt = cfg ? cfg_getopt(cfg, section->options[i].name) : NULL;

		value->option = &section->options[i];
		if (lines.start)
			lines.next = lines.start->first_place;
		if (fill_value(value, opt, &lines, arena, err) < 0)
			return wrap_place(block, value, err);
	}
	return 0;
}

/* Where the section begins that is number `index` of its name. */
static const struct conf_start *
find_start(const struct conf_starts *starts, const struct conf_section *section,
    unsigned int index)
{
	for (size_t i = 0; i < starts->count; i++)
		if (starts->at[i].section == section && index-- == 0)
			return &starts->at[i];
	return NULL;
}

static int
fill_conf(struct conf *conf, cfg_t *cfg, const struct conf_starts *starts, struct err *err)
{
	const struct conf_schema *schema = conf->schema;

	conf->blocks = arena_alloc_array(&conf->arena, starts->count + schema->sections_count,
	    sizeof(conf->blocks[0]));
	for (size_t i = 0; i < schema->sections_count; i++) {
		const struct conf_section *section = &schema->sections[i];
		unsigned int count = cfg_size(cfg, section->name);

		if (count == 0 && section->required)
			return err_set(err, ERR_CONFIG, "%s:1: expected a section %s",
			    conf->file_name, section->name);
		for (unsigned int k = 0; k < count || (k == 0 && !section->titled); k++) {
			struct conf_block *block = &conf->blocks[conf->blocks_count++];
			struct lines lines = { starts, find_start(starts, section, k), 0 };

			block->conf = conf;
			block->section = section;
			block->line = lines.start ? lines.start->line : 0;
			if (fill_block(block, count > 0 ? cfg_getnsec(cfg, section->name, k) : NULL,
			    lines, &conf->arena, err) < 0)
				return -1;
		}
	}
	return 0;
}

static int
parse_scanned(struct conf *conf, struct span text, const struct conf_starts *starts,
    struct err *err)
{
	struct parse parse = { .file_name = conf->file_name, .err = err };
	size_t sections_count = conf->schema->sections_count;
	cfg_opt_t *sections = new_sections(conf->schema);
	cfg_t *cfg = cfg_init(sections, CFGF_NONE);
	char *text_cstr = mem_dup_text(text.data, text.len);
	int result = -1;

	must(cfg != NULL);
	(void)cfg_set_error_function(cfg, take_error);
	parsing = &parse;

	/* The scan let only well-formed files through, so a failure here is rare. */
	int status = text.len > 0 ? cfg_parse_buf(cfg, text_cstr) : CFG_SUCCESS;

	parsing = NULL;
	if (status == CFG_SUCCESS && !parse.has_failed)
		result = fill_conf(conf, cfg, starts, err);
	else if (!parse.has_failed)
		err_set(err, ERR_CONFIG, "%s:1: cannot be parsed", conf->file_name);
	mem_free(&text_cstr);
	(void)cfg_free(cfg);                    /* says whether there was anything */
	free_sections(&sections, sections_count);
	return result;
}

/* Lines that end in CRLF become lines that end in LF. */
static void
copy_without_cr(struct span text, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.data[i] != '\r' || i + 1 == text.len || text.data[i + 1] != '\n')
			(void)buf_append_byte(out, text.data[i]);       /* it has the room */
}

int
conf_parse_text(struct conf **conf_out, const struct conf_schema *schema, struct span text,
    const char *file_name, struct err *err)
{
	struct conf *conf = mem_alloc(sizeof(*conf));
	struct conf_starts starts = { 0 };
	struct buf clean;
	int result;

	*conf_out = NULL;
	arena_init(&conf->arena, 0);
	conf->schema = schema;
	conf->file_name = arena_dup_cstr(&conf->arena, file_name);
	buf_init(&clean, CONF_FILE_BYTES_MAX + 1);
	copy_without_cr(span_first(text, CONF_FILE_BYTES_MAX + 1), &clean);
	result = conf_scan(schema, buf_span(&clean), conf->file_name, &starts, err);
	if (result == 0)
		result = parse_scanned(conf, buf_span(&clean), &starts, err);
	buf_fini(&clean);
	mem_free(&starts.at);
	mem_free(&starts.places);
	if (result < 0)
		conf_free(&conf);
	*conf_out = conf;
	return result;
}

int
conf_parse_file(struct conf **conf_out, const struct conf_schema *schema, const char *path,
    struct err *err)
{
	struct buf text;
	int result;

	*conf_out = NULL;
	buf_init(&text, CONF_FILE_BYTES_MAX);
	result = file_read_whole(path, &text, err);
	if (result == 0)
		result = conf_parse_text(conf_out, schema, buf_span(&text), path, err);
	buf_fini(&text);
	return result;
}
