#include "relay/base/conf.h"

#include <stdio.h>
#include <string.h>

#include "relay/base/conf_private.h"
#include "relay/base/file.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

void
conf_free(struct conf **conf)
{
	if (!*conf)
		return;
	arena_fini(&(*conf)->arena);
	mem_free(conf);
}

const char *
conf_file_name(const struct conf *conf)
{
	return conf->file_name;
}

static bool
is_of(const struct conf_block *block, const char *section)
{
	return strcmp(block->section->name, section) == 0;
}

const struct conf_block *
conf_block(const struct conf *conf, const char *section)
{
	const struct conf_block *block = conf_block_at(conf, section, 0);

	must(!block->section->titled);
	return block;
}

size_t
conf_block_count(const struct conf *conf, const char *section)
{
	size_t count = 0;

	for (size_t i = 0; i < conf->blocks_count; i++)
		count += is_of(&conf->blocks[i], section);
	return count;
}

const struct conf_block *
conf_block_at(const struct conf *conf, const char *section, size_t index)
{
	for (size_t i = 0; i < conf->blocks_count; i++)
		if (is_of(&conf->blocks[i], section) && index-- == 0)
			return &conf->blocks[i];
	must_not_reach();
}

const struct conf_block *
conf_block_find(const struct conf *conf, const char *section, const char *title)
{
	for (size_t i = 0; i < conf->blocks_count; i++) {
		const struct conf_block *block = &conf->blocks[i];

		if (is_of(block, section) && block->title && strcmp(block->title, title) == 0)
			return block;
	}
	return NULL;
}

const char *
conf_block_section(const struct conf_block *block)
{
	return block->section->name;
}

const char *
conf_block_title(const struct conf_block *block)
{
	return block->title;
}

unsigned int
conf_block_line(const struct conf_block *block)
{
	return block->line;
}

static const struct conf_value *
find_value(const struct conf_block *block, const char *option)
{
	for (size_t i = 0; i < block->section->options_count; i++)
		if (strcmp(block->values[i].option->name, option) == 0)
			return &block->values[i];
	must_not_reach();
}

/* The one value of an option that has the type; NULL when it is not set. */
static const struct conf_item *
get(const struct conf_block *block, const char *option, enum conf_type type)
{
	const struct conf_value *value = find_value(block, option);

	must(value->option->type == type);
	return value->count > 0 ? &value->items[0] : NULL;
}

static const struct conf_item *
get_at(const struct conf_block *block, const char *option, enum conf_type type, size_t index)
{
	const struct conf_value *value = find_value(block, option);

	must(value->option->type == type && index < value->count);
	return &value->items[index];
}

bool
conf_bool(const struct conf_block *block, const char *option)
{
	const struct conf_item *item = get(block, option, CONF_BOOL);

	return item && item->number != 0;
}

int64_t
conf_int(const struct conf_block *block, const char *option)
{
	const struct conf_item *item = get(block, option, CONF_INT);

	return item ? item->number : 0;
}

uint64_t
conf_size(const struct conf_block *block, const char *option)
{
	const struct conf_item *item = get(block, option, CONF_SIZE);

	return item ? (uint64_t)item->number : 0;
}

uint64_t
conf_duration_ms(const struct conf_block *block, const char *option)
{
	const struct conf_item *item = get(block, option, CONF_DURATION);

	return item ? (uint64_t)item->number : 0;
}

const char *
conf_string(const struct conf_block *block, const char *option)
{
	const struct conf_item *item = get(block, option, CONF_STRING);

	return item ? item->text : NULL;
}

int
conf_enum(const struct conf_block *block, const char *option)
{
	const struct conf_item *item = get(block, option, CONF_ENUM);

	return item ? (int)item->number : -1;
}

const struct network *
conf_network(const struct conf_block *block, const char *option)
{
	const struct conf_item *item = get(block, option, CONF_NETWORK);

	return item ? &item->network : NULL;
}

size_t
conf_list_count(const struct conf_block *block, const char *option)
{
	const struct conf_value *value = find_value(block, option);

	must(conf_type_is_list(value->option->type));
	return value->count;
}

const char *
conf_list_string(const struct conf_block *block, const char *option, size_t index)
{
	return get_at(block, option, CONF_STRING_LIST, index)->text;
}

int
conf_list_enum(const struct conf_block *block, const char *option, size_t index)
{
	return (int)get_at(block, option, CONF_ENUM_LIST, index)->number;
}

const struct network *
conf_list_network(const struct conf_block *block, const char *option, size_t index)
{
	return &get_at(block, option, CONF_NETWORK_LIST, index)->network;
}

const struct network *
conf_list_networks(const struct conf_block *block, const char *option, struct arena *arena,
    size_t *count_out)
{
	size_t count = conf_list_count(block, option);
	struct network *all = arena_alloc_array(arena, count + 1, sizeof(*all));

	for (size_t i = 0; i < count; i++)
		all[i] = *conf_list_network(block, option, i);
	*count_out = count;
	return all;
}

bool
conf_is_set(const struct conf_block *block, const char *option)
{
	return find_value(block, option)->is_set;
}

bool
conf_is_written(const struct conf_block *block, const char *option)
{
	return find_value(block, option)->is_written;
}

unsigned int
conf_line(const struct conf_block *block, const char *option)
{
	const struct conf_value *value = find_value(block, option);

	if (value->count > 0 && value->items[0].line != 0)
		return value->items[0].line;
	return block->line;
}

int
conf_fail(const struct conf_block *block, const char *option, struct err *err, const char *format,
    ...)
{
	char said[ERR_TEXT_BYTES];
	char place[ERR_TEXT_BYTES / 2];
	unsigned int line = option ? conf_line(block, option) : block->line;
	va_list args;

	va_start(args, format);
	(void)vsnprintf(said, sizeof(said), format, args);
	va_end(args);
	if (block->title)
		(void)snprintf(place, sizeof(place), "%u: %s \"%.60s\"", line, block->section->name,
		    block->title);
	else
		(void)snprintf(place, sizeof(place), "%u: %s", line, block->section->name);
	return err_set(err, ERR_CONFIG, "%s:%s: %s%s%s", block->conf->file_name, place,
	    option ? option : "", option ? ": " : "", said);
}

char *
conf_path(const struct conf_block *block, const char *option)
{
	const char *path = conf_string(block, option);

	return path ? file_path_beside(block->conf->file_name, path) : NULL;
}
