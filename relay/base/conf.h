#ifndef RELAY_BASE_CONF_H
#define RELAY_BASE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "relay/base/arena.h"
#include "relay/base/buf.h"
#include "relay/base/err.h"
#include "relay/base/network.h"
#include "relay/base/span.h"

/*
 * Configuration files of sections with options:
 *
 *	listener "mx" {
 *		address = {"[::]:25", "0.0.0.0:25"}
 *		tls = starttls
 *	}
 *
 * A program declares all that can be written in one schema of tables.  The same
 * tables parse and check the file, print the annotated example, dump what is in
 * effect and give the manual page its list.
 *
 * Errors have kind ERR_CONFIG (ERR_SYSTEM when the file cannot be read) and a
 * text that begins with "FILE:LINE: " and says what was expected.  The result
 * does not change once made, so that every thread may read it.  The parser
 * behind it has state of its own: parse on one thread of a process at a time.
 */
enum conf_type {
	CONF_BOOL,              /* yes, no, true, false, on, off */
	CONF_INT,
	CONF_SIZE,              /* "10M" */
	CONF_DURATION,          /* "5m"; bounds in milliseconds */
	CONF_STRING,
	CONF_ENUM,              /* one of choices */
	CONF_NETWORK,           /* "192.0.2.0/24" */
	CONF_STRING_LIST,
	CONF_ENUM_LIST,
	CONF_NETWORK_LIST,
};

/*
 * A check of a module's own for a text that is right in form; for lists it sees
 * each item.  On failure err's text says what was expected.
 */
typedef int conf_check(struct span value, struct err *err);

struct conf_option {
	const char *name;
	enum conf_type type;
	const char *fallback;           /* as one would write it; lists "a, b"; NULL: unset */
	bool required;                  /* then there is no fallback */
	int64_t min;                    /* numbers, sizes, durations; count of a list's items */
	int64_t max;                    /* 0 means none */
	const char *const *choices;     /* ended by NULL; the value is the index */
	conf_check *check;              /* or NULL */
	bool needs_restart;             /* a reload cannot change it; named in the manual */
	const char *example;            /* for the printed example instead of the fallback */
	const char *help;               /* one sentence */
};

struct conf_section {
	const char *name;
	bool titled;                    /* name "title" { }, as often as wanted */
	bool required;                  /* at least one must be there */
	const char *example_title;      /* for the printed example */
	const char *help;
	const struct conf_option *options;
	size_t options_count;
};

struct conf_schema {
	const char *file_name;          /* "relayd.conf" */
	const char *help;               /* printed at the head of the example */
	const struct conf_section *sections;
	size_t sections_count;
};

/* Bounds of what is accepted at all. */
#define CONF_FILE_BYTES_MAX ((size_t)1 << 20)
#define CONF_VALUE_BYTES_MAX 4096
#define CONF_ITEMS_MAX 4096

struct conf;
struct conf_block;              /* one section as written, or its defaults */

int conf_parse_file(struct conf **conf_out, const struct conf_schema *schema, const char *path,
    struct err *err);

/* file_name is what errors call it. */
int conf_parse_text(struct conf **conf_out, const struct conf_schema *schema, struct span text,
    const char *file_name, struct err *err);
void conf_free(struct conf **conf);

const char *conf_file_name(const struct conf *conf);

/* A section without title: always there, if only with defaults. */
const struct conf_block *conf_block(const struct conf *conf, const char *section);

/* Titled sections in the order of the file. */
size_t conf_block_count(const struct conf *conf, const char *section);
const struct conf_block *conf_block_at(const struct conf *conf, const char *section, size_t index);

/* NULL when there is none with this title. */
const struct conf_block *conf_block_find(const struct conf *conf, const char *section,
    const char *title);

const char *conf_block_section(const struct conf_block *block);
const char *conf_block_title(const struct conf_block *block);   /* NULL if untitled */
unsigned int conf_block_line(const struct conf_block *block);   /* 0 if not in the file */

/*
 * Values, with the default where the file has none.  The name must be in the
 * table with the getter's type, which must() sees to.
 */
bool conf_bool(const struct conf_block *block, const char *option);
int64_t conf_int(const struct conf_block *block, const char *option);
uint64_t conf_size(const struct conf_block *block, const char *option);
uint64_t conf_duration_ms(const struct conf_block *block, const char *option);
const char *conf_string(const struct conf_block *block, const char *option); /* NULL if unset */
int conf_enum(const struct conf_block *block, const char *option);  /* index; -1 if unset */
const struct network *conf_network(const struct conf_block *block, const char *option);

size_t conf_list_count(const struct conf_block *block, const char *option);
const char *conf_list_string(const struct conf_block *block, const char *option, size_t index);
int conf_list_enum(const struct conf_block *block, const char *option, size_t index);
const struct network *conf_list_network(const struct conf_block *block, const char *option,
    size_t index);

/* A copy of all of them in the arena. */
const struct network *conf_list_networks(const struct conf_block *block, const char *option,
    struct arena *arena, size_t *count_out);

/* Written in the file, or has a default. */
bool conf_is_set(const struct conf_block *block, const char *option);

/* Written in the file. */
bool conf_is_written(const struct conf_block *block, const char *option);

/* The line of the value, else of the section, else 0. */
unsigned int conf_line(const struct conf_block *block, const char *option);

/*
 * What a module finds wrong beyond the table's reach, said as the parser says
 * it: `relayd.conf:88: route "site": via: ...`.  option may be NULL.  Returns -1.
 */
int conf_fail(const struct conf_block *block, const char *option, struct err *err,
    const char *format, ...) __attribute__((format(printf, 4, 5)));

/* A path that is relative is beside the configuration file.  For mem_free(). */
char *conf_path(const struct conf_block *block, const char *option);

/* Every section and option with its sentence, type and default, as a file. */
int conf_print_example(const struct conf_schema *schema, struct buf *out);

/* All values in effect, as a file that parses to the same. */
int conf_dump(const struct conf *conf, struct buf *out);

/* The options as mdoc/man text (.SS, .TP) for a section-5 page. */
int conf_print_manual(const struct conf_schema *schema, struct buf *out);

#endif
