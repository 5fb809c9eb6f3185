#include "relay/relayctl_verbs.h"

#include <string.h>

#include "relay/base/base32.h"
#include "relay/base/span.h"

#define SET_OPTIONS (RELAYCTL_LIMIT | RELAYCTL_DRY_RUN | RELAYCTL_ALL)

static const struct relayctl_verb verbs[] = {
	{ .name = "status", .takes = RELAYCTL_TAKES_NOTHING, .usage = "",
	  .help = "what the daemon is, does and has", .item = relayctl_print_fields },
	{ .name = "list", .takes = RELAYCTL_TAKES_SET, .options = RELAYCTL_LIMIT,
	  .usage = "[FILTER...] [--limit N]", .help = "messages in the queue", .is_table = true,
	  .item = relayctl_print_row, .end = relayctl_print_list_end },
	{ .name = "count", .takes = RELAYCTL_TAKES_SET, .usage = "[FILTER...]",
	  .help = "how many messages match", .end = relayctl_print_count_end },
	{ .name = "show", .takes = RELAYCTL_TAKES_ID, .usage = "ID",
	  .help = "one message with every recipient", .item = relayctl_print_fields },
	{ .name = "cat", .takes = RELAYCTL_TAKES_ID, .options = RELAYCTL_HEADER | RELAYCTL_BODY,
	  .usage = "ID [-h|-b]", .help = "the message itself; -h its header, -b its body",
	  .is_content = true },
	{ .name = "explain", .takes = RELAYCTL_TAKES_ID, .usage = "ID",
	  .help = "why a message is here, until when, and what ends it",
	  .item = relayctl_print_explain },
	{ .name = "retry", .takes = RELAYCTL_TAKES_SET, .options = SET_OPTIONS,
	  .usage = "FILTER... [-n] [--limit N]", .help = "try now", .is_table = true,
	  .item = relayctl_print_row, .what = "tried now" },
	{ .name = "hold", .takes = RELAYCTL_TAKES_SET, .options = SET_OPTIONS,
	  .usage = "FILTER... [-n] [--limit N]", .help = "keep, and try no more until released",
	  .is_table = true, .item = relayctl_print_row, .what = "held" },
	{ .name = "release", .takes = RELAYCTL_TAKES_SET, .options = SET_OPTIONS,
	  .usage = "FILTER... [-n] [--limit N]", .help = "let go what is held", .is_table = true,
	  .item = relayctl_print_row, .what = "released" },
	{ .name = "drop", .takes = RELAYCTL_TAKES_SET, .options = SET_OPTIONS,
	  .usage = "FILTER... [-n] [--limit N]", .help = "remove; nobody is told",
	  .is_table = true, .item = relayctl_print_row, .what = "dropped" },
	{ .name = "bounce", .takes = RELAYCTL_TAKES_SET, .options = SET_OPTIONS,
	  .usage = "FILTER... [-n] [--limit N]", .help = "give up; the senders are told",
	  .is_table = true, .item = relayctl_print_row, .what = "given up" },
	{ .name = "damaged", .takes = RELAYCTL_TAKES_NOTHING, .usage = "",
	  .help = "what of the spool cannot be read back", .item = relayctl_print_fields },
	{ .name = "dest", .takes = RELAYCTL_TAKES_NAME, .name_key = "dest", .usage = "[NAME]",
	  .help = "where mail goes, and how it goes there", .item = relayctl_print_dest },
	{ .name = "suspend", .takes = RELAYCTL_TAKES_NAME, .name_key = "dest",
	  .options = RELAYCTL_REASON | RELAYCTL_FOR,
	  .usage = "NAME --reason TEXT [--for 30m]",
	  .help = "make no attempts for a destination" },
	{ .name = "resume", .takes = RELAYCTL_TAKES_NAME, .name_key = "dest", .usage = "NAME",
	  .help = "end that" },
	{ .name = "route", .takes = RELAYCTL_TAKES_NAME, .name_key = "to",
	  .options = RELAYCTL_FROM | RELAYCTL_CLIENT | RELAYCTL_USER | RELAYCTL_LISTENER |
		     RELAYCTL_CERTIFICATE,
	  .usage = "RCPT [--from A] [--client IP] [--user U] [--listener L] [--certificate C]",
	  .help = "whether a recipient would be accepted, its route, and the lines that say so",
	  .item = relayctl_print_fields },
	{ .name = "passwd", .takes = RELAYCTL_TAKES_NAME, .name_key = "user",
	  .options = RELAYCTL_SCRAM, .usage = "[--scram] USER", .is_local = true,
	  .help = "make a line for the file of credentials; asks no daemon" },
	{ .name = "reload", .takes = RELAYCTL_TAKES_NOTHING, .usage = "",
	  .help = "read the configuration again; says what is wrong with it" },
	{ .name = "boxes", .takes = RELAYCTL_TAKES_NOTHING, .usage = "",
	  .help = "the boxes of a mailbox node", .item = relayctl_print_fields },
};

static const struct {
	const char *word;
	enum relayctl_option option;
	const char *key;
	bool has_value;
} options[] = {
	{ "--limit", RELAYCTL_LIMIT, "limit", true },
	{ "-n", RELAYCTL_DRY_RUN, "dry_run", false },
	{ "--dry-run", RELAYCTL_DRY_RUN, "dry_run", false },
	{ "--all", RELAYCTL_ALL, "all", false },
	{ "-h", RELAYCTL_HEADER, "part", false },
	{ "-b", RELAYCTL_BODY, "part", false },
	{ "--reason", RELAYCTL_REASON, "reason", true },
	{ "--for", RELAYCTL_FOR, "for", true },
	{ "--from", RELAYCTL_FROM, "from", true },
	{ "--client", RELAYCTL_CLIENT, "client", true },
	{ "--user", RELAYCTL_USER, "user", true },
	{ "--listener", RELAYCTL_LISTENER, "listener", true },
	{ "--certificate", RELAYCTL_CERTIFICATE, "certificate", true },
	{ "--scram", RELAYCTL_SCRAM, "scram", false },
};

const struct relayctl_verb *
relayctl_verbs(size_t *count_out)
{
	*count_out = sizeof(verbs) / sizeof(verbs[0]);
	return verbs;
}

const struct relayctl_verb *
relayctl_verb_find(const char *word, struct err *err)
{
	const struct relayctl_verb *found = NULL;
	size_t len = strlen(word);

	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(verbs[i].name, word) == 0)
			return &verbs[i];
		if (len == 0 || strncmp(verbs[i].name, word, len) != 0)
			continue;
		if (found) {
			(void)err_set(err, ERR_FORMAT, "\"%s\" could be %s or %s", word,
			    found->name,
			    verbs[i].name);
			return NULL;
		}
		found = &verbs[i];
	}
	if (!found)
		(void)err_set(err, ERR_FORMAT, "there is no verb \"%s\"; see relayctl --help",
		    word);
	return found;
}

static int
put_option(struct json *args, size_t index, const char *value, struct err *err)
{
	uint64_t limit;

	switch (options[index].option) {
	case RELAYCTL_LIMIT:
		if (!span_parse_u64(span_from_cstr(value), INT64_MAX, &limit) || limit == 0)
			return err_set(err, ERR_FORMAT, "--limit: expected a number of at least 1");
		json_put_int(args, "limit", (int64_t)limit);
		return 0;
	case RELAYCTL_DRY_RUN:
	case RELAYCTL_ALL:
	case RELAYCTL_SCRAM:
		json_put_bool(args, options[index].key, true);
		return 0;
	case RELAYCTL_HEADER:
		json_put_cstr(args, "part", "header");
		return 0;
	case RELAYCTL_BODY:
		json_put_cstr(args, "part", "body");
		return 0;
	case RELAYCTL_REASON:
	case RELAYCTL_FOR:
	case RELAYCTL_FROM:
	case RELAYCTL_CLIENT:
	case RELAYCTL_USER:
	case RELAYCTL_LISTENER:
	case RELAYCTL_CERTIFICATE:
		json_put_cstr(args, options[index].key, value);
		return 0;
	}
	return 0;
}

/* How many words were used; -1 when it is no option of this verb. */
static int
take_option(const struct relayctl_verb *verb, struct json *args, char *const *words,
    size_t word_count, struct err *err)
{
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		if (strcmp(words[0], options[i].word) != 0 || !(verb->options & options[i].option))
			continue;
		if (options[i].has_value && word_count < 2)
			return err_set(err, ERR_FORMAT, "%s: expected a value", words[0]);
		if (put_option(args, i, words[options[i].has_value], err) < 0)
			return -1;
		return options[i].has_value ? 2 : 1;
	}
	return err_set(err, ERR_FORMAT, "%s has no option %s", verb->name, words[0]);
}

static int
take_word(const struct relayctl_verb *verb, struct json *args, const char *word, struct err *err)
{
	struct span text = span_from_cstr(word);
	uint64_t id;
	char filter[3 + BASE32_U64_BYTES] = "id=";

	switch (verb->takes) {
	case RELAYCTL_TAKES_NOTHING:
		return err_set(err, ERR_FORMAT, "%s takes no arguments", verb->name);
	case RELAYCTL_TAKES_ID:
		if (json_get(args, "id"))
			return err_set(err, ERR_FORMAT, "%s takes one queue id", verb->name);
		if (!base32_parse_u64(text, &id))
			return err_set(err, ERR_FORMAT,
			    "\"%s\": expected a queue id of %d characters",
			    word, BASE32_U64_CHARS);
		json_put_text(args, "id", text);
		return 0;
	case RELAYCTL_TAKES_NAME:
		if (json_get(args, verb->name_key))
			return err_set(err, ERR_FORMAT, "%s takes one name", verb->name);
		json_put_text(args, verb->name_key, text);
		return 0;
	case RELAYCTL_TAKES_SET:
		break;
	}
	if (base32_parse_u64(text, &id)) {
		base32_print_u64(id, filter + 3);
		text = span_from_cstr(filter);
	}
	/* The list is lent only when it is made: it is built anew with what it has. */
	const struct json *before = json_get(args, "filters");
	struct json *after = json_new_list();

	for (size_t i = 0; before && i < json_count(before); i++) {
		struct span old;

		if (json_is_text(json_at(before, i), &old))
			json_add_text(after, old);
	}
	json_add_text(after, text);
	json_put(args, "filters", after);
	return 0;
}

struct json *
relayctl_verb_args(const struct relayctl_verb *verb, char *const *words, size_t word_count,
    struct err *err)
{
	struct json *args = json_new_object();
	size_t at = 0;

	while (at < word_count) {
		int used = words[at][0] == '-'
		    ? take_option(verb, args, &words[at], word_count - at, err)
		    : take_word(verb, args, words[at], err) < 0 ? -1 : 1;

		if (used < 0) {
			json_free(&args);
			return NULL;
		}
		at += (size_t)used;
	}
	if (verb->takes == RELAYCTL_TAKES_ID && !json_get(args, "id")) {
		(void)err_set(err, ERR_FORMAT, "usage: relayctl %s %s", verb->name, verb->usage);
		json_free(&args);
	}
	return args;
}
