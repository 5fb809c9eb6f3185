#include "relay/commands_filter.h"

#include "relay/base/ascii.h"
#include "relay/base/units.h"

enum kind {
	KIND_TEXT,
	KIND_ID,
	KIND_DURATION,
	KIND_SIZE,
	KIND_COUNT,
};

static const struct {
	const char *name;
	enum commands_key key;
	enum kind kind;
	bool needs_envelope;
} keys[] = {
	{ "id", COMMANDS_KEY_ID, KIND_ID, false },
	{ "from", COMMANDS_KEY_FROM, KIND_TEXT, false },
	{ "to", COMMANDS_KEY_TO, KIND_TEXT, true },
	{ "domain", COMMANDS_KEY_DOMAIN, KIND_TEXT, true },
	{ "dest", COMMANDS_KEY_DEST, KIND_TEXT, false },
	{ "client", COMMANDS_KEY_CLIENT, KIND_TEXT, false },
	{ "state", COMMANDS_KEY_STATE, KIND_TEXT, false },
	{ "reason", COMMANDS_KEY_REASON, KIND_TEXT, false },
	{ "age", COMMANDS_KEY_AGE, KIND_DURATION, false },
	{ "size", COMMANDS_KEY_SIZE, KIND_SIZE, false },
	{ "attempts", COMMANDS_KEY_ATTEMPTS, KIND_COUNT, false },
	{ "next", COMMANDS_KEY_NEXT, KIND_DURATION, false },
};

static const char *const states[] = {
	"waiting", "active", "held", "uncertain", "partial", "damaged",
};

const char *
commands_state(const struct queue_item *item, enum queue_reason reason)
{
	if (item->damaged || reason == REASON_DAMAGED)
		return "damaged";
	if (item->held || reason == REASON_HELD)
		return "held";
	if (reason == REASON_IN_FLIGHT || reason == REASON_RESOLVING || reason == REASON_SETTLED)
		return "active";
	if (reason == REASON_UNCERTAIN)
		return "uncertain";
	if (reason == REASON_PARTIAL)
		return "partial";
	return "waiting";
}

bool
commands_glob(struct span pattern, struct span text)
{
	size_t p = 0;
	size_t t = 0;
	size_t star = SIZE_MAX;
	size_t star_text = 0;

	while (t < text.len) {
		if (p < pattern.len && pattern.data[p] == '*') {
			star = p++;
			star_text = t;
		} else if (p < pattern.len && (pattern.data[p] == '?' ||
		    ascii_lower(pattern.data[p]) == ascii_lower(text.data[t]))) {
			p++;
			t++;
		} else if (star != SIZE_MAX) {
			p = star + 1;           /* let the star take one octet more */
			t = ++star_text;
		} else {
			return false;
		}
	}
	while (p < pattern.len && pattern.data[p] == '*')
		p++;
	return p == pattern.len;
}

static int
check_word(enum commands_key key, struct span value, struct err *err)
{
	enum queue_reason reason;

	if (key == COMMANDS_KEY_REASON && !queue_reason_parse(value, &reason))
		return err_set(err, ERR_FORMAT, "there is no reason \"%.*s\"", SPAN_ARGS(value));
	if (key != COMMANDS_KEY_STATE)
		return 0;
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (span_equal_cstr(value, states[i]))
			return 0;
	return err_set(err, ERR_FORMAT, "expected state=waiting, active, held, uncertain, "
	    "partial or damaged");
}

static int
read_value(struct commands_term *term, enum kind kind, struct span value, struct err *err)
{
	switch (kind) {
	case KIND_TEXT:
		term->pattern = value;
		return check_word(term->key, value, err);
	case KIND_ID:
		if (!queue_id_parse(value, &term->number))
			return err_set(err, ERR_FORMAT, "expected a queue id of %d characters",
			    QUEUE_ID_CHARS);
		return 0;
	case KIND_DURATION:
		return units_parse_duration(value, &term->number, err);
	case KIND_SIZE:
		return units_parse_size(value, &term->number, err);
	case KIND_COUNT:
		if (!span_parse_u64(value, UINT32_MAX, &term->number))
			return err_set(err, ERR_FORMAT, "expected a number");
		return 0;
	}
	return -1;
}

static int
read_term(struct commands_filter *filter, struct span text, struct err *err)
{
	struct commands_term *term = &filter->terms[filter->term_count];
	size_t at = 0;

	if (text.len > COMMANDS_FILTER_BYTES_MAX)
		return err_set(err, ERR_LIMIT, "a filter has at most %d bytes",
		    COMMANDS_FILTER_BYTES_MAX);
	while (at < text.len && text.data[at] != '=' && text.data[at] != '<' &&
	    text.data[at] != '>')
		at++;
	if (at == text.len)
		return err_set(err, ERR_FORMAT,
		    "\"%.*s\": expected a filter like from=*@example.net "
		    "or age>2h", SPAN_ARGS(text));
	struct span name = span_first(text, at);

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
		if (!span_equal_cstr(name, keys[i].name))
			continue;
		bool is_ordered = keys[i].kind != KIND_TEXT && keys[i].kind != KIND_ID;

		*term = (struct commands_term){ .key = keys[i].key, .compare = text.data[at] };
		if (!is_ordered && term->compare != '=')
			return err_set(err, ERR_FORMAT, "\"%.*s\": expected %s=",
			    SPAN_ARGS(text), keys[i].name);
		if (read_value(term, keys[i].kind, span_skip(text, at + 1), err) < 0)
			return err_wrap(err, "\"%.*s\"", SPAN_ARGS(text));
		filter->needs_envelope |= keys[i].needs_envelope;
		filter->term_count++;
		return 0;
	}
	return err_set(err, ERR_FORMAT, "\"%.*s\": there is no such filter; there are id, from, "
	    "to, domain, dest, client, state, reason, age, size, attempts, next", SPAN_ARGS(text));
}

int
commands_filter_read(struct commands_filter *filter, const struct json *filters, struct err *err)
{
	*filter = (struct commands_filter){ 0 };
	if (!filters)
		return 0;
	if (!json_is_list(filters))
		return err_set(err, ERR_FORMAT, "filters: expected a list of texts");
	if (json_count(filters) > COMMANDS_FILTER_TERMS_MAX)
		return err_set(err, ERR_LIMIT, "at most %d filters", COMMANDS_FILTER_TERMS_MAX);
	for (size_t i = 0; i < json_count(filters); i++) {
		struct span text;

		if (!json_is_text(json_at(filters, i), &text))
			return err_set(err, ERR_FORMAT, "filters: expected a list of texts");
		if (read_term(filter, text, err) < 0)
			return -1;
	}
	return 0;
}

static bool
compares(const struct commands_term *term, uint64_t value)
{
	if (term->compare == '<')
		return value < term->number;
	if (term->compare == '>')
		return value > term->number;
	return value == term->number;
}

static bool
term_matches(const struct commands_term *term, const struct commands_facts *facts)
{
	switch (term->key) {
	case COMMANDS_KEY_ID:
		return facts->item->id == term->number;
	case COMMANDS_KEY_FROM:
		if (span_equal_cstr(term->pattern, "<>"))
			return facts->item->sender.len == 0;
		return commands_glob(term->pattern, facts->item->sender);
	case COMMANDS_KEY_TO:
	case COMMANDS_KEY_DOMAIN:
		return true;            /* commands_filter_matches_envelope() says */
	case COMMANDS_KEY_DEST:
		return commands_glob(term->pattern, facts->destination);
	case COMMANDS_KEY_CLIENT:
		return commands_glob(term->pattern, facts->item->client);
	case COMMANDS_KEY_STATE:
		return span_equal_cstr(term->pattern, facts->state);
	case COMMANDS_KEY_REASON:
		return span_equal_cstr(term->pattern, queue_reason_name(facts->reason));
	case COMMANDS_KEY_AGE:
		return compares(term, facts->item->age_ms);
	case COMMANDS_KEY_SIZE:
		return compares(term, facts->item->body_bytes);
	case COMMANDS_KEY_ATTEMPTS:
		return compares(term, facts->attempt_count);
	case COMMANDS_KEY_NEXT:
		return compares(term, facts->next_ms);
	}
	return false;
}

/* Several ids are alternatives, as nothing could have two of them. */
bool
commands_filter_matches(const struct commands_filter *filter, const struct commands_facts *facts)
{
	bool id_asked = false;
	bool id_found = false;

	for (size_t i = 0; i < filter->term_count; i++) {
		const struct commands_term *term = &filter->terms[i];

		if (term->key == COMMANDS_KEY_ID) {
			id_asked = true;
			id_found |= term_matches(term, facts);
		} else if (!term_matches(term, facts)) {
			return false;
		}
	}
	return id_found || !id_asked;
}

static bool
rcpt_matches(const struct commands_filter *filter, const struct envelope_rcpt *rcpt)
{
	for (size_t i = 0; i < filter->term_count; i++) {
		const struct commands_term *term = &filter->terms[i];

		if (term->key == COMMANDS_KEY_TO && !commands_glob(term->pattern, rcpt->address))
			return false;
		if (term->key == COMMANDS_KEY_DOMAIN && !commands_glob(term->pattern, rcpt->domain))
			return false;
	}
	return true;
}

bool
commands_filter_matches_envelope(const struct commands_filter *filter,
    const struct envelope *envelope)
{
	if (!filter->needs_envelope)
		return true;
	for (size_t i = 0; i < envelope->rcpt_count; i++) {
		const struct envelope_rcpt *rcpt = &envelope->rcpts[i];

		if (rcpt->state != RCPT_WAITING && rcpt->state != RCPT_UNCERTAIN)
			continue;
		if (rcpt_matches(filter, rcpt))
			return true;
	}
	return false;
}

bool
commands_filter_only_id(const struct commands_filter *filter, queue_id *id_out)
{
	size_t found = 0;

	for (size_t i = 0; i < filter->term_count; i++) {
		if (filter->terms[i].key != COMMANDS_KEY_ID)
			continue;
		*id_out = filter->terms[i].number;
		found++;
	}
	return found == 1;
}
