#include "mailbox/boxes.h"

#include <stdlib.h>
#include <string.h>

#include "relay/base/ascii.h"
#include "relay/base/buf.h"
#include "relay/base/mem.h"
#include "relay/base/must.h"

/* A row of the table: an address, and where it leads. */
struct row {
	struct span key;                /* folded as the table says */
	struct span address;            /* canonical */
	bool is_alias;
	size_t line;                    /* in the order they were added */
	const struct span *names;       /* of an alias, before it is resolved */
	size_t name_count;
	const struct boxes_target *targets;
	size_t target_count;
};

struct boxes {
	struct arena *arena;
	bool fold_case;
	struct span separators;
	bool sealed;
	bool may_forward;
	struct row *rows;               /* sorted by key once sealed */
	size_t row_count;
	size_t row_capacity;
	const struct box **list;        /* boxes in the order they were added */
	size_t box_count;
	size_t alias_count;
	const struct boxes_target *postmaster;
	size_t postmaster_count;
};

struct boxes *
boxes_new(struct arena *arena, bool fold_case, struct span separators)
{
	struct boxes *boxes = arena_alloc(arena, sizeof(*boxes));

	boxes->arena = arena;
	boxes->fold_case = fold_case;
	boxes->separators = arena_dup(arena, separators);
	return boxes;
}

void
boxes_allow_forward(struct boxes *boxes)
{
	boxes->may_forward = true;
}

/* ---------------------------------------------------------------------- keys */

enum { KEY_BYTES_MAX = ADDRESS_LOCAL_BYTES_MAX + 1 + ADDRESS_DOMAIN_BYTES_MAX };

struct key {
	size_t len;
	char text[KEY_BYTES_MAX];
};

static void
key_add(struct key *key, struct span text, bool fold)
{
	for (size_t i = 0; i < text.len && key->len < sizeof(key->text); i++)
		key->text[key->len++] = fold ? ascii_lower(text.data[i]) : text.data[i];
}

/* The local part may hold anything, '@' too: the domain begins behind the last one. */
static struct span
key_make(const struct boxes *boxes, struct key *key, struct span local, struct span domain)
{
	key->len = 0;
	key_add(key, local, boxes->fold_case || span_equal_nocase(local, SPAN("postmaster")));
	key_add(key, SPAN("@"), false);
	key_add(key, domain, true);
	return span_make(key->text, key->len);
}

static int
compare_rows(const void *a, const void *b)
{
	const struct row *left = a, *right = b;

	return span_compare(left->key, right->key);
}

static const struct row *
find_row(const struct boxes *boxes, struct span key)
{
	const struct row wanted = { .key = key };

	return boxes->row_count == 0 ? NULL
	     : bsearch(&wanted, boxes->rows, boxes->row_count, sizeof(wanted), compare_rows);
}

/* -------------------------------------------------------------------- adding */

/* A row for the address as it is written: "user@domain", or "@domain". */
static int
add_row(struct boxes *boxes, struct span text, struct row **row_out, struct err *err)
{
	struct address address = { 0 };
	struct key key;
	struct buf canonical;

	must(!boxes->sealed);
	if (span_starts_with(text, SPAN("@"))) {
		bool is_wild = span_starts_with(text, SPAN("@*."));

		address.domain = span_skip(text, 1);
		if (!address_domain_is_valid(span_skip(text, is_wild ? 3 : 1), true))
			return err_set(err, ERR_CONFIG,
				       "expected an address, @domain or @*.domain");
	} else if (address_parse(&address, text, true, boxes->arena) != ADDRESS_OK) {
		return err_set(err, ERR_CONFIG, "expected an address, as in user@example.net");
	}
	if (boxes->row_count == boxes->row_capacity) {
		struct row *rows;

		boxes->row_capacity = boxes->row_capacity ? 2 * boxes->row_capacity : 64;
		rows = arena_alloc_array(boxes->arena, boxes->row_capacity, sizeof(*rows));
		if (boxes->row_count > 0)
			memcpy(rows, boxes->rows, boxes->row_count * sizeof(*rows));
		boxes->rows = rows;
	}

	struct row *row = &boxes->rows[boxes->row_count];

	buf_init(&canonical, ADDRESS_TEXT_BYTES_MAX);
	if (address.local.len == 0) {
		(void)buf_append(&canonical, SPAN("@"));
		(void)buf_append(&canonical, address.domain);
	} else {
		address_print(&address, &canonical);
	}
	*row = (struct row){
		.key = arena_dup(boxes->arena,
				 key_make(boxes, &key, address.local, address.domain)),
		.address = arena_dup(boxes->arena, buf_span(&canonical)),
		.line = boxes->row_count++,
	};
	buf_fini(&canonical);
	*row_out = row;
	return 0;
}

int
boxes_add(struct boxes *boxes, struct span text, const struct box *settings, struct err *err)
{
	struct boxes_target *target = arena_alloc(boxes->arena, sizeof(*target));
	struct box *box = arena_alloc(boxes->arena, sizeof(*box));
	struct row *row;

	if (add_row(boxes, text, &row, err) < 0)
		return -1;
	*box = *settings;
	box->address = row->address;
	target->box = box;
	target->delivered_to = box->address.data[0] == '@' ? span_make("", 0) : box->address;
	row->targets = target;
	row->target_count = 1;
	boxes->box_count++;
	return 0;
}

int
boxes_add_alias(struct boxes *boxes, struct span text, const struct span *targets,
		size_t target_count, struct err *err)
{
	struct span *names = arena_alloc_array(boxes->arena, target_count + 1, sizeof(*names));
	struct row *row;

	if (add_row(boxes, text, &row, err) < 0)
		return -1;
	for (size_t i = 0; i < target_count; i++)
		names[i] = arena_dup(boxes->arena, targets[i]);
	row->is_alias = true;
	row->names = names;
	row->name_count = target_count;
	boxes->alias_count++;
	return 0;
}

/* ------------------------------------------------------------------- sealing */

/* Targets found so far of the alias that is being resolved. */
struct resolving {
	struct boxes *boxes;
	struct boxes_target targets[BOXES_TARGETS_MAX];
	size_t count;
};

static int
add_target(struct resolving *resolving, const struct boxes_target *target, struct err *err)
{
	for (size_t i = 0; i < resolving->count; i++)
		if (resolving->targets[i].box == target->box &&
		    span_equal(resolving->targets[i].forward_to, target->forward_to))
			return 0;
	if (resolving->count == BOXES_TARGETS_MAX)
		return err_set(err, ERR_CONFIG, "leads to more than %d places", BOXES_TARGETS_MAX);
	resolving->targets[resolving->count++] = *target;
	return 0;
}

static const struct row *
find_name(const struct boxes *boxes, struct span name)
{
	struct arena arena;
	struct address address;
	struct key key;
	const struct row *row = NULL;

	arena_init(&arena, 0);
	if (address_parse(&address, name, true, &arena) == ADDRESS_OK)
		row = find_row(boxes, key_make(boxes, &key, address.local, address.domain));
	arena_fini(&arena);
	return row;
}

/* Does any box or alias have this domain? */
static bool
has_domain(const struct boxes *boxes, struct span domain)
{
	for (size_t i = 0; i < boxes->row_count; i++) {
		struct span local, of_row;

		(void)span_split_last(boxes->rows[i].key, '@', &local, &of_row);
		if (span_equal_nocase(of_row, domain))
			return true;
	}
	return false;
}

/* An address of a domain that has nothing here, where forwarding is allowed. */
static bool
leads_elsewhere(const struct boxes *boxes, struct span name, struct boxes_target *target)
{
	struct address address;
	bool elsewhere = boxes->may_forward &&
			 address_parse(&address, name, true, boxes->arena) == ADDRESS_OK &&
			 address.domain.len > 0 && !has_domain(boxes, address.domain);

	*target = (struct boxes_target){ 0 };
	if (elsewhere)
		target->forward_to = address_text(&address, boxes->arena);
	return elsewhere;
}

/*
 * Follow the names of an alias, depth first, with a stack of its own: a configuration is input,
 * and input is not recursed over.
 */
static int
resolve(struct resolving *resolving, const struct row *alias, struct err *err)
{
	struct { const struct row *row; size_t at; } stack[BOXES_ALIAS_DEPTH_MAX];
	size_t depth = 1;

	stack[0].row = alias;
	stack[0].at = 0;
	while (depth > 0) {
		const struct row *row = stack[depth - 1].row;

		if (stack[depth - 1].at == row->name_count) {
			depth--;
			continue;
		}

		struct span name = row->names[stack[depth - 1].at++];
		const struct row *next = find_name(resolving->boxes, name);
		struct boxes_target elsewhere;

		if (next == NULL && leads_elsewhere(resolving->boxes, name, &elsewhere)) {
			elsewhere.delivered_to = alias->address;
			if (add_target(resolving, &elsewhere, err) < 0)
				return -1;
			continue;
		}
		if (next == NULL)
			return err_set(err, ERR_CONFIG, "leads to %.*s, which has no box and is no "
				       "alias", SPAN_ARGS(name));
		if (!next->is_alias) {
			if (add_target(resolving, next->targets, err) < 0)
				return -1;
			continue;
		}
		for (size_t i = 0; i < depth; i++)
			if (stack[i].row == next)
				return err_set(err, ERR_CONFIG, "leads back to itself by %.*s",
					       SPAN_ARGS(name));
		if (depth == BOXES_ALIAS_DEPTH_MAX)
			return err_set(err, ERR_CONFIG, "leads through more than %d aliases",
				       BOXES_ALIAS_DEPTH_MAX);
		stack[depth].row = next;
		stack[depth++].at = 0;
	}
	if (resolving->count == 0)
		return err_set(err, ERR_CONFIG, "has no target");
	return 0;
}

static int
resolve_aliases(struct boxes *boxes, struct span *culprit_out, struct err *err)
{
	for (size_t i = 0; i < boxes->row_count; i++) {
		struct row *row = &boxes->rows[i];
		struct resolving resolving = { .boxes = boxes };
		struct boxes_target *targets;

		if (!row->is_alias)
			continue;
		if (resolve(&resolving, row, err) < 0) {
			*culprit_out = row->address;
			return -1;
		}
		targets = arena_alloc_array(boxes->arena, resolving.count, sizeof(*targets));
		memcpy(targets, resolving.targets, resolving.count * sizeof(*targets));
		row->targets = targets;
		row->target_count = resolving.count;
	}
	return 0;
}

int
boxes_seal(struct boxes *boxes, struct span postmaster, struct span *culprit_out, struct err *err)
{
	*culprit_out = span_make("", 0);
	boxes->list = arena_alloc_array(boxes->arena, boxes->box_count + 1, sizeof(*boxes->list));
	boxes->box_count = 0;
	for (size_t i = 0; i < boxes->row_count; i++)
		if (!boxes->rows[i].is_alias)
			boxes->list[boxes->box_count++] = boxes->rows[i].targets->box;
	for (size_t i = 0; i < boxes->row_count && boxes->postmaster == NULL; i++)
		if (!boxes->rows[i].is_alias)
			boxes->postmaster = boxes->rows[i].targets;
	boxes->postmaster_count = boxes->postmaster != NULL;
	if (boxes->row_count > 0)
		qsort(boxes->rows, boxes->row_count, sizeof(*boxes->rows), compare_rows);
	for (size_t i = 1; i < boxes->row_count; i++)
		if (span_equal(boxes->rows[i].key, boxes->rows[i - 1].key)) {
			size_t later = boxes->rows[i].line > boxes->rows[i - 1].line ? i : i - 1;

			*culprit_out = boxes->rows[later].address;
			return err_set(err, ERR_EXISTS, "is there twice");
		}
	if (resolve_aliases(boxes, culprit_out, err) < 0)
		return -1;
	if (postmaster.len > 0) {
		const struct row *row = find_name(boxes, postmaster);

		if (row == NULL)
			return err_set(err, ERR_CONFIG, "%.*s has no box", SPAN_ARGS(postmaster));
		boxes->postmaster = row->targets;
		boxes->postmaster_count = row->target_count;
	}
	boxes->sealed = true;
	return 0;
}

/* ------------------------------------------------------------------- finding */

static size_t
targets_of(const struct row *row, const struct boxes_target **targets_out)
{
	*targets_out = row->targets;
	return row->target_count;
}

/* Up to the first separator that is not the first octet. */
static struct span
without_detail(const struct boxes *boxes, struct span local)
{
	for (size_t i = 1; i < local.len; i++)
		if (memchr(boxes->separators.data, local.data[i], boxes->separators.len) != NULL)
			return span_first(local, i);
	return local;
}

/* Of the domain itself, else of the nearest one above it that has "@*.domain". */
static const struct row *
find_catch_all(const struct boxes *boxes, struct span domain)
{
	const struct span nobody = span_make("", 0);
	struct key key;
	const struct row *row = find_row(boxes, key_make(boxes, &key, nobody, domain));
	struct span label;

	while (row == NULL && span_split(domain, '.', &label, &domain) && domain.len > 0) {
		key.len = 0;
		key_add(&key, SPAN("@*."), false);
		key_add(&key, domain, true);
		row = find_row(boxes, span_make(key.text, key.len));
	}
	return row;
}

size_t
boxes_find(const struct boxes *boxes, const struct address *address,
	   const struct boxes_target **targets_out)
{
	struct key key;
	struct span user = address->local;
	const struct row *row;

	must(boxes->sealed);
	if (address->domain.len > 0) {
		row = find_row(boxes, key_make(boxes, &key, user, address->domain));
		if (row != NULL)
			return targets_of(row, targets_out);
		if (boxes->separators.len > 0)
			user = without_detail(boxes, user);
		row = find_row(boxes, key_make(boxes, &key, user, address->domain));
		if (row != NULL && user.len > 0)
			return targets_of(row, targets_out);
	}
	if (span_equal_nocase(user, SPAN("postmaster")) && boxes->postmaster != NULL &&
	    (address->domain.len == 0 || has_domain(boxes, address->domain))) {
		*targets_out = boxes->postmaster;
		return boxes->postmaster_count;
	}
	row = find_catch_all(boxes, address->domain);
	return row != NULL ? targets_of(row, targets_out) : 0;
}

size_t
boxes_count(const struct boxes *boxes)
{
	return boxes->box_count;
}

const struct box *
boxes_at(const struct boxes *boxes, size_t index)
{
	must(index < boxes->box_count);
	return boxes->list[index];
}

size_t
boxes_alias_count(const struct boxes *boxes)
{
	return boxes->alias_count;
}
