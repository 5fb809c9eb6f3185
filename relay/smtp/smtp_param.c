#include "relay/smtp/smtp_param.h"

#include "relay/base/ascii.h"
#include "relay/base/must.h"
#include "relay/mail/xtext.h"
#include "relay/smtp/smtp_capability.h"

/* What a parameter's row is given: the values to fill and where a refusal goes. */
struct param_target {
	struct smtp_mail *mail;         /* of MAIL, or NULL */
	struct smtp_rcpt *rcpt;         /* of RCPT, or NULL */
	bool utf8_allowed;
	struct reply *reply;
};

struct param_rule {
	const char *keyword;
	uint32_t capability;            /* that must have been offered */
	bool (*parse)(struct param_target *target, struct span value);
	bool has_value;
};

static bool
refuse(struct reply *reply, uint16_t code, const char *status, const char *text)
{
	reply_set(reply, code, status, "%s", text);
	return false;
}

/*
 * xtext that hides no control character: what it says may end up in a header field or a log, and
 * nobody has a reason to hide a line end there.
 */
static bool
is_clean_xtext(struct span text)
{
	if (text.len == 0 || !xtext_is_valid(text))
		return false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.data[i] != '+')
			continue;
		if (text.data[i + 1] < '2' || (text.data[i + 1] == '7' && text.data[i + 2] == 'F'))
			return false;
	}
	return true;
}

static bool
parse_size(struct param_target *target, struct span value)
{
	/* RFC 1870 section 6: up to 20 digits. */
	if (value.len > 20 || !span_parse_u64(value, UINT64_MAX, &target->mail->size))
		return refuse(target->reply, 501, "5.5.4", "SIZE must be a number of octets");
	target->mail->has_size = true;
	return true;
}

static bool
parse_body(struct param_target *target, struct span value)
{
	if (span_equal_nocase(value, SPAN("8BITMIME")))
		target->mail->body = BODY_8BITMIME;
	else if (!span_equal_nocase(value, SPAN("7BIT")))
		return refuse(target->reply, 501, "5.5.4", "BODY must be 7BIT or 8BITMIME");
	return true;
}

static bool
parse_smtputf8(struct param_target *target, struct span value)
{
	(void)value;
	target->mail->smtputf8 = true;
	return true;
}

static bool
parse_ret(struct param_target *target, struct span value)
{
	if (span_equal_nocase(value, SPAN("FULL")))
		target->mail->ret = RET_FULL;
	else if (span_equal_nocase(value, SPAN("HDRS")))
		target->mail->ret = RET_HEADERS;
	else
		return refuse(target->reply, 501, "5.5.4", "RET must be FULL or HDRS");
	return true;
}

static bool
parse_envid(struct param_target *target, struct span value)
{
	if (value.len > SMTP_ENVID_BYTES_MAX || !is_clean_xtext(value))
		return refuse(target->reply, 501, "5.5.4",
		    "ENVID must be xtext of at most 100 octets");
	target->mail->envid = value;
	return true;
}

static bool
parse_auth(struct param_target *target, struct span value)
{
	if (!span_equal(value, SPAN("<>")) &&
	    (value.len > SMTP_AUTH_PARAM_BYTES_MAX || !is_clean_xtext(value)))
		return refuse(target->reply, 501, "5.5.4",
		    "AUTH must be <> or an address in xtext");
	target->mail->auth = value;
	return true;
}

/* RFC 1845 section 4.1.1: "<local@domain>", of printable octets. */
static bool
parse_transid(struct param_target *target, struct span value)
{
	bool good = value.len > 2 && value.data[0] == '<' && value.data[value.len - 1] == '>' &&
		    value.len - 2 <= SMTP_TRANSID_BYTES_MAX;

	for (size_t i = 1; good && i + 1 < value.len; i++)
		good = ascii_is_graph(value.data[i]) && value.data[i] != '<' &&
		    value.data[i] != '>';
	if (!good)
		return refuse(target->reply, 501, "5.5.4", "TRANSID must be <local@domain>");
	target->mail->transid = span_slice(value, 1, value.len - 2);
	return true;
}

/* Our own: "node.queue-id", a token that needs no encoding anywhere. */
static bool
parse_origin(struct param_target *target, struct span value)
{
	bool good = value.len <= SMTP_ORIGIN_BYTES_MAX;

	for (size_t i = 0; good && i < value.len; i++)
		good = ascii_is_alnum(value.data[i]) || value.data[i] == '.' ||
		    value.data[i] == '-';
	if (!good)
		return refuse(target->reply, 501, "5.5.4",
		    "XORIGIN must be of A-Z, a-z, 0-9, . and -");
	target->mail->origin = value;
	return true;
}

/* RFC 3461 section 4.1: NEVER alone, or a list of the others. */
static bool
parse_notify(struct param_target *target, struct span value)
{
	static const struct { const char *name; enum envelope_notify bit; } names[] = {
		{ "NEVER", NOTIFY_NEVER }, { "SUCCESS", NOTIFY_SUCCESS },
		{ "FAILURE", NOTIFY_FAILURE }, { "DELAY", NOTIFY_DELAY },
	};
	unsigned int set = 0;
	struct span word;

	while (span_take_part(&value, ',', &word)) {
		unsigned int bit = 0;

		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			if (span_equal_nocase_cstr(word, names[i].name))
				bit = names[i].bit;
		if (bit == 0)
			return refuse(target->reply, 501, "5.5.4",
			    "NOTIFY must be NEVER, or of SUCCESS, FAILURE, DELAY");
		set |= bit;
	}
	if (set & NOTIFY_NEVER && set != NOTIFY_NEVER)
		return refuse(target->reply, 501, "5.5.4", "NOTIFY=NEVER stands alone");
	target->rcpt->notify = (uint8_t)set;
	return true;
}

/*
 * RFC 3461 section 4.2, RFC 6533 section 3: "type;address", in xtext or in one of the UTF-8 forms.
 * Each of them can hide a control character, so it is decoded to look.
 */
static bool
parse_orcpt(struct param_target *target, struct span value)
{
	char memory[SMTP_ORCPT_BYTES_MAX + 1];
	struct buf plain;
	bool good = value.len <= SMTP_ORCPT_BYTES_MAX &&
		    (target->utf8_allowed || span_is_ascii(value));

	buf_init_at(&plain, memory, sizeof(memory));
	good = good && xtext_decode_orcpt(value, &plain) == 0 &&
	    !span_has_control(buf_span(&plain));
	if (!good)
		return refuse(target->reply, 501, "5.5.4", "ORCPT must be type;address in xtext");
	target->rcpt->orcpt = value;
	return true;
}

static const struct param_rule mail_rules[] = {
	{ "SIZE", SMTP_SIZE, parse_size, true },
	{ "BODY", SMTP_8BITMIME, parse_body, true },
	{ "SMTPUTF8", SMTP_SMTPUTF8, parse_smtputf8, false },
	{ "RET", SMTP_DSN, parse_ret, true },
	{ "ENVID", SMTP_DSN, parse_envid, true },
	{ "AUTH", SMTP_AUTH, parse_auth, true },
	{ "TRANSID", SMTP_CHECKPOINT, parse_transid, true },
	{ "XORIGIN", SMTP_XORIGIN, parse_origin, true },
};

static const struct param_rule rcpt_rules[] = {
	{ "NOTIFY", SMTP_DSN, parse_notify, true },
	{ "ORCPT", SMTP_DSN, parse_orcpt, true },
};

enum {
	MAIL_RULE_COUNT = sizeof(mail_rules) / sizeof(mail_rules[0]),
	RCPT_RULE_COUNT = sizeof(rcpt_rules) / sizeof(rcpt_rules[0]),
};

/*
 * One "KEYWORD[=value]".  SEEN has a bit a rule: a parameter given twice is refused, for nobody
 * could say which one is meant.
 */
static bool
parse_param(struct param_target *target, const struct param_rule *rules, size_t rule_count,
	    uint32_t offered, uint32_t *seen, struct span word)
{
	struct span keyword, value;
	bool has_value = span_split(word, '=', &keyword, &value);

	for (size_t i = 0; i < rule_count; i++) {
		const struct param_rule *rule = &rules[i];

		if (!(offered & rule->capability) || !span_equal_nocase_cstr(keyword,
		    rule->keyword))
			continue;
		if (*seen & 1u << i)
			return refuse(target->reply, 501, "5.5.4", "a parameter is given twice");
		if (has_value != rule->has_value || (has_value && value.len == 0))
			return refuse(target->reply, 501, "5.5.4", rule->has_value
			    ? "a parameter lacks its value"
			    : "a parameter has a value and takes none");
		*seen |= 1u << i;
		return rule->parse(target, value);
	}
	return refuse(target->reply, 555, "5.5.4", "a parameter is not known");
}

static bool
parse_params(struct param_target *target, const struct param_rule *rules, size_t rule_count,
	     uint32_t offered, struct span rest)
{
	uint32_t seen = 0;
	struct span word;

	if (rest.len && !ascii_is_blank(rest.data[0]))
		return refuse(target->reply, 501, "5.5.4", "no blank behind the path");
	while (span_take_word(&rest, &word))
		if (!parse_param(target, rules, rule_count, offered, &seen, word))
			return false;
	return true;
}

/* "FROM:<path> rest": the path with its brackets; quoted strings may hold '>' and blanks. */
static bool
split_path(struct span args, struct span prefix, struct span *path_out, struct span *rest_out)
{
	bool quoted = false;

	if (!span_starts_with_nocase(args, prefix))
		return false;
	args = span_skip(args, prefix.len);
	/* RFC 5321 section 3.3: no blank belongs here, but it is common and harmless. */
	while (args.len && ascii_is_blank(args.data[0]))
		args = span_skip(args, 1);
	if (args.len == 0 || args.data[0] != '<')
		return false;
	for (size_t i = 1; i < args.len; i++) {
		if (quoted && args.data[i] == '\\') {
			i++;
		} else if (args.data[i] == '"') {
			quoted = !quoted;
		} else if (!quoted && args.data[i] == '>') {
			*path_out = span_first(args, i + 1);
			*rest_out = span_skip(args, i + 1);
			return true;
		}
	}
	return false;
}

/* Whether SMTPUTF8 stands among the parameters: the path before them may need it. */
static bool
asks_for_utf8(struct span rest, uint32_t offered)
{
	struct span word;

	while (offered & SMTP_SMTPUTF8 && span_take_word(&rest, &word))
		if (span_equal_nocase(word, SPAN("SMTPUTF8")))
			return true;
	return false;
}

static bool
path_is_good(enum address_syntax syntax, const char *bad_status, struct reply *reply)
{
	switch (syntax) {
	case ADDRESS_OK:
		return true;
	case ADDRESS_BAD:
		return refuse(reply, 501, bad_status, "the address is malformed");
	case ADDRESS_TOO_LONG:
		return refuse(reply, 501, bad_status, "the address is too long");
	case ADDRESS_IS_UTF8:
		return refuse(reply, 553, "5.6.7", "the address needs SMTPUTF8");
	}
	must_not_reach();
}

bool
smtp_mail_parse(struct smtp_mail *mail_out, struct span args, uint32_t offered,
		struct arena *arena, struct reply *reply_out)
{
	struct param_target target = { .mail = mail_out, .reply = reply_out };
	struct span path, rest;

	*mail_out = (struct smtp_mail){ 0 };
	if (!split_path(args, SPAN("FROM:"), &path, &rest))
		return refuse(reply_out, 501, "5.5.4", "expected MAIL FROM:<address>");
	if (!path_is_good(address_parse_reverse_path(&mail_out->from, path,
		asks_for_utf8(rest, offered), arena), "5.1.7", reply_out))
		return false;
	return parse_params(&target, mail_rules, MAIL_RULE_COUNT, offered, rest);
}

bool
smtp_rcpt_parse(struct smtp_rcpt *rcpt_out, struct span args, uint32_t offered,
		bool utf8_allowed, struct arena *arena, struct reply *reply_out)
{
	struct param_target target = {
		.rcpt = rcpt_out, .utf8_allowed = utf8_allowed, .reply = reply_out,
	};
	struct span path, rest;

	*rcpt_out = (struct smtp_rcpt){ 0 };
	if (!split_path(args, SPAN("TO:"), &path, &rest))
		return refuse(reply_out, 501, "5.5.4", "expected RCPT TO:<address>");
	if (!path_is_good(address_parse_forward_path(&rcpt_out->to, path, utf8_allowed, arena),
		"5.1.3", reply_out))
		return false;
	return parse_params(&target, rcpt_rules, RCPT_RULE_COUNT, offered, rest);
}
