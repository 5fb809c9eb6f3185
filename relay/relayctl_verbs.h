#ifndef RELAY_RELAYCTL_VERBS_H
#define RELAY_RELAYCTL_VERBS_H

#include <stdbool.h>
#include <stddef.h>

#include "relay/base/err.h"
#include "relay/base/json.h"
#include "relay/relayctl_print.h"

/*
 * The verbs of relayctl: what each takes, what is sent, how the answer is shown.  The help
 * is printed from this table and the manual is checked against it.
 */
enum relayctl_takes {
	RELAYCTL_TAKES_NOTHING,
	RELAYCTL_TAKES_ID,              /* exactly one queue id */
	RELAYCTL_TAKES_SET,             /* ids and filters */
	RELAYCTL_TAKES_NAME,            /* at most one word, sent as `name_key` */
};

enum relayctl_option {
	RELAYCTL_LIMIT = 1 << 0,
	RELAYCTL_DRY_RUN = 1 << 1,
	RELAYCTL_ALL = 1 << 2,
	RELAYCTL_HEADER = 1 << 3,
	RELAYCTL_BODY = 1 << 4,
	RELAYCTL_REASON = 1 << 5,
	RELAYCTL_FOR = 1 << 6,
	RELAYCTL_FROM = 1 << 7,
	RELAYCTL_CLIENT = 1 << 8,
	RELAYCTL_USER = 1 << 9,
	RELAYCTL_LISTENER = 1 << 10,
	RELAYCTL_CERTIFICATE = 1 << 11,
	RELAYCTL_SCRAM = 1 << 12,
};

struct relayctl_verb {
	const char *name;
	enum relayctl_takes takes;
	const char *name_key;
	unsigned options;               /* set of enum relayctl_option */
	const char *usage;
	const char *help;
	bool is_table;                  /* the head of a list is printed first */
	bool is_content;                /* items carry octets, not something to show */
	relayctl_print *item;           /* NULL: items are not shown */
	relayctl_print *end;            /* NULL: nothing is said at the end */
	const char *what;               /* "held": the foot of a changed set */
	bool is_local;                  /* done by relayctl itself, which asks no daemon */
};

const struct relayctl_verb *relayctl_verbs(size_t *count_out);

/* By its name or a beginning that no other verb has. */
const struct relayctl_verb *relayctl_verb_find(const char *word, struct err *err);

/*
 * The words behind the verb as the arguments of the request, a new object.  NULL when
 * they do not fit the verb.
 */
struct json *relayctl_verb_args(const struct relayctl_verb *verb, char *const *words,
    size_t word_count, struct err *err);

#endif
