/*
 * The table of boxes: which address is delivered where.
 *
 * Looked up in this order, the first that fits is taken:
 *   1. the address itself, a box or an alias;
 *   2. the address without its detail ("user+detail" is "user"), where separators are configured;
 *   3. postmaster, with any domain that has a box, or without one: the postmaster box;
 *   4. the catch-all of its domain, the box "@example.net";
 *   5. that of the nearest domain above it, the box "@*.example.net".
 * Domains are compared without regard to case, local parts as the configuration says (ASCII).
 *
 * Built once, then immutable; every thread may read it.
 */
#ifndef MAILBOX_BOXES_H
#define MAILBOX_BOXES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "mailbox/quota.h"
#include "relay/base/arena.h"
#include "relay/base/err.h"
#include "relay/base/span.h"
#include "relay/mail/address.h"

enum {
	BOXES_TARGETS_MAX = 50,         /* of one alias, after all is resolved */
	BOXES_ALIAS_DEPTH_MAX = 20,
};

enum boxes_kind {
	BOXES_MBOX,
	BOXES_MAILDIR,
};

struct box {
	/* canonical, as it is looked up; "@domain", "@*.domain": catch-all */
	struct span address;
	enum boxes_kind kind;
	const char *path;               /* absolute */
	uid_t uid;                      /* who must own it */
	bool dot_lock;
	bool create;
	uint64_t lock_wait_ms;
	struct quota quota;
	uint64_t quota_patience_ms;     /* full for so long: 552; 0: for ever 452 */
};

struct boxes;

/* All that is kept lives in ARENA, which must outlive the table. */
struct boxes *boxes_new(struct arena *arena, bool fold_case, struct span separators);

/*
 * Add a box, or an alias with its targets (addresses).  The box is copied but for what it points
 * to; ADDRESS is parsed.  ERR_EXISTS when the address is there already.
 */
int boxes_add(struct boxes *boxes, struct span address, const struct box *box, struct err *err);
int boxes_add_alias(struct boxes *boxes, struct span address, const struct span *targets,
		    size_t target_count, struct err *err);

/* Aliases may lead to addresses of domains that have no box here. */
void boxes_allow_forward(struct boxes *boxes);

/*
 * No more is added: resolve aliases.  POSTMASTER is an address of the table, or empty for the
 * first box.  Fails for aliases that lead nowhere or in circles, naming them in err; when one is
 * to blame, *culprit_out has its address.
 */
int boxes_seal(struct boxes *boxes, struct span postmaster, struct span *culprit_out,
	       struct err *err);

struct boxes_target {
	const struct box *box;          /* NULL: to be forwarded */
	struct span forward_to;         /* an address elsewhere */
	struct span delivered_to;       /* the address it has; empty for a catch-all: as given */
};

/*
 * Where mail for this address goes; an empty domain is a bare <postmaster>.  Returns how many
 * targets there are: 0 when the address is unknown.
 */
size_t boxes_find(const struct boxes *boxes, const struct address *address,
		  const struct boxes_target **targets_out);

size_t boxes_count(const struct boxes *boxes);
const struct box *boxes_at(const struct boxes *boxes, size_t index);
size_t boxes_alias_count(const struct boxes *boxes);

#endif
