#ifndef RELAY_BASE_CONF_PRIVATE_H
#define RELAY_BASE_CONF_PRIVATE_H

#include "relay/base/arena.h"
#include "relay/base/conf.h"

/*
 * Between the files of conf: conf_scan.c looks at the form and at the names,
 * conf_parse.c has libconfuse make values of it, conf_value.c types and checks
 * them, conf.c answers for the tree, conf_print.c writes tables and trees.
 */
struct conf_item {
	const char *text;
	unsigned int line;              /* 0 for a default */
	int64_t number;                 /* bool, int, size, duration, index of an enum */
	struct network network;
};

struct conf_value {
	const struct conf_option *option;
	struct conf_item *items;
	size_t count;
	bool is_set;
	bool is_written;
};

struct conf_block {
	const struct conf *conf;
	const struct conf_section *section;
	const char *title;
	unsigned int line;
	struct conf_value *values;      /* one for each option of the section, in order */
};

struct conf {
	struct arena arena;
	const struct conf_schema *schema;
	const char *file_name;
	struct conf_block *blocks;      /* by section, in the order of the schema */
	size_t blocks_count;
};

/*
 * Where things stand, in the order of the file; libconfuse's own count of lines
 * goes wrong with comments.
 */
struct conf_start {
	const struct conf_section *section;
	struct span title;              /* borrowed from the text, without quotes */
	unsigned int line;
	size_t first_place;
};

struct conf_place {
	const struct conf_option *option;
	unsigned int line;
};

struct conf_starts {
	struct conf_start *at;
	size_t count;
	size_t capacity;
	struct conf_place *places;      /* of each value */
	size_t places_count;
	size_t places_capacity;
};

/*
 * Refuse what libconfuse would misread, crash on or pass over in silence, with
 * an error that says what was expected; note where sections and values stand.
 */
int conf_scan(const struct conf_schema *schema, struct span text, const char *file_name,
    struct conf_starts *starts_out, struct err *err);

bool conf_type_is_list(enum conf_type type);

/* Type and check one text.  err's text says what was expected, without a place. */
int conf_item_parse(const struct conf_option *option, struct span text, struct conf_item *item_out,
    struct err *err);

/* Fill a value from the option's fallback; must() fit, as it is ours. */
void conf_value_set_fallback(struct conf_value *value, struct arena *arena);

/* Bounds on the count of a list's items, and what is required. */
int conf_value_check(const struct conf_value *value, struct err *err);

/* "a number of at least 1": what an option takes, for errors and manuals. */
int conf_print_expected(const struct conf_option *option, struct buf *out);

#endif
